"""Run a recipe: the steps one after the other, each named in the record and in any error."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reducer.errors import BadFile, BadInput, ReducerError
from reducer.fitsio import Disk, open_frame
from reducer.frame import Context, Files, FrameRef, StepRecord, tell_nobody
from reducer.headers.descriptors import describe
from reducer.instruments import KNOWN
from reducer.outputs import write_outputs
from reducer.parameters import as_pairs, parse
from reducer.products import needless
from reducer.provenance import now
from reducer.step import Step, steps_of


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
            notify("refused", name=Path(path).name, reason=str(error))
    if reasons and not frames:
        raise BadFile("; ".join(reasons), f"at least one whole frame of {' or '.join(KNOWN)}")
    doubled = needless([(f.path, describe(f.header, f.chips, f.path.name)) for f in frames])
    for path, (reason, _) in doubled.items():
        notify("refused", name=path.name, reason=reason)
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
                context.notify("decision", what=f"{step.name} left out", reason="skip_primitive=True")
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
