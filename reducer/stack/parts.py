"""A stack in the making: some rows a file, so that no process need hold all of its planes at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reducer.frame import F32, U16, Chip, Files, Header
from reducer.stack.bands import Share, make_share
from reducer.steps.masks import forget


@dataclass(frozen=True)
class Parts:
    """A whole stack, (height, width), in files of ``rows`` rows (the last perhaps fewer), from the lowest on.

    Each plane is read when it is asked for, and the caller's. ``header``: of the stack's image.
    """

    files: Files
    paths: tuple[Path, ...]
    rows: int
    height: int
    width: int
    header: Header

    @property
    def data(self) -> F32:
        """The image."""
        return self._gather(lambda path: self.files.read_image(path, "SCI"), np.float32)

    @property
    def variance(self) -> F32:
        """The variance of each pixel."""
        return self._gather(lambda path: self.files.read_image(path, "VAR"), np.float32)

    @property
    def mask(self) -> U16:
        """The bits of each pixel (see dq)."""
        return self._gather(lambda path: self.files.read_planes(path, 1, None, False)[2], np.uint16)

    @property
    def exposure(self) -> F32:
        """Seconds of exposure of each pixel."""
        return self._gather(lambda path: self.files.read_image(path, "EXPTIME"), np.float32)

    def some(self, first: int, last: int) -> tuple[F32, F32, U16]:
        """Data, variance and mask of the rows from ``first`` up to ``last``."""
        shape = (last - first, self.width)
        data, variance = np.empty(shape, np.float32), np.empty(shape, np.float32)
        mask = np.empty(shape, np.uint16)
        for number in range(first // self.rows, -(-last // self.rows)):
            start = number * self.rows
            rows = slice(max(first - start, 0), min(last - start, self.rows, self.height - start))
            place = slice(start + rows.start - first, start + rows.stop - first)
            planes = self.files.read_planes(self.paths[number], 1, rows)
            data[place], variance[place], mask[place] = planes
        return data, variance, mask

    def _gather(self, read: Callable[[Path], Any], kind: type) -> NDArray[Any]:
        """One plane from all files."""
        plane: NDArray[Any] = np.empty((self.height, self.width), kind)
        for number, path in enumerate(self.paths):
            plane[number * self.rows : (number + 1) * self.rows] = read(path)
        return plane


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
