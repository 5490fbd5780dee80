"""Brightness of exposures against each other, from the stars that they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from reducer.align.match import StarList, pair_up
from reducer.frame import F64, Context, FrameRef, Table
from reducer.steps.detect import NO_POSITION, WIDE_RADII, WIDE_RING, is_blurred

#: Of an exposure's stars: u, v on the common plane, magnitude and its error.
Stars = tuple[F64, F64, F64, F64]

#: Arcsec within which aligned sources are the same star.
SAME = 0.06
#: Signal to noise in the widest aperture that a star needs; scatter that photons do not explain, mag.
LEAST_SIGNAL, OWN_SCATTER = 15.0, 0.01
#: The same for cores, whose share of a star's light varies with the place in the field.
CORE_SCATTER = 0.05
#: Light of the sources around a star, over its own, above which it does not stand alone.
MOST_NEIGHBOURS = 1.0
#: How much of its neighbours' light (root of their squares) a star's total is uncertain by: images change,
#: and with them what crosses the edges of apertures; all of it where the ring leaves the array, for then
#: each exposure has another part of it.
LEAK, LEAK_AT_EDGE = 0.1, 1.0
#: Powers of the radius with which the light beyond it may fall.
POWERS = (2.5, 3.0, 3.5, 4.0)
#: Error in mag above which the wide apertures have too few stars: cores then decide.
LEAST_CERTAIN = 0.04
#: By how much the share of the cores in all light changes from exposure to exposure, mag.
CORES_CHANGE = 0.035
#: The aperture (index into RADII) that cores are measured in.
CORE = 1
#: Transparency further than this from the other exposures' is warned about.
CLOUDY = 0.7


def scaleCountsToReference(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Give each aligned frame the factor that brings its stars to the brightness in the first frame.

    Frames that share no good star with others are scaled by exposure time alone, and it is said.
    """
    times = np.array([max(float(frame.header.get("EXPTIME") or 1.0), 1e-6) for frame in frames])
    log_ratio, error = total_brightness(frames)
    scaled = []
    for number, frame in enumerate(frames):
        by_time = float(times[0] / times[number])
        factor = float(10.0 ** (0.4 * (log_ratio[number] - log_ratio[0])))
        if not np.isfinite(factor):
            context.notify("warning", text=f"{frame.path.name}: no star to scale by; scaled by exposure time")
            factor = by_time
        transparency = by_time / factor
        said = (
            f"{frame.path.name}: transparency {transparency:.4f} +- {error[number] * 0.921:.4f} of the first"
        )
        context.notify("warning" if transparency < CLOUDY else "info", text=said)
        scaled.append(frame.with_(scale=factor))
    return scaled


def total_brightness(frames: Sequence[FrameRef]) -> tuple[F64, F64]:
    """Magnitude offset of each aligned frame and its error, for all of the stars' light; NaN: no shared star.

    Measured in each of the wide apertures and carried to infinity: halos differ from exposure to exposure,
    and what they lose beyond a radius falls with one power of it. Exposures with too few stars in them are
    compared by the cores of all their stars.
    """
    bright = [_bright(frame) for frame in frames]
    found = [relative_brightness(rows) for rows in zip(*bright, strict=True)]
    offsets, errors = np.stack([f[0] for f in found]), np.stack([f[1] for f in found])
    fits = [_to_infinity(offsets, growth_shape(power)) for power in POWERS]
    totals, _ = min(fits, key=lambda fit: fit[1])
    cores, core_errors = relative_brightness([_cores(frame)[0] for frame in frames])
    core_errors = np.hypot(core_errors, CORES_CHANGE)
    unsure = ~np.isfinite(totals) | (errors[-1] > LEAST_CERTAIN)
    if unsure[0]:
        return cores, core_errors
    return np.where(unsure, cores - cores[0] + totals[0], totals), np.where(unsure, core_errors, errors[-1])


