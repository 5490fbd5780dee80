"""Exposures of one field laid over each other, by the pointings of their headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from reducer.combine import median_of_seen
from reducer.frame import FrameRef
from reducer.keywords import region
from reducer.masks import index_of
from reducer.sky.objects import BLOCK, CELL
from reducer.steps.places import positions
from reducer.steps.skyframes import Seen
from reducer.types import F64

Seens = Mapping[int, Seen]


def common_field(
    group: Sequence[FrameRef], shown: Sequence[Seens], ratios: Mapping[int, float]
) -> tuple[list[F64], F64]:
    """The background cells of each frame, shifted to show the same sky, and their places in the field.

    Levels of arrays are brought to the mean array. Shifts follow the pointings of the headers.
    """
    east, north = positions(group)
    arrays = sorted(set.intersection(*(set(seens) for seens in shown)))
    maps, places = [], []
    for place, (frame, seens) in enumerate(zip(group, shown, strict=True)):
        rows = []
        for array in arrays:
            size = (CELL * BLOCK, CELL * BLOCK)
            moved = shift(frame, array, east[0] - east[place], north[0] - north[place], size)
            sky = median_of_seen(seens[array].cells) * (1 - 1 / ratios.get(array, 1.0))
            rows.append(_shifted(seens[array].cells.astype(float) - sky, moved).ravel())
        maps.append(np.concatenate(rows))
    for array in arrays:
        places.append(cell_places(group[0], array, shown[0][array].cells.shape))
    return maps, np.concatenate(places)


def shift(
    frame: FrameRef, array: int, east: float, north: float, cell: tuple[int, int]
) -> tuple[float, float]:
    """The shift (x, y), in cells of so many pixels, that a shift on the sky (arcsec) makes on an array."""
    header = frame.chips[index_of(frame, array)]
    matrix = np.array([[header["CD1_1"], header["CD1_2"]], [header["CD2_1"], header["CD2_2"]]]) * 3600.0
    x, y = np.linalg.solve(matrix, [east, north])
    return float(x) / cell[0], float(y) / cell[1]


def _shifted(cells: F64, moved: tuple[float, float]) -> F64:
    y, x = np.mgrid[0 : cells.shape[0], 0 : cells.shape[1]].astype(float)
    shifted: F64 = ndimage.map_coordinates(
        cells, [y + moved[1], x + moved[0]], order=1, mode="constant", cval=np.nan
    )
    return shifted


def cell_places(frame: FrameRef, array: int, shape: tuple[int, ...]) -> F64:
    """Places of the cells of an array in the field, x and y in sides of an array from the middle."""
    index = index_of(frame, array)
    where, known = region(frame.chips[index]), frame.array(index)
    (right, upper), (height, width) = known.corner, known.shape
    y, x = (np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5) * (CELL * BLOCK)
    across, up = (where.x1 + x.ravel()) / width, (where.y1 + y.ravel()) / height
    return np.stack([right + across, upper + up], axis=1)
