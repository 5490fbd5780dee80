"""Read frames, and write them so that a file with its final name is always whole."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from reducer.errors import BadFile
from reducer.frame import Chip, FrameRef, Header, Pixels, Table, ascii_columns
from reducer.headers.keywords import STANDARD_CARD, array_number, read, whole

BLOCK, CARD, LONGEST_HEADER = 2880, 80, 10_000 * 80
FITS_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
STORED = ("BZERO", "BSCALE", "BLANK", "CHECKSUM", "DATASUM", "SIMPLE", "XTENSION", "BITPIX", "NAXIS",
          "NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "GCOUNT", "EXTEND", "GROUPS")  # fmt: skip


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


def read_headers(path: Path) -> tuple[Header, list[Header]]:
    """The primary header and those of all extensions, without touching the pixels."""
    primary, *extensions = (unit.header() for unit in units_of(path))
    return primary, extensions


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
    numbers = [
        array_number(unit.header(), position if len(images) == 4 else None)
        for position, unit in enumerate(images, 1)
    ]
    found = {number: unit for number, unit in zip(numbers, images, strict=True) if number is not None}
    if not images or len(found) != len(images):
        raise BadFile(
            f"{path.name} has {len(images)} image extensions that are not the arrays of GSAOI",
            "four image extensions, or fewer with ARRAYID or DETSEC saying which arrays they are",
            "fetch the file again, or leave it out",
        )
    return dict(sorted(found.items()))


def open_frame(path: Path) -> FrameRef:
    """A frame by its headers; BadFile if not FITS, cut short, without arrays or of another instrument."""
    path = Path(path)
    primary = units_of(path)[0].header()
    instrument = str(primary.get("INSTRUME", "")).strip()
    if instrument.upper() != "GSAOI":
        raise BadFile(
            f"{path.name} is from {instrument or 'an unnamed instrument'}", "INSTRUME 'GSAOI'", "leave it out"
        )
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
    path: Path, array: int, rows: slice | None = None, variance: bool = True, mask: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
    """What ``read_chip`` reads of the array of that number (1 for a stack), without any header."""
    science = chip_units(path)[array]
    data = _pixels(path, science, rows, np.float32)

    def beside(name: str, wanted: bool, dtype: type) -> NDArray[Any]:
        if not wanted:
            return np.broadcast_to(dtype(0), data.shape)
        like = (unit for unit in units_of(path) if unit.version == array and unit.shape == science.shape)
        unit = next((unit for unit in like if unit.name == name and science.name == "SCI"), None)
        return np.zeros(data.shape, dtype) if unit is None else _pixels(path, unit, rows, dtype)

    return data, beside("VAR", variance, np.float32), beside("DQ", mask, np.uint16)


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
    if not any(unit.name == name for unit in units_of(path)):
        return None
    with fits.open(path, memmap=False) as file:
        stored = file[name].data
        columns = [np.array(stored[column]) for column in stored.names]
    kinds = [column.dtype.newbyteorder("=") for column in columns]
    table = np.empty(len(stored), list(zip(stored.names, kinds, (c.shape[1:] for c in columns), strict=True)))
    for name, column in zip(stored.names, columns, strict=True):
        table[name] = column
    return table


def read_image(path: Path, name: str) -> NDArray[np.float32] | None:
    """A further image of a product by its name, such as EXPTIME; None if it has none of that name."""
    unit = next((unit for unit in units_of(path) if unit.is_image and unit.name == name), None)
    return None if unit is None else _pixels(path, unit, None, np.float32)


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


# --- writing -----------------------------------------------------------------------------------------


@contextmanager
def atomic(path: Path, lasting: bool = True) -> Iterator[BinaryIO]:
    """A file that gets its name only when the block ends well; ``lasting`` waits until the disk has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half_made = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with half_made.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno()) if lasting else None
        half_made.replace(path)
    finally:
        half_made.unlink(missing_ok=True)