def growth_shape(power: float) -> F64:
    """What the wide apertures lose, (radii,), of a halo that loses radius**-power beyond a radius: that, and
    what the background ring holds of it over the aperture's area; 1 at the innermost radius' loss."""
    radii = np.array(WIDE_RADII) / WIDE_RADII[0]
    ring = np.mean(WIDE_RING) / WIDE_RADII[0]
    return np.asarray(radii**-power + power / 2.0 * radii**2 * ring ** (-power - 2.0), float)


def _to_infinity(offsets: F64, shape: F64) -> tuple[F64, float]:
    """Offsets (frames,) at infinite radius from (radii, frames), and the sum of squares that is left."""
    design = np.stack([np.ones(len(shape)), shape], axis=1)
    good = np.isfinite(offsets).all(axis=0)
    solution = np.linalg.lstsq(design, offsets[:, good], rcond=None)[0]
    left = offsets[:, good] - design @ solution
    totals = np.full(offsets.shape[1], np.nan)
    totals[good] = solution[0]
    return totals, float((left**2).sum())


def _bright(frame: FrameRef) -> list[Stars]:
    """A frame's good bright stars in each wide aperture (see ``_stars``)."""
    tables, lights = [], []
    for table, chip in zip(frame.sources, frame.chips, strict=True):
        good = _good(table)
        stars, leak = table[good], _leaks(table, good, int(chip["NAXIS1"]), int(chip["NAXIS2"]))
        tables.append(stars)
        lights.append((stars["wide"], np.hypot(stars["wide_error"], leak[:, None])))
    return _stars(frame, tables, lights, OWN_SCATTER)


def _cores(frame: FrameRef) -> list[Stars]:
    """The cores of all of a frame's stars with a trusted position (see ``_stars``)."""
    tables = [table[_has_core(table)] for table in frame.sources]
    lights = [(table["flux"][:, [CORE]], table["flux_error"][:, [CORE]]) for table in tables]
    return _stars(frame, tables, lights, CORE_SCATTER)


def _stars(
    frame: FrameRef, tables: Sequence[Table], lights: Sequence[tuple[F64, F64]], scatter: float
) -> list[Stars]:
    """Plane positions of the sources of each array, their magnitudes and errors, for each column of their
    light and its error.

    A flat makes surface brightness of light, so a star's sum over pixels is multiplied by their area on the
    sky: it differs by 6 % over the field, and a star may move from one array to another.
    """
    assert frame.geometry is not None
    places, magnitudes, errors = [], [], []
    for chip, (table, (flux, error)) in enumerate(zip(tables, lights, strict=True)):
        places.append(np.stack(frame.geometry.evaluate(table["x"], table["y"], chip), axis=1))
        total = flux * frame.geometry.area(table["x"], table["y"], chip)[:, None]
        magnitudes.append(-2.5 * np.log10(total))
        errors.append(np.hypot(1.0857 * error / flux, scatter))
    u, v = np.concatenate(places).T
    columns = zip(np.concatenate(magnitudes).T, np.concatenate(errors).T, strict=True)
    return [(u, v, magnitude, error) for magnitude, error in columns]


def _has_core(table: Table) -> F64:
    strong = table["flux"][:, CORE] > LEAST_SIGNAL * table["flux_error"][:, CORE]
    return np.asarray(((table["flags"] & NO_POSITION) == 0) & strong)


def _good(table: Table) -> F64:
    """Stars whose light is well measured in all wide apertures."""
    usable = (table["flags"] & NO_POSITION) == 0
    light = np.nan_to_num(table["wide"].min(axis=1), nan=-1.0)
    return np.asarray(
        usable & (light > LEAST_SIGNAL * np.nan_to_num(table["wide_error"][:, -1])) & (light > 0)
    )


