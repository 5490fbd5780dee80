"""Brightness of exposures against each other, and the factors that bring them to that of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reducer.align.moving import moving_places
from reducer.errors import BadInput
from reducer.frame import Context, FrameRef
from reducer.photometry.lightmap import map_light, sky_lattice
from reducer.photometry.transparency import USUAL_CHANGE, Transparency, compare_transparencies
from reducer.sources import is_blurred
from reducer.step import step

#: Transparency further than this from the other exposures' is warned about.
CLOUDY = 0.7
#: Images of natural seeing are this many times as wide as those of adaptive optics.
BLURRED = 1.5


@step(suffix="_countsScaled")
def scaleCountsToReference(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Give each aligned frame the factor that brings its light to what it is in the first frame.

    All exposures are compared with each other. Where their light does not tell it, they are taken to be as
    transparent as usual, and it is said.
    """
    if not frames:
        return []
    seconds = np.array([frame.exposure_time for frame in frames])
    found = measure_transparency(frames, context)
    ratios, errors = found.against(0)
    scaled = []
    for frame, own, ratio, error in zip(frames, seconds, ratios, errors, strict=True):
        text = f"{frame.path.name}: transparency {ratio:.4f} +- {error:.4f} of the first"
        context.notify("warning" if ratio < CLOUDY else "info", text=text)
        scaled.append(frame.with_(scale=float(seconds[0] / own / ratio), scale_error=float(error)))
    unknown = int((~found.told).sum())
    if unknown and len(frames) > 1:
        text = (
            f"too little light is shared to measure the transparency of {unknown} of {len(frames)} exposures"
        )
        context.notify("warning", text=f"{text}: taken to change by {USUAL_CHANGE:.0%}, as is usual")
    return scaled


def measure_transparency(frames: Sequence[FrameRef], context: Context) -> Transparency:
    """The transparencies of aligned frames with their sources, by their light per second."""
    geometries = [frame.geometry for frame in frames if frame.geometry is not None]
    if len(geometries) < len(frames):
        raise BadInput("frames are not aligned", "adjustWCSToReference before this step")
    lattice = sky_lattice(geometries)
    seconds = [frame.exposure_time for frame in frames]
    moving = moving_places(frames)
    each = context.map(map_light, [(context.disk, frame, lattice, moving) for frame in frames])
    maps = [replace(one, light=one.light / np.float32(own)) for one, own in zip(each, seconds, strict=True)]
    blurred = any(is_blurred(table, frame.instrument.widths) for frame in frames for table in frame.sources)
    return compare_transparencies(maps, context.map, BLURRED if blurred else 1.0)
