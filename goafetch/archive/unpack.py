"""Unpacking of tars and loose files: parallel, verified, safe to repeat, and nothing that could do harm."""

from __future__ import annotations

import bz2
import hashlib
import json
import os
import re
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from goafetch.archive.records import LARGEST_FILE
from goafetch.engine.pool import Pool, WorkspacePool
from goafetch.errors import DONE, FAILED, Damaged, NoTar, Unsafe, UsageError, WorkspaceError
from goafetch.events import Decided, Made, Notify, Progressed, Refusal, StageBegun, StageEnded, Warned, silent
from goafetch.words import say_reason
from goafetch.workspace import Busy, Verified, Workspace, exclusive, fits_name, read_json, write_atomically
from reducer.errors import BadFile
from reducer.products import RAW_NAME, needless

if TYPE_CHECKING:
    from reducer.headers.descriptors import Descriptors

PARTIAL = ".incoming"
_LOCK = "lock"
#: What network file systems call a file that was removed while it was open.
_REMOVED = ".nfs"


@contextmanager
def partial_files(folder: Path, keep: Collection[str] = ()) -> Iterator[Path]:
    """Hold the hidden folder beside the final names; leftovers of a broken run, but for ``keep``, go.

    It disappears at the end unless something worth keeping for the next run is in it.
    """
    partial = folder / PARTIAL
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(partial / _LOCK):
            for leftover in _content(partial):
                if leftover.name not in keep:
                    leftover.unlink()
            try:
                yield partial
            finally:
                if not _content(partial):
                    (partial / _LOCK).unlink(missing_ok=True)
    except Busy as error:
        raise WorkspaceError(
            f"another process is fetching or unpacking into {folder}", "one at a time", "wait for it to end"
        ) from error
    finally:
        # Only now is the lock's file closed, and gone on network file systems too.
        with suppress(OSError):  # something is in it, or another process has begun
            partial.rmdir()


def _content(partial: Path) -> list[Path]:
    return [p for p in partial.iterdir() if p.name != _LOCK and not p.name.startswith(_REMOVED)]


BLOCK = 1 << 20
BZIP2 = b"BZh"

#: Without the archive's word for it no exposure or mask is larger than this when decompressed.
LARGEST_UNLISTED = 10**9


@dataclass(frozen=True)
class Checksums:
    """md5s (hex) of a stored file and of the FITS file in it, and the latter's size in bytes."""

    file_md5: str
    data_md5: str
    data_size: int


@dataclass(frozen=True)
class Expected:
    """What the archive says of a file: md5s in hex, bytes when decompressed; None where it says nothing."""

    file_md5: str | None = None
    data_md5: str | None = None
    data_size: int | None = None


def decompress(stored: str, target: str, expected: Expected) -> Checksums:
    """Decompress ``stored`` (or copy it, if it is plain FITS) into ``target`` and verify both.

    Raises Damaged where an md5 or the length differs, the compression is broken, or it is no FITS file;
    there is no target then. A file that grows beyond its listed size is stopped there.
    """
    try:
        file_md5 = md5_of_part(stored)
        if expected.file_md5 not in (None, file_md5):
            raise Damaged(f"the stored file has md5 {file_md5}", f"{expected.file_md5}")
        limit = LARGEST_UNLISTED if expected.data_size is None else expected.data_size
        data_md5, size = _write(_fits_content(stored), target, limit)
        if expected.data_size not in (None, size):
            raise Damaged(f"{size} bytes came out of it", f"{expected.data_size}")
        if expected.data_md5 not in (None, data_md5):
            raise Damaged(f"the FITS file has md5 {data_md5}", f"{expected.data_md5}")
        return Checksums(file_md5, data_md5, size)
    except BaseException:
        Path(target).unlink(missing_ok=True)
        raise


def decompress_part(
    source: str, offset: int, size: int, stored: str, target: str, expected: Expected
) -> Checksums:
    """The same for ``size`` bytes from ``offset`` of a larger file, by way of a copy named ``stored``."""
    with Path(stored).open("wb") as copy:
        copy.writelines(_blocks(source, offset, size))
    try:
        return decompress(stored, target, expected)
    finally:
        Path(stored).unlink()


def md5_of_part(path: str, offset: int = 0, size: int | None = None) -> str:
    """md5 of a file, or of a part of it."""
    found = hashlib.md5(usedforsecurity=False)
    for block in _blocks(path, offset, size):
        found.update(block)
    return found.hexdigest()


