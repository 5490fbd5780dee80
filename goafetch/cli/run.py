"""`goafetch run`, the main job, and `plan`, `explain`, `report`, `export`, `config` of its workspace."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goafetch import console
from goafetch.cli import complete, stacks
from goafetch.config import INSTRUMENT
from goafetch.errors import DONE, UsageError
from goafetch.events import StageBegun, StageEnded

if TYPE_CHECKING:
    from goafetch.pipeline.multi_program import Failed
    from goafetch.pipeline.summary import RunReport


Programs = Annotated[
    list[str], typer.Argument(metavar="PROGRAM...|FOLDER", help="Program IDs, @LIST of them, or a folder.")
]
Date = Annotated[str | None, typer.Option(help="UTC date D, or range D1-D2 (YYYYMMDD).")]
Night = Annotated[str | None, typer.Option(help="Night D, as in file names: D-1 18:00 to D 18:00 UT.")]
Object = Annotated[str | None, typer.Option(help="Only this target; * at either end for anything.")]
Filter = Annotated[
    str | None, typer.Option(help="Only this filter, such as H.", autocompletion=complete.filters)
]
Instrument = Annotated[
    str,
    typer.Option(help="Of a program that has several instruments' data.", autocompletion=complete.imagers),
]
Into = Annotated[Path | None, typer.Option(metavar="DIR", help="Workspace (default: the program's name).")]
Archive = Annotated[str | None, typer.Option(metavar="URL", help="The archive's address.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        "-p",
        metavar="STEP:PARAM=VALUE",
        help="Repeatable; `goafetch showpars` lists them.",
        autocompletion=complete.parameters,
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes (default: one per core).")]
Memory = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Memory of the run (default: a quarter of the machine, up to 2G)."),
]
Cluster = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="A dask scheduler, or 'local' for one on this machine.")
]
Catalog = Annotated[
    str,
    typer.Option(
        metavar="auto|gaia|2mass|none|FILE", help="Astrometric catalogue.", autocompletion=complete.catalogs
    ),
]
PhotCatalog = Annotated[
    str,
    typer.Option(
        metavar="auto|2mass|none|FILE",
        help="Photometric catalogue of field stars.",
        autocompletion=complete.phot_catalogs,
    ),
]
Standards = Annotated[str | None, typer.Option(metavar="FILE", help="Magnitudes of standard stars.")]


@console.handled
def run(
    programs: Programs,
    date: Date = None,
    night: Night = None,
    object: Object = None,
    filter: Filter = None,
    instrument: Instrument = INSTRUMENT,
    into: Into = None,
    archive: Archive = None,
    name: Annotated[
        str,
        typer.Option("--as", metavar="NAME", help="Keep these products apart, in DIR/NAME: to compare."),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")
    ] = False,
    parameters: Parameters = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check all checksums again.")] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP", help="Keep the products of a step.", autocompletion=complete.steps),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE.py:NAME",
            help="For the stages whose products its steps make. Repeatable.",
            autocompletion=complete.recipes,
        ),
    ] = None,
    workers: Workers = None,
    memory: Memory = None,
    cluster: Cluster = None,
    catalog: Catalog = "auto",
    phot_catalog: PhotCatalog = "auto",
    standards: Standards = None,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> int:
    """Search, fetch, reduce and stack: from a program ID (or a folder of raw files) to the image.

    Repeating it does only what is missing or changed.
    """
    from goafetch.pipeline.multi_program import read_targets, run_many
    from goafetch.pipeline.run import run as run_main_job

    targets = read_targets(programs)
    choices: dict[str, Any] = {
        "date": date,
        "night": night,
        "object": object,
        "filter": filter,
        "instrument": instrument,
        "into": into,
        "archive": archive,
        "name": name,
        "dry_run": dry_run,
        "parameters": parameters or (),
        "verify": verify,
        "keep": keep or (),
        "recipe": recipe or (),
        "workers": workers,
        "memory": memory,
        "cluster": cluster,
        "catalog": catalog,
        "phot_catalog": phot_catalog,
        "standards": standards,
        "command": shlex.join(["goafetch", *sys.argv[1:]]),
    }
    reports: list[RunReport | Failed]
    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        if len(targets) == 1:
            reports = [run_main_job(targets[0], **choices, notify=terminal)]
        else:
            reports = run_many(targets, **choices, notify=terminal)
    show(reports, json=json, quiet=quiet)
    return max(report.exit_code for report in reports)


def show(reports: Sequence[RunReport | Failed], *, json: bool, quiet: bool) -> None:
    """The closing table: what was made and where; in JSON, the whole summary."""
    if json:
        documents = [report.as_document() for report in reports]
        console.emit_json(documents[0] if len(documents) == 1 else documents)
        return
    from goafetch.pipeline.multi_program import Failed

    for report in reports:
        if isinstance(report, Failed):
            console.say(f"{report.program}: {report.failure.found}")
        elif not quiet:
            shown = ["what", "status", "products", "seconds", "file"]
            rows, title = report.table(), report.summary.program
            told = report.conclusion()
            if console.is_terminal(sys.stdout):  # the folder stands once, where it breaks no name
                rows = [{**row, "file": Path(row["file"]).name} for row in rows]
                title = f"{title}: products in {report.workspace.playground}"
            elif len(reports) > 1:
                rows, shown = [{"program": title, **row} for row in rows], ["program", *shown]
            console.show_table(rows, shown, title=title)
            console.say(told if len(reports) == 1 else f"{report.summary.program}: {told}")


Made = Annotated[Path, typer.Argument(metavar="DIR", help="A workspace that `goafetch run` made.")]


@console.handled
def plan(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A workspace, or a folder of raw files.")],
    object: Object = None,
    filter: Filter = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Say what would be reduced with what, and why; what is left out, and why."""
    from goafetch.events import words
    from goafetch.pipeline.run import run

    report = run(str(folder.absolute()), object=object, filter=filter, dry_run=True)
    if json:
        console.emit_json(report.plan)
        return report.exit_code
    console.show_table(report.plan.table(), format="table", title="plan")
    if not quiet:
        for group in report.plan.groups():
            for reason in group.reasons:
                console.say(f"{group.name}: {words(reason)}")
        for left in report.plan.left_out:
            console.say(f"left out {left.path.name}: {left.reason}")
    return report.exit_code


