"""Read products: pixels, with no data as NaN, headers and tables, and where a product came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goafetch.errors import UsageError
from reducer import dq, fitsio
from reducer.types import F32, U16, Header, Table

WORLD = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")

#: Rows that are in memory at a time: a whole number of tiles.
BAND = 512


@dataclass(frozen=True)
class StackPixels:
    """Pixels of a stack: ``data`` in electrons, NaN where nothing was measured; ``variance``; ``mask``."""

    data: F32
    variance: F32
    mask: U16


#: Gives some rows of a stack's planes; the variance only where it is asked for, else zero.
Rows = Callable[[slice, bool], StackPixels]


@dataclass(frozen=True)
class StackFile:
    """A stack, most of which stays on the disk.

    ``header`` is the primary header, ``science`` that of the pixels; ``tables`` by extension name. ``shape``
    (ny, nx) of the whole; ``rows`` reads of it. ``thin``: every other pixel along x and y; ``seconds``:
    exposure time of these, None if the product has no such map. ``half``: means of 2 x 2 pixels; ``ends``:
    the lowest and the highest of all pixels, NaN without any.
    """

    path: Path
    header: Header
    science: Header
    tables: Mapping[str, Table]
    shape: tuple[int, int]
    rows: Rows
    thin: StackPixels
    seconds: F32 | None
    half: F32
    ends: tuple[float, float]

    def value(self, *keys: str) -> float | None:
        """The first of the keywords that stands as a finite number in either header."""
        for key in keys:
            for header in (self.science, self.header):
                number = as_number(header.get(key))
                if number is not None:
                    return number
        return None

    def text(self, key: str) -> str:
        """A keyword of either header as text, empty if it is missing."""
        return str(self.header.get(key, self.science.get(key, ""))).strip()

    @property
    def frame(self) -> str:
        """The frame of the coordinates: ICRS, or FK5 (J2000) where they rest on the telescope's pointing."""
        return self.text("RADESYS") or "ICRS"

    def world(self) -> dict[str, float] | None:
        """The keywords of the tangential projection; None where the stack has no such projection."""
        values = {key: self.value(key) for key in WORLD}
        values = {key: 0.0 if v is None and key.startswith("CD") else v for key, v in values.items()}
        known = {key: value for key, value in values.items() if value is not None}
        is_tangential = self.text("CTYPE1").startswith("RA---TAN")
        return known if is_tangential and len(known) == len(WORLD) else None


@dataclass(frozen=True)
class Mosaic:
    """The arrays of a frame by number: every other pixel, NaN where the mask says bad.

    ``masked``: the part of all pixels that is bad.
    """

    path: Path
    header: Header
    data: Mapping[int, F32]
    masked: float


def read_stack(path: Path) -> StackFile:
    """Read a stack once, by bands of rows; raises reducer.errors.BadFile."""
    frame = fitsio.open_frame(path)
    science = frame.chips[0]

    def rows(part: slice, variance: bool) -> StackPixels:
        chip = fitsio.read_chip(frame, 0, part, variance)
        chip.data[(chip.mask & dq.NO_DATA) != 0] = np.nan
        return StackPixels(chip.data, chip.variance, chip.mask)

    shape = int(science["NAXIS2"]), int(science["NAXIS1"])
    about = {"path": path, "header": frame.header, "science": science, "tables": read_tables(path)}
    return make_stack_file(shape, rows, seconds=_read_seconds(path, shape[0]), **about)


def _read_seconds(path: Path, height: int) -> F32 | None:
    """Every other pixel of the map of exposure times, None if the product has none."""
    thin = []
    for part in bands(height):
        seconds = fitsio.read_image(path, "EXPTIME", part)
        if seconds is None:
            return None
        thin.append(seconds[::2, ::2].copy())
    return np.concatenate(thin)


