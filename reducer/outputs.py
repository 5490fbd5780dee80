"""What a step passes on, written where the user asks: the pixels that the next one gets, and more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reducer.align.wcs import write_sip
from reducer.frame import Chip, Context, Files, FrameRef
from reducer.headers.descriptors import Descriptors
from reducer.keywords import region
from reducer.photometry.objects import catalogue_of_array
from reducer.provenance import Target, plan_product
from reducer.sky.objects import BLOCK, unpack
from reducer.step import Step
from reducer.types import Header, Table

#: Keywords that get the time of a step, as DRAGONS has them; those of others are put in with their products.
STAMPS = {
    "separateSky": "SEPSKY",
    "associateSky": "ASSOCSKY",
    "detectSources": "DETECSRC",
    "adjustWCSToReference": "CORRWCS",
    "determineAstrometricSolution": "ASTRMTRY",
    "scaleCountsToReference": "SCALEOBJ",
}


@dataclass(frozen=True)
class Output:
    """An exposure about to be written. ``sources``: OBJCAT of each array, none where none were sought."""

    disk: Files
    frame: FrameRef
    target: Target
    sources: tuple[Table, ...]


def write_outputs(frames: Sequence[FrameRef], step: Step, context: Context) -> list[Path]:
    """Write frames as a step passes them on, under its suffix: pixels as they are, neither filled nor scaled.

    Beside them stands what is known of each: in keywords its role, and its factor to the first one's flux;
    SKYTABLE, the sky exposures that serve it; by array OBJCAT, its sources, and OBJMASK, objects that a stack
    shows; and if it is aligned its whole distortion, in each array's WCS.
    """
    tasks = []
    for frame in frames:
        target = plan_product(context, frame, step.suffix, [frame], keywords=_facts(frame, context))
        if frame.skies:
            names = np.array(
                [(name,) for name in frame.skies], [("SKYNAME", f"U{max(map(len, frame.skies))}")]
            )
            target = replace(target, tables={"SKYTABLE": names, **target.tables})
        sources = tuple(catalogue_of_array(table) for table in frame.sources)
        tasks.append(Output(context.disk, frame.with_(sources=(), before=None), target, sources))
    written = list(context.map(_write, tasks))
    for path in written:
        context.notify("made", path=path)
    return written


def _facts(frame: FrameRef, context: Context) -> dict[str, Any]:
    """What was learnt of a frame, and when, for its primary header."""
    done = {STAMPS[step.name]: step.stop for step in context.steps if step.name in STAMPS}
    roles = {"OBJFRAME": ("object", "both"), "SKYFRAME": ("sky", "both")}
    facts = {key: "True" for key, of in roles.items() if frame.role in of}  # as DRAGONS writes it
    scale = {"FLXSCALE": frame.scale, "FLXSCERR": frame.scale_error} if "SCALEOBJ" in done else {}
    return {**done, **facts, **scale}


def _write(task: Output) -> Path:
    frame, numbers = task.frame, [int(chip["EXTVER"]) for chip in task.frame.chips]
    tables = {"OBJCAT": task.sources} if task.sources else {}
    images = {"OBJMASK": tuple(_mask(frame, index) for index in range(len(numbers)))} if frame.hidden else {}
    return task.disk.write_frame(
        task.target.path,
        task.target.header,
        _chips(task.disk, frame),
        tables={**tables, **task.target.tables},
        images=images,
    )


def _chips(disk: Files, frame: FrameRef) -> Iterator[Chip]:
    noises = Descriptors(frame.header, frame.chips).read_noise
    for index, noise in enumerate(noises):
        chip = disk.read_chip(frame, index)
        yield replace(chip, header=_header(frame, index, noise))


def _header(frame: FrameRef, index: int, noise: float | None) -> Header:
    header = frame.chips[index].copy()
    if noise is not None and "PREPARE" not in frame.header:
        header["RDNOISE"] = noise  # of all coadds together, as products have it
    if frame.geometry is not None:
        write_sip(header, frame.geometry, index)
        if "ASTRCAT" in frame.header:
            # Catalogues of this century are on the ICRS.
            header["RADESYS"] = "ICRS"
    return header


def _mask(frame: FrameRef, index: int) -> Any:
    """Objects that a stack shows in an array: 1 in the blocks that hold them."""
    shape, known = region(frame.chips[index]).shape, frame.hidden.get(int(frame.chips[index]["EXTVER"]))
    mask = np.zeros(shape, np.uint8)
    if known is not None:
        blocks = unpack(known).repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
        mask[: blocks.shape[0], : blocks.shape[1]] = blocks
    return mask
