"""Masked pixels of an exposure's product: the level around them, so that no tool meets garbage there."""

from __future__ import annotations

import numpy as np
from numba import njit

from reducer import dq
from reducer.types import F32, U16

#: Pixels with one of these show nothing of the sky; saturated ones and hits show what was there.
EMPTY = np.uint16(dq.BAD | dq.NO_DATA | dq.UNILLUMINATED)
#: Pixels on every side within which good ones are looked for, and how many are enough.
REACHES, FEWEST = (1, 2, 4, 8), 3
#: Of this many pixels along either axis one tells the level of the array.
STEP = 8


def fill_masked(data: F32, mask: U16) -> None:
    """Put, in place, the mean of the good pixels near by into each that shows nothing, (ny, nx); where there
    are none within the farthest reach, the median of the array's good pixels, 0 without any.

    The mask stays: they are no measurements.
    """
    sample = data[::STEP, ::STEP][(mask[::STEP, ::STEP] & dq.UNUSABLE) == 0]
    level = np.float32(np.median(sample)) if sample.size else np.float32(0)
    _fill(data, mask, level)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill(data: F32, mask: U16, level: np.float32) -> None:
    height, width = data.shape
    for y in range(height):
        for x in range(width):
            if mask[y, x] & EMPTY:
                data[y, x] = level
                for reach in REACHES:
                    total, count = 0.0, 0
                    for j in range(max(y - reach, 0), min(y + reach + 1, height)):
                        for i in range(max(x - reach, 0), min(x + reach + 1, width)):
                            if mask[j, i] & dq.UNUSABLE == 0:
                                total += data[j, i]
                                count += 1
                    if count >= FEWEST:
                        data[y, x] = total / count
                        break
