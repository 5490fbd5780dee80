"""Read products for the report: pixels, headers and tables, with no data as NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reducer import dq, fitsio
from reducer.frame import F32, U16, Header, Table

WORLD = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")


@dataclass(frozen=True)
class Stack:
    """A stack in memory.

    ``data`` (ny, nx) in electrons, NaN where nothing was measured; ``variance`` and ``mask`` alike;
    ``seconds``: exposure time of each pixel, None if the product has no such map. ``header`` is the
    primary header, ``science`` that of the pixels; ``tables`` by extension name.
    """

    path: Path
    header: Header
    science: Header
    data: F32
    variance: F32
    mask: U16
    seconds: F32 | None
    tables: Mapping[str, Table]

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

    def world(self) -> dict[str, float] | None:
        """The keywords of the tangential projection; None where the stack has no such projection."""
        values = {key: self.value(key) for key in WORLD}
        values = {key: 0.0 if v is None and key.startswith("CD") else v for key, v in values.items()}
        known = {key: value for key, value in values.items() if value is not None}
        is_tangential = self.text("CTYPE1").startswith("RA---TAN")
        return known if is_tangential and len(known) == len(WORLD) else None


@dataclass(frozen=True)
class Mosaic:
    """The arrays of a frame, by number 1..4, in memory, with their masks."""

    path: Path
    header: Header
    data: Mapping[int, F32]
    masks: Mapping[int, U16]


def read_stack(path: Path) -> Stack:
    """Read a stack whole; raises reducer.errors.BadFile."""
    frame = fitsio.open_frame(path)
    chip = fitsio.read_chip(frame, 0)
    data = np.where(chip.mask & dq.NO_DATA, np.float32(np.nan), chip.data)
    return Stack(
        path=path,
        header=frame.header,
        science=chip.header,
        data=data,
        variance=chip.variance,
        mask=chip.mask,
        seconds=fitsio.read_image(path, "EXPTIME"),
        tables=read_tables(path),
    )


def read_mosaic(path: Path) -> Mosaic:
    """Read the arrays of a flat or of an exposure; raises reducer.errors.BadFile."""
    frame = fitsio.open_frame(path)
    chips = {int(header["EXTVER"]): index for index, header in enumerate(frame.chips)}
    read = {number: fitsio.read_chip(frame, index, variance=False) for number, index in chips.items()}
    return Mosaic(
        path=path,
        header=frame.header,
        data={number: np.asarray(chip.data, np.float32) for number, chip in read.items()},
        masks={number: chip.mask for number, chip in read.items()},
    )


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
