"""Random nights from raw files to stack, each judged by its truth: what fails, and how often.

Usage: python benchmarks/nights.py FIRST COUNT [--folder DIR] [--workers 2] [--command goafetch] [--keep]

A night of a seed is always the same. Prints a line for each night with a fault, and a table at the end; exit
code 1 where the limits are not met: no fault but lost exposures, of which at most 2 % over all nights with
troubles, none without.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# As for a run: threads of the linear algebra would take the cores of other processes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from judge_night import Judgement, judge
from random_night import draw, write

#: Share of the good exposures of nights with troubles that may be left out.
LOST = 0.02


@dataclass(frozen=True)
class Row:
    """One night's outcome."""

    seed: int
    told: str
    troubles: tuple[str, ...]
    good: int
    result: Judgement


def try_night(seed: int, folder: Path, command: str, keep: bool, size: int = 512) -> Row:
    """Draw, simulate, reduce and judge one night."""
    night = draw(seed, size)
    place = folder / f"night{seed}"
    raw, truth = write(night, place)
    code = reduce(raw, place / "work", command)
    result = judge(night, place / "work", truth, code)
    if not (keep and result.faults):
        shutil.rmtree(place)
    return Row(seed, night.told(), night.troubles, len(night.must), result)


def reduce(raw: Path, work: Path, command: str) -> int:
    """Run the program as a user does; its exit code."""
    line = [
        *command.split(),
        "run",
        str(raw),
        "--into",
        str(work),
        "--catalog",
        "none",
        "--phot-catalog",
        "none",
    ]
    environment = os.environ | {"GOAFETCH_WORKERS": "1"}
    with (raw.parent / "run.txt").open("w") as output:
        return subprocess.run(line, stdout=output, stderr=output, env=environment, check=False).returncode


def tabulate(rows: list[Row]) -> bool:
    """Print what failed, by trouble and by kind; whether the limits are met."""
    kinds = Counter(fault.split(":")[0] for row in rows for fault in row.result.faults)
    print(f"\n{len(rows)} nights, {sum(bool(row.result.faults) for row in rows)} with a fault: {dict(kinds)}")
    for trouble in sorted({t for row in rows for t in row.troubles or ("none",)}):
        having = [row for row in rows if trouble in (row.troubles or ("none",))]
        failed = Counter(f.split(":")[0] for row in having for f in row.result.faults)
        faulty = sum(bool(row.result.faults) for row in having)
        print(f"  {trouble:18s} {len(having):4d} nights, {faulty:3d} with a fault {dict(failed)}")
    for what, figure in (("fluxes", "flux"), ("positions", "rms")):
        blind = [row.seed for row in rows if figure not in row.result.figures]
        print(f"{what} not judged, too few stars: {len(blind)} nights {blind}")
    bad = [row for row in rows if row.troubles]
    lost, good = sum(row.result.lost for row in bad), sum(row.good for row in bad)
    clean = sum(row.result.lost for row in rows if not row.troubles)
    print(f"good exposures left out: {lost} of {good} in nights with troubles, {clean} in nights without")
    return not (set(kinds) - {"lost"}) and lost <= LOST * good and not clean


def main() -> None:
    """Try the nights and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=int, help="seed of the first night")
    parser.add_argument("count", type=int)
    parser.add_argument("--folder", type=Path, help="where nights are made")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=512, help="pixels a side of an array, 2048 are all")
    parser.add_argument("--command", default=f"{sys.executable} -m goafetch", help="what runs the program")
    parser.add_argument("--keep", action="store_true", help="keep the nights that have a fault")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    seeds = range(given.first, given.first + given.count)
    rows = []
    with ProcessPoolExecutor(given.workers) as pool:
        for row in pool.map(
            try_night, seeds, *([x] * given.count for x in (folder, given.command, given.keep, given.size))
        ):
            rows.append(row)
            figures = ", ".join(f"{key} {value:.3g}" for key, value in row.result.figures.items())
            print(f"{row.seed} {row.told} [{figures}]", *row.result.faults, sep="\n    ", flush=True)
    sys.exit(0 if tabulate(rows) else 1)


if __name__ == "__main__":
    main()
