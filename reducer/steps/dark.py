"""Master darks: what an array shows without light, in an exposure of one time and read-out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from reducer import dq
from reducer.combine import CLIP, combine_rows
from reducer.frame import Chip, Context, Files, FrameRef
from reducer.keywords import region
from reducer.masks import index_of
from reducer.products import DARK
from reducer.provenance import plan_product
from reducer.step import step
from reducer.steps.correct import (
    ADUToElectrons,
    SaturatedBefore,
    addDQ,
    addVAR,
    corrected,
    nonlinearityCorrect,
    passes_of,
)
from reducer.steps.lamps import arrays_of
from reducer.types import F32, U16


@step(parts=(addDQ, nonlinearityCorrect, ADUToElectrons, addVAR))
def correctDarks(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Raw counts of darks to electrons with variance and mask; made when read, unless they are asked for."""
    passes = passes_of(correctDarks.parts, frames, context)
    no_glow = [SaturatedBefore.of(frame, {}) for frame in frames]
    return corrected(frames, context, passes, no_glow, {frame.path: {} for frame in frames})


@step(suffix=DARK, writes=True, cannot_skip="the dark is what its recipe is for")
def stackDarks(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    lsigma: Annotated[float, "rejection below the median of the frames", "sigma"] = CLIP[0],
    hsigma: Annotated[float, "rejection above the median of the frames", "sigma"] = CLIP[1],
) -> list[FrameRef]:
    """Combine darks into one `_dark`: their mean, electrons of the average coadd."""
    tasks = [(context.disk, tuple(frames), int(chip["EXTVER"]), (lsigma, hsigma)) for chip in frames[0].chips]
    keywords = {"NCOMBINE": len(frames)}
    target = plan_product(context, frames[0], DARK, frames, stamps=("PROCDARK",), keywords=keywords)
    chips = context.map(_combine_array, tasks)
    context.disk.write_frame(target.path, target.header, chips, tables=target.tables)
    context.notify("made", path=target.path)
    return [context.disk.open_frame(target.path)]


def _combine_array(task: tuple[Files, Sequence[FrameRef], int, tuple[float, float]]) -> Chip:
    """The mean of one array of darks that have it. Its mask has what all of them are masked for."""
    disk, frames, array, clip = task
    having = [frame for frame in frames if array in arrays_of(frame)]
    header = having[0].chips[index_of(having[0], array)]
    shape = region(header).shape
    common = np.full(shape, np.iinfo(np.uint16).max, np.uint16)

    def fill(layer: int, rows: slice, values: F32, noises: F32, mask: U16) -> None:
        frame = having[layer]
        chip = disk.read_chip(frame, index_of(frame, array), rows)
        values[:], noises[:], mask[:] = chip.data, chip.variance, chip.mask
        common[rows] &= chip.mask

    data, variance, used = combine_rows(shape, len(having), fill, dq.SATURATED | dq.NO_DATA, clip)
    return Chip(data, variance, common | (used == 0) * np.uint16(dq.NO_DATA), header)
