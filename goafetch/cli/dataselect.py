"""`goafetch dataselect`: choose files by tags and by an expression over descriptors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goafetch import console
from goafetch.cli.run import Json, Quiet, Verbose
from goafetch.errors import DONE, FAILED, NOTHING

Files = Annotated[
    list[str], typer.Argument(metavar="FILES|@LIST", help="Names, globs, or @name of a list of names.")
]
Tags = Annotated[
    list[str] | None, typer.Option("-t", "--tags", metavar="A,B", help="All of these tags, as FLAT,LAMPON.")
]
Xtags = Annotated[list[str] | None, typer.Option("--xtags", metavar="C", help="None of these tags.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="LIST", help="Write a list of names.")]


@console.handled
def dataselect(
    files: Files,
    tags: Tags = None,
    xtags: Xtags = None,
    expr: Annotated[
        str | None,
        typer.Option(metavar="EXPRESSION", help="As 'filter_name==\"H\" and exposure_time>=30'."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exact exposure times, full filter names.")
    ] = False,
    output: Output = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Print the names of the files that fit, or write them to a list for @LIST."""
    from goafetch.api.files import describe_files, expand, write_list
    from reducer.select import expr_parser, matches

    expression = expr_parser(expr or "True", strict)
    wanted, unwanted = words(tags), words(xtags)
    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        known, refused = describe_files(expand(files), terminal)
    names = [path for path, facts in known if matches(facts, wanted, unwanted, expression)]
    if output:
        write_list(output, names, header(wanted, unwanted, expr))
    if json:
        console.emit_json({"files": names, "refused": refused})
    elif not output:
        console.show_table([{"filename": name} for name in names], ["filename"], format="names")
    if not quiet and (output or not names):
        console.say(f"{len(names)} of {len(known)} files{f' written to {output}' if output else ' fit'}")
    return FAILED if refused else DONE if names else NOTHING


def words(given: list[str] | None) -> list[str]:
    """Tags from options that may hold several each, divided by commas or spaces."""
    return [word.upper() for text in given or () for word in text.replace(",", " ").split()]


def header(tags: list[str], xtags: list[str], expr: str | None) -> list[str]:
    """The comments at the head of a list, those of DRAGONS."""
    return [
        f"Includes tags: {tags or None}",
        f"Excludes tags: {xtags or None}",
        f"Descriptor expression: {expr}",
    ]