def make_stack_file(shape: tuple[int, int], rows: Rows, **about: Any) -> StackFile:
    """A stack of (ny, nx) pixels from its rows; ``about``: the fields that do not follow from them."""
    size = tuple(-(-side // 2) for side in shape)
    thin = StackPixels(np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.uint16))
    half, low, high = np.empty(size, np.float32), [], []
    for part in bands(shape[0]):
        read, place = rows(part, True), slice(part.start // 2, -(-part.stop // 2))
        thin.data[place], thin.variance[place] = read.data[::2, ::2], read.variance[::2, ::2]
        thin.mask[place], half[place] = read.mask[::2, ::2], block_means_without_nan(read.data, 2)
        low.append(np.fmin.reduce(read.data, axis=None))
        high.append(np.fmax.reduce(read.data, axis=None))
    ends = float(np.fmin.reduce(low)), float(np.fmax.reduce(high))
    return StackFile(shape=shape, rows=rows, thin=thin, half=half, ends=ends, **about)


def bands(height: int) -> Iterator[slice]:
    """All rows of a picture in turn, a band of them at a time."""
    return (slice(first, min(first + BAND, height)) for first in range(0, height, BAND))


def read_mosaic(path: Path) -> Mosaic:
    """Read the arrays of a flat or of an exposure; raises reducer.errors.BadFile."""
    frame = fitsio.open_frame(path)
    data, masked = {}, []
    for index, header in enumerate(frame.chips):
        chip = fitsio.read_chip(frame, index, variance=False)
        bad = (chip.mask & dq.BAD) != 0
        data[int(header["EXTVER"])] = np.where(bad, np.float32(np.nan), chip.data)[::2, ::2].copy()
        masked.append(bad.mean())
    return Mosaic(path=path, header=frame.header, data=data, masked=float(np.mean(masked)))


def read_tables(path: Path) -> dict[str, Table]:
    """All tables of a product by name."""
    _, extensions = fitsio.read_headers(path)
    names = [str(e.get("EXTNAME", "")).upper() for e in extensions if e.get("XTENSION") == "BINTABLE"]
    tables = {name: fitsio.read_table(path, name) for name in names}
    return {name: table for name, table in tables.items() if table is not None}


def column(table: Table | None, *names: str) -> np.ndarray[Any, Any] | None:
    """The first of the columns that a table has, whatever the case of its name."""
    if table is None or table.dtype.names is None:
        return None
    known = {name.upper(): name for name in table.dtype.names}
    found = [known[name.upper()] for name in names if name.upper() in known]
    return table[found[0]] if found else None


def as_number(value: object) -> float | None:
    """A header's value as a finite number, or None."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def shrink(image: F32, most: int) -> tuple[F32, int]:
    """Average square blocks until no side exceeds ``most`` pixels; NaN only where a whole block is NaN.

    Returns the smaller image and the side of a block.
    """
    factor = max(1, -(-max(image.shape) // most))
    return (image, 1) if factor == 1 else (block_means_without_nan(image, factor), factor)


def block_means_without_nan(image: F32, side: int) -> F32:
    """Means of ``side`` x ``side`` pixels, NaN left out; what is left over at an edge is a block too."""
    lack = [(0, -length % side) for length in image.shape]
    padded = np.pad(image, lack, constant_values=np.nan) if any(more for _, more in lack) else image
    known = np.isfinite(padded)
    total, count = _sum(np.where(known, padded, np.float32(0)), side), _sum(known.view(np.uint8), side)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count, np.float32)


def _sum(plane: NDArray[Any], side: int) -> F32:
    """Sums of blocks: rows first, whose pixels lie side by side."""
    rows = plane[::side].astype(np.float32)
    for first in range(1, side):
        rows += plane[first::side]
    total = rows[:, ::side].copy()
    for first in range(1, side):
        total += rows[:, first::side]
    return total


Records = list[dict[str, Any]]
#: Tables of a product and what they are called when shown.
TABLES = {"PROVENANCE": "inputs and calibrations", "HISTORY": "steps", "VERSIONS": "versions"}


def read_provenance(product: Path) -> dict[str, Records]:
    """What a product is, its inputs with md5, its steps with parameters, and versions, each as rows.

    Raises UsageError for a file that does not tell where it came from, BadFile for one that is not FITS.
    """
    from reducer.fitsio import read_headers, read_table

    if not product.is_file():
        raise UsageError(f"there is no file {product}", "a product of goafetch")
    primary, _ = read_headers(product)
    story = {"product": _facts(product, primary)}
    for name, title in TABLES.items():
        table = read_table(product, name)
        if table is not None:
            story[title] = [dict(zip(table.dtype.names or (), row, strict=True)) for row in table.tolist()]
    if len(story) == 1:
        raise UsageError(
            f"{product.name} does not tell where it came from",
            "a product of goafetch, such as playground/*_image.fits",
        )
    return story


def _facts(product: Path, primary: Any) -> Records:
    known = {"object": "OBJECT", "made": "GEM-TLM", "first input": "ORIGNAME", "key": "GOAFKEY"}
    rows = [{"fact": "file", "value": product.name}]
    rows += [{"fact": fact, "value": str(primary[key])} for fact, key in known.items() if key in primary]
    history = primary.get("HISTORY", ())
    return rows + [{"fact": "history", "value": str(line)} for line in history]
