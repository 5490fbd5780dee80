"""Centres and shapes of sources by a window that takes their own width."""

from __future__ import annotations

import numpy as np
from numba import njit

#: Rounds of centring, at most; steps below these parts of the width end them, or are let pass at the end.
ROUNDS, SMALL_STEP, LARGEST_STEP = 120, 6e-5, 1e-3
#: Sums over a window: light, x, y, xx, yy, xy, variance of the centroid, and the window over good pixels.
SUMS = 8
#: The longest row of a window, pixels: its sigma stays below 45.
LONGEST = 300
#: Sums may be reordered, so that they are done many pixels at a time.
FAST = {"contract", "reassoc"}


@njit(cache=True, nogil=True, fastmath=FAST)
def _sum_row(image, variance, bell, row, first, last, x):  # type: ignore[no-untyped-def]
    """Sums along a row, of data d, variance v, window w: w, w^2, w d (1, dx, dx^2), w^2 v (1, dx^2)."""
    w0, w2, m0, m1, m2, q0, q2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(np.uint64(first), np.uint64(last)):
        dx = np.float64(i) - x
        weight = bell[i - np.uint64(first)]
        value, noise = weight * image[row, i], weight * weight * variance[row, i]
        w0 += weight
        w2 += weight * weight
        m0 += value
        m1 += value * dx
        m2 += value * dx * dx
        q0 += noise
        q2 += noise * dx * dx
    return w0, w2, m0, m1, m2, q0, q2


@njit(cache=True, nogil=True, inline="always")
def _add_moments(sums, dy, m0, m1, m2):  # type: ignore[no-untyped-def]
    sums[0] += m0
    sums[1] += m1
    sums[2] += m0 * dy
    sums[3] += m2
    sums[4] += m0 * dy * dy
    sums[5] += m1 * dy


@njit(cache=True, nogil=True)
def _sum_window(image, variance, bad, x, y, sigma, bell, sums):  # type: ignore[no-untyped-def]
    """Moments about (x, y) under a Gaussian window cut at 3 sigma, into ``sums``.

    Bad pixels, where image and variance are 0, are filled with the window's own shape, so that they do not
    pull the centre. ``bell``: room for the window along a row.
    """
    height, width = image.shape
    reach, fill, square = int(3.0 * sigma) + 1, np.zeros(6), 0.0
    sums[:] = 0.0
    start, end = max(int(x) - reach, 0), min(int(x) + reach + 2, width)
    for i in range(start, end):
        bell[i - start] = np.exp(-0.5 * (i - x) ** 2 / (sigma * sigma))
    for j in range(max(int(y) - reach, 0), min(int(y) + reach + 2, height)):
        dy = j - y
        chord = np.sqrt(max(9.0 * sigma * sigma - dy * dy, 0.0))
        first, last = max(int(np.ceil(x - chord)), start), min(int(np.floor(x + chord)) + 1, end)
        if first >= last:
            continue
        along = np.exp(-0.5 * dy * dy / (sigma * sigma))
        w0, w2, m0, m1, m2, q0, q2 = _sum_row(image, variance, bell[first - start :], j, first, last, x)
        _add_moments(sums, dy, along * m0, along * m1, along * m2)
        sums[6] += along * along * 0.5 * (q2 + q0 * dy * dy)
        sums[7] += along * w0
        square += along * along * w2
        for i in range(first, last):
            if bad[j, i]:
                dx, weight = i - x, along * bell[i - start]
                _add_moments(fill, dy, weight * weight, weight * weight * dx, weight * weight * dx * dx)
                sums[7] -= weight
                square -= weight * weight
    if square > 0.0:
        share = sums[0] / square
        for k in range(6):  # whole arrays or tuples would take half of the kernel's time to compile
            sums[k] += share * fill[k]


@njit(cache=True, nogil=True)
def centre_sources(image, variance, bad, columns, rows, widths):  # type: ignore[no-untyped-def]
    """Centres and shapes by a round Gaussian window that takes the width of the source.

    ``columns``, ``rows``: pixels to start from; ``widths``: sigmas to start from, pixels; ``bad`` pixels
    (uint8) hold 0 in image and variance. Returns (n, 8): x, y, error of the centre per axis, sigma,
    ellipticity, angle in degrees, 1 if it settled, and the share of the window that is masked or off the
    image. A matched window's centroid has nearly the least error possible for a round image (Bernstein &
    Jarvis 2002, AJ 123, 583).
    """
    out, sums, bell = np.zeros((len(columns), 8)), np.zeros(SUMS), np.zeros(LONGEST)
    for n in range(len(columns)):
        x, y, sigma = float(columns[n]), float(rows[n]), min(max(widths[n], 1.0), 20.0)
        room, step, settled = 3.0 * widths[n] + 3.0, np.inf, 0.0
        qxx, qyy, qxy, error = 1.0, 1.0, 0.0, 0.0
        for _ in range(ROUNDS):
            _sum_window(image, variance, bad, x, y, sigma, bell, sums)
            if sums[0] <= 0.0:
                break
            mx, my = sums[1] / sums[0], sums[2] / sums[0]
            qxx, qyy = sums[3] / sums[0] - mx * mx, sums[4] / sums[0] - my * my
            qxy, second = sums[5] / sums[0] - mx * my, 0.5 * (qxx + qyy)
            error, step = 2.0 * np.sqrt(sums[6]) / sums[0], 2.0 * (abs(mx) + abs(my))
            away = max(abs(x + 2.0 * mx - columns[n]), abs(y + 2.0 * my - rows[n]))
            if second <= 0.05 or away > room:
                step = np.inf
                break
            # A window of the source's own width halves the second moment.
            change = min(max(np.sqrt(2.0 * second), 0.8), 25.0) / sigma - 1.0
            x, y, sigma = x + 2.0 * mx, y + 2.0 * my, sigma * (1.0 + 0.7 * change)
            if step < SMALL_STEP * sigma and abs(change) < 3e-3:
                break
        settled = 1.0 if step < LARGEST_STEP * sigma else 0.0
        spread = np.sqrt((qxx - qyy) ** 2 + 4.0 * qxy * qxy) / max(qxx + qyy, 1e-9)
        # The whole window, cut at 3 sigma, sums to 2 pi sigma^2 (1 - exp(-9 / 2)).
        masked = 1.0 - sums[7] / (2.0 * np.pi * sigma * sigma * 0.98889)
        ellipticity = 1.0 - np.sqrt(max(1.0 - spread, 0.0) / (1.0 + spread))
        angle = 0.5 * np.degrees(np.arctan2(2.0 * qxy, qxx - qyy))
        found = out[n]
        found[0], found[1], found[2], found[3] = x, y, error, sigma
        found[4], found[5], found[6], found[7] = ellipticity, angle, settled, masked
    return out
