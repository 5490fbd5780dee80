"""From sources and headers of all exposures to one trusted geometry each, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reducer.align.identify import SEARCH_RADIUS, Notify, StarList, identify, pair_up
from reducer.align.solve import (
    DEGREE,
    Index,
    Observations,
    Solution,
    displacements,
    fit_to_stars,
    fitted_parameters,
    predicted_rms,
    prior_sizes,
    solve_together,
    to_coefficients,
)
from reducer.align.wcs import nominal_geometry
from reducer.astrometry import Field, Geometry, mean_position
from reducer.errors import CannotAlign
from reducer.frame import FrameRef
from reducer.sources import well_measured
from reducer.types import F64, Reason, because

#: Models from the fullest to the simplest; the header's offsets alone come last.
MODELS = ("full", "shift+rotation", "shift", "header offsets")
#: Rms in arcsec within which stars that are left out of a fit are foretold by one that is right, however far
#: it departs: half a pixel; and the part of the matches that the other exposures let expect, by its sources
#: or by their number, that it needs, for a wrong one may fit those that it happens to bring together.
FORETOLD, MATCHED = 0.01, 0.7
#: Degrees within which exposures have one position angle.
SAME_ANGLE = 5.0
#: Observations in all that one solution uses; signal to noise below which a source is not used, and from
#: which on another exposure like its own must show it too.
MOST_OBSERVATIONS = 60_000
LEAST_SIGNAL, STRONG = 8.0, 40.0
#: The part of its coordinates that a fit must leave over for its residuals to say something.
LEAST_LEFT_OVER = 0.1


@dataclass(frozen=True)
class Limits:
    """What the user may set: ``radius`` arcsec within which an offset is sought, ``tolerance`` arcsec within
    which aligned sources are one star, the highest ``order`` of an exposure's own polynomial, and the
    fewest stars that an exposure must share with the others."""

    radius: float = SEARCH_RADIUS
    tolerance: float = 0.06
    order: int = DEGREE
    fewest: int = 1


DEFAULT = Limits()


@dataclass(frozen=True)
class Alignment:
    """What came out: a geometry for each exposure or None, and each one's matches per exposure."""

    geometries: tuple[Geometry | None, ...]
    reasons: tuple[Reason, ...]


def align_exposures(frames: Sequence[FrameRef], notify: Notify, limits: Limits = DEFAULT) -> Alignment:
    """Geometries of exposures with measured sources; None for those that nothing brings together.

    Raises CannotAlign if no exposure is left. Decisions are told to ``notify``.
    """
    nominal = [nominal_geometry(frame) for frame in frames]
    tangent = mean_position([geometry.pointing for geometry in nominal])
    nominal = [replace(geometry, tangent=tangent) for geometry in nominal]
    if len(frames) == 1:
        notify("single_exposure", file=frames[0].path.name)
        return Alignment(tuple(nominal), ({},))
    _tell_orientations(frames, nominal, notify)
    observations = _observe(frames, nominal)
    names = [frame.path.name for frame in frames]
    found = identify(observations, nominal, names, notify, limits.radius)
    star, reasons = found.star, list(found.reasons)
    if not (star >= 0).any():
        return _by_headers(frames, nominal, reasons, notify)
    if found.turns.any():
        nominal = [_turned(geometry, turn) for geometry, turn in zip(nominal, found.turns, strict=True)]
        observations = _observe(frames, nominal)
    models = ["header offsets" if reason else "full" for reason in reasons]
    sources = np.bincount(observations.frame, minlength=len(frames))
    solution, star, observations = _refine(observations, star, models, limits)
    solution, models = _guard(observations, sources, star, solution, models, names, notify, limits)
    shared = np.bincount(star)[star]
    geometries = _geometries(nominal, observations, shared, solution, models, reasons, limits)
    if all(reasons):
        return _by_headers(frames, nominal, [{}] * len(frames), notify)
    for frame, geometry, reason in zip(frames, geometries, reasons, strict=True):
        _tell(frame, geometry, reason, notify)
    return Alignment(tuple(geometries), tuple(reasons))


