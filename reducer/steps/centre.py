"""Centres and shapes of sources by a window that takes their own width."""

from __future__ import annotations

import numpy as np
from numba import njit

#: Rounds of centring, at most; steps below these parts of the width end them, or are let pass at the end.
ROUNDS, SMALL_STEP, LARGEST_STEP = 120, 6e-5, 1e-3
#: Sums over a window: light, x, y, xx, yy, xy, variance of the centroid, and the window over good pixels.
SUMS = 8


@njit(cache=True, nogil=True)
def _sum_window(image, noise, bad, x, y, sigma, sums):  # type: ignore[no-untyped-def]
    """Moments about (x, y) under a Gaussian window cut at 3 sigma, into ``sums``.

    Bad pixels are filled with the window's own shape, so that they do not pull the centre.
    """
    height, width = image.shape
    reach = int(3.0 * sigma) + 1
    sums[:] = 0.0
    fill, square = np.zeros(6), 0.0
    for j in range(max(int(y) - reach, 0), min(int(y) + reach + 2, height)):
        for i in range(max(int(x) - reach, 0), min(int(x) + reach + 2, width)):
            dx, dy = i - x, j - y
            r2 = (dx * dx + dy * dy) / (sigma * sigma)
            if r2 > 9.0:
                continue
            weight = np.exp(-0.5 * r2)
            value = weight * weight if bad[j, i] else weight * image[j, i]
            target = fill if bad[j, i] else sums
            target[0] += value
            target[1] += value * dx
            target[2] += value * dy
            target[3] += value * dx * dx
            target[4] += value * dy * dy
            target[5] += value * dx * dy
            if not bad[j, i]:
                sums[6] += (weight * noise[j, i]) ** 2 * 0.5 * (dx * dx + dy * dy)
                sums[7] += weight
                square += weight * weight
    if square > 0.0:
        sums[:6] += sums[0] / square * fill


@njit(cache=True, nogil=True)
def centre_sources(image, noise, bad, columns, rows, widths):  # type: ignore[no-untyped-def]
    """Centres and shapes by a round Gaussian window that takes the width of the source.

    ``columns``, ``rows``: pixels to start from; ``widths``: sigmas to start from, pixels. Returns (n, 8):
    x, y, error of the centre per axis, sigma, ellipticity, angle in degrees, 1 if it settled, and the share
    of the window that is masked or off the image. A matched window's centroid has nearly the least error
    possible for a round image (Bernstein & Jarvis 2002, AJ 123, 583).
    """
    out, sums = np.zeros((len(columns), 8)), np.zeros(SUMS)
    for n in range(len(columns)):
        x, y, sigma = float(columns[n]), float(rows[n]), min(max(widths[n], 1.0), 20.0)
        room, step, settled = 3.0 * widths[n] + 3.0, np.inf, 0.0
        qxx, qyy, qxy, error = 1.0, 1.0, 0.0, 0.0
        for _ in range(ROUNDS):
            _sum_window(image, noise, bad, x, y, sigma, sums)
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
        out[n] = x, y, error, sigma, ellipticity, angle, settled, masked
    return out
