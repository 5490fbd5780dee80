"""`goafetch report` and `goafetch export`: what a workspace shows, and what it hands on to other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goafetch import console
from goafetch.cli.run import Json, Quiet, Verbose
from goafetch.events import StageBegun, StageEnded


@console.handled
def report(
    workspace: Annotated[Path, typer.Argument(metavar="DIR", help="A workspace that `goafetch run` made.")],
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
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
    workspace: Annotated[Path, typer.Argument(metavar="DIR", help="A workspace that `goafetch run` made.")],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR2", help="Where to write (default: DIR/export).")
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Hand a workspace on: file lists, calibrations and commands for DRAGONS and goafetch, catalogues.

    Prints what it wrote: a list for each step, calibrations/, dragonsrc, dragons.sh and goafetch.sh, and
    each stack's catalogue as ds9 regions, ECSV and FITS.
    """
    from goafetch.report.export import export as hand_on

    files = hand_on(workspace, into or workspace / "export")
    console.show_table([{"file": path} for path in files], format="json" if json else "table")