def _observe(frames: Sequence[FrameRef], nominal: Sequence[Geometry]) -> Observations:
    """The sources of all exposures that can be trusted for positions, as one list."""
    chips = max(sum(len(frame.chips) for frame in frames), 1)
    most = max(MOST_OBSERVATIONS // chips, 60)
    rows = []
    for number, (frame, geometry) in enumerate(zip(frames, nominal, strict=True)):
        for chip, table in enumerate(frame.sources):
            sources = table[well_measured(table, LEAST_SIGNAL)][:most]
            xs, ys = geometry.static(sources["x"], sources["y"], chip)
            u, v = geometry.nominal(xs, ys)
            ones = np.ones(len(sources), np.intp)
            exposure = frame.exposure_time
            blurred = sources["fwhm"] > frame.instrument.widths.blurred
            flux = np.where(blurred, sources["flux"][:, -1], sources["flux"][:, 0]) / exposure
            magnitude = -2.5 * np.log10(np.maximum(flux, 1e-6))
            signal = sources["flux"][:, 0] / sources["flux_error"][:, 0]
            rows.append((ones * number, ones * (geometry.regions[chip].array - 1), xs, ys, u, v,
                         sources["error"] * geometry.pixel, magnitude, signal > STRONG))  # fmt: skip
    if not rows:
        raise CannotAlign("there are no sources", "detectSources before the alignment")
    return Observations(nominal[0].field, *(np.concatenate(column) for column in zip(*rows, strict=True)))


def _refine(
    observations: Observations, star: Index, models: Sequence[str], limits: Limits
) -> tuple[Solution, Index, Observations]:
    """Solve all together, match again with what was found, and solve again; only stars seen twice count."""
    used = np.isin(observations.frame, [n for n, model in enumerate(models) if model != "header offsets"])
    everything, star = observations.select(used), star[used]
    for _ in range(2):
        chosen, compact = _seen_twice(star)
        solution = _solve(everything.select(chosen), compact, models, limits)
        moves = displacements(everything.xs, everything.ys, everything.array, everything.field)
        shift = np.einsum("nkp,np->nk", moves, solution.parameters[everything.frame])
        star = _match_again(everything, shift, solution, limits.tolerance)
    chosen, compact = _seen_twice(star)
    kept = everything.select(chosen)
    return _solve(kept, compact, models, limits), compact, kept


def _solve(observations: Observations, star: Index, models: Sequence[str], limits: Limits) -> Solution:
    """Solve with a model for each exposure.

    Exposures held to a simpler model are laid on the stars that the others agree on, so that they do not
    drag them along; only where all are simple do they decide together.
    """
    priors = np.stack([prior_sizes(observations.field, model, limits.order) for model in models])
    leading = np.array([model == "full" for model in models])[observations.frame]
    if leading.all() or not leading.any():
        return solve_together(observations, star, priors)
    _, compact = np.unique(star[leading], return_inverse=True)
    best = solve_together(observations.select(leading), compact.astype(np.intp), priors)
    stars = np.full((int(star.max()) + 1, 2), np.nan)
    stars[np.unique(star[leading])] = np.stack([best.star_u, best.star_v], axis=1)
    parameters = best.parameters.copy()
    residuals, weights = np.zeros((len(star), 2)), np.zeros(len(star))
    residuals[leading], weights[leading] = best.residuals, best.weights
    for number in np.unique(observations.frame[~leading]):
        rows = np.flatnonzero((observations.frame == number) & np.isfinite(stars[star, 0]))
        own, place = observations.select(rows), stars[star[rows]]
        parameters[number], residuals[rows] = fit_to_stars(own, place, priors[number])
        weights[rows] = 1.0
    return Solution(parameters, stars[:, 0], stars[:, 1], residuals, weights)


def _match_again(everything: Observations, shift: F64, solution: Solution, tolerance: float) -> Index:
    stars = StarList(solution.star_u, solution.star_v, np.zeros(len(solution.star_u)))
    star = np.full(len(everything.frame), -1, np.intp)
    for number in np.unique(everything.frame):
        rows = np.flatnonzero(everything.frame == number)
        star[rows] = pair_up(everything.u[rows] + shift[rows, 0], everything.v[rows] + shift[rows, 1],
                             stars, tolerance)  # fmt: skip
    return star


def _seen_twice(star: Index) -> tuple[Index, Index]:
    """Rows whose star has at least two rows, and the stars numbered without gaps."""
    counts = np.bincount(star[star >= 0], minlength=1)
    rows = np.flatnonzero((star >= 0) & (counts[np.maximum(star, 0)] >= 2))
    _, compact = np.unique(star[rows], return_inverse=True)
    return rows, compact.astype(np.intp)


def _guard(
    observations: Observations, sources: Index, star: Index, solution: Solution, models: list[str],
    names: Sequence[str], notify: Notify, limits: Limits,
) -> tuple[Solution, list[str]]:  # fmt: skip
    """Take the next simpler model wherever a solution departs too far from the static one, and say so; unless
    it foretells where stars are that are left out of it, for then it is the static one that is off.

    ``sources``: how many each exposure has; one that shows fewer may match as many fewer.
    """
    models, shared = list(models), np.bincount(star)[star]
    matches = np.bincount(observations.frame, minlength=len(models))
    matching, field = matches > 0, observations.field
    share = np.median(matches[matching] / sources[matching])
    few = matches < MATCHED * np.minimum(np.median(matches[matching]), share * sources)
    for _ in range(len(MODELS)):
        wrong = []
        for n, model in enumerate(models):
            rows = observations.frame == n
            fault = departure(solution.parameters[n], field) if rows.any() else {}
            if not fault or model == "header offsets":
                continue
            left = predicted_rms(observations.select(rows), solution.residuals[rows], solution.weights[rows],
                                 shared[rows], prior_sizes(field, model, limits.order))  # fmt: skip
            if left <= FORETOLD and not few[n]:
                notify("departure_confirmed", file=names[n], stars=matches[n], **fault)
            else:
                wrong.append(n)
                models[n] = MODELS[MODELS.index(model) + 1]
                notify("model_simplified", file=names[n], model=models[n], **fault)
        if not wrong:
            break
        solution = _solve(observations, star, models, limits)
    return solution, models


def departure(parameters: F64, field: Field) -> Reason:
    """Why an exposure's parameters cannot be believed, or nothing.

    ``parameters``: (parameters,), arcsec.
    """
    lever, limits = field.half_width, field.departures
    rotation, stretch = parameters[2] / lever, np.abs(parameters[3:6]).max() / lever
    if abs(rotation) > limits.most_rotation:
        return because("departs_in_rotation", angle=np.degrees(rotation))
    if stretch > limits.most_stretch:
        return because("departs_in_shear", shear=stretch)
    edge = np.linspace(-1.0, 1.0, 15) * lever * 0.98
    xs, ys = (grid.ravel() + c for grid, c in zip(np.meshgrid(edge, edge), field.centre, strict=True))
    moves = displacements(xs, ys, field.nearest(xs, ys), field)
    most = float(least_departure(moves @ parameters, moves[:, :, :3]))
    far = most > limits.most * field.reference_scale
    return because("departs", distance=most * 1e3) if far else {}


def least_departure(moved: F64, rigid: F64) -> float:
    """The largest of displacements ``moved`` (n, 2) after the shift and rotation that make it smallest.

    ``rigid`` (n, 2, 3): how shift and rotation move the points. Lawson's reweighted least squares.
    """
    weights = np.ones(len(moved))
    best = np.inf
    for _ in range(60):
        heavy = np.sqrt(np.repeat(weights, 2))
        solution = np.linalg.lstsq(rigid.reshape(-1, 3) * heavy[:, None], moved.ravel() * heavy, rcond=None)[
            0
        ]
        left = np.hypot(*(moved - rigid @ solution).T)
        best = min(best, float(left.max()))
        if best < 1e-9:
            break
        weights *= left / max(float(left.max()), 1e-12)
        weights /= weights.sum()
    return best


def _geometries(
    nominal: Sequence[Geometry], observations: Observations, shared: Index, solution: Solution,
    models: Sequence[str], reasons: list[Reason], limits: Limits,
) -> list[Geometry | None]:  # fmt: skip
    """The geometries, with the exposures' median pointing left where the headers put it.

    ``shared``: by how many exposures the star of each observation is seen.
    """
    good = [n for n, reason in enumerate(reasons) if not reason]
    anchor = np.median(solution.parameters[good, :2], axis=0)
    found: list[Geometry | None] = []
    for number, geometry in enumerate(nominal):
        rows = observations.frame == number
        if not reasons[number] and rows.sum() < limits.fewest:
            reasons[number] = because("few_stars", stars=rows.sum())
        if reasons[number]:
            found.append(None)
            continue
        parameters = solution.parameters[number].copy()
        parameters[:2] -= anchor
        coefficients, shifts = to_coefficients(parameters, geometry.field.arrays)
        priors = prior_sizes(geometry.field, models[number], limits.order)
        fitted = fitted_parameters(observations.select(rows), solution.weights[rows], priors)
        over = (1.0 - fitted / (2.0 * rows.sum())) * (1.0 - np.mean(1.0 / shared[rows]))
        rms = _rms(solution.residuals[rows], solution.weights[rows], over)
        found.append(
            replace(geometry, degree=DEGREE, coefficients=coefficients, shifts=shifts, model=models[number],
                    rms=rms, matches=int(rows.sum()))
        )  # fmt: skip
    return found


def _rms(residuals: F64, weights: F64, over: float) -> float:
    """Weighted rms per axis, arcsec, of which the fit left a part of ``over``; NaN if that is too little."""
    if over < LEAST_LEFT_OVER:
        return float("nan")
    return float(np.sqrt(np.average(np.mean(residuals**2, axis=1), weights=weights) / over))


def _by_headers(
    frames: Sequence[FrameRef], nominal: Sequence[Geometry], reasons: Sequence[Reason], notify: Notify
) -> Alignment:
    """All by their headers but those with a reason against them."""
    if reasons.count({}) > 1:
        notify("by_headers")
    for frame, reason in zip(frames, reasons, strict=True):
        if reason:
            notify("refused", name=frame.path.name, **reason)
    return Alignment(
        tuple(None if reason else geometry for geometry, reason in zip(nominal, reasons, strict=True)),
        tuple(reasons),
    )


def _tell_orientations(frames: Sequence[FrameRef], nominal: Sequence[Geometry], notify: Notify) -> None:
    """Say which exposures look at the field at another position angle or through another port than most."""
    angles = [float(np.degrees(np.arctan2(*geometry.linear[:, 1]))) for geometry in nominal]
    parities = [float(np.sign(np.linalg.det(geometry.linear))) for geometry in nominal]
    like = [
        [
            abs((a - b + 180.0) % 360.0 - 180.0) < SAME_ANGLE and p == q
            for b, q in zip(angles, parities, strict=True)
        ]
        for a, p in zip(angles, parities, strict=True)
    ]
    most = like[int(np.argmax(np.sum(like, axis=1)))]
    for frame, angle, same in zip(frames, angles, most, strict=True):
        if not same:
            notify("oriented_otherwise", file=frame.path.name, angle=angle % 360.0)


def _turned(geometry: Geometry, angle: float) -> Geometry:
    """A nominal geometry turned about its pointing, radians from east to north."""
    c, s = np.cos(angle), np.sin(angle)
    return replace(geometry, linear=np.array([[c, -s], [s, c]]) @ geometry.linear)


def _tell(frame: FrameRef, geometry: Geometry | None, reason: Reason, notify: Notify) -> None:
    name = frame.path.name
    if geometry is None:
        notify("refused", name=name, **reason)
    elif np.isfinite(geometry.rms):
        notify("aligned", file=name, stars=geometry.matches, rms=geometry.rms * 1e3, model=geometry.model)
    else:
        notify("aligned_exactly", file=name, stars=geometry.matches, model=geometry.model)
