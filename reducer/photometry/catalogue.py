"""OBJCAT, the catalogue of a stack's sources: widths, places, light over the near sky and total light."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.lib.recfunctions import repack_fields
from numpy.polynomial import polynomial
from numpy.typing import NDArray

from reducer import dq
from reducer.astrometry import Grid
from reducer.instruments.base import Widths
from reducer.photometry.growth import Rings, compare_light, ring_edges, scale_of
from reducer.photometry.zeropoint import Zeropoint
from reducer.sources import (
    NOT_CENTRED,
    RADII,
    SOURCE,
    is_blurred,
    light_about,
    places_of,
    sum_apertures,
    well_measured,
)
from reducer.types import F32, F64, U16, Table, table_of

# --- the width of a star's image, on its pixels ----------------------------------------------------

#: Signal to noise from which a star's own pixels tell its width.
WIDTH_SIGNAL = 30.0


def half_width(image: F32, bad: NDArray[np.bool_], x: float, y: float, guess: float) -> tuple[float, float]:
    """FWHM in pixels of a star at 0-based (x, y) on no background, and its peak: NaN if it cannot be told.

    The logarithm of the profile is a polynomial of the radius squared, fitted to the pixels within 0.8 of
    the FWHM ``guess``; nothing is assumed of the profile beyond.
    """
    row, column = np.indices(image.shape)
    r2 = np.asarray((column - x) ** 2 + (row - y) ** 2)
    near = (r2 < (0.8 * guess) ** 2) & (image > 0) & ~bad
    if near.sum() < 8:
        return np.nan, np.nan
    scaled = r2[near] / guess**2
    top, slope, bend = polynomial.polyfit(scaled, np.log(image[near]), 2, w=image[near])
    inside = slope * slope - 4.0 * bend * np.log(2.0)
    if slope >= 0 or inside < 0:
        return np.nan, np.nan
    # The nearer of the radii squared where the profile has fallen to half.
    half = 2.0 * np.log(2.0) / (np.sqrt(inside) - slope)
    return float(2.0 * guess * np.sqrt(half)), float(np.exp(top))


def measure_widths(sources: Table, data: F32, usable: NDArray[np.bool_]) -> F64:
    """FWHM in pixels of the strong sources of an image (ny, nx), measured on their pixels; NaN of others."""
    strong = well_measured(sources, WIDTH_SIGNAL, flags=NOT_CENTRED)
    widths = np.full(len(sources), np.nan)
    for n in np.flatnonzero(strong):
        widths[n] = width_of(sources[n], data, usable)[0]
    return widths


def fill_widths(widths: F64, windows: F64) -> F64:
    """FWHM of all sources from those measured on pixels and the widths of the windows that centred them.

    A window's width counts a source's wings too: that of faint ones is taken in the proportion that the
    strong ones show. Both (n,), pixels, as is what is returned.
    """
    told = np.isfinite(widths)
    share = np.median(widths[told] / windows[told]) if told.any() else 1.0
    return np.where(told, widths, share * windows)


def width_of(source: Table, data: F32, usable: NDArray[np.bool_]) -> tuple[float, float]:
    """FWHM in pixels and peak of a source of an image, as ``half_width`` gives them.

    ``data``, ``usable``: (ny, nx), electrons.
    """
    guess = float(source["fwhm"])
    reach, x, y = int(0.8 * guess) + 2, round(float(source["x"])), round(float(source["y"]))
    left, low = max(x - reach, 0), max(y - reach, 0)
    part = np.s_[low : y + reach + 1, left : x + reach + 1]
    cut = data[part] - np.float32(source["background"])
    return half_width(cut, ~usable[part], float(source["x"]) - left, float(source["y"]) - low, guess)


# --- the sky right beside a source, darker in a crowd's gaps and brighter in its clumps than the mesh

#: Radii of the ring of sky in pixels: beyond the first aperture and the core, within the next neighbours.
RING = (12.0, 24.0)
#: Pixels about another source that are its core; the fewest free pixels of a ring, one in nine, that tell its
#: level to a tenth of a pixel's noise.
CORE, FEWEST = 9.0, 150
#: Pixels of the first aperture, and the variance of a ring's level in it over the sum of the ring's: of a
#: median, which has pi / 2 of a mean's, where all of the ring is free.
DISC = np.pi * RADII[0] ** 2
RING_SHARE = float(np.pi / 2.0 * (DISC / (np.pi * (RING[1] ** 2 - RING[0] ** 2))) ** 2)


def over_near_sky(sources: Table, data: F32, mask: U16, widths: Widths) -> Table:
    """The sources of an image (ny, nx) with the light in their first aperture, electrons, over the median of
    the free pixels of RING; over the mesh's ``background`` where too few are free.

    What a star's own halo has in the ring is the same part of the light of all, and in the aperture
    correction. In images of natural seeing the ring would lie in the star: their light stays as it is.
    """
    if is_blurred(sources, widths):
        return sources
    taken = ((mask & dq.UNUSABLE) != 0).astype(np.uint8)
    x, y = np.ascontiguousarray(sources["x"]), np.ascontiguousarray(sources["y"])
    _take_cores(taken, x, y)
    level = ring_levels(data, taken, x, y)
    told = np.isfinite(level)
    changed: Table = sources.copy()
    changed["flux"][told, 0] += DISC * (sources["background"] - level)[told]
    return changed


@njit(cache=True, nogil=True)
def _take_cores(taken, x, y):  # type: ignore[no-untyped-def]
    """Mark the pixels of all sources' cores."""
    height, width = taken.shape
    for n in range(len(x)):
        for j in range(max(int(y[n] - CORE), 0), min(int(y[n] + CORE) + 2, height)):
            for i in range(max(int(x[n] - CORE), 0), min(int(x[n] + CORE) + 2, width)):
                if (i - x[n]) ** 2 + (j - y[n]) ** 2 < CORE**2:
                    taken[j, i] = 1


