"""Stacks that are stacked again: what a stack's tables say of its noise, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reducer.align.grid import Grid
from reducer.astrometry.geometry import Geometry, Inverse
from reducer.frame import Files, FrameRef
from reducer.stack.noise import WHITE, Contribution, Correlation, Sampling, correlate
from reducer.types import F64, Table

#: Of each exposure in a stack and each sky exposure in it: see ``Contribution``. x, y are 0-based pixels of
#: the stack; an exposure without sky has one row.
SHARE = np.dtype(
    [("exposure", "i4"), ("weight", "f8"), ("x", "f8"), ("y", "f8"), ("own", "f8"), ("sky", "U68"),
     ("deviation", "f8")]
)  # fmt: skip
#: Points along each axis of the field at which interpolations are looked at; correlations that count.
POINTS, LEAST = 5, 1e-4


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
