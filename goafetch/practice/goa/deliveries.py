"""Answers that hand over files: one file, a tar of many, a header as text, a preview."""

from __future__ import annotations

import bz2
from collections.abc import Iterable, Iterator, Sequence

from goafetch.practice.goa.asking import (
    HTML,
    PLAIN,
    Answer,
    Archive,
    Ask,
    error_page,
    gateway_page,
    pieces,
    refusal,
    text,
)
from goafetch.practice.goa.association import associate
from goafetch.practice.goa.holdings import Holding, by_time, kept_headers, select
from goafetch.practice.goa.reingest import reingest
from goafetch.practice.goa.tarstream import Parcel, stream_tar
from goafetch.practice.goa.words import Selection, describe

BLOCK = 1 << 18
_CARD, _FITS_BLOCK = 80, 2880
_NO_FILES = (
    "No files to download. Either you asked to download marked files, but didn't mark any files, "
    "or you specified a selection criteria that doesn't find any files"
)
_TOO_MANY = (
    "Your selection criteria does not restrict the number of results, and more than {limit} were found. "
    "Please refine your selection more before attempting to download. Queries that can contain an arbitrary "
    "number of results have a lower limit applied than more constrained queries. Including a date range or "
    "program id will prevent an arbitrary number of results being found will raise the limit"
)
_DENIED = "\n<h3>Not enough privileges to download this content</h3>"
_DENIED_HEADER = "\n<h3>The data you're trying to access has proprietary rights and cannot be displayed</h3>"
_NAMED = ("program_id", "observation_id", "inst", "date", "daterange")


def one_file(archive: Archive, ask: Ask) -> Answer:
    """/file: the present version of a file, as stored or compressed or decompressed on the way."""
    if not ask.words:
        return text("")
    given = ask.words[-1]
    if not given.removesuffix(".bz2").endswith(".fits"):
        return text("", status=404)
    found = _present(archive.holdings, given.removesuffix(".bz2"), "/".join(ask.words[:-1]))
    if len(found) != 1:
        return text("", status=400 if found else 404)
    holding = found[0]
    if not archive.visible(ask, holding):
        return error_page(403, _DENIED)
    if not holding.file.exists():
        return error_page(404, f"{given} could not be found in the system")
    if archive.faults.strikes("re-ingest", holding.stored_name):
        holding = reingest(archive.holdings, holding, archive.attic, archive.clock())
    return _delivery(archive, holding, given)


def _present(holdings: Iterable[Holding], name: str, path: str) -> list[Holding]:
    """Find the present versions of a name: those in the path if there are any, else those anywhere."""
    named = [holding for holding in holdings if holding.name == name and holding.row["present"]]
    return [holding for holding in named if path and holding.row["path"] == path] or named


def _delivery(archive: Archive, holding: Holding, given: str) -> Answer:
    stored_packed = bool(holding.row["compressed"])
    wants_packed = given.endswith(".bz2")
    blocks = read_stored(holding)
    if stored_packed and not wants_packed:
        blocks = _decompress(blocks)
    elif wants_packed and not stored_packed:
        blocks = _compress(blocks)
    size = holding.row["file_size"] if wants_packed else holding.row["data_size"]
    return Answer(
        200,
        "application/fits",
        pieces(archive.faults.disturb(blocks, holding), holding.stored_name),
        # Of a file stored plain the archive announces no length.
        length=int(size) if stored_packed else None,
        headers={"Content-Disposition": f'attachment; filename="{given}"'},
    )


def read_stored(holding: Holding) -> Iterator[bytes]:
    """Read a stored file block by block."""
    with holding.file.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _decompress(blocks: Iterator[bytes]) -> Iterator[bytes]:
    machine = bz2.BZ2Decompressor()
    for block in blocks:
        if not machine.eof:
            yield machine.decompress(block)


def _compress(blocks: Iterator[bytes]) -> Iterator[bytes]:
    machine = bz2.BZ2Compressor()
    for block in blocks:
        yield machine.compress(block)
    yield machine.flush()


def download(archive: Archive, ask: Ask) -> Answer:
    """/download: a tar of what a selection (GET) or a list of stored names (POST) finds."""
    if ask.method == "POST" and not ask.words:
        selection = Selection({"filelist": tuple(ask.form.get("files", ())), "present": True})
        return _tar(archive, ask, selection, is_calibrations=False)
    if ask.method not in {"GET", "HEAD"}:
        return refusal(405, f"method not allowed: {ask.path}, {ask.method}")
    words = [word for word in ask.words if word != "associated_calibrations"]
    selection = archive.selection(words).adding(present=True)
    return _tar(archive, ask, selection, is_calibrations=len(words) < len(ask.words))


