"""Combine exposures pixel by pixel: means that leave out what deviates, with variance and mask."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer.frame import F32, F64, U16

Bool = NDArray[np.bool_]


def median_of_seen(values: F32 | F64, axis: int | None = None) -> F64:
    """The median of what is finite, of all or along an axis; NaN where nothing is."""
    blind = ~np.isfinite(values).any(axis=axis, keepdims=True)
    found = np.nanmedian(np.where(blind, 0.0, values), axis=axis, keepdims=True)
    return np.asarray(np.where(blind, np.nan, found).squeeze(axis), float)


def median_of(values: F32 | F64) -> float:
    """The median of all values, at least one, none of them NaN: NumPy's, in a tenth of its time."""
    flat = values.reshape(-1)
    ordered = np.partition(flat, flat.size // 2)
    upper = float(ordered[flat.size // 2])
    return upper if flat.size % 2 else 0.5 * (upper + float(ordered[: flat.size // 2].max()))


def clipped_mean(
    data: F32, variance: F32, mask: U16, unusable: int, low: float = 5.0, high: float = 5.0
) -> tuple[F32, F32, U16]:
    """The mean over frames of the usable values that lie within the noise of their median.

    ``data``, ``variance``, ``mask``: (frames, ny, nx). A value is left out when it is more than ``low`` or
    ``high`` standard deviations from the median, the deviation being that of its own variance or, where the
    frames scatter more than their variances say, of the scatter. Returns mean, variance of the mean, and
    the number of values used, each (ny, nx); where no value was usable the number is 0 and the mean 0.
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
    far = np.empty(width, np.bool_)
    for y in range(height):
        _plain_mean(data[:, y], variance[:, y], mask[:, y], unusable, mean[y], noise[y], used[y])
        # Where nothing is far from the mean nothing is far from the median: no need to sort.
        _find_far(data[:, y], variance[:, y], mask[:, y], unusable, 0.8 * min(low, high), mean[y], far)
        for x in range(width):
            if not far[x] or used[y, x] < 3:
                continue
            count = 0
            for frame in range(frames):
                if not mask[frame, y, x] & unusable:
                    values[count] = data[frame, y, x]
                    noises[count] = variance[frame, y, x]
                    count += 1
            total, total_noise, count = _clip(values[:count], noises[:count], ordered, low, high)
            mean[y, x] = total / max(count, 1)
            noise[y, x] = total_noise / max(count * count, 1)
            used[y, x] = count


# The next two go through the frames one after the other, so that the loops along a row have no branches.


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _plain_mean(data: F32, variance: F32, mask: U16, unusable: int, mean: F32, noise: F32, used: U16) -> None:
    total, total_noise = np.zeros(mean.size), np.zeros(mean.size)
    bits = np.uint16(unusable)
    for frame in range(data.shape[0]):
        for x in range(mean.size):
            usable = mask[frame, x] & bits == 0
            total[x] += data[frame, x] if usable else np.float32(0)
            total_noise[x] += variance[frame, x] if usable else np.float32(0)
            used[x] += np.uint16(1) if usable else np.uint16(0)
    for x in range(mean.size):
        count = max(float(used[x]), 1.0)
        mean[x] = total[x] / count
        noise[x] = total_noise[x] / (count * count)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _find_far(data: F32, variance: F32, mask: U16, unusable: int, limit: float, mean: F32, far: Bool) -> None:
    """Which columns hold a usable value more than ``limit`` standard deviations from the mean."""
    bits = np.uint16(unusable)
    square = np.float32(limit * limit)
    far[:] = False
    for frame in range(data.shape[0]):
        for x in range(mean.size):
            away = data[frame, x] - mean[x]
            far[x] |= (mask[frame, x] & bits == 0) & (away * away > square * variance[frame, x])


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
