"""Persistence: pixels that an earlier exposure saturated can glow in the next ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reducer import dq
from reducer.frame import FrameRef
from reducer.keywords import Region
from reducer.steps.places import describe
from reducer.types import F32, U16

Pixels = NDArray[np.int32]
#: Electrons and mask bits, each in one dimension, at an index of an array.
Look = Callable[[Any], tuple[F32, U16]]

#: More columns than any array has: a pixel of the full array is y * STRIDE + x.
STRIDE = 1 << 15
#: Fewest saturated pixels whose mean afterglow can be judged; fewer are flagged unseen.
FEWEST = 30
#: Afterglow, in standard deviations of one pixel, below which it is left in.
FAINT = 0.3


@dataclass(frozen=True)
class Glow:
    """The pixels an exposure saturated, and when it ended (seconds).

    ``pixels``: array number -> places on the full array, y * STRIDE + x.
    """

    start: float
    end: float
    pixels: Mapping[int, Pixels]

    @staticmethod
    def of(frame: FrameRef, pixels: Mapping[int, Pixels]) -> Glow:
        """The glow that a frame leaves."""
        described = describe(frame)
        when = described.ut_datetime
        start = when.timestamp() if when else 0.0
        return Glow(start, start + (described.exposure_time or 0.0) * described.coadds, pixels)


def saturated_pixels(raw: F32, bits: U16, region: Region, saturation: float) -> Pixels:
    """Places, on the full array, of the pixels that saturated and are not bad anyway."""
    bright = np.flatnonzero(raw >= np.float32(saturation))
    y, x = np.divmod(bright[bits.reshape(-1)[bright] & dq.UNUSABLE == 0], raw.shape[1])
    pixels: Pixels = ((y + region.y1) * STRIDE + x + region.x1).astype(np.int32)
    return pixels


def earlier_glows(
    frame: FrameRef, frames: Sequence[FrameRef], glows: Sequence[Glow], window: float
) -> tuple[Glow, ...]:
    """The glows of exposures that ended at most ``window`` seconds before a frame began."""
    own = next(glow for other, glow in zip(frames, glows, strict=True) if other is frame)
    return tuple(
        glow
        for glow in glows
        if glow is not own and glow.start < own.start and own.start - glow.end <= window
    )


def glowing_pixels(look: Look, glows: Sequence[Glow], array: int, region: Region) -> Pixels:
    """Flat indexes, in the region, of pixels of earlier saturation that stand out above their surroundings.

    ``look``: gives electrons and mask bits at an index of the array. Each earlier exposure is judged by the
    median excess of its pixels over the array's median: where nothing glows nothing is lost.
    """
    data, mask = look((slice(None, None, 8), slice(None, None, 8)))
    good = data[mask & dq.UNUSABLE == 0]
    found = np.empty(0, np.int32)
    if not good.size:
        return found
    low, middle, high = np.percentile(good, (25, 50, 75))
    noise = 0.7413 * (high - low)
    for glow in glows:
        pixels = np.setdiff1d(_inside(glow.pixels.get(array, found), region), found)
        data, mask = look(np.divmod(pixels, region.shape[1]))
        fresh = mask & (dq.UNUSABLE | dq.NON_LINEAR) == 0
        excess = float(np.median(data[fresh]) - middle) if fresh.any() else 0.0
        if fresh.sum() < FEWEST or excess > FAINT * noise:
            found = np.union1d(found, pixels[fresh])
    return found


def _inside(pixels: Pixels, region: Region) -> Pixels:
    """Places on the full array as flat indexes of a region; the ones outside it are left out."""
    y, x = pixels // STRIDE - region.y1, pixels % STRIDE - region.x1
    height, width = region.shape
    within = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    inside: Pixels = y[within] * np.int32(width) + x[within]
    return inside
