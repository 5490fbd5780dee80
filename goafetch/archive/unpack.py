"""Unpacking of tars and loose files: parallel, verified, safe to repeat, and nothing that could do harm."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, as_completed
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from goafetch.archive.errors import Damaged, NoTar, Unsafe
from goafetch.archive.moving.expand import Expanded, Wanted, data_digest, digest, expand, expand_slice
from goafetch.archive.moving.incoming import incoming
from goafetch.archive.moving.tarlist import Listing, Source, by_name, list_file
from goafetch.engine.pool import Desk, Pool
from goafetch.errors import DONE, FAILED, UsageError, WorkspaceError
from goafetch.events import Notify, silent
from goafetch.workspace import Verified, Workspace, write_atomically
from reducer.errors import BadFile
from reducer.headers.same import RAW_NAME, needless

if TYPE_CHECKING:
    from reducer.headers.descriptors import Descriptors

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


class _Memory:
    """Which FITS file (md5) came out of which stored file (md5): a repetition need not decompress again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.parent / "playground" / "unpacked.json"
        try:
            known = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            known = {}
        self.known: dict[str, str] = known if isinstance(known, dict) else {}

    def save(self) -> None:
        """Write what was learnt, where there is a playground to keep it in."""
        if self.path.parent.is_dir():
            write_atomically(self.path, json.dumps(self.known, indent=0, sort_keys=True))


def unpack(
    paths: Sequence[Path],
    folder: Path,
    *,
    wanted: Mapping[str, Wanted] | None = None,
    workers: int = 0,
    pool: Pool | Desk | None = None,
    verified: Verified | None = None,
    notify: Notify = silent,
) -> UnpackReport:
    """Unpack tars, .fits.bz2 and .fits files into ``folder``, each as NAME.fits.

    ``wanted``: by name, what the archive says of a file. ``pool``: processes to work in, by default
    ``workers`` of its own. Raises UsageError for a file that is not there and, before anything is written,
    Unsafe for a tar with absolute paths, '..', links or devices, or two different files of one name.
    """
    _must_be_there(paths)
    report = UnpackReport()
    listings = _list_all(paths, report, notify)
    sources = by_name(listings)
    for name, same in sources.items():
        _refuse_different(name, same)
    for listing in listings:
        for text in listing.warnings:
            notify("warning", text=text)
        report.withheld += listing.withheld
        report.failed += [item for item in listing.missing if item[0] not in sources]
    verified = verified or Workspace(folder.parent).verified()
    memory = _Memory(folder)
    todo = [
        same[0] for same in sources.values() if not _is_present(same[0], folder, verified, memory, report)
    ]
    if todo:
        _check_room(folder, todo)
        with incoming(folder) as place, nullcontext(pool) if pool else Pool(workers, notify) as workshop:
            _Unpacking(folder, place, workshop, verified, memory, report, notify).run(todo, wanted or {})
        _remove_copies(folder, report, notify)
        memory.save()
    verified.save()
    return report