def write_frame(
    path: Path,
    primary: Header,
    chips: Iterable[Pixels],
    *,
    tables: Mapping[str, Table] | None = None,
    images: Mapping[str, NDArray[Any]] | None = None,
    lasting: bool = True,
) -> Path:
    """Write SCI, VAR, DQ of each chip (EXTVER as in its header), then further images and tables.

    Chips are taken one at a time, so that a generator needs the memory of one. A scratch file
    (``lasting=False``) is neither synchronised with the disk nor given checksums, as products are. A chip
    without data (a bad-pixel mask) is written as DQ alone.
    """
    with atomic(Path(path), lasting) as file:
        _append(file, fits.PrimaryHDU(header=_plain(primary)), lasting)
        for position, chip in enumerate(chips, 1):
            for unit in _chip_units(chip, int(chip.header.get("EXTVER", position))):
                _append(file, unit, lasting)
        for name, image in (images or {}).items():
            _append(file, fits.ImageHDU(_big_endian(image), name=name, ver=1), lasting)
        for name, table in (tables or {}).items():
            _append(file, fits.BinTableHDU(ascii_columns(table), name=name), lasting)
    return Path(path)


def save_frame(frame: FrameRef, folder: Path) -> FrameRef:
    """Write a frame that a source makes, with its tables, and return it as it is on disk."""
    assert frame.source is not None
    chips = (read_chip(frame, index) for index in range(len(frame.chips)))
    path = write_frame(folder / frame.path.name, frame.header, chips, tables=frame.source.tables)
    saved = open_frame(path)
    return frame.with_(path=path, header=saved.header, chips=saved.chips, source=None)


def _chip_units(chip: Pixels, version: int) -> Iterator[Any]:
    unit = str(chip.header.get("BUNIT", ""))
    header = _plain(chip.header)
    header["EXTNAME"], header["EXTVER"] = "SCI", version
    if not (image := _big_endian(chip.data, np.float32)).size:
        header["EXTNAME"] = "DQ"
        yield fits.ImageHDU(np.ascontiguousarray(chip.mask, np.uint16), header)
        return
    yield fits.ImageHDU(image, header)
    variance = fits.ImageHDU(_big_endian(chip.variance, np.float32), name="VAR", ver=version)
    if unit:
        variance.header["BUNIT"] = f"{unit}**2"
    yield variance
    yield fits.ImageHDU(np.ascontiguousarray(chip.mask, np.uint16), name="DQ", ver=version)


def _append(file: BinaryIO, unit: Any, checksum: bool) -> None:
    if checksum:
        unit.add_checksum()
    file.write(unit.header.tostring().encode("ascii"))
    if unit.data is None:
        return
    content = _stored_bytes(unit)
    file.write(content)
    file.write(b"\0" * (-len(content) % BLOCK))


def _stored_bytes(unit: Any) -> bytes | memoryview:
    data: NDArray[Any] = unit.data
    if isinstance(unit, fits.BinTableHDU):
        return bytes(data.view(np.ndarray).astype(data.dtype.newbyteorder(">")).tobytes())
    if data.dtype == np.uint16:
        return ((data ^ np.uint16(0x8000)).astype(">u2")).data.cast("B")
    return data.view(np.uint8).data.cast("B")


def _big_endian(array: NDArray[Any], dtype: type | None = None) -> NDArray[Any]:
    array = np.asarray(array, dtype)
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder(">"), copy=False))


def _plain(header: Header) -> fits.Header:
    """A header's copy without what describes the stored form of its old pixels."""
    copy = fits.Header(header, copy=True)
    for key in STORED:
        copy.remove(key, ignore_missing=True, remove_all=True)
    return copy


@dataclass(frozen=True)
class Disk:
    """Reading and writing as one picklable object, for steps, which may not import this file."""

    open_frame = staticmethod(open_frame)
    read_chip = staticmethod(read_chip)
    read_planes = staticmethod(read_planes)
    read_image = staticmethod(read_image)
    read_table = staticmethod(read_table)
    save_frame = staticmethod(save_frame)
    write_frame = staticmethod(write_frame)
