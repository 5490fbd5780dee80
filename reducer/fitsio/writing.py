"""Write frames, whole under their final names or not at all, with what each keyword and column means."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from astropy.io import fits

from reducer.fitsio.reading import BLOCK, CARD, open_frame, read_chip
from reducer.frame import Chip, FrameRef, Pixels, Rows, ascii_columns
from reducer.masks import fill_masked
from reducer.types import Header, Table

_MEANINGS = json.loads(files("reducer").joinpath("data/meanings.json").read_bytes())
#: Comments of the keywords that goafetch writes. Zeropoints have theirs in ``photometry.zeropoint``.
KEYWORDS: Mapping[str, str] = _MEANINGS["keywords"]
#: Units of further planes beside SCI, VAR and DQ.
IMAGES: Mapping[str, str] = _MEANINGS["images"]
#: Unit ('' for none) and meaning of each column, by table.
COLUMNS: Mapping[str, Mapping[str, tuple[str, str]]] = _MEANINGS["columns"]
#: Tables that belong to the image, as DRAGONS has it: they carry its EXTVER, the others none.
TABLES_OF_THE_IMAGE = frozenset({"OBJCAT"})

# --- checksums, as the FITS standard 4.0 defines them (section 4.4.2.7 and appendix J) -------------

#: Characters between the digits and the letters, which no checksum shows.
PUNCTUATION = frozenset(b":;<=>?@[\\]^_`")


def sum_words(content: Any, total: int = 0) -> int:
    """Add the 32-bit words of some bytes, zeros behind them, to a ones' complement sum."""
    content = np.frombuffer(content, np.uint8)
    if rest := -content.size % 4:
        content = np.append(content, np.zeros(rest, np.uint8))
    total += int(content.view(">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def encode_checksum(total: int) -> str:
    """The 16 characters of CHECKSUM that bring a unit's sum (with '0' in their place) to minus zero."""
    columns = [_share(byte) for byte in (total ^ 0xFFFFFFFF).to_bytes(4, "big")]
    text = bytes(column[row] for row in range(4) for column in columns).decode("ascii")
    return text[-1] + text[:-1]


def _share(byte: int) -> list[int]:
    """Four letters or digits whose offsets from '0' add up to a byte."""
    quarter, rest = divmod(byte, 4)
    letters = [ord("0") + quarter + rest, *[ord("0") + quarter] * 3]
    while PUNCTUATION.intersection(letters):
        for first in (0, 2):
            if PUNCTUATION.intersection(letters[first : first + 2]):
                letters[first] += 1
                letters[first + 1] -= 1
    return letters


# --- frames ----------------------------------------------------------------------------------------

STORED = ("BZERO", "BSCALE", "BLANK", "CHECKSUM", "DATASUM", "SIMPLE", "XTENSION", "BITPIX", "NAXIS",
          "NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "GCOUNT", "EXTEND", "GROUPS")  # fmt: skip
#: Keywords of cards without a value.
NOTES = ("HISTORY", "COMMENT", "")
#: Keywords that say where pixels lie, on the detector and on the sky: every plane of an image has them.
PLACE = re.compile(
    r"ARRAYID|(DET|CCD|DATA)SEC|WCSAXES|RADE(C?)SYS|EQUINOX|(CTYPE|CUNIT|CRPIX|CRVAL|CDELT|CROTA)\d"
    r"|(CD|PC)\d_\d|LONPOLE|LATPOLE|PV\d_\d+|(A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)"
)
#: Characters of a card for a value and its comment; a text that is too long for one card goes on in the next.
ROOM = 67
#: Bytes of pixels that are brought into their stored form at a time: what the processor's cache holds.
AT_A_TIME = 1 << 20

T = TypeVar("T")
Cards = list[fits.Card]
#: The arrays of a file: their numbers, and what tells where their pixels lie.
Arrays = list[tuple[int, Cards]]
Kind = np.dtype[Any]
VALUES, MASK = np.dtype(np.float32), np.dtype(np.uint16)


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
    tables: Mapping[str, Table | tuple[Table, ...]] | None = None,
    images: Mapping[str, Rows | tuple[Rows, ...]] | None = None,
    lasting: bool = True,
    read_soon: bool = True,
) -> Path:
    """Write SCI, VAR, DQ of each chip (EXTVER as in its header), then further images and tables.

    Chips are taken one at a time, so that a generator needs the memory of one. A scratch file
    (``lasting=False``) is neither synchronised with the disk nor given checksums, as products are. A chip
    without data (a bad-pixel mask) is written as DQ alone. Further images and tables: one of the file, which
    lies as the last chip does, or one for each chip, with its EXTVER. ``read_soon``: whether another step is
    to read it.
    """
    with atomic(Path(path)) as file, Outflow(file, read_soon) if lasting else nullcontext() as outflow:
        _append(file, [*fits.PrimaryHDU().header.cards, *_explained(_plain(primary))], None, None, lasting)
        arrays: Arrays = []
        for position, chip in enumerate(chips, 1):
            version = int(chip.header.get("EXTVER", position))
            arrays.append((version, _place(chip.header)))
            for cards, pixels, kind in _chip_units(chip, version):
                _append(file, cards, pixels, kind, lasting)
            if outflow:
                outflow.begin()
        for name, given in (images or {}).items():
            for image, (version, place) in _with_arrays(given, arrays):
                cards = _plane(name, version, image.shape, image.dtype, IMAGES.get(name, ""), place)
                _append(file, cards, image, image.dtype, lasting)
        for name, known in (tables or {}).items():
            for table, (version, _) in _with_arrays(known, arrays):
                unit = _table_unit(table, name, version)
                rows = unit.data.view(np.ndarray)
                _append(file, list(unit.header.cards), rows, rows.dtype, lasting)
    return Path(path)


def _with_arrays(given: T | tuple[T, ...], arrays: Arrays) -> Iterable[tuple[T, tuple[int, Cards]]]:
    """What belongs to the whole file, or one for each of its arrays, with its number and place."""
    if isinstance(given, tuple):
        return zip(given, arrays, strict=True)
    return [(given, (1, arrays[-1][1] if arrays else []))]


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


def _chip_units(chip: Pixels, version: int) -> Iterator[tuple[Cards, Rows, Kind]]:
    unit, plain, place = str(chip.header.get("BUNIT", "")), _plain(chip.header), _place(chip.header)
    shape = chip.mask.shape
    if 0 in chip.data.shape:
        yield _plane("DQ", version, shape, MASK, "bit", plain), chip.mask, MASK
        return
    yield _plane("SCI", version, shape, VALUES, unit, plain), chip.data, VALUES
    yield _plane("VAR", version, shape, VALUES, unit and f"{unit}**2", place), chip.variance, VALUES
    yield _plane("DQ", version, shape, MASK, "bit", place), chip.mask, MASK


def _plane(name: str, version: int, shape: tuple[int, ...], kind: Kind, unit: str, cards: Cards) -> Cards:
    """The header of one plane of pixels: what tells their form, then its own name and unit and the rest."""
    named = {"EXTNAME": name, "EXTVER": version} | ({"BUNIT": unit} if unit else {})
    return [*_form(shape, kind), *_explained(_set(cards, named))]


@lru_cache(maxsize=64)
def _form(shape: tuple[int, ...], kind: Kind) -> Cards:
    """What the header of an image tells of the form of its pixels."""
    return list(fits.ImageHDU(np.broadcast_to(np.zeros((), kind), shape)).header.cards)


def _plain(header: Header) -> Cards:
    """A header's cards without what describes the stored form of its old pixels."""
    return [card for card in header.cards if card.keyword not in STORED]


def _place(header: Header) -> Cards:
    """What a header says of where its pixels lie."""
    return [card for card in _plain(header) if PLACE.fullmatch(card.keyword)]


def _set(cards: Cards, values: Mapping[str, Any]) -> Cards:
    """Cards with other values of some keywords; what was not among them comes last, before any notes."""
    left = dict(values)
    changed = [_with_value(card, left.pop(card.keyword)) if card.keyword in left else card for card in cards]
    end = _end_of_values(changed)
    return [*changed[:end], *(fits.Card(*pair) for pair in left.items()), *changed[end:]]


def _with_value(card: fits.Card, value: Any) -> fits.Card:
    return card if card.value == value else fits.Card(card.keyword, value, card.comment)


def _explained(cards: Cards) -> Cards:
    """Cards of which our own keywords, put in as values alone, have comments, where there is room."""
    return [_explain(card) if card.keyword in KEYWORDS and not card.comment else card for card in cards]


def _explain(card: fits.Card) -> fits.Card:
    meaning, taken = KEYWORDS[card.keyword], max(len(str(card.value)) + 2, 20)
    fits_in = taken > 70 or taken + len(meaning) <= ROOM
    return fits.Card(card.keyword, card.value, meaning) if fits_in else card


def _end_of_values(cards: Cards) -> int:
    """Where the notes (HISTORY, COMMENT, blanks) that a header ends with begin."""
    notes = takewhile(lambda card: card.keyword in NOTES, reversed(cards))
    return len(cards) - sum(1 for _ in notes)


def _table_unit(table: Table, name: str, version: int) -> fits.BinTableHDU:
    unit = fits.BinTableHDU(name=name)
    # Given at once, astropy loads all of astropy.table to see whether it is of that.
    unit.data = fits.FITS_rec.from_columns(fits.ColDefs(ascii_columns(table)))
    unit.update_header()
    if name in TABLES_OF_THE_IMAGE:
        unit.ver = version
    known = COLUMNS.get(name, {})
    for number, column in enumerate(table.dtype.names or (), 1):
        physical, meaning = known.get(column, ("", ""))
        unit.header.comments[f"TTYPE{number}"] = meaning
        if physical:
            unit.header.set(f"TUNIT{number}", physical, after=f"TFORM{number}")
    return unit


def _append(file: BinaryIO, cards: Cards, content: Rows | None, kind: Kind | None, checksum: bool) -> None:
    """Write a unit; its header, which has the checksums of what comes behind it, last."""
    end = _end_of_values(cards)
    texts = "".join(map(str, cards[:end])), "".join(map(str, cards[end:]))
    begin = file.tell()
    file.write(_sealed(*texts, 0) if checksum else _closed("".join(texts)))
    total = length = 0
    for piece in () if content is None else _stored(content, kind):
        file.write(piece)
        length += len(piece)
        total = sum_words(piece, total) if checksum else 0
    file.write(b"\0" * (-length % BLOCK))
    if checksum:
        behind = file.tell()
        file.seek(begin)
        file.write(_sealed(*texts, total))
        file.seek(behind)


def _sealed(values: str, notes: str, datasum: int) -> bytes:
    """A header with both checksums: of the pixels or rows that follow, and of all."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    last = fits.Card("DATASUM", str(datasum), f"data unit checksum updated {now}")

    def with_sum(text: str) -> bytes:
        checksum = fits.Card("CHECKSUM", text, f"HDU checksum updated {now}")
        return _closed(f"{values}{checksum}{last}{notes}")

    return with_sum(encode_checksum(sum_words(with_sum("0" * 16), datasum)))


def _closed(text: str) -> bytes:
    """The cards of a header as they stand in a file: with END, in whole blocks."""
    text += "END".ljust(CARD)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")


def _stored(content: Rows, kind: Kind | None) -> Iterator[memoryview]:
    """Pixels, or the rows of a table, as they stand in the file, some at a time; in multiples of 4 bytes."""
    if 0 in content.shape:
        return
    row = np.dtype(kind).itemsize * math.prod(content.shape[1:])
    rows = max(AT_A_TIME // row // 4 * 4, 4)
    for first in range(0, content.shape[0], rows):
        piece = np.ascontiguousarray(content[first : first + rows], kind)
        if piece.dtype == np.uint16:  # stored as signed integers with BZERO = 32768
            piece = piece ^ np.uint16(0x8000)
        stored = piece.astype(piece.dtype.newbyteorder(">"), copy=False)
        yield stored.view(np.uint8).reshape(-1).data