@njit(cache=True, nogil=True)
def ring_levels(data, taken, x, y):  # type: ignore[no-untyped-def]
    """The median (n,) of the pixels of an image (ny, nx) in RING about places that are not taken, in its
    unit; NaN where fewer than FEWEST are free."""
    height, width = data.shape
    inner, outer = RING
    values, levels = np.empty(int(4 * (outer + 1) ** 2)), np.full(len(x), np.nan)
    for n in range(len(x)):
        count = 0
        for j in range(max(int(y[n] - outer), 0), min(int(y[n] + outer) + 2, height)):
            for i in range(max(int(x[n] - outer), 0), min(int(x[n] + outer) + 2, width)):
                square = (i - x[n]) ** 2 + (j - y[n]) ** 2
                if not taken[j, i] and inner**2 <= square < outer**2:
                    values[count] = data[j, i]
                    count += 1
        if count >= FEWEST:
            levels[n] = np.median(values[:count])
    return levels


# --- total light -----------------------------------------------------------------------------------

#: Sources of a stack: FWHM measured on their pixels (NaN: too faint), sums of VAR in apertures of RADII, and
#: variance of the sky of a near ring in the first of them.
MEASURED = np.dtype([*SOURCE.descr, ("width", "f8"), ("variance", "f8", (len(RADII),)), ("near", "f8")])
OBJECT = np.dtype(
    [("NUMBER", "i4"), ("X_IMAGE", "f8"), ("Y_IMAGE", "f8"), ("RA", "f8"), ("DEC", "f8"), ("ERR_POS", "f8"),
     ("FLUX_APER", "f8", (len(RADII),)), ("FLUXERR_APER", "f8", (len(RADII),)), ("FLUX_TOTAL", "f8"),
     ("FLUXERR_TOTAL", "f8"), ("APERCOR", "f8"), ("PEAK", "f8"), ("BACKGROUND", "f8"), ("FWHM_IMAGE", "f8"),
     ("ELLIPTICITY", "f8"), ("THETA_IMAGE", "f8"), ("FLAGS", "i4")]
)  # fmt: skip
#: Columns of OBJCAT that one exposure tells by itself.
OF_AN_ARRAY = ["NUMBER", "X_IMAGE", "Y_IMAGE", "FLUX_APER", "FLUXERR_APER", "PEAK", "BACKGROUND",
               "FWHM_IMAGE", "ELLIPTICITY", "THETA_IMAGE", "FLAGS"]  # fmt: skip
#: The aperture (index into RADII) whose flux becomes total light.
BASE = 0
#: Signal to noise of a star that tells the aperture correction; the part of its light that its neighbours may
#: have within REACH times the scale of its image; how many are taken, and how many for each coefficient.
LEAST_SIGNAL, MOST_NEIGHBOURS, REACH, MOST_STARS, PER_COEFFICIENT = 50.0, 0.6, 3.5, 100, 3
#: The largest error, as a part of a star's light, with which it still tells something.
LEAST_CERTAIN = 0.1
#: By what part two stars' total light may differ from the correction besides their noise.
OWN_SCATTER = 0.01
MAG = 2.5 / np.log(10.0)


