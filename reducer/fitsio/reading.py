"""Read frames: their headers alone, arrays or blocks of their rows, tables."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from reducer.errors import BadFile
from reducer.fitsio.units import BLOCK, Unit, chip_units, units_of
from reducer.frame import Chip, FrameRef
from reducer.instruments import instrument_of
from reducer.types import Header, Table


def read_headers(path: Path) -> tuple[Header, list[Header]]:
    """The primary header and those of all extensions, without touching the pixels."""
    primary, *extensions = (unit.header() for unit in units_of(path))
    return primary, extensions


def open_frame(path: Path) -> FrameRef:
    """A frame by its headers; BadFile if not FITS, cut short, without arrays or of another instrument."""
    path = Path(path)
    primary = units_of(path)[0].header()
    instrument_of(primary, path.name)
    chips = []
    for number, unit in chip_units(path).items():
        header = unit.header()
        header["EXTVER"] = number
        chips.append(header)
    return FrameRef(path=path, header=primary, chips=tuple(chips))


def read_chip(frame: FrameRef, index: int, rows: slice | None = None, variance: bool = True) -> Chip:
    """One array of a frame, or some of its rows: raw files have zero variance and an empty mask.

    The header is that of ``frame.chips[index]``; a variance not asked for is zero. A source makes its pixels.
    """
    if frame.source is not None:
        planes = frame.source.pixels(frame, index, rows, variance)
    else:
        planes = read_planes(frame.path, int(frame.chips[index]["EXTVER"]), rows, variance)
    return Chip(*planes, header=frame.chips[index])


def read_planes(
    path: Path,
    array: int,
    rows: slice | None = None,
    variance: bool = True,
    mask: bool = True,
    data: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
    """What ``read_chip`` reads of the array of that number (1 for a stack), without any header.

    What is not asked for is zero, as is what a product has no data for.
    """
    science = chip_units(path)[array]
    first, last, _ = (rows or slice(None)).indices(science.shape[0])
    shape = (last - first, science.shape[1])

    def beside(name: str, wanted: bool, dtype: type) -> NDArray[Any]:
        if not wanted:
            return np.broadcast_to(dtype(0), shape)
        like = (unit for unit in units_of(path) if unit.version == array and unit.shape == science.shape)
        unit = next((unit for unit in like if unit.name == name and science.name == "SCI"), None)
        return np.zeros(shape, dtype) if unit is None else _pixels(path, unit, rows, dtype)

    image = _pixels(path, science, rows, np.float32) if data else np.broadcast_to(np.float32(0), shape)
    planes = image, beside("VAR", variance, np.float32), beside("DQ", mask, np.uint16)
    if science.name == "SCI":
        for plane, wanted in zip(planes, (data, variance), strict=False):
            if wanted:
                _fill_gaps(plane)
    return planes


def _fill_gaps(plane: NDArray[np.float32]) -> None:
    """Put zeros for the NaN of a stack where it has no data: its mask says so, and sums go on."""
    gaps = np.isnan(plane)
    if gaps.any():
        plane[gaps] = 0.0


def _pixels(path: Path, unit: Unit, rows: slice | None, dtype: type) -> NDArray[Any]:
    height, width = unit.shape
    first, last, _ = (rows or slice(None)).indices(height)
    raw = np.empty((last - first, width), unit.dtype)
    with path.open("rb", buffering=0) as file:
        file.seek(unit.start + first * width * raw.itemsize)
        length = file.readinto(raw.view(np.uint8).data)
    if length != raw.nbytes:
        raise BadFile(f"{path.name} became shorter while it was read", f"{raw.nbytes} bytes", "run again")
    # Turned round where it is: fresh memory costs more than the reading.
    native = raw.byteswap(inplace=True).view(raw.dtype.newbyteorder())
    if unit.zero == 32768 and unit.scale == 1 and native.dtype == np.int16:
        unsigned = native.view(np.uint16)
        unsigned ^= np.uint16(0x8000)
        return unsigned.astype(dtype, copy=False)
    if unit.zero or unit.scale != 1:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and then no data
            return (native * unit.scale + unit.zero).astype(dtype)
    return native.astype(dtype, copy=False)


def read_table(path: Path, name: str) -> Table | None:
    """A table of a product by its name, None if it has none of that name."""
    unit = next((unit for unit in units_of(path) if unit.name == name), None)
    if unit is None:
        return None
    with path.open("rb") as file:
        file.seek(unit.start - len(unit.text))
        stored = fits.BinTableHDU.fromstring(file.read(len(unit.text) + -(-unit.size // BLOCK) * BLOCK)).data
    columns = [np.array(stored[column]) for column in stored.names]
    kinds = [column.dtype.newbyteorder("=") for column in columns]
    table = np.empty(len(stored), list(zip(stored.names, kinds, (c.shape[1:] for c in columns), strict=True)))
    for name, column in zip(stored.names, columns, strict=True):
        table[name] = column
    return table


def read_image(path: Path, name: str, rows: slice | None = None) -> NDArray[Any] | None:
    """The first image of a product of a name, such as EXPTIME, or some of its rows, in float32, a mask in
    uint16; None if it has none of that name."""
    unit = next((unit for unit in units_of(path) if unit.is_image and unit.name == name), None)
    return None if unit is None else _pixels(path, unit, rows, np.uint16 if name == "DQ" else np.float32)


def key_of(path: Path) -> str:
    """The key that a product carries (GOAFKEY): what it was made from and how; '' if it carries none."""
    return str(units_of(path)[0].header().get("GOAFKEY", ""))


def is_whole(path: Path) -> bool:
    """Whether every unit of a product still has the checksums that it was written with."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", AstropyUserWarning)
        try:
            with path.open("rb") as raw, fits.open(raw, memmap=False, checksum=True) as file:
                return all("CHECKSUM" in unit.header for unit in file)
        except AstropyUserWarning:
            return False
