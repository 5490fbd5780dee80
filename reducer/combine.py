"""Combine exposures pixel by pixel: means that leave out what deviates, with variance and mask."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer.types import F32, F64, U16

Bool = NDArray[np.bool_]
#: Puts some rows of a frame, by its place, into the arrays given: data, variance, mask.
Fill = Callable[[int, slice, F32, F32, U16], None]

#: Pixels of all frames combined at a time: 20 MB.
PIXELS_AT_ONCE = 2_000_000
#: Standard deviations below and above the median beyond which a value is left out.
CLIP = (5.0, 5.0)


def median_of_seen(values: F32 | F64, axis: int | None = None) -> F64:
    """The median of what is finite, of all or along an axis; NaN where nothing is.

    ``values``: (...,) of any shape and unit.
    """
    blind = ~np.isfinite(values).any(axis=axis, keepdims=True)
    found = np.nanmedian(np.where(blind, 0.0, values), axis=axis, keepdims=True)
    return np.asarray(np.where(blind, np.nan, found).squeeze(axis), float)


def median_of(values: F32 | F64) -> float:
    """The median of all values, at least one, none of them NaN: NumPy's, in a tenth of its time.

    ``values``: (...,) of any shape and unit.
    """
    flat = values.reshape(-1)
    ordered = np.partition(flat, flat.size // 2)
    upper = float(ordered[flat.size // 2])
    return upper if flat.size % 2 else 0.5 * (upper + float(ordered[: flat.size // 2].max()))


def combine_rows(
    shape: tuple[int, int], frames: int, fill: Fill, unusable: int, clip: tuple[float, float] = CLIP
) -> tuple[F32, F32, U16]:
    """``clipped_mean`` of frames of one shape that are never in memory as a whole.

    ``fill`` is asked for some rows at a time, a multiple of four but for the last.
    """
    height, width = shape
    step = min(max(4, PIXELS_AT_ONCE // (width * frames) // 4 * 4), height)
    values = np.empty((2, frames * step * width), np.float32)
    bits = np.empty(frames * step * width, np.uint16)
    mean, noise, used = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint16)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        part = (frames, rows.stop - start, width)
        data, variance = (plane[: math.prod(part)].reshape(part) for plane in values)
        masks = bits[: math.prod(part)].reshape(part)
        for place in range(frames):
            fill(place, rows, data[place], variance[place], masks[place])
        mean[rows], noise[rows], used[rows] = clipped_mean(data, variance, masks, unusable, *clip)
    return mean, noise, used


def clipped_mean(
    data: F32, variance: F32, mask: U16, unusable: int, low: float = CLIP[0], high: float = CLIP[1]
) -> tuple[F32, F32, U16]:
    """The mean over frames of the usable values that lie within the noise of their median.

    ``data``, ``variance``, ``mask``: (frames, ny, nx), contiguous. A value is left out when it is more than
    ``low`` or ``high`` standard deviations from the median, the deviation being that of its own variance or,
    where the frames scatter more than their variances say, of the scatter. Returns mean, variance of the
    mean, and the number of values used, each (ny, nx); where no value was usable number and mean are 0.
    """
    shape = data.shape[1:]
    mean, noise = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    used = np.zeros(shape, np.uint16)
    _clipped_mean(data, variance, mask, unusable, low, high, mean, noise, used)
    return mean, noise, used


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _clipped_mean(
    data: F32,
    variance: F32,
    mask: U16,
    unusable: int,
    low: float,
    high: float,
    mean: F32,
    noise: F32,
    used: U16,
) -> None:
    frames, height, width = data.shape
    values, noises, ordered = np.empty(frames), np.empty(frames), np.empty(frames)
    total, total_noise, far = np.empty(width), np.empty(width), np.empty(width, np.bool_)
    bits, square = np.uint16(unusable), np.float32((0.8 * min(low, high)) ** 2)
    for y in range(height):
        total[:], total_noise[:], far[:] = 0.0, 0.0, False
        for frame in range(frames):
            _add(data[frame, y], variance[frame, y], mask[frame, y], bits, total, total_noise, used[y])
        for x in range(width):
            count = max(float(used[y, x]), 1.0)
            mean[y, x] = total[x] / count
            noise[y, x] = total_noise[x] / (count * count)
        # Where nothing is far from the mean nothing is far from the median: no need to sort.
        for frame in range(frames):
            _find_far(data[frame, y], variance[frame, y], mask[frame, y], bits, square, mean[y], far)
        for x in range(width):
            if not far[x] or used[y, x] < 3:
                continue
            count = 0
            for frame in range(frames):
                if not mask[frame, y, x] & bits:
                    values[count] = data[frame, y, x]
                    noises[count] = variance[frame, y, x]
                    count += 1
            clipped, clipped_noise, count = _clip(values[:count], noises[:count], ordered, low, high)
            mean[y, x] = clipped / max(count, 1)
            noise[y, x] = clipped_noise / max(count * count, 1)
            used[y, x] = count


# The next two are loops along a row without branches: the processor works on many pixels at once.


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _add(data: F32, variance: F32, mask: U16, bits: int, total: F64, total_noise: F64, used: U16) -> None:
    """Add the usable values of one frame."""
    for x in range(total.size):
        usable = mask[x] & bits == 0
        total[x] += data[x] if usable else np.float32(0)
        total_noise[x] += variance[x] if usable else np.float32(0)
        used[x] += np.uint16(1) if usable else np.uint16(0)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _find_far(data: F32, variance: F32, mask: U16, bits: int, square: float, mean: F32, far: Bool) -> None:
    """Mark the columns with a usable value that is ``square`` variances from the mean, squared."""
    for x in range(far.size):
        away = data[x] - mean[x]
        far[x] |= (mask[x] & bits == 0) & (away * away > square * variance[x])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _clip(values: F64, noises: F64, ordered: F64, low: float, high: float) -> tuple[float, float, int]:
    count = values.size
    for taken in range(count):
        place = taken
        while place > 0 and ordered[place - 1] > values[taken]:
            ordered[place] = ordered[place - 1]
            place -= 1
        ordered[place] = values[taken]
    middle = 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])
    # The distance between the quartiles, as a standard deviation: robust against a few outliers.
    spread = 0.7413 * (ordered[(3 * count) // 4] - ordered[count // 4]) if count >= 5 else 0.0
    total, total_noise, kept = 0.0, 0.0, 0
    for place in range(count):
        sigma = max(np.sqrt(noises[place]), spread)
        if middle - low * sigma <= values[place] <= middle + high * sigma:
            total += values[place]
            total_noise += noises[place]
            kept += 1
    return total, total_noise, kept
