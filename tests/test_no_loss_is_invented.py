"""Real sound servers in trouble: nothing is invented, and what is lost is found.

Cells of `grid`, some of them at once. A player that counts in the samples knows the truth. A few
run in every run, ten minutes of each server with ``-m grid``, each trouble with each block size
and latency with ``-m soak``.
"""

import tempfile
from functools import cache

import pytest
from grid import Cell, run_cells

AT_ONCE, JACKS_AT_ONCE, BUSY_AT_ONCE = 6, 4, 2  # more, and the player itself is too late
SIZES = (1024, 0, 512, 128, 4096, 256)
TROUBLES = ("quiet", "clients", "default source", "rate adjustment", "load")
GRAPH_TROUBLES = ("quiet", "stalls", "load")
SERVERS = ("pulse", "pipewire", "jack", "jack -S")


def troubles(server):
    return GRAPH_TROUBLES if server.startswith("jack") else TROUBLES


def some(server):
    """Cells at once, of 6 s: each trouble once at least."""
    names = troubles(server)
    return [
        Cell(server, names[i % len(names)], size, ("high", "low")[i % 2], 6.0)
        for i, size in enumerate(SIZES[: 2 if server.startswith("jack") else None])
    ]


def ten_minutes(server):
    """Each trouble at each block size: thirty cells of 20 s; of JACK eight of 40 s, both ways."""
    jack = server.startswith("jack")
    return [
        Cell(server, name, size, ("high", "low")[(i + j) % 2], 40.0 if jack else 20.0)
        for i, name in enumerate(troubles(server)[: 2 if jack else None])
        for j, size in enumerate(SIZES[:4] if jack else SIZES)
    ]


def whole(server):
    """Each trouble at each block size and latency."""
    return [
        Cell(server, name, size, latency, 20.0)
        for name in troubles(server)
        for size in SIZES
        for latency in ("low", "high")
    ]


@cache
def results(which, server):
    """What became of the cells, which are run at the first call."""
    cells = which(server)
    busy = [cell for cell in cells if cell.trouble == "load"]
    others = [cell for cell in cells if cell.trouble != "load"]
    at_once = JACKS_AT_ONCE if server.startswith("jack") else AT_ONCE
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        found = [*run_cells(others, folder, at_once), *run_cells(busy, folder, BUSY_AT_ONCE)]
    return [found[[*others, *busy].index(cell)] for cell in cells]


def cases(which, servers=SERVERS):
    return [
        pytest.param(which, server, number, id=f"{server}-{cell.trouble}-{cell.blocksize}-{number}")
        for server in servers
        for number, cell in enumerate(which(server))
    ]


def check(result):
    """No zeros where sound was, no row marked for nothing, the time of each sample right."""
    assert result["invented"] == result["invented_unplaced"] == 0, result["said"]
    assert result["rows_wrongly_marked"] == 0
    assert result["stats"]["refuted"] == 0
    size_ms = 1000 * max(result["cell"]["blocksize"], 1024) / 48000
    assert result["duration_error_ms"] < size_ms + 50
    slack_ms = 25 if result["cell"]["trouble"] == "load" else 5  # the player is late there, too
    stated_ms = result["microphone"]["captured_within_ms"]
    if result["cell"]["server"].startswith("jack"):  # a block in which the graph stood still
        stated_ms += abs(result["microphone"]["largest_latency_change_ms"])
    assert result["captured_worst_ms"] < stated_ms + slack_ms + result["due_noise_ms"]


@pytest.mark.parametrize(("which", "server", "number"), cases(some))
def test_nothing_is_invented(which, server, number):
    check(results(which, server)[number])


@pytest.mark.grid
@pytest.mark.parametrize(("which", "server", "number"), cases(ten_minutes))
def test_nothing_is_invented_in_ten_minutes_of_each_server(which, server, number):
    check(results(which, server)[number])


@pytest.mark.soak
@pytest.mark.parametrize(("which", "server", "number"), cases(whole))
def test_nothing_is_invented_in_the_whole_grid(which, server, number):
    check(results(which, server)[number])