@dataclass(frozen=True)
class ApertureCorrection:
    """From the light in the BASE aperture to a star's total, in mag, as a polynomial of the place.

    ``order``: of the polynomial, -1 without any star; ``centre`` and ``half`` scale pixels to -1..1;
    ``covariance``: of the coefficients; ``growth``: error of what lies beyond the widest aperture, mag,
    common to all stars; ``stars``: how many it is from.
    """

    order: int
    coefficients: F64
    covariance: F64
    centre: F64
    half: float
    growth: float
    stars: int

    def at(self, x: F64, y: F64) -> tuple[F64, F64]:
        """The correction at 0-based pixels and its error, mag; NaN without any star."""
        if self.order < 0:
            return np.full(len(x), np.nan), np.full(len(x), np.nan)
        design = _terms((x - self.centre[0]) / self.half, (y - self.centre[1]) / self.half, self.order)
        error = np.sqrt(np.einsum("ij,jk,ik->i", design, self.covariance, design))
        return design @ self.coefficients, error


def _terms(p: F64, q: F64, order: int) -> F64:
    return np.stack([p**i * q**j for i in range(order + 1) for j in range(order + 1 - i)], axis=1)


#: What gives the rings with some edges about stars of an image.
Look = Callable[[Table, F64], Iterable[Rings]]


