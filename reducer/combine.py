"""Combine exposures pixel by pixel: means that leave out what deviates, with variance and mask."""

from __future__ import annotations

import numpy as np
from numba import njit

from reducer.frame import F32, F64, U16


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


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
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
    narrow = 0.8 * min(low, high)
    for y in range(height):
        for x in range(width):
            count, total, total_noise = 0, 0.0, 0.0
            for frame in range(frames):
                if not mask[frame, y, x] & unusable:
                    values[count] = data[frame, y, x]
                    noises[count] = variance[frame, y, x]
                    total += values[count]
                    total_noise += noises[count]
                    count += 1
            if count == 0:
                continue
            # Where nothing is far from the mean nothing is far from the median: no need to sort.
            if count > 2 and not _agree(values[:count], noises[:count], total / count, narrow):
                total, total_noise, count = _clip(values[:count], noises[:count], ordered, low, high)
            if count > 0:
                mean[y, x] = total / count
                noise[y, x] = total_noise / (count * count)
                used[y, x] = count


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _agree(values: F64, noises: F64, mean: float, limit: float) -> bool:
    for place in range(values.size):
        deviation = values[place] - mean
        if deviation * deviation > limit * limit * noises[place]:
            return False
    return True


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
