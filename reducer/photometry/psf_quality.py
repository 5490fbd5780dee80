"""How good each fitted star is: errors with its neighbours', residual, sharpness, crowding, groups, flags."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from reducer.photometry.psf import Psf, draw, local_table, nodes_for
from reducer.photometry.psf_fit import FIT, KEPT, SOFT, Scene, pixels
from reducer.sources import AT_EDGE, BLENDED, ON_BAD_PIXEL, TOO_SHARP, places_of
from reducer.types import F64, Table

#: Flags beside those of a source: wider than a star; what is left of it is far beyond the noise.
EXTENDED, POOR_FIT = 64, 128
#: How near another star is that makes a blend, FWHM.
BLEND = 1.5
#: Chi and sharpness beyond which a fit is flagged, and by how many errors the latter.
MOST_CHI, MOST_SHARP, CERTAIN = 4.0, 0.35, 4.0
#: The part of a core that has to be seen; of its light, that of a neighbour that is worth a flag.
MOST_SEEN, DISTURBS = 0.9, 0.05
#: Neighbours whose light is fitted with a star's when errors are told, at most.
MOST_NEIGHBOURS = 6


@njit(cache=True, nogil=True)
def _errors(design, weight, variance, out):  # type: ignore[no-untyped-def]
    """Variances of the first three parameters of a weighted fit by a design (parameters, pixels)."""
    count = len(design)
    normal, square = np.zeros((count, count)), np.zeros((count, count))
    for k in range(len(weight)):
        for a in range(count):
            if design[a, k] == 0.0:
                continue
            for b in range(count):
                normal[a, b] += weight[k] * design[a, k] * design[b, k]
                square[a, b] += weight[k] ** 2 * variance[k] * design[a, k] * design[b, k]
    scale = np.sqrt(np.diag(normal)) + 1e-30
    inverse = np.linalg.pinv(normal / np.outer(scale, scale), 1e-8) / np.outer(scale, scale)
    covariance = inverse @ square @ inverse
    for a in range(3):
        out[a] = covariance[a, a]


@njit(cache=True, nogil=True)
def _shape(image, along, across, left, total, weight, flux, dx, dy, out):  # type: ignore[no-untyped-def]
    """Sharpness, its error and the light with the neighbours' of a star's pixels (n,), into ``out``.

    A star a part s wider has as much more of s (r dP/dr + 2 P) outside, and less inside.
    """
    pp, pd, dd, rd, pt = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(image)):
        wider = dx[k] * along[k] + dy[k] * across[k] - 2.0 * image[k]
        pp += weight[k] * image[k] ** 2
        pd += weight[k] * image[k] * wider
        pt += weight[k] * image[k] * total[k]
    for k in range(len(image)):
        wider = dx[k] * along[k] + dy[k] * across[k] - 2.0 * image[k] - image[k] * pd / pp
        dd += weight[k] * wider**2
        rd += weight[k] * wider * left[k]
    out[0], out[1], out[2] = rd / (flux * dd), 1.0 / (flux * np.sqrt(dd)), pt / pp


@njit(cache=True, nogil=True)
def _lay_out(star, bad, column, row, table, room, patch):  # type: ignore[no-untyped-def]
    """A star's image and its change with its place, where it is fitted, into a patch (3, side, side) about a
    pixel; returns what of the sum of its squares is on good pixels, and all of it."""
    height, width = bad.shape
    x, y, flux, radius = star["x"], star["y"], star["flux"], star["radius"]
    r, side = int(radius) + 1, patch.shape[1]
    draw(table, x, y, r, room[0, : 2 * r + 1, : 2 * r + 1], room[1], room[2])
    left, low = int(np.floor(x + 0.5)) - r, int(np.floor(y + 0.5)) - r
    seen, whole = 0.0, 0.0
    for b in range(2 * r + 1):
        for a in range(2 * r + 1):
            i, j = left + a, low + b
            if (i - x) ** 2 + (j - y) ** 2 > radius * radius:
                continue
            whole += room[0, b, a] ** 2
            if i < 0 or j < 0 or i >= width or j >= height or bad[j, i]:
                continue
            seen += room[0, b, a] ** 2
            pi, pj = i - column + side // 2, j - row + side // 2
            if 0 <= pi < side and 0 <= pj < side:
                patch[0, pj, pi] = room[0, b, a]
                patch[1, pj, pi] = flux * room[1, b, a]
                patch[2, pj, pi] = flux * room[2, b, a]
    return seen, whole


@njit(cache=True, nogil=True)
def _tell(data, model, variance, star, patch, column, row, out):  # type: ignore[no-untyped-def]
    """What the pixels of a patch say of the first of its stars, into ``out`` (9,)."""
    half = patch.shape[1] // 2
    rows, columns = np.nonzero(np.sum(np.abs(patch), axis=0) > 0.0)
    if len(rows) < 4:
        return
    pixels, design = np.zeros((5, len(rows))), np.zeros((len(patch), len(rows)))
    for k in range(len(rows)):
        j, i = rows[k] + row - half, columns[k] + column - half
        pixels[0, k], pixels[1, k] = data[j, i] - model[j, i], model[j, i]
        pixels[2, k] = variance[j, i]
        pixels[3, k], pixels[4, k] = i - star["x"], j - star["y"]
        design[:, k] = patch[:, rows[k], columns[k]]
    weight = 1.0 / (pixels[2] + (SOFT * pixels[1]) ** 2)
    _errors(design, weight, pixels[2], out)
    own = design[0] != 0.0
    left, light = pixels[0][own], star["flux"]
    if np.sum(own) < 4:
        return
    out[3] = np.sqrt(np.sum(left**2 / pixels[2][own]) / max(np.sum(own) - 3, 1))
    total = pixels[1][own] + left
    along, across = design[1][own] / light, design[2][own] / light
    _shape(design[0][own], along, across, left, total, weight[own], light, pixels[3][own], pixels[4][own],
           out[4:7])  # fmt: skip
    out[8] = np.sum(own)


@njit(cache=True, nogil=True)
def examine_stars(data, model, variance, bad, stars, near, tables, powers, frame, found):  # type: ignore[no-untyped-def]
    """What the pixels say of each fitted star, ``found`` (n, 9): variances of light, x and y, chi, sharpness
    and its error, light with the neighbours', the part of its core that is seen, pixels.

    ``near`` (n, k): numbers of the stars about each that are fitted with it, -1 for none.
    """
    table = np.zeros(tables.shape[1:])
    widest = int(np.max(stars["radius"])) + 1 if len(stars) else 1
    room = np.zeros((3, 2 * widest + 1, 2 * widest + 1))
    maps = np.zeros((3 * (near.shape[1] + 1), 4 * widest + 1, 4 * widest + 1))
    for n in range(len(stars)):
        column, row = int(np.floor(stars[n]["x"] + 0.5)), int(np.floor(stars[n]["y"] + 0.5))
        reach = 2 * (int(stars[n]["radius"]) + 1)
        patch = maps[:, : 2 * reach + 1, : 2 * reach + 1]
        patch[:] = 0.0
        members = 0
        for which in range(near.shape[1] + 1):
            m = n if which == 0 else near[n, which - 1]
            if m < 0:
                break
            nodes = nodes_for(int(stars[m]["radius"]) + 1)
            local_table(tables, powers, frame, stars[m]["x"], stars[m]["y"], nodes, table)
            seen, whole = _lay_out(stars[m], bad, column, row, table, room, patch[3 * which : 3 * which + 3])
            if which == 0:
                found[n, 7] = seen / whole
            members += 1
        _tell(data, model, variance, stars[n], patch[: 3 * members], column, row, found[n])


def judge(scene: Scene, stars: Table, psf: Psf) -> Table:
    """The stars, brightest first, with their errors, what is left of them, and flags."""
    stars = stars[np.argsort(-stars["flux"], kind="stable")]
    if not len(stars):
        return stars
    near = _neighbours(stars, 2.0 * FIT * psf.fwhm)
    found = np.zeros((len(stars), 9))
    examine_stars(scene.data, scene.model, scene.variance, scene.bad, stars, near, psf.tables, psf.powers,
                  psf.frame, found)  # fmt: skip
    told = (found[:, 8] >= 4) & (found[:, 0] > 0)
    stars, found = stars[told], found[told]
    spread = scene.correlated * np.sqrt(np.maximum(found[:, :3], 0.0))
    stars["error"], stars["x_error"], stars["y_error"] = spread.T
    stars["chi"], stars["sharp"], stars["seen"] = found[:, 3], found[:, 4], found[:, 7]
    with np.errstate(invalid="ignore", divide="ignore"):
        stars["crowding"] = np.maximum(2.5 * np.log10(found[:, 6] / stars["flux"]), 0.0)
    stars["background"] = scene.background[pixels(stars, scene)]
    stars["flags"] |= _flags(stars, found, scene, psf)
    _number_groups(stars, FIT * psf.fwhm)
    kept: Table = stars[stars["flux"] > KEPT * stars["error"]]
    return kept


def _neighbours(stars: Table, reach: float) -> NDArray[np.int64]:
    """The nearest few stars about each, (n, MOST_NEIGHBOURS), -1 for none; faint ones are left out."""
    count = min(MOST_NEIGHBOURS + 1, len(stars))
    away, which = cKDTree(places_of(stars)).query(places_of(stars), k=np.arange(1, count + 1))
    near = np.full((len(stars), MOST_NEIGHBOURS), -1, np.int64)
    near[:, : count - 1] = np.where(away[:, 1:] < reach, which[:, 1:], -1)
    return near


def _flags(stars: Table, found: F64, scene: Scene, psf: Psf) -> NDArray[np.int64]:
    height, width = scene.data.shape
    edge = np.minimum.reduce([stars["x"], stars["y"], width - 1 - stars["x"], height - 1 - stars["y"]])
    flags = np.where(edge < psf.fwhm, AT_EDGE, 0) | np.where(stars["seen"] < MOST_SEEN, ON_BAD_PIXEL, 0)
    wide = np.abs(stars["sharp"]) > np.maximum(MOST_SHARP, CERTAIN * found[:, 5] * scene.correlated)
    flags |= np.where(wide, np.where(stars["sharp"] > 0, EXTENDED, TOO_SHARP), 0)
    # What is left of a bright star is a part of its light as well.
    flags |= np.where(
        stars["chi"] > MOST_CHI * (1.0 + SOFT * stars["flux"] / stars["error"] / 20.0), POOR_FIT, 0
    )
    for first, second in cKDTree(places_of(stars)).query_pairs(BLEND * psf.fwhm):
        for one, other in ((first, second), (second, first)):
            if stars["flux"][other] > DISTURBS * stars["flux"][one]:
                flags[one] |= BLENDED
    return np.asarray(flags)


def _number_groups(stars: Table, reach: float) -> None:
    """Number the stars that touch one another, and count them."""
    pairs = cKDTree(places_of(stars)).query_pairs(reach, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(stars), len(stars)))
    _, group = connected_components(links, directed=False)
    stars["group"] = group + 1
    stars["members"] = np.bincount(group)[group]