def correct_apertures(sources: Table, shape: tuple[int, int], look: Look, halo: float) -> ApertureCorrection:
    """The aperture correction that bright isolated stars of an image of a ``shape`` (ny, nx) tell.

    ``look``: gives the rings about them; ``halo``: pixels, the instrument's. Of order 2 from 18 stars, 1 from
    9, else constant.
    """
    centre, half = np.array([shape[1], shape[0]]) / 2.0, max(shape) / 2.0
    stars, crowded = _bright_isolated(sources, halo)
    if not len(stars):
        return ApertureCorrection(-1, np.zeros(0), np.zeros((0, 0)), centre, half, np.nan, 0)
    scale = scale_of(stars, halo)
    total, noise, growth = compare_light(list(look(stars, ring_edges(scale))), scale)
    good = np.isfinite(total) & (noise < LEAST_CERTAIN * total)
    if not good.any():
        return ApertureCorrection(-1, np.zeros(0), np.zeros((0, 0)), centre, half, np.nan, 0)
    stars, crowded, total, noise = stars[good], crowded[good], total[good], noise[good]
    size = -MAG * np.log(total / stars["flux"][:, BASE])
    error = np.hypot(MAG * noise / total, OWN_SCATTER)
    order = next(p for p in (2, 1, 0) if p == 0 or len(stars) >= PER_COEFFICIENT * (p + 1) * (p + 2) // 2)
    design = _terms((stars["x"] - centre[0]) / half, (stars["y"] - centre[1]) / half, order)
    coefficients, covariance = _fit(design, size, error)
    growth = float(np.hypot(MAG * growth, by_neighbours(size - design @ coefficients, crowded)))
    return ApertureCorrection(order, coefficients, covariance, centre, half, growth, len(stars))


def by_neighbours(left: F64, crowded: F64) -> float:
    """Error by what neighbours add to stars (n,) and to the sky about them: half of what the less crowded
    ones differ from the others."""
    halves = crowded <= np.median(crowded)
    return 0.0 if halves.all() else 0.5 * abs(float(np.median(left[halves]) - np.median(left[~halves])))


def _fit(design: F64, values: F64, error: F64) -> tuple[F64, F64]:
    """Coefficients and their covariance, robust against stars that have hidden neighbours."""
    scale, coefficients = error, np.zeros(design.shape[1])
    coefficients[0] = np.median(values)
    for _ in range(20):
        left = values - design @ coefficients
        scale = np.maximum(error, 1.4826 * np.median(np.abs(left)))
        weights = 1.0 / scale**2 / (1.0 + (left / scale / 2.5) ** 2)
        normal = (design * weights[:, None]).T @ design
        coefficients = np.linalg.solve(normal, design.T @ (weights * values))
    return coefficients, np.asarray(np.linalg.inv(normal))


def _bright_isolated(sources: Table, halo: float) -> tuple[Table, F64]:
    """The brightest well measured stars whose neighbours do not have much light beside theirs, and how much.

    Where only the loneliest stars are taken, they lie in gaps, and the sky about them is too bright for them.
    """
    good = well_measured(sources, LEAST_SIGNAL, aperture=1)
    stars: Table = sources[good]
    if not len(stars):
        return stars, np.zeros(0)
    light = np.maximum(sources["flux"][:, 1], 0.0)
    places = places_of(sources)
    scale = max(float(np.median(sources["fwhm"][good][:MOST_STARS])), halo)
    others = light_about(places[good], places, light, REACH * scale) / light[good] - 1.0
    alone = np.flatnonzero(others < MOST_NEIGHBOURS)[:MOST_STARS]
    chosen = alone if len(alone) else np.array([np.argmin(others)])
    return stars[chosen], others[chosen]


def measure_objects(sources: Table, data: F32, variance: F32, mask: U16) -> Table:
    """Sources with all that a catalogue takes from a stack's pixels (ny, nx): dtype ``MEASURED``."""
    table = np.zeros(len(sources), MEASURED)
    for name in SOURCE.names or ():
        table[name] = sources[name]
    usable = (mask & dq.UNUSABLE) == 0
    table["width"] = measure_widths(sources, data, usable)
    places = np.ascontiguousarray(sources["x"]), np.ascontiguousarray(sources["y"])
    nowhere = np.zeros(mask.shape, np.uint8)
    table["variance"], _ = sum_apertures(variance, variance, nowhere, *places, np.array(RADII), (0.0, 0.0))
    around, _ = sum_apertures(variance, variance, nowhere, *places, np.array(RING), (0.0, 0.0))
    table["near"] = RING_SHARE * (around[:, 1] - around[:, 0])
    return table


def catalogue(sources: Table, grid: Grid, noise: Table, correction: ApertureCorrection) -> Table:
    """OBJCAT: 1-based pixels and degrees of the stack's sources, fluxes in electrons, errors in arcsec.

    ``sources``: of dtype ``MEASURED``; ``noise``: the stack's table NOISE, by which sums over apertures are
    noisier than VAR says.
    """
    table = _as_measured(sources)
    table["RA"], table["DEC"] = grid.pixel_to_sky(sources["x"], sources["y"])
    table["ERR_POS"] = sources["error"] * grid.scale
    table["FWHM_IMAGE"] = fill_widths(sources["width"], sources["fwhm"])
    ratios = np.array([noise_ratio(noise, radius) for radius in RADII])
    table["FLUXERR_APER"] = np.sqrt(np.maximum(np.nan_to_num(sources["variance"]), 0.0)) * ratios
    level = np.sqrt(np.maximum(np.nan_to_num(sources["near"]), 0.0)) * noise_ratio(noise, RING[1])
    table["FLUXERR_APER"][:, BASE] = np.hypot(table["FLUXERR_APER"][:, BASE], level)
    size, error = correction.at(sources["x"], sources["y"])
    factor = 10.0 ** (-0.4 * size)
    table["APERCOR"] = size
    table["FLUX_TOTAL"] = table["FLUX_APER"][:, BASE] * factor
    own = table["FLUXERR_APER"][:, BASE] * factor
    table["FLUXERR_TOTAL"] = np.hypot(own, np.abs(table["FLUX_TOTAL"]) * error / MAG)
    return table


def catalogue_of_array(sources: Table) -> Table:
    """OBJCAT of one array of an exposure: 1-based pixels, fluxes and errors in electrons.

    ``sources``: of dtype ``SOURCE``.
    """
    table = _as_measured(sources)
    table["FWHM_IMAGE"], table["FLUXERR_APER"] = sources["fwhm"], sources["flux_error"]
    return repack_fields(table[OF_AN_ARRAY])


def _as_measured(sources: Table) -> Table:
    """Sources under the names of OBJCAT, places from 1; the other columns are 0."""
    table = np.zeros(len(sources), OBJECT)
    table["NUMBER"] = np.arange(1, len(sources) + 1)
    table["X_IMAGE"], table["Y_IMAGE"] = sources["x"] + 1, sources["y"] + 1
    pairs = {"FLUX_APER": "flux", "PEAK": "peak", "BACKGROUND": "background",
             "ELLIPTICITY": "ellipticity", "THETA_IMAGE": "angle", "FLAGS": "flags"}  # fmt: skip
    for column, name in pairs.items():
        table[column] = sources[name]
    return table


def noise_ratio(noise: Table, radius: float) -> float:
    """Noise of a sum over an aperture over sqrt(sum of VAR): that of the square of the same area."""
    side = np.sqrt(np.pi) * radius
    return float(np.interp(np.log(side), np.log(noise["n"]), noise["ratio"]))


def add_magnitudes(objects: Table, zeropoint: Zeropoint, seconds: float) -> Table:
    """OBJCAT with Vega magnitudes: MAG_APER of what is in the apertures, MAG_TOTAL of the total light.

    ``seconds``: EXPTIME. Errors are of the fluxes; PHOTZPER is common to all. NaN for no light.
    """
    columns: dict[str, Any] = {}
    for kind in ("APER", "TOTAL"):
        flux, error = objects[f"FLUX_{kind}"], objects[f"FLUXERR_{kind}"]
        with np.errstate(invalid="ignore", divide="ignore"):
            lit = np.where(flux > 0, flux, np.nan)
            columns[f"MAG_{kind}"] = zeropoint.value - 2.5 * np.log10(lit / seconds)
            columns[f"MAGERR_{kind}"] = MAG * error / lit
    return table_of({name: objects[name] for name in objects.dtype.names or ()} | columns)
