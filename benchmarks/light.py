"""Extended light in a stack against the truth: the galaxy's contrast, and what is around bright stars."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from background import smooth
from scipy import ndimage

#: Pixels along a side of the cells in which the field's light is compared.
CELL = 128
#: Part of the field, its faintest, from which contrasts are counted.
FAINTEST = 20
#: Limits: of a contrast (part of it, electrons), and of light around stars (part of the stars', electrons).
CONTRAST, HALO = (0.01, 5.0), (0.01, 0.3)
#: Magnitudes of the stars whose surroundings are looked at, the rings (arcsec), and the surroundings' own.
BRIGHT, RINGS, OUTSIDE = (14.0, 16.0), (0.5, 0.7, 1.0, 1.4, 2.0), (2.5, 3.5)
#: The halo's profile in the simulation is Moffat's of this power.
POWER = 3


def report_contrast(stack, residual, model, count):
    """The error of the light of cells against that of the faintest part of the field, over its limit."""
    clean = (stack.mask == 0) & (stack.variance > 0) & (count > 0)
    above = model - ndimage.minimum_filter(smooth(model, clean, 32), 9)
    quiet = clean & (above < 60)
    light, error = cells(model, quiet), cells(residual, quiet)
    known = np.isfinite(light)
    left = without_plane(error, known)
    light, error = light[known], error[known]
    faint = light <= np.percentile(light, FAINTEST)
    contrast, wrong = light - np.median(light[faint]), error - np.median(error[faint])
    over = np.abs(wrong) / np.maximum(CONTRAST[0] * contrast, CONTRAST[1])
    return {
        "field's light, range of cells, e": f"{contrast.min():.0f}..{contrast.max():.0f} in {light.size}",
        "its error, rms and worst, e": f"{wrong.std():.2f} {np.abs(wrong).max():.2f}",
        "without a plane, the sky's own": f"{left.std():.2f} {np.abs(left).max():.2f}",
        "slope of the error on the light": f"{np.polyfit(contrast, wrong, 1)[0]:+.5f}",
        "contrast's error over its limit": f"{np.percentile(over, 95):.2f} (worst {over.max():.2f})",
    }


def without_plane(values, known):
    """What a plane leaves of the known values of a map: the sky's own gradient is no light of the field."""
    y, x = np.nonzero(known)
    design = np.stack([np.ones(x.size), x, y], axis=1)
    return values[known] - design @ np.linalg.lstsq(design, values[known], rcond=None)[0]


def cells(image, quiet):
    """Medians of the quiet pixels of squares; NaN where fewer than a tenth are quiet."""
    ny, nx = (length // CELL for length in image.shape)
    values = np.full((ny, nx), np.nan)
    for j, i in np.ndindex(ny, nx):
        part = np.s_[j * CELL : (j + 1) * CELL, i * CELL : (i + 1) * CELL]
        if quiet[part].sum() > CELL**2 / 10:
            values[j, i] = np.median(image[part][quiet[part]])
    return values


def report_halos(stack, residual, count, truth, names, positions, magnitudes):
    """Stack minus truth in rings around bright stars, the surroundings' own taken out.

    The mean of the stars, its error and the stars' own light, electrons a pixel;
    the worst ring over its limit.
    """
    chosen = (magnitudes > BRIGHT[0]) & (magnitudes < BRIGHT[1])
    clean = (stack.mask == 0) & (stack.variance > 0) & (count > 0)
    found, own = [], []
    for (x, y), magnitude in zip(positions[chosen], magnitudes[chosen], strict=True):
        rings = around(residual, clean, x, y, stack.scale)
        if rings is not None:
            found.append(rings)
            own.append(own_light(truth, names, magnitude, stack.scale))
    found, own = np.array(found), np.mean(own, axis=0)
    mean, error = found.mean(axis=0), found.std(axis=0) / np.sqrt(len(found))
    over = np.abs(mean) / np.maximum(HALO[0] * own, HALO[1])
    shown = [" ".join(f"{value:.2f}" for value in values) for values in (mean, error, own)]
    rings = " ".join(f"{radius:g}" for radius in RINGS)
    return {
        f"around {len(found)} stars, rings of {rings}": shown[0],
        "errors of these": shown[1],
        "the stars' own light there, e": shown[2],
        "around stars, over the limit": f"{over.max():.2f}",
    }


def around(residual, clean, x, y, scale):
    """Medians of rings about a place without that of its surroundings; None where much is unknown."""
    reach = int(OUTSIDE[1] / scale) + 1
    row, column = round(y), round(x)
    if min(row, column) < reach or row + reach >= clean.shape[0] or column + reach >= clean.shape[1]:
        return None
    part = np.s_[row - reach : row + reach + 1, column - reach : column + reach + 1]
    grid = np.arange(-reach, reach + 1)
    radius = np.hypot(grid[:, None] - (y - row), grid[None, :] - (x - column)) * scale
    image, good = residual[part], clean[part]
    if good.mean() < 0.9:
        return None
    outside = np.median(image[good & (radius > OUTSIDE[0]) & (radius < OUTSIDE[1])])
    inside = [np.median(image[good & (radius > low) & (radius < high)]) for low, high in pairwise(RINGS)]
    return np.array(inside) - outside


def own_light(truth, names, magnitude, scale):
    """Mean light of a star in each ring, electrons a pixel of the stack: its halo, core long gone."""
    entry = truth.exposures[names[0]]
    zeropoint = truth.program["zeropoint_on_stack_scale"][entry["filter"]]
    total = 10 ** (0.4 * (zeropoint - magnitude)) * entry["transmission"] * entry["exptime"]
    light = []
    for name in names:
        profile = truth.exposures[name]["profile"]
        alpha = profile["halo_fwhm"] / (2 * np.sqrt(2 ** (1 / POWER) - 1))
        within = 1 - (1 + (np.array(RINGS) / alpha) ** 2) ** (1 - POWER)
        light.append((1 - profile["core_fraction"]) * np.diff(within))
    area = np.pi * np.diff(np.square(RINGS)) / scale**2
    return total * np.mean(light, axis=0) / area
