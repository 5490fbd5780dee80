"""The third pass of `ultradeep`: objects that only the stack shows, masked in each exposure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from reducer.astrometry import Grid
from reducer.frame import Context, FrameRef
from reducer.keywords import region
from reducer.sky.objects import BLOCK, Bool, Packed, block_means, find_objects, pack
from reducer.step import step
from reducer.steps.detect import detectSources
from reducer.steps.flux_scale import scaleCountsToReference
from reducer.steps.relative_alignment import adjustWCSToReference
from reducer.steps.stacking import output_grid, resampleToCommonFrame, stackFrames


@step(
    suffix="_objectsMasked",
    cannot_skip="the second sky subtraction begins with what it gives back; the recipe reduce has but one",
)
def maskFromStack(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Go back to the flat-fielded frames, each with the objects of a first stack as ``hidden``.

    A second skyCorrect then takes neither pattern nor level from where the stack shows light. Sky-only
    frames come back as they were.
    """
    inner = replace(context, folder=context.scratch / "first", wanted=None)
    objects = [frame for frame in frames if frame.role != "sky"]
    # The stars are where the first stack shows them, also where the target moves.
    aligned = adjustWCSToReference(detectSources(objects, inner), inner)
    scaled = [frame.with_(drift=None) for frame in scaleCountsToReference(aligned, inner)]
    grid = output_grid(scaled, **resampleToCommonFrame.chosen(scaled, inner))
    (stack,) = stackFrames(scaled, inner)
    image = context.disk.read_chip(stack, 0, variance=False)
    light = find_objects(*block_means(image.data, image.mask), local=True)
    context.notify(
        "decision", what="objects of the stack masked", reason=f"they cover {light.mean():.1%} of it"
    )
    masks = {frame.path.name: _masks(frame, grid, light) for frame in scaled}
    return [_before_sky(frame, masks.get(frame.path.name, {})) for frame in frames]


def _masks(frame: FrameRef, grid: Grid, light: Bool) -> dict[int, Packed]:
    """The stack's objects on the blocks of 4x4 pixels of each array of an aligned frame."""
    assert frame.geometry is not None
    masks = {}
    for place, chip in enumerate(frame.chips):
        rows, columns = (extent // BLOCK for extent in region(chip).shape)
        y, x = np.mgrid[0:rows, 0:columns] * BLOCK + (BLOCK - 1) / 2
        across, up = grid.to_pixel(*frame.geometry.evaluate(x.ravel(), y.ravel(), place))
        row = np.clip((up // BLOCK).astype(int), 0, light.shape[0] - 1)
        column = np.clip((across // BLOCK).astype(int), 0, light.shape[1] - 1)
        masks[int(chip["EXTVER"])] = pack(light[row, column].reshape(rows, columns))
    return masks


def _before_sky(frame: FrameRef, masks: Mapping[int, Packed]) -> FrameRef:
    """The flat-fielded frame that a sky-subtracted one was made of."""
    assert frame.before is not None
    return frame.before.with_(hidden=dict(masks))
