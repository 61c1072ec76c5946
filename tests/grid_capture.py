"""What `grid.run_cell` starts: a live run that writes down all that it is given.

The one argument is JSON: device, channels, blocksize, latency, seconds, folder. Into the folder go
take.wav with its gaps, as the command's ``--record`` makes them, and heard.f32: the first channel
of all samples that came, without the lost ones; records.npy: what the timeline was given, so that a
cell can be looked into afterwards; at the end report.json: the notes about blocks and rows, and the
run's own statistics. Prints a line when the first block has come.
"""

import json
import math
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

import rtaudio
from rtaudio.consumers.recorder import Recorder
from rtaudio.sources.timeline import Timeline

SR = 48000


class Notes:
    """What the blocks and the rows say."""

    def __init__(self, folder):
        self.blocks = []
        self.marked = []
        self.rows = 0
        self._file = (folder / "heard.f32").open("wb")

    def take_block(self, block):
        """Note a block: a list, since there are thousands."""
        if not self.blocks:
            print("begun", flush=True)
        self._file.write(block.samples[:, 0].tobytes())
        self.blocks.append(
            {
                "first_sample": block.first_sample,
                "length": len(block),
                "lost": block.lost,
                "gaps": block.gaps,
                "remarks": getattr(block, "remarks", ()),
                "captured": _known(block.captured),
                "called": _known(block.called),
            }
        )

    def take_rows(self, frames):
        """Note which rows are marked as touched by a loss."""
        self.rows += len(frames)
        self.marked += [frames.first + int(i) for i in frames.lost.nonzero()[0]]

    def finish(self):
        """Close the file."""
        self._file.close()


def _known(seconds):
    return None if math.isnan(seconds) else seconds


def note_records(records):
    """Let each timeline append what it is given; blocks that it looks at again, once."""
    take = Timeline.take

    def noted(timeline, record):
        if not records or record.number > records[-1][0]:
            records.append(record)
        take(timeline, record)

    Timeline.take = noted


def main(about):
    folder, said, records = Path(about["folder"]), [], []
    note_records(records)
    mic = rtaudio.Microphone(
        about["device"],
        sr=SR,
        channels=about["channels"],
        blocksize=about["blocksize"],
        latency=about["latency"],
    )
    live = rtaudio.live(mic, duration_s=about["seconds"], tell=said.append).open()
    recorder = Recorder(str(folder / "take.wav"), SR, mic.channels, start=live.started_utc)
    steps = (recorder.take, recorder.flush, recorder.finish)
    live.attach_blocks("the recording", *steps, end_s=None)
    notes = Notes(folder)
    live.attach_blocks("the notes", notes.take_block, None, notes.finish)
    live.attach_frames("the rows", notes.take_rows)
    with live:
        live.wait()
    np.save(folder / "records.npy", np.array(records, np.int64))
    stats, settings = live.stats, live.settings
    counters = {name: getattr(stats, name, 0) for name in ("unplaced", "refuted")}
    changes = getattr(stats, "latency_changes", 0)
    report = {
        "blocks": notes.blocks,
        "rows": notes.rows,
        "marked": notes.marked,
        "n_fft": settings.n_fft,
        "hop_length": settings.hop_length,
        "said": said,
        "microphone": asdict(stats.microphone),
        "stats": counters
        | {"latency_changes": changes, "skipped": stats.skipped, "lost": stats.lost}
        | {name: getattr(stats, name) for name in ("delivered", "processed", "dropped")}
        | {"host": stats.host, "outage": stats.outage},
    }
    (folder / "report.json").write_text(json.dumps(report, default=str))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    os._exit(0)  # with a dead server the exit itself hangs
