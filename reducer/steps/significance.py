"""What a search for sources needs of an image, in one pass: light, noise, and how far it stands out."""

from __future__ import annotations

import numpy as np
from numba import njit

#: Taps on either side of the middle of the filter along each axis.
SIDE = 2
TAPS = 2 * SIDE + 1


@njit(cache=True, nogil=True)
def set_bad_aside(data, mask, bits):  # type: ignore[no-untyped-def]
    """The image with 0 where the mask has one of ``bits``, and where that is (uint8), both (ny, nx)."""
    whole, bad = np.empty(data.shape, np.float32), np.empty(data.shape, np.uint8)
    for j in range(data.shape[0]):
        for i in range(data.shape[1]):
            bad[j, i] = mask[j, i] & bits != 0
            whole[j, i] = np.float32(0.0) if bad[j, i] else data[j, i]
    return whole, bad


@njit(cache=True, nogil=True)
def significance(whole, level, variance, bad, roughness, taps):  # type: ignore[no-untyped-def]
    """Signal to noise (ny, nx) of a source of the filter's shape at each pixel, and the variance used.

    Takes ``whole`` off ``level``, in place: that holds the image without its background then, 0 where bad.
    Variances are ``roughness`` where there are none, and at least about half of it, so that a background
    rougher than its noise is no source. The filter is the optimal one for noise that differs from pixel to
    pixel: sum(k d / v) / sqrt(sum(k^2 / v)); ``taps`` (5,): its profile, it is the product of that along
    either axis.
    """
    height, width = whole.shape
    noise, out = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    weight, light = np.zeros(width + 2 * SIDE, np.float32), np.zeros(width + 2 * SIDE, np.float32)
    # The last rows, filtered along the row; the one of row j stands at j modulo TAPS.
    weights, lights = np.zeros((TAPS, width), np.float32), np.zeros((TAPS, width), np.float32)
    none, one, squares = np.float32(0.0), np.float32(1.0), taps * taps
    for j in range(height + SIDE):
        now = j % TAPS
        weights[now], lights[now] = none, none
        if j < height:
            for i in range(width):
                v = variance[j, i] if variance[j, i] > none else roughness
                v = none if bad[j, i] else max(v, np.float32(0.49) * roughness)
                level[j, i] = none if bad[j, i] else whole[j, i] - level[j, i]
                noise[j, i] = v
                weight[i + SIDE] = one / v if v > none else none
                light[i + SIDE] = weight[i + SIDE] * level[j, i]
            for t in range(TAPS):
                for i in range(width):
                    lights[now, i] += taps[t] * light[i + t]
                    weights[now, i] += squares[t] * weight[i + t]
        if j >= SIDE:
            _filter_down(lights, weights, j, taps, squares, out[j - SIDE])
    return out, noise


@njit(cache=True, nogil=True)
def _filter_down(lights, weights, last, taps, squares, out):  # type: ignore[no-untyped-def]
    """Filter along the columns, from the rows up to ``last``."""
    for i in range(len(out)):
        signal, total = np.float32(0.0), np.float32(1e-30)
        for t in range(TAPS):
            row = (last + 1 + t) % TAPS
            signal += taps[t] * lights[row, i]
            total += squares[t] * weights[row, i]
        out[i] = signal / np.sqrt(total)


@njit(cache=True, nogil=True)
def is_touched(mask, bits, x, y, radius):  # type: ignore[no-untyped-def]
    """Whether a pixel whose mask has one of ``bits`` has its middle within a radius of (x, y), (n,)."""
    height, width = mask.shape
    touched = np.zeros(len(x), np.bool_)
    for n in range(len(x)):
        for j in range(max(int(y[n] - radius), 0), min(int(y[n] + radius) + 2, height)):
            for i in range(max(int(x[n] - radius), 0), min(int(x[n] + radius) + 2, width)):
                if mask[j, i] & bits and (i - x[n]) ** 2 + (j - y[n]) ** 2 < radius * radius:
                    touched[n] = True
    return touched
