"""Persistence: pixels that an earlier exposure saturated can glow in the next ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reducer import dq
from reducer.frame import F32, U16, FrameRef
from reducer.headers.gsaoi import ARRAYS, SIDE, Region
from reducer.steps.prepare import describe

#: Fewest saturated pixels whose mean afterglow can be judged; fewer are flagged unseen.
FEWEST = 30
#: Afterglow, in standard deviations of one pixel, below which it is left in.
FAINT = 0.3


@dataclass(frozen=True)
class Glow:
    """The pixels an exposure saturated, and when it ended (seconds).

    ``pixels``: array number -> flat indexes into the full 2048 x 2048 array.
    """

    start: float
    end: float
    pixels: Mapping[int, NDArray[np.int32]]

    @staticmethod
    def of(frame: FrameRef, pixels: Mapping[int, NDArray[np.int32]]) -> Glow:
        """The glow that a frame leaves."""
        described = describe(frame)
        when = described.ut_datetime
        start = when.timestamp() if when else 0.0
        return Glow(start, start + (described.exposure_time or 0.0) * described.coadds, pixels)


def saturated_pixels(raw: F32, bits: U16, region: Region, array: int) -> NDArray[np.int32]:
    """Flat indexes, on the full array, of the pixels that saturated and are not bad anyway."""
    y, x = np.nonzero((raw >= ARRAYS[array - 1].saturation) & (bits & dq.UNUSABLE == 0))
    return ((y + region.y1) * SIDE + x + region.x1).astype(np.int32)


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


def flag_persistence(
    data: F32, mask: U16, glows: Sequence[Glow], array: int, region: Region
) -> dict[float, float]:
    """Flag, in place, the pixels of earlier saturation that stand out above their surroundings.

    Each earlier exposure is judged by the median excess of its pixels over the array's median: where
    nothing glows nothing is lost. Returns the excess (electrons) by the end of the earlier exposure.
    """
    good = data[::8, ::8][mask[::8, ::8] & dq.UNUSABLE == 0]
    if not good.size or not glows:
        return {}
    low, middle, high = np.percentile(good, (25, 50, 75))
    noise = 0.7413 * (high - low)
    excesses = {}
    for glow in glows:
        y, x = _inside(glow.pixels.get(array, np.empty(0, np.int32)), region)
        fresh = mask[y, x] & (dq.UNUSABLE | dq.NON_LINEAR) == 0
        y, x = y[fresh], x[fresh]
        excess = float(np.median(data[y, x]) - middle) if y.size else 0.0
        if y.size < FEWEST or excess > FAINT * noise:
            mask[y, x] |= dq.BAD
            excesses[glow.end] = excess
    return excesses


def _inside(pixels: NDArray[np.int32], region: Region) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    y, x = pixels // SIDE - region.y1, pixels % SIDE - region.x1
    height, width = region.shape
    within = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return y[within], x[within]
