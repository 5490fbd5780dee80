"""Star positions and every exposure's own distortion in one robust least squares, priors included."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from reducer.astrometry import Field, degrees, term_count
from reducer.types import F64

#: Degree of each exposure's own smooth distortion.
DEGREE = 4
#: How often weights are found anew, half of them with the places that the first half leaves.
ROUNDS = 8
#: A held-fast term.
FIXED = 1e-9
#: Least error of a centre, arcsec, and the residual in errors at which a star counts half.
LEAST_ERROR = 2e-4
HALF_WEIGHT_AT = 2.5

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Observations:
    """Sources of all exposures, one row each: where they stand in their exposure and on the common plane.

    ``frame``, ``array`` (0..): which; ``xs``, ``ys``: static plane; ``u``, ``v``: common plane by the
    nominal geometry; ``error``: of u and v; all arcsec; ``magnitude`` on any common scale; ``strong``: so
    bright that any exposure like its own must show it.
    """

    field: Field
    frame: Index
    array: Index
    xs: F64
    ys: F64
    u: F64
    v: F64
    error: F64
    magnitude: F64
    strong: NDArray[np.bool_]

    def select(self, index: Index | NDArray[np.bool_]) -> Observations:
        """Some of the rows."""
        rows = {name: column[index] for name, column in vars(self).items() if name != "field"}
        return replace(self, **rows)


@dataclass(frozen=True)
class Solution:
    """Parameters (exposures, terms) of ``displacements``, and what they leave: residuals in arcsec (n, 2)."""

    parameters: F64
    star_u: F64
    star_v: F64
    residuals: F64
    weights: F64


def prior_sizes(field: Field, simple: str = "full", order: int = DEGREE) -> F64:
    """The prior's sigma of each parameter in arcsec, for one of the models that ``together`` names.

    Terms of a degree above ``order`` are held fast.
    """
    own = field.departures
    quadratic_on = [own.by_degree[i + j] for i, j in degrees(DEGREE) if i + j >= 2]
    smooth = [own.shift] * 2 + [own.rotation] + [own.stretch] * 3 + quadratic_on * 2
    sizes = np.array(smooth + [own.array] * (2 * field.arrays))
    free = {"full": len(sizes), "shift+rotation": 3, "shift": 2, "header offsets": 0}[simple]
    sizes[free:] = FIXED
    beyond = [i + j > order for i, j in degrees(DEGREE) if i + j >= 2]
    sizes[6 : 6 + 2 * len(beyond)][beyond * 2] = FIXED
    return sizes


def shape_terms(xs: F64, ys: F64, array: Index, field: Field) -> F64:
    """What moves sources along u and v alike, (n, terms): the Legendre terms, and which array it is."""
    return np.hstack([field.basis(xs, ys, DEGREE), np.eye(field.arrays)[array]])


def displacements(xs: F64, ys: F64, array: Index, field: Field) -> F64:
    """How far each parameter moves a source, (n, 2, parameters): shifts, rotation, stretches, then the rest.

    The rest are the Legendre terms of degree 2 and more, first for u then for v, and a shift of each array.
    """
    terms = shape_terms(xs, ys, array, field)
    return np.stack([terms @ mixed for mixed in mixing(field.arrays)], axis=1)


def to_coefficients(parameters: F64, arrays: int) -> tuple[F64, F64]:
    """One exposure's parameters as Legendre coefficients (2, terms) and shifts (2, arrays), arcsec."""
    count = term_count(DEGREE)
    mixed = mixing(arrays) @ parameters
    return mixed[:, :count], mixed[:, count:]


@cache
def mixing(arrays: int) -> F64:
    """What parameters add to the coefficients of ``shape_terms`` of u and v, (2, terms, parameters)."""
    count = term_count(DEGREE)
    single = 6 + 2 * (count - 3)
    mixed = np.zeros((2, count + arrays, single + 2 * arrays))
    # Shifts; rotation; scale; shears: in the constant and the terms x and y of u, then of v.
    mixed[0, :3, :6] = [[1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, -1, 0, 0, 1]]
    mixed[1, :3, :6] = [[0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 1], [0, 0, 0, 1, -1, 0]]
    mixed[:, 3:count, 6:single] = np.eye(single - 6).reshape(2, count - 3, -1)
    mixed[:, count:, single:] = np.eye(2 * arrays).reshape(2, arrays, 2 * arrays)
    return mixed


