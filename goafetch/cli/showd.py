"""`goafetch showd`: a table of descriptors."""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goafetch import console
from goafetch.cli.run import Json, Quiet, Verbose
from goafetch.errors import DONE, FAILED, UsageError
from goafetch.text import read_names

if TYPE_CHECKING:
    from reducer.headers.descriptors import Descriptors


@console.handled
def showd(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES|@LIST", help="Names, globs, @list; without any, standard input."),
    ] = None,
    descriptors: Annotated[
        list[str] | None,
        typer.Option("-d", "--descriptors", metavar="A,B", help="Descriptors; without, they are listed."),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values, with a heading.")] = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Show descriptors of files; without -d, list all descriptors with their meaning and unit."""
    from reducer.headers.descriptors import MEANINGS

    format = "json" if json else "csv" if csv else "table"
    if not descriptors:
        listed = [{"descriptor": name, "meaning": text} for name, text in sorted(MEANINGS.items())]
        console.show_table(listed, format=format)
        return DONE
    wanted = _known([name for text in descriptors for name in text.replace(",", " ").split()], list(MEANINGS))
    from goafetch.api.files import describe_files, expand

    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        known, refused = describe_files(expand(files or _names_from_input()), terminal)
    rows = [{"filename": path} | {name: _value(facts, name) for name in wanted} for path, facts in known]
    console.show_table(rows, ["filename", *wanted], format=format)
    return FAILED if refused else DONE


def _names_from_input() -> list[str]:
    if sys.stdin.isatty():
        raise UsageError("no files were named", "FILES, @LIST, or names on standard input")
    return read_names(sys.stdin.buffer.read(), "standard input")


def _known(names: list[str], known: list[str]) -> list[str]:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UsageError(
                f"there is no descriptor '{name}'", remedy=f"{hint}`goafetch showd` lists them all"
            )
    return names


def _value(facts: Descriptors, name: str) -> Any:
    """A descriptor as people read it: the filter without component IDs, tags in order."""
    if name == "filter_name":
        return facts.filter
    value = getattr(facts, name)
    return sorted(value) if isinstance(value, frozenset) else value
