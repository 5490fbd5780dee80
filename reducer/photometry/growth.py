"""The total light of one star: summed in an aperture and carried beyond it along a wing fitted to rings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from reducer.errors import BadInput
from reducer.frame import F32, F64

#: Everything scales with the star's FWHM, but at least with this many pixels: the halo of a corrected image.
LEAST_SCALE = 28.0
#: In scales: where the fitted wing begins and, for a second fit, begins instead; the aperture that is summed.
WING, OTHER_WING, APERTURE = 0.75, 1.1, 2.5
#: Outermost ring in scales, and in pixels at most; growth of the rings' radii; width of the innermost.
OUTSKIRTS, MOST_RADIUS, RING_GROWTH, CORE_STEP = 6.0, 330.0, 1.12, 2.0
#: The share of a ring that has to be seen for it to count.
LEAST_SEEN = 0.3
#: By what part of itself the wing's fit may be wrong beyond the aperture: halos are not quite Moffat's.
WING_ERROR = 0.1
#: How far a ring's mean may depart from a Moffat profile that fits, as a part of itself.
RING_ERROR = 0.01
SECTORS = 8


@dataclass(frozen=True)
class Light:
    """A star's total light in the image's unit, and the parts of its 1-sigma error.

    ``photons``: noise within the aperture; ``growth``: of what lies beyond it; ``sky``: of the background
    under it. ``radius``: the aperture's in pixels; ``enclosed``: the share of the light in it.
    """

    total: float
    photons: float
    growth: float
    sky: float
    radius: float
    enclosed: float


@dataclass(frozen=True)
class Rings:
    """Sums over rings about a star: inner and outer radii, pixels in all, mean value and its noise; (n,).

    ``sectors``: means by direction, (SECTORS, n), NaN where nothing is seen.
    """

    inner: F64
    outer: F64
    area: F64
    mean: F64
    noise: F64
    sectors: F64


def measure_light(image: F32, variance: F32, usable: F32, x: float, y: float, fwhm: float) -> Light:
    """The total light of a star alone at 0-based (x, y) of an image whose large-scale sky is subtracted.

    ``usable``: True where a pixel counts: neither bad nor of another star. The light within the aperture is
    summed over the fitted sky; beyond it, that of a Moffat profile (Moffat 1969, A&A 3, 455) fitted to the
    rings from the wing outwards. BadInput if too few rings are seen.
    """
    scale = max(fwhm, LEAST_SCALE)
    rings = sum_rings(image, variance, usable, (x, y), ring_edges(scale))
    total, beyond, edge = _with_wing(rings, scale, WING)
    other = _with_wing(rings, scale, OTHER_WING)[0]
    inside = rings.outer <= edge
    area = float(rings.area[inside].sum())
    photons = float(np.sqrt(np.sum((rings.noise * rings.area)[inside] ** 2)))
    far = rings.inner >= 1.6 * edge
    by_sector = np.nanmean(rings.sectors[:, far], axis=1)
    # Opposite halves of a tilted sky cancel under a round aperture: what is left is its unevenness.
    uneven = (by_sector[: SECTORS // 2] + by_sector[SECTORS // 2 :]) / 2
    uncertain = float(np.nanstd(uneven) / np.sqrt(len(uneven)))
    growth = np.hypot(WING_ERROR * beyond, 0.5 * (total - other))
    return Light(total, photons, float(growth), uncertain * area, edge, (total - beyond) / total)


def ring_edges(scale: float) -> F64:
    """Radii in pixels: narrow steps in the core, then growing ones to the outskirts."""
    core = np.arange(0.0, 0.5 * scale, CORE_STEP)
    last = min(OUTSKIRTS * scale, MOST_RADIUS)
    count = int(np.log(last / core[-1]) / np.log(RING_GROWTH))
    return np.concatenate([core, core[-1] * RING_GROWTH ** np.arange(1, count + 1)])


def sum_rings(image: F32, variance: F32, usable: F32, centre: tuple[float, float], edges: F64) -> Rings:
    """Means over the pixels whose centres lie in each ring; what is off the image is not seen."""
    reach = int(edges[-1]) + 1
    column, row = round(centre[0]), round(centre[1])
    y, x = np.mgrid[row - reach : row + reach + 1, column - reach : column + reach + 1]
    dx, dy = x - centre[0], y - centre[1]
    ring = np.digitize(np.hypot(dx, dy), edges) - 1
    count = len(edges) - 1
    inside = ring < count
    area = np.bincount(ring[inside], minlength=count).astype(float)
    on = inside & (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
    on[on] = usable[y[on], x[on]]
    ring, values = ring[on], image[y[on], x[on]].astype(float)
    sector = ((np.arctan2(dy[on], dx[on]) / (2 * np.pi) + 1.0) * SECTORS).astype(int) % SECTORS
    seen = np.bincount(ring, minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(ring, values, count) / seen
        noise = np.sqrt(np.bincount(ring, variance[y[on], x[on]].astype(float), count)) / seen
        each = np.bincount(sector * count + ring, values, SECTORS * count)
        sectors = each / np.bincount(sector * count + ring, minlength=SECTORS * count)
    good = seen > LEAST_SEEN * area
    return Rings(
        edges[:-1], edges[1:], area, np.where(good, mean, np.nan), noise, sectors.reshape(SECTORS, count)
    )


def _with_wing(rings: Rings, scale: float, start: float) -> tuple[float, float, float]:
    """Total light, the part of the light beyond the aperture, and the aperture's radius."""
    wing = (rings.inner >= start * scale) & np.isfinite(rings.mean)
    inside = rings.outer <= APERTURE * scale
    if wing.sum() < 6 or not np.isfinite(rings.mean[inside]).all():
        raise BadInput("the star lies too near the edge, or on too many bad pixels, to sum its light")
    sky = float(np.median(rings.mean[wing][-3:]))
    summed = float(np.sum((rings.mean[inside] - sky) * rings.area[inside]))
    first = np.array([summed * 1.02, scale / 1.1, 3.0, sky])

    def residuals(values: F64) -> F64:
        model = values[0] * _in_rings(rings, values[1], values[2])[wing] / rings.area[wing]
        error = np.hypot(rings.noise[wing], RING_ERROR * model) + 1e-12
        return np.asarray((rings.mean[wing] - model - values[3]) / error)

    low = [0.0, 0.1 * scale, 1.4, -np.inf]
    fit = least_squares(residuals, first, x_scale=[summed, scale, 1.0, max(abs(sky), 1.0)],
                        bounds=(low, [np.inf, 20.0 * scale, 12.0, np.inf]))  # fmt: skip
    amplitude, alpha, power, sky = (float(value) for value in fit.x)
    edge = float(rings.outer[inside][-1])
    beyond = amplitude * (1.0 + (edge / alpha) ** 2) ** (1.0 - power)
    within = float(np.sum((rings.mean[inside] - sky) * rings.area[inside]))
    return within + beyond, beyond, edge


def _in_rings(rings: Rings, alpha: float, power: float) -> F64:
    """The share of a Moffat profile's light in each ring."""
    inner, outer = ((1.0 + (r / alpha) ** 2) ** (1.0 - power) for r in (rings.inner, rings.outer))
    return np.asarray(inner - outer)
