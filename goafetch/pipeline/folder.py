"""Raw files that are already here: a workspace's own, or any folder's, linked or unpacked into playdata/."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from goafetch.engine.pool import Desk
from goafetch.errors import NothingFound, WorkspaceError
from goafetch.events import Notify
from goafetch.workspace import Workspace

SUFFIXES = (".fits", ".fits.bz2")


def is_workspace(folder: Path) -> bool:
    """Whether a folder was made by `goafetch run`, `fetch` or `unpack`."""
    return (folder / "playdata").is_dir()


def check_folder(folder: Path) -> None:
    """Raises WorkspaceError for what is no folder."""
    if not folder.is_dir():
        raise WorkspaceError(
            f"{folder} is not a folder",
            "a workspace, or a folder of raw GSAOI files",
            "give the folder that holds them, or a program ID to fetch them",
        )


def take_folder(
    folder: Path, workspace: Workspace, notify: Notify, pool: Desk, *, dry_run: bool = False
) -> list[Path]:
    """The raw files of a folder as paths in playdata/, linked or unpacked there unless they live there.

    With ``dry_run`` they stay where they are; packed ones are then left out, which is said.
    """
    if is_workspace(folder) and folder.resolve() == workspace.root.resolve():
        files = sorted(path for path in workspace.playdata.iterdir() if path.suffix == ".fits")
    else:
        files = _raw_files(folder, workspace.root, notify)
        plain = [path for path in files if path.suffix == ".fits"]
        if dry_run and len(plain) < len(files):
            notify("warning", text=f"{len(files) - len(plain)} packed files are not looked into")
        files = plain if dry_run else _bring_in(files, workspace, notify, pool)
    if not files:
        raise NothingFound(
            f"no .fits or .fits.bz2 file in {folder}",
            "a workspace, or a folder of raw GSAOI files",
            "give the folder that holds them, or a program ID to fetch them",
        )
    return files


def _raw_files(folder: Path, workspace: Path, notify: Notify) -> list[Path]:
    """Files below a folder, none of a workspace in it, one of each name: whole ones, then plain ones first.

    Names that differ in case alone are one name, as they are where file systems do not tell case.
    """
    inside = workspace.resolve()
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*"), key=lambda p: (p.suffix == ".bz2", p.as_posix())):
        if path.name.endswith(SUFFIXES) and path.is_file() and not _hidden(path, folder):
            if inside in path.absolute().parents and inside != folder.resolve():
                continue
            found.setdefault(path.name.removesuffix(".bz2").casefold(), []).append(path)
        elif path.name.endswith(SUFFIXES) and path.is_symlink():
            notify("refused", name=path.name, reason=f"a link to {path.readlink()}, which is no file")
    chosen = [next((path for path in same[:-1] if _is_whole(path)), same[-1]) for same in found.values()]
    _tell_passed_over(list(zip(chosen, found.values(), strict=True)), notify)
    return sorted(chosen)


def _is_whole(path: Path) -> bool:
    """Whether a file can be read; packed ones are not looked into."""
    from reducer.errors import BadFile
    from reducer.fitsio import units_of

    try:
        return path.suffix == ".bz2" or bool(units_of(path))
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
                notify("warning", text=f"{path} is passed over: {why}")
    if packed:
        reason = f"each is beside its unpacked one: {', '.join(packed)}"
        notify("decision", what=f"{len(packed)} packed files are passed over", reason=reason)


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _bring_in(files: Sequence[Path], workspace: Workspace, notify: Notify, pool: Desk) -> list[Path]:
    packed = [path for path in files if path.suffix == ".bz2"]
    for path in files:
        if path.suffix == ".fits":
            _link(path, workspace.playdata / path.name)
    if packed:
        from goafetch.archive.unpack import unpack

        unpack(packed, workspace.playdata, pool=pool, notify=notify)
    names = (path.name.removesuffix(".bz2") for path in files)
    return [workspace.playdata / name for name in names if (workspace.playdata / name).exists()]


def _link(source: Path, link: Path) -> None:
    """A relative link, so that the two folders may move together; an existing right one stays."""
    target = os.path.relpath(source.absolute(), link.parent.resolve())
    if link.is_symlink() and str(link.readlink()) == target:
        return
    if link.exists() and not link.is_symlink():
        if link.resolve() == source.resolve():
            return
        raise WorkspaceError(
            f"{link} is a file of its own, not a link to {source}",
            "a workspace that belongs to this folder",
            "choose another one with --into DIR",
        )
    link.unlink(missing_ok=True)
    link.symlink_to(target)
