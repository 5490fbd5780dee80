"""Absolute positions: all aligned exposures laid together on a catalogue's stars, as far as these carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reducer.align.global_fit import Limits
from reducer.align.identify import (
    COARSE,
    SURE,
    TURNS,
    Offset,
    StarList,
    chance_pairs,
    is_beyond_chance,
    offsets,
    pair_up,
)
from reducer.align.solve import DEGREE, FIXED, displacements, prior_sizes
from reducer.astrometry import Field, Position, degrees, sky_to_plane, term_count
from reducer.frame import Context, FrameRef
from reducer.references import References
from reducer.sources import well_measured
from reducer.types import F64

#: Fewest reference stars from which rotation, scale and further terms are taken; three for a coefficient.
FOR_ROTATION, FOR_SCALE, PER_COEFFICIENT = 3, 5, 3
#: Highest order of the polynomial unless told otherwise.
HIGHEST = 3
#: Parameters of ``displacements`` up to shift, rotation, scale, all linear terms; then per axis by degree.
SHIFT, ROTATION, SCALE, LINEAR = 2, 3, 4, 6
#: Half widths of the field within which a catalogue's stars count; in units of the tie's rms, how near its
#: star has to be in the end.
REACH, NEARER = 2.07, 6.0
#: How many of a catalogue's stars, where it tells the bright ones, and of the frames' are used to recognise
#: the field; and how many there are at most of either where so few matches as there can be prove nothing.
MOST_LISTED, MOST_SEEN, FEW = 200, 400, 5
#: An error of this size or more in arcsec (2MASS) never fixes more than shift and rotation.
COARSE_ERROR = 0.05
#: What headers' rotation is good to, as arcsec at the field's edge (0.4 degree).
TURNED = 0.3
#: Residuals are far above the catalogue's errors from so many times these and what centres are good to.
FAR, CENTRE = 5.0, 0.003


@dataclass(frozen=True)
class Tie:
    """How the exposures were tied to a catalogue: a turn (radians) about the tangent point, then parameters
    of ``displacements`` over the field; stars, their rms residual and the catalogue's own error, arcsec per
    axis."""

    field: Field
    parameters: F64
    stars: int
    rms: float
    error: float
    turn: float = 0.0

    def moves(self, u: F64, v: F64) -> F64:
        """How far places on the common plane are moved, (n, 2)."""
        turned = _turn(u, v, self.turn)
        bent = _moves(turned[:, 0], turned[:, 1], self.field) @ self.parameters
        return np.asarray(turned - np.stack([u, v], axis=1) + bent, float)

    @property
    def is_far(self) -> bool:
        """Whether residuals are far above what the catalogue's errors explain."""
        return self.stars > FEW and self.rms > FAR * float(np.hypot(self.error, CENTRE))


def tie_to(
    frames: Sequence[FrameRef], references: References, limits: Limits, context: Context
) -> Tie | None:
    """The common displacement that lays the frames' stars on the catalogue; None if too few match, or no more
    than by chance. ``limits``: of the match with the catalogue."""
    tangent, field = frames[0].placed.tangent, frames[0].placed.field
    u, v = sky_to_plane(references.ra, references.dec, tangent)
    stars = merge(frames)
    if not len(stars.u):
        context.notify("no_star_to_tie")
        return None
    away = np.hypot(u - np.median(stars.u), v - np.median(stars.v))
    near = (away < REACH * field.half_width) & (_cosines(references.ra, references.dec, tangent) > 0)
    if not near.any():
        _tell_nothing_near(references, tangent, REACH * field.half_width, context)
        return None
    listed, error = StarList(u[near], v[near], references.magnitude[near]), references.error[near]
    ties = (
        _lay(stars, listed, error, offset, float(turn), limits, field)
        for turn in (0.0, *np.radians(TURNS))
        for offset in recognise(listed, turned(stars, turn), limits.radius)
    )
    tie = next((found for found in ties if found is not None), None)
    if tie is None:
        context.notify("catalog_unmatched", catalog=references.name)
    elif tie.stars < limits.fewest:
        context.notify("catalog_too_few", catalog=references.name, stars=tie.stars, fewest=limits.fewest)
        return None
    return tie


