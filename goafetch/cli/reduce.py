"""`goafetch reduce` and `goafetch disco`: one recipe over files, as the tutorial does it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from goafetch import console
from goafetch.cli import complete
from goafetch.cli.files import Files
from goafetch.cli.run import Parameters, Workers
from goafetch.events import Event, Notify, Refusal, silent, why_in_full
from goafetch.text import parse_parameters

#: A parameter among the file names: what follows the first one after -p, as DRAGONS allows.
PARAMETER = re.compile(r"\w+(:\w+)?=.*")


@console.handled
def reduce(
    files: Files,
    recipe: Annotated[
        str,
        typer.Option(
            "-r",
            "--recipe",
            metavar="NAME|FILE.py:NAME",
            help="Default: by the frames' tags.",
            autocompletion=complete.recipes,
        ),
    ] = "",
    parameters: Parameters = None,
    calibrations: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the calibration store is.")
    ] = None,
    user_cal: Annotated[
        list[str] | None,
        typer.Option("--user_cal", "--user-cal", metavar="KIND:FILE", help="As processed_flat:FILE."),
    ] = None,
    suffix: Annotated[
        str, typer.Option(metavar="_NAME", help="What products' names end in, in place of their own.")
    ] = "",
    logfile: Annotated[Path, typer.Option(metavar="FILE", help="Where the log is.")] = Path("reduce.log"),
    workers: Workers = None,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> int:
    """Run one recipe over files; products are written here and listed."""
    from calstore.store import CalStore
    from goafetch.api import cal_service, logutils
    from goafetch.api.dataselect import expand
    from goafetch.api.reduce import Task, parse_user_calibrations, reduce_files

    names = [name for name in files if not PARAMETER.fullmatch(name)]
    settings = [*(parameters or ()), *(name for name in files if PARAMETER.fullmatch(name))]
    task = Task(
        files=expand(names),
        recipe=recipe,
        parameters=parse_parameters(settings),
        calibrations=parse_user_calibrations(user_cal or ()),
        store=CalStore(cal_service.beside(calibrations)) if calibrations else None,
        workers=workers,
        suffix=suffix,
    )
    logutils.config(logfile, mode=_mode(verbose, quiet))
    refusals: list[Refusal] = []
    with logutils.telling() as tell:
        products = reduce_files(task, _noting(refusals, tell))
    return _show(products, refusals, json=json)


@console.handled
def disco(
    files: Files,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="NAME", help="The stack.")
    ] = "disco_stack.fits",
    catalog: Annotated[
        str | None,
        typer.Option(
            metavar="auto|gaia|2mass|none|FILE",
            help="Astrometric catalogue.",
            autocompletion=complete.catalogs,
        ),
    ] = None,
    phot_catalog: Annotated[
        str | None,
        typer.Option(
            metavar="auto|2mass|none|FILE",
            help="Photometric catalogue of field stars.",
            autocompletion=complete.phot_catalogs,
        ),
    ] = None,
    standards: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Magnitudes of standards, or a standard's stack (default: the one beside the files).",
        ),
    ] = None,
    pixel_scale: Annotated[float | None, typer.Option(help="Arcsec per pixel of the stack.")] = None,
    parameters: Parameters = None,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> int:
    """Align sky-subtracted exposures, correct their distortion, and stack them."""
    from goafetch.api import logutils
    from goafetch.api.dataselect import expand
    from goafetch.api.disco import disco as stack
    from goafetch.catalog import MAGNITUDES, POSITIONS

    given = ((catalog, POSITIONS), (phot_catalog, MAGNITUDES), (standards, ()))
    expand(str(file) for file, words in given if file and file not in words)  # files that are named are there
    logutils.config(mode=_mode(verbose, quiet))
    refusals: list[Refusal] = []
    made = stack(
        files,
        output,
        pixel_scale=pixel_scale,
        catalog=catalog,
        phot_catalog=phot_catalog,
        standards=standards,
        parameters=parse_parameters(parameters or ()),
        notify=_noting(refusals),
    )
    return _show([made], refusals, json=json)


def _noting(refusals: list[Refusal], tell: Notify = silent) -> Notify:
    """A notify that also notes what is left out."""

    def note(event: Event, /) -> None:
        if isinstance(event, Refusal):
            refusals.append(event)
        tell(event)

    return note


def _mode(verbose: bool, quiet: bool) -> str:
    return "quiet" if quiet else "verbose" if verbose else "standard"


def _show(products: list[Path], refusals: list[Refusal], *, json: bool) -> int:
    """List the products; the exit code, by whether something was left out."""
    left_out = {event.name: why_in_full(event) for event in refusals}
    if json:
        named = [{"name": name, "reason": reason} for name, reason in left_out.items()]
        console.emit_json({"products": products, "left_out": named})
    else:
        console.show_table([{"product": path} for path in products], ["product"])
    return 1 if left_out else 0
