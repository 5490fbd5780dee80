"""`goafetch showpars`: what steps can be told, with what it is for a file unless it is set."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from goafetch import console
from goafetch.cli.run import Json
from goafetch.errors import DONE


@console.handled
def showpars(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A frame: its instrument and tags count.")],
    step: Annotated[
        str | None, typer.Argument(metavar="[STEP]", help="One step; without, those that the file passes.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values, with a heading.")] = False,
    json: Json = False,
) -> int:
    """Show the parameters of steps: defaults for a file, units, meaning."""
    from goafetch.api.files import expand
    from reducer.fitsio import open_frame
    from reducer.headers.descriptors import describe
    from reducer.parameters import known_name
    from reducer.recipes import STEPS, default_recipe, recipes_of
    from reducer.step import steps_of

    (path,) = expand([file])
    frame = open_frame(path)
    usual = default_recipe(frame.instrument, describe(frame.header, frame.chips, path.name).tags)
    whole = {"reduce_nostack": "reduce"}.get(usual, usual)
    steps = steps_of(recipes_of(frame.instrument)[whole])
    if step is not None:
        name = known_name(step, STEPS, "step")
        steps = {name: STEPS[name]}
    rows = [
        {
            "step": name,
            "parameter": parameter,
            "default": _typed(one.defaults(frame.instrument).get(parameter, known.default), json=json),
            "unit": known.unit,
            "meaning": known.meaning,
        }
        for name, one in steps.items()
        for parameter, known in one.known.items()
    ]
    console.show_table(rows, format="json" if json else "csv" if csv else "table")
    return DONE


def _typed(value: Any, *, json: bool) -> Any:
    """A value as it is typed after -p; in JSON as it is."""
    return value if json else ",".join(value) if isinstance(value, tuple) else str(value)
