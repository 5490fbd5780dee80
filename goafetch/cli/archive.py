"""`goafetch search`, `fetch`, `unpack` and `login`: what the archive has, brought here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goafetch import console
from goafetch.cli import complete
from goafetch.cli.run import Archive, Date, Filter, Into, Night, Object, Workers
from goafetch.config import INSTRUMENT
from goafetch.errors import UsageError
from goafetch.events import Warned

if TYPE_CHECKING:
    from datetime import date

    from goafetch.archive.calibrations import Association
    from goafetch.archive.job import FetchResult
    from goafetch.archive.records import Record


Program = Annotated[
    str | None, typer.Argument(metavar="[PROGRAM]", help="Program, observation or data label: GS-2017A-Q-29.")
]
Class = Annotated[
    str | None,
    typer.Option("--class", help="science, dayCal, partnerCal, acq, ...", autocompletion=complete.classes),
]
Type = Annotated[
    str | None, typer.Option("--type", help="OBJECT, DARK, FLAT, BPM, ...", autocompletion=complete.types)
]
Instrument = Annotated[
    str, typer.Option(help="An instrument of Gemini, or 'any'.", autocompletion=complete.instruments)
]
Qa = Annotated[
    str,
    typer.Option(
        "--qa", help="Pass, Usable, Win (either), NotFail, Fail, AnyQA, ...", autocompletion=complete.qa
    ),
]
Near = Annotated[
    str | None,
    typer.Option(metavar='"RA DEC"', help="Position (degrees or sexagesimal), or a name to resolve."),
]
Radius = Annotated[str, typer.Option(help="Around --near: arcsec, or 60s, 3m, 0.1d.")]
Format = Annotated[str, typer.Option(help="table, json, csv or names.", autocompletion=complete.formats)]

COLUMNS = (
    *("name", "data_label", "ut_datetime", "object", "observation_class", "observation_type"),
    *("filter_name", "exposure_time", "qa_state", "file_size", "proprietary"),
)
CALIBRATION_COLUMNS = ("name", "type", "taken", "reason", "night", "filter_name", "exposure_time")


@console.handled
def search(
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
    calibrations: Annotated[
        bool, typer.Option("--calibrations", help="List what is associated with the result, and why.")
    ] = False,
    format: Format = "table",
    archive: Archive = None,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> int:
    """Search the archive. Dates are UTC; a night is the date in file names (from 18:00 UT of the day before).

    Queries and results are validated; truncated results are completed.
    """
    from goafetch.archive.calibrations import associate
    from goafetch.archive.job import connect, make_criteria
    from goafetch.archive.search import nothing_found
    from goafetch.archive.search import search_archive as find
    from goafetch.config import load_settings

    criteria = make_criteria(
        program,
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
    shown = "json" if json else format
    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        client = connect(load_settings(archive=archive), terminal)
        found = find(client, criteria)
        warn(found.warnings, terminal)
        if not found.records:
            raise nothing_found(client, found.query)
        linked = associate(client, found.records) if calibrations else None
        warn(linked.warnings if linked else [], terminal)
    if linked is not None:
        console.show_table(list_calibrations(linked), CALIBRATION_COLUMNS, format=shown)
    else:
        rows = [row_of(record, client.today()) for record in found.records]
        console.show_table(rows, None if shown == "csv" else COLUMNS, format=shown)
    return 1 if found.unseen or (linked and linked.lost) else 0


def warn(texts: list[str], notify: Callable[..., None]) -> None:
    """Show warnings."""
    for text in texts:
        notify(Warned(text))


def row_of(record: Record, today: date) -> dict[str, Any]:
    """A record as a row, its release date named where it is proprietary on that day."""
    from dataclasses import asdict

    row = asdict(record)
    row["types"] = sorted(record.types or ())
    until = f"until {record.release}" if record.release else "no date of release"
    row["proprietary"] = until if record.proprietary(today) else ""
    return row


def list_calibrations(linked: Association) -> list[dict[str, Any]]:
    """Rows of what is associated: taken or not, and why."""
    taken = [(record, "yes", linked.reasons[record.name]) for record in linked.files]
    left = [(record, "no", reason) for record, reason in linked.rejected]
    return [
        {
            "name": record.name,
            "type": linked.kinds.get(record.name, ""),
            "taken": word,
            "reason": reason,
            "night": str(record.night),
            "filter_name": record.filter_name,
            "exposure_time": record.exposure_time,
            "program_id": record.program_id,
        }
        for record, word, reason in taken + left
    ]


Connections = Annotated[int | None, typer.Option(min=1, max=8, help="Files fetched at a time (4).")]


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done.")] = False,
    locked: Annotated[bool, typer.Option("--locked", help="Exactly the versions of goafetch.lock.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Also what changed in the archive.")] = False,
    connections: Connections = None,
    workers: Workers = None,
    format: Format = "table",
    archive: Archive = None,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
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
    console.show_table(rows, ("name", "status", "reason", "bytes"), format=format)
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


@console.handled
def unpack(
    files: Annotated[list[Path], typer.Argument(metavar="TAR...", help="Tars, .fits.bz2 or .fits files.")],
    into: Annotated[Path, typer.Option(metavar="DIR", help="Workspace.")] = Path(),
    workers: Workers = None,
    format: Format = "table",
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
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
    console.show_table(rows, ("name", "status", "reason"), format="json" if json else format)
    return report.exit_code


@console.handled
def login(archive: Archive = None, json: bool = False) -> int:
    """Store the archive's session token: asked for, or read from standard input, never an argument.

    Log in at the archive with a browser (ORCID will do), copy the token shown on its login page.
    """
    from goafetch.archive.client import ArchiveClient, store_token
    from goafetch.config import load_settings

    url = load_settings(archive=archive).archive
    token = _ask(url)
    user = ArchiveClient(url, token).whoami()
    if user is None:
        raise UsageError(
            "the archive does not know this token", "the token of a session that is logged in", f"{url}/login"
        )
    path = store_token(url, token)
    _tell(
        {"archive": url, "user": user, "file": str(path)}, f"logged in as {user}; token kept in {path}", json
    )
    return 0


@console.handled
def logout(archive: Archive = None, json: bool = False) -> int:
    """Remove the stored token from this machine (the session itself ends at the archive's /logout)."""
    from goafetch.archive.client import forget_token
    from goafetch.config import load_settings

    url = load_settings(archive=archive).archive
    removed = forget_token(url)
    _tell({"archive": url, "removed": removed}, "token removed" if removed else "there was no token", json)
    return 0


@console.handled
def whoami(archive: Archive = None, json: bool = False, verbose: bool = False, quiet: bool = False) -> int:
    """Tell as whom the archive knows you; exit code 1 if a token is there but not accepted."""
    from goafetch.archive.job import connect
    from goafetch.config import load_settings

    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        client = connect(load_settings(archive=archive), terminal)
        user = client.whoami()
    if user is None and client.has_token:
        words, code = "not logged in: the archive does not accept the token (expired?); goafetch login", 1
    else:
        words, code = (f"logged in as {user}" if user else "not logged in: no token; goafetch login"), 0
    _tell({"archive": client.base_url, "user": user, "has_token": client.has_token}, words, json)
    return code


def _ask(url: str) -> str:
    if not sys.stdin.isatty():
        given = sys.stdin.readline().lstrip("\ufeff").strip()
        if not given:
            raise UsageError("standard input holds no token", "the session token in its first line")
        return given
    import getpass

    return getpass.getpass(f"session token (shown at {url}/login): ")


def _tell(document: dict[str, object], words: str, json: bool) -> None:
    if json:
        console.emit_json(document)
    else:
        console.print_result(words)
