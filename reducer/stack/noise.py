"""How noise is correlated between a stack's pixels, computed from what made it, never from its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from reducer.align.kernels import KERNELS, TAPS
from reducer.types import F64, Table

#: Sizes n of the n x n boxes for which the table NOISE gives the ratio.
SIZES = tuple(range(2, 65))
NOISE = np.dtype([("n", "i4"), ("ratio", "f8"), ("correlation", "f8")])
#: Lags per pixel at which correlations are tabulated, and pixels beyond which there are none.
FINE, REACH = 32, 16
#: Places between pixels, all alike; the correlation of white noise.
EVERYWHERE, WHITE = (np.arange(32) + 0.5) / 32, np.ones(1)


@dataclass(frozen=True)
class Sampling:
    """An interpolation along one axis: output pixel over input pixel, the ``phases`` (pixels) at which it
    falls between input pixels, and how those are correlated that are 0, 1, 2 ... pixels apart, ``before``."""

    ratio: float
    phases: F64 = field(default_factory=lambda: EVERYWHERE)
    before: F64 = field(default_factory=lambda: WHITE)


@dataclass(frozen=True)
class Contribution:
    """What an exposure puts into a stack's noise: its weight (sum 1 over exposures), place (output pixels),
    the variance of its own, and the standard deviations that each sky exposure (by name) leaves in it."""

    weight: float
    place: tuple[float, float]
    own: float
    skies: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Correlation:
    """How an interpolated image's pixels are correlated along a row, 1 at lag 0: ``table`` at FINE lags a
    pixel, from -REACH to REACH. ``excess``: their variance over that which VAR gets, the weights' squares
    times the variances of pixels that it takes to be independent."""

    table: F64
    excess: float

    def at(self, lags: F64) -> F64:
        """The correlation of pixels at some distances (output pixels)."""
        known = (np.arange(len(self.table)) - len(self.table) // 2) / FINE
        return np.asarray(np.interp(lags, known, self.table, left=0.0, right=0.0), float)


def correlate(kernel: str, sampling: Sampling) -> Correlation:
    """The correlation along a row that an interpolation makes of its input's."""
    lags = np.arange(-REACH * FINE, REACH * FINE + 1) / FINE * sampling.ratio
    reach = int(REACH * sampling.ratio) + TAPS + len(sampling.before)
    pixels = np.arange(-reach, reach + 1)
    away = pixels - sampling.phases[:, None]
    weights = KERNELS[kernel](np.abs(away))
    steps = np.abs(pixels[:, None] - pixels)
    spread = weights @ np.append(sampling.before, 0.0)[np.minimum(steps, len(sampling.before))]
    table = np.array([(KERNELS[kernel](np.abs(away - lag)) * spread).sum(axis=1).mean() for lag in lags])
    variance = float(table[len(table) // 2])
    return Correlation(table / variance, variance / float((weights**2).sum(axis=1).mean()))


def box_sum(correlation: Correlation, size: int, offset: F64) -> F64:
    """Sum over a row of ``size`` pixels of their correlation with the same row shifted by ``offset`` pixels,
    over ``size``."""
    d = np.arange(-(size - 1), size)
    tent = 1.0 - np.abs(d) / size
    return correlation.at(d - np.asarray(offset)[..., None]) @ tent


def noise_table(contributions: Sequence[Contribution], correlation: Correlation) -> Table:
    """NOISE: by what sqrt(sum of VAR) over n x n pixels must be multiplied to give the noise of their sum,
    for n; and the correlation of two pixels of a row or column that are n - 1 apart.

    Interpolation correlates neighbours; a sky exposure that several exposures share correlates the same
    pixel of the detector, which the dither moves by the difference of their places.
    """
    table = np.zeros(len(SIZES), NOISE)
    table["n"] = SIZES
    table["correlation"] = correlation.at(np.array(SIZES) - 1.0)
    variance, shared, gaps = _pairs(contributions)
    for row in table:
        size = int(row["n"])
        alone = float(box_sum(correlation, size, np.zeros(1))[0]) ** 2 * variance
        both = box_sum(correlation, size, gaps[:, 0]) * box_sum(correlation, size, gaps[:, 1])
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
