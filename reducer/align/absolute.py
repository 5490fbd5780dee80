"""Absolute positions: all aligned exposures laid together on a catalogue's stars, as far as these carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reducer import parameters
from reducer.align import distortion
from reducer.align.export import write_if_asked
from reducer.align.geometry import Geometry
from reducer.align.match import SEARCH_RADIUS, Offset, StarList, find_offset, pair_up
from reducer.align.references import References, read_references
from reducer.align.sky import sky_to_plane
from reducer.align.solve import DEGREE, FIXED, displacements, prior_sizes
from reducer.errors import BadInput
from reducer.frame import F64, Context, FrameRef
from reducer.headers.descriptors import describe
from reducer.steps.detect import NO_POSITION

#: Fewest reference stars from which rotation, scale and further terms are taken; three for a coefficient.
FOR_ROTATION, FOR_SCALE, PER_COEFFICIENT = 3, 5, 3
#: Parameters of ``displacements`` up to shift, rotation, scale, all linear terms; then per axis by degree.
SHIFT, ROTATION, SCALE, LINEAR = 2, 3, 4, 6
#: Arcsec about the field within which a catalogue's stars count; in units of the tie's rms, how near its star
#: has to be in the end.
FIELD_REACH, NEARER = 90.0, 6.0
#: How many of a catalogue's stars are used to recognise the field, and how many pairs are compared.
MOST_LISTED, MOST_PAIRS = 200, 100_000
STEP = "determineAstrometricSolution"
#: An error of this size or more in arcsec (2MASS) never fixes more than shift and rotation.
COARSE_ERROR = 0.05


@dataclass(frozen=True)
class Tie:
    """How the exposures were tied to a catalogue: parameters of ``displacements``, stars, rms in arcsec."""

    parameters: F64
    stars: int
    rms: float


def determineAstrometricSolution(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Shift and bend all aligned frames together onto the catalogue that the step is given, if any."""
    tied = tie_frames(frames, context)
    write_if_asked(tied, "determineAstrometricSolution", "_astrometryCorrected", context)
    return tied


