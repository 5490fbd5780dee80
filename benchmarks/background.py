"""Noise, outliers and levels of a stack's background against the truth and against what its VAR says."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

#: Pixels of a strip on either side of a coverage step.
STRIP = 64


def report_noise(stack, residual, model, count):
    """Noise per pixel and of n x n means over VAR, outliers, and background by coverage."""
    clean = (stack.mask == 0) & (stack.variance > 0)
    quiet = clean & (ndimage.maximum_filter(model, 9) < 60)
    if not quiet.any():
        quiet = clean & (model < np.median(model[clean]) + 30)
    deep = quiet & (count >= 4)
    flat = residual - smooth(residual, quiet, 192)
    sigma = np.sqrt(np.where(stack.variance > 0, stack.variance, 1))
    rows = {"noise per pixel, e": spread_of(flat[deep]), "sqrt(VAR) per pixel, e": np.median(sigma[deep])}
    ratios, corrected = [], []
    for n in (1, 4, 16, 32):
        value = spread_of(block(flat, stack.variance, deep, n))
        ratios.append(f"{value:.2f}")
        taken = expected_flattening(stack, deep, lambda image: smooth(image, quiet, 192), block, n)
        corrected.append(f"{value / taken / (stack.noise.get(n, 1.0) if n > 1 else 1.0):.2f}")
    rows["noise/sqrt(VAR) 1, 4, 16, 32"] = " ".join(ratios)
    rows["the same over table NOISE"] = " ".join(corrected)
    rows["coverage steps, e (errors)"] = coverage_steps(
        flat, quiet, count, stack.variance, stack.noise.get(64, 1.0)
    )
    groups = [ndimage.label((s * flat / sigma > limit) & deep)[1] for s, limit in ((1, 6), (1, 10), (-1, 6))]
    rows["groups > 6, > 10, < -6 sigma"] = (
        f"{groups[0]} {groups[1]} {groups[2]} on {deep.sum() / 1e6:.1f} Mpix"
    )
    for coverage in range(1, int(count.max()) + 1):
        here = quiet & (count == coverage)
        if here.sum() > 2000:
            lows = [
                np.median(residual[here & part]) for part in quarters(here.shape) if (here & part).sum() > 500
            ]
            rows[f"background at coverage {coverage}, e"] = f"{min(lows):+.1f}..{max(lows):+.1f}"
    return rows


def quarters(shape):
    """Masks of the four quarters of an image, where the arrays are."""
    ny, nx = shape
    rows, columns = np.arange(ny)[:, None] < ny // 2, np.arange(nx)[None, :] < nx // 2
    return [rows & columns, rows & ~columns, ~rows & columns, ~rows & ~columns]


def spread_of(values):
    """Robust standard deviation."""
    values = values[np.isfinite(values)]
    return 1.4826 * np.median(np.abs(values - np.median(values))) if len(values) else np.nan


def smooth(image, good, size):
    """Medians of squares of ``size`` pixels, interpolated."""
    ny, nx = (length // size + 1 for length in image.shape)
    grid = np.zeros((ny, nx))
    for j in range(ny):
        for i in range(nx):
            part = np.s_[j * size : (j + 1) * size, i * size : (i + 1) * size]
            values = image[part][good[part]]
            grid[j, i] = np.median(values) if len(values) > 200 else np.nan
    grid = np.where(np.isfinite(grid), grid, np.nanmedian(grid))
    rows = (np.arange(image.shape[0]) + 0.5) / size - 0.5
    columns = (np.arange(image.shape[1]) + 0.5) / size - 0.5
    at = np.meshgrid(rows, columns, indexing="ij")
    return ndimage.map_coordinates(grid, at, order=1, mode="nearest").astype(np.float32)


def block(image, variance, good, n):
    """Means of n x n pixels over sqrt(mean VAR) / n, where all pixels are good (nine tenths for n > 8)."""
    ny, nx = (length // n * n for length in image.shape)

    def fold(a):
        return a[:ny, :nx].reshape(ny // n, n, nx // n, n).sum(axis=(1, 3))

    used = fold(good.astype("f4"))
    total, spread = (
        fold(np.where(good, image, 0).astype("f8")),
        fold(np.where(good, variance, 0).astype("f8")),
    )
    full = used >= (0.9 if n > 8 else 1.0) * n * n
    return (total[full] / np.sqrt(spread[full])).ravel()


def coverage_steps(residual, quiet, count, variance, ratio):
    """The largest difference of medians of strips on either side of a coverage step, electrons, and in its
    standard errors; each step within a quarter of the image is taken by itself."""
    worst, sigmas, steps = 0.0, 0.0, 0
    ny, nx = count.shape
    for rows in (slice(0, ny // 2), slice(ny // 2, ny)):
        for columns in (slice(0, nx // 2), slice(nx // 2, nx)):
            part = np.s_[rows, columns]
            for low in range(1, int(count.max())):
                sides = [count[part] == low, count[part] == low + 1]
                strips = [
                    side & quiet[part] & (ndimage.distance_transform_edt(~other) < STRIP)
                    for side, other in (sides, sides[::-1])
                ]
                if min(strip.sum() for strip in strips) < 3000:
                    continue
                values = [residual[part][strip] for strip in strips]
                errors = [
                    1.25 * ratio * np.sqrt(variance[part][strip].mean() / strip.sum()) for strip in strips
                ]
                gap, error = abs(np.median(values[0]) - np.median(values[1])), np.hypot(*errors)
                worst, sigmas, steps = max(worst, gap), max(sigmas, gap / error), steps + 1
    return f"{worst:.2f} ({sigmas:.1f}) of {steps}"


def expected_flattening(stack, deep, flatten, block, n):
    """By what flattening itself lowers the noise of n x n means where few pixels are left: of white noise as
    large as VAR says, the ratio with flattening to that without."""
    noise = np.random.default_rng(1).normal(0, 1, stack.data.shape).astype("f4")
    noise *= np.sqrt(np.maximum(stack.variance, 0))
    both = [block(image, stack.variance, deep, n) for image in (noise - flatten(noise), noise)]
    return float(np.std(both[0]) / np.std(both[1]))
