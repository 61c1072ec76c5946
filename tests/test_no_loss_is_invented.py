"""Real sound servers in trouble: nothing is invented, and what is lost is found.

Cells of `grid`, some of them at once. A player that counts in the samples knows the truth. A few
run in every run, ten minutes of each server with ``-m grid``, each trouble with each block size
and latency with ``-m soak``.
"""

import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
from grid import Cell, run_cells

AT_ONCE, JACKS_AT_ONCE, BUSY_AT_ONCE = 6, 4, 2  # more, and the player itself is too late
SIZES = (1024, 0, 512, 128, 4096, 256)
TROUBLES = ("quiet", "clients", "default source", "rate adjustment", "load")
GRAPH_TROUBLES = ("quiet", "stalls", "load")
SERVERS = ("pulse", "pipewire", "jack", "jack -S")
MONITOR = "monitor:rt"


def troubles(server):
    return GRAPH_TROUBLES if server.startswith("jack") else TROUBLES


def some(server):
    """Some cells of 6 s, at once."""
    if server.startswith("jack"):
        return [Cell(server, "stalls", SIZES[0], "high", 6.0)]
    return [
        Cell(server, "quiet", 1024, "high", 6.0),
        Cell(server, "clients", 0, "low", 6.0),
        Cell(server, "rate adjustment", 512, "high", 6.0),
        Cell(server, "clients", 256, "low", 6.0, device=MONITOR),
    ]


def ten_minutes(server):
    """Each trouble at each block size: thirty cells of 20 s; of JACK eight of 30 s, both ways.

    Half of the thirty by PortAudio's device, half by the monitor itself.
    """
    jack = server.startswith("jack")
    return [
        Cell(
            *(server, name, size, ("high", "low")[(i + j) % 2], 30.0 if jack else 20.0),
            device="" if jack or (i + j // 2) % 2 else MONITOR,
        )
        for i, name in enumerate(troubles(server)[: 2 if jack else None])
        for j, size in enumerate(SIZES[:4] if jack else SIZES)
    ]


def low(server):
    """Each trouble at each block size, at low latency."""
    return _whole(server, "low")


def high(server):
    """Each trouble at each block size, at high latency."""
    return _whole(server, "high")


def _whole(server, latency):
    return [Cell(server, name, size, latency, 20.0) for name in troubles(server) for size in SIZES]


@cache
def results(which, server):
    """What became of the cells, which are run at the first call; what goes wrong is kept."""
    cells = which(server)
    busy = [cell for cell in cells if cell.trouble == "load"]
    others = [cell for cell in cells if cell.trouble != "load"]
    at_once = JACKS_AT_ONCE if server.startswith("jack") else AT_ONCE
    folder = Path(tempfile.mkdtemp(prefix="grid-", dir="/tmp"))
    found = [*run_cells(others, folder, at_once), *run_cells(busy, folder, BUSY_AT_ONCE)]
    for result in found:
        if not faults(result):
            shutil.rmtree(result["folder"])
    if not any(folder.iterdir()):
        folder.rmdir()
    return [found[[*others, *busy].index(cell)] for cell in cells]


def cases(which, servers=SERVERS):
    return [
        pytest.param(
            which, server, number, id=f"{server}-{cell.trouble}-{cell.blocksize}-{cell.latency}"
        )
        for server in servers
        for number, cell in enumerate(which(server))
    ]


def faults(result):
    """What is wrong: zeros where sound was, rows marked for nothing, a sample's time."""
    size_ms = 1000 * max(result["cell"]["blocksize"], 1024) / 48000
    slack_ms = 25 if result["cell"]["trouble"] == "load" else 5  # the player is late there, too
    stated_ms = result["microphone"]["captured_within_ms"]
    if result["cell"]["server"].startswith("jack"):  # a block in which the graph stood still
        stated_ms += abs(result["microphone"]["largest_latency_change_ms"])
    most = {
        "invented": 0,
        "invented_unplaced": 0,
        "rows_wrongly_marked": 0,
        "refuted": 0,
        "duration_error_ms": size_ms + 50,
        "captured_worst_ms": stated_ms + slack_ms + result["due_noise_ms"],
    }
    found = result | result["stats"]
    return {name: found[name] for name, value in most.items() if not found[name] <= value}


@pytest.mark.parametrize(("which", "server", "number"), cases(some))
def test_nothing_is_invented(which, server, number):
    result = results(which, server)[number]
    assert faults(result) == {}, (result["folder"], result["said"])


@pytest.mark.grid
@pytest.mark.parametrize(("which", "server", "number"), cases(ten_minutes))
def test_nothing_is_invented_in_ten_minutes_of_each_server(which, server, number):
    result = results(which, server)[number]
    assert faults(result) == {}, (result["folder"], result["said"])


@pytest.mark.soak
@pytest.mark.parametrize(("which", "server", "number"), cases(low) + cases(high))
def test_nothing_is_invented_in_the_whole_grid(which, server, number):
    result = results(which, server)[number]
    assert faults(result) == {}, (result["folder"], result["said"])