def solve_together(observations: Observations, star: Index, priors: F64) -> Solution:
    """Solve for all stars and exposures; ``star`` (n,) says which star each observation is of, in the order
    of their exposures.

    ``priors`` (exposures, parameters): see ``prior_sizes``. Minimises the weighted squares of (nominal
    position + displacement - star) plus those of (parameter / prior); weights fall off with the residual
    (Cauchy), so that wrong matches and blends do not pull, and are found anew in each of the ROUNDS.

    Displacements are taken where the stars are, not where their noisy centres were measured: a map that
    shrinks the field would else shrink the noise with it and look the better for it.
    """
    weights = 1.0 / (observations.error**2 + LEAST_ERROR**2)
    parameters, residuals = np.zeros(priors.shape), np.zeros((len(star), 2))
    for _ in range(2):
        problem = _Problem.build(observations, star, _noiseless_places(observations, residuals), priors)
        for _ in range(ROUNDS // 2):
            parameters = problem.solve(weights, parameters)
            placed, stars = problem.place(parameters, weights)
            residuals = (placed - stars[:, star]).T
            weights = _robust_weights(residuals, observations.error, problem.freedom)
    return Solution(parameters, stars[0], stars[1], residuals, weights)


def _noiseless_places(observations: Observations, residuals: F64) -> tuple[F64, F64]:
    """Static-plane positions less the residuals, which are on the common plane and turned back."""
    places = np.stack([observations.xs, observations.ys], axis=1)
    for number in np.unique(observations.frame):
        rows = observations.frame == number
        design = np.column_stack([np.ones(rows.sum()), places[rows]])
        plane = np.stack([observations.u[rows], observations.v[rows]], axis=1)
        turn = np.linalg.lstsq(design, plane, rcond=None)[0][1:]
        places[rows] -= residuals[rows] @ np.linalg.pinv(turn, rcond=0.1)
    return places[:, 0], places[:, 1]


def fitted_parameters(own: Observations, weights: F64, priors: F64) -> float:
    """How many parameters the stars of one exposure determine: less than there are where priors hold them.

    The trace of the matrix that takes observations to their fitted values.
    ``weights``: (n,), of each star, per arcsec squared; ``priors``: (parameters,), arcsec.
    """
    moves = displacements(own.xs, own.ys, own.array, own.field).reshape(2 * len(own.u), -1)
    normal = (moves * np.repeat(weights, 2)[:, None]).T @ moves
    return float(np.trace(np.linalg.solve(normal + np.diag(1.0 / priors**2), normal)))


def predicted_rms(own: Observations, residuals: F64, weights: F64, shared: Index, priors: F64) -> float:
    """How well one exposure's stars are predicted by a fit to its others, arcsec per axis: rms of residuals
    (n, 2) of stars that are left out in turn; ``shared``: by how many exposures each star is seen."""
    moves = displacements(own.xs, own.ys, own.array, own.field)
    flat = moves.reshape(2 * len(own.u), -1)
    normal = (flat * np.repeat(weights, 2)[:, None]).T @ flat + np.diag(1.0 / priors**2)
    leverage = weights[:, None, None] * (moves @ np.linalg.solve(normal, moves.transpose(0, 2, 1)))
    left = np.linalg.solve(np.eye(2) * (1.0 + 1e-9) - leverage, residuals[:, :, None])[:, :, 0]
    left *= (shared / np.maximum(shared - 1.0, 1.0))[:, None]
    return float(np.sqrt(np.average(np.mean(left**2, axis=1), weights=weights)))


def fit_to_stars(own: Observations, place: F64, priors: F64) -> tuple[F64, F64]:
    """One exposure's parameters that lay it on known ``place`` (n, 2), and the residuals (n, 2) in arcsec.

    Robust: wrong pairs lose their weight as the scale of the residuals that count is narrowed.
    """
    moves = displacements(own.xs, own.ys, own.array, own.field).reshape(2 * len(own.u), -1)
    gap = (place - np.stack([own.u, own.v], axis=1)).ravel()
    parameters = np.zeros(len(priors))
    parameters[:2] = np.where(priors[:2] > FIXED, np.median(gap.reshape(-1, 2), axis=0), 0.0)
    for scale in (0.05, 0.02, 0.01):
        residual = np.hypot(*(gap - moves @ parameters).reshape(-1, 2).T)
        weights = np.repeat(1.0 / (scale**2 + residual**2), 2)
        normal = (moves * weights[:, None]).T @ moves + np.diag(1.0 / priors**2)
        parameters = np.linalg.solve(normal, moves.T @ (weights * gap))
    return parameters, (moves @ parameters - gap).reshape(-1, 2)


def _robust_weights(residuals: F64, error: F64, freedom: F64) -> F64:
    """Weights by error and residual; a common error that the photons do not explain is found and added."""
    size = np.hypot(residuals[:, 0], residuals[:, 1]) / np.sqrt(2.0) / np.sqrt(freedom)
    seen = freedom > 0.2
    extra = 0.0
    if seen.sum() >= 8:
        # The median of a Rayleigh distribution is 1.18 sigma; here size is divided by sqrt 2.
        excess = (size[seen] / 0.8326) ** 2 - error[seen] ** 2
        extra = max(float(np.median(excess)), 0.0)
    variance = error**2 + LEAST_ERROR**2 + extra
    return np.asarray(1.0 / variance / (1.0 + size**2 / variance / HALF_WEIGHT_AT**2), float)


@dataclass(frozen=True)
class _Problem:
    """The linear problem, its observations in the order of their exposures: ``terms``, (terms, n) of each
    exposure, and how parameters are mixed to them; which star each observation is of, its nominal position
    (2, n), and priors (exposures, parameters)."""

    mixing: F64
    terms: tuple[F64, ...]
    star: Index
    seen: Index
    nominal: F64
    priors: F64

    @classmethod
    def build(cls, observations: Observations, star: Index, places: tuple[F64, F64], priors: F64) -> _Problem:
        ends = np.searchsorted(observations.frame, np.arange(1, len(priors)))
        terms = np.split(shape_terms(*places, observations.array, observations.field).T, ends, axis=1)
        nominal = np.stack([observations.u, observations.v])
        mixed, own = mixing(observations.field.arrays), tuple(np.ascontiguousarray(each) for each in terms)
        return cls(mixed, own, star, np.bincount(star), nominal, priors)

    @property
    def freedom(self) -> F64:
        """A star seen n times takes 1/n of each of its residuals' freedom."""
        return np.maximum(1.0 - 1.0 / self.seen[self.star], 0.05)

    def move(self, parameters: F64) -> F64:
        """How far parameters (exposures, parameters) move each observation, (2, n)."""
        pairs = [(self.mixing @ own, terms) for own, terms in zip(parameters, self.terms, strict=True)]
        return np.stack([np.concatenate([mixed[axis] @ terms for mixed, terms in pairs]) for axis in (0, 1)])

    def gather(self, pulls: F64) -> F64:
        """The transpose of ``move``: what pulls (2, n) at the observations do to each parameter."""
        sums, first = [], 0
        for terms in self.terms:
            last = first + terms.shape[1]
            u, v = (
                mixed.T @ (terms @ pull)
                for mixed, pull in zip(self.mixing, pulls[:, first:last], strict=True)
            )
            sums.append(u + v)
            first = last
        return np.stack(sums)

    def average(self, values: F64, shares: F64) -> F64:
        """Mean of (columns, n) values over each star's observations, (columns, stars)."""
        return np.stack([np.bincount(self.star, shares * row, len(self.seen)) for row in values])

    def shares(self, weights: F64) -> F64:
        """The part that each observation has in the mean of its star, (n,)."""
        total = np.bincount(self.star, weights, len(self.seen))
        return np.asarray(weights / np.maximum(total, 1e-30)[self.star], float)

    def place(self, parameters: F64, weights: F64) -> tuple[F64, F64]:
        """Positions of all observations with the parameters applied, and of the stars, (2, n) each."""
        placed = self.nominal + self.move(parameters)
        return placed, self.average(placed, self.shares(weights))

    def solve(self, weights: F64, start: F64) -> F64:
        """The parameters that minimise the squares for given weights, stars eliminated."""
        held, shares = 1.0 / self.priors**2, self.shares(weights)
        shape, size = held.shape, held.size

        def relative(values: F64) -> F64:
            return np.asarray(
                (values - self.average(values, shares).take(self.star, axis=1)) * weights, float
            )

        def normal(vector: F64) -> F64:
            parameters = vector.reshape(shape)
            return np.asarray(self.gather(relative(self.move(parameters))) + held * parameters, float).ravel()

        terms = np.concatenate(self.terms, axis=1)
        common = np.linalg.inv(self._mixed(terms, relative(terms)) + np.diag(held.sum(axis=0)))
        alone = self._inverse_blocks(weights, held)

        def nearly_solve(vector: F64) -> F64:
            # Stars tell least about what all exposures have in common, for they are moved with them: with
            # that beside the exposures' own blocks few rounds are needed, and they end where the priors want.
            part = vector.reshape(shape)
            found = np.einsum("fij,fj->fi", alone, part) + common @ part.sum(axis=0)
            return np.asarray(found.ravel(), float)

        found, _ = cg(
            LinearOperator((size, size), matvec=normal),
            -self.gather(relative(self.nominal)).ravel(),
            x0=start.ravel(),
            rtol=1e-8,
            maxiter=1000,
            M=LinearOperator((size, size), matvec=nearly_solve),
        )
        return np.asarray(found, float).reshape(shape)

    def _inverse_blocks(self, weights: F64, held: F64) -> F64:
        """Inverse normal matrix of each exposure alone, (exposures, parameters, parameters)."""
        parts = np.split(weights, np.cumsum([terms.shape[1] for terms in self.terms])[:-1])
        blocks = [
            self._mixed(terms, terms * part) + np.diag(own)
            for terms, part, own in zip(self.terms, parts, held, strict=True)
        ]
        return np.asarray(np.linalg.inv(np.stack(blocks)), float)

    def _mixed(self, terms: F64, weighted: F64) -> F64:
        """The normal matrix of the parameters from ``shape_terms`` (terms, n) and the same, weighted."""
        normal = terms @ weighted.T
        return np.asarray(sum(mixed.T @ normal @ mixed for mixed in self.mixing), float)
