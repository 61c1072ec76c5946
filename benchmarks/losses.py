"""Losses told and losses true: `python -m benchmarks.losses [--seconds 20] [--servers …] [--json]`.

The grid of `tests/grid.py`: on real sound servers, each with a trouble, a player counts in the
samples, rtaudio listens, and what it says about lost samples is compared with what is missing. By
default a subset: each trouble at three block sizes, 10 minutes for all; `--all` is all of it. A row
is of all block sizes. Needs Linux, the packages of `.ci/setup tests` and the extra `test`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from typing import Any

from benchmarks.report import from_tests, show

SR = 48000
BLOCKSIZES = (0, 128, 256, 512, 1024, 4096)
LATENCIES = ("low", "high")
SOME = ((0, "high"), (512, "low"), (1024, "high"))
TROUBLES = {
    "pulse": (
        *("quiet", "clients", "default source", "rate adjustment", "suspend", "load"),
        *("stops", "discards"),
    ),
    "jack": ("quiet", "load", "stalls", "client stalls"),
}
TROUBLES["pipewire"] = tuple(name for name in TROUBLES["pulse"] if name != "suspend")
TROUBLES["jack -S"] = TROUBLES["jack"]
LEAST_DISCARD_MS = {"pulse": 5, "pipewire": 100}
BESIDE_FEW = ("load", "suspend")  # these would disturb others, or be disturbed
FEW, JACKS = 2, 4  # of them at once, and of JACK's servers


def discards(server: str, seconds: float, seed: int) -> tuple[tuple[int, int], ...]:
    """Losses at random: of 1 to 10 times the least that must be found, 2 to 3 s apart."""
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    least = LEAST_DISCARD_MS[server] * SR // 1000
    plan, at = [], 3 * SR
    while at < (seconds - 2) * SR:
        plan.append((at, chance.randint(least, 10 * least)))
        at += chance.randint(2 * SR, 3 * SR)
    return tuple(plan)


def cells(grid: Any, args: argparse.Namespace) -> list[Any]:
    """What is run."""
    pairs = [(size, latency) for size in BLOCKSIZES for latency in LATENCIES]
    found = []
    for server in args.servers:
        for trouble in args.troubles or TROUBLES[server]:
            if trouble not in TROUBLES[server]:
                continue
            for number, (size, latency) in enumerate(pairs if args.all else SOME):
                plan = discards(server, args.seconds, number) if trouble == "discards" else ()
                found.append(
                    grid.Cell(server, trouble, size, latency, args.seconds, args.device, plan)
                )
    return found


def run(grid: Any, wanted: list[Any], at_once: int) -> list[dict[str, Any]]:
    """Run them, some at once; each says on standard error that it is done."""
    results = []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        few = [cell for cell in wanted if cell.trouble in BESIDE_FEW]
        jacks = [cell for cell in wanted if cell.jack and cell not in few]
        others = [cell for cell in wanted if cell not in few and cell not in jacks]
        limits = ((others, at_once), (jacks, JACKS), (few, FEW))
        for some, most in limits:
            for result in grid.run_cells(some, folder, min(at_once, most)):
                results.append(result)
                about = result["cell"]
                words = [about[name] for name in ("server", "trouble", "blocksize", "latency")]
                said = {name: result[name] for name in ("invented", "losses", "found")}
                print(f"{len(results)}/{len(wanted)}", *words, said, file=sys.stderr)
    return results


def row(server: str, trouble: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    """The sum of all cells of a server with a trouble."""

    def total(name: str) -> int:
        return sum(result[name] for result in results)

    def largest(name: str) -> float:
        return float(max(abs(result[name]) for result in results))

    return {
        "server": server,
        "trouble": trouble,
        "runs": len(results),
        "seconds": round(total("take_s")),
        "invented": total("invented"),
        "invented, unplaced": total("invented_unplaced"),
        "true losses": total("losses"),
        "found": total("found"),
        "missed": total("missed"),
        "misplaced": total("misplaced"),
        "wrong length": total("lengths_wrong"),
        "lost, samples": total("lost"),
        "reported": total("told"),
        "rows wrongly marked": total("rows_wrongly_marked"),
        "worst captured error ms": largest("captured_worst_ms"),
        "player's own noise ms": largest("due_noise_ms"),
        "worst duration error ms": largest("duration_error_ms"),
        "latency changes": sum(result["stats"]["latency_changes"] for result in results),
        "refuted": sum(result["stats"]["refuted"] for result in results),
    }


def main() -> None:
    """Run and show."""
    grid = from_tests("grid")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each cell")
    parser.add_argument("--servers", nargs="+", choices=grid.SERVERS, default=list(grid.SERVERS))
    parser.add_argument("--troubles", nargs="+", choices=grid.TROUBLES)
    parser.add_argument("--device", default="", help="monitor:rt, in the place of PortAudio's")
    parser.add_argument("--all", action="store_true", help="all block sizes and latencies")
    parser.add_argument("--at-once", type=int, default=1, help="how many cells run at once")
    parser.add_argument("--raw", metavar="FILE", help="all that is known of each cell, as JSON")
    args = parser.parse_args()
    results = run(grid, cells(grid, args), args.at_once)
    if args.raw:
        with open(args.raw, "w") as file:  # noqa: PTH123 - /dev/stderr, too
            json.dump(results, file)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        cell = result["cell"]
        groups.setdefault((cell["server"], cell["trouble"]), []).append(result)
    rows = [row(*names, some) for names, some in groups.items()]
    show(f"losses, cells of {args.seconds:g} s", rows, args.json)


if __name__ == "__main__":
    main()
