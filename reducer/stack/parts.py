"""A stack in the making: some rows a file, so that no process need hold all of its planes at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reducer import dq
from reducer.frame import Chip, Files
from reducer.masks import forget
from reducer.stack.bands import Share, make_share
from reducer.types import F32, U16, Header


@dataclass(frozen=True)
class Parts:
    """A whole stack, (height, width), in files of ``rows`` rows (the last perhaps fewer), from the lowest on.

    ``header``: of the stack's image.
    """

    files: Files
    paths: tuple[Path, ...]
    rows: int
    height: int
    width: int
    header: Header

    @property
    def data(self) -> Plane:
        """The image."""
        return Plane(self, "SCI", np.dtype(np.float32))

    @property
    def variance(self) -> Plane:
        """The variance of each pixel."""
        return Plane(self, "VAR", np.dtype(np.float32))

    @property
    def mask(self) -> Plane:
        """The bits of each pixel (see dq)."""
        return Plane(self, "DQ", np.dtype(np.uint16))

    @property
    def exposure(self) -> Plane:
        """Seconds of exposure of each pixel."""
        return Plane(self, "EXPTIME", np.dtype(np.float32))

    def some(self, first: int, last: int) -> tuple[F32, F32, U16]:
        """Data, variance and mask of the rows from ``first`` up to ``last``."""
        rows = slice(first, last)
        return self.data[rows], self.variance[rows], self.mask[rows]


@dataclass(frozen=True)
class Written:
    """The planes of a stack as its file has them: ``fill`` in SCI and VAR where there are no data."""

    parts: Parts
    fill: float

    @property
    def header(self) -> Header:
        """Of the stack's image."""
        return self.parts.header

    @property
    def data(self) -> Filled:
        """The image."""
        return Filled(self.parts.data, self.parts.mask, self.fill)

    @property
    def variance(self) -> Filled:
        """The variance of each pixel."""
        return Filled(self.parts.variance, self.parts.mask, self.fill)

    @property
    def mask(self) -> Plane:
        """The bits of each pixel (see dq)."""
        return self.parts.mask


@dataclass(frozen=True)
class Filled:
    """A plane whose pixels without data get a value as they are read."""

    plane: Plane
    mask: Plane
    fill: float

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the stack."""
        return self.plane.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values."""
        return self.plane.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        values = self.plane[rows]
        values[(self.mask[rows] & dq.NO_DATA) != 0] = self.fill
        return values


@dataclass(frozen=True)
class Plane:
    """One plane of a stack in parts, whose rows are read when they are asked for, and then the caller's."""

    parts: Parts
    name: str
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the stack."""
        return self.parts.height, self.parts.width

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        each = self.parts.rows
        first, last, _ = rows.indices(self.parts.height)
        found: NDArray[Any] = np.empty((last - first, self.parts.width), self.dtype)
        for number in range(first // each, -(-last // each)):
            start, end = max(first, number * each), min(last, (number + 1) * each)
            within = slice(start - number * each, end - number * each)
            path = self.parts.paths[number]
            found[start - first : end - first] = self.parts.files.read_image(path, self.name, within)
        return found


def write_part(task: tuple[Share, Path]) -> Path:
    """Make a share of a stack and leave it in a file, under the headers of the first exposure."""
    share, path = task
    forget()
    made, first = make_share(share), share.exposures[0].frame
    header = first.chips[0].copy()
    header["EXTVER"] = 1
    chip = Chip(made.data, made.variance, made.mask, header)
    images = {"EXPTIME": made.exposure}
    return share.files.write_frame(path, first.header, [chip], images=images, lasting=False)
