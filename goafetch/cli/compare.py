"""`goafetch compare`: two stacks of one field side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goafetch import console


@console.handled
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A stack, or a workspace.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    into: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the pages are written (default: here).")
    ] = Path(),
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> None:
    """Compare two stacks: both blinking, their difference, depth, FWHM, the same stars, and what differed.

    Of two workspaces all stacks of the same name are compared. Prints the pages that it wrote.
    """
    from goafetch.report.compare_page import compare_stacks, pair_stacks

    into.mkdir(parents=True, exist_ok=True)
    with console.Terminal(verbose=verbose, quiet=quiet):
        pages = [
            compare_stacks(one, other, into / f"compare_{one.stem}.html")
            for one, other in pair_stacks(first, second)
        ]
    console.show_table([{"page": page} for page in pages], format="json" if json else "table")
