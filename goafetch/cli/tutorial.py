"""`goafetch tutorial`: the published tutorial in one command, checked against the published facts."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goafetch import console
from goafetch.cli.run import Archive, Json, Quiet, Verbose, Workers
from goafetch.errors import DONE, FAILED, UsageError

if TYPE_CHECKING:
    from goafetch.api.tutorial import Fact
    from goafetch.events import Notify


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
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Reproduce the published GSAOI tutorial and compare each published fact with what came out."""
    from goafetch.api.tutorial import DATES, PROGRAM, check
    from goafetch.pipeline.run import run

    if sum(source is not None for source in (folder, archive, practice or None)) > 1:
        raise UsageError("several sources were named", "one of FOLDER, --archive and --practice")
    with console.Terminal(verbose=verbose, quiet=quiet) as terminal, ExitStack() as stack:
        url = _serve(stack, terminal) if practice else archive
        report = run(
            folder or PROGRAM,
            date=None if folder else DATES,
            archive=url,
            into=into,
            workers=workers,
            notify=terminal,
            command=f"goafetch tutorial {folder or ''}".strip(),
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


def _serve(stack: ExitStack, notify: Notify) -> str:
    """Start the practice archive for as long as the stack lasts; its address."""
    from goafetch.practice.archive import prepare
    from goafetch.practice.server import serve

    return str(stack.enter_context(serve(prepare(notify=notify))).url)


def _rows(facts: list[Fact]) -> list[dict[str, str]]:
    words = {True: "yes", False: "NO", None: "not comparable"}
    return [
        {"what": f.what, "published": f.published, "found": f.found, "agrees": words[f.agrees]} for f in facts
    ]
