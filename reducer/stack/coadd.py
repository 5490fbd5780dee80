"""Combine exposures at the same pixels: which samples to trust, their mean or median, its variance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer import dq
from reducer.types import F32, F64, U16

#: Pixels around which the local contrast and the neighbours of a cosmic ray are looked at.
REACH = 2
#: A neighbour of a rejected sample is rejected from this many sigmas; beside one so far out, in any case.
NEIGHBOUR_SIGMA, STRONG_SIGMA = 2.5, 10.0
#: Pixels of a row that are sorted together; their samples stay in the processor's nearest memory.
CHUNK = 512


@dataclass(frozen=True)
class RejectionMethod:
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

    @classmethod
    def empty(cls, count: int, rows: int, width: int) -> Samples:
        """No sample anywhere."""
        kinds = (np.float32, np.float32, np.uint16, np.uint8)
        return cls(*(np.zeros((count, rows, width), kind) for kind in kinds))

    def keep_last(self, rows: int) -> None:
        """Move the last rows to the top, and have no sample in the others."""
        for plane in (self.data, self.variance, self.mask, self.array):
            plane[:, :rows] = plane[:, plane.shape[1] - rows :].copy()
        self.mask[:, rows:], self.array[:, rows:] = 0, 0


@dataclass(frozen=True)
class Combined:
    """A block of the stack, (ny, nx): data and variance in float32, mask in uint16, exposure in seconds.

    ``rejected``: how many samples of a pixel were rejected; None where nobody wants to know.
    """

    data: F32
    variance: F32
    mask: U16
    exposure: F32
    rejected: F32 | None = None

    @classmethod
    def empty(cls, rows: int, width: int, *, counted: bool = False) -> Combined:
        """Nothing but NO_DATA."""
        planes = [np.zeros((rows, width), np.float32) for _ in range(4 if counted else 3)]
        mask = np.full((rows, width), dq.NO_DATA, np.uint16)
        return cls(planes[0], planes[1], mask, planes[2], planes[3] if counted else None)

    def put(self, part: Combined, row: int) -> None:
        """Take over a part from a row on, as far as there are rows."""
        count = min(part.data.shape[0], self.data.shape[0] - row)
        pairs = ((self.data, part.data), (self.variance, part.variance), (self.mask, part.mask))
        for whole, piece in (*pairs, (self.exposure, part.exposure)):
            whole[row : row + count] = piece[:count]
        if self.rejected is not None and part.rejected is not None:
            self.rejected[row : row + count] = part.rejected[:count]

    def trimmed(self, above: int, below: int) -> Combined:
        """Without some rows at either end."""
        rows = slice(above, self.data.shape[0] - below)
        counted = None if self.rejected is None else self.rejected[rows]
        return Combined(self.data[rows], self.variance[rows], self.mask[rows], self.exposure[rows], counted)


def combine(
    samples: Samples,
    weights: F64,
    seconds: F64,
    rejection: RejectionMethod,
    operation: str = "mean",
    *,
    counted: bool = False,
) -> Combined:
    """The weighted mean or the median of the samples that can be trusted; ``counted``: with ``rejected``.

    ``weights`` (n, 5): of each exposure and array (column 0 unused), never of a pixel; ``seconds`` (n,):
    exposure times. Saturated samples count only where there are no others, and keep their flag. Pixels
    without any sample are 0 with NO_DATA and the bits of what was rejected.
    """
    state = usable(samples.mask, samples.array)
    if rejection.method == "noise":
        middle, factor = middle_of(samples.data, state)
        contrast = np.maximum(middle, np.float32(0.0)) if rejection.blurred else local_contrast(middle)
        blur = np.float32(rejection.sharpness) * contrast
        limits = np.float32(rejection.low), np.float32(rejection.high)
        reject_noise(samples.data, samples.variance, state, middle, factor, blur, *limits)
        reject_neighbours(samples.data, samples.variance, state, middle, factor, blur)
    elif rejection.method == "minmax":
        reject_extremes(samples.data, state, rejection.nlow, rejection.nhigh)
    made = weighted_mean(samples.data, samples.variance, samples.mask, samples.array, state, weights, seconds)
    if operation == "median":
        replace_by_median(samples.data, state, made[0], made[1])
    rejected = (state > 1).sum(axis=0, dtype=np.float32) if counted else None
    return replace(Combined(*made), rejected=rejected)


@njit(cache=True, nogil=True)
def usable(mask, array):  # type: ignore[no-untyped-def]
    """1 for samples to use, 0 for none, 2 for those that are rejected later: (n, ny, nx) uint8.

    A saturated sample is used only if all samples of its pixel are saturated.
    """
    count, height, width = mask.shape
    state, clean = np.zeros((count, height, width), np.uint8), np.zeros(width, np.uint8)
    for j in range(height):
        clean[:] = 0
        for n in range(count):
            for i in range(width):
                clean[i] |= (array[n, j, i] != 0) & (mask[n, j, i] & dq.SATURATED == 0)
        for n in range(count):
            for i in range(width):
                unsaturated = mask[n, j, i] & dq.SATURATED == 0
                state[n, j, i] = (array[n, j, i] != 0) & (unsaturated | (clean[i] == 0))
    return state


@njit(cache=True, nogil=True)
def middle_of(data, state):  # type: ignore[no-untyped-def]
    """Median of the samples, of two the lower (a cosmic ray only adds); and by what a sample's variance is
    multiplied to give that of its distance from it. Planes (n, ny, nx) of exposures, electrons."""
    count, height, width = data.shape
    middle, factor = np.zeros((height, width), np.float32), np.ones((height, width), np.float32)
    rows, found = np.empty((count, CHUNK), np.float32), np.zeros(CHUNK, np.int32)
    for j in range(height):
        for first in range(0, width, CHUNK):
            for i in range(sort_chunk(data, state, j, first, rows, found)):
                if found[i] == 2:
                    middle[j, first + i], factor[j, first + i] = rows[0, i], 2.0
                elif found[i] > 0:
                    middle[j, first + i] = _median(rows, found[i], i)
    return middle, factor


@njit(cache=True, nogil=True, inline="always")
def _median(rows, count, pixel):  # type: ignore[no-untyped-def]
    return np.float32(0.5) * (rows[(count - 1) // 2, pixel] + rows[count // 2, pixel])


@njit(cache=True, nogil=True)
def local_contrast(middle):  # type: ignore[no-untyped-def]
    """How far each pixel stands above the lowest one near it, (ny, nx)."""
    height, width = middle.shape
    lowest, out = middle.copy(), middle.copy()
    for j in range(height):
        for shift in range(1, REACH + 1):
            for i in range(width - shift):
                lowest[j, i] = min(lowest[j, i], middle[j, i + shift])
            for i in range(shift, width):
                lowest[j, i] = min(lowest[j, i], middle[j, i - shift])
    for j in range(height):
        for near in range(max(j - REACH, 0), min(j + REACH + 1, height)):
            for i in range(width):
                out[j, i] = min(out[j, i], lowest[near, i])
        for i in range(width):
            out[j, i] = middle[j, i] - out[j, i]
    return out


@njit(cache=True, nogil=True)
def reject_noise(data, variance, state, middle, factor, blur, low, high):  # type: ignore[no-untyped-def]
    """Mark with 2 the samples beyond the noise model: their variance and the change of images, ``blur``.

    Planes (n, ny, nx) of exposures, electrons.
    """
    count, height, width = data.shape
    for n in range(count):
        for j in range(height):
            for i in range(width):
                excess = data[n, j, i] - middle[j, i]
                limit = high if excess > 0 else low
                square = factor[j, i] * variance[n, j, i] + blur[j, i] * blur[j, i]
                far = excess * excess > limit * limit * square
                state[n, j, i] += far & (state[n, j, i] == 1)


@njit(cache=True, nogil=True)
def reject_neighbours(data, variance, state, middle, factor, blur):  # type: ignore[no-untyped-def]
    """Mark with 3 the samples beside rejected ones that the same event seems to disturb, all if it is strong.

    A particle's track is long, its charge couples to the pixels around, and interpolation spreads both.
    Planes (n, ny, nx) of exposures, electrons.
    """
    count, height, width = data.shape
    for n in range(count):
        for j in range(height):
            for first in range(0, width, CHUNK):
                rejected = np.uint8(0)
                for i in range(first, min(first + CHUNK, width)):
                    rejected |= state[n, j, i]
                if rejected & 2:
                    for i in range(first, min(first + CHUNK, width)):
                        if state[n, j, i] == 2:
                            _reject_around(data[n], variance[n], state[n], middle, factor, blur, j, i)


@njit(cache=True, nogil=True)
def _reject_around(data, variance, state, middle, factor, blur, j, i):  # type: ignore[no-untyped-def]
    """Mark with 3 what a rejected sample's event disturbs around it in its own exposure."""
    height, width = data.shape
    sigma = np.sqrt(factor[j, i] * variance[j, i] + blur[j, i] ** 2)
    strong = data[j, i] - middle[j, i] > STRONG_SIGMA * sigma
    for jj in range(max(j - REACH, 0), min(j + REACH + 1, height)):
        for ii in range(max(i - REACH, 0), min(i + REACH + 1, width)):
            if state[jj, ii] == 1:
                sigma = np.sqrt(factor[jj, ii] * variance[jj, ii] + blur[jj, ii] ** 2)
                away = abs(data[jj, ii] - middle[jj, ii])
                if strong or away > NEIGHBOUR_SIGMA * sigma:
                    state[jj, ii] = 3


