"""The tutorial's ``dataselect``: files by tags and expressions; names, globs and @lists as in DRAGONS."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from goafetch.errors import NothingFound, UsageError
from goafetch.events import Notify, Refusal, silent
from goafetch.text import read_names, write_names
from goafetch.words import some
from goafetch.workspace import write_atomically
from reducer.select import BadExpression, Node, expr_parser, select_data

if TYPE_CHECKING:
    from reducer.headers.descriptors import Descriptors


__all__ = ["BadExpression", "Node", "expr_parser", "select_data"]


def expand(names: Iterable[str | Path]) -> list[Path]:
    """The files that names, globs and ``@lists`` mean, in the order given, each once.

    UsageError names those that mean no file.
    """
    found: dict[Path, None] = {}
    missing = []
    for name in map(str, names):
        files = read_list(Path(name[1:])) if name.startswith("@") else _matching(name)
        missing += [path for path in files if not Path(path).is_file()] or ([] if files else [name])
        found |= dict.fromkeys(map(Path, files))
    if missing:
        raise UsageError(
            f"there is no file {some(missing)}", "files that exist", "check the names and the folder"
        )
    return list(found)


def read_list(path: Path) -> list[str]:
    """The names in a list: one a line, as seen from here; ``#`` begins a comment."""
    if not path.is_file():
        raise UsageError(f"there is no list {path}", remedy=f"make it with `goafetch dataselect -o {path}`")
    names = read_names(path.read_bytes(), f"the list {path}")
    if not names:
        raise NothingFound(f"the list {path} is empty", "a name in each line", "make it again")
    return names


def write_list(path: Path, names: Iterable[str | Path], comments: Iterable[str]) -> None:
    """Write a list that ``@`` reads, with comments at its head."""
    write_atomically(path, write_names(names, comments))


def describe_files(
    files: Iterable[Path], notify: Notify = silent
) -> tuple[list[tuple[Path, Descriptors]], list[Path]]:
    """Files with their descriptors, and those that could not be read, each told as ``refused``."""
    from reducer.errors import BadFile
    from reducer.select import describe_file

    known, refused = [], []
    for path in files:
        try:
            known.append((path, describe_file(path)))
        except BadFile as error:
            notify(Refusal(str(path), str(error)))
            refused.append(path)
    return known, refused


def _matching(name: str) -> list[str]:
    """A name, or what a quoted glob means; brackets may also be part of a name."""
    if Path(name).is_file() or not glob.has_magic(name):
        return [name]
    return sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob wants a relative pattern
