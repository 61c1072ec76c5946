"""How well and how fast sounds are learned and heard: `python -m benchmarks.learning FOLDER`.

FOLDER holds spoken digits, FOLDER/LABEL/SPEAKER_N.wav (the Free Spoken Digit Dataset's names).
Held out at random, then each speaker as a whole; then a model of the first is heard through JACK:
held-out words one after another, pauses of 0.6 s between them, each to be told rightly by most of
the answers that come until 300 ms after its end. Everything but JACK on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtaudio.consumers.listener import Answer
    from rtaudio.learn import Training

SPEAKER = "^([a-z]+)_"
PAUSE_S, LATEST_S = 0.6, 0.3


def learn(folder: str) -> tuple[list[dict[str, Any]], Training]:
    """A row for each way of holding out."""
    import numpy as np

    from rtaudio.fitting import split
    from rtaudio.learn import train

    def row(what: str, **arguments: Any) -> Training:
        begun = time.perf_counter()
        training = train(folder, **arguments)
        rows.append(
            {
                "held out": what,
                "learned from": training.learned,
                "held-out files": int(training.confusion.sum()),
                "right, %": round(100 * training.accuracy, 1),
                "epochs": len(training.fit.losses),
                "s": time.perf_counter() - begun,
                "kB": len(training.model.data) // 1000,
            }
        )
        return training

    rows: list[dict[str, Any]] = []
    first = row("files at random")
    names = sorted({path.name.split("_")[0] for path in Path(folder).glob("*/*.wav")})
    for number, name in enumerate(names):
        seed = next(s for s in range(99) if split(np.array(names), None, 0.2, s)[1] == [number])
        row(f"the speaker {name}", group_by=SPEAKER, test_size=0.2, seed=seed)
    return rows, first


def inference(training: Training) -> dict[str, Any]:
    """How long an answer takes, and how far ONNX is from scikit-learn."""
    import numpy as np

    front_end = training.model.front_end
    contexts = np.random.default_rng(0).normal(0, 30, (5000, front_end.context, front_end.width))
    contexts = contexts.astype(np.float32)
    infer = training.model.start()
    took = []
    for context in contexts:
        begun = time.perf_counter()
        infer(context)
        took.append(1e6 * (time.perf_counter() - begun))
    flat = contexts.reshape(len(contexts), -1)
    exact = training.fit.pipeline.predict_proba(flat)
    heard = np.stack([infer(context) for context in contexts])
    return {
        "model": "digits",
        "p50 µs": float(np.percentile(took, 50)),
        "p99 µs": float(np.percentile(took, 99)),
        "max difference from scikit-learn": float(np.abs(exact - heard).max()),
    }


def words(training: Training, folder: str, count: int) -> dict[str, Any]:
    """Held-out words through JACK."""
    import numpy as np
    import soxr

    import rtaudio
    from benchmarks.report import from_tests
    from rtaudio.fitting import split

    servers = from_tests("servers")
    paths = sorted(Path(folder).glob("*/*.wav"), key=lambda path: (path.parent.name, path.name))
    labels = np.array([path.parent.name for path in paths])
    held_out = split(np.arange(len(paths)), labels, 0.3, 0)[1]  # as train() did
    chosen = np.random.default_rng(1).permutation(held_out)[:count]
    spoken, places, at = [np.zeros(48000, np.float32)], [], 48000
    for number in chosen:
        import soundfile

        word = soxr.resample(soundfile.read(paths[number], dtype="float32")[0], 8000, 48000)
        places.append((at, at + len(word), str(labels[number])))
        spoken += [word, np.zeros(round(PAUSE_S * 48000), np.float32)]
        at += len(spoken[-1]) + len(word)
    sound = np.concatenate(spoken)
    said: list[tuple[float, Answer]] = []
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "digits.onnx"
        training.save(model)
        with servers.Jack(place) as jack, servers.Player(jack, sound, place) as player:
            os.environ.update(jack.env)
            with rtaudio.live(rtaudio.Microphone("system, jack", sr=48000), model=model) as run:
                jack.play_into(player.port, jack.input_port())
                begun = player.play()
                for answer in run.answers():
                    said.append((time.perf_counter() - begun, answer))
                    if said[-1][0] > len(sound) / 48000:
                        break
                stats = run.stats
    right = wrong = silent = 0
    first = []
    for start, end, label in places:
        begin_s, end_s = start / 48000, end / 48000 + LATEST_S
        told = [(t, a.label) for t, a in said if begin_s < t <= end_s and a.label is not None]
        names = [name for _, name in told]
        heard = max(set(names), key=names.count, default=None)
        right += heard == label
        silent += heard is None
        wrong += heard not in (label, None)
        first += [t - end / 48000 for t, name in told if name == label][:1]
    delay = stats.stages["frame_to_label"]
    return {
        "words": len(places),
        "right, %": 100 * right / len(places),
        "as another": wrong,
        "not in time": silent,
        "first told after the end, ms, p50": 1e3 * float(np.median(first)),
        "p95": 1e3 * float(np.percentile(first, 95)),
        "answers skipped": stats.skipped,
        "lost": stats.lost,
        "frame → label ms, p50": delay.p50_ms,
        "p99": delay.p99_ms,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--words", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # before numpy counts them
    from benchmarks.report import show

    rows, training = learn(args.folder)
    show("Spoken digits, learned on one core", rows, args.json)
    show("An answer", [inference(training)], args.json)
    os.sched_setaffinity(0, cores)
    show("Held-out words through JACK", [words(training, args.folder, args.words)], args.json)
    if args.json:
        print(json.dumps({"confusion": training.confusion.tolist(), "rows": training.rows}))


if __name__ == "__main__":
    main()
