"""Light of a stack's sources over the sky right beside each, which is darker in the gaps of a crowd, and
brighter in its clumps, than the mesh on which they are found."""

from __future__ import annotations

import numpy as np
from numba import njit

from reducer import dq
from reducer.instruments.base import Widths
from reducer.sources.detection import RADII, is_blurred
from reducer.types import F32, U16, Table

#: Radii of the ring of sky in pixels: beyond the first aperture and the core, within the next neighbours.
RING = (12.0, 24.0)
#: Pixels about another source that are its core; the fewest free pixels of a ring, one in nine, that tell its
#: level to a tenth of a pixel's noise.
CORE, FEWEST = 9.0, 150
#: Pixels of the first aperture, and the variance of a ring's level in it over the sum of the ring's: of a
#: median, which has pi / 2 of a mean's, where all of the ring is free.
AREA = np.pi * RADII[0] ** 2
SHARE = float(np.pi / 2.0 * (AREA / (np.pi * (RING[1] ** 2 - RING[0] ** 2))) ** 2)


def over_near_sky(sources: Table, data: F32, mask: U16, widths: Widths) -> Table:
    """The sources of an image (ny, nx) with the light in their first aperture, electrons, over the median of
    the free pixels of RING; over the mesh's ``background`` where too few are free.

    What a star's own halo has in the ring is the same part of the light of all, and in the aperture
    correction. In images of natural seeing the ring would lie in the star: their light stays as it is.
    """
    if is_blurred(sources, widths):
        return sources
    taken = ((mask & dq.UNUSABLE) != 0).astype(np.uint8)
    x, y = np.ascontiguousarray(sources["x"]), np.ascontiguousarray(sources["y"])
    _take(taken, x, y)
    level = ring_levels(data, taken, x, y)
    told = np.isfinite(level)
    changed: Table = sources.copy()
    changed["flux"][told, 0] += AREA * (sources["background"] - level)[told]
    return changed


@njit(cache=True, nogil=True)
def _take(taken, x, y):  # type: ignore[no-untyped-def]
    """Mark the pixels of all sources' cores."""
    height, width = taken.shape
    for n in range(len(x)):
        for j in range(max(int(y[n] - CORE), 0), min(int(y[n] + CORE) + 2, height)):
            for i in range(max(int(x[n] - CORE), 0), min(int(x[n] + CORE) + 2, width)):
                if (i - x[n]) ** 2 + (j - y[n]) ** 2 < CORE**2:
                    taken[j, i] = 1


@njit(cache=True, nogil=True)
def ring_levels(data, taken, x, y):  # type: ignore[no-untyped-def]
    """The median (n,) of the pixels of an image (ny, nx) in RING about places that are not taken, in its
    unit; NaN where fewer than FEWEST are free."""
    height, width = data.shape
    inner, outer = RING
    values, levels = np.empty(int(4 * (outer + 1) ** 2)), np.full(len(x), np.nan)
    for n in range(len(x)):
        count = 0
        for j in range(max(int(y[n] - outer), 0), min(int(y[n] + outer) + 2, height)):
            for i in range(max(int(x[n] - outer), 0), min(int(x[n] + outer) + 2, width)):
                square = (i - x[n]) ** 2 + (j - y[n]) ** 2
                if not taken[j, i] and inner**2 <= square < outer**2:
                    values[count] = data[j, i]
                    count += 1
        if count >= FEWEST:
            levels[n] = np.median(values[:count])
    return levels
