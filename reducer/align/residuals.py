"""How far each exposure's stars lie from the mean places of the same stars, once all are aligned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reducer.align.grid import Grid
from reducer.align.match import StarList, pair_up
from reducer.frame import FrameRef
from reducer.sources.detection import NO_POSITION
from reducer.types import F64, Table

#: Arcsec within which aligned sources are the same star, and its signal to noise in the smallest aperture.
SAME, LEAST_SIGNAL = 0.06, 20.0
#: Stars of an array that count at most, the brightest first.
MOST_STARS = 150

RESIDUAL = np.dtype([("exposure", "i4"), ("X_IMAGE", "f4"), ("Y_IMAGE", "f4"), ("DX", "f4"), ("DY", "f4")])


def residual_table(frames: Sequence[FrameRef], grid: Grid) -> Table:
    """RESIDUALS of aligned frames with sources: the row of EXPOSURES from 1, the star's mean place in 1-based
    pixels of the stack, and how far this exposure shows it from there, in arcsec along x and y.

    Only stars of at least two exposures stand in it. It is measured from the final geometries, so it shows
    what is left in the stack whatever the alignment's own fit says.
    """
    places = [_places(frame, grid) for frame in frames]
    star = _identify(places, SAME / grid.scale)
    exposure = np.repeat(np.arange(1, len(frames) + 1), [len(x) for x, _ in places])
    x, y = (np.concatenate([place[axis] for place in places]) for axis in (0, 1))
    count = np.bincount(star)
    mean_x, mean_y = (np.bincount(star, values) / np.maximum(count, 1) for values in (x, y))
    several = count[star] >= 2
    table = np.zeros(int(several.sum()), RESIDUAL)
    table["exposure"] = exposure[several]
    table["X_IMAGE"], table["Y_IMAGE"] = mean_x[star[several]] + 1, mean_y[star[several]] + 1
    table["DX"] = (x - mean_x[star])[several] * grid.scale
    table["DY"] = (y - mean_y[star])[several] * grid.scale
    return table


def _places(frame: FrameRef, grid: Grid) -> tuple[F64, F64]:
    """Zero-based stack pixels of a frame's bright sources with a trusted position."""
    assert frame.geometry is not None
    found = [(np.zeros(0), np.zeros(0))]
    for chip, table in enumerate(frame.sources):
        bright = table["flux"][:, 0] > LEAST_SIGNAL * table["flux_error"][:, 0]
        kept = table[((table["flags"] & NO_POSITION) == 0) & bright][:MOST_STARS]
        found.append(grid.to_pixel(*frame.geometry.evaluate(kept["x"], kept["y"], chip)))
    return np.concatenate([x for x, _ in found]), np.concatenate([y for _, y in found])


def _identify(places: Sequence[tuple[F64, F64]], tolerance: float) -> np.ndarray:
    """Which star each place is of, exposure after exposure against a growing list."""
    known_x, known_y, parts = np.zeros(0), np.zeros(0), []
    for x, y in places:
        star = pair_up(x, y, StarList(known_x, known_y, np.zeros(len(known_x))), tolerance)
        new = np.flatnonzero(star < 0)
        star[new] = len(known_x) + np.arange(len(new))
        known_x, known_y = np.concatenate([known_x, x[new]]), np.concatenate([known_y, y[new]])
        parts.append(star)
    return np.concatenate(parts)