@njit(cache=True, nogil=True)
def reject_extremes(data, state, nlow, nhigh):  # type: ignore[no-untyped-def]
    """Mark with 2 the lowest and highest samples of each pixel that has more samples than are rejected.

    Planes (n, ny, nx) of exposures, electrons.
    """
    count, height, width = data.shape
    rows, found = np.empty((count, CHUNK), np.float32), np.zeros(CHUNK, np.int32)
    for j in range(height):
        for first in range(0, width, CHUNK):
            for i in range(sort_chunk(data, state, j, first, rows, found)):
                if found[i] <= nlow + nhigh:
                    continue
                least, most = rows[nlow, i], rows[found[i] - 1 - nhigh, i]
                for n in range(count):
                    inside = least <= data[n, j, first + i] <= most
                    if state[n, j, first + i] == 1 and not inside:
                        state[n, j, first + i] = 2


@njit(cache=True, nogil=True)
def weighted_mean(data, variance, mask, array, state, weights, seconds):  # type: ignore[no-untyped-def]
    """Weighted mean of the used samples, its variance, mask and exposure: four planes (ny, nx)."""
    count, height, width = data.shape
    out, spread = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    flags, exposure = np.zeros((height, width), np.uint16), np.zeros((height, width), np.float32)
    sums, rejected = np.zeros((3, width)), np.zeros(width, np.uint16)
    for j in range(height):
        sums[:], rejected[:] = 0.0, 0
        for n in range(count):
            for i in range(width):
                used = state[n, j, i] == 1
                w = weights[n, array[n, j, i]] if used else 0.0
                sums[0, i] += w
                sums[1, i] += w * data[n, j, i]
                sums[2, i] += w * w * variance[n, j, i]
            for i in range(width):
                used = state[n, j, i] == 1
                ray = dq.COSMIC_RAY if state[n, j, i] > 1 else 0
                exposure[j, i] += np.float32(seconds[n]) if used else np.float32(0.0)
                flags[j, i] |= mask[n, j, i] if used else 0
                rejected[i] |= 0 if used else mask[n, j, i] | ray
        for i in range(width):
            if sums[0, i] > 0.0:
                out[j, i] = sums[1, i] / sums[0, i]
                spread[j, i] = sums[2, i] / (sums[0, i] * sums[0, i])
            else:
                flags[j, i], exposure[j, i] = rejected[i] | dq.NO_DATA, 0.0
    return out, spread, flags, exposure


