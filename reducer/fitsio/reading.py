"""Read frames: where the units of a file stand, headers alone, arrays or blocks of their rows, tables."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from reducer.errors import BadFile
from reducer.frame import Chip, FrameRef
from reducer.instruments import instrument_of
from reducer.keywords import STANDARD_CARD, read, whole
from reducer.types import Header, Table, table_of

BLOCK, CARD, LONGEST_HEADER = 2880, 80, 10_000 * 80
#: Cards of a third axis.
THIRD_AXIS = re.compile(r"((NAXIS|CTYPE|CUNIT|CRPIX|CRVAL|CDELT|CROTA|AXISLAB)3|(CD|PC)(3_\d|\d_3))(?![\w-])")
FITS_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True, slots=True)
class Unit:
    """Where one header-data unit stands in its file, and how its pixels are stored."""

    text: str
    name: str
    version: int
    start: int
    size: int
    shape: tuple[int, ...]
    dtype: str
    zero: float
    scale: float
    is_image: bool

    def header(self) -> fits.Header:
        """A fresh header, the caller's to change."""
        return fits.Header.fromstring(self.text)


def units_of(path: Path) -> tuple[Unit, ...]:
    """The units of a FITS file, from its headers alone; BadFile if it is not FITS or ends too early."""
    try:
        state = path.stat()
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}", "a FITS file that can be read") from error
    return _scan(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=512)
def _scan(path: Path, file_size: int, _mtime: int) -> tuple[Unit, ...]:
    units: list[Unit] = []
    position = 0
    with path.open("rb") as file:
        while position < file_size:
            text = _read_header_text(file, position, path)
            unit = _unit(text, position + len(text), path)
            position = unit.start + -(-unit.size // BLOCK) * BLOCK
            if position > file_size:  # in the blanks behind its pixels too: all the other units are missing
                raise BadFile(
                    f"{path.name} ends {position - file_size} bytes too early",
                    f"{position} bytes",
                    "fetch the file again",
                )
            units.append(unit)
    if not units:
        raise BadFile(f"{path.name} is empty", "a FITS file", "fetch the file again")
    return tuple(units)


def _read_header_text(file: BinaryIO, position: int, path: Path) -> str:
    file.seek(position)
    blocks: list[bytes] = []
    while True:
        block = file.read(BLOCK)
        if not blocks and block[:9] not in (b"SIMPLE  =", b"XTENSION="):
            raise BadFile(f"{path.name} is not FITS at byte {position}", "a FITS header", _remedy(path))
        if len(block) < BLOCK or not block.isascii():
            raise BadFile(f"{path.name} breaks off within a header", "an END card", "fetch the file again")
        blocks.append(block)
        if len(blocks) * BLOCK > LONGEST_HEADER:
            raise BadFile(f"{path.name} has a header without end", "an END card", "fetch the file again")
        if any(block[at : at + CARD].rstrip() == b"END" for at in range(0, BLOCK, CARD)):
            return b"".join(blocks).decode("ascii")


def _remedy(path: Path) -> str:
    return "unpack it first" if path.suffix in (".bz2", ".tar", ".gz") else "fetch the file again"


def _unit(text: str, start: int, path: Path) -> Unit:
    cards = [text[at : at + CARD] for at in range(0, len(text), CARD)]
    text = "".join(card if STANDARD_CARD.fullmatch(card) else _put_right(card) for card in cards)
    header = fits.Header.fromstring(text)
    try:
        axes = whole(header, "NAXIS", highest=999)
        shape = tuple(whole(header, f"NAXIS{axis}") for axis in range(axes, 0, -1))
        dtype = FITS_TYPES[header["BITPIX"]]
        groups, extra = whole(header, "GCOUNT", 1), whole(header, "PCOUNT", 0)
        version = whole(header, "EXTVER", 1)
        zero, scale = read(header, "BZERO", float), read(header, "BSCALE", float)
        if (zero is None and "BZERO" in header) or (not scale and "BSCALE" in header):
            raise ValueError("BZERO and BSCALE")
    except (KeyError, ValueError, TypeError) as error:
        raise BadFile(
            f"{path.name}: a header without valid {error}", "the form of its pixels", "fetch the file again"
        ) from error
    size = abs(header["BITPIX"]) // 8 * groups * (extra + (math.prod(shape) if shape else 0))
    if len(shape) == 3 and shape[0] == 1:
        text, shape = _without_third_axis(text), shape[1:]
    return Unit(
        text=text,
        name=str(header.get("EXTNAME", "")).strip().upper(),
        version=version,
        start=start,
        size=size,
        shape=shape,
        dtype=dtype,
        zero=zero or 0.0,
        scale=scale or 1.0,
        is_image=str(header.get("XTENSION", "IMAGE")).strip() == "IMAGE" and len(shape) == 2 and all(shape),
    )


def _without_third_axis(text: str) -> str:
    """The header of an image of one plane, which is written as a cube by some instruments, as that of an
    image."""
    cards = (text[at : at + CARD] for at in range(0, len(text), CARD))
    two = f"NAXIS   = {2:>20}".ljust(CARD)
    return "".join(
        two if card[:8] == "NAXIS   " else " " * CARD if THIRD_AXIS.match(card) else card for card in cards
    )


def _put_right(text: str) -> str:
    """A card that is not FITS put right, or blank, as if it were missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)
        try:
            card = fits.Card.fromstring(text)
            card.verify("silentfix")
            right = str(fits.Card(card.keyword, card.value))
        except (ValueError, fits.VerifyError):
            return " " * CARD
    return right if len(right) == CARD else " " * CARD


def chip_units(path: Path) -> dict[int, Unit]:
    """The unit with the pixels of each array, by array number (1 for a stack), in rising order.

    Products name them SCI; raw files and bad-pixel masks do not, there ARRAYID, then DETSEC, tells the array.
    """
    state = path.stat()
    return _chip_units_of(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=512)
def _chip_units_of(path: Path, _size: int, _mtime: int) -> dict[int, Unit]:
    units = units_of(path)
    science = {unit.version: unit for unit in units[1:] if unit.is_image and unit.name == "SCI"}
    if science and any(unit.name in ("VAR", "DQ") for unit in units):
        return dict(sorted(science.items()))
    images = [unit for unit in units[1:] if unit.is_image]
    instrument = instrument_of(units[0].header(), path.name)
    numbers = instrument.numbers([unit.header() for unit in images])
    found = {number: unit for number, unit in zip(numbers, images, strict=True) if number is not None}
    if not images or len(found) != len(images):
        raise BadFile(
            f"{path.name} has {len(images)} image extensions that are not the arrays of {instrument.name}",
            f"{len(instrument.arrays)} of them, or fewer with ARRAYID or DETSEC saying which arrays they are",
            "fetch the file again, or leave it out",
        )
    return dict(sorted(found.items()))


# --- frames ----------------------------------------------------------------------------------------


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

    What is not asked for is zero, as is what a product has no data for; counts that are read alone stay as
    they are: what is no number among them is lost.
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
    if science.name == "SCI" and (variance or mask):
        # Zeros for the NaN of a stack where it has no data: its mask says so, and sums go on.
        for plane, is_read in zip(planes, (data, variance), strict=False):
            if is_read:
                plane[np.isnan(plane)] = 0.0
    return planes


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
    columns = {column: np.array(stored[column]) for column in stored.names}
    return table_of({name: each.astype(each.dtype.newbyteorder("=")) for name, each in columns.items()})


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
