"""Stars of an image fitted all together with its PSF: found, fitted, subtracted, found in what is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from reducer import dq
from reducer.photometry.psf import (
    MIDDLE,
    REACH,
    WING_END,
    Psf,
    add_star,
    add_stars,
    add_wing,
    draw,
    first_psf,
    improve,
    local_table,
    nodes_for,
    order_for,
)
from reducer.sources import IS_SATURATED, places_of
from reducer.types import F32, F64, U16, Table

# --- stars -----------------------------------------------------------------------------------------

#: A fitted star. Its flags are a source's (``reducer.sources``), EXTENDED and POOR_FIT (``psf_quality``).
STAR = np.dtype(
    [
        ("x", "f8"),  # 0-based pixel
        ("y", "f8"),
        ("x_error", "f8"),
        ("y_error", "f8"),
        ("flux", "f8"),  # light, in what a PSF of sum 1 would have
        ("error", "f8"),
        ("background", "f8"),  # electrons per pixel beneath it
        ("chi", "f8"),  # rms of what is left over the noise
        ("sharp", "f8"),  # by what part it is wider than the PSF
        ("crowding", "f8"),  # magnitudes that it would gain by its neighbours' light
        ("group", "i4"),  # number of the stars that touch each other, and how many they are
        ("members", "i4"),
        ("seen", "f8"),  # the part of its core that is on good pixels
        ("reach", "i8"),  # pixels out to which it is drawn
        ("radius", "f8"),  # pixels within which it is fitted
        ("flags", "i4"),
    ]
)

#: In FWHM: the radius of the fit, and how near two stars may settle.
FIT, SAME = 1.3, 0.45
#: Sigmas of a first star, of one found when brighter ones are subtracted, and of one that is kept.
BRIGHT, THRESHOLD, KEPT = 15.0, 4.5, 4.0
#: By what part of its light an image may depart from the PSF, pixel by pixel, and as a whole beside it; the
#: part of a star's own peak that this may be within BESIDE FWHM of it.
SOFT, ROUGH, LEFT, BESIDE = 0.02, 0.20, 0.03, 1.5
#: Sides of the squares of the background, pixels, and FWHM of the level that bright stars are sought above.
MESH, WIDER = 48, 2.2
#: Rounds of the fit while stars are still sought, and at last; steps (pixels, parts of the error) that end
#: it.
SOME_ROUNDS, ALL_ROUNDS, STILL = 8, 30, 2e-3
#: How often stars are sought in what is left.
SEARCHES = 3
#: Orders over the field with which the PSF is mended in turn.
MENDED = (1, 2, 3)
#: How far from its peak a star may go, FWHM.
STRAYED = 1.2
#: Down to what part of a pixel's noise a star is drawn, and how far, pixels, while it moves.
DRAWN, NEAR = 0.1, 24
_GAUSSIAN = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class Image:
    """An image (ny, nx) to be fitted: ``data`` and ``variance`` of its pixels, ``mask``, and by how much the
    correlation of its pixels raises the noise of what is as large as a star's core."""

    data: F32
    variance: F32
    mask: U16
    correlated: float = 1.0

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Where there is no measurement."""
        return np.asarray(((self.mask & dq.UNUSABLE) != 0) | ~(self.variance > 0) | ~np.isfinite(self.data))


@dataclass
class Scene:
    """An image as it is known so far: its ``data`` without the ``background``, 0 where ``bad``; the
    ``model`` of its stars; burnt-out cores, (n, 3): column, row, radius."""

    data: F32
    variance: F32
    bad: NDArray[np.bool_]
    background: F32
    model: F32
    burnt: F64
    correlated: float

    def residual(self) -> F32:
        """What no star accounts for, 0 where bad."""
        return np.where(self.bad, np.float32(0.0), self.data - self.model)


def begin(image: Image) -> Scene:
    """The scene of an image before any star is known."""
    bad = image.bad
    data = np.where(bad, np.float32(0.0), image.data)
    scene = Scene(data, np.where(bad, np.float32(0.0), image.variance), bad, np.zeros_like(data),
                  np.zeros_like(data), _burnt_cores(image.mask), image.correlated)  # fmt: skip
    level_background(scene, 2 * MESH)
    return scene


def level_background(scene: Scene, mesh: int = MESH) -> None:
    """Take the smooth light that no star accounts for into the background."""
    left = np.ascontiguousarray(scene.residual())
    side = min(mesh, *left.shape)
    smooth = sep.Background(left, mask=scene.bad, bw=side, bh=side, fw=3, fh=3).back()
    scene.background += smooth
    scene.data -= np.where(scene.bad, np.float32(0.0), smooth)


def _burnt_cores(mask: U16) -> F64:
    """Places and radii of patches of saturated pixels, (n, 3)."""
    patches, count = ndimage.label((mask & dq.SATURATED) != 0, np.ones((3, 3)))
    if not count:
        return np.zeros((0, 3))
    numbers = np.arange(1, count + 1)
    area = np.bincount(patches.ravel(), minlength=count + 1)[1:]
    middle = np.array(ndimage.center_of_mass(patches > 0, patches, numbers))
    return np.column_stack([middle[:, ::-1], np.sqrt(area / np.pi)])


# --- finding ---------------------------------------------------------------------------------------


def find_in_residual(scene: Scene, fwhm: float, threshold: float, *, steep: bool = False) -> F64:
    """Places and sigmas (n, 3) of peaks in what no star accounts for, by a filter as wide as a star's core.

    ``steep``: only what rises above its own surroundings counts, where halos are not subtracted yet.
    """
    left, narrow = scene.residual(), fwhm / _GAUSSIAN
    if steep:
        wide = WIDER * narrow
        cover = ndimage.gaussian_filter((~scene.bad).astype(np.float32), wide, truncate=3.0)
        smooth = ndimage.gaussian_filter(left, wide, truncate=3.0) / np.maximum(cover, np.float32(1e-3))
        left = np.where(scene.bad, np.float32(0.0), left - smooth)
    weight = np.zeros_like(left)
    np.divide(np.float32(1.0), scene.variance, out=weight, where=~scene.bad)
    signal = ndimage.gaussian_filter(left * weight, narrow, truncate=3.0)
    known = ndimage.gaussian_filter(scene.model * weight, narrow, truncate=3.0)
    # The sum of a Gaussian's squares is 1 / (4 pi sigma^2): its square is the narrower one.
    power = ndimage.gaussian_filter(weight, narrow / np.sqrt(2.0), truncate=3.0) / (4.0 * np.pi * narrow**2)
    sigma = scene.correlated * np.sqrt(np.maximum(power, np.float32(1e-30)))
    peak = signal == ndimage.maximum_filter(signal, 3)
    beside = ndimage.maximum_filter(known, 2 * round(BESIDE * fwhm) + 1)
    peak &= (signal > threshold * sigma) & (signal > np.maximum(ROUGH * known, LEFT * beside)) & ~scene.bad
    row, column = np.nonzero(peak)
    inside = (row > 0) & (column > 0) & (row < left.shape[0] - 1) & (column < left.shape[1] - 1)
    row, column = row[inside], column[inside]
    x = column + _vertex(signal[row, column - 1], signal[row, column], signal[row, column + 1])
    y = row + _vertex(signal[row - 1, column], signal[row, column], signal[row + 1, column])
    return np.column_stack([x, y, signal[row, column] / sigma[row, column]])


def _vertex(before: F32, middle: F32, after: F32) -> F64:
    """How far from the middle of three values the top of their parabola lies."""
    bend = 2.0 * middle - before - after
    return np.asarray(np.clip(0.5 * (after - before) / np.maximum(bend, 1e-30), -0.5, 0.5), float)


def new_stars(scene: Scene, peaks: F64, known: Table, psf: Psf) -> Table:
    """Stars at peaks (n, 3), pixels and height, that are not those of known ones nor of burnt-out cores."""
    peaks = peaks[np.argsort(-peaks[:, 2], kind="stable")]
    if len(scene.burnt):
        away, which = cKDTree(scene.burnt[:, :2]).query(peaks[:, :2]) if len(peaks) else (0.0, 0)
        peaks = peaks[away > scene.burnt[which, 2] + psf.fwhm]
    if len(known) and len(peaks):
        others = known[(known["flags"] & IS_SATURATED) == 0]
        away = (
            cKDTree(places_of(others)).query(peaks[:, :2])[0] if len(others) else np.full(len(peaks), np.inf)
        )
        peaks = peaks[away > SAME * psf.fwhm]
    if len(peaks):
        pairs = cKDTree(peaks[:, :2]).query_pairs(SAME * psf.fwhm, output_type="ndarray")
        peaks = np.delete(peaks, np.unique(pairs[:, 1]), axis=0)
    stars = np.zeros(len(peaks), STAR)
    stars["x"], stars["y"] = peaks[:, 0], peaks[:, 1]
    stars["radius"] = FIT * psf.fwhm
    stars["reach"] = int(2 * FIT * psf.fwhm)
    return stars


def burnt_stars(scene: Scene, psf: Psf) -> Table:
    """The stars of burnt-out cores, fitted to the pixels about them."""
    stars = np.zeros(len(scene.burnt), STAR)
    stars["x"], stars["y"] = scene.burnt[:, 0], scene.burnt[:, 1]
    stars["radius"] = np.minimum(scene.burnt[:, 2] + FIT * psf.fwhm, REACH - 2)
    stars["reach"] = REACH
    stars["flags"] = IS_SATURATED
    return stars


# --- fitting ---------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _solve(normal, right, step):  # type: ignore[no-untyped-def]
    """The step (3,) of light and place; of the light alone where the place cannot be told."""
    scale = np.sqrt(np.abs(np.diag(normal))) + 1e-30
    scaled = normal / np.outer(scale, scale)
    step[:] = 0.0
    if np.linalg.det(scaled) > 1e-3:
        step[:] = np.linalg.solve(scaled, right / scale) / scale
    elif normal[0, 0] > 0.0:
        step[0] = right[0] / normal[0, 0]


@njit(cache=True, nogil=True)
def _normal(data, model, variance, bad, x, y, flux, radius, image, along, across, soft, normal, right):  # type: ignore[no-untyped-def]  # fmt: skip
    """The normal matrix (3, 3) of a star's light and place, and the right side, from what is left."""
    height, width = data.shape
    column, row, reach = int(np.floor(x + 0.5)), int(np.floor(y + 0.5)), len(image) // 2
    normal[:], right[:] = 0.0, 0.0
    for j in range(max(row - reach, 0), min(row + reach + 1, height)):
        for i in range(max(column - reach, 0), min(column + reach + 1, width)):
            if bad[j, i] or (i - x) ** 2 + (j - y) ** 2 > radius * radius:
                continue
            b, a = j - row + reach, i - column + reach
            p, gx, gy = image[b, a], flux * along[b, a], flux * across[b, a]
            w = 1.0 / (variance[j, i] + (soft * model[j, i]) ** 2)
            left = w * (data[j, i] - model[j, i])
            right[0] += p * left
            right[1] += gx * left
            right[2] += gy * left
            normal[0, 0] += w * p * p
            normal[0, 1] += w * p * gx
            normal[0, 2] += w * p * gy
            normal[1, 1] += w * gx * gx
            normal[1, 2] += w * gx * gy
            normal[2, 2] += w * gy * gy
    normal[1, 0], normal[2, 0], normal[2, 1] = normal[0, 1], normal[0, 2], normal[1, 2]


