"""Depth of a stack from its own pixels: signal to noise of matched fits over the best that there could be."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from scipy import ndimage
from truth_image import fill_dead

from goafetch.practice.exposure import optics

#: Half the side of the squares in which stars are fitted, pixels; stars and blank places that are used.
HALF, MOST_STARS, PLACES = 15, 24, 4000
#: Electrons of model light above which a place is not blank.
BLANK = 60.0
#: Read modes by the number of non-destructive reads.
MODES = {2: "Bright Objects", 8: "Faint Objects", 16: "Very Faint Objects"}


def image_depth(stack, truth, names, skies, model, count, stars):
    """Matched-fit signal to noise of faint stars in a stack over that in its exposures, the median of stars.

    ``stars``: pixels (n, 2) and places on the truth's plane (n, 2) of bright isolated ones, whose noiseless
    images are the profiles; the noise is that of the stack at blank places of the same quarter.
    """
    residual = stack.data - model
    light = ndimage.maximum_filter(model, 2 * HALF + 1)
    whole = ndimage.minimum_filter(((stack.mask == 0) & (count == count.max())).astype("u1"), 2 * HALF + 1)
    floor = np.median(model[whole > 0])
    blank = (whole > 0) & (light < floor + BLANK)
    ratios = []
    for (x, y), place in zip(*stars, strict=True):
        if not whole[round(y), round(x)]:
            continue
        best = ideal_signal(truth, names, skies, place)
        if best is not None:
            ratios.append(found_signal(residual, model, blank, x, y) / best)
        if len(ratios) == MOST_STARS:
            break
    return np.nanmedian(ratios), len(ratios)


def found_signal(residual, model, blank, x, y):
    """Signal to noise in the stack of a star of this image on a blank sky; NaN without blank places."""
    rows, columns = near(blank, x, y)
    if len(rows) < PLACES // 8:
        return np.nan
    profile = cut(model, round(y), round(x))
    noise = [(profile * cut(residual, j, i)).sum() for j, i in zip(rows, columns, strict=True)]
    return (profile**2).sum() / (1.4826 * np.median(np.abs(noise - np.median(noise))))


def near(blank, x, y):
    """Rows and columns of blank places in the quarter of an image where (x, y) is."""
    ny, nx = blank.shape
    top, left = (y > ny / 2) * (ny // 2), (x > nx / 2) * (nx // 2)
    rows, columns = np.nonzero(blank[top : top + ny // 2, left : left + nx // 2])
    some = np.random.default_rng(1).permutation(len(rows))[:PLACES]
    return rows[some] + top, columns[some] + left


def cut(image, row, column):
    """A square of an image about a pixel, less its mean: no background enters a fit."""
    part = image[row - HALF : row + HALF + 1, column - HALF : column + HALF + 1].astype(float)
    return part - part.mean()


def ideal_signal(truth, names, skies, place):
    """Signal to noise of the best fit to a star in all exposures, with their true images and variances, each
    sky the noise-optimal mean of ``skies``; None where one does not see it."""
    total = 0.0
    for name in names:
        found = on_array(truth, name, place)
        if found is None:
            return None
        array, x, y = found
        part = noiseless_cut(truth, name, array, y, x)
        own = variance_of(truth, name, array, x, y)
        pattern = 1.0 / sum(1.0 / variance_of(truth, sky, array, x, y) for sky in skies)
        total += (part**2).sum() / (own + pattern)
    return np.sqrt(total)


@cache
def detector(folder, name):
    """A map of the simulated arrays (4, 2048, 2048), kept."""
    with np.load(folder / "detector.npz") as content:
        return content[name]


def noiseless_cut(truth, name, array, y, x):
    """A square of an exposure's noiseless, flat-fielded image about a pixel, less its mean."""
    entry = truth.exposures[name]
    left, low, *_ = entry["regions"][array]
    rows, columns = (slice(at - HALF, at + HALF + 1) for at in (y + low - 1, x + left - 1))
    as_read = np.s_[array, y - HALF : y + HALF + 1, x - HALF : x + HALF + 1]
    light = np.load(truth.folder / "noiseless" / f"{name}.npy", mmap_mode="r")[as_read]
    response = detector(truth.folder, "response")[array, rows, columns]
    light = light - detector(truth.folder, "dark")[array, rows, columns] * entry["exptime"]
    light = fill_dead(light / np.where(response > 0.2, response, np.nan))
    gx, gy = np.meshgrid(
        np.arange(2 * HALF + 1.0) + columns.start + 1, np.arange(2 * HALF + 1.0) + rows.start + 1
    )
    area = np.abs(np.linalg.det(optics.static_jacobian(array, gx.ravel(), gy.ravel()))).reshape(light.shape)
    filter_name = entry["filter"]
    scale = truth.program["flat_median_area"][filter_name] / truth.program["sensitivity"][filter_name][array]
    part = light / area * scale
    return part - part.mean()


def on_array(truth, name, place):
    """The array (0..3) and the nearest pixel (0-based, as read) on which an exposure has a place."""
    static = truth.mapping(name).to_static(*(np.array([value]) for value in place))
    for array, region in enumerate(truth.exposures[name]["regions"]):
        x, y = (float(value[0]) for value in optics.static_to_pixel(array, *static))
        x, y = round(x - region[0]), round(y - region[1])
        if HALF < x < region[2] - HALF - 1 and HALF < y < region[3] - HALF - 1:
            return array, x, y
    return None


def variance_of(truth, name, array, x, y):
    """Variance of a flat-fielded pixel of an exposure's sky near a pixel, electrons squared."""
    entry = truth.exposures[name]
    left, low, _, _ = entry["regions"][array]
    part = np.s_[y + low - 1 - HALF : y + low + HALF, x + left - 1 - HALF : x + left + HALF]
    response = np.median(detector(truth.folder, "response")[array][part])
    jacobian = optics.static_jacobian(array, np.array([x + left]), np.array([y + low]))
    area = abs(np.linalg.det(jacobian[0]))
    flat = response * truth.program["sensitivity"][entry["filter"]][array] * area
    flat /= truth.program["flat_median_area"][entry["filter"]]
    sky = entry["sky_electrons"] / 0.0197**2 * truth.program["flat_median_area"][entry["filter"]]
    coadds = entry["coadds"]
    return sky / flat / coadds + read_noise(array) ** 2 / flat**2 / coadds


def read_noise(array, reads=2):
    """Electrons of one coadd of an array, as the instrument's table has it."""
    path = Path(__file__).parent.parent / "reducer" / "instruments" / "gsaoi" / "arrays.json"
    arrays = list(json.loads(path.read_text())["array_properties"].values())
    return arrays[array]["read_noise_e_single_coadd"][MODES[reads]]
