"""What a search for sources needs of an image, in one pass: light, noise, and how far it stands out."""

from __future__ import annotations

import numpy as np
from numba import njit

#: Taps on either side of the middle of the filter along each axis.
SIDE = 2
TAPS = 2 * SIDE + 1
#: Products and sums may be done in one step.
FAST = {"contract"}


@njit(cache=True, nogil=True)
def set_bad_aside(data, mask, bits):  # type: ignore[no-untyped-def]
    """Set ``data`` to 0, in place, where the mask has one of ``bits``: returns that, (ny, nx) uint8."""
    bad = np.empty(data.shape, np.uint8)
    for j in range(data.shape[0]):
        for i in range(data.shape[1]):
            bad[j, i] = mask[j, i] & bits != 0
            data[j, i] = np.float32(0.0) if bad[j, i] else data[j, i]
    return bad


@njit(cache=True, nogil=True, fastmath=FAST)
def significance(whole, level, variance, bad, roughness, taps):  # type: ignore[no-untyped-def]
    """Signal to noise (ny, nx) of a source of the filter's shape at each pixel.

    Takes ``whole`` off ``level``, in place: that holds the image without its background then, 0 where bad.
    ``variance`` becomes what is used, in place: ``roughness`` where there is none, and at least about half of
    it, so that a background rougher than its noise is no source; 0 where bad. The filter is the optimal one
    for noise that differs from pixel to pixel: sum(k d / v) / sqrt(sum(k^2 / v)); ``taps`` (5,): its profile,
    it is the product of that along either axis.
    """
    height, width = whole.shape
    out = np.empty((height, width), np.float32)
    weight, light = np.zeros(width + 2 * SIDE, np.float32), np.zeros(width + 2 * SIDE, np.float32)
    # The last rows, filtered along the row; the one of row j stands at j modulo TAPS.
    weights, lights = np.zeros((TAPS, width), np.float32), np.zeros((TAPS, width), np.float32)
    none, one, squares = np.float32(0.0), np.float32(1.0), taps * taps
    for j in range(height + SIDE):
        now = j % TAPS
        if j < height:
            for i in range(width):
                v = variance[j, i] if variance[j, i] > none else roughness
                v = none if bad[j, i] else max(v, np.float32(0.49) * roughness)
                level[j, i] = none if bad[j, i] else whole[j, i] - level[j, i]
                variance[j, i] = v
                weight[i + SIDE] = one / v if v > none else none
                light[i + SIDE] = weight[i + SIDE] * level[j, i]
            _add_five(light[0:], light[1:], light[2:], light[3:], light[4:], taps, lights[now])
            _add_five(weight[0:], weight[1:], weight[2:], weight[3:], weight[4:], squares, weights[now])
        else:
            lights[now], weights[now] = none, none
        if j >= SIDE:
            _filter_down(
                lights, weights, j, taps, squares, out[j - SIDE], light[SIDE:-SIDE], weight[SIDE:-SIDE]
            )
    return out


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_five(a, b, c, d, e, taps, out):  # type: ignore[no-untyped-def]
    """Weighted sums of five rows."""
    for i in range(len(out)):
        out[i] = taps[0] * a[i] + taps[1] * b[i] + taps[2] * c[i] + taps[3] * d[i] + taps[4] * e[i]


@njit(cache=True, nogil=True)
def _filter_down(lights, weights, last, taps, squares, out, signal, total):  # type: ignore[no-untyped-def]
    """Filter along the columns, from the rows up to ``last``; ``signal`` and ``total`` are room for a row."""
    k = last + 1  # the oldest of the rows
    a, b, c, d, e = k % TAPS, (k + 1) % TAPS, (k + 2) % TAPS, (k + 3) % TAPS, (k + 4) % TAPS
    _add_five(lights[a], lights[b], lights[c], lights[d], lights[e], taps, signal)
    _add_five(weights[a], weights[b], weights[c], weights[d], weights[e], squares, total)
    for i in range(len(out)):
        out[i] = signal[i] / np.sqrt(total[i] + np.float32(1e-30))


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
