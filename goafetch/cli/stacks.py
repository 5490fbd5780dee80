"""`goafetch cutout` and `trends`: a part of a stack, and what stacks were like over nights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goafetch import console
from goafetch.errors import DONE, FAILED

if TYPE_CHECKING:
    from goafetch.report.trends import NightOfStack

Samp = Annotated[
    bool, typer.Option("--samp", help="Send it to ds9, TOPCAT or Aladin too, where they run (SAMP).")
]


@console.handled
def cutout(
    stack: Annotated[Path, typer.Argument(metavar="STACK", help="A stack, such as *_image.fits.")],
    position: Annotated[
        str,
        typer.Argument(metavar='"RA DEC"', help="Degrees or sexagesimal (ICRS), or a name of SIMBAD's."),
    ],
    size: Annotated[
        str, typer.Argument(metavar="SIZE", help="Side: arcsec, or with a unit, as '0.5 arcmin'.")
    ] = "10",
    into: Annotated[Path, typer.Option(metavar="DIR", help="Where to write (default: here).")] = Path(),
    samp: Samp = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Cut a square out of a stack: FITS with WCS and all planes, and a finding chart (PNG)."""
    from goafetch.report.cutout import write_cutout

    cut, files = write_cutout(stack, position, size, into)
    if not cut.whole and not quiet:
        height, width = cut.chip.data.shape
        console.say(f"the square reaches beyond the stack: {width} x {height} pixels of it are written")
    console.show_table([{"file": path} for path in files], format="json" if json else "table")
    return send_products(files, quiet=quiet) if samp else DONE


def send_products(files: Sequence[Path], *, quiet: bool = False) -> int:
    """Send files to the programs that listen, and say what became of it; the exit code."""
    from goafetch import samp

    said = samp.send(files)
    for one in said:
        if one.error:
            console.say(f"{one.program} did not take {one.file.name}: {one.error}")
        elif not quiet:
            console.say(f"{one.file.name} sent to {one.program}")
    return FAILED if any(one.error for one in said) else DONE


@console.handled
def trends(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Workspaces, or folders that hold them.")
    ],
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with figures too, as trends.html.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values, with a heading.")] = False,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Show zeropoint, FWHM (mas), Strehl and sky (e-/s per pixel) of all stacks by night and filter."""
    from goafetch.report.trends import list_nights, make_trends_page
    from goafetch.workspace import write_atomically

    rows, apart = list_nights(folders)
    if apart and not quiet:
        console.say(f"runs with --as left out: {', '.join(map(str, apart))}; give the folder to include it")
    format = "json" if json else "csv" if csv else "table"
    programs, places = {row.program for row in rows}, {(row.program, row.workspace) for row in rows}
    also = [("program", len(programs) > 1), ("workspace", len(places) > len(programs))]
    names = [name for name, tells_apart in also if tells_apart]
    shown = [vars(row) if json or csv else _shortly(row, names) for row in rows]
    console.show_table(shown, format=format, heading=True)
    if page is not None:
        write_atomically(page, make_trends_page(rows))
        if not quiet:
            console.say(f"page: {page}")


def _shortly(row: NightOfStack, also: Sequence[str]) -> dict[str, str]:
    """A row for a terminal's 80 columns; ``also``: fields that tell it from others."""
    zeropoint = _as_text(row.zeropoint, 3)
    if zeropoint and row.zeropoint_error is not None:
        zeropoint += f" +- {row.zeropoint_error:.3f}"
    return {
        **{"night": str(row.night), "filter": row.filter, "object": row.object, "zeropoint": zeropoint},
        **{
            "FWHM": _as_text(row.fwhm, 0),
            "Strehl": _as_text(row.strehl, 2),
            "sky": _as_text(row.sky, 1),
        },
        **{name: getattr(row, name) for name in also},
    }


def _as_text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
