"""PSF photometry of an image: its PSF, its stars, what artificial ones say of them, and a catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from reducer.photometry.catalogue import noise_ratio, ring_levels
from reducer.photometry.psf import Gauge, Psf, choose_stars, gauge, powers_of
from reducer.photometry.psf_artificial import ENOUGH, MAG, Completeness, completeness, try_stars
from reducer.photometry.psf_fit import Image, Scene, begin, build_psf, fit_scene
from reducer.photometry.psf_quality import judge
from reducer.sources import IS_SATURATED, RADII, sum_apertures
from reducer.types import F32, F64, Table, table_of

#: What gives the factor from light in the first of RADII to total light, and its error as a part of itself,
#: at pixels x and y (n,).
Total = Callable[[F64, F64], tuple[F64, F64]]
#: Signal to noise from which a star tells how far light in an aperture and by the PSF differ, what light of
#: neighbours it may have (mag), how many are needed and taken, and how many tell it at a place.
LOUD, LONELY, FEWEST, MOST, NEAREST = 150.0, 0.05, 8, 600, 9


@dataclass(frozen=True)
class Photometry:
    """What PSF photometry gives: see ``measure_stars`` for the columns of ``catalogue``.

    ``residual``: the image without background and stars; ``chosen``: the stars that the PSF is from;
    ``trials``: the artificial stars; ``psf_error``: by what part of its light a star's image departs from
    the PSF; ``light``: total electrons of a star of fitted light 1 in the middle of the field.
    """

    psf: Psf
    catalogue: Table
    residual: F32
    background: F32
    chosen: Table
    trials: Table
    complete: Completeness
    psf_error: float
    light: float


def correlated_noise(noise: Table | None, fwhm: float) -> float:
    """By what the noise of a star's fitted light exceeds that of independent pixels, from a stack's NOISE.

    A fit weighs pixels like an aperture of as many pixels as the PSF's square has effectively, that of a
    Gaussian of this FWHM; 1 for an image that was not resampled.
    """
    if noise is None or not len(noise):
        return 1.0
    area = 4.0 * np.pi * (fwhm / 2.355) ** 2
    return float(max(noise_ratio(noise, np.sqrt(area / np.pi)), 1.0))


def measure_stars(
    image: Image, sources: Table, fwhm: float, total: Total, artificial: int = ENOUGH
) -> Photometry:
    """PSF photometry of all stars of an image.

    ``sources``: as ``psf.choose_stars`` takes them; ``fwhm``: of stars, pixels; ``total``: from the light
    in the first aperture to a star's total; ``artificial``: so many stars are added to tell errors. The
    catalogue has X_IMAGE, Y_IMAGE (pixels from 1) with ERRX_IMAGE, ERRY_IMAGE, FLUX_PSF and FLUXERR_PSF
    (electrons in total), APCORERR (mag, common to stars that are near each other), SKY (electrons per pixel),
    CHI, SHARP, CROWDING (mag), GROUP and its size NGROUP, COVERAGE and FLAGS.
    BadInput where too few stars tell the PSF.
    """
    chosen = choose_stars(sources, image.mask)
    scene = begin(image)
    psf, stars = build_psf(scene, chosen, fwhm)
    stars = judge(scene, fit_scene(scene, psf, stars), psf)
    measures = gauge(psf)
    local = look_around(scene, stars, measures)
    trials = try_stars(image, psf, stars, artificial)
    complete = completeness(trials)
    catalogue = as_catalogue(stars, measures, complete, local, total)
    middle = np.array([psf.centre[0]]), np.array([psf.centre[1]])
    light = measures.at(measures.base, *middle) * total(*middle)[0]
    planes = scene.residual(), scene.background
    return Photometry(psf, catalogue, *planes, chosen, trials, complete, local.error, float(light[0]))


@dataclass(frozen=True)
class LocalExcess:
    """By what part of their light bright stars have more in the first aperture than by the PSF, ``more`` (n,)
    at pixels ``places`` (n, 2): what the PSF's polynomials over the field do not follow, as where other
    exposures begin. ``error``: how far a star scatters about its neighbours in this, beyond noise."""

    places: F64
    more: F64
    error: float

    def at(self, x: F64, y: F64) -> F64:
        """The median of the nearest ones; 0 without any."""
        if not len(self.more):
            return np.zeros(len(x))
        count = min(NEAREST, len(self.more))
        near = cKDTree(self.places).query(np.column_stack([x, y]), k=np.arange(1, count + 1))[1]
        return np.asarray(np.median(self.more[near], axis=1))


def look_around(scene: Scene, stars: Table, measures: Gauge) -> LocalExcess:
    """What bright stars with little light beside theirs tell of the PSF at their places."""
    lonely = (stars["flags"] == 0) & (stars["crowding"] < LONELY) & (stars["flux"] > LOUD * stars["error"])
    some = stars[lonely][:MOST]
    if len(some) < FEWEST:
        return LocalExcess(np.zeros((0, 2)), np.zeros(0), 0.0)
    x, y, bad = some["x"].copy(), some["y"].copy(), scene.bad.astype(np.uint8)
    left = scene.residual()
    light, noise = sum_apertures(left, scene.variance, bad, x, y, np.array(RADII[:1]), (0.0, 0.0))
    level = np.nan_to_num(ring_levels(left, bad, x, y))
    whole = some["flux"] * measures.at(measures.base, x, y)
    more = (light[:, 0] - np.pi * RADII[0] ** 2 * level) / whole
    good = np.isfinite(more)
    places, more = np.column_stack([x, y])[good], more[good]
    count = min(NEAREST + 1, len(more))
    near = cKDTree(places).query(places, k=np.arange(2, count + 1))[1]
    away = more - np.median(more[near], axis=1)
    spread = 1.4826 * float(np.median(np.abs(away - np.median(away))))
    # The median of some neighbours has noise of its own.
    expected = np.median(scene.correlated * noise[good, 0] / whole[good]) * np.sqrt(
        1.0 + np.pi / 2.0 / (count - 1)
    )
    return LocalExcess(places, more, float(np.sqrt(max(spread**2 - expected**2, 0.0))))


def as_catalogue(
    stars: Table, measures: Gauge, complete: Completeness, local: LocalExcess, total: Total
) -> Table:
    """Fitted stars as a catalogue, brightest first: light and places as sources' are, and honest errors."""
    x, y = stars["x"].copy(), stars["y"].copy()
    factor, unsure = total(x, y)
    factor = factor * measures.at(measures.base, x, y) * (1.0 + local.at(x, y))
    relative = np.hypot(complete.excess(stars["flux"]), local.error)
    flux_error = np.hypot(stars["error"], relative * np.abs(stars["flux"]))
    astray = complete.excess(stars["flux"], "POSITION_EXCESS")
    shift = measures.at(measures.centre, x, y)
    burnt = (stars["flags"] & IS_SATURATED) != 0
    return table_of(
        {
            "NUMBER": np.arange(1, len(stars) + 1, dtype=np.int32),
            "X_IMAGE": x + shift[:, 0] + 1.0,
            "Y_IMAGE": y + shift[:, 1] + 1.0,
            "ERRX_IMAGE": np.hypot(stars["x_error"], astray),
            "ERRY_IMAGE": np.hypot(stars["y_error"], astray),
            "FLUX_PSF": stars["flux"] * factor,
            "FLUXERR_PSF": np.where(burnt, np.maximum(flux_error, 0.1 * stars["flux"]), flux_error) * factor,
            "APCORERR": MAG * unsure,
            "SKY": stars["background"],
            "CHI": stars["chi"],
            "SHARP": stars["sharp"],
            "CROWDING": stars["crowding"],
            "GROUP": stars["group"],
            "NGROUP": stars["members"],
            "COVERAGE": stars["seen"],
            "FLAGS": stars["flags"],
        }
    )


