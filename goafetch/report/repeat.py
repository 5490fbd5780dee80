"""The steps of a run as lists of files and commands, for goafetch and for DRAGONS."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from goafetch.report.model import RunSummary

#: What a list holds: raw files, or products.
RAW, MADE = "raw", "made"


@dataclass(frozen=True)
class FileList:
    """A list as the tutorial writes them: its ``name``, its ``kind`` and the files.

    ``files``: names of raw files where ``kind`` is 'raw'; of products, relative to the workspace, if 'made'.
    """

    name: str
    kind: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One step of a run: what it does, its list, and the command for either tool, typed beside the list."""

    what: str
    files: FileList
    goafetch: str
    dragons: str


def list_steps(summary: RunSummary) -> list[Step]:
    """Every step of a run in the order of work: flats, frames of each group, stacks."""
    raw: dict[str, list[str]] = {}
    for exposure in summary.exposures:
        raw.setdefault(exposure.group, []).append(exposure.name)
    flats = {product.group for product in summary.products if product.kind == "flat"}
    parameters = run_parameters(summary.command)
    ordered = sorted(raw, key=lambda group: group not in flats)
    frames = [_reduce_step(summary, group, raw[group], group in flats, parameters) for group in ordered]
    stacks = [product.group for product in summary.products if product.path.endswith("_image.fits")]
    return [*frames, *(_stack_step(summary, group) for group in stacks)]


def run_parameters(command: str) -> list[str]:
    """What the user set with -p when the run was made, as STEP:PARAM=VALUE."""
    words = shlex.split(command)
    after = [word for flag, word in pairwise(words) if flag in ("-p", "--parameter")]
    return after + [word.partition("=")[2] for word in words if word.startswith("--parameter=")]


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
    chosen = [d.what for d in summary.decisions if d.about == group and d.what.startswith("offset_sky=")]
    return f" skyCorrect:{chosen[0]}" if chosen else ""


def _stack_step(summary: RunSummary, group: str) -> Step:
    listed = FileList(f"{file_name(group)}_stack.lis", MADE, tuple(_on_target(summary, group)))
    product = f"{file_name(group)}.fits"
    return Step(
        f"Stack of {group}",
        listed,
        f"goafetch disco @{listed.name} -o {product}",
        f"reduce @{listed.name} -r alignAndStack",
    )


def _on_target(summary: RunSummary, group: str) -> Iterable[str]:
    """The frames on target of all visits of a group."""
    for product in summary.products:
        if product.kind == "on target" and product.group.partition(", visit ")[0] == group:
            yield product.path


def file_name(group: str) -> str:
    """A group's name as part of a file name: 'NGC5128_Kshort_60s'."""
    short = re.sub(r"(?<=\d) s\b", "s", group)
    return re.sub(r"[^\w.+-]+", "_", short).strip("_")
