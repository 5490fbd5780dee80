"""Writes a download as the archive does: a tar in a stream that ends with md5sums.txt and README.txt."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from goafetch.practice.goa.holdings import Holding

# Reads the bytes of a stored file, block by block.
Reader = Callable[[Holding], Iterator[bytes]]


@dataclass(frozen=True)
class Piece:
    """Some bytes of an answer, and the file that is complete when they are sent."""

    content: bytes
    ends: str = ""


@dataclass(frozen=True)
class Parcel:
    """A tar to be sent: the files, the names withheld, what README.txt says, and where a fault ends it."""

    included: Sequence[Holding]
    denied: Sequence[str]
    criteria: str
    user_name: str
    moment: datetime
    is_calibrations: bool = False
    ends_before: str = ""


def stream_tar(parcel: Parcel, read: Reader) -> Iterator[Piece]:
    """Yield the tar piece by piece; ``Piece.ends`` names a data file that is complete with this piece.

    A file that is missing on disk ends the tar there, properly closed, without the two text members:
    the archive does the same, and the client sees status 200.
    """
    written = 0
    for piece in _stream_members(parcel, read):
        written += len(piece.content)
        yield piece
    yield Piece(b"\0" * (2 * tarfile.BLOCKSIZE + -(written + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE))


def _stream_members(parcel: Parcel, read: Reader) -> Iterator[Piece]:
    for holding in parcel.included:
        if parcel.ends_before == holding.stored_name or not holding.file.exists():
            return
        yield from _stream_file(holding, read)
    for name, text in (("md5sums.txt", md5sums(parcel.included)), ("README.txt", readme(parcel))):
        yield Piece(_text_member(name, text.encode(), int(parcel.moment.timestamp())))


def _stream_file(holding: Holding, read: Reader) -> Iterator[Piece]:
    status = holding.file.stat()
    # The time of modification has a fraction: the archive's tars carry PAX headers for it.
    member = tarfile.TarInfo(holding.stored_name)
    member.size, member.mtime, member.mode = status.st_size, status.st_mtime, 0o644
    member.uname = member.gname = "root"
    yield Piece(member.tobuf(tarfile.PAX_FORMAT))
    for block in read(holding):
        yield Piece(block)
    yield Piece(b"\0" * (-status.st_size % tarfile.BLOCKSIZE), ends=holding.stored_name)


def _text_member(name: str, content: bytes, moment: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), moment, 0o644
    member.uname = member.gname = "gemini"
    return member.tobuf(tarfile.PAX_FORMAT) + content + b"\0" * (-len(content) % tarfile.BLOCKSIZE)


def md5sums(holdings: Sequence[Holding]) -> str:
    """Write md5sums.txt: the md5 on record (not of the file as it is now), two blanks, the name."""
    return "".join(f"{holding.row['file_md5']}  {holding.stored_name}\n" for holding in holdings)


def readme(parcel: Parcel) -> str:
    """Write README.txt in the archive's words, which clients search for what was withheld."""
    text = (
        "This is a tar file of search results downloaded from the gemini archive.\n\n"
        f"The search criteria was: {parcel.criteria}\n"
        f"The search was performed at: {parcel.moment:%Y-%m-%d %H:%M:%S} UTC\n"
        f"The search was performed by archive user: {parcel.user_name}\n\n"
        "We have included a file listing the md5sums of the data files in here.\n"
        "If you have the 'md5sum' utility installed (most Linux machines at least),\n"
        "You can verify file integrity by running 'md5sum -c md5sums.txt'.\n\n"
    )
    if parcel.is_calibrations:
        text += (
            "Note that this download was from an associated calibrations page -\n"
            "it only contains the calibration files that are associated with the science \nquery.\n\n"
        )
    if parcel.denied:
        text += (
            "The following files in your search results were not included,\n"
            "because they are proprietary data that you do not have access to:\n"
        )
        text += "".join(f"{name}\n" for name in parcel.denied)
    return text
