"""How hosts behave, and so what is a loss with each: the evidence, before the code.

Samples that were lost make all later blocks late, by as much as was lost. But lateness alone proves
nothing: a sound server changes its buffers, and then all later blocks are late as well, with
nothing missing. Each lost sample delays *every* clock, the arrival of the blocks and the ADC time
that the host reports; a change of latency shows in the arrival alone, an ADC time that the host
corrects shows in the ADC time alone. So a loss is what one clock shows that is quiet enough, and
what the other does not contradict. How the sound servers behave is known; all other hosts are
watched, and their kind is learned within the run.

    kind         known by                           a step is looked for     it counts from, and for
    -----------  ---------------------------------  -----------------------  -----------------------
    GRAPH        JACK: it counts the frames of its  in that count; the       a cycle; 3 blocks
                 graph (`graph`)                    arrival shows when the   (1 ms, as below, that
                                                    graph stood still        it stood still)
    WANDERING    PulseAudio; an ADC time quieter    in the ADC time; the     4 ms, 5 times its noise
                 than the arrival                   arrival by its spread    and 8 times its ramp;
                                                    less at most             150 ms
    LOOSE        PipeWire                           in the arrival; the ADC  40 ms and 3 times the
                                                    time shows half of it    noise of both; 150 ms
    PROMPT       arrival and ADC time both quiet,   in the arrival; the ADC  1 ms (0.5 if the host
                 as hardware's (or there is no ADC  time agrees              flags a loss); 16 ms
                 time)                                                       and 6 blocks
    UNSTEADY     none of these: a noisy arrival     in the arrival; the ADC  2 ms and 5 times the
                 alone, or beside as noisy a time   time, if any, agrees     noise; 150 ms

The 4 ms and 5 times the noise keep chance out: on PulseAudio, medians of the ADC time over half a
second stay within 0.11 ms, but with a dozen busy processes it was wrong by 3 ms for 0.15 s.
If the machine is busy as the stream starts, its rate is wrong by up to 0.6 % for some ten seconds;
it is corrected each 1.5 s or so, by a step of up to 5 times its drift in half a second: its ramp.
What PulseAudio discards it had in its buffers; so its arrival may show less of a loss, by as much
as it usually waits there. Both of PipeWire's clocks step by up to 32 ms, now and then together,
when a client changes the length of its cycles; hence the 40 ms.

After a process was stopped for many seconds, what the server kept comes in a burst, with samples
missing inside it. PulseAudio's ADC time is wrong then: by up to 2 s for 2 s, and by up to 110 ms
for ten seconds more. The arrival is not, so it is what measures that loss. But with long blocks it
rises and falls by up to 80 ms over some half seconds, as the blocks and the server's buffers come
into step and out of it: so the earliest arrival of four half seconds counts, as it does for the
level before. `captured` goes on from the ADC level before the stop until the ADC time is right.
"""

from __future__ import annotations

from typing import NamedTuple

from rtaudio.sources.clocks import MS

HOLD_NS = 135 * MS  # how long a step is watched at most: 150 ms with the block that ends it,
LEAST_BLOCKS = 3  # or for so many blocks, if that is longer


class Kind(NamedTuple):
    """How a host behaves: a row of the table above."""

    least_ns: float
    """How large a step that counts is at least,"""
    noises: float
    """in times of the clock's noise, too."""
    watch_ns: float
    """How long it has stayed,"""
    blocks: int
    """for so many blocks."""
    prompt: bool = False
    """Whether its latency is constant."""
    by_adc: bool = False
    """Whether a step is looked for in the ADC time; else in the arrival."""
    counted: bool = False
    """Whether the host counts its frames: then they show what is lost."""


PROMPT = Kind(1 * MS, 0, 16 * MS, 6, prompt=True)
GRAPH = PROMPT._replace(counted=True)
WANDERING = Kind(4 * MS, 5, HOLD_NS, LEAST_BLOCKS, by_adc=True)
LOOSE = Kind(40 * MS, 3, HOLD_NS, LEAST_BLOCKS)
UNSTEADY = Kind(2 * MS, 5, HOLD_NS, LEAST_BLOCKS)

#: By the server that a stream goes through (`wire.Opened.server`).
OF_SERVER = {"jack": GRAPH, "pulseaudio": WANDERING, "pipewire": LOOSE}