@njit(cache=True, nogil=True)
def fit_stars(data, model, variance, bad, stars, start, tables, powers, frame, wing, rounds, stray):  # type: ignore[no-untyped-def]  # fmt: skip
    """Move and weigh all stars (n,) in turn, each against what all others leave, until none moves.

    At the end it is the least-squares fit of all together. ``model`` (ny, nx) holds them before and after;
    ``start`` (n, 2): from where none goes further than ``stray`` pixels. Where light settles below 0 a star
    stays where it was found.
    """
    size = 2 * int(np.max(stars["radius"]) + 1) + 1 if len(stars) else 1
    table = np.zeros(tables.shape[1:])
    normal, right, step = np.zeros((3, 3)), np.zeros(3), np.zeros(3)
    room = np.zeros((3, size, size))
    still = np.zeros(len(stars), np.int64)
    for turn in range(rounds):
        moving = 0
        for n in range(len(stars)):
            if still[n] >= 2 and turn % 5:
                continue
            star = stars[n]
            x, y, flux, radius = star["x"], star["y"], star["flux"], star["radius"]
            reach = min(star["reach"], NEAR)  # what lies further out waits until all are drawn anew
            r = int(radius) + 1
            local_table(tables, powers, frame, x, y, nodes_for(max(reach, r)), table)
            image, along, across = room[0, : 2 * r + 1, : 2 * r + 1], room[1], room[2]
            draw(table, x, y, r, image, along, across)
            # A star that has just been found has its light first, then its place.
            placed = flux if flux > 0.0 else 0.0
            _normal(
                data, model, variance, bad, x, y, placed, radius, image, along, across, SOFT, normal, right
            )
            _solve(normal, right, step)
            if normal[0, 0] <= 0.0:
                still[n] = 2
                continue
            dx = min(max(step[1], -0.3), 0.3)
            dy = min(max(step[2], -0.3), 0.3)
            if abs(x + dx - start[n, 0]) > stray or abs(y + dy - start[n, 1]) > stray:
                dx, dy = 0.0, 0.0
            add_star(model, x, y, -flux, reach, table, wing)
            star["x"], star["y"], star["flux"] = x + dx, y + dy, flux + step[0]
            add_star(model, star["x"], star["y"], star["flux"], reach, table, wing)
            quiet = abs(step[0]) * np.sqrt(normal[0, 0]) < 10.0 * STILL + 1e-4 * abs(flux) * np.sqrt(
                normal[0, 0]
            )
            if quiet and abs(dx) < STILL and abs(dy) < STILL:
                still[n] += 1
            else:
                still[n] = 0
                moving += 1
        if moving == 0:
            break