def _leaks(table: Table, some: F64, width: int, height: int) -> F64:
    """By how many electrons neighbours make the light of some sources of an array uncertain."""
    reach = WIDE_RING[1] * (2.0 if is_blurred(table) else 1.0)
    places = np.stack([table["x"], table["y"]], axis=1)
    square = np.maximum(table["flux"][:, CORE], 0.0) ** 2
    near = cKDTree(places).query_ball_point(places[some], 1.4 * reach) if some.any() else []
    around = np.array([square[index].sum() for index in near]) - square[some]
    x, y = table["x"][some], table["y"][some]
    inside = np.minimum.reduce([x, y, width - 1 - x, height - 1 - y]) >= reach
    return np.asarray(np.sqrt(np.maximum(around, 0.0)) * np.where(inside, LEAK, LEAK_AT_EDGE))


def is_isolated(table: Table) -> F64:
    """Whether other sources near enough to reach a star's background ring are much fainter together."""
    places = np.stack([table["x"], table["y"]], axis=1)
    measured = np.isfinite(table["wide"][:, 0])
    light = np.maximum(table["flux"][:, 1], 0.0)
    alone = np.zeros(len(table), bool)
    if measured.any():
        near = cKDTree(places).query_ball_point(places[measured], 1.4 * WIDE_RING[1])
        total = np.array([light[index].sum() for index in near])
        alone[measured] = total - light[measured] < MOST_NEIGHBOURS * light[measured]
    return alone


def relative_brightness(rows: Sequence[Stars]) -> tuple[F64, F64]:
    """Magnitude offset of each exposure and its error, from (u, v, magnitude, error) of its stars.

    One robust least squares for all stars and exposures; NaN for exposures that share no star. Where the
    stars scatter by more than their errors, as the wide apertures of crowded fields do, the error says so.
    """
    frame, star, magnitude, error = _identify(rows)
    offsets = np.full(len(rows), np.nan)
    if not len(frame):
        offsets[0] = 0.0
        return offsets, np.zeros(len(rows))
    weights = 1.0 / error**2
    offset = np.zeros(len(rows))
    for _ in range(30):
        mean = _means(star, magnitude - offset[frame], weights, int(star.max()) + 1)
        residual = magnitude - mean[star]
        offset = _means(frame, residual, weights, len(rows))
        away = (residual - offset[frame]) / error
        weights = 1.0 / error**2 / (1.0 + (away / 2.5) ** 2)
    present = np.bincount(frame, minlength=len(rows)) > 0
    offsets[present] = offset[present]
    sums = np.bincount(frame, weights, len(rows))
    free = len(frame) - len(np.unique(star)) - int(present.sum()) + 1
    return offsets, np.where(present, _excess(away, free) / np.sqrt(np.maximum(sums, 1e-12)), 0.0)


def _excess(away: F64, free: int) -> float:
    """How many times more than its error a measurement scatters, at least 1; ``free``: degrees of freedom."""
    if free < 1:
        return 1.0
    spread = 1.4826 * float(np.median(np.abs(away)) * np.sqrt(len(away) / free))
    return max(spread, 1.0)


def _means(group: F64, values: F64, weights: F64, count: int) -> F64:
    total = np.bincount(group, weights, count)
    return np.asarray(np.bincount(group, weights * values, count) / np.maximum(total, 1e-30))


def _identify(rows: Sequence[Stars]) -> tuple[F64, F64, F64, F64]:
    """All measurements of stars that are seen in at least two exposures: frame, star, magnitude, error."""
    known = StarList(np.zeros(0), np.zeros(0), np.zeros(0))
    parts = []
    for number, (u, v, magnitude, error) in enumerate(rows):
        index = pair_up(u, v, known, SAME)
        new = np.flatnonzero(index < 0)
        index[new] = len(known.u) + np.arange(len(new))
        known = StarList(
            np.concatenate([known.u, u[new]]),
            np.concatenate([known.v, v[new]]),
            np.concatenate([known.magnitude, magnitude[new]]),
        )
        parts.append((np.full(len(u), number), index, magnitude, error))
    frame, star, magnitude, error = (np.concatenate(column) for column in zip(*parts, strict=True))
    several = np.bincount(star, minlength=1)[star] >= 2 if len(star) else np.zeros(0, bool)
    return frame[several], star[several], magnitude[several], error[several]
