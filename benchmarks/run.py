"""Measure the main job: stages against the machine's floor, memory, and how both grow with frames and cores.

Usage: python benchmarks/run.py [--parts stages cores cluster scaling] [--folder DIR] [--times N] [--small]

The nights are simulated into DIR (once; `--keep` leaves them there) and reduced by `goafetch run`. The table
goes to standard output and to docs/performance-table.md. The part `scaling` takes 25 GB of disk and an hour.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from floor import find_floor
from measuring import Cost, measure

from goafetch.engine.pool import available_cores
from goafetch.practice.exposure.night import Night
from goafetch.practice.simulate import build_program

TABLE = Path(__file__).parents[1] / "docs" / "performance-table.md"
GOAFETCH = Path(sys.executable).with_name("goafetch")
#: What of a night the scaling needs: one set of flats, and science.
KINDS = frozenset({"lamp-on", "lamp-off", "mask", "science", "sky"})


@dataclass(frozen=True)
class Bench:
    """Where it happens, how often each command is run, and the size of the nights' arrays."""

    folder: Path
    times: int
    size: int
    workers: int

    def night(self, size: int, objects: int = 9, skies: int = 7) -> Path:
        """A folder with a night's raw files, simulated unless it is there; each frame for itself."""
        raw = self.folder / f"night-{size}-{objects + skies}"
        if not (raw / "holdings.json").exists():
            only = KINDS if objects + skies != 16 else frozenset()
            night = Night(size=size, objects=objects, skies=skies, compress=False, only=only)
            build_program("tutorial", raw, night=night, workers=self.workers)
        return raw

    def reduce(self, raw: Path, *options: str, keep: bool = False) -> Cost:
        """Reduce a night from nothing; RuntimeError where that fails."""
        space = self.folder / f"{raw.name}-reduced"
        shutil.rmtree(space, ignore_errors=True)
        cost = self.again(raw, *options)
        if not keep:
            shutil.rmtree(space)
        return cost

    def again(self, raw: Path, *options: str) -> Cost:
        """Repeat the command in the workspace that is there."""
        space = self.folder / f"{raw.name}-reduced"
        given = ["--catalog", "none", "--json", "--quiet", "--workers", str(self.workers), *options]
        cost = measure([GOAFETCH, "run", raw, "--into", space, *given])
        if cost.code:
            raise RuntimeError(f"goafetch run {raw} ended with {cost.code}: {cost.output[-2000:]}")
        return cost


def stages(bench: Bench) -> Iterator[str]:
    """The tutorial, first and second run, stage by stage, against the floor of the same minutes."""
    raw = bench.night(bench.size)
    costs = [bench.reduce(raw, keep=True) for _ in range(bench.times)]
    second = bench.again(raw)
    space = bench.folder / f"{raw.name}-reduced"
    parts = find_floor(raw, space / "playground", bench.workers)
    shutil.rmtree(space)
    floor = sum(parts.values())
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())
    yield f"## The tutorial, {bench.size} x {bench.size} arrays, {bench.workers} workers"
    yield f"\nFloor: {floor:.1f} s ({told}). Median of {bench.times} runs.\n"
    yield "| | wall, s | times the floor | CPU, s | peak, MB |\n|---|---|---|---|---|"
    yield row("first run", median(costs), floor)
    yield row("second run, nothing to do", second, floor)
    for outcome in json.loads(costs[-1].output)["outcomes"]:
        yield f"| {outcome['kind']}: {outcome['what']} | {outcome['seconds']:.1f} | | | |"


def cores(bench: Bench) -> Iterator[str]:
    """The same with one core and with two."""
    raw = bench.night(bench.size)
    yield "## Cores\n\n| workers | wall, s | CPU, s | peak, MB |\n|---|---|---|---|"
    for count in (1, 2):
        cost = bench.reduce(raw, "--workers", str(count))
        yield f"| {count} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.peak:.0f} |"


def cluster(bench: Bench) -> Iterator[str]:
    """A local dask cluster against the pool."""
    raw = bench.night(bench.size)
    pool, dask = bench.reduce(raw), bench.reduce(raw, "--cluster", "local")
    yield "## Pool and cluster\n\n| | wall, s | CPU, s | peak, MB |\n|---|---|---|---|"
    for name, cost in (("pool", pool), ("dask, local", dask)):
        yield f"| {name} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.peak:.0f} |"
    yield f"\nThe cluster takes {dask.wall / pool.wall:.2f} times the pool's time."


def scaling(bench: Bench) -> Iterator[str]:
    """How time and memory grow with the number of science frames, each simulated for itself."""
    small = bench.size < 2048
    plan = [(512, (16, 64))] if small else [(2048, (16, 64)), (1024, (16, 64, 256))]
    yield "## Number of science frames\n"
    yield "| arrays | frames | wall, s | s a frame | CPU, s | peak, MB |\n|---|---|---|---|---|---|"
    for size, counts in plan:
        for count in counts:
            raw = bench.night(size, objects=count * 9 // 16, skies=count - count * 9 // 16)
            cost = bench.reduce(raw)
            shutil.rmtree(raw)
            yield (
                f"| {size} x {size} | {count} | {cost.wall:.1f} | {cost.wall / count:.2f} | {cost.cpu:.1f} | "
                f"{cost.peak:.0f} |"
            )


def median(costs: Sequence[Cost]) -> Cost:
    """The run of the median wall time."""
    middle = statistics.median_low([cost.wall for cost in costs])
    return next(cost for cost in costs if cost.wall == middle)


def row(name: str, cost: Cost, floor: float) -> str:
    """A line of the table."""
    return f"| {name} | {cost.wall:.1f} | {cost.wall / floor:.2f} | {cost.cpu:.1f} | {cost.peak:.0f} |"


PARTS: dict[str, Callable[[Bench], Iterator[str]]] = {
    part.__name__: part for part in (stages, cores, cluster, scaling)
}


def main() -> int:
    """Print the table and write it where the documentation takes it from."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["stages", "cores", "cluster"])
    parser.add_argument("--folder", type=Path, help="where the nights are kept from one time to the next")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--small", action="store_true", help="arrays of 512 pixels, to see that it works")
    parser.add_argument("--table", type=Path, default=TABLE)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="goafetch-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, given.times, 512 if given.small else 2048, given.workers)
    lines: list[str] = []
    try:
        for name in given.parts:
            for line in (*PARTS[name](bench), ""):
                print(line, flush=True)
                lines.append(line)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    given.table.write_text("\n".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