def settle(scene: Scene, stars: Table, psf: Psf, rounds: int) -> Table:
    """The stars fitted together; those that came to nothing or to one another are left out, the scene's
    model is theirs."""
    for some in (SOME_ROUNDS, rounds):
        stars["reach"] = reaches(stars, scene, psf)
        redraw(scene, stars, psf)
        planes = (scene.data, scene.model, scene.variance, scene.bad)
        image = (psf.tables, psf.powers, psf.frame, psf.wing)
        fit_stars(*planes, stars, places_of(stars), *image, some, STRAYED * psf.fwhm)
        stars = _without_void(scene, stars, psf, 0.5 * KEPT)
    redraw(scene, stars, psf)
    return stars


def redraw(scene: Scene, stars: Table, psf: Psf) -> None:
    """Make the scene's model anew from its stars."""
    scene.model[:] = 0.0
    add_stars(
        scene.model, *_columns(stars), stars["reach"].copy(), psf.tables, psf.powers, psf.frame, psf.wing
    )


def _columns(stars: Table) -> tuple[F64, F64, F64]:
    return stars["x"].copy(), stars["y"].copy(), stars["flux"].copy()


def reaches(stars: Table, scene: Scene, psf: Psf) -> NDArray[np.int64]:
    """Out to how many pixels each star has to be drawn, so that it is lost in the noise beyond."""
    middle = psf.tables[0][MIDDLE, MIDDLE::2]
    profile = np.maximum.accumulate(np.append(np.abs(middle[:REACH]), np.abs(psf.wing).repeat(4))[::-1])[::-1]
    noise = np.sqrt(float(np.median(scene.variance[::7, ::7][~scene.bad[::7, ::7]])))
    least = DRAWN * noise / np.maximum(stars["flux"], 1e-30)
    reach = np.searchsorted(-profile, -least)
    return np.asarray(np.clip(reach, np.ceil(2 * FIT * psf.fwhm), WING_END).astype(np.int64))


