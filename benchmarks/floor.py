"""The machine's own floor: what reading, hashing, correcting and writing the same bytes takes at least."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np


def find_floor(raw: Path, playground: Path, workers: int) -> dict[str, float]:
    """Seconds of each part on ``workers`` processes: the raw files of ``raw``, the products of a run.

    'read and md5': each raw file once. 'kernel': the fused detector pass over every array of every raw file.
    'write': as many bytes as the products have, each file flushed to the disk as products are.
    """
    files = sorted(raw.glob("*.fits"))
    sizes = [path.stat().st_size for path in playground.glob("*.fits")]
    place = playground.parent / "floor"
    place.mkdir(exist_ok=True)
    writes = [(place / f"{number}", size) for number, size in enumerate(sizes)]
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(correct_arrays, files[:workers]))  # the kernel is loaded, the processes are there
        parts = {
            "read and md5": _time(pool, hash_file, files),
            "kernel": _time(pool, correct_arrays, files),
            "write": _time(pool, write_bytes, writes),
        }
    place.rmdir()
    return parts


def _time(pool: ProcessPoolExecutor, function: Callable[[Any], None], tasks: Iterable[Any]) -> float:
    begun = time.perf_counter()
    list(pool.map(function, tasks))
    return time.perf_counter() - begun


def hash_file(path: Path) -> None:
    """Read a file and take its md5."""
    with path.open("rb") as stream:
        hashlib.file_digest(stream, "md5")


def correct_arrays(path: Path) -> None:
    """Counts to electrons, variance and mask for as many pixels as a file has, without the disk."""
    from reducer.detector import Exposure, correct

    side = int((path.stat().st_size / 16) ** 0.5) // 4 * 4
    counts = np.full((side, side), 3000.0, np.float32)
    for array in (1, 2, 3, 4):
        correct(counts, Exposure.of(array, 1, "Faint Object"))


def write_bytes(task: tuple[Path, int]) -> None:
    """Write so many bytes to the disk, and take the file away again."""
    path, size = task
    block = bytes(1 << 20)
    with path.open("wb") as stream:
        for _ in range(size // len(block) + 1):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())
    path.unlink()
