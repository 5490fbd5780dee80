"""Raw files that are already here: a workspace's own, or any folder's, linked or unpacked into playdata/."""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from goafetch.engine.pool import WorkspacePool
from goafetch.errors import NothingFound, UsageError, WorkspaceError
from goafetch.events import Decided, Notify, Refusal, Warned
from goafetch.plan.model import LeftOut
from goafetch.workspace import Workspace, fits_name

#: What file systems without symbolic links answer: exFAT, many network shares.
NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EIO)


def is_workspace(folder: Path) -> bool:
    """Whether a folder was made by `goafetch run`, `fetch` or `unpack`."""
    return (folder / "playdata").is_dir()


def check_folder(folder: Path) -> None:
    """Raises UsageError for what is no folder."""
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not a folder",
            "a workspace, or a folder of raw files",
            "give the folder that holds them, or a program ID to fetch them",
        )


def take_folder(
    folder: Path, workspace: Workspace, notify: Notify, pool: WorkspacePool, *, dry_run: bool = False
) -> tuple[list[Path], list[LeftOut]]:
    """The raw files of a folder as paths in playdata/, linked or unpacked there unless they live there.

    Also those that cannot be had, which is told: broken links, and packed files that are damaged. With
    ``dry_run`` files stay where they are; packed ones are then left out, which is said.
    """
    lost: list[LeftOut] = []
    if is_workspace(folder) and folder.resolve() == workspace.root.resolve():
        files = sorted(path for path in workspace.playdata.iterdir() if path.name == fits_name(path.name))
        files += _of_examples(workspace, {path.name for path in files}, lost, notify, dry_run=dry_run)
    else:
        files = _raw_files(folder, workspace.root, lost, notify)
        plain = [path for path in files if not _is_packed(path)]
        if dry_run and len(plain) < len(files):
            notify(Warned(f"{len(files) - len(plain)} packed files are not looked into"))
        files = plain if dry_run else _bring_in(files, workspace, lost, notify, pool)
    if not files and not lost:
        raise NothingFound(
            f"no .fits or .fits.bz2 file in {folder}",
            "a workspace, or a folder of raw files",
            "give the folder that holds them, or a program ID to fetch them",
        )
    return files, lost


def _of_examples(
    workspace: Workspace, known: set[str], lost: list[LeftOut], notify: Notify, *, dry_run: bool
) -> list[Path]:
    """Files in folders of playdata/, such as example1/ of the tutorials' data packages, linked beside them
    unless it is a ``dry_run``; without those of names that are ``known``."""
    folders = sorted(path for path in workspace.playdata.iterdir() if path.is_dir())
    found = {path.name: path for folder in folders for path in _raw_files(folder, folder, lost, notify)}
    new = [path for name, path in found.items() if name == fits_name(name) and name not in known]
    for path in () if dry_run else new:
        _link(path, workspace.playdata / path.name)
    return new if dry_run else [workspace.playdata / path.name for path in new]


def _raw_files(folder: Path, workspace: Path, lost: list[LeftOut], notify: Notify) -> list[Path]:
    """Files below a folder, none of a workspace in it, one of each name: whole ones, then plain ones first.

    Names that differ in case alone are one name, as they are where file systems do not tell case.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(_below(folder, workspace, notify), key=lambda p: (_is_packed(p), p.as_posix())):
        name = fits_name(path.name)
        if name and path.is_file():
            found.setdefault(name.casefold(), []).append(path)
        elif name and path.is_symlink():
            lost.append(LeftOut(path, f"a link to {path.readlink()}, which is no file", failed=True))
            notify(Refusal(path.name, lost[-1].reason))
    chosen = [next((path for path in same[:-1] if _is_whole(path)), same[-1]) for same in found.values()]
    _tell_passed_over(list(zip(chosen, found.values(), strict=True)), notify)
    return sorted(chosen)


def _is_whole(path: Path) -> bool:
    """Whether a file can be read; packed ones are not looked into."""
    from reducer.errors import BadFile
    from reducer.fitsio import units_of

    try:
        return _is_packed(path) or bool(units_of(path))
    except BadFile:
        return False


def _tell_passed_over(chosen: Sequence[tuple[Path, Sequence[Path]]], notify: Notify) -> None:
    """Name each file that another one of its name is used instead of; packed files beside their plain ones
    in one line."""
    packed = []
    for first, same in chosen:
        for path in same:
            if path == first.with_name(f"{first.name}.bz2"):
                packed.append(path.name)
            elif path != first:
                why = f"{first} has that name" if _is_whole(path) else f"it is damaged, {first} is used"
                notify(Warned(f"{path} is passed over: {why}"))
    if packed:
        reason = f"each is beside its unpacked one: {', '.join(packed)}"
        notify(Decided(f"{len(packed)} packed files are passed over", reason))


def _below(folder: Path, workspace: Path, notify: Notify) -> Iterator[Path]:
    """Files of a folder and those in it; not of hidden ones, virtual environments and other workspaces."""

    def cannot(error: OSError) -> None:
        notify(Warned(f"cannot look into {error.filename}: {error.strerror}"))

    inside = workspace.resolve()
    for place, folders, names in os.walk(folder, onerror=cannot):
        kept = []
        for below in (Path(place) / name for name in sorted(folders) if not name.startswith(".")):
            if (below / "pyvenv.cfg").exists() or (below / "conda-meta").exists():
                continue
            if below.resolve() == inside:
                continue
            if is_workspace(below) and Workspace(below).playground.is_dir():
                notify(Decided(f"passed over {below}", "a workspace of its own; run it by its name"))
                continue
            kept.append(below.name)
        folders[:] = kept
        yield from (Path(place) / name for name in names)


def _is_packed(path: Path) -> bool:
    return ".bz2" in path.name


def _bring_in(
    files: Sequence[Path], workspace: Workspace, lost: list[LeftOut], notify: Notify, pool: WorkspacePool
) -> list[Path]:
    packed = [path for path in files if _is_packed(path)]
    names = {path: str(fits_name(path.name)) for path in files}
    copied = [
        path for path in files if path not in packed and not _link(path, workspace.playdata / names[path])
    ]
    if copied:
        why = "their file system has no symbolic links"
        notify(Decided(f"{len(copied)} raw files were copied into {workspace.playdata}", why))
    if packed:
        from goafetch.archive.unpack import unpack

        report = unpack(packed, workspace.playdata, pool=pool, notify=notify)
        lost += [LeftOut(workspace.playdata / name, why, failed=True) for name, why in report.failed]
    return [workspace.playdata / name for name in names.values() if (workspace.playdata / name).exists()]


def _link(source: Path, link: Path) -> bool:
    """A relative link, so that the two folders may move together; an existing right one stays.

    False where there can be no links: the file is copied then.
    """
    target = os.path.relpath(source.absolute(), link.parent.resolve())
    if link.is_symlink() and str(link.readlink()) == target:
        return True
    if link.exists() and not link.is_symlink():
        if link.resolve() == source.resolve() or filecmp.cmp(link, source):
            return True
        raise WorkspaceError(
            f"{link} is a file of its own, not a link to {source}",
            "a workspace that belongs to this folder",
            "choose another one with --into DIR",
        )
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _copy(source, link)
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    """A whole copy or none, with the time of its source: that tells quickly whether it is the same."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(source, partial)
        with suppress(OSError):  # some network disks set no times
            os.utime(partial, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
