"""Light of sources in round apertures, over the mean of a ring where one is given."""

from __future__ import annotations

import numpy as np
from numba import njit

#: Sums may be reordered, so that they are done many pixels at a time.
FAST = {"contract", "reassoc"}


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_run(image, variance, bad, row, first, last, sums):  # type: ignore[no-untyped-def]
    """Add the whole pixels ``first`` to ``last`` (not with it) of a row."""
    light, square, masked = 0.0, 0.0, np.uint32(0)
    for i in range(np.uint64(first), np.uint64(last)):
        light += image[row, i]
        square += variance[row, i]
        masked += np.uint32(bad[row, i])
    sums[0] += light
    sums[1] += square
    sums[2] += last - first - masked
    sums[3] += last - first


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_edge(  # type: ignore[no-untyped-def]
    image, variance, bad, row, first, last, x, dy, radius, sums
):  # fmt: skip
    """Add pixels that the circle may cut: the share of a pixel inside falls over one pixel of radius."""
    for i in range(first, last):
        share = min(max(radius + 0.5 - np.sqrt((i - x) ** 2 + dy * dy), 0.0), 1.0)
        sums[0] += share * image[row, i]
        sums[1] += share * variance[row, i]
        sums[2] += 0.0 if bad[row, i] else share
        sums[3] += share


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_disc(image, variance, bad, x, y, radius, sums):  # type: ignore[no-untyped-def]
    """Add light, its variance, good and whole area (pixels) of the part of a disc that is on the image."""
    height, width = image.shape
    for row in range(max(int(y - radius), 0), min(int(y + radius) + 2, height)):
        dy = row - y
        outer = (radius + 0.5) ** 2 - dy * dy
        if outer < 0.0:
            continue
        reach, core = np.sqrt(outer), np.sqrt(max((radius - 0.5) ** 2 - dy * dy, 0.0))
        first, last = max(int(np.ceil(x - reach)), 0), min(int(np.floor(x + reach)) + 1, width)
        left = min(max(int(np.ceil(x - core)), first), last) if core > 0.0 else last
        right = min(max(int(np.floor(x + core)) + 1, left), last)
        _add_edge(image, variance, bad, row, first, left, x, dy, radius, sums)
        _add_run(image, variance, bad, row, left, right, sums)
        _add_edge(image, variance, bad, row, right, last, x, dy, radius, sums)


@njit(cache=True, nogil=True)
def sum_apertures(image, variance, bad, x, y, radii, ring):  # type: ignore[no-untyped-def]
    """Light in discs of ``radii`` about (x, y), and its error: two arrays (n, radii).

    ``bad`` pixels (uint8), where image and variance are 0, are taken to be as bright as the mean of the
    others of their disc; nothing is added for what lies off the image. ``ring``: radii of the ring whose mean
    is taken off, (0, 0) for none. NaN where a disc or a ring has no good pixel.
    """
    shape = (len(x), len(radii))
    light, error = np.full(shape, np.nan), np.full(shape, np.nan)
    sums, hole = np.zeros(4), np.zeros(4)
    for n in range(len(x)):
        level, level_square = 0.0, 0.0
        if ring[1] > 0.0:
            sums[:], hole[:] = 0.0, 0.0
            _add_disc(image, variance, bad, x[n], y[n], ring[1], sums)
            _add_disc(image, variance, bad, x[n], y[n], ring[0], hole)
            sums -= hole
            if sums[2] < 1.0:
                continue
            level, level_square = sums[0] / sums[2], sums[1] / sums[2] ** 2
        for k in range(len(radii)):
            sums[:] = 0.0
            _add_disc(image, variance, bad, x[n], y[n], radii[k], sums)
            if sums[2] > 0.0:
                part = sums[3] / sums[2]
                light[n, k] = sums[0] * part - level * sums[3]
                error[n, k] = np.sqrt(sums[1] * part + level_square * sums[3] ** 2)
    return light, error
