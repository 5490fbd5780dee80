"""`goafetch plan`, `explain`, `report` and `export`: what a workspace holds, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goafetch import console
from goafetch.cli.run import Filter, Object
from goafetch.errors import UsageError
from goafetch.events import StageBegun, StageEnded

Made = Annotated[Path, typer.Argument(metavar="DIR", help="A workspace that `goafetch run` made.")]


@console.handled
def plan(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A workspace, or a folder of raw files.")],
    object: Object = None,
    filter: Filter = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Say what would be reduced with what, and why; what is left out, and why."""
    from goafetch.events import words
    from goafetch.pipeline.run import run

    report = run(str(folder.absolute()), object=object, filter=filter, dry_run=True)
    if json:
        console.emit_json(report.plan)
        return report.exit_code
    console.show_table(report.plan.table(), format="table", title="plan")
    if not quiet:
        for group in report.plan.groups():
            for reason in group.reasons:
                console.say(f"{group.name}: {words(reason)}")
        for left in report.plan.left_out:
            console.say(f"left out {left.path.name}: {left.reason}")
    return report.exit_code


@console.handled
def explain(
    product: Annotated[Path, typer.Argument(help="A product, such as S20170505S0095_image.fits.")],
    json: bool = False,
) -> None:
    """Say where a product came from: inputs with md5, steps, parameters, calibrations, versions."""
    from goafetch.report.products import read_provenance

    story = read_provenance(product)
    if json:
        console.emit_json(story)
        return
    for title, rows in story.items():
        console.show_table(rows, format="table", title=title)


@console.handled
def report(
    workspace: Made,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> None:
    """Make the report of a workspace again, from its products and what the run wrote down.

    Prints the page's path.
    """
    from goafetch.report.page import make_report

    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        terminal(StageBegun("report"))
        page = make_report(workspace)
        terminal(StageEnded("report"))
    if json:
        console.emit_json({"report": page})
    else:
        console.print_result(str(page))


@console.handled
def export(
    workspace: Made,
    into: Annotated[
        Path | None, typer.Option(metavar="DIR2", help="Where to write (default: DIR/export).")
    ] = None,
    json: bool = False,
) -> None:
    """Hand a workspace on: file lists, calibrations and commands for DRAGONS and goafetch, catalogues.

    Prints what it wrote: a list for each step, calibrations/, dragonsrc, dragons.sh and goafetch.sh, and
    each stack's catalogue as ds9 regions, ECSV and FITS.
    """
    from goafetch.report.export import export as hand_on

    files = hand_on(workspace, into or workspace / "export")
    console.show_table([{"file": path} for path in files], format="json" if json else "table")


@console.handled
def config(
    workspace: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A workspace, whose own settings come first.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write a file of settings, all commented out, to be edited.")
    ] = False,
    json: bool = False,
) -> None:
    """Show every setting, its value and where it comes from."""
    from goafetch.config import FILE, MEANINGS, commented, origins, user_file
    from goafetch.workspace import write_atomically

    if not write:
        rows = [
            {"setting": name, "value": "set" if name == "token" and value else value, "from": source}
            | {"meaning": MEANINGS[name]}
            for name, (value, source) in origins(workspace).items()
        ]
        console.show_table(rows, format="json" if json else "table")
        return
    path = workspace / FILE if workspace else user_file()
    if path is None or path.exists():
        found = "there is no home folder for settings" if path is None else f"{path} is there already"
        raise UsageError(found, "a place for a new file", "edit it, or name a workspace")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, commented())
    if json:
        console.emit_json({"settings": path})
    else:
        console.print_result(str(path))