def _lay(
    stars: StarList, listed: StarList, error: F64, offset: Offset, turn: float, limits: Limits, field: Field,
) -> Tie | None:  # fmt: skip
    """The tie that an offset leads to; None if its matches are no more than chance brings, unless there are
    so few stars that this cannot be told."""
    place = _turn(stars.u, stars.v, turn)
    moved = place + np.array([offset.du, offset.dv])
    closest = max(SURE, 3.0 * float(np.median(error)))
    tie, reach = None, max(COARSE, limits.tolerance)
    for _ in range(4):
        index = pair_up(moved[:, 0], moved[:, 1], listed, reach)
        found = index >= 0
        if not found.any():
            return None
        there = np.stack([listed.u, listed.v], axis=1)[index[found]]
        gap = there - place[found]
        tie = fit_tie(place[found, 0], place[found, 1], gap, error[index[found]], field, limits.order)
        tie = replace(tie, turn=turn)
        moved = np.stack([stars.u, stars.v], axis=1) + tie.moves(stars.u, stars.v)
        # Once tied, a star has to lie much nearer to be the catalogue's.
        reach = min(limits.tolerance, max(NEARER * tie.rms, closest))
    assert tie is not None
    if not turn and min(len(stars.u), len(listed.u)) <= FEW:
        return tie
    sure = min(closest, limits.tolerance)
    pairs = int(np.sum(pair_up(moved[:, 0], moved[:, 1], listed, sure) >= 0))
    expected = chance_pairs(moved[:, 0], moved[:, 1], listed, sure, field.area)
    return tie if is_beyond_chance(pairs, expected, limits.radius, sure) else None


def recognise(listed: StarList, stars: StarList, radius: float) -> Iterator[Offset]:
    """Offsets of stars from a catalogue that has few of them, or many that are too faint to be seen, the
    likeliest first.

    Brightness does not count: catalogues are of other bands. Where a catalogue has none, all its stars do.
    """
    some = listed.brightest(MOST_LISTED) if np.ptp(listed.magnitude) else listed
    others = stars.brightest(MOST_SEEN)
    every = (max(len(some.u), len(others.u)),)
    for within in dict.fromkeys((min(1.0, radius), radius)):
        yield from offsets(some, others, within, every, np.inf)


def turned(stars: StarList, angle: float) -> StarList:
    """Stars turned about the tangent point, radians from east to north."""
    places = _turn(stars.u, stars.v, angle)
    return StarList(places[:, 0], places[:, 1], stars.magnitude)


def _turn(u: F64, v: F64, angle: float) -> F64:
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * u - s * v, s * u + c * v], axis=1)


def _cosines(ra: F64, dec: F64, tangent: Position) -> F64:
    """Of the angles between stars and the tangent point: negative on the other side of the sky."""
    a, d, d0 = np.radians(ra - tangent[0]), np.radians(dec), np.radians(tangent[1])
    return np.asarray(np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a), float)


def _tell_nothing_near(references: References, tangent: Position, reach: float, context: Context) -> None:
    """Say that no star of a catalogue lies within ``reach`` arcsec of the field's middle."""

    def distance(ra: F64) -> float:
        return float(np.degrees(np.arccos(np.clip(_cosines(ra, references.dec, tangent), -1.0, 1.0)).min()))

    in_hours = distance(references.ra * 15.0) < reach / 3600.0
    fact = "catalog_in_hours" if in_hours else "catalog_elsewhere"
    context.notify(fact, catalog=references.name, angle=distance(references.ra))


def fit_tie(u: F64, v: F64, gap: F64, error: F64, field: Field, order: int = HIGHEST) -> Tie:
    """The parameters of ``displacements`` that fit gaps (n, 2) in arcsec, of the terms that n carries, of no
    higher ``order``."""
    moves = _moves(u, v, field)
    priors = tie_priors(len(u), float(np.median(error)), field, order)
    design, values = moves.reshape(2 * len(u), -1), gap.ravel()
    parameters_ = np.zeros(len(priors))
    parameters_[:2] = np.median(gap, axis=0)
    for _ in range(8):
        left = (values - design @ parameters_).reshape(-1, 2)
        scale = np.maximum(error, 1.4826 * np.median(np.abs(left)) if len(u) > 4 else 0.0)
        weights = np.repeat(1.0 / (scale**2 + np.sum(left**2, axis=1) / 9.0), 2)
        normal = (design * weights[:, None]).T @ design + np.diag(1.0 / priors**2)
        parameters_ = np.linalg.solve(normal, design.T @ (weights * values))
    left = (values - design @ parameters_).reshape(-1, 2)
    return Tie(field, parameters_, len(u), float(1.4826 * np.median(np.abs(left))), float(np.median(error)))


