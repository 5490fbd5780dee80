"""Write frames so that a file with its final name is always whole."""

from __future__ import annotations

import datetime as dt
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from reducer.fitsio.checksum import encode, sum_words
from reducer.fitsio.reading import open_frame, read_chip
from reducer.fitsio.units import BLOCK
from reducer.frame import Chip, FrameRef, Pixels, Rows, ascii_columns
from reducer.headers.meanings import COLUMNS, IMAGES, KEYWORDS, TABLES_OF_THE_IMAGE
from reducer.masked import fill_masked
from reducer.types import Header, Table

STORED = ("BZERO", "BSCALE", "BLANK", "CHECKSUM", "DATASUM", "SIMPLE", "XTENSION", "BITPIX", "NAXIS",
          "NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "GCOUNT", "EXTEND", "GROUPS")  # fmt: skip
#: Keywords that say where pixels lie, on the detector and on the sky: every plane of an image has them.
PLACE = re.compile(
    r"ARRAYID|(DET|CCD|DATA)SEC|WCSAXES|RADE(C?)SYS|EQUINOX|(CTYPE|CUNIT|CRPIX|CRVAL|CDELT|CROTA)\d"
    r"|(CD|PC)\d_\d|LONPOLE|LATPOLE|PV\d_\d+|(A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)"
)
#: Characters of a card for a value and its comment; a text that is too long for one card goes on in the next.
ROOM = 67
#: Bytes of pixels that are brought into their stored form at a time: what the processor's cache holds.
AT_A_TIME = 1 << 20


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half_made = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with half_made.open("wb") as file:
            yield file
        half_made.replace(path)
    finally:
        half_made.unlink(missing_ok=True)


class Outflow:
    """Brings what was written to the disk while more is made, and keeps it in the system's memory or not.

    What nobody is going to read takes the place there of what somebody is, and fresh memory costs the system
    more time than the writing.
    """

    def __init__(self, file: BinaryIO, keep: bool) -> None:
        self._file, self._keep = file, keep
        self._aside, self._begun = ThreadPoolExecutor(1), list[Future[None]]()

    def __enter__(self) -> Outflow:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until the disk has everything; OSError if it could not take it."""
        if kind is None:
            self.begin()
        self._aside.shutdown()
        for future in self._begun if kind is None else ():
            future.result()

    def begin(self) -> None:
        """Start with what was written so far."""
        self._file.flush()
        self._begun.append(self._aside.submit(self._bring, self._file.fileno()))

    def _bring(self, file: int) -> None:
        os.fsync(file)
        if not self._keep and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def write_frame(
    path: Path,
    primary: Header,
    chips: Iterable[Pixels],
    *,
    tables: Mapping[str, Table] | None = None,
    images: Mapping[str, Rows] | None = None,
    lasting: bool = True,
    read_soon: bool = True,
) -> Path:
    """Write SCI, VAR, DQ of each chip (EXTVER as in its header), then further images and tables.

    Chips are taken one at a time, so that a generator needs the memory of one. A scratch file
    (``lasting=False``) is neither synchronised with the disk nor given checksums, as products are. A chip
    without data (a bad-pixel mask) is written as DQ alone. Further images lie as the last chip does.
    ``read_soon``: whether another step is to read it.
    """
    with atomic(Path(path)) as file, Outflow(file, read_soon) if lasting else nullcontext() as outflow:
        header = _plain(primary)
        _explain(header)
        _append(file, fits.PrimaryHDU(header=header), None, lasting)
        place = fits.Header()
        for position, chip in enumerate(chips, 1):
            place = _place(chip.header)
            for unit, pixels in _chip_units(chip, int(chip.header.get("EXTVER", position))):
                _append(file, unit, pixels, lasting)
            if outflow:
                outflow.begin()
        for name, image in (images or {}).items():
            unit = _plane(name, 1, image.shape, image.dtype, IMAGES.get(name, ""), place)
            _append(file, unit, image, lasting)
        for name, table in (tables or {}).items():
            unit = _table_unit(table, name)
            _append(file, unit, unit.data.view(np.ndarray), lasting)
    return Path(path)


def save_frame(frame: FrameRef, folder: Path) -> FrameRef:
    """Write a frame that a source makes, with its tables, and return it as it is on disk.

    Masked pixels get the level around them.
    """
    assert frame.source is not None
    path = write_frame(folder / frame.path.name, frame.header, _filled(frame), tables=frame.source.tables)
    saved = open_frame(path)
    return frame.with_(path=path, header=saved.header, chips=saved.chips, source=None)


def _filled(frame: FrameRef) -> Iterator[Chip]:
    for index in range(len(frame.chips)):
        chip = read_chip(frame, index)
        fill_masked(chip.data, chip.mask)
        yield chip


def _chip_units(chip: Pixels, version: int) -> Iterator[tuple[Any, Rows]]:
    unit, place = str(chip.header.get("BUNIT", "")), _place(chip.header)
    shape = chip.mask.shape
    if 0 in chip.data.shape:
        yield _plane("DQ", version, shape, np.uint16, "bit", _plain(chip.header)), chip.mask
        return
    yield _plane("SCI", version, shape, np.float32, unit, _plain(chip.header)), chip.data
    yield _plane("VAR", version, shape, np.float32, unit and f"{unit}**2", place), chip.variance
    yield _plane("DQ", version, shape, np.uint16, "bit", place), chip.mask


def _plane(
    name: str, version: int, shape: tuple[int, ...], kind: Any, unit: str, header: fits.Header
) -> fits.ImageHDU:
    """One plane of pixels: its header, under its own name and unit, and what tells their form."""
    header = header.copy()
    header["EXTNAME"], header["EXTVER"] = name, version
    if unit:
        header["BUNIT"] = unit
    _explain(header)
    return fits.ImageHDU(_form(shape, kind), header)


def _place(header: Header) -> fits.Header:
    """What a header says of where its pixels lie."""
    plain = _plain(header)
    return fits.Header([card for card in plain.cards if PLACE.fullmatch(card.keyword)])


def _explain(header: fits.Header) -> None:
    """Give our own keywords, which values alone were put into, their comments, as far as cards have room."""
    for key in KEYWORDS.keys() & header.keys():
        taken = max(len(str(header[key])) + 2, 20)
        if not header.comments[key] and (taken > 70 or taken + len(KEYWORDS[key]) <= ROOM):
            header.comments[key] = KEYWORDS[key]


def _table_unit(table: Table, name: str) -> fits.BinTableHDU:
    unit = fits.BinTableHDU(name=name)
    # Given at once, astropy loads all of astropy.table to see whether it is of that.
    unit.data = fits.FITS_rec.from_columns(fits.ColDefs(ascii_columns(table)))
    unit.update_header()
    if name in TABLES_OF_THE_IMAGE:
        unit.ver = 1
    known = COLUMNS.get(name, {})
    for number, column in enumerate(table.dtype.names or (), 1):
        physical, meaning = known.get(column, ("", ""))
        unit.header.comments[f"TTYPE{number}"] = meaning
        if physical:
            unit.header.set(f"TUNIT{number}", physical, after=f"TFORM{number}")
    return unit


def _form(shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    """As many pixels of a type, that take no memory: all that the header of an image tells of them."""
    return np.broadcast_to(np.zeros((), kind), shape)


def _append(file: BinaryIO, unit: Any, content: Rows | None, checksum: bool) -> None:
    """Write a unit; its header, which has the checksums of what comes behind it, last."""
    header = unit.header
    if checksum:
        _seal(header, 0)
    begin = file.tell()
    file.write(header.tostring().encode("ascii"))
    total = length = 0
    for piece in () if content is None else _stored(content, unit.data.dtype):
        file.write(piece)
        length += len(piece)
        total = sum_words(piece, total) if checksum else 0
    file.write(b"\0" * (-length % BLOCK))
    if checksum:
        _seal(header, total)
        end = file.tell()
        file.seek(begin)
        file.write(header.tostring().encode("ascii"))
        file.seek(end)


def _seal(header: fits.Header, datasum: int) -> None:
    """Put both checksums into a header."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    header["DATASUM"] = (str(datasum), f"data unit checksum updated {now}")
    header.set("CHECKSUM", "0" * 16, f"HDU checksum updated {now}", before="DATASUM")
    header["CHECKSUM"] = encode(sum_words(header.tostring().encode("ascii"), datasum))


def _stored(content: Rows, kind: np.dtype[Any]) -> Iterator[memoryview]:
    """Pixels, or the rows of a table, as they stand in the file, some at a time; in multiples of 4 bytes."""
    if 0 in content.shape:
        return
    row = kind.itemsize * math.prod(content.shape[1:])
    rows = max(AT_A_TIME // row // 4 * 4, 4)
    for first in range(0, content.shape[0], rows):
        piece = np.ascontiguousarray(content[first : first + rows], kind)
        if piece.dtype == np.uint16:  # stored as signed integers with BZERO = 32768
            piece = piece ^ np.uint16(0x8000)
        stored = piece.astype(piece.dtype.newbyteorder(">"), copy=False)
        yield stored.view(np.uint8).reshape(-1).data


def _plain(header: Header) -> fits.Header:
    """A header's copy without what describes the stored form of its old pixels."""
    copy = fits.Header(header, copy=True)
    for key in STORED:
        copy.remove(key, ignore_missing=True, remove_all=True)
    return copy
