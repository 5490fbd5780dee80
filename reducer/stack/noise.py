"""How noise is correlated between a stack's pixels, computed from what made it, never from its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reducer.align.kernels import KERNELS
from reducer.frame import F64, Table

#: Sizes n of the n x n boxes for which the table NOISE gives the ratio.
SIZES = tuple(range(2, 65))
NOISE = np.dtype([("n", "i4"), ("ratio", "f8")])


@dataclass(frozen=True)
class Contribution:
    """What an exposure puts into a stack's noise: its weight (sum 1 over exposures), place (output pixels),
    the variance of its own, and the standard deviations that each sky exposure (by name) leaves in it."""

    weight: float
    place: tuple[float, float]
    own: float
    skies: tuple[tuple[str, float], ...] = ()


def autocorrelation(kernel: str, lags: F64) -> F64:
    """Correlation of two interpolated values as a function of their distance in input pixels, 1 at 0.

    For independent input pixels and all phases alike it is the kernel's autocorrelation.
    """
    step = 1.0 / 64.0
    t = np.arange(-6.0, 6.0, step)
    h = KERNELS[kernel](np.abs(t))
    full = np.correlate(h, h, "full")
    at = (np.arange(len(full)) - (len(t) - 1)) * step
    return np.asarray(np.interp(lags, at, full / full.max(), left=0.0, right=0.0), float)


def box_sum(kernel: str, ratio: float, size: int, offset: F64) -> F64:
    """Sum over a row of ``size`` pixels of their correlation with the same row shifted by ``offset`` pixels,
    over ``size``; ``ratio``: output pixel over input pixel."""
    d = np.arange(-(size - 1), size)
    tent = 1.0 - np.abs(d) / size
    return autocorrelation(kernel, (d - np.asarray(offset)[..., None]) * ratio) @ tent


def noise_table(contributions: Sequence[Contribution], kernel: str, ratio: float) -> Table:
    """By what sqrt(sum of VAR) over n x n pixels must be multiplied to give the noise of their sum, for n.

    Interpolation correlates neighbours; a sky exposure that several exposures share correlates the same
    pixel of the detector, which the dither moves by the difference of their places.
    """
    table = np.zeros(len(SIZES), NOISE)
    table["n"] = SIZES
    variance, shared, gaps = _pairs(contributions)
    for row in table:
        size = int(row["n"])
        alone = float(box_sum(kernel, ratio, size, np.zeros(1))[0]) ** 2 * variance
        both = box_sum(kernel, ratio, size, gaps[:, 0]) * box_sum(kernel, ratio, size, gaps[:, 1])
        row["ratio"] = np.sqrt((alone + float(shared @ both)) / variance)
    return table


def _pairs(contributions: Sequence[Contribution]) -> tuple[float, F64, F64]:
    """Total variance as VAR holds it, and for each pair of exposures what they share and their distance."""
    variance = sum(c.weight**2 * (c.own + sum(s**2 for _, s in c.skies)) for c in contributions)
    shared, gaps = [], []
    for a in contributions:
        for b in contributions:
            common = sum(s * dict(b.skies).get(name, 0.0) for name, s in a.skies) if a is not b else 0.0
            if common:
                shared.append(a.weight * b.weight * common)
                gaps.append((a.place[0] - b.place[0], a.place[1] - b.place[1]))
    return float(variance), np.array(shared), np.array(gaps, float).reshape(-1, 2)