def _tar(archive: Archive, ask: Ask, selection: Selection, *, is_calibrations: bool) -> Answer:
    matching = select(archive.holdings, selection, archive.clock())
    limit = archive.limits.of(selection)
    chosen = by_time(matching, descending=selection.is_open)[:limit]
    if is_calibrations:
        chosen = associate(chosen, archive.holdings)
        if len(chosen) > limit:
            # Above the closed limit the archive's own handler crashes.
            return _too_many(limit) if selection.is_open else gateway_page(502)
    if not chosen:
        return text(_NO_FILES)
    parcel = _parcel(archive, ask, selection, chosen, is_calibrations=is_calibrations)
    name = _tar_name(selection, is_calibrations=is_calibrations)
    return Answer(
        200,
        "application/tar",
        stream_tar(parcel, lambda holding: archive.faults.disturb(read_stored(holding), holding)),
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _too_many(limit: int) -> Answer:
    return text(_TOO_MANY.format(limit=limit))


def _parcel(
    archive: Archive, ask: Ask, selection: Selection, chosen: Sequence[Holding], *, is_calibrations: bool
) -> Parcel:
    included = [holding for holding in chosen if archive.visible(ask, holding)]
    cut = included and archive.faults.strikes("short-tar")
    return Parcel(
        included=included,
        denied=[holding.stored_name for holding in chosen if not archive.visible(ask, holding)],
        criteria=describe(selection),
        user_name=ask.user.name if ask.user else "Not Logged In",
        moment=archive.clock(),
        is_calibrations=is_calibrations,
        ends_before=included[len(included) // 2].stored_name if cut else "",
    )


def _tar_name(selection: Selection, *, is_calibrations: bool) -> str:
    """Name the tar after program, observation, instrument and dates, nothing else."""
    labels = [
        str(selection.criteria[name]).replace("/", "_") for name in _NAMED if name in selection.criteria
    ]
    stem = "_".join(labels)
    kind = "gemini_calibs" if is_calibrations else "gemini_data"
    return f"{kind}.{stem}.tar" if stem else f"{kind}.tar"


def full_header(archive: Archive, ask: Ask) -> Answer:
    """/fullheader: every header card of a file as text; hidden only where the header is proprietary."""
    given = ask.words[-1] if ask.words else ""
    name = given.removesuffix(".bz2")
    if name.isdigit():
        return text(f"No diskfile found with ID {name}")
    found = _present(archive.holdings, name if name.endswith(".fits") else f"{name}.fits", "")
    if not found or not found[0].file.exists():
        return error_page(404, f"Cannot find (non-standard named) file for: {given}\n")
    holding = found[0]
    if holding.proprietary_coordinates and not archive.visible(ask, holding):
        return error_page(403, _DENIED_HEADER)
    lines = [f"Filename: {holding.name}", "", f"AstroData Tags: {holding.row['types']}", ""]
    for number, cards in enumerate(_headers(holding)):
        lines += ["", f"--- {'PHU' if number == 0 else f'HDU {number - 1}'} ---", *cards]
    return text("\n".join(lines))


def _headers(holding: Holding) -> Iterator[list[str]]:
    """The headers of a file: kept beside it, as the archive's database keeps them, else read from it."""
    kept = kept_headers(holding.file)
    if kept.exists():
        return _walk(kept.read_bytes(), has_pixels=False)
    blocks = read_stored(holding)
    return _walk(b"".join(_decompress(blocks) if holding.row["compressed"] else blocks), has_pixels=True)


def _walk(data: bytes, *, has_pixels: bool) -> Iterator[list[str]]:
    """Walk through the header units of an uncompressed FITS file (FITS standard 4.0, sections 4 and 7)."""
    start = 0
    while start + _CARD <= len(data):
        cards: list[str] = []
        while start + _CARD <= len(data) and not (cards and cards[-1].rstrip() == "END"):
            cards.append(data[start : start + _CARD].decode("ascii", "replace"))
            start += _CARD
        yield cards
        start = _next_block(_next_block(start) + (_data_size(cards) if has_pixels else 0))


def _next_block(position: int) -> int:
    return -(-position // _FITS_BLOCK) * _FITS_BLOCK


def _data_size(cards: Sequence[str]) -> int:
    """Give the size in bytes of the data that follow a header."""
    values = {card[:8].rstrip(): card[10:].partition("/")[0].strip() for card in cards if card[8:10] == "= "}

    def number(key: str, default: int) -> int:
        return int(values.get(key, default))

    axes = number("NAXIS", 0)
    size = 1 if axes else 0
    for axis in range(1, axes + 1):
        size *= number(f"NAXIS{axis}", 0)
    return abs(number("BITPIX", 8)) // 8 * number("GCOUNT", 1) * (number("PCOUNT", 0) + size)


def preview(archive: Archive, ask: Ask) -> Answer:
    """/preview: there are no previews here; what one may not see is refused first."""
    name = (ask.words[-1] if ask.words else "").removesuffix(".bz2")
    found = _present(archive.holdings, name, "")
    refused = bool(found) and not archive.visible(ask, found[0])
    return Answer(403 if refused else 404, HTML if refused else PLAIN)
