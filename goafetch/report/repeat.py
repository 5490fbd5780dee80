"""The steps of a run as lists of files and commands, for goafetch and for DRAGONS."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from goafetch.events import SkyChoice
from goafetch.plan.keys import STEPS_OF
from goafetch.report.model import Product, RunSummary
from goafetch.text import file_name

#: What a list holds: raw files, products, or files that an earlier command of DRAGONS has made beside it.
RAW, MADE, BESIDE = "raw", "made", "beside"


@dataclass(frozen=True)
class FileList:
    """A list as the tutorial writes them: its ``name``, its ``kind`` and the files.

    ``files``: names of raw files where ``kind`` is 'raw'; of products, relative to the workspace, if 'made';
    as they stand if 'beside'.
    """

    name: str
    kind: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One step of a run: what it does, its list, and the command for either tool, typed beside the list.

    ``dragons`` are perhaps several lines; ``found``: the list that the later ones need.
    """

    what: str
    files: FileList
    goafetch: str
    dragons: str
    found: FileList | None = None


def list_steps(summary: RunSummary, folder: Path, into: Path | None = None) -> list[Step]:
    """Every step of a run in the order of work: flats, frames of each group, stacks, standards first.

    The files of stars that a stack of the workspace ``folder`` was made with are named as from ``into``.
    """
    raw: dict[str, list[str]] = {}
    for exposure in summary.exposures:
        raw.setdefault(exposure.group, []).append(exposure.name)
    flats = {product.group for product in summary.products if product.kind == "flat"}
    parameters = as_typed(summary.parameters)
    ordered = sorted(raw, key=lambda group: group not in flats)
    frames = [_reduce_step(summary, group, raw[group], group in flats, parameters) for group in ordered]
    stacks = [product for product in summary.products if product.path.endswith("_image.fits")]
    stacks.sort(key=lambda product: product.kind != "standard")
    made = {str((folder / product.path).absolute()): f"{file_name(product.group)}.fits" for product in stacks}

    def place(value: str) -> str:
        """A file as it is called from where the commands are typed; any other value as it is."""
        if value in made:
            return made[value]
        return os.path.relpath(value, into.absolute()) if into and Path(value).is_file() else value

    return [*frames, *(_stack_step(summary, stack, settings(folder / stack.path, place)) for stack in stacks)]


def settings(stack: Path, place: Callable[[str], str]) -> list[str]:
    """The parameters that a stack was made with where they are not the usual, as STEP:PARAM=VALUE.

    None are known of a product that cannot be read.
    """
    from reducer import parameters
    from reducer.errors import BadFile
    from reducer.fitsio import read_table

    try:
        history = read_table(stack, "HISTORY")
    except BadFile:
        history = None
    if history is None:
        return []
    args = {str(row["primitive"]): json.loads(str(row["args"])) for row in history}
    return [
        f"{step}:{name}={place(str(value))}"
        for step in STEPS_OF["alignAndStack"]
        for name, value in args.get(step, {}).items()
        if name in parameters.STEPS[step] and not parameters.is_usual(step, name, value)
    ]


def as_typed(parameters: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the user set when the run was made, as STEP:PARAM=VALUE."""
    return [
        f"{step}:{name}={','.join(map(str, value)) if isinstance(value, tuple | list) else value}"
        for step, chosen in parameters.items()
        for name, value in chosen.items()
    ]


def _reduce_step(
    summary: RunSummary, group: str, names: Sequence[str], is_flat: bool, parameters: Sequence[str]
) -> Step:
    listed = FileList(f"{file_name(group)}.lis", RAW, tuple(names))
    ours = "".join(f" -p {shlex.quote(text)}" for text in parameters)
    theirs = "" if is_flat else " -p prepare:bad_wcs=fix" + _offset_sky(summary, group)
    what = f"Master {group}" if is_flat else f"Frames of {group}"
    return Step(what, listed, f"goafetch reduce @{listed.name}{ours}", f"reduce @{listed.name}{theirs}")


def _offset_sky(summary: RunSummary, group: str) -> str:
    """DRAGONS cannot decide this: it gets what was decided here."""
    choices = (d for d in summary.decisions if isinstance(d, SkyChoice) and d.group == group)
    chosen = next(choices, None)
    return f" skyCorrect:offset_sky={chosen.offset_sky}" if chosen else ""


def _stack_step(summary: RunSummary, stack: Product, chosen: Iterable[str]) -> Step:
    group = stack.group
    listed = FileList(f"{file_name(group)}_stack.lis", MADE, tuple(_on_target(summary, stack.stack)))
    # DRAGONS aligns by the sources that an earlier command of it has put into the files.
    names = (f"{PurePosixPath(name).name.split('_')[0]}_sourcesDetected.fits" for name in listed.files)
    found = FileList(f"{file_name(group)}_sources.lis", BESIDE, tuple(names))
    product = f"{file_name(group)}.fits"
    ours = "".join(f" -p {shlex.quote(text)}" for text in chosen)
    return Step(
        f"Stack of {group}",
        listed,
        f"goafetch disco @{listed.name} -o {product}{ours}",
        f"reduce @{listed.name} -r detectSources\nreduce @{found.name} -r alignAndStack",
        found,
    )


def _on_target(summary: RunSummary, stack: str) -> Iterable[str]:
    """The frames on target that go into a stack."""
    return (each.path for each in summary.products if (each.kind, each.stack) == ("on target", stack))