def light_errors(stars: Table, scene: Scene, psf: Psf) -> F64:
    """Roughly the error of each star's light, by the noise of the pixel at its middle."""
    row, column = pixels(stars, scene)
    noise = np.where(scene.bad, np.float32(np.nan), scene.variance)[row, column]
    noise = np.where(np.isfinite(noise), noise, np.nanmedian(noise) if np.isfinite(noise).any() else 1.0)
    core = psf.at(*psf.centre, int(2 * psf.fwhm))
    return np.asarray(scene.correlated * np.sqrt(noise / np.sum(core**2)))


def pixels(stars: Table, scene: Scene) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pixels that stars lie in, or the nearest ones on the image."""
    height, width = scene.data.shape
    row, column = np.rint(stars["y"]).astype(np.intp), np.rint(stars["x"]).astype(np.intp)
    return np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)


def _without_void(scene: Scene, stars: Table, psf: Psf, sigmas: float) -> Table:
    """The stars that have light, the fainter one left out of two that have settled together."""
    height, width = scene.data.shape
    inside = (stars["x"] > -1) & (stars["y"] > -1) & (stars["x"] < width) & (stars["y"] < height)
    kept: Table = stars[inside & (stars["flux"] > sigmas * light_errors(stars, scene, psf))]
    kept = kept[np.argsort(-kept["flux"], kind="stable")]
    if len(kept) > 1:
        pairs = cKDTree(places_of(kept)).query_pairs(SAME * psf.fwhm, output_type="ndarray")
        kept = np.delete(kept, np.unique(pairs[:, 1]))
    return kept


def fit_scene(scene: Scene, psf: Psf, stars: Table | None = None) -> Table:
    """All stars of a scene with a PSF, from those that are known, if any: sought in what is left again and
    again, and fitted together."""
    if stars is None:
        stars = burnt_stars(scene, psf)
        peaks = find_in_residual(scene, psf.fwhm, BRIGHT, steep=True)
        stars = settle(scene, np.concatenate([stars, new_stars(scene, peaks, stars, psf)]), psf, SOME_ROUNDS)
    for number in range(SEARCHES):
        level_background(scene)
        peaks = find_in_residual(scene, psf.fwhm, THRESHOLD)
        added = new_stars(scene, peaks, stars, psf)
        last = number == SEARCHES - 1
        stars = settle(scene, np.concatenate([stars, added]), psf, ALL_ROUNDS if last else SOME_ROUNDS)
    level_background(scene)
    stars = settle(scene, stars, psf, SOME_ROUNDS)
    return stars


def build_psf(scene: Scene, chosen: Table, fwhm: float) -> tuple[Psf, Table]:
    """The PSF of a scene from its ``chosen`` stars (see ``psf.choose_stars``), and its bright stars.

    Their first mean subtracts what is beside each; what they leave then mends it, over and over.
    """
    psf = first_psf(scene.data, scene.bad, chosen, fwhm)
    stars = burnt_stars(scene, psf)
    peaks = find_in_residual(scene, fwhm, BRIGHT, steep=True)
    stars = np.concatenate([stars, new_stars(scene, peaks, stars, psf)])
    for order in (0, *MENDED):
        stars = settle(scene, stars, psf, SOME_ROUNDS)
        level_background(scene)
        telling = _telling(stars, chosen, scene, psf)
        residual = scene.residual()
        psf = improve(psf, residual, scene.bad, telling, max(psf.order, min(order, order_for(len(telling)))))
        psf = add_wing(psf, residual, scene.bad, telling)
    return psf, stars


def _telling(stars: Table, chosen: Table, scene: Scene, psf: Psf) -> Table:
    """The fitted stars that are the chosen ones."""
    away, which = cKDTree(places_of(stars)).query(places_of(chosen))
    telling: Table = stars[np.unique(which[away < SAME * psf.fwhm])]
    telling = telling[(telling["flux"] > 0) & (telling["flags"] == 0)]
    telling["error"] = light_errors(telling, scene, psf)
    return telling
