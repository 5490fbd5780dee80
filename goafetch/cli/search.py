"""`goafetch search`: what the archive has, and which calibrations it associates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goafetch import console
from goafetch.cli.run import Archive, Date, Filter, Json, Night, Object, Quiet, Verbose
from goafetch.config import INSTRUMENT
from goafetch.events import Warned

if TYPE_CHECKING:
    from datetime import date

    from goafetch.archive.associate import Association
    from goafetch.archive.records import Record

Program = Annotated[
    str | None, typer.Argument(metavar="[PROGRAM]", help="Program, observation or data label: GS-2017A-Q-29.")
]
Class = Annotated[str | None, typer.Option("--class", help="science, dayCal, partnerCal, acq, ...")]
Type = Annotated[str | None, typer.Option("--type", help="OBJECT, DARK, FLAT, BPM, ...")]
Instrument = Annotated[str, typer.Option(help="An instrument of Gemini, or 'any'.")]
Qa = Annotated[str, typer.Option("--qa", help="Pass, Usable, Win (either), NotFail, Fail, AnyQA, ...")]
Near = Annotated[
    str | None,
    typer.Option(metavar='"RA DEC"', help="Position (degrees or sexagesimal), or a name to resolve."),
]
Radius = Annotated[str, typer.Option(help="Around --near: arcsec, or 60s, 3m, 0.1d.")]
Format = Annotated[str, typer.Option(help="table, json, csv or names.")]

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
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Search the archive. Dates are UTC; a night is the date in file names (from 18:00 UT of the day before).

    Every word is checked before it is sent, every row when it comes back, and cut answers are made whole.
    """
    from goafetch.archive.associate import associate
    from goafetch.archive.job import connect, make_criteria
    from goafetch.archive.search import nothing_found
    from goafetch.archive.search import search as find
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
