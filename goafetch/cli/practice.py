"""`goafetch practice`: serves the practice archive on this machine until stopped."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from goafetch import console
from goafetch.cli.run import Json, Quiet, Verbose

PORT = 8090
#: A practice archive keeps no secrets: its session token is known.
TOKEN = "practice"  # noqa: S105 - not a password of anything real


@console.handled
def practice(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")] = PORT,
    full_size: Annotated[bool, typer.Option("--full-size", help="Whole arrays, 2048x2048 pixels.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Draws everything that is random.")] = 1,
    truth: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the truth there.")] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A trouble (repeatable): unavailable, reset, short-tar, wrong-bytes, slow-drip, robot-page, "
            "trailing-json, withheld, limits, association-error, retry-after, captive-portal, re-ingest, "
            "clock, older-software.",
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where simulated files are kept (default: your cache).")
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Serve the practice archive: simulated GSAOI programs behind the Gemini archive's HTTP interface."""
    from goafetch.practice.archive import prepare
    from goafetch.practice.server import serve

    faults = _known(fault or [])
    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        folders = prepare(full_size, seed, truth, None, folder=folder, notify=terminal)
    with serve(folders, port, faults, token=TOKEN, seed=seed) as archive:
        programs = sorted({str(holding.row["program_id"]) for holding in archive.holdings})
        if json:
            console.emit_json({"url": archive.url, "token": TOKEN, "folders": folders, "programs": programs})
        else:
            console.print_result(archive.url)
            console.say(f"programs: {', '.join(programs)}")
            console.say(f"session token of a user who may have everything: {TOKEN}")
            console.say(f"try: goafetch run GS-2017A-Q-29 --archive {archive.url}; stop with Ctrl-C")
        with contextlib.suppress(KeyboardInterrupt):
            # Ctrl-C is how one is meant to stop it.
            archive.wait()


def _known(faults: list[str]) -> list[str]:
    """Give the faults back if all are known."""
    from goafetch.errors import UsageError
    from goafetch.practice.goa.faults import NAMES

    if unknown := [name for name in faults if name not in NAMES]:
        raise UsageError(f"no fault {unknown[0]!r}", f"one of {', '.join(NAMES)}")
    return faults
