"""`goafetch caldb`: the calibration store: init, add, list, remove, match, config."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goafetch import console
from goafetch.cli import complete
from goafetch.cli.files import FITS
from goafetch.cli.files import walk as look_into
from goafetch.errors import DONE, FAILED, NOTHING, GoafetchError, UsageError

if TYPE_CHECKING:
    from calstore.associate import Calibration, Match, NoMatch
    from calstore.store import CalStore

app = typer.Typer(help="The calibration store.", no_args_is_help=True)

Database = Annotated[
    Path | None,
    typer.Option("-d", "--database", metavar="DIR", help="Where the store is (default: this project's)."),
]
Names = Annotated[list[str], typer.Argument(metavar="FILES|@LIST")]

COLUMNS = ("name", "kind", "filter", "when", "path")


@app.command("init")
@console.handled
def init(
    wipe: Annotated[bool, typer.Option("-w", "--wipe", help="Empty a store that exists.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="No confirmation.")] = False,
    database: Database = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Make the store; -w empties one that exists (on a terminal it asks first)."""
    store = _store(database)
    ask = wipe and store.exists and not yes and sys.stdin.isatty()
    if ask and not typer.confirm(f"Forget everything in {store.path}? (The files stay.)", err=True):
        return FAILED
    made = store.init(wipe=wipe)
    if json:
        console.emit_json({"store": store.path, "made": made})
    elif made and not quiet:
        console.say(f"made {store.path}")
    if not made:
        raise GoafetchError(
            f"{store.path} is there already", "no store, or -w", "-w forgets all that it holds"
        )
    return DONE


@app.command("add")
@console.handled
def add(
    files: Annotated[list[str], typer.Argument(metavar="FILES|@LIST|DIR", help="Files or folders.")],
    walk: Annotated[bool, typer.Option("-k", "--walk", help="Look into folders of folders.")] = False,
    database: Database = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Add calibrations; says what was added, and why each other file was not."""
    from goafetch.plan.translate import calibration_of
    from reducer.errors import ReducerError

    named = _files(files, walk=walk)
    store = _store(database)
    store.init()
    fitting: list[Calibration] = []
    refused: list[dict[str, str]] = []
    for path in named:
        try:
            fitting.append(calibration_of(path))
        except (GoafetchError, ReducerError) as error:
            refused.append({"name": str(path), "reason": str(error)})
    added = store.add(*fitting) if fitting else []
    if json:
        console.emit_json({"store": store.path, "added": [_row(c) for c in added], "refused": refused})
        return FAILED if refused else DONE
    console.show_table([_row(calibration) for calibration in added], COLUMNS)
    for entry in refused:
        console.say(f"not added: {entry['reason']}")
    if not quiet:
        console.say(f"{len(added)} added to {store.path}")
    return FAILED if refused else DONE


@app.command("list")
@console.handled
def list_files(database: Database = None, json: bool = False, quiet: bool = False) -> int:
    """List what the store holds."""
    store = _store(database)
    held = store.all()
    if json:
        console.emit_json([_row(calibration) for calibration in held])
    else:
        console.show_table([_row(calibration) for calibration in held], COLUMNS)
        if not held and not quiet:
            console.say(f"{store.path} is empty")
    return DONE


@app.command("remove")
@console.handled
def remove(
    files: Annotated[list[str], typer.Argument(metavar="NAMES", help="File names or paths.")],
    database: Database = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Take files out of the store; the files themselves stay."""
    from calstore import NotInStore
    from goafetch.api import cal_service

    store = _store(database)
    removed, refused = [], []
    for name in files:
        try:
            removed.append(cal_service.remove(store, name).path)
        except NotInStore as error:
            refused.append({"name": name, "reason": str(error)})
    if json:
        console.emit_json({"store": store.path, "removed": removed, "refused": refused})
    for path in () if quiet or json else removed:
        console.say(f"removed {path} from {store.path}")
    for entry in () if json else refused:
        console.say(f"not removed: {entry['reason']}")
    return FAILED if refused else DONE


@app.command("match")
@console.handled
def match(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A raw frame.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="processed_flat, processed_bpm, ... (default: what its instrument needs).",
            autocompletion=complete.kinds,
        ),
    ] = None,
    database: Database = None,
    json: bool = False,
) -> int:
    """Say which calibrations fit a frame, and why each other one does not."""
    from calstore.associate import Match
    from goafetch.api.reduce import KINDS, kinds_with_rules
    from goafetch.plan.translate import need_of
    from reducer.select import describe_file

    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    store, facts = _store(database), describe_file(file)
    usual = [name for name in KINDS if name in kinds_with_rules(KINDS, facts)]
    answers = {name: store.match(need_of(facts, name)) for name in kind or usual}
    rows = [row for name, answer in answers.items() for row in _verdicts(name, answer)]
    if json:
        console.emit_json({"file": file, "store": store.path, "candidates": rows})
    else:
        console.show_table(rows, ("kind", "fits", "name", "reason"))
    return DONE if any(isinstance(answer, Match) for answer in answers.values()) else NOTHING


@app.command("config")
@console.handled
def config(database: Database = None, json: bool = False, quiet: bool = False) -> int:
    """Say where the store is and what is in it."""
    store = _store(database)
    facts = {
        "store": store.path,
        "exists": store.exists,
        "calibrations": len(store.all()) if store.exists else 0,
    }
    if json:
        console.emit_json(facts)
    else:
        console.show_table([{"setting": key, "value": value} for key, value in facts.items()])
        if not store.exists and not quiet:
            console.say("the store does not exist yet; `goafetch caldb init` or `caldb add` makes it")
    return DONE


def _store(database: Path | None) -> CalStore:
    from calstore.store import CalStore
    from goafetch.api.cal_service import active_store, beside

    return CalStore(beside(database)) if database else active_store()


def _files(names: list[str], *, walk: bool) -> list[Path]:
    """Files as named, and the FITS files of folders."""
    from goafetch.api.dataselect import expand

    found: dict[Path, None] = {}
    for name in names:
        is_folder = Path(name).is_dir()
        found |= dict.fromkeys(look_into(Path(name), FITS, below=walk) if is_folder else expand([name]))
    return list(found)


def _row(calibration: Calibration) -> dict[str, Any]:
    return {
        "name": calibration.name,
        "kind": calibration.kind,
        "filter": calibration.filter_name,
        "when": f"{calibration.when:%Y-%m-%d %H:%M:%S}",
        "path": calibration.path,
        "sha256": calibration.sha256,
        "origin": calibration.origin,
    }


def _verdicts(kind: str, answer: Match | NoMatch) -> list[dict[str, Any]]:
    """A row for the one that fits, or for the reason why none does, then one for each other candidate."""
    winner = getattr(answer, "calibration", None)
    first = {
        "kind": kind,
        "fits": winner is not None,
        "name": winner.name if winner else "",
        "reason": answer.reason,
    }
    others = [
        {"kind": kind, "fits": False, "name": lost.calibration.name, "reason": lost.reason}
        for lost in answer.rejected
    ]
    return [first, *others]