def md5_of_content(path: str, offset: int, size: int) -> str:
    """md5 of the FITS file that a part of a file holds, compressed or not."""
    found, count = hashlib.md5(usedforsecurity=False), 0
    blocks = _blocks(path, offset, size)
    packed = next(_blocks(path, offset, size), b"").startswith(BZIP2)
    for block in _bunzip2(blocks) if packed else blocks:
        count += len(block)
        if count > LARGEST_UNLISTED:
            raise Damaged(f"more than {LARGEST_UNLISTED} bytes come out of it", "an exposure or a mask")
        found.update(block)
    return found.hexdigest()


def _bunzip2(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress bz2, of one stream or several after each other."""
    unpacker = bz2.BZ2Decompressor()
    for packed in blocks:
        rest = packed
        while rest or not (unpacker.needs_input or unpacker.eof):
            if unpacker.eof:
                unpacker = bz2.BZ2Decompressor()
            try:  # a block at a time: one MB of a bomb would otherwise fill the memory
                yield unpacker.decompress(rest, BLOCK)
            except OSError as error:
                raise Damaged(f"its compression is broken ({error})") from error
            rest = unpacker.unused_data
    if not unpacker.eof:
        raise Damaged("its compression ends too early")


def _write(blocks: Iterator[bytes], target: str, limit: int) -> tuple[str, int]:
    found, count = hashlib.md5(usedforsecurity=False), 0
    with Path(target).open("wb") as stream:
        for block in blocks:
            if count == 0 and not block.startswith(b"SIMPLE  ="):
                raise Damaged("it is not a FITS file", "a file that begins with SIMPLE")
            count += len(block)
            if count > limit:
                raise Damaged(f"more than {limit} bytes come out of it", f"at most {limit}")
            found.update(block)
            stream.write(block)
    if count == 0:
        raise Damaged("it is empty", "a FITS file")
    return found.hexdigest(), count


def _fits_content(stored: str) -> Iterator[bytes]:
    """The FITS file's content in pieces; rapidgzip's bz2 takes 0.8 of the standard library's time."""
    if not next(_blocks(stored), b"").startswith(BZIP2):
        yield from _blocks(stored)
        return
    import rapidgzip

    try:
        with rapidgzip.IndexedBzip2File(stored, parallelization=1) as unpacked:
            yield from _read(unpacked, None)
    except (RuntimeError, ValueError, EOFError) as error:
        raise Damaged(f"its compression is broken ({error})", "a whole bz2 file") from error


def _blocks(path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
    """``size`` bytes of a file from ``offset``, all that follow if None, in blocks."""
    with Path(path).open("rb") as stream:
        stream.seek(offset)
        yield from _read(stream, size)


def _read(stream: Any, size: int | None) -> Iterator[bytes]:
    """The next ``size`` bytes of a stream, all of it if None, in blocks."""
    left = size
    while left is None or left > 0:
        block = stream.read(BLOCK if left is None else min(BLOCK, left))
        if not block:
            if left:
                raise Damaged(f"the file ends {left} bytes too early")
            return
        left = None if left is None else left - len(block)
        yield block


#: The archive's own text files, last in each of its tars.
SUMS, README = "md5sums.txt", "README.txt"
_LARGEST_TEXT = 10**7
_PLAIN = re.compile(r"[\w][\w.+()=, -]*\.fits(\.bz2)?")
_SUM = re.compile(r"^[ \t]*([0-9a-f]{32})  ?\*?(\S.*?)[ \t\r]*$", re.MULTILINE)
_WITHHELD = "because they are proprietary data that you do not have access to:"


@dataclass(frozen=True)
class StoredFile:
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
class TarContents:
    """What a tar holds, and what it says is missing from it: names with reasons."""

    sources: list[StoredFile] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    withheld: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def list_file(path: Path) -> TarContents:
    """The contents of a tar, a .fits.bz2 or a .fits file, also as browsers name second copies.

    Raises Unsafe for a tar that could do harm, NoTar for what is none of them.
    """
    name = fits_name(path.name)
    if name is not None:
        return TarContents([StoredFile(path, 0, path.stat().st_size, name, path.name)])
    try:
        return _list_tar(path)
    except tarfile.ReadError as error:
        raise NoTar(
            f"{path.name} is neither a plain tar nor a FITS file ({error})",
            "what the archive's download page gives",
        ) from error


def _list_tar(path: Path) -> TarContents:
    listing, texts = TarContents(), dict[str, str]()
    with tarfile.open(path, "r:") as tar:
        members: list[tarfile.TarInfo] = []
        with suppress(tarfile.ReadError):  # cut in a header: what is listed but missing is named later
            for member in tar:
                members.append(member)
        for member in members:
            _refuse_hostile(path, member)
            base = PurePosixPath(member.name).name
            if member.isfile() and base in (SUMS, README) and member.size < _LARGEST_TEXT:
                stream = tar.extractfile(member)
                texts[base] = stream.read().decode("utf-8", "replace") if stream else ""
            elif member.isfile() and _PLAIN.fullmatch(base):
                name = base.removesuffix(".bz2")
                listing.sources.append(StoredFile(path, member.offset_data, member.size, name, member.name))
    _notice_end(path, members, listing)
    _compare(path, listing, texts)
    return listing


def _notice_end(path: Path, members: Sequence[tarfile.TarInfo], listing: TarContents) -> None:
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


def _compare(path: Path, listing: TarContents, texts: dict[str, str]) -> None:
    """Hold the tar against its own lists: they come last, so without them it may have been cut short."""
    listed = _SUM.finditer(texts.get(SUMS, ""))
    sums = {PurePosixPath(match[2]).name: match[1] for match in listed}
    listing.sources = [replace(s, file_md5=sums.get(PurePosixPath(s.member).name)) for s in listing.sources]
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


def _withheld(texts: dict[str, str]) -> list[str]:
    _, found, names = texts.get(README, "").partition(_WITHHELD)
    return [line.strip().removesuffix(".bz2") for line in names.splitlines() if found and line.strip()]


#: Room for one file of unknown size: a full frame of four arrays in float32 has 67 MB.
ROOM = 10**8


@dataclass
class UnpackReport:
    """Each file, with a reason: ``done`` now, ``present`` before, ``failed``, ``withheld`` by the archive.

    ``copies`` of an exposure that is among the others are not kept.
    """

    done: list[tuple[str, str]] = field(default_factory=list)
    present: list[tuple[str, str]] = field(default_factory=list)
    copies: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    withheld: list[tuple[str, str]] = field(default_factory=list)
    bytes: int = 0

    @property
    def exit_code(self) -> int:
        """0 if all is there, else 1."""
        return FAILED if self.failed or self.withheld else DONE


def unpack(
    paths: Sequence[Path],
    folder: Path,
    *,
    workers: int = 0,
    pool: Pool | WorkspacePool | None = None,
    verified: Verified | None = None,
    notify: Notify = silent,
) -> UnpackReport:
    """Unpack tars, .fits.bz2 and .fits files into ``folder``, each as NAME.fits.

    ``pool``: processes to work in, by default ``workers`` of its own. Raises UsageError for a file that is
    not there and, before anything is written, Unsafe for a tar with absolute paths, '..', links or devices,
    or two different files of one name.
    """
    _must_be_there(paths)
    report = UnpackReport()
    listings = _list_all(paths, report, notify)
    sources: dict[str, list[StoredFile]] = defaultdict(list)
    for source in (source for listing in listings for source in listing.sources):
        sources[source.name].append(source)
    for name, same in sources.items():
        _refuse_different(name, same)
    for listing in listings:
        for text in listing.warnings:
            notify(Warned(text))
        report.withheld += listing.withheld
        report.failed += [item for item in listing.missing if item[0] not in sources]
    verified = verified or Verified(Workspace(folder.parent).verified)
    # Which FITS file (md5) came out of which stored file (md5): a repetition need not decompress again.
    cache = folder.parent / "playground" / "unpacked.json"
    known: dict[str, str] = read_json(cache)
    todo = [same[0] for same in sources.values() if not _is_present(same[0], folder, verified, known, report)]
    if todo:
        room = sum(s.size if s.member.endswith(".fits") else max(4 * s.size, s.size + 1) for s in todo)
        check_disk(folder, room, f"about {room / 1e9:.2f} GB", "make room")
        with partial_files(folder) as partial, nullcontext(pool) if pool else Pool(workers, notify) as used:
            _Unpacking(folder, partial, used, verified, known, report, notify).run(todo)
        _remove_copies(folder, report, notify)
        if cache.parent.is_dir():
            write_atomically(cache, json.dumps(known, indent=0, sort_keys=True))
    verified.save()
    return report


def _must_be_there(paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.is_file():
            what = "is not a file" if path.exists() else "is not there"
            raise UsageError(f"{path} {what}", "tars, .fits.bz2 or .fits files")


def _list_all(paths: Sequence[Path], report: UnpackReport, notify: Notify) -> list[TarContents]:
    """What each file holds; among several, one that is neither a tar nor FITS is named and left out."""
    listings = []
    for path in paths:
        if path.name.startswith("._"):
            notify(Decided(f"{path.name} is passed over", "macOS's notes on a file, no data"))
            continue
        try:
            listings.append(list_file(path))
        except NoTar as error:
            if len(paths) == 1:
                raise
            report.failed.append((path.name, str(error)))
            notify(Refusal(path.name, str(error)))
    return listings


def _refuse_different(name: str, same: Sequence[StoredFile]) -> None:
    """One name, one content: which of two would be the right one nobody can tell."""
    if len(same) < 2:
        return
    if len({md5_of_part(str(s.path), s.offset, s.size) for s in same}) == 1:
        return
    contents = {md5_of_content(str(s.path), s.offset, s.size) for s in same}
    if len(contents) > 1:
        places = " and ".join(sorted({f"{s.member} of {s.path.name}" for s in same}))
        raise Unsafe(f"two different files called {name}: {places}", "one content for each name")


def _is_present(
    source: StoredFile, folder: Path, verified: Verified, known: dict[str, str], report: UnpackReport
) -> bool:
    """Whether a file is in the folder already; another content under its name is left alone and reported."""
    final = folder / source.name
    if not final.is_file():
        return False
    where = str(source.path), source.offset, source.size
    stored = verified.md5(source.path) if source.whole else md5_of_part(*where)
    if stored not in known:
        try:
            known[stored] = md5_of_content(*where)
        except Damaged as error:
            report.failed.append((source.name, f"{source.member} of {source.path.name}: {error}"))
            return True
    if known[stored] == verified.md5(final):
        report.present.append((source.name, "already there, md5 right"))
    else:
        report.failed.append(
            (source.name, f"{final} has another content; remove it or choose another folder")
        )
    return True


def _remove_copies(folder: Path, report: UnpackReport, notify: Notify) -> None:
    """Take away what was unpacked now and holds an exposure that is here under another name too.

    One of the two then has no raw file's name of its own.
    """
    here = [folder / name for name, _ in (*report.done, *report.present)]
    if all(RAW_NAME.fullmatch(path.stem) or path.name.startswith("bpm_") for path in here):
        return
    new = {folder / name for name, _ in report.done}
    described = [(path, facts) for path in here if (facts := _facts(path))]
    for path, (why, is_lost) in needless(described).items():
        if path in new and not is_lost:
            path.unlink()
            report.done = [one for one in report.done if one[0] != path.name]
            reason = say_reason(why)
            report.copies.append((path.name, reason))
            notify(Decided(f"{path.name} is not kept", reason))


def _facts(path: Path) -> Descriptors | None:
    from reducer.fitsio import read_headers
    from reducer.headers.descriptors import describe

    try:
        primary, chips = read_headers(path)
    except BadFile:
        return None  # it is told when it is to be used
    return describe(primary, chips, path.name)


def check_disk(folder: Path, room: float, needed: str, remedy: str) -> None:
    """Make the folder; WorkspaceError where its disk has less than ``room`` bytes, ``needed`` in words."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < room:
        raise WorkspaceError(f"{folder} has {free / 1e9:.2f} GB of free disk", needed, remedy)


@dataclass
class _Unpacking:
    """One unpacking at work."""

    folder: Path
    partial: Path
    pool: Pool | WorkspacePool
    verified: Verified
    known: dict[str, str]
    report: UnpackReport
    notify: Notify

    def run(self, todo: Sequence[StoredFile]) -> None:
        """Give each source to a worker; what it verified gets its final name here."""
        self.notify(StageBegun("unpack", len(todo)))
        futures = {self.submit(source): source for source in todo}
        for done, future in enumerate(as_completed(futures), 1):
            source = futures[future]
            try:
                self.settle(source, future.result())
            except Damaged as error:
                self.report.failed.append((source.name, f"{source.member} of {source.path.name}: {error}"))
                self.notify(Refusal(source.name, str(error)))
            self.notify(Progressed("unpack", done, len(todo), self.report.bytes))
        self.notify(StageEnded("unpack"))

    def submit(self, source: StoredFile) -> Future[Checksums]:
        """A worker's task: a whole file is read where it is, a tar's member through a copy of its own."""
        target = str(self.target(source))
        expected = Expected(source.file_md5)
        if source.whole:
            return self.pool.submit(decompress, str(source.path), target, expected)
        stored = f"{target}.stored"
        return self.pool.submit(
            decompress_part, str(source.path), source.offset, source.size, stored, target, expected
        )

    def target(self, source: StoredFile) -> Path:
        """Where a worker writes; named by this process, as a killed one's worker may still write."""
        return self.partial / f"{source.name}.{os.getpid()}"

    def settle(self, source: StoredFile, result: Checksums) -> None:
        """Give a verified file its final name."""
        final = self.target(source).replace(self.folder / source.name)
        self.verified.remember(final, result.data_md5)
        self.known[result.file_md5] = result.data_md5
        self.report.done.append((source.name, f"unpacked from {source.path.name}"))
        self.report.bytes += result.data_size
        self.notify(Made(final))
