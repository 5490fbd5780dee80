"""Combine exposures at the same pixels: which samples to trust, their mean or median, its variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer import dq
from reducer.frame import F32, F64, U16

#: Pixels around which the local contrast and the neighbours of a cosmic ray are looked at.
REACH = 2
#: A neighbour of a rejected sample is rejected from this many sigmas.
NEIGHBOUR_SIGMA = 2.5


@dataclass(frozen=True)
class Rejection:
    """How samples are rejected: ``method`` noise, minmax or none.

    noise: beyond ``low`` or ``high`` sigmas of the noise model from the samples' median; ``sharpness``: by
    what part of a star's local contrast exposures may differ because their images do; ``blurred``: images so
    wide that nothing local tells a star's light, and all of it counts as contrast. minmax: the ``nlow``
    lowest and ``nhigh`` highest samples.
    """

    method: str = "noise"
    low: float = 5.0
    high: float = 4.5
    sharpness: float = 0.1
    blurred: bool = False
    nlow: int = 0
    nhigh: int = 0


@dataclass(frozen=True)
class Samples:
    """All exposures at a block of pixels, each (n, ny, nx): data, variance, mask, array 1..4 (0: none)."""

    data: F32
    variance: F32
    mask: U16
    array: NDArray[np.uint8]


@dataclass(frozen=True)
class Combined:
    """A block of the stack, (ny, nx): data and variance in float32, mask in uint16, exposure in seconds."""

    data: F32
    variance: F32
    mask: U16
    exposure: F32

    def trimmed(self, above: int, below: int) -> Combined:
        """Without some rows at either end."""
        rows = slice(above, self.data.shape[0] - below)
        return Combined(self.data[rows], self.variance[rows], self.mask[rows], self.exposure[rows])


def combine(
    samples: Samples, weights: F64, seconds: F64, rejection: Rejection, operation: str = "mean"
) -> Combined:
    """The weighted mean or the median of the samples that can be trusted.

    ``weights`` (n, 5): of each exposure and array (column 0 unused), never of a pixel; ``seconds`` (n,):
    exposure times. Saturated samples count only where there are no others, and keep their flag. Pixels
    without any sample are 0 with NO_DATA and the bits of what was rejected.
    """
    state = usable(samples.mask, samples.array)
    if rejection.method == "noise":
        middle, factor = middle_of(samples.data, state)
        contrast = np.maximum(middle, 0.0) if rejection.blurred else local_contrast(middle)
        blur = (rejection.sharpness * contrast).astype(np.float32)
        reject_noise(
            samples.data, samples.variance, state, middle, factor, blur, rejection.low, rejection.high
        )
        reject_neighbours(samples.data, samples.variance, state, middle, factor, blur)
    elif rejection.method == "minmax":
        reject_extremes(samples.data, state, rejection.nlow, rejection.nhigh)
    return Combined(
        *average(samples.data, samples.variance, samples.mask, samples.array, state, weights, seconds,
                 operation == "median")
    )  # fmt: skip


@njit(cache=True, nogil=True)
def usable(mask, array):  # type: ignore[no-untyped-def]
    """1 for samples to use, 0 for none, 2 for those that are rejected later: (n, ny, nx) uint8.

    A saturated sample is used only if all samples of its pixel are saturated.
    """
    count, height, width = mask.shape
    state = np.zeros((count, height, width), np.uint8)
    for j in range(height):
        for i in range(width):
            clean = False
            for n in range(count):
                if array[n, j, i] and not mask[n, j, i] & dq.SATURATED:
                    state[n, j, i] = 1
                    clean = True
            if not clean:
                for n in range(count):
                    state[n, j, i] = 1 if array[n, j, i] else 0
    return state


@njit(cache=True, nogil=True)
def _sort(values, count):  # type: ignore[no-untyped-def]
    """Sort the first values of a buffer in place: by insertion while there are few."""
    if count > 24:
        values[:count] = np.sort(values[:count])
        return
    for k in range(1, count):
        value, m = values[k], k - 1
        while m >= 0 and values[m] > value:
            values[m + 1] = values[m]
            m -= 1
        values[m + 1] = value


@njit(cache=True, nogil=True)
def _median(values, count):  # type: ignore[no-untyped-def]
    _sort(values, count)
    half = count // 2
    return values[half] if count % 2 else 0.5 * (values[half - 1] + values[half])


@njit(cache=True, nogil=True)
def middle_of(data, state):  # type: ignore[no-untyped-def]
    """Median of the samples, of two the lower (a cosmic ray only adds); and by what a sample's variance is
    multiplied to give that of its distance from it."""
    count, height, width = data.shape
    middle, factor = np.zeros((height, width), np.float32), np.ones((height, width), np.float32)
    values = np.empty(count)
    for j in range(height):
        for i in range(width):
            found = 0
            for n in range(count):
                if state[n, j, i] == 1:
                    values[found] = data[n, j, i]
                    found += 1
            if found:
                middle[j, i] = _median(values, found)
            if found == 2:
                middle[j, i], factor[j, i] = values[0], 2.0
    return middle, factor


@njit(cache=True, nogil=True)
def local_contrast(middle):  # type: ignore[no-untyped-def]
    """How far each pixel stands above the lowest one near it, (ny, nx)."""
    height, width = middle.shape
    lowest, out = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    for j in range(height):
        for i in range(width):
            least = middle[j, i]
            for ii in range(max(i - REACH, 0), min(i + REACH + 1, width)):
                least = min(least, middle[j, ii])
            lowest[j, i] = least
    for j in range(height):
        for i in range(width):
            least = lowest[j, i]
            for jj in range(max(j - REACH, 0), min(j + REACH + 1, height)):
                least = min(least, lowest[jj, i])
            out[j, i] = middle[j, i] - least
    return out


@njit(cache=True, nogil=True)
def reject_noise(data, variance, state, middle, factor, blur, low, high):  # type: ignore[no-untyped-def]
    """Mark with 2 the samples beyond the noise model: their variance and the change of images, ``blur``."""
    count, height, width = data.shape
    for n in range(count):
        for j in range(height):
            for i in range(width):
                if state[n, j, i] != 1:
                    continue
                sigma = np.sqrt(factor[j, i] * variance[n, j, i] + blur[j, i] ** 2)
                excess = data[n, j, i] - middle[j, i]
                if excess > high * sigma or excess < -low * sigma:
                    state[n, j, i] = 2


@njit(cache=True, nogil=True)
def reject_neighbours(data, variance, state, middle, factor, blur):  # type: ignore[no-untyped-def]
    """Mark with 3 the samples beside rejected ones that the same event seems to disturb."""
    count, height, width = data.shape
    for n in range(count):
        for j in range(height):
            for i in range(width):
                if state[n, j, i] != 2:
                    continue
                for jj in range(max(j - REACH, 0), min(j + REACH + 1, height)):
                    for ii in range(max(i - REACH, 0), min(i + REACH + 1, width)):
                        if state[n, jj, ii] == 1:
                            sigma = np.sqrt(factor[jj, ii] * variance[n, jj, ii] + blur[jj, ii] ** 2)
                            if abs(data[n, jj, ii] - middle[jj, ii]) > NEIGHBOUR_SIGMA * sigma:
                                state[n, jj, ii] = 3


@njit(cache=True, nogil=True)
def reject_extremes(data, state, nlow, nhigh):  # type: ignore[no-untyped-def]
    """Mark with 2 the lowest and highest samples of each pixel that has more samples than are rejected."""
    count, height, width = data.shape
    values = np.empty(count)
    for j in range(height):
        for i in range(width):
            found = 0
            for n in range(count):
                if state[n, j, i] == 1:
                    values[found] = data[n, j, i]
                    found += 1
            if found <= nlow + nhigh:
                continue
            _sort(values, found)
            least, most = values[nlow], values[found - 1 - nhigh]
            for n in range(count):
                if state[n, j, i] == 1 and not least <= data[n, j, i] <= most:
                    state[n, j, i] = 2


@njit(cache=True, nogil=True)
def average(data, variance, mask, array, state, weights, seconds, is_median):  # type: ignore[no-untyped-def]
    """Mean or median of the used samples, its variance, mask and exposure: four planes (ny, nx)."""
    count, height, width = data.shape
    out, spread = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    flags, exposure = np.zeros((height, width), np.uint16), np.zeros((height, width), np.float32)
    values = np.empty(count)
    for j in range(height):
        for i in range(width):
            total, value, noise, time, found = 0.0, 0.0, 0.0, 0.0, 0
            bits, rejected = 0, 0
            for n in range(count):
                if state[n, j, i] != 1:
                    rejected |= mask[n, j, i] | (dq.COSMIC_RAY if state[n, j, i] >= 2 else 0)
                    continue
                w = weights[n, array[n, j, i]]
                total += w
                value += w * data[n, j, i]
                noise += w * w * variance[n, j, i]
                time += seconds[n]
                values[found] = data[n, j, i]
                found += 1
                bits |= mask[n, j, i]
            if found == 0 or total <= 0.0:
                flags[j, i] = rejected | dq.NO_DATA
                continue
            out[j, i] = _median(values, found) if is_median else value / total
            # A median of many has pi/2 times the variance of their mean; of two it is the mean.
            spread[j, i] = noise / (total * total) * (np.pi / 2.0 if is_median and found > 2 else 1.0)
            flags[j, i], exposure[j, i] = bits, time
    return out, spread, flags, exposure
