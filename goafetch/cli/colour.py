"""`goafetch colour`: stacks of several filters as one picture, catalogue and diagram."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goafetch import console


@console.handled
def colour(
    stacks: Annotated[
        list[Path],
        typer.Argument(metavar="STACK STACK [STACK]", help="Of one target, each in another filter."),
    ],
    into: Annotated[Path, typer.Option(metavar="DIR", help="Where to write (default: here).")] = Path(),
    grid: Annotated[
        bool, typer.Option("--grid", help="Write the other stacks on the pixels of the first too (FITS).")
    ] = False,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> None:
    """Join stacks of two or three filters: a picture in colours, a catalogue, a colour-magnitude diagram.

    Pixels and coordinates are those of the first. Prints what it wrote: the page, the picture (PNG), and
    the catalogue (ECSV, FITS, CSV, VOTable) with magnitudes, colours, their errors and limits.
    """
    from goafetch.report.colour_page import write_colours

    with console.Terminal(verbose=verbose, quiet=quiet):
        made = write_colours(stacks, into, grid)
    console.show_table([{"file": path} for path in made], format="json" if json else "table")
