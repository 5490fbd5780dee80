"""`goafetch demo`: the whole main job on this machine, against the practice archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goafetch import console
from goafetch.cli.run import Json, Quiet, Verbose, Workers, show
from goafetch.events import Decided

PROGRAM, DATES = "GS-2017A-Q-29", "20170504-20170505"


@console.handled
def demo(
    into: Annotated[Path, typer.Option(metavar="DIR", help="Workspace.")] = Path("goafetch-demo"),
    workers: Workers = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Run the whole main job without the internet: simulated exposures, a practice archive, one command."""
    from goafetch.pipeline.run import run
    from goafetch.practice.archive import prepare
    from goafetch.practice.server import serve

    with (
        console.Terminal(verbose=verbose, quiet=quiet) as terminal,
        serve(prepare(notify=terminal)) as archive,
    ):
        command = f"goafetch run {PROGRAM} --date {DATES} --archive {archive.url} --into {into}"
        terminal(Decided(command, "a practice archive of simulated exposures answers there"))
        report = run(
            PROGRAM,
            date=DATES,
            archive=archive.url,
            into=into,
            workers=workers,
            notify=terminal,
            command=command,
        )
    show([report], json=json, quiet=quiet)
    return report.exit_code
