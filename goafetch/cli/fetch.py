"""`goafetch fetch`: raw files and their calibrations into playdata/, verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goafetch import console
from goafetch.cli.run import Archive, Date, Filter, Into, Json, Night, Object, Quiet, Verbose, Workers
from goafetch.cli.search import (
    Class,
    Format,
    Instrument,
    Near,
    Program,
    Qa,
    Radius,
    Type,
)
from goafetch.config import INSTRUMENT

if TYPE_CHECKING:
    from goafetch.archive.job import FetchResult

Connections = Annotated[int | None, typer.Option(min=1, max=8, help="Files fetched at a time (4).")]
COLUMNS = ("name", "status", "reason", "bytes")


@console.handled
def fetch(
    program: Program = None,
    date: Date = None,
    night: Night = None,
    class_: Class = None,
    type_: Type = None,
    object: Object = None,
    filter: Filter = None,
    instrument: Instrument = INSTRUMENT,
    qa: Qa = "NotFail",
    near: Near = None,
    radius: Radius = "180",
    into: Into = None,
    no_calibrations: Annotated[
        bool, typer.Option("--no-calibrations", help="Only what the search finds.")
    ] = False,
    no_unpack: Annotated[bool, typer.Option("--no-unpack", help="Keep files as they are stored.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; move nothing.")] = False,
    locked: Annotated[bool, typer.Option("--locked", help="Exactly the versions of goafetch.lock.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Also what changed in the archive.")] = False,
    connections: Connections = None,
    workers: Workers = None,
    format: Format = "table",
    archive: Archive = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Fetch what a search finds and the calibrations associated with it; verify, unpack into DIR/playdata.

    Repeating it fetches only what is missing. Dates are UTC; a night is the date in file names.
    """
    from goafetch.archive.download import Options
    from goafetch.archive.job import fetch as work
    from goafetch.errors import UsageError

    if locked and update:
        raise UsageError("--locked and --update contradict each other", "one of them")
    options = Options(not no_calibrations, dry_run, not no_unpack, update)
    root = into or Path((program or "").strip().upper() or ".")
    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        result = work(
            program,
            into=root,
            locked=locked,
            archive=archive,
            connections=connections,
            workers=workers,
            options=options,
            notify=terminal,
            date=date,
            night=night,
            observation_class=class_,
            observation_type=type_,
            object=object,
            filter=filter,
            instrument=instrument,
            qa=qa,
            near=None if near is None else (near, radius),
        )
    _show(result, root, dry_run=dry_run, format="json" if json else format, quiet=quiet)
    return result.report.exit_code or (1 if result.selection.association.lost else 0)


def _show(result: FetchResult, root: Path, *, dry_run: bool, format: str, quiet: bool) -> None:
    """One row a file; the sum of it on standard error."""
    report = result.report
    rows = _planned(result) if dry_run else _rows(result)
    if format == "json":
        console.emit_json(
            {
                "folder": root,
                "query": result.selection.query,
                "bytes": report.bytes,
                "seconds": report.seconds,
                "disk": report.needed,
                "warnings": result.selection.warnings,
                "association_failed": result.selection.association.failed,
                "differences": [{"name": n, "what": what} for n, what in result.differences],
                "files": rows,
            }
        )
        return
    console.show_table(rows, COLUMNS, format=format)
    if quiet:
        return
    for name, what in result.differences:
        console.say(f"the archive differs from goafetch.lock: {name}: {what}")
    console.say(_sum(result, root, dry_run=dry_run))


def _planned(result: FetchResult) -> list[dict[str, Any]]:
    return [
        {"name": d.record.name, "status": d.word, "reason": d.reason, "bytes": d.moved}
        for d in result.report.planned
    ]


def _rows(result: FetchResult) -> list[dict[str, Any]]:
    report = result.report
    sizes = {d.record.name: d.moved for d in report.planned}
    headings = {
        "fetched": report.done,
        "present": report.present,
        "changed": report.changed,
        "withheld": report.withheld,
        "failed": report.failed,
    }
    return [
        {"name": name, "status": status, "reason": reason, "bytes": sizes.get(name, 0)}
        for status, named in headings.items()
        for name, reason in sorted(named)
    ]


def _sum(result: FetchResult, root: Path, *, dry_run: bool) -> str:
    report = result.report
    lost = "".join(f"; missing {what}: {why}" for what, why in result.selection.association.shortcomings)
    if dry_run:
        size, disk = report.bytes / 1e6, report.needed / 1e6
        return f"would fetch {size:.1f} MB; {disk:.1f} MB of disk needed in {root}{lost}"
    counts = {
        "fetched": len(report.done),
        "already there": len(report.present),
        "changed in the archive, left as they are": len(report.changed),
        "withheld": len(report.withheld),
        "failed": len(report.failed),
    }
    parts = [f"{number} {what}" for what, number in counts.items() if number]
    rate = f"; {report.bytes / 1e6:.1f} MB in {report.seconds:.1f} s" if report.seconds else ""
    return f"{root / 'playdata'}: {', '.join(parts)}{rate}{lost}"