@njit(cache=True, nogil=True)
def replace_by_median(data, state, mean, variance):  # type: ignore[no-untyped-def]
    """Put medians in the place of means, in place.

    ``data``, ``state``: (n, ny, nx), electrons; ``mean``, ``variance``: (ny, nx).
    """
    count, height, width = data.shape
    rows, found = np.empty((count, CHUNK), np.float32), np.zeros(CHUNK, np.int32)
    for j in range(height):
        for first in range(0, width, CHUNK):
            for i in range(sort_chunk(data, state, j, first, rows, found)):
                if found[i] > 0:
                    mean[j, first + i] = _median(rows, found[i], i)
                # A median of many has pi/2 times the variance of their mean; of two it is the mean.
                if found[i] > 2:
                    variance[j, first + i] *= np.float32(np.pi / 2.0)


# --- sorting -----------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def sort_samples(rows):  # type: ignore[no-untyped-def]
    """Sort (n, pixels) along the first axis, in place: Batcher's merge exchange (Knuth, The Art of Computer
    Programming, volume 3, section 5.2.2, algorithm M)."""
    count, width = rows.shape
    top = 1
    while top * 2 < count:
        top *= 2
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            for a in range(count - d):
                if a & p != r:
                    continue
                low, high = rows[a], rows[a + d]
                for i in range(width):
                    x, y = low[i], high[i]
                    low[i], high[i] = min(x, y), max(x, y)
            d, q, r = (q - p if q != p else 0), q // 2, p
        p //= 2


@njit(cache=True, nogil=True)
def sort_chunk(data, state, row, first, rows, found):  # type: ignore[no-untyped-def]
    """Sort the samples with state 1 of up to CHUNK pixels of a row, from column ``first``, into ``rows``
    (n, CHUNK), others after them; ``found`` (CHUNK,): how many there are. Returns the number of pixels."""
    size, used = min(CHUNK, data.shape[2] - first), 0
    found[:] = 0
    for n in range(data.shape[0]):
        line, any_used = rows[used], 0
        for i in range(size):
            take = state[n, row, first + i] == 1
            line[i] = data[n, row, first + i] if take else np.float32(np.inf)
            found[i] += take
            any_used |= take
        # An exposure that has nothing here needs no place in the network.
        used += any_used
    if used > 1:
        sort_samples(rows[:used])
    return size if used else 0
