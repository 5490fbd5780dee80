"""The total light of stars: summed in an aperture and carried beyond it along a wing fitted to rings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from reducer.combine import median_of_seen
from reducer.errors import BadInput
from reducer.types import F32, F64, Table

#: Everything scales with the star's FWHM, but at least with the instrument's halo. In scales: where the wing
#: that is fitted begins and, for a second fit, begins instead; the aperture that is summed.
WING, OTHER_WING, APERTURE = 0.75, 1.1, 2.5
#: The same for many stars together: what lies beyond is known better from all of them.
SMALL_APERTURE = 1.3
#: Outermost ring in scales, and in pixels at most; growth of the rings' radii; how many narrow ones reach to
#: half a scale, and their width in pixels at most.
OUTSKIRTS, MOST_RADIUS, RING_GROWTH, CORE_RINGS, CORE_STEP = 6.0, 330.0, 1.12, 7, 2.0
#: The share of a ring that has to be seen for it to count.
LEAST_SEEN = 0.3
#: By what part of itself the wing's fit may be wrong beyond the aperture: halos are not quite Moffat's.
WING_ERROR = 0.1
#: How far a ring's mean may depart from a Moffat profile that fits, as a part of itself.
RING_ERROR = 0.01
#: Neighbours with less than this part of the star's light are not worth hiding; a neighbour of WEAK times the
#: star's light is hidden within so many widths of the innermost ring, a brighter one further.
FAINT, WEAK, NEIGHBOUR = 5e-4, 2e-2, 7.0
#: Parts of a ring by direction.
SECTORS = 8


@dataclass(frozen=True)
class Light:
    """A star's total light in the image's unit, and the parts of its 1-sigma error.

    ``photons``: noise within the aperture; ``growth``: of what lies beyond it; ``sky``: of the background
    under it. ``radius``: the aperture's in pixels.
    """

    total: float
    photons: float
    growth: float
    sky: float
    radius: float


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


def measure_light(image: F32, variance: F32, usable: F32, star: Table, others: Table, halo: float) -> Light:
    """The total light of a star of an image whose large-scale sky is subtracted.

    ``usable``: False where a pixel is bad; ``others``: the sources beside the star, whose pixels are left
    out. The light within the aperture is summed over the fitted sky; beyond it, that of a Moffat profile
    (Moffat 1969, A&A 3, 455) fitted to the rings from the wing outwards. BadInput if too few rings are seen,
    or no sky beyond them. ``image``, ``variance``, ``usable``: (ny, nx), electrons; ``halo``: pixels, the
    instrument's.
    """
    scale = max(float(star["fwhm"]), halo)
    rings = sum_rings(image, variance, usable, star, others, ring_edges(scale))
    total, beyond, edge = _with_wing(rings, scale, WING)
    other = _with_wing(rings, scale, OTHER_WING)[0]
    photons, sky = _noise(rings, edge)
    if not np.isfinite(sky):
        raise BadInput("no source-free sky around the star", f"more than {1.6 * edge:.0f} pixels about it")
    growth = np.hypot(WING_ERROR * beyond, 0.5 * (total - other))
    return Light(total, photons, float(growth), sky, edge)


def scale_of(stars: Table, halo: float) -> float:
    """The scale in pixels of many stars together."""
    return max(float(np.median(stars["fwhm"])), halo)


def compare_light(every: Sequence[Rings], scale: float) -> tuple[F64, F64, float]:
    """Total light of many stars and its errors, NaN where it cannot be measured, and the error of the wing
    beyond the aperture, common to all, as a part of the light; from the rings about each, in their scale.

    One wing is fitted to the median of all stars' rings: in a crowd that of a single star is not to be seen.
    """
    means = np.array([_without_neighbours(rings, scale) for rings in every])
    means -= _mean_of_seen(means[:, -3:])[:, None]
    area, outer = every[0].area, every[0].outer
    inside = outer <= SMALL_APERTURE * scale
    within = (means[:, inside] * area[inside]).sum(axis=1)
    good = np.isfinite(within) & (within > 0)
    if not good.any():
        return within * np.nan, within * np.nan, np.nan
    profile = median_of_seen(means[good] / within[good, None], axis=0)
    noise = median_of_seen(np.array([r.noise for r in every])[good] / within[good, None], axis=0)
    typical = replace(every[0], mean=profile, noise=noise / np.sqrt(good.sum()))
    total, beyond, edge = _with_wing(typical, scale, WING, SMALL_APERTURE)
    other = _with_wing(typical, scale, OTHER_WING, SMALL_APERTURE)[0]
    errors = np.array([np.hypot(*_noise(rings, edge)) for rings in every])
    return within * total, errors, float(np.hypot(WING_ERROR * beyond, 0.5 * (total - other)) / total)


def _without_neighbours(rings: Rings, scale: float) -> F64:
    """Ring means, in the wing the median of the sectors: an unseen neighbour lies in one of them."""
    return np.where(rings.inner < WING * scale, rings.mean, median_of_seen(rings.sectors, axis=0))


def _mean_of_seen(values: F64) -> F64:
    """Mean of each row over what is finite, NaN where nothing is."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(values, axis=1) / np.isfinite(values).sum(axis=1))


