"""Single exposures on a stack's pixels, for those who look at them one by one or stack them themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reducer import parameters
from reducer.align.grid import Grid
from reducer.align.resample import Planes, resample_chip
from reducer.astrometry.geometry import Geometry
from reducer.frame import Chip, Context, Files, FrameRef
from reducer.provenance import Target, plan_product
from reducer.stack.exposures import flux_factor, geometry_of
from reducer.stack.product import stack_header


@dataclass(frozen=True)
class Work:
    """One exposure to be resampled and written: small, so that a worker process can do it."""

    files: Files
    frame: FrameRef
    geometry: Geometry
    grid: Grid
    kernel: str
    target: Target


def write_aligned(frames: Sequence[FrameRef], grid: Grid, kernel: str, context: Context) -> list[FrameRef]:
    """Write `_align` of every frame if ``write_outputs`` asks for it, or if they are not to be stacked.

    On the stack's pixels and per pixel of its size, neither scaled nor levelled, with variance and mask.
    """
    asked = parameters.value(context, "resampleToCommonFrame", "write_outputs")
    if not asked and not parameters.value(context, "stackFrames", "skip_primitive"):
        return list(frames)
    works = []
    for frame in frames:
        target = plan_product(context, frame, "_align", [frame], stamps=("ALIGN",))
        bare = frame.with_(sources=())
        works.append(Work(context.disk, bare, geometry_of(frame), grid, kernel, target))
    for _ in context.map(_write_exposure, works):
        pass
    for work in works:
        context.notify("made", path=work.target.path)
    return [frame.with_(aligned=work.target.path) for frame, work in zip(frames, works, strict=True)]


def _write_exposure(work: Work) -> None:
    planes = Planes.empty((0, 0), (work.grid.height, work.grid.width))
    factor = flux_factor(work.geometry, work.grid)
    for index, region in enumerate(work.geometry.regions):
        chip = work.files.read_chip(work.frame, index)
        inverse = work.geometry.inverse(index, work.grid.to_pixel)
        resample_chip(chip, region.array, 0, inverse, planes, work.kernel, factor=factor)
    image = Chip(planes.data, planes.variance, planes.mask, stack_header(work.frame, work.grid))
    work.files.write_frame(work.target.path, work.target.header, [image], tables=work.target.tables)
