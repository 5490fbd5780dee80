"""Cosmic rays: straight tracks through a thin layer of HgCdTe, with charge that spreads to neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from goafetch.practice.exposure.region import Region

F32 = NDArray[np.float32]
#: Rows, columns (0-based in the region that is read) and electrons of pixels struck.
Hits = tuple[NDArray[np.int64], NDArray[np.int64], F32]

#: Events per cm^2 and second at 2700 m, cm per pixel, thickness of the layer in pixels.
RATE, PIXEL, THICKNESS = 0.035, 18e-4, 0.45
#: Median charge per pixel of path, electrons; scatter of its logarithm; part that couples to a neighbour.
CHARGE, SCATTER, COUPLING = 16000.0, 0.5, 0.012


def draw_hits(region: Region, seconds: float, rng: np.random.Generator) -> Hits:
    """All pixels struck during one coadd."""
    count = rng.poisson(RATE * seconds * region.nx * region.ny * PIXEL**2)
    image: dict[tuple[int, int], float] = {}
    for _ in range(count):
        x, y = rng.uniform(0, region.nx), rng.uniform(0, region.ny)
        slope = np.tan(np.arccos(rng.uniform(0.02, 1.0) ** (1.0 / 3.0)))
        length, angle = THICKNESS * slope, rng.uniform(0.0, 2 * np.pi)
        total = CHARGE * np.hypot(length, THICKNESS) * rng.lognormal(0.0, SCATTER)
        steps = max(8, int(8 * length))
        along = rng.uniform(0.0, length, steps)
        px = x + along * np.cos(angle) + 0.25 * rng.standard_normal(steps)
        py = y + along * np.sin(angle) + 0.25 * rng.standard_normal(steps)
        for i, j in zip(np.floor(px).astype(int), np.floor(py).astype(int), strict=True):
            _deposit(image, int(j), int(i), float(total / steps))
    kept = {k: v for k, v in image.items() if 0 <= k[0] < region.ny and 0 <= k[1] < region.nx}
    rows = np.array([k[0] for k in kept], np.int64)
    columns = np.array([k[1] for k in kept], np.int64)
    return rows, columns, np.rint(np.array(list(kept.values()))).astype(np.float32)


def _deposit(image: dict[tuple[int, int], float], row: int, column: int, charge: float) -> None:
    """Add charge to a pixel, and a little to its four neighbours."""
    image[row, column] = image.get((row, column), 0.0) + charge * (1.0 - 4.0 * COUPLING)
    for j, i in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        key = (row + j, column + i)
        image[key] = image.get(key, 0.0) + charge * COUPLING
