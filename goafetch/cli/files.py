"""`goafetch dataselect`, `typewalk`, `showd` and `showpars`: what files are, and which of them fit."""

from __future__ import annotations

import datetime as dt
import difflib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goafetch import __version__, console
from goafetch.cli import complete
from goafetch.errors import DONE, FAILED, NOTHING, UsageError
from goafetch.text import read_names

if TYPE_CHECKING:
    from reducer.headers.descriptors import Descriptors


Files = Annotated[
    list[str], typer.Argument(metavar="FILES|@LIST", help="Names, globs, or @name of a list of names.")
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "-t", "--tags", metavar="A,B", help="All of these tags, as FLAT,LAMPON.", autocompletion=complete.tags
    ),
]
Xtags = Annotated[
    list[str] | None,
    typer.Option("--xtags", metavar="C", help="None of these tags.", autocompletion=complete.tags),
]
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
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> int:
    """Print the names of the files that fit, or write them to a list for @LIST."""
    from goafetch.api.dataselect import describe_files, expand, write_list
    from reducer.select import expr_parser, matches

    expression = expr_parser(expr or "True", strict)
    wanted, unwanted = split_tags(tags), split_tags(xtags)
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
        say_strange(wanted, [facts.tags for _, facts in known])
    return FAILED if refused else DONE if names else NOTHING


def split_tags(given: list[str] | None) -> list[str]:
    """Tags from options that may hold several each, divided by commas or spaces."""
    return [word.upper() for text in given or () for word in text.replace(",", " ").split()]


def say_strange(wanted: Iterable[str], held: Iterable[frozenset[str]]) -> None:
    """Say which of the tags that were asked for no file has and are none of the usual, and the nearest."""
    from reducer.headers.descriptors import TAGS

    known = sorted({*TAGS, *frozenset().union(*held)})
    for tag in wanted:
        if tag not in known:
            close = difflib.get_close_matches(tag, known, 1)
            hint = f"did you mean {close[0]}?" if close else "`goafetch typewalk` shows those of all files"
            console.say(f"there is no tag {tag}: {hint}")


def header(tags: list[str], xtags: list[str], expr: str | None) -> list[str]:
    """The comments at the head of a list, those of DRAGONS."""
    return [
        f"Includes tags: {tags or None}",
        f"Excludes tags: {xtags or None}",
        f"Descriptor expression: {expr}",
    ]


FITS = r".*\.(fits|FITS)"


@console.handled
def typewalk(
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TAG...]", help="More tags for --tags.", autocompletion=complete.tags),
    ] = None,
    directory: Annotated[
        Path, typer.Option("-d", "--dir", metavar="DIR", exists=True, file_okay=False, help="Where to look.")
    ] = Path(),
    tags: Tags = None,
    xtags: Xtags = None,
    either: Annotated[bool, typer.Option("--or", help="Any of the tags is enough.")] = False,
    output: Output = None,
    filemask: Annotated[
        str, typer.Option("-f", "--filemask", metavar="REGEX", help="Which file names.")
    ] = FITS,
    norecurse: Annotated[bool, typer.Option("-n", "--norecurse", help="Not in folders below.")] = False,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> int:
    """Show the tags of every FITS file below a folder."""
    from goafetch.api.dataselect import describe_files, write_list

    wanted, unwanted = set(split_tags(tags) + split_tags(more)), set(split_tags(xtags))
    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        known, refused = describe_files(walk(directory, filemask, below=not norecurse), terminal)
    rows = [
        {"filename": path, "tags": sorted(facts.tags) if json else " ".join(sorted(facts.tags))}
        for path, facts in known
        if fits(facts.tags, wanted, either=either) and unwanted.isdisjoint(facts.tags)
    ]
    console.show_table(rows, ["filename", "tags"], format="json" if json else "table")
    if output:
        write_list(output, [str(row["filename"]) for row in rows], _header(wanted, unwanted, either))
    if not rows and not quiet:
        console.say(f"no file among {len(known)} below {directory} fits")
        say_strange(wanted, [facts.tags for _, facts in known])
    return FAILED if refused else DONE if rows else NOTHING


