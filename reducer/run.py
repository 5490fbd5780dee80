"""Run a recipe: its steps one after the other, each named in the record, and what is asked for written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reducer.align.wcs import write_sip
from reducer.errors import BadFile, BadInput, ReducerError
from reducer.fitsio import Disk, open_frame
from reducer.frame import Chip, Context, Files, FrameRef, StepRecord, tell_nobody
from reducer.headers.descriptors import Descriptors, describe
from reducer.instruments import KNOWN
from reducer.keywords import region
from reducer.photometry.catalogue import catalogue_of_array
from reducer.products import needless
from reducer.provenance import Target, now, plan_product
from reducer.recipes import as_pairs, parse
from reducer.sky.objects import BLOCK, unpack_mask
from reducer.step import Step, steps_of
from reducer.types import Header, Table

# --- what a step passes on, where it is asked for ----------------------------------------------------

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
        blocks = unpack_mask(known).repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
        mask[: blocks.shape[0], : blocks.shape[1]] = blocks
    return mask


# --- the run -----------------------------------------------------------------------------------------


def open_frames(paths: Iterable[Path], notify: Callable[..., None] = tell_nobody) -> list[FrameRef]:
    """Open files by their headers; what is no whole frame of a known instrument is refused by name.

    So are copies of an exposure that is among them; the others go on. BadFile if none is left.
    """
    frames, reasons = [], []
    for path in paths:
        try:
            frames.append(open_frame(path))
        except BadFile as error:
            reasons.append(str(error))
            notify("refused", name=Path(path).name, **error.reason)
    if reasons and not frames:
        raise BadFile("; ".join(reasons), f"at least one whole frame of {' or '.join(KNOWN)}")
    doubled = needless([(f.path, describe(f.header, f.chips, f.path.name)) for f in frames])
    for path, (reason, _) in doubled.items():
        notify("refused", name=path.name, **reason)
    return [frame for frame in frames if frame.path not in doubled]


def run_recipe(
    recipe: Sequence[Callable[..., Any]], frames: Sequence[FrameRef], context: Context
) -> list[FrameRef]:
    """Pass frames through the steps of a recipe and return what the last one made.

    Unknown steps or parameters raise BadParameter before anything is done. An error of a step names it.
    """
    if not frames:
        raise BadInput("the list of frames is empty", "at least one frame", "give files")
    _refuse_several(frames)
    context = replace(context, files=context.files or Disk())
    if context.parameters:
        context = replace(context, parameters=parse(as_pairs(context.parameters), recipe))
    written: list[Path] = []
    try:
        for each in recipe:
            step = each if isinstance(each, Step) else Step(each)
            if step.is_asked("skip_primitive", context):
                context.notify("step_skipped", step=step.name)
                continue
            done, begun = context.steps, now()
            records = [
                StepRecord(name, part.chosen(frames, context) | dict(context.parameters.get(name, {})), begun)
                for name, part in steps_of([step]).items()
            ]
            context = replace(context, steps=(*done, *records))
            context.notify("step", name=step.name, total=len(frames))
            frames = step(frames, context)
            ended = now()
            context = replace(context, steps=(*done, *(replace(record, stop=ended) for record in records)))
            is_asked = step.is_asked("write_outputs", context) and not step.writes
            written = write_outputs(frames, step, context) if is_asked else []
        if written:  # by the last step: what is no file of its own yet is handed on as that
            pairs = zip(frames, written, strict=True)
            frames = [frame if frame.source else frame.with_(path=path) for frame, path in pairs]
        kept = [(context.disk, frame, context.folder, context.scratch) for frame in frames]
        return list(context.map(_keep, kept))
    except ReducerError as error:
        error.add_note(f"in the step {step.name}")
        raise
    finally:
        shutil.rmtree(context.scratch, ignore_errors=True)


def _refuse_several(frames: Sequence[FrameRef]) -> None:
    """BadInput where frames are of more than one instrument, with which are whose."""
    names: dict[str, list[str]] = {}
    for frame in frames:
        names.setdefault(frame.instrument.name, []).append(frame.path.name)
    if len(names) > 1:
        found = " and ".join(f"{', '.join(files)} of {name}" for name, files in names.items())
        raise BadInput(f"the frames are {found}", "frames of one instrument", "reduce each by itself")


def _keep(task: tuple[Files, FrameRef, Path, Path]) -> FrameRef:
    """A frame that a recipe ends with: written if it is not yet, moved if it is in the scratch folder; of an
    aligned one its file on the stack's pixels."""
    disk, frame, folder, scratch = task
    if frame.aligned is not None:
        return frame.with_(path=frame.aligned)
    if frame.source is not None:
        return disk.save_frame(frame, folder)
    if frame.path.parent != scratch:
        return frame
    return frame.with_(path=frame.path.replace(folder / frame.path.name))
