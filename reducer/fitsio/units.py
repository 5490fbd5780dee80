"""Where the header-data units of a FITS file stand, and how their pixels are stored."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from reducer.errors import BadFile
from reducer.instruments import instrument_of
from reducer.keywords import STANDARD_CARD, read, whole

BLOCK, CARD, LONGEST_HEADER = 2880, 80, 10_000 * 80
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
    text = _legible(text)
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
    return Unit(
        text=text,
        name=str(header.get("EXTNAME", "")).strip().upper(),
        version=version,
        start=start,
        size=abs(header["BITPIX"]) // 8 * groups * (extra + (math.prod(shape) if shape else 0)),
        shape=shape,
        dtype=dtype,
        zero=zero or 0.0,
        scale=scale or 1.0,
        is_image=str(header.get("XTENSION", "IMAGE")).strip() == "IMAGE" and len(shape) == 2 and all(shape),
    )


def _legible(text: str) -> str:
    """A header's text in which cards that are not FITS are put right, or blank, as if they were missing."""
    cards = [text[at : at + CARD] for at in range(0, len(text), CARD)]
    return "".join(card if STANDARD_CARD.fullmatch(card) else _put_right(card) for card in cards)


def _put_right(text: str) -> str:
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
