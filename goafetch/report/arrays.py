"""Arrays as they lie on the focal plane, thinned and painted small: what a step did, in pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from goafetch.report.draw import as_data, colour_table
from goafetch.report.pictures import NO_DATA
from goafetch.report.run_summary import RunSummary
from goafetch.report.stack_file import block_means_without_nan
from goafetch.workspace import Workspace
from reducer import fitsio
from reducer.types import F32, U16

#: Every so many rows and columns are looked at, as ArrayView.thinned does.
STEP = 4
#: Rows that are read at a time, a multiple of STEP.
ROWS = 128
#: Colours of pictures, and of what is left: too low, just right, too high.
GREY, DIVERGING = "gray", "RdBu_r"


@dataclass(frozen=True)
class StepPictures:
    """What a step did to a file: its pictures by their names (addresses that hold them), and words."""

    name: str
    pictures: Mapping[str, str]
    told: str


def read_thin(path: Path, array: int, height: int) -> tuple[F32, U16]:
    """Data and mask of every fourth pixel of every fourth row, read by bands, whose memory is used again."""
    bands = []
    for first in range(0, height, ROWS):
        data, _, mask = fitsio.read_planes(path, array, slice(first, first + ROWS), variance=False)
        bands.append((data[::STEP, ::STEP].copy(), mask[::STEP, ::STEP].copy()))
    data, mask = (np.concatenate(planes) for planes in zip(*bands, strict=True))
    return data, mask


def find_raw(folder: Path, summary: RunSummary, name: str) -> Path | None:
    """An exposure's raw file, where it still stands as the run read it."""
    places = (Workspace(folder).playdata, *([] if summary.archive else [Path(summary.program)]))
    return next((path for place in places if (path := place / f"{name}.fits").is_file()), None)


def means_of(thin: F32, bad: Any, side: int) -> F32:
    """Means of blocks of a plane (ny, nx), about ``side`` along it, without bad pixels; NaN for none."""
    block = max(1, min(thin.shape) // side)
    return block_means_without_nan(np.where(bad, np.float32(np.nan), thin), block)


def paint_arrays(
    planes: Mapping[int, F32],
    corners: Mapping[int, tuple[float, float]],
    limits: tuple[float, float],
    colours: str,
) -> str:
    """A PNG of the arrays as they lie on the focal plane, as an address that holds it."""
    from PIL import Image

    columns, rows = (sorted({corners[number][axis] for number in planes}) for axis in (0, 1))
    height, width = (max(plane.shape[axis] for plane in planes.values()) for axis in (0, 1))
    gap = max(1, width // 40)
    size = (len(rows) * (height + gap) - gap, len(columns) * (width + gap) - gap)
    codes = np.zeros(size, np.uint8)  # 0: no data
    for number, plane in planes.items():
        x, y = (place.index(corners[number][axis]) for axis, place in ((0, columns), (1, rows)))
        low, high = limits
        level = np.clip(np.nan_to_num((plane - low) / max(high - low, 1e-6)), 0, 1)
        part = np.where(np.isfinite(plane), 1 + np.round(254 * level), 0).astype(np.uint8)
        begin = (y * (height + gap), x * (width + gap))
        codes[begin[0] : begin[0] + plane.shape[0], begin[1] : begin[1] + plane.shape[1]] = part
    picture = Image.fromarray(np.ascontiguousarray(codes[::-1]), "P")  # FITS counts rows from below
    picture.putpalette(_palette(colours))
    page = io.BytesIO()
    picture.save(page, "png", compress_level=4)
    return as_data(page.getvalue())


@lru_cache(maxsize=4)
def _palette(name: str) -> bytes:
    """A colour map of 255 colours after that of places without data."""
    no_data = bytes(int(NO_DATA[place : place + 2], 16) for place in (1, 3, 5))
    return no_data + colour_table(name)[3:]