def from_objects(objects: Table, shape: tuple[int, int]) -> tuple[Table, float, Total]:
    """Sources, FWHM and the way to total light from a stack's OBJCAT, whose aperture correction is a
    polynomial over an image of a ``shape`` (ny, nx)."""
    x, y = objects["X_IMAGE"] - 1.0, objects["Y_IMAGE"] - 1.0
    clean = objects["FLAGS"] == 0
    flux, error = objects["FLUX_APER"][:, 0], objects["FLUXERR_APER"][:, 0]
    sources = table_of({"x": x, "y": y, "flux": flux, "error": error, "clean": clean})
    widths = objects["FWHM_IMAGE"][clean & (flux > 30.0 * error)]
    widths = widths[np.isfinite(widths)]
    fwhm = float(np.median(widths[:60])) if len(widths) else 4.0
    known = np.isfinite(objects["APERCOR"]) & (flux > 0) & (objects["FLUX_TOTAL"] > 0)
    powers = powers_of(2)
    middle, half = (shape[1] / 2.0, shape[0] / 2.0), max(shape) / 2.0

    def terms(x: F64, y: F64) -> F64:
        u, v = (x - middle[0]) / half, (y - middle[1]) / half
        return np.asarray(u[:, None] ** powers[:, 0] * v[:, None] ** powers[:, 1])

    if not known.any():
        return sources, fwhm, lambda x, y: (np.full(len(x), np.nan), np.full(len(x), np.nan))
    size = np.linalg.lstsq(terms(x[known], y[known]), objects["APERCOR"][known], rcond=None)[0]
    own = error[known] / flux[known]
    whole = objects["FLUXERR_TOTAL"][known] / objects["FLUX_TOTAL"][known]
    unsure = np.linalg.lstsq(
        terms(x[known], y[known]), np.sqrt(np.maximum(whole**2 - own**2, 0.0)), rcond=None
    )[0]
    return sources, fwhm, lambda x, y: (10.0 ** (-0.4 * (terms(x, y) @ size)), np.abs(terms(x, y) @ unsure))
