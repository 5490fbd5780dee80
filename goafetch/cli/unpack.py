"""`goafetch unpack`: what a browser downloaded, into playdata/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goafetch import console
from goafetch.cli.run import Json, Quiet, Verbose, Workers

COLUMNS = ("name", "status", "reason")


@console.handled
def unpack(
    files: Annotated[list[Path], typer.Argument(metavar="TAR...", help="Tars, .fits.bz2 or .fits files.")],
    into: Annotated[Path, typer.Option(metavar="DIR", help="Workspace.")] = Path(),
    workers: Workers = None,
    format: Annotated[str, typer.Option(help="table, json, csv or names.")] = "table",
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Unpack tars and loose files that were fetched with a browser, into DIR/playdata; safe to repeat.

    A tar with absolute paths, '..', links, devices or two different files of one name is refused.
    """
    from goafetch.archive.unpack import unpack as work
    from goafetch.workspace import Workspace, prepare_workspace

    workspace = Workspace(into)
    with prepare_workspace(workspace), console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        report = work(files, workspace.playdata, workers=workers or 0, notify=terminal)
    rows = [
        {"name": name, "status": status, "reason": reason}
        for status, named in (
            ("unpacked", report.done),
            ("present", report.present),
            ("not kept", report.copies),
            ("withheld", report.withheld),
            ("failed", report.failed),
        )
        for name, reason in sorted(named)
    ]
    console.show_table(rows, COLUMNS, format="json" if json else format)
    return report.exit_code
