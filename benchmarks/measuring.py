"""Wall time, CPU time and memory of a command with all its processes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Seconds between two looks at the memory.
PERIOD = 0.2


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds of wall and CPU time, peak megabytes of its process tree; its output."""

    wall: float
    cpu: float
    peak: float
    code: int
    output: str


def measure(command: Sequence[str | Path], **environment: str) -> Cost:
    """Run a command and measure it; memory is the sum of Pss over the process tree."""
    begun, before = time.perf_counter(), os.times()
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )
    peak = [0.0]

    def watch() -> None:
        while process.poll() is None:
            peak[0] = max(peak[0], memory(process.pid))
            time.sleep(PERIOD)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output = process.stdout.read() if process.stdout else ""
    watcher.join()
    wall, after = time.perf_counter() - begun, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, cpu, peak[0], process.returncode, output)


def memory(pid: int) -> float:
    """Proportional set size of a process tree, megabytes; what ends while it is looked at counts nothing."""
    total = 0
    for each in descendants(pid):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1e3


def descendants(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            found += descendants(int(child))
    return found
