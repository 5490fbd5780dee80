"""What tars and loose downloads hold: all looked at, and refused if need be, before a byte is written."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from goafetch.archive.errors import NoTar, Unsafe
from goafetch.archive.records import LARGEST_FILE
from goafetch.workspace import fits_name

#: The archive's own text files, last in each of its tars.
SUMS, README = "md5sums.txt", "README.txt"
_LARGEST_TEXT = 10**7
_PLAIN = re.compile(r"[\w][\w.+()=, -]*\.fits(\.bz2)?")
_WITHHELD = "because they are proprietary data that you do not have access to:"


@dataclass(frozen=True)
class Source:
    """A FITS file, packed or not, in ``size`` bytes from ``offset`` of the file ``path``.

    ``name``: as it will be called; ``member``: as it is called there; ``file_md5``: of these bytes, if known.
    """

    path: Path
    offset: int
    size: int
    name: str
    member: str
    file_md5: str | None = None

    @property
    def whole(self) -> bool:
        """Whether it is a file of its own, not part of a tar."""
        return self.member == self.path.name and self.offset == 0


@dataclass
class Listing:
    """What a tar holds, and what it says is missing from it: names with reasons."""

    sources: list[Source] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    withheld: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def list_file(path: Path) -> Listing:
    """The contents of a tar, a .fits.bz2 or a .fits file, also as browsers name second copies.

    Raises Unsafe for a tar that could do harm, NoTar for what is none of them.
    """
    name = fits_name(path.name)
    if name is not None:
        return Listing([Source(path, 0, path.stat().st_size, name, path.name)])
    try:
        return _list_tar(path)
    except tarfile.ReadError as error:
        raise NoTar(
            f"{path.name} is neither a plain tar nor a FITS file ({error})",
            "what the archive's download page gives",
        ) from error


def _list_tar(path: Path) -> Listing:
    listing, texts = Listing(), dict[str, str]()
    with tarfile.open(path, "r:") as tar:
        members = _members(tar)
        for member in members:
            _refuse_hostile(path, member)
            base = PurePosixPath(member.name).name
            if member.isfile() and base in (SUMS, README) and member.size < _LARGEST_TEXT:
                stream = tar.extractfile(member)
                texts[base] = stream.read().decode("utf-8", "replace") if stream else ""
            elif member.isfile() and _PLAIN.fullmatch(base):
                name = base.removesuffix(".bz2")
                listing.sources.append(Source(path, member.offset_data, member.size, name, member.name))
    _notice_end(path, members, listing)
    _compare(path, listing, texts)
    return listing


def _notice_end(path: Path, members: Sequence[tarfile.TarInfo], listing: Listing) -> None:
    """A whole tar has an empty block after its last member; a cut one ends in a member or without it."""
    end = members[-1].offset_data + members[-1].size if members else 0
    with path.open("rb") as stream:
        stream.seek(end + -end % tarfile.BLOCKSIZE)
        block = stream.read(tarfile.BLOCKSIZE)
    if end > path.stat().st_size and listing.sources and listing.sources[-1].member == members[-1].name:
        lost = listing.sources.pop()
        listing.missing.append((lost.name, f"{path.name} ends in the middle of it"))
    elif block != bytes(tarfile.BLOCKSIZE):
        listing.missing.append(
            (f"the rest of {path.name}", "it does not end as a tar does: it was cut short")
        )


def _members(tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """The members; a tar that is cut off still gives those before the cut."""
    found = []
    try:
        for member in tar:
            found.append(member)
    except tarfile.ReadError:
        pass  # a cut in the middle of a header: what is listed but missing is named later
    return found


def _refuse_hostile(path: Path, member: tarfile.TarInfo) -> None:
    """Nothing of a tar is unpacked that holds anything but plain files and folders below the target."""
    name = member.name
    parts = PurePosixPath(name.replace("\\", "/")).parts
    reason = None
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        reason = "an absolute path"
    elif ".." in parts:
        reason = "a path that leaves the folder"
    elif member.issym() or member.islnk():
        reason = f"a link to {member.linkname!r}"
    elif not (member.isfile() or member.isdir()):
        reason = "a device or another special file"
    elif member.issparse() or not 0 <= member.size < LARGEST_FILE:
        reason = f"a file that claims {member.size} bytes"
    elif not name.isprintable():
        reason = "a name with control characters"
    if reason is not None:
        raise Unsafe(
            f"{path.name} holds {name!r}: {reason}", "plain files below one folder", "do not unpack this tar"
        )


def _compare(path: Path, listing: Listing, texts: dict[str, str]) -> None:
    """Hold the tar against its own lists: they come last, so without them it may have been cut short."""
    sums = dict(_read_sums(texts.get(SUMS, "")))
    listing.sources = [
        Source(s.path, s.offset, s.size, s.name, s.member, sums.get(PurePosixPath(s.member).name))
        for s in listing.sources
    ]
    here = {PurePosixPath(s.member).name for s in listing.sources}
    lost = {name for name, _ in listing.missing}
    for stored in sorted(set(sums) - here):
        if stored.removesuffix(".bz2") not in lost:
            listing.missing.append((stored.removesuffix(".bz2"), f"listed in {SUMS}, but not in {path.name}"))
    listing.withheld += [(name, "proprietary; with rights: goafetch login") for name in _withheld(texts)]
    from_archive = path.name.startswith(("gemini_data", "gemini_calibs"))
    if from_archive and not (SUMS in texts and README in texts):
        listing.missing.append(
            (f"the rest of {path.name}", f"it lacks {SUMS} or {README}, so it was cut short at the archive")
        )
    elif SUMS not in texts:
        listing.warnings.append(f"{path.name} has no {SUMS}: whether it is whole cannot be told")


def _read_sums(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        match = re.fullmatch(r"([0-9a-f]{32})  ?\*?(.+)", line.strip())
        if match:
            yield PurePosixPath(match[2]).name, match[1]


def _withheld(texts: dict[str, str]) -> list[str]:
    _, found, names = texts.get(README, "").partition(_WITHHELD)
    return [line.strip().removesuffix(".bz2") for line in names.splitlines() if found and line.strip()]


def by_name(listings: Iterable[Listing]) -> dict[str, Sequence[Source]]:
    """All sources of each file, in the order in which they were met."""
    found: dict[str, list[Source]] = {}
    for listing in listings:
        for source in listing.sources:
            found.setdefault(source.name, []).append(source)
    return dict(found)
