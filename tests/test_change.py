"""What a run can be asked for while it runs: other settings, more and fewer consumers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from servers import wait_for
from sounds import SOUNDS, SR, all_frames

from rtaudio import Analyzer, ArraySource, Settings, live
from rtaudio.consumers.history import History
from rtaudio.pipeline import Live


class Changing(ArraySource):
    """A source that calls something before its block ``number``."""

    def __init__(self, *args, number, then, **kwargs):
        super().__init__(*args, **kwargs)
        self._number, self._then = number, then

    def __iter__(self):
        for number, block in enumerate(super().__iter__()):
            if number == self._number:
                self._then()
            yield block


@pytest.mark.parametrize("sr", [None, 16000])
@pytest.mark.parametrize(("n_fft", "center"), [(512, True), (8192, True), (1024, False)])
def test_other_settings_from_a_block_on_keep_the_rows_places(sr, n_fft, center):
    y = SOUNDS["music"]
    settings = Settings(sr=sr, center=center)
    changed = replace(settings, n_fft=n_fft, sr=sr or SR)
    new = History(changed)
    source = Changing(y, SR, blocksize=700, number=20, then=lambda: run.change(changed, new))
    run = Live(source, settings)
    old = History(run.open().settings)
    run.watch(old)
    with run:
        run.wait()
    rows = all_frames(Analyzer(changed, SR), y)
    position = math.ceil(20 * 700 * changed.sr / SR)
    reach = 0 if sr is None else Analyzer(changed, SR).reach
    first = new.first
    begins = first * 512 - (n_fft // 2 if center else 0)  # the first frame holds no older sample
    assert 0 <= begins - position - reach < 512
    assert new.stop == len(rows["row"])
    expected = (rows["db"][first:] - np.float32(changed.full_scale_db)).astype(np.float16)
    found = new.dbfs(first, new.stop)
    if sr is None:
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(new.mfcc(first, new.stop), rows["mfcc"][first:])
        assert not new.levels(first, new.stop)[:, 2].any()  # nothing was lost
    else:  # a resampler that begins elsewhere rounds otherwise
        loud = expected > -120
        np.testing.assert_allclose(found[loud], expected[loud], atol=0.5)
    before = old.dbfs(0, old.stop)
    assert 20 * 700 / SR * changed.sr / 512 - 2048 / 512 - 4 <= old.stop <= 20 * 700 / 512 + 1
    assert len(before)
    assert run.stats.processed == len(y)
    assert run.stats.lost == 0


def test_settings_stay_where_somebody_takes_the_rows():
    run = Live(ArraySource(SOUNDS["music"], SR), Settings(), consumers=[lambda frames: None])
    with run, pytest.raises(RuntimeError, match="being written"):
        run.change(replace(run.settings, n_fft=512))


def test_blocks_can_be_attached_and_detached_while_it_runs():
    run = live("demo:", duration_s=30)
    run.watch(History(run.open().settings))
    with run:
        taken = []
        worker = run.attach_blocks("late", taken.append)
        wait_for(lambda: len(taken) > 5, "blocks")
        run.detach_blocks(worker)
        count = len(taken)
        assert worker.done.is_set()
        frames = run.stats.frames
        wait_for(lambda: run.stats.frames > frames + 3, "rows")
        assert len(taken) == count
    firsts = [block.first_sample for block in taken]
    assert np.array_equal(firsts, firsts[0] + np.cumsum([0, *map(len, taken[:-1])]))
    late = run.attach_blocks("too late", taken.append)  # it ends at once
    late.end()
    assert len(taken) == count
