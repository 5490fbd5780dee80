"""A stack's catalogue of sources against the truth: which stars are in it, and their total light."""

from __future__ import annotations

import numpy as np
from astropy.io import fits
from scipy import ndimage
from scipy.spatial import cKDTree

#: Magnitudes about which stars are counted, half the width of a bin, and arcsec within which one is found.
MAGNITUDES, HALF_BIN, FOUND = (19.0, 20.0, 20.5, 21.0, 21.5), 0.25, 0.05
#: Pixels to the edge and about bad ones that do not count.
EDGE, CLEAR = 20, 9
#: Magnitudes between which total light is compared.
BRIGHT, FAINT = (14.6, 17.5), (18.0, 19.0)


def report_catalogue(stack, truth, name, catalogue, to_pixels):
    """The part of the stars that is found and that COMPLETENESS states, and total light over the true.

    ``to_pixels(numbers)``: 0-based pixels (n, 2) of stars of the truth's ``catalogue``; ``name``: the
    reference exposure. A source is the brightest star within its place: one right beside that is not found.
    """
    with fits.open(stack.path) as file:
        objects = file["OBJCAT"].data
        table = file["COMPLETENESS"].data if "COMPLETENESS" in file else None
    entry = truth.exposures[name]
    zeropoint = truth.program["zeropoint_on_stack_scale"][entry["filter"]]
    magnitude = catalogue["magnitude"]
    light = 10 ** (0.4 * (zeropoint - magnitude)) * entry["transmission"] * entry["exptime"]
    pixels = to_pixels(np.arange(len(magnitude)))
    source = matches(pixels, light, np.c_[objects["X_IMAGE"], objects["Y_IMAGE"]] - 1, FOUND / stack.scale)
    clean = on_clean(stack, pixels)
    found, stated = [], []
    for middle in MAGNITUDES:
        here = clean & (np.abs(magnitude - middle) < HALF_BIN)
        part = (source[here] >= 0).mean()
        found.append(f"{100 * part:.1f}")
        if table is not None:
            said = np.interp(np.log(light[here]), np.log(table["FLUX"]), table["FRACTION"], left=0, right=1)
            stated.append(f"{100 * said.mean():.1f}")
    totals = []
    for low, high in (BRIGHT, FAINT):
        here = clean & (source >= 0) & (magnitude > low) & (magnitude < high)
        totals.append(np.median(objects["FLUX_TOTAL"][source[here]] / light[here]))
    return {
        "found at 19, 20, 20.5, 21, 21.5 mag, %": " ".join(found),
        "stated by COMPLETENESS, %": " ".join(stated),
        "total light 14.6-17.5, 18-19, over truth": " ".join(f"{value:.3f}" for value in totals),
    }


def matches(pixels, light, places, radius):
    """The source (n,) of each star, -1 for none: the nearest, if no brighter star is there."""
    gap, source = cKDTree(places).query(pixels)
    near = cKDTree(pixels).query_ball_point(places, radius)
    owner = np.array([max(index, key=lambda k: light[k], default=-1) for index in near])
    mine = (gap < radius) & (owner[source] == np.arange(len(pixels)))
    return np.where(mine, source, -1)


def on_clean(stack, pixels):
    """Whether places (n, 2) lie well on the image and on no bad pixel."""
    height, width = stack.mask.shape
    x, y = np.rint(pixels).astype(int).T
    inside = (x >= EDGE) & (y >= EDGE) & (x < width - EDGE) & (y < height - EDGE)
    bad = ndimage.maximum_filter((stack.mask != 0).astype("u1"), CLEAR)
    clean = inside.copy()
    clean[inside] = bad[y[inside], x[inside]] == 0
    return clean
