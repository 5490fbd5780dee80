"""How far an image stands above its noise everywhere, seen through the shape of a star."""

from __future__ import annotations

import numpy as np
from numba import njit

#: Taps on either side of the middle of the filter along each axis.
SIDE = 2


@njit(cache=True, nogil=True)
def significance(image, variance, taps):  # type: ignore[no-untyped-def]
    """Signal to noise (ny, nx) of a source of the filter's shape at each pixel, without those of variance 0.

    The optimal filter for noise that differs from pixel to pixel: sum(k d / v) / sqrt(sum(k^2 / v)); ``taps``
    (5,): the filter's profile, which is the product of it along either axis.
    """
    height, width = image.shape
    weight, signal = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    one, none = np.float32(1.0), np.float32(0.0)
    ready, light = np.empty(width, np.float32), np.empty(width, np.float32)
    for j in range(height):
        for i in range(width):
            ready[i] = one / variance[j, i] if variance[j, i] > none else none
            light[i] = ready[i] * image[j, i]
        for t in range(2 * SIDE + 1):
            low, high = max(SIDE - t, 0), min(width + SIDE - t, width)
            for i in range(low, high):
                signal[j, i] += taps[t] * light[i + t - SIDE]
                weight[j, i] += taps[t] * taps[t] * ready[i + t - SIDE]
    out = np.zeros((height, width), np.float32)
    for j in range(height):
        ready[:], light[:] = none, none
        for t in range(max(SIDE - j, 0), min(height + SIDE - j, 2 * SIDE + 1)):
            for i in range(width):
                light[i] += taps[t] * signal[j + t - SIDE, i]
                ready[i] += taps[t] * taps[t] * weight[j + t - SIDE, i]
        for i in range(width):
            out[j, i] = light[i] / np.sqrt(max(ready[i], np.float32(1e-30)))
    return out