def tie_frames(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """The frames with their geometries laid on the catalogue; as they are if none is there or matches."""
    name = parameters.value(context, STEP, "catalog")
    if not name or str(name).lower() == "none":
        context.notify("info", text="no catalogue: the headers' pointing stands, good to some 0.3 arcsec")
        return list(frames)
    when = describe(frames[0].header, frames[0].chips).ut_datetime
    epoch = 2000.0 if when is None else when.year + (when.timetuple().tm_yday - 1) / 365.25
    references = read_references(Path(str(name)), epoch)
    tie = tie_to(frames, references, context)
    if tie is None:
        return list(frames)
    said = f"{tie.stars} stars of {references.name}, rms {tie.rms * 1e3:.1f} mas per axis"
    context.notify("decision", what=f"positions are those of {references.name}", reason=said)
    return [_tied(frame, tie, references) for frame in frames]


def tie_to(frames: Sequence[FrameRef], references: References, context: Context) -> Tie | None:
    """The common displacement that lays the frames' stars on the catalogue; None if too few match."""
    geometry = _geometry(frames[0])
    u, v = sky_to_plane(references.ra, references.dec, geometry.tangent)
    stars = merge(frames)
    near = np.hypot(u - np.median(stars.u), v - np.median(stars.v)) < FIELD_REACH
    listed = StarList(u[near], v[near], references.magnitude[near])
    if not len(listed.u):
        context.notify("info", text=f"no star of {references.name} lies in this field")
        return None
    offset = recognise(listed, stars)
    if offset is None:
        text = f"no star of {references.name} was recognised: the headers' pointing stands"
        context.notify("warning", text=text)
        return None
    tolerance = float(parameters.value(context, STEP, "final"))
    fewest = int(parameters.value(context, STEP, "min_matches") or 1)
    tie, index = None, pair_up(stars.u + offset.du, stars.v + offset.dv, listed, tolerance)
    for _ in range(2):
        found = index >= 0
        if found.sum() < max(fewest, 1):
            text = f"only {found.sum()} stars of {references.name}: the headers' pointing stands"
            context.notify("warning", text=text)
            return None
        place = np.stack([listed.u, listed.v], axis=1)[index[found]]
        gap = place - np.stack([stars.u, stars.v], axis=1)[found]
        tie = fit_tie(stars.u[found], stars.v[found], gap, references.error[near][index[found]])
        # Once tied, a star has to lie much nearer to be the catalogue's.
        moved = _moves(stars.u, stars.v) @ tie.parameters
        closer = min(tolerance, max(NEARER * tie.rms, 3.0 * float(np.median(references.error[near]))))
        index = pair_up(stars.u + moved[:, 0], stars.v + moved[:, 1], listed, closer)
    return tie


def recognise(listed: StarList, stars: StarList) -> Offset | None:
    """The offset of stars from a catalogue that has few of them, or many that are too faint to be seen.

    Brightness does not count: catalogues are of other bands.
    """
    some = listed.brightest(MOST_LISTED)
    others = stars.brightest(max(MOST_PAIRS // len(some.u), 1))
    plain = [replace(each, magnitude=np.zeros(len(each.u))) for each in (some, others)]
    tries = (find_offset(plain[0], plain[1], radius, voters=(MOST_PAIRS,)) for radius in (1.0, SEARCH_RADIUS))
    return next((offset for offset in tries if offset is not None), None)


def fit_tie(u: F64, v: F64, gap: F64, error: F64) -> Tie:
    """The parameters of ``displacements`` that fit gaps (n, 2) in arcsec, of the terms that n carries."""
    moves = _moves(u, v)
    priors = tie_priors(len(u), float(np.median(error)))
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
    return Tie(parameters_, len(u), float(1.4826 * np.median(np.abs(left))))


def tie_priors(count: int, error: float) -> F64:
    """Sizes in arcsec that the terms may take: zero for those that so many stars do not carry."""
    priors = prior_sizes("full")
    free = SHIFT
    if count >= FOR_ROTATION:
        free = ROTATION
    if count >= FOR_SCALE and error < COARSE_ERROR:
        free = SCALE
    if count >= PER_COEFFICIENT * LINEAR and error < COARSE_ERROR:
        free = LINEAR
    held = np.full(len(priors), True)
    held[:free] = False
    exponents = [i + j for i, j in distortion.degrees(DEGREE) if i + j >= 2]
    for degree in range(2, DEGREE):
        carried = count >= PER_COEFFICIENT * 2 * distortion.term_count(degree)
        if carried and error < prior_sizes()[LINEAR + exponents.index(degree)]:
            for axis in (0, 1):
                places = [k for k, total in enumerate(exponents) if total == degree]
                held[[LINEAR + axis * len(exponents) + k for k in places]] = False
    return np.where(held, FIXED, priors)


def merge(frames: Sequence[FrameRef]) -> StarList:
    """Mean places and magnitudes of the good stars of all frames on the common plane, brightest first."""
    parts = []
    for frame in frames:
        geometry = _geometry(frame)
        for chip, table in enumerate(frame.sources):
            sources = table[((table["flags"] & NO_POSITION) == 0) & (table["flux"][:, 0] > 0)]
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


def _moves(u: F64, v: F64) -> F64:
    xs, ys = u + distortion.FIELD_CENTRE[0], v + distortion.FIELD_CENTRE[1]
    return displacements(xs, ys, np.zeros(len(u), np.intp))


def _tied(frame: FrameRef, tie: Tie, references: References) -> FrameRef:
    """The frame with the displacement in its geometry: a polynomial of the plane is one of the field."""
    geometry = _geometry(frame)
    edge = np.linspace(-1.0, 1.0, 13) * distortion.FIELD_HALF_WIDTH
    xs, ys = (g.ravel() + c for g, c in zip(np.meshgrid(edge, edge), distortion.FIELD_CENTRE, strict=True))
    u, v = geometry.nominal(xs, ys)
    terms = distortion.basis(xs, ys, DEGREE)
    old = np.zeros((2, terms.shape[1]))
    if geometry.coefficients is not None:
        old[:, : geometry.coefficients.shape[1]] = geometry.coefficients
    placed = np.stack([u, v], axis=1) + terms @ old.T
    moved = _moves(placed[:, 0], placed[:, 1]) @ tie.parameters
    added = np.linalg.lstsq(terms, moved, rcond=None)[0].T
    header = frame.header.copy()
    header["ASTRCAT"], header["ASTRNUM"] = references.name[:60], tie.stars
    header["ASTRRMS"], header["ASTREPOC"] = round(tie.rms, 5), round(references.epoch, 3)
    return frame.with_(header=header, geometry=replace(geometry, degree=DEGREE, coefficients=old + added))


def _geometry(frame: FrameRef) -> Geometry:
    if frame.geometry is None:
        raise BadInput(f"{frame.path.name} is not aligned", "adjustWCSToReference before this step")
    return frame.geometry
