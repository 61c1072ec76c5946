"""Scripts of faults, and what has to hold whatever they do."""

import bisect
import random
from dataclasses import dataclass, replace

import numpy as np

from rtaudio import Microphone
from rtaudio.capture.fake import CYCLE, FakeHost, Fault, Script, VirtualClock, numbers


def random_script(seed, seconds):
    """A script of ``seconds``, with faults in all but its last 6 s."""
    chance = random.Random(seed)
    sr = chance.choice((8000, 22050, 44100, 48000))
    faults, at = [], 0.5
    while (at := at + chance.uniform(0.2, 6)) < seconds - 6:
        kind = chance.choice(
            [
                *("loss", "loss", "flagged_loss", "flagged_loss", "flag", "stall", "freeze"),
                *("freeze", "end", "vanish", "unplug", "renumber", "replace", "busy", "hang"),
                *("exception", "adc_zero", "adc_back", "clock_jump", "asleep", "crash"),
            ]
        )
        length = chance.choice((0.05, 0.3, 1.0, 3.0)) * chance.uniform(0.5, 1.5)
        samples = round(chance.choice((0.01, 0.03, 0.2, 1.0)) * chance.uniform(1, 2) * sr)
        faults.append(Fault(at, kind, samples, length))
    script = Script(
        sr=sr,
        channels=chance.choice((1, 2)),
        blocksize=chance.choice((64, 100, 256, 441, 1024)),
        odd_sizes=chance.random() < 0.3,
        jitter_ms=chance.choice((0, 0, 0.3, 1, 3)),
        burst=chance.choice((1, 1, 1, 2, 4)),
        ppm=chance.uniform(-200, 200),
        adc=chance.random() < 0.8,
        seed=seed,
        faults=tuple(faults),
    )
    return _as_on_a_server(script, random.Random(~seed), seconds)


def _as_on_a_server(script, chance, seconds):
    """The same script, now and then with what sound servers do. It needs an ADC time."""
    if not script.adc:
        return script
    faults = list(script.faults)

    def alone(kind, length):
        """It happens while nothing else does, and no device is opened: else nobody can tell."""
        at = chance.uniform(3, seconds - 8)
        if all(at + length + 1 < f.at or at > f.at + f.seconds + 5 for f in faults):
            faults.append(Fault(at, kind, seconds=length))

    if chance.random() < 0.1:
        for _ in range(3):
            alone("graph_stall", chance.uniform(0.002, 0.1))
        shape = {"server": "jack", "burst": 1, "odd_sizes": False}
        return replace(script, faults=tuple(sorted(faults)), **shape)
    if chance.random() < 0.2:
        alone(chance.choice(("adc_nan", "adc_negative", "adc_still")), chance.uniform(0, 2))
    if any(fault.kind.startswith("adc") for fault in faults):  # then nothing else may change
        return replace(script, faults=tuple(sorted(faults)))
    later = 0.0
    for at in range(3, int(seconds) - 7, 4):
        if chance.random() < 0.3:
            step = chance.choice((0.003, 0.01, 0.03, 0.1)) * chance.uniform(0.5, 1)
            step = -later if later and chance.random() < 0.5 else step
            later += step
            kind = chance.choice(("latency", "latency", "latency_creep"))
            change = Fault(at + chance.random(), kind, seconds=step)
            if not any(_beside(change, fault) for fault in script.faults):
                faults.append(change)
    pipewire = {"server": "pipewire", "adc_wander_ms": 25}
    shape = pipewire if script.jitter_ms <= 1 and chance.random() < 0.3 else {}
    return replace(
        script,
        wander_ms=chance.choice((0, 0, 0, 5, 30)),
        adc_noise_ms=chance.choice((0, 0, 0, 5, 21)),
        faults=tuple(sorted(faults)),
        **shape,
    )


def _beside(change, fault):
    """Whether a change of latency is so near that it is taken for a part of what is lost."""
    lasts = fault.seconds if fault.kind == "asleep" else 0
    return fault.at - 0.1 < change.at < fault.at + lasts + 0.1


@dataclass
class Run:
    """What a microphone delivered: true numbers, and the gaps it told, at the kept sample."""

    mic: Microphone
    script: Script
    said: list
    kept: int
    axis: int
    true_jumps: list  # (kept samples before, samples truly missing)
    told: list  # (kept samples before, Gap)
    unplaced: list  # (kept samples before the interval, and before its end, Gap)
    kept_until: int = 0  # true number behind the last kept sample


