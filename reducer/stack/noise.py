"""How noise is correlated between a stack's pixels, computed from what made it, never from its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from reducer.align.resample import KERNELS, TAPS
from reducer.astrometry import Geometry, Grid, Inverse
from reducer.frame import Files, FrameRef
from reducer.types import F64, Table

#: Sizes n of the n x n boxes for which the table NOISE gives the ratio.
SIZES = tuple(range(2, 65))
NOISE = np.dtype([("n", "i4"), ("ratio", "f8"), ("correlation", "f8")])
#: Lags per pixel at which correlations are tabulated, and pixels beyond which there are none.
FINE, REACH = 32, 16
#: Places between pixels, all alike; the correlation of white noise.
EVERYWHERE, WHITE = (np.arange(32) + 0.5) / 32, np.ones(1)
#: Of each exposure in a stack and each sky exposure in it: see ``Contribution``. x, y are 0-based pixels of
#: the stack; an exposure without sky has one row.
SHARE = np.dtype(
    [("exposure", "i4"), ("weight", "f8"), ("x", "f8"), ("y", "f8"), ("own", "f8"), ("sky", "U68"),
     ("deviation", "f8")]
)  # fmt: skip
#: Points along each axis of the field at which interpolations are looked at; correlations that count.
POINTS, LEAST = 5, 1e-4


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
    over ``size``. ``offset``: (...,) of any shape."""
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


# --- stacks that are stacked again -------------------------------------------------------------------------


def share_table(contributions: Sequence[Contribution]) -> Table:
    """SKYSHARES, from which a stack that is stacked again tells what noise it shares with others."""
    rows = [
        (number, part.weight, *part.place, part.own, name, deviation)
        for number, part in enumerate(contributions, 1)
        for name, deviation in part.skies or (("", 0.0),)
    ]
    return np.array(rows, SHARE)


def read_contributions(files: Files, frame: FrameRef) -> list[Contribution]:
    """What the exposures of a stack contribute to it; none if its file does not say."""
    table = files.read_table(frame.path, "SKYSHARES")
    return [] if table is None else from_shares(table)


def from_shares(table: Table) -> list[Contribution]:
    """The contributions that a table SKYSHARES was made of."""
    found = []
    for number in np.unique(table["exposure"]):
        rows = table[table["exposure"] == number]
        first = rows[0]
        skies = tuple((str(row["sky"]), float(row["deviation"])) for row in rows if row["sky"])
        place = float(first["x"]), float(first["y"])
        found.append(Contribution(float(first["weight"]), place, float(first["own"]), skies))
    return found


def samplings(
    files: Files, frame: FrameRef, geometry: Geometry, inverse: Inverse, grid: Grid
) -> tuple[Sampling, Sampling]:
    """How a frame is interpolated along its columns' and rows' directions to the pixels of a stack.

    The distortion of exposures takes every phase; a stack has hardly any left, and correlated pixels.
    """
    ratio = grid.scale / geometry.pixel
    if geometry.regions[0].plane is None:
        return Sampling(ratio), Sampling(ratio)
    table = files.read_table(frame.path, "NOISE")
    known = table is not None and "correlation" in (table.dtype.names or ())
    before = np.append(1.0, table["correlation"]) if table is not None and known else WHITE
    before = before[: 1 + int(np.flatnonzero(np.abs(before) > LEAST).max())]
    along = np.linspace(0.1, 0.9, POINTS)
    columns, rows = np.meshgrid(along * grid.width, along * grid.height)
    x, y = inverse.evaluate(np.rint(columns.ravel()), np.rint(rows.ravel()))
    return Sampling(ratio, x % 1.0, before), Sampling(ratio, y % 1.0, before)


def excess_of(kernel: str, along: tuple[Sampling, Sampling]) -> float:
    """What VAR of a frame has to be multiplied by, so that interpolation leaves the true variance in it."""
    if all(len(one.before) == 1 for one in along):
        return 1.0
    return correlate(kernel, along[0]).excess * correlate(kernel, along[1]).excess


def correlation_of(kernel: str, along: Sequence[Sampling]) -> Correlation:
    """The correlation of a stack's pixels, all its exposures' interpolations taken as one."""
    phases: F64 = np.unique(np.concatenate([one.phases for one in along if one.ratio == along[0].ratio]))
    return correlate(kernel, Sampling(along[0].ratio, phases, along[0].before))
