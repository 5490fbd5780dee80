"""A stack in the making: rows resampled and combined within the memory allowed, in files read as planes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reducer import dq
from reducer.align.resample import Planes, resample_chip, rows_needed
from reducer.errors import BadInput
from reducer.frame import Chip, Files
from reducer.masks import forget
from reducer.stack.coadd import REACH, Combined, RejectionMethod, Samples, combine
from reducer.stack.exposures import Exposure
from reducer.stack.snowballs import hide_snowballs
from reducer.types import F32, U16, Header

# --- rows, made band after band --------------------------------------------------------------------

#: Rows beyond a band that its result depends on: neighbours of rejected samples, and the contrast there.
MARGIN = 2 * REACH
#: Bytes of a sample, and the part of a task's memory that samples may fill.
SAMPLE_BYTES, SAMPLES_PART = 12, 0.5
#: More rows at a time take memory, and no less time.
MOST_ROWS = 96
#: The fewest rows of a band: slow, but better than to refuse hundreds of exposures.
FEWEST_ROWS = 2


@dataclass(frozen=True)
class Share:
    """Rows of the stack that one task makes: all that a worker process needs, without the pixels.

    ``memory``: bytes that the task may fill. ``counted``: whether rejected samples are counted.
    """

    files: Files
    exposures: tuple[Exposure, ...]
    width: int
    first_row: int
    rows: int
    rejection: RejectionMethod
    operation: str
    kernel: str
    memory: int
    counted: bool = False


def band_rows(count: int, width: int, memory: int) -> int:
    """How many rows of ``width`` samples of ``count`` exposures a task of ``memory`` bytes makes at a time.

    BadInput if not even the fewest fit.
    """
    row = count * width * SAMPLE_BYTES / SAMPLES_PART
    rows = int(memory / row) - 2 * MARGIN
    if rows < FEWEST_ROWS:
        least = int(row * (FEWEST_ROWS + 2 * MARGIN) / 1e6) + 1
        found = f"{memory / 1e6:.0f} MB a task are too little for {count} exposures of {width} columns"
        raise BadInput(found, f"{least} MB a task", "a larger --memory, or fewer --workers")
    return rows


def make_share(share: Share) -> Combined:
    """Resample all exposures to the rows of a share and combine them, band after band.

    What two bands have in common is resampled once. The result does not depend on the size of the bands.
    """
    count = len(share.exposures)
    rows = min(band_rows(count, share.width, share.memory), share.rows, MOST_ROWS)
    samples = Samples.empty(count, rows + 2 * MARGIN, share.width)
    weights = np.stack([exposure.weights for exposure in share.exposures])
    seconds = np.array([exposure.seconds for exposure in share.exposures])
    made = Combined.empty(share.rows, share.width, counted=share.counted)
    for start in range(0, share.rows, rows):
        kept = 2 * MARGIN if start else 0
        samples.keep_last(kept)
        if not fill_samples(share, samples, share.first_row + start - MARGIN, kept) and not kept:
            continue
        band = combine(samples, weights, seconds, share.rejection, share.operation, counted=share.counted)
        made.put(band.trimmed(MARGIN, MARGIN), start)
    return made


def fill_samples(share: Share, samples: Samples, top: int, kept: int) -> bool:
    """Resample what the exposures have for the samples but the first ``kept`` rows; whether that is anything.

    ``top``: the stack's row of the first row of samples.
    """
    anything = False
    for number, exposure in enumerate(share.exposures):
        planes = Planes((0, top + kept), samples.data[number, kept:], samples.variance[number, kept:],
                        samples.mask[number, kept:], samples.array[number, kept:])  # fmt: skip
        anything |= fill_planes(share.files, exposure, planes, share.kernel)
    return anything


def fill_planes(files: Files, exposure: Exposure, planes: Planes, kernel: str) -> bool:
    """Read what an exposure has for some output pixels, level and scale it, and resample it."""
    anything = False
    for chip, (array, inverse) in enumerate(zip(exposure.arrays, exposure.inverses, strict=True)):
        header = exposure.frame.chips[chip]
        size = (int(header["NAXIS2"]), int(header["NAXIS1"]))
        rows = rows_needed(inverse, planes.corner, planes.data.shape, size)
        if rows is None:
            continue
        block = files.read_chip(exposure.frame, chip, rows)
        for ball in exposure.snowballs[chip] if exposure.snowballs else ():
            hide_snowballs(block.mask, ball, rows.start)
        if exposure.excess != 1.0:
            block.variance[:] *= np.float32(exposure.excess)
        plane = exposure.levels[chip].plane
        resample_chip(block, array, rows.start, inverse, planes, kernel, plane, exposure.factor)
        anything = True
    return anything


# --- the planes of all rows, of which no process need hold a whole one -----------------------------


@dataclass(frozen=True)
class Parts:
    """A whole stack, (height, width), in files of ``rows`` rows (the last perhaps fewer), from the lowest on.

    ``header``: of the stack's image; ``fill``: its value, and its variance, where there are no data.
    """

    files: Files
    paths: tuple[Path, ...]
    rows: int
    height: int
    width: int
    header: Header
    fill: float = 0.0

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
    def rejected(self) -> Plane:
        """How many samples of each pixel were rejected, where they were counted."""
        return Plane(self, "REJMAP", np.dtype(np.float32))

    @property
    def exposure(self) -> Plane:
        """Seconds of exposure of each pixel."""
        return Plane(self, "EXPTIME", np.dtype(np.float32))

    def some(self, first: int, last: int) -> tuple[F32, F32, U16]:
        """Data, variance and mask of the rows from ``first`` up to ``last``."""
        rows = slice(first, last)
        return self.data[rows], self.variance[rows], self.mask[rows]


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
        if self.parts.fill != 0.0 and self.name in ("SCI", "VAR"):
            found[(self.parts.mask[rows] & dq.NO_DATA) != 0] = self.parts.fill
        return found


def write_part(task: tuple[Share, Path]) -> Path:
    """Make a share of a stack and leave it in a file, under the headers of the first exposure."""
    share, path = task
    forget()
    made, first = make_share(share), share.exposures[0].frame
    header = first.chips[0].copy()
    header["EXTVER"] = 1
    chip = Chip(made.data, made.variance, made.mask, header)
    images = {"EXPTIME": made.exposure} | ({"REJMAP": made.rejected} if made.rejected is not None else {})
    return share.files.write_frame(path, first.header, [chip], images=images, lasting=False)