def listen(script, seconds, *, busy=(), host=None, watch=None, **arguments):
    """Run a microphone on the script; at each of ``busy`` (at, seconds) its reader is away.

    On a virtual clock, or on ``host``, in real time. ``watch`` is called with the microphone, the
    fake host and each block.
    """
    began = 1_000_000_000 if host is None else host.now_ns()
    script = replace(script, switched_on_ns=began)
    device = FakeHost(script, VirtualClock(began))
    host = device if host is None else type(host)(fake=script)
    said = []
    mic = Microphone(host=host, tell=said.append, **arguments)
    run = Run(mic, script, said, 0, 0, [], [], [])
    busy = sorted(busy)
    expected = None
    begins, kept_before = [], []  # of each block: its place on the axis, and what was kept

    def kept_at(sample):
        return kept_before[max(0, bisect.bisect_right(begins, sample) - 1)]

    with mic:
        for block in mic:
            assert block.first_sample == run.axis + block.lost  # the axis has no holes
            assert block.lost == sum(gap.length for gap in block.gaps)
            for gap in block.gaps:
                run.told.append((run.kept, gap))
            begins.append(block.first_sample)
            kept_before.append(run.kept)
            for gap in block.remarks:
                if gap.cause == "unplaced":
                    ends = kept_at(gap.first_sample + gap.uncertainty)
                    run.unplaced.append((kept_at(gap.first_sample), ends, gap))
            run.axis = block.first_sample + len(block)
            if len(block):
                ks = numbers(block.samples[:, 0])
                assert (np.diff(ks) % CYCLE == 1).all()  # a block is whole
                missing = 0 if expected is None else int((ks[0] - expected) % CYCLE)
                if missing:
                    run.true_jumps.append((run.kept, missing))
                expected = run.kept_until = int(ks[-1] + 1) % CYCLE
                run.kept += len(block)
            if watch is not None:
                watch(mic, device, block)
            now = (host.now_ns() - began) / 1e9
            if busy and now > busy[0][0]:
                host.clock.advance(busy.pop(0)[1])
            if now > seconds:
                mic.stop()
    if run.told and run.told[-1][0] == run.kept:  # it is gone at the end
        missing = device.number_at(host.now_ns()) - run.kept_until
        run.true_jumps.append((run.kept, int(missing % CYCLE)))
    return run


def check_books(run):
    """Delivered = processed + dropped, and every loss is told once."""
    stats = run.mic.stats
    assert stats.delivered == stats.processed + stats.dropped
    assert stats.processed == run.kept
    assert stats.lost == sum(gap.length for _, gap in run.told)
    assert stats.unplaced == sum(gap.length for *_, gap in run.unplaced)
    for cause in ("dropped", "host", "outage"):
        told = sum(gap.length for _, gap in run.told if gap.cause == cause)
        assert getattr(stats, cause) == told, cause


def hidden(script):
    """So many samples may be lost without a word, and nobody can tell: the host's jitter."""
    burst = (script.burst - 1) * script.blocksize * (2 if script.odd_sizes else 1)
    loose_ms = 120 if script.adc_wander_ms else min(script.wander_ms, script.adc_noise_ms)
    return burst + round((script.jitter_ms + loose_ms + 2) / 1e3 * script.sr)


def check_places(run):
    """Every true loss is told within its bound, and nothing else is."""
    script = run.script
    block = script.blocksize * (2 if script.odd_sizes else 1)
    events = [(at, 0, length, 0, 0) for at, length in run.true_jumps]
    for at, gap in run.told:  # an outage takes what was not decided yet when it came
        undecided = round(0.15 * script.sr) + 3 * block if gap.cause == "outage" else 0
        events.append((at, gap.uncertainty + undecided, 0, gap.length, gap.uncertainty))
    for begin, end, gap in run.unplaced:  # its interval is where it is; its length is as exact
        middle, reach = (begin + end) // 2, (end - begin) // 2 + block
        events.append((middle, reach, 0, gap.length, block + hidden(script)))
    clusters = []
    for at, reach, true, told, within in sorted(events, key=lambda event: event[0] - event[1]):
        if clusters and at - reach <= clusters[-1]["reach"]:
            cluster = clusters[-1]
        else:
            cluster = {"at": at, "reach": at, "true": 0, "told": 0, "within": 0}
            clusters.append(cluster)
        cluster["reach"] = max(cluster["reach"], at + reach)
        cluster["true"] += true
        cluster["told"] += told
        cluster["within"] += within
    for cluster in clusters:
        off = (cluster["told"] - cluster["true"]) % CYCLE  # numbers repeat
        off = min(off, CYCLE - off)
        assert off <= cluster["within"] + hidden(script), (
            cluster,
            run.true_jumps,
            run.told,
            run.unplaced,
        )