def _noise(rings: Rings, edge: float) -> tuple[float, float]:
    """Noise of the light within the aperture by photons, and by the sky under it (NaN where none is seen)."""
    inside = rings.outer <= edge
    photons = float(np.sqrt(np.nansum((rings.noise * rings.area)[inside] ** 2)))
    # Well beyond the aperture; at once beyond it where the image ends before.
    for start in (1.6 * edge, edge):
        sectors = rings.sectors[:, rings.inner >= start]
        means = _mean_of_seen(sectors)
        means = means[np.isfinite(means)]
        if len(means) >= SECTORS // 2:
            sky = float(np.std(means) / np.sqrt(len(means))) * float(rings.area[inside].sum())
            return photons, sky
    return photons, float("nan")


def ring_edges(scale: float) -> F64:
    """Radii in pixels: narrow steps in the core, then growing ones to the outskirts."""
    core = np.arange(0.0, 0.5 * scale, min(0.5 * scale / CORE_RINGS, CORE_STEP))
    last = min(OUTSKIRTS * scale, MOST_RADIUS)
    count = int(np.log(last / core[-1]) / np.log(RING_GROWTH))
    return np.concatenate([core, core[-1] * RING_GROWTH ** np.arange(1, count + 1)])


def sum_rings(image: F32, variance: F32, usable: F32, star: Table, others: Table, edges: F64) -> Rings:
    """Means over the pixels whose centres lie in each ring.

    What is not usable, of another source, or off the image, is not seen. Where rings are narrow, pixels are
    divided, for a ring of few would hold now more and now less light by where the star lies in its pixel.
    ``image``, ``variance``, ``usable``: (ny, nx), electrons; ``edges``: (rings + 1,) pixels.
    """
    reach, fine = int(edges[-1]) + 1, max(round(CORE_STEP / (edges[1] - edges[0])), 1)
    column, row = round(float(star["x"])), round(float(star["y"]))
    y, x = np.mgrid[row - reach : row + reach + 1, column - reach : column + reach + 1]
    on = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
    on[on] = usable[y[on], x[on]]
    _hide(others, star, on, (column - reach, row - reach), NEIGHBOUR * (edges[1] - edges[0]))
    y, x, on = (each.repeat(fine, axis=0).repeat(fine, axis=1) for each in (y, x, on))
    part = (np.arange(len(x)) % fine + 0.5) / fine - 0.5
    dx, dy = x + part - star["x"], y + part[:, None] - star["y"]
    ring = np.digitize(np.hypot(dx, dy), edges) - 1
    count = len(edges) - 1
    inside = ring < count
    area = np.bincount(ring[inside], minlength=count) / fine**2
    on &= inside
    ring, values = ring[on], image[y[on], x[on]].astype(float)
    sector = ((np.arctan2(dy[on], dx[on]) / (2 * np.pi) + 1.0) * SECTORS).astype(int) % SECTORS
    seen = np.bincount(ring, minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(ring, values, count) / seen
        noise = fine * np.sqrt(np.bincount(ring, variance[y[on], x[on]].astype(float), count)) / seen
        each = np.bincount(sector * count + ring, values, SECTORS * count)
        sectors = each / np.bincount(sector * count + ring, minlength=SECTORS * count)
    mean = np.where(seen > LEAST_SEEN * fine**2 * area, mean, np.nan)
    return Rings(edges[:-1], edges[1:], area, mean, noise, sectors.reshape(SECTORS, count))


def _hide(others: Table, star: Table, seen: NDArray[np.bool_], corner: tuple[int, int], near: float) -> None:
    """Take out of a cutout what other sources cover, if that is worth it and not the star itself.

    ``near``: pixels about a weak one.
    """
    away = np.hypot(others["x"] - star["x"], others["y"] - star["y"])
    share = others["flux"][:, 1] / max(float(star["flux"][1]), 1e-30)
    for k in np.flatnonzero((share > FAINT) & (away > 1.2 * star["fwhm"]) & (away < len(seen))):
        radius = max(0.7 * float(star["fwhm"]), near) * max(share[k] / WEAK, 1.0) ** (1 / 3)
        # Never so far that the star's own core is lost behind a bright neighbour.
        radius = min(radius, away[k] - 0.4 * star["fwhm"])
        column, row = others["x"][k] - corner[0], others["y"][k] - corner[1]
        rows = slice(max(int(row - radius), 0), min(max(int(row + radius) + 2, 0), seen.shape[0]))
        columns = slice(max(int(column - radius), 0), min(max(int(column + radius) + 2, 0), seen.shape[1]))
        y, x = np.ogrid[rows, columns]
        seen[rows, columns] &= np.hypot(x - column, y - row) > radius


def _with_wing(
    rings: Rings, scale: float, start: float, aperture: float = APERTURE
) -> tuple[float, float, float]:
    """Total light, the part of the light beyond the aperture, and the aperture's radius."""
    wing = (rings.inner >= start * scale) & np.isfinite(rings.mean)
    inside = rings.outer <= aperture * scale
    if wing.sum() < 6 or not np.isfinite(rings.mean[inside]).all():
        raise BadInput("star too near the edge, or on too many bad pixels, for aperture photometry")
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