def fits(tags: frozenset[str], wanted: set[str], *, either: bool) -> bool:
    """Whether a frame has all of the wanted tags, or with ``either`` one of them."""
    return not wanted.isdisjoint(tags) if either and wanted else wanted <= tags


def walk(directory: Path, filemask: str, *, below: bool) -> list[Path]:
    """The files of a folder, and of those below it, whose whole name fits a pattern, in order."""
    try:
        pattern = re.compile(filemask)
    except re.error as error:
        raise UsageError(f"{filemask!r} is not a regular expression: {error}") from error
    found = []
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if below else []
        found += [Path(folder) / name for name in sorted(names) if pattern.fullmatch(name)]
    return found


def _header(tags: set[str], xtags: set[str], either: bool) -> list[str]:
    lines = [
        f"Auto-generated by goafetch typewalk, v{__version__}",
        f"Written: {dt.datetime.now().astimezone():%a %b %d %H:%M:%S %Y}",
        f"Qualifying types: {'  '.join(sorted(tags)) or 'all'}",
        f"Qualifying logic: {'OR' if either else 'AND'}",
    ]
    lines += [f"Excluded types:   {' '.join(sorted(xtags))}"] if xtags else []
    return [*lines, "-----------------------"]


@console.handled
def showd(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES|@LIST", help="Names, globs, @list; without any, standard input."),
    ] = None,
    descriptors: Annotated[
        list[str] | None,
        typer.Option(
            "-d",
            "--descriptors",
            metavar="A,B",
            help="Descriptors; without, they are listed.",
            autocompletion=complete.descriptors,
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values, with a heading.")] = False,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> int:
    """Show descriptors of files; without -d, list all descriptors with their meaning and unit."""
    from reducer.headers.descriptors import MEANINGS

    format = "json" if json else "csv" if csv else "table"
    if not descriptors:
        listed = [{"descriptor": name, "meaning": text} for name, text in sorted(MEANINGS.items())]
        console.show_table(listed, format=format)
        return DONE
    wanted = _known([name for text in descriptors for name in text.replace(",", " ").split()], list(MEANINGS))
    from goafetch.api.dataselect import describe_files, expand

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


@console.handled
def showpars(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A frame: its instrument and tags count.")],
    step: Annotated[
        str | None,
        typer.Argument(
            metavar="[STEP]",
            help="One step; without, those that the file passes.",
            autocompletion=complete.steps,
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values, with a heading.")] = False,
    json: bool = False,
) -> int:
    """Show the parameters of steps: defaults for a file, units, meaning."""
    from goafetch.api.dataselect import expand
    from reducer.fitsio import open_frame
    from reducer.headers.descriptors import describe
    from reducer.recipes import STEPS, default_recipe, known_name, recipes_of
    from reducer.step import steps_of

    (path,) = expand([file])
    frame = open_frame(path)
    usual = default_recipe(frame.instrument, describe(frame.header, frame.chips, path.name).tags)
    whole = {"reduce_nostack": "reduce"}.get(usual, usual)
    steps = steps_of(recipes_of(frame.instrument)[whole])
    if step is not None:
        name = known_name(step, STEPS, "step")
        steps = {name: STEPS[name]}
    rows = [
        {
            "step": name,
            "parameter": parameter,
            "default": _typed(one.defaults(frame.instrument).get(parameter, known.default), json=json),
            "unit": known.unit,
            "meaning": known.meaning,
        }
        for name, one in steps.items()
        for parameter, known in one.known.items()
    ]
    console.show_table(rows, format="json" if json else "csv" if csv else "table")
    return DONE


def _typed(value: Any, *, json: bool) -> Any:
    """A value as it is typed after -p; in JSON as it is."""
    return value if json else ",".join(value) if isinstance(value, tuple) else str(value)
