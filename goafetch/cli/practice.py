"""`goafetch demo`, `tutorial` and `practice`: the whole job on simulated or published data."""

from __future__ import annotations

import contextlib
import shlex
import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goafetch import console
from goafetch.cli import complete
from goafetch.cli.run import Archive, Workers, show
from goafetch.errors import DONE, FAILED, UsageError
from goafetch.events import Decided

if TYPE_CHECKING:
    from goafetch.api.tutorial import Fact
    from goafetch.events import Notify
    from goafetch.practice.server import PracticeArchive


@console.handled
def demo(
    instrument: Annotated[str, typer.Option(help="gsaoi or f2.")] = "gsaoi",
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Workspace (default: goafetch-demo, ...-f2).")
    ] = None,
    workers: Workers = None,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> int:
    """Run the whole main job without the internet: simulated exposures, a practice archive, one command."""
    from goafetch.api.tutorial import DATES, PROGRAM
    from goafetch.pipeline.run import run

    programs = {"gsaoi": ("tutorial", PROGRAM, DATES, "GSAOI"), "f2": ("f2", "GS-2017A-Q-60", None, "F2")}
    if instrument.lower() not in programs:
        raise UsageError(f"there is no demo of {instrument}", f"one of {', '.join(programs)}")
    name, program, dates, word = programs[instrument.lower()]
    into = into or Path("goafetch-demo" if name == "tutorial" else f"goafetch-demo-{name}")
    with console.Terminal(verbose=verbose, quiet=quiet) as terminal, _serve(terminal, name) as archive:
        limits = f"--date {dates}" if dates else f"--instrument {word}"
        command = f"goafetch run {program} {limits} --archive {archive.url} --into {into}"
        terminal(Decided(command, "a practice archive of simulated exposures answers there"))
        report = run(
            program,
            date=dates,
            instrument=word,
            archive=archive.url,
            into=into,
            workers=workers,
            notify=terminal,
            command=shlex.join(["goafetch", *sys.argv[1:]]),
        )
    show([report], json=json, quiet=quiet)
    return report.exit_code


@console.handled
def tutorial(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="The tutorial's unpacked data package; default: an archive."),
    ] = None,
    archive: Archive = None,
    practice: Annotated[
        bool, typer.Option("--practice", help="From the practice archive, without the internet.")
    ] = False,
    into: Annotated[Path, typer.Option(metavar="DIR", help="Workspace.")] = Path("goafetch-tutorial"),
    workers: Workers = None,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> int:
    """Reproduce the published GSAOI tutorial and compare each published fact with what came out."""
    from goafetch.api.tutorial import DATES, PROGRAM, check
    from goafetch.pipeline.run import run

    if sum(source is not None for source in (folder, archive, practice or None)) > 1:
        raise UsageError("several sources were named", "one of FOLDER, --archive and --practice")
    with console.Terminal(verbose=verbose, quiet=quiet) as terminal, ExitStack() as stack:
        url = stack.enter_context(_serve(terminal)).url if practice else archive
        report = run(
            folder or PROGRAM,
            date=None if folder else DATES,
            archive=url,
            into=into,
            workers=workers,
            notify=terminal,
            command=shlex.join(["goafetch", *sys.argv[1:]]),
        )
    facts = check(report.workspace)
    agree = all(fact.agrees is not False for fact in facts)
    if json:
        console.emit_json({"facts": facts, "agree": agree, "workspace": report.workspace.root})
    else:
        console.show_table(_rows(facts), ("what", "published", "found", "agrees"), title="the tutorial")
        if not quiet:
            console.say(report.conclusion())
    return report.exit_code or (DONE if agree else FAILED)


def _serve(notify: Notify, program: str = "tutorial") -> AbstractContextManager[PracticeArchive]:
    """The practice archive with one of its programs, served meanwhile."""
    from goafetch.practice.archive import prepare
    from goafetch.practice.server import serve

    return serve(prepare(programs=(program,), notify=notify))


def _rows(facts: list[Fact]) -> list[dict[str, str]]:
    words = {True: "yes", False: "NO", None: "not comparable"}
    return [
        {"what": f.what, "published": f.published, "found": f.found, "agrees": words[f.agrees]} for f in facts
    ]


PORT = 8090
#: A practice archive keeps no secrets: its session token is known.
TOKEN = "practice"  # noqa: S105 - not a password of anything real


@console.handled
def practice(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")] = PORT,
    full_size: Annotated[bool, typer.Option("--full-size", help="Whole arrays, 2048x2048 pixels.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 1,
    truth: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the true values.")] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A trouble (repeatable): unavailable, reset, short-tar, wrong-bytes, slow-drip, robot-page, "
            "trailing-json, withheld, limits, association-error, retry-after, captive-portal, re-ingest, "
            "clock, older-software.",
            autocompletion=complete.faults,
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where simulated files are kept (default: your cache).")
    ] = None,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> None:
    """Serve the practice archive: simulated programs behind the Gemini archive's HTTP interface."""
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
