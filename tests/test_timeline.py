"""What a microphone's timeline knows at the edges of streams, and what it learns."""

import pytest
from faults import check_books, check_places, listen

from rtaudio.capture.fake import Fault, Script


def test_who_was_stopped_with_the_capture_does_not_say_that_nothing_came():
    """Both processes stand still for 13 s; the samples come a second after this one looks again."""
    stall = Fault(4.95, "stall", seconds=14)
    run = listen(Script(blocksize=4800, faults=(stall,)), 25, busy=[(4.9, 13)])
    check_books(run)
    assert run.mic.stats.restarts == 0
    assert run.mic.stats.lost == run.mic.stats.unplaced == 0
    assert run.said == []


def test_a_silence_that_was_watched_is_an_outage():
    run = listen(Script(faults=(Fault(5, "stall", seconds=14),)), 25)
    assert run.mic.stats.restarts >= 1


@pytest.mark.parametrize("jitter_ms", [0, 3])
def test_what_was_learned_holds_on_after_an_outage(jitter_ms):
    """A loss a tenth of a second after the device is back is found."""
    faults = (Fault(6, "end"), Fault(6.7, "flagged_loss", samples=2000))
    run = listen(Script(jitter_ms=jitter_ms, faults=faults), 12)
    check_books(run)
    check_places(run)
    assert run.mic.stats.host == pytest.approx(2000, abs=10)


def test_a_loss_just_before_the_end_of_a_stream_is_placed():
    faults = (Fault(5, "loss", samples=15710), Fault(5.45, "end"))
    run = listen(Script(jitter_ms=3, burst=2, blocksize=100, faults=faults), 10)
    check_books(run)
    check_places(run)
    assert run.mic.stats.host == pytest.approx(15710, abs=5)


def test_a_device_that_ends_before_its_first_block_leaves_blocks_of_its_channels():
    run = listen(Script(channels=2, faults=(Fault(0.12, "end"),)), 4)
    check_books(run)
    assert run.mic.channels == 2
    assert run.mic.stats.restarts == 1