def tie_priors(count: int, error: float, field: Field, order: int = HIGHEST) -> F64:
    """Sizes in arcsec that the terms may take: zero for those that so many stars do not carry."""
    sizes = prior_sizes(field)
    priors = sizes.copy()
    priors[SHIFT] = TURNED
    free = SHIFT
    if count >= FOR_ROTATION:
        free = ROTATION
    if count >= FOR_SCALE and error < COARSE_ERROR:
        free = SCALE
    if count >= PER_COEFFICIENT * LINEAR and error < COARSE_ERROR:
        free = LINEAR
    held = np.full(len(priors), True)
    held[:free] = False
    exponents = [i + j for i, j in degrees(DEGREE) if i + j >= 2]
    for degree in range(2, min(order, DEGREE) + 1):
        carried = count >= PER_COEFFICIENT * 2 * term_count(degree)
        if carried and error < sizes[LINEAR + exponents.index(degree)]:
            for axis in (0, 1):
                places = [k for k, total in enumerate(exponents) if total == degree]
                held[[LINEAR + axis * len(exponents) + k for k in places]] = False
    return np.where(held, FIXED, priors)


def merge(frames: Sequence[FrameRef]) -> StarList:
    """Mean places and magnitudes of the good stars of all frames on the common plane, brightest first."""
    parts = []
    for frame in frames:
        geometry = frame.placed
        for chip, table in enumerate(frame.sources):
            sources = table[well_measured(table)]
            u, v = geometry.evaluate(sources["x"], sources["y"], chip)
            parts.append(np.stack([u, v, -2.5 * np.log10(sources["flux"][:, 0])], axis=1))
    every = np.concatenate(parts) if parts else np.zeros((0, 3))
    known = StarList(np.zeros(0), np.zeros(0), np.zeros(0))
    sums, counts = np.zeros((0, 3)), np.zeros(0)
    for part in parts:
        index = pair_up(part[:, 0], part[:, 1], known, 0.06)
        new = np.flatnonzero(index < 0)
        index[new] = len(counts) + np.arange(len(new))
        sums, counts = np.vstack([sums, np.zeros((len(new), 3))]), np.append(counts, np.zeros(len(new)))
        np.add.at(sums, index, part)
        np.add.at(counts, index, 1.0)
        mean = sums / counts[:, None]
        known = StarList(mean[:, 0], mean[:, 1], mean[:, 2])
    return known.brightest(len(every))


def _moves(u: F64, v: F64, field: Field) -> F64:
    xs, ys = u + field.centre[0], v + field.centre[1]
    return displacements(xs, ys, np.zeros(len(u), np.intp), field)


def tied(frame: FrameRef, tie: Tie, references: References) -> FrameRef:
    """The frame with the displacement in its geometry: a polynomial of the plane is one of the field."""
    geometry = frame.placed
    field = geometry.field
    edge = np.linspace(-1.0, 1.0, 13) * field.half_width
    xs, ys = (g.ravel() + c for g, c in zip(np.meshgrid(edge, edge), field.centre, strict=True))
    u, v = geometry.nominal(xs, ys)
    terms = field.basis(xs, ys, DEGREE)
    old = np.zeros((2, terms.shape[1]))
    if geometry.coefficients is not None:
        old[:, : geometry.coefficients.shape[1]] = geometry.coefficients
    placed = np.stack([u, v], axis=1) + terms @ old.T
    moved = tie.moves(placed[:, 0], placed[:, 1])
    added = np.linalg.lstsq(terms, moved, rcond=None)[0].T
    header = frame.header.copy()
    header["ASTRCAT"], header["ASTRNUM"] = references.name[:60], tie.stars
    header["ASTRRMS"], header["ASTRERR"] = round(tie.rms, 5), round(tie.error, 5)
    header["ASTREPOC"] = round(references.epoch, 3)
    return frame.with_(header=header, geometry=replace(geometry, degree=DEGREE, coefficients=old + added))
