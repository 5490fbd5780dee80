"""`goafetch photometry`: PSF photometry of a stack or an exposure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goafetch import console


@console.handled
def photometry(
    files: Annotated[
        list[Path], typer.Argument(metavar="STACK...", help="Stacks, or exposures with SCI, VAR and DQ.")
    ],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write (default: STACK_psf beside the stack).")
    ] = None,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> None:
    """Measure all stars with the image's own PSF, and how complete and exact that is.

    Prints what it wrote: the catalogue (ECSV and FITS), completeness by artificial stars, a page, lists for
    DAOPHOT, DOLPHOT and StarFinder, the image without its stars, and the PSF.
    """
    from goafetch.api.dataselect import expand
    from goafetch.pipeline.psf_photometry import measure_product

    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        made = [
            made
            for path in expand([str(file) for file in files])
            for made in measure_product(path, into, terminal)
        ]
    console.show_table([{"file": path} for path in made], format="json" if json else "table")
