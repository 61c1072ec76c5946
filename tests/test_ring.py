"""The ring: everything once, in order, or dropped and counted; nothing is ever overwritten."""

import mmap
import os
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtaudio.capture import ring
from rtaudio.capture.ring import RingReader, RingWriter
from rtaudio.capture.stream import Callback
from rtaudio.capture.wire import ENDED

CHANNELS = 2


def pair(samples, records):
    memory = bytearray(ring.size(CHANNELS, samples, records))
    arguments = (memory, CHANNELS, samples, records)
    return RingWriter(*arguments), RingReader(*arguments)


def block(first, length):
    """Samples that are their own number, in both channels."""
    numbers = np.arange(first, first + length, dtype=np.float32)
    return np.repeat(numbers[:, np.newaxis], CHANNELS, axis=1)


def read(reader, record):
    out = np.zeros((record.length, CHANNELS), np.float32)
    reader.copy(record, out.data.cast("B"))
    return out


@given(
    st.integers(1, 40),
    st.integers(1, 8),
    st.lists(st.one_of(st.integers(1, 15), st.none()), max_size=60),
)
def test_each_sample_comes_once_or_is_counted(samples, records, steps):
    writer, reader = pair(samples, records)
    delivered = taken = dropped = 0
    waiting = []
    for step in [*steps, None]:
        if step is not None:
            data = block(delivered, step)
            reader.heard(writer.write(data.data.cast("B"), step, 7, -1, False))
            delivered += step
            assert reader.delivered == delivered
            continue
        waiting += reader.new()
        for record in waiting:
            assert record.first == taken + record.dropped
            dropped = record.dropped
            np.testing.assert_array_equal(read(reader, record), block(record.first, record.length))
            taken += record.length
        waiting.clear()
    assert reader.dropped >= dropped
    assert taken + reader.dropped == delivered


def test_a_full_ring_drops_the_newest():
    writer, reader = pair(10, 10)
    for first in (0, 4, 8):  # the third does not fit
        reader.heard(writer.write(block(first, 4).data.cast("B"), 4, 0, -1, False))
    records = reader.new()
    assert [(r.first, r.length) for r in records] == [(0, 4), (4, 4)]
    assert reader.dropped == 4
    read(reader, records[0])  # gives room
    reader.heard(writer.write(block(12, 4).data.cast("B"), 4, 0, -1, False))
    (newest,) = reader.new()
    assert (newest.first, newest.dropped) == (12, 4)
    np.testing.assert_array_equal(read(reader, records[1]), block(4, 4))
    np.testing.assert_array_equal(read(reader, newest), block(12, 4))


def test_a_full_table_of_records_drops_too():
    writer, reader = pair(100, 2)
    for first in range(3):
        reader.heard(writer.write(block(first, 1).data.cast("B"), 1, 0, -1, False))
    assert len(reader.new()) == 2
    assert reader.dropped == 1


def test_what_the_host_says_is_kept():
    writer, reader = pair(100, 10)
    writer.write(block(0, 5).data.cast("B"), 5, 123, 45, False)
    writer.write(block(5, 5).data.cast("B"), 5, 678, -1, True)
    writer.granted(60)
    reader.look()  # no bell was heard
    first, second = reader.new()
    assert (first.clock_ns, first.age_ns, first.overflow) == (123, 45, 0)
    assert (second.clock_ns, second.age_ns, second.overflow) == (678, -1, 1)
    assert reader.priority == 60
    assert not reader.finished
    writer.finish(ENDED)
    assert reader.finished == ENDED


@pytest.mark.parametrize(
    ("adc", "now", "age_ns"),
    [
        (100.0, 100.25, 250_000_000),
        (100.0, 100.0, 0),
        (0.0, 5.0, -1),  # not filled in
        (100.5, 100.0, -1),  # heard before it was spoken
        (80.0, 100.0, -1),  # another clock's
    ],
)
@pytest.mark.parametrize("overflow", [False, True])
def test_the_callback_takes_the_devices_time_where_it_makes_sense(adc, now, age_ns, overflow):
    writer, reader = pair(100, 10)
    bells = []
    callback = Callback(writer, bells.append, clock=lambda: 123, begin=lambda: 60)
    times = SimpleNamespace(inputBufferAdcTime=adc, currentTime=now)
    callback(block(0, 5), 5, times, SimpleNamespace(input_overflow=overflow))
    reader.look()
    (record,) = reader.new()
    assert (record.length, record.clock_ns) == (5, 123)
    assert (record.age_ns, record.overflow) == (age_ns, overflow)
    assert (bells, reader.priority) == ([1], 60)


def test_a_callback_without_frames_is_no_block():
    writer, reader = pair(100, 10)
    callback = Callback(writer, lambda written: None)
    times = SimpleNamespace(inputBufferAdcTime=0, currentTime=0)
    for count in (5, 0, 5):
        callback(block(0, count), count, times, None)
    reader.look()
    assert [record.length for record in reader.new()] == [5, 5]


def test_a_broken_record_is_told():
    writer, reader = pair(100, 4)
    reader.heard(writer.write(block(0, 5).data.cast("B"), 5, 0, -1, False))
    reader.heard(2)  # a bell that rang for nothing
    with pytest.raises(ValueError, match="record 1 is broken"):
        reader.new()


@pytest.mark.filterwarnings("ignore:.*fork")  # the child touches nothing but the ring
def test_between_two_processes_through_few_places():
    """100,000 numbered samples through a ring of 64, neither side waiting for the other."""
    samples, records, total = 64, 16, 100_000
    memory = mmap.mmap(-1, ring.size(CHANNELS, samples, records))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            writer = RingWriter(memory, CHANNELS, samples, records)
            for first in range(0, total, 10):
                writer.write(block(first, 10).data.cast("B"), 10, 0, -1, False)
            writer.finish(ENDED)
            status = 0
        finally:
            os._exit(status)
    reader = RingReader(memory, CHANNELS, samples, records)
    taken, exited = 0, (0, 0)
    while exited == (0, 0):
        exited = os.waitpid(pid, os.WNOHANG)  # before the last look
        reader.look()
        for record in reader.new():
            np.testing.assert_array_equal(read(reader, record), block(record.first, record.length))
            assert record.first == taken + record.dropped
            taken += record.length
    assert exited == (pid, 0)
    assert reader.finished == ENDED
    assert taken + reader.dropped == total
    assert taken > 0
