"""Aligned exposures to one stack: resampled and combined block of rows by block of rows, then written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from reducer.align.moving import laid_on_target
from reducer.align.resample import Planes, resample_chip
from reducer.astrometry import Geometry, Grid, common_grid, read_wcs, same_grid
from reducer.errors import BadInput, BadParameter
from reducer.frame import Chip, Context, Files, FrameRef
from reducer.keywords import region
from reducer.products import STACK
from reducer.provenance import Target, plan_product
from reducer.sky.objects import BLOCK, Bool, Packed, block_means, find_objects, pack_mask
from reducer.stack.coadd import RejectionMethod
from reducer.stack.exposures import (
    Exposure,
    StarImage,
    flux_factor,
    known_widths,
    measure_images,
    prepare_exposures,
)
from reducer.stack.parts import Parts, Share, write_part
from reducer.stack.product import StackedImage, find_sources, levels_of, stack_header, write_stack
from reducer.stack.quality import leave_out_spoilt, residual_table
from reducer.step import step
from reducer.steps.alignment import adjustWCSToReference, detectSources
from reducer.steps.flux import measureZeropoint, scaleCountsToReference
from reducer.types import because

#: Rows of the stack that one task makes.
SHARE = 256
#: The interpolation kernel unless the user asks for another.
KERNEL = "keys6"


@step(suffix="_align", writes=True)
def resampleToCommonFrame(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    pixel_scale: Annotated[float | None, "size of an output pixel", "arcsec"] = None,
    pa: Annotated[float, "position angle of the output", "degree"] = 0.0,
    reference: Annotated[str | None, "stack on whose pixels the output lies"] = None,
) -> list[FrameRef]:
    """Check that all frames are aligned and say on which pixels ``stackFrames`` will lay them.

    The resampling for the stack is done block by block within ``stackFrames``, so that no resampled frame
    need be held; ``pixel_scale`` and ``pa`` of this step are what it obeys, or the pixels of ``reference``:
    stacks of several filters then agree pixel to pixel. ``write_outputs`` writes each frame on these pixels
    besides, as does stackFrames:skip_primitive, which ends with them.
    """
    grid = grid_for(frames, context, pixel_scale, pa, reference)
    context.notify("grid", width=grid.width, height=grid.height, scale=grid.scale, angle=grid.angle)
    asked = resampleToCommonFrame.is_asked("write_outputs", context)
    if not asked and not stackFrames.is_asked("skip_primitive", context):
        return list(frames)
    written = write_aligned(laid_on_target(frames), grid, context)
    return [frame.with_(aligned=path) for frame, path in zip(frames, written, strict=True)]


def output_grid(frames: Sequence[FrameRef], pixel_scale: float | None = None, pa: float = 0.0) -> Grid:
    """The stack's pixels for aligned frames: their size in arcsec, and their position angle in degrees."""
    geometries = [frame.placed for frame in laid_on_target(frames)]
    return common_grid(geometries, pixel_scale or geometries[0].pixel, pa)


def grid_for(
    frames: Sequence[FrameRef], context: Context, pixel_scale: float | None, pa: float, reference: str | None
) -> Grid:
    """The stack's pixels as resampleToCommonFrame is asked for them."""
    if reference:
        geometries = [frame.placed for frame in laid_on_target(frames)]
        return _grid_of(Path(reference), geometries, context.disk)
    return output_grid(frames, pixel_scale, pa)