@console.handled
def explain(
    product: Annotated[Path, typer.Argument(help="A product, such as S20170505S0095_image.fits.")],
    json: bool = False,
) -> None:
    """Say where a product came from: inputs with md5, steps, parameters, calibrations, versions."""
    from goafetch.report.stack_file import read_provenance

    story = read_provenance(product)
    if json:
        console.emit_json(story)
        return
    for title, rows in story.items():
        console.show_table(rows, format="table", title=title)


@console.handled
def report(
    workspace: Made,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
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
    workspace: Made,
    into: Annotated[
        Path | None, typer.Option(metavar="DIR2", help="Where to write (default: DIR/export).")
    ] = None,
    samp: stacks.Samp = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Hand a workspace on: file lists, calibrations and commands for DRAGONS and goafetch, catalogues.

    Prints what it wrote: a list for each step, calibrations/, dragonsrc, dragons.sh and goafetch.sh, each
    stack's footprint (MOC), and its catalogue as ds9 regions, ECSV, FITS, VOTable and CSV. --samp
    sends the stacks, catalogues and footprints.
    """
    from goafetch.report.export import export as hand_on
    from goafetch.report.export import list_stacks

    place = into or workspace / "export"
    files = hand_on(workspace, place)
    console.show_table([{"file": path} for path in files], format="json" if json else "table")
    tables = [path for path in files if path.parent == place]  # not the calibrations
    return stacks.send_products([*list_stacks(workspace), *tables], quiet=quiet) if samp else DONE


@console.handled
def config(
    workspace: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A workspace, whose own settings come first.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write a file of settings, all commented out, to be edited.")
    ] = False,
    json: bool = False,
) -> None:
    """Show every setting, its value and where it comes from."""
    from goafetch.config import FILE, MEANINGS, commented, origins, user_file
    from goafetch.workspace import write_atomically

    if workspace is not None and not workspace.is_dir():
        raise UsageError(
            f"{workspace} is not a folder", "a workspace", "name one, or none for your own settings"
        )
    if not write:
        rows = [
            {"setting": name, "value": "set" if name == "token" and value else value, "from": source}
            | {"meaning": MEANINGS[name]}
            for name, (value, source) in origins(workspace).items()
        ]
        console.show_table(rows, format="json" if json else "table")
        return
    path = workspace / FILE if workspace else user_file()
    if path is None or path.exists():
        found = "there is no home folder for settings" if path is None else f"{path} is there already"
        raise UsageError(found, "a place for a new file", "edit it, or name a workspace")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, commented())
    if json:
        console.emit_json({"settings": path})
    else:
        console.print_result(str(path))
