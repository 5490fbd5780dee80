"""The floor of a machine: what bare kernels, and reading, hashing and writing as much, take at least."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

#: Rows that are combined at a time.
ROWS = 64


def find_floor(raw: Path, playground: Path, workers: int) -> dict[str, float]:
    """Seconds of each part on ``workers`` processes: the raw files of ``raw``, the products of a run.

    'read and md5': each raw file once. The kernels work on arrays in memory, as often as the recipe has to
    at least: 'correct' on every array of every raw file, 'combine' on all but the exposures on target,
    'detect' and 'resample' on every array of these, then combined. 'write': as many bytes as the products
    have, each file flushed to the disk as products are.
    """
    files, products = sorted(raw.glob("*.fits")), sorted(playground.glob("*.fits"))
    exposures = [_side(path, 40) for path in products if path.stem.endswith("_skyCorrected")]
    place = playground.parent / "floor"
    place.mkdir(exist_ok=True)
    sides = [_side(path, 16) for path in files]
    work: dict[str, tuple[Callable[[Any], None], list[Any]]] = {
        "read and md5": (hash_file, files),
        "correct": (correct_arrays, sides),
        "combine": (combine_array, [(max(sides), len(files) - len(exposures))] * 4),
        "detect": (detect_arrays, exposures),
        "resample": (resample_arrays, exposures),
        "write": (write_bytes, [(place / path.name, path.stat().st_size) for path in products]),
    }
    with ProcessPoolExecutor(workers) as pool:
        for function, tasks in list(work.values())[1:-1]:  # the kernels are loaded, the processes are there
            list(pool.map(function, [_small(task) for task in tasks[:workers]]))
        parts = {name: _time(pool, *todo) for name, todo in work.items()}
    place.rmdir()
    return parts


def _side(path: Path, bytes_a_pixel: int) -> int:
    """Pixels along the side of the four square arrays in a file."""
    return int((path.stat().st_size / bytes_a_pixel) ** 0.5) // 4 * 4


def _small(task: Any) -> Any:
    return (ROWS, 2) if isinstance(task, tuple) else ROWS * 2


def _time(pool: ProcessPoolExecutor, function: Callable[[Any], None], tasks: Iterable[Any]) -> float:
    begun = time.perf_counter()
    list(pool.map(function, tasks))
    return time.perf_counter() - begun


def hash_file(path: Path) -> None:
    """Read a file and take its md5."""
    with path.open("rb") as stream:
        hashlib.file_digest(stream, "md5")


def correct_arrays(side: int) -> None:
    """Counts to electrons, variance and mask for four arrays."""
    from reducer.detector import ArrayReadout, correct
    from reducer.instruments import KNOWN

    counts = np.full((side, side), 3000.0, np.float32)
    for array in (1, 2, 3, 4):
        correct(counts, ArrayReadout(KNOWN["GSAOI"].levels({"LNRS": 8}, array), 1))


def combine_array(task: tuple[int, int]) -> None:
    """The clipped mean of one array of so many frames."""
    from reducer.combine import clipped_mean

    side, frames = task
    data, variance, mask = _noise((frames, ROWS, side))
    for _ in range(side // ROWS):
        clipped_mean(data, variance, mask, 1)


def detect_arrays(side: int) -> None:
    """Background and sources of four arrays, with 300 stars each."""
    import sep

    data, variance, _ = _noise((side, side))
    rng = np.random.default_rng(3)
    for y, x in rng.integers(8, side - 8, (300, 2)):
        data[y - 2 : y + 3, x - 2 : x + 3] = 500.0
    for _ in range(4):
        background = sep.Background(data, bw=96, bh=96)
        sep.extract(data - background.back(), 5.0, err=np.sqrt(variance), minarea=5)


def resample_arrays(side: int) -> None:
    """Four arrays put on other pixels, and combined as one exposure of many."""
    from reducer.align.resample import Planes, resample_chip
    from reducer.astrometry import Inverse
    from reducer.frame import Chip
    from reducer.stack.coadd import RejectionMethod, Samples, combine

    chip = Chip(*_noise((side, side)), header={})
    half = side / 2
    tables = np.zeros((2, 7, 7))
    tables[0, 1, 0], tables[1, 0, 1], tables[:, 0, 0] = half, half, half + 0.3
    planes = Planes.empty((0, 0), (side, side))
    layers = [plane[None] for plane in (planes.data, planes.variance, planes.mask, planes.array)]
    for array in (1, 2, 3, 4):
        resample_chip(chip, array, 0, Inverse(half, half, half, tables), planes)
        combine(Samples(*layers), np.ones((1, 5)), np.ones(1), RejectionMethod())


@lru_cache(maxsize=1)
def _noise(shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Data, variance and mask of nothing but noise."""
    data = np.random.default_rng(1).normal(0.0, 30.0, shape).astype(np.float32)
    return data, np.full(shape, 900.0, np.float32), np.zeros(shape, np.uint16)


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