def _must_be_there(paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.is_file():
            what = "is not a file" if path.exists() else "is not there"
            raise UsageError(f"{path} {what}", "tars, .fits.bz2 or .fits files")


def _list_all(paths: Sequence[Path], report: UnpackReport, notify: Notify) -> list[Listing]:
    """What each file holds; among several, one that is neither a tar nor FITS is named and left out."""
    listings = []
    for path in paths:
        if path.name.startswith("._"):
            notify("decision", what=f"{path.name} is passed over", reason="macOS's notes on a file, no data")
            continue
        try:
            listings.append(list_file(path))
        except NoTar as error:
            if len(paths) == 1:
                raise
            report.failed.append((path.name, str(error)))
            notify("refused", name=path.name, reason=str(error))
    return listings


def _refuse_different(name: str, same: Sequence[Source]) -> None:
    """One name, one content: which of two would be the right one nobody can tell."""
    if len(same) < 2:
        return
    if len({digest(str(s.path), s.offset, s.size) for s in same}) == 1:
        return
    contents = {data_digest(str(s.path), s.offset, s.size) for s in same}
    if len(contents) > 1:
        places = " and ".join(sorted({f"{s.member} of {s.path.name}" for s in same}))
        raise Unsafe(f"two different files called {name}: {places}", "one content for each name")


def _is_present(
    source: Source, folder: Path, verified: Verified, memory: _Memory, report: UnpackReport
) -> bool:
    """Whether a file is in the folder already; another content under its name is left alone and reported."""
    final = folder / source.name
    if not final.is_file():
        return False
    stored = (
        verified.md5(source.path) if source.whole else digest(str(source.path), source.offset, source.size)
    )
    if stored not in memory.known:
        try:
            memory.known[stored] = data_digest(str(source.path), source.offset, source.size)
        except Damaged as error:
            report.failed.append((source.name, f"{source.member} of {source.path.name}: {error}"))
            return True
    if memory.known[stored] == verified.md5(final):
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
    for path, (reason, is_lost) in needless(described).items():
        if path in new and not is_lost:
            path.unlink()
            report.done = [one for one in report.done if one[0] != path.name]
            report.copies.append((path.name, reason))
            notify("decision", what=f"{path.name} is not kept", reason=reason)


def _facts(path: Path) -> Descriptors | None:
    from reducer.fitsio import read_headers
    from reducer.headers.descriptors import describe

    try:
        primary, chips = read_headers(path)
    except BadFile:
        return None  # it is told when it is to be used
    return describe(primary, chips, path.name)


def _check_room(folder: Path, todo: Sequence[Source]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(s.size if s.member.endswith(".fits") else max(4 * s.size, s.size + 1) for s in todo)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WorkspaceError(
            f"{folder} has {free / 1e9:.2f} GB of free disk", f"about {needed / 1e9:.2f} GB", "make room"
        )


class _Unpacking:
    """One unpacking at work."""

    def __init__(
        self,
        folder: Path,
        place: Path,
        pool: Pool | Desk,
        verified: Verified,
        memory: _Memory,
        report: UnpackReport,
        notify: Notify,
    ) -> None:
        self.folder, self.place, self.pool = folder, place, pool
        self.verified, self.memory, self.report, self.notify = verified, memory, report, notify

    def run(self, todo: Sequence[Source], wanted: Mapping[str, Wanted]) -> None:
        """Give each source to a worker; what it verified gets its final name here."""
        self.notify("stage", name="unpack", total=len(todo))
        futures = {self.submit(source, wanted.get(source.name, Wanted())): source for source in todo}
        for done, future in enumerate(as_completed(futures), 1):
            source = futures[future]
            try:
                self.settle(source, future.result())
            except Damaged as error:
                self.report.failed.append((source.name, f"{source.member} of {source.path.name}: {error}"))
                self.notify("refused", name=source.name, reason=str(error))
            self.notify("progress", name="unpack", done=done, total=len(todo), bytes=self.report.bytes)
        self.notify("done", name="unpack")

    def submit(self, source: Source, wanted: Wanted) -> Future[Expanded]:
        """A worker's task: a whole file is read where it is, a tar's member through a copy of its own."""
        target = str(self.target(source))
        wanted = Wanted(source.file_md5 or wanted.file_md5, wanted.data_md5, wanted.data_size)
        if source.whole:
            return self.pool.submit(expand, str(source.path), target, wanted)
        stored = f"{target}.stored"
        return self.pool.submit(
            expand_slice, str(source.path), source.offset, source.size, stored, target, wanted
        )

    def target(self, source: Source) -> Path:
        """Where a worker writes; named by this process, as a killed one's worker may still write."""
        return self.place / f"{source.name}.{os.getpid()}"

    def settle(self, source: Source, result: Expanded) -> None:
        """Give a verified file its final name."""
        final = self.target(source).replace(self.folder / source.name)
        self.verified.remember(final, result.data_md5)
        self.memory.known[result.file_md5] = result.data_md5
        self.report.done.append((source.name, f"unpacked from {source.path.name}"))
        self.report.bytes += result.data_size
        self.notify("made", path=final)