def _grid_of(reference: Path, geometries: Sequence[Geometry], files: Files) -> Grid:
    """The pixels of a stack, for exposures that lie on it; BadInput where they do not."""
    needed = "a stack of the same field, as resampleToCommonFrame:reference"
    if not reference.is_file():
        raise BadInput(f"there is no file {reference}", needed)
    science = files.open_frame(reference).chips[0]
    wcs = read_wcs(science)
    if wcs is None or not str(science.get("CTYPE1", "")).endswith("-TAN"):
        raise BadInput(f"{reference.name} has no plain tangential WCS", needed)
    try:
        grid = same_grid(wcs, (int(science["NAXIS2"]), int(science["NAXIS1"])), geometries[0].tangent)
    except ValueError as error:
        raise BadInput(f"{reference.name}: {error}", needed) from error
    x, y = (np.concatenate(each) for each in zip(
        *(grid.to_pixel(*g.corners(chip)) for g in geometries for chip in range(len(g.regions))), strict=True
    ))  # fmt: skip
    if x.max() < 0 or y.max() < 0 or x.min() > grid.width or y.min() > grid.height:
        distance = grid.scale * float(np.hypot(x.mean() - grid.width / 2, y.mean() - grid.height / 2))
        raise BadInput(f"{reference.name} shows another field, {distance:.0f} arcsec away", needed)
    return grid


@step(suffix=STACK, writes=True)
def stackFrames(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    operation: Annotated[Literal["wtmean", "mean", "median"], "wtmean weighs exposures"] = "wtmean",
    reject_method: Annotated[Literal["none", "sigclip", "minmax"], "how values are rejected"] = "sigclip",
    lsigma: Annotated[float, "rejection below", "sigma"] = 5.0,
    hsigma: Annotated[float, "rejection above", "sigma"] = 5.0,
    nlow: Annotated[int, "lowest values left out (minmax)"] = 0,
    nhigh: Annotated[int, "highest values left out (minmax)"] = 0,
    reject_fwhm: Annotated[float | None, "FWHM, in medians, of exposures that are left out"] = None,
    fill: Annotated[float, "value of SCI and VAR where there are no data"] = math.nan,
    save_rejection_map: Annotated[bool, "write REJMAP, how many values of a pixel were rejected"] = False,
) -> list[FrameRef]:
    """Combine aligned, scaled frames into one `_image`, named after the first of them."""
    frames, images = leave_out_spoilt(frames, measure_images(frames, context), context)
    frames, images = keep_sharp(frames, images, reject_fwhm, context)
    grid = grid_for(frames, context, **resampleToCommonFrame.chosen(frames, context))
    exposures = prepare_exposures(laid_on_target(frames), images, grid, KERNEL, context)
    if operation != "wtmean":
        exposures = tuple(replace(each, weights=np.sign(each.weights)) for each in exposures)
    widths, blurred = [exposure.width for exposure in exposures], frames[0].instrument.widths.blurred
    sharpness, is_blurred = sharpness_of(widths, blurred), max(widths) > blurred
    method = "noise" if reject_method == "sigclip" else reject_method
    rejection = RejectionMethod(method, lsigma, hsigma, sharpness, is_blurred, nlow, nhigh)
    how = "median" if operation == "median" else "mean"
    stack = combine_exposures(exposures, grid, rejection, how, context, counted=save_rejection_map)
    catalog = measureZeropoint.chosen(frames, context)["catalog"]
    residuals = residual_table(frames, grid)
    counted = save_rejection_map
    return [write_stack(stack, exposures, grid, KERNEL, residuals, fill, catalog, counted, context)]


def keep_sharp(
    frames: Sequence[FrameRef], images: Sequence[StarImage], factor: float | None, context: Context
) -> tuple[list[FrameRef], list[StarImage]]:
    """Leave out, by name, frames whose FWHM is more than ``factor`` times the median, if that is set.

    The first that is kept becomes the reference of the stack's fluxes.
    """
    widths = known_widths(images)
    limit = np.inf if factor is None else factor * float(np.median(widths))
    kept = [number for number, width in enumerate(widths) if width <= limit]
    for number in sorted(set(range(len(frames))) - set(kept)):
        why = because("wide", ratio=widths[number] / np.median(widths), limit=factor)
        context.notify("refused", name=frames[number].path.name, **why)
    if not kept:
        raise BadParameter(f"reject_fwhm={factor:g} leaves no exposure", "a factor above 1")
    scale = frames[kept[0]].scale
    rescaled = [frames[number].with_(scale=frames[number].scale / scale) for number in kept]
    return rescaled, [images[number] for number in kept]


