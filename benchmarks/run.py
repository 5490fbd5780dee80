"""Measure the main job on the full-size tutorial night: wall time, CPU time, peak memory, stage by stage.

Usage: python benchmarks/run.py [--folder DIR] [--workers N] [--results FILE.json]

The night is simulated once into DIR (3.2 GB). The floor is what the same machine needs, in the same run, to
read every raw file once with its md5, in as many processes; times are best read as ratios to it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from goafetch.engine.pool import available_cores


def simulate(folder: Path) -> None:
    """Make the night unless it is there."""
    if not (folder / "holdings.json").exists():
        command = [sys.executable, "-m", "goafetch.practice.simulate", "--out", str(folder)]
        subprocess.run([*command, "--full-size", "--uncompressed"], check=True)


def hash_file(path: Path) -> str:
    """The md5 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def floor(folder: Path, workers: int) -> float:
    """Seconds to read and hash every raw file once."""
    begun = time.perf_counter()
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(hash_file, sorted(folder.glob("*.fits"))))
    return time.perf_counter() - begun


def children(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += children(int(child))
    return found


def memory(pid: int) -> float:
    """Proportional set size of a process tree, megabytes; what ends while it is looked at counts nothing."""
    total = 0
    try:
        for each in children(pid):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return total / 1e3
    return total / 1e3


def measure(command: list[str]) -> dict[str, Any]:
    """Run a command; its wall and CPU seconds, the peak memory of its process tree, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak = [0.0]

    def watch() -> None:
        while process.poll() is None:
            peak[0] = max(peak[0], memory(process.pid))
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    wall = time.perf_counter() - begun
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "peak": peak[0], "exit": process.returncode, "output": output}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "goafetch-full-night")
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    simulate(given.folder)
    least = floor(given.folder, given.workers)
    with tempfile.TemporaryDirectory(dir=given.folder.parent) as space:
        command = [str(Path(sys.executable).parent / "goafetch"), "run", str(given.folder), "--into", space]
        command += ["--workers", str(given.workers), "--json", "-q"]
        rows = {"first run": measure(command), "second run": measure(command)}
    stages = {
        o["kind"] + " " + o["what"]: o["seconds"] for o in json.loads(rows["first run"]["output"])["outcomes"]
    }
    print(f"{given.workers} workers; floor (read and hash all raw files once): {least:.1f} s")
    for name, row in rows.items():
        ratio = row["wall"] / least
        print(f"{name:12} wall {row['wall']:7.1f} s ({ratio:5.1f} floors)  CPU {row['cpu']:7.1f} s  "
              f"peak {row['peak']:6.0f} MB  exit {row['exit']}")  # fmt: skip
    for stage, seconds in stages.items():
        print(f"  {seconds:7.1f} s  {stage}")
    if given.results:
        kept = {name: {k: v for k, v in row.items() if k != "output"} for name, row in rows.items()}
        given.results.write_text(json.dumps({"floor": least, "runs": kept, "stages": stages}, indent=1))
    return max(row["exit"] for row in rows.values())


if __name__ == "__main__":
    sys.exit(main())
