"""`goafetch report`: make the HTML report of a workspace again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goafetch import console
from goafetch.cli.run import Json, Quiet, Verbose


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
    from goafetch.report import make_report

    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        terminal("stage", name="report")
        page = make_report(workspace)
        terminal("done", name="report")
    if json:
        console.emit_json({"report": page})
    else:
        console.print_result(str(page))
