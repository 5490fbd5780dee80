"""`goafetch plan` and `goafetch explain`: what would be reduced with what, and where a product came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goafetch import console
from goafetch.cli.run import Filter, Json, Object, Quiet, Verbose


@console.handled
def plan(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A workspace, or a folder of raw files.")],
    object: Object = None,
    filter: Filter = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> int:
    """Say what would be reduced with what, and why; what is left out, and why."""
    from goafetch.pipeline.run import run
    from goafetch.words import words

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
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Say where a product came from: inputs with md5, steps, parameters, calibrations, versions."""
    from goafetch.report.products import read_provenance

    story = read_provenance(product)
    if json:
        console.emit_json(story)
        return
    for title, rows in story.items():
        console.show_table(rows, format="table", title=title)