def combine_exposures(
    exposures: tuple[Exposure, ...],
    grid: Grid,
    rejection: RejectionMethod,
    operation: str,
    context: Context,
    *,
    counted: bool = False,
) -> StackedImage:
    """Make all rows, in worker processes where there are any, and find the sources.

    ``counted``: whether rejected samples are counted.
    """
    first_rows = range(0, grid.height, SHARE)
    shares = [
        Share(context.disk, exposures, grid.width, first, min(SHARE, grid.height - first),
              rejection, operation, KERNEL, context.memory, counted)
        for first in first_rows
    ]  # fmt: skip
    paths = [context.scratch / f"stack_{first:05d}.fits" for first in first_rows]
    tasks = list(zip(shares, paths, strict=True))
    for done, _ in enumerate(context.map(write_part, tasks), 1):
        context.notify("progress", name="stack", done=done, total=len(shares))
    header = stack_header(exposures[0].frame, grid)
    for key, level in levels_of(exposures).items():
        header[key] = level
    parts = Parts(context.disk, tuple(paths), SHARE, grid.height, grid.width, header)
    return find_sources(parts, exposures[0].frame.instrument.widths, context)


def sharpness_of(widths: Sequence[float], blurred: float) -> float:
    """By what part of a star's contrast images of these FWHM may differ, as the deviation of a sample.

    At equal light the core of an image is higher by the square of the width and the wing of a wider one, from
    ``blurred`` on, by up to the square of that again, as of a Moffat profile of power 3; rejection begins at
    some 5 deviations.
    """
    ratio = max(widths) / min(widths)
    wing = 4 if max(widths) > blurred else 2
    return max(RejectionMethod.sharpness, (ratio**wing - 1.0) / 3.0)


# --- single exposures on a stack's pixels ------------------------------------------------------------------


def write_aligned(frames: Sequence[FrameRef], grid: Grid, context: Context) -> list[Path]:
    """Write `_align` of every frame: on the stack's pixels and per pixel of its size, neither scaled nor
    levelled, with variance and mask."""
    suffix = resampleToCommonFrame.suffix
    targets = [plan_product(context, frame, suffix, [frame], stamps=("ALIGN",)) for frame in frames]
    tasks = [
        (context.disk, frame.with_(sources=()), grid, target)
        for frame, target in zip(frames, targets, strict=True)
    ]
    written = list(context.map(_write_exposure, tasks))
    for path in written:
        context.notify("made", path=path)
    return written


def _write_exposure(task: tuple[Files, FrameRef, Grid, Target]) -> Path:
    files, frame, grid, target = task
    planes, geometry = Planes.empty((0, 0), (grid.height, grid.width)), frame.placed
    factor = flux_factor(geometry, grid)
    for index, part in enumerate(geometry.regions):
        inverse = geometry.inverse(index, grid.to_pixel)
        resample_chip(files.read_chip(frame, index), part.array, 0, inverse, planes, KERNEL, factor=factor)
    image = Chip(planes.data, planes.variance, planes.mask, stack_header(frame, grid))
    return files.write_frame(target.path, target.header, [image], tables=target.tables)


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
    grid = grid_for(scaled, inner, **resampleToCommonFrame.chosen(scaled, inner))
    (stack,) = stackFrames(scaled, inner)
    image = context.disk.read_chip(stack, 0, variance=False)
    light = find_objects(*block_means(image.data, image.mask), local=True)
    context.notify("objects_masked", area=light.mean())
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
        masks[int(chip["EXTVER"])] = pack_mask(light[row, column].reshape(rows, columns))
    return masks


def _before_sky(frame: FrameRef, masks: Mapping[int, Packed]) -> FrameRef:
    """The flat-fielded frame that a sky-subtracted one was made of."""
    assert frame.before is not None
    return frame.before.with_(hidden=dict(masks))
