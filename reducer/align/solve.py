"""Star positions and every exposure's own distortion in one robust least squares, priors included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from reducer.align import distortion
from reducer.frame import F64

#: Degree of each exposure's own smooth distortion.
DEGREE = 4
#: Typical sizes of an exposure's departures from the static model at the field's edge, arcsec: what the
#: matches do not determine is held at zero with these errors. Shift is free within the header's error;
#: rotation 0.04 degree, scale and shear 1.4e-4, then quadratic, cubic, quartic terms, and single arrays. What
#: changes from exposure to exposure is quadratic in the main; where stars are few, higher terms that are
#: allowed more than their due do harm away from the stars.
SHIFT, ROTATION, STRETCH, ARRAY = 5.0, 0.030, 0.006, 0.0007
BY_DEGREE = {2: 0.020, 3: 0.002, 4: 0.0007}
#: A held-fast term.
FIXED = 1e-9
#: Least error of a centre, arcsec, and the residual in errors at which a star counts half.
LEAST_ERROR = 2e-4
HALF_WEIGHT_AT = 2.5

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Observations:
    """Sources of all exposures, one row each: where they stand in their exposure and on the common plane.

    ``frame``, ``array`` (0..3): which; ``xs``, ``ys``: static plane; ``u``, ``v``: common plane by the
    nominal geometry; ``error``: of u and v; all arcsec; ``magnitude`` on any common scale.
    """

    frame: Index
    array: Index
    xs: F64
    ys: F64
    u: F64
    v: F64
    error: F64
    magnitude: F64

    def select(self, index: Index | NDArray[np.bool_]) -> Observations:
        """Some of the rows."""
        return Observations(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Solution:
    """Parameters (exposures, terms) of ``displacements``, and what they leave: residuals in arcsec (n, 2)."""

    parameters: F64
    star_u: F64
    star_v: F64
    residuals: F64
    weights: F64


def prior_sizes(simple: str = "full", order: int = DEGREE) -> F64:
    """The prior's sigma of each parameter in arcsec, for one of the models that ``together`` names.

    Terms of a degree above ``order`` are held fast.
    """
    quadratic_on = [BY_DEGREE[i + j] for i, j in distortion.degrees(DEGREE) if i + j >= 2]
    sizes = np.array([SHIFT] * 2 + [ROTATION] + [STRETCH] * 3 + quadratic_on * 2 + [ARRAY] * 8)
    free = {"full": len(sizes), "shift+rotation": 3, "shift": 2, "header offsets": 0}[simple]
    sizes[free:] = FIXED
    beyond = [i + j > order for i, j in distortion.degrees(DEGREE) if i + j >= 2]
    sizes[6 : 6 + 2 * len(beyond)][beyond * 2] = FIXED
    return sizes


def displacements(xs: F64, ys: F64, array: Index) -> F64:
    """How far each parameter moves a source, (n, 2, parameters): shifts, rotation, stretches, then the rest.

    The rest are the Legendre terms of degree 2 and more, first for u then for v, and a shift of each array.
    """
    terms = distortion.basis(xs, ys, DEGREE)
    zero, one, p, q = np.zeros(len(xs)), terms[:, 0], terms[:, 1], terms[:, 2]
    low_u = [one, zero, -q, p, p, q]
    low_v = [zero, one, p, q, -q, p]
    high, none = terms[:, 3:], np.zeros((len(xs), terms.shape[1] - 3))
    arrays = np.eye(4)[array]
    nothing = np.zeros_like(arrays)
    east = np.hstack([np.stack(low_u, axis=1), high, none, arrays, nothing])
    north = np.hstack([np.stack(low_v, axis=1), none, high, nothing, arrays])
    return np.stack([east, north], axis=1)


def to_coefficients(parameters: F64) -> tuple[F64, F64]:
    """One exposure's parameters as Legendre coefficients (2, terms) and shifts of arrays (2, 4), arcsec."""
    count = distortion.term_count(DEGREE)
    shift_u, shift_v, turn, scale, shear, skew = parameters[:6]
    coefficients = np.zeros((2, count))
    coefficients[0, :3] = shift_u, scale + shear, skew - turn
    coefficients[1, :3] = shift_v, turn + skew, scale - shear
    coefficients[:, 3:] = parameters[6 : 6 + 2 * (count - 3)].reshape(2, -1)
    return coefficients, parameters[6 + 2 * (count - 3) :].reshape(2, 4)


def solve_together(observations: Observations, star: Index, priors: F64, rounds: int = 8) -> Solution:
    """Solve for all stars and exposures; ``star`` (n,) says which star each observation is of.

    ``priors`` (exposures, parameters): see ``prior_sizes``. Minimises the weighted squares of (nominal
    position + displacement - star) plus those of (parameter / prior); weights fall off with the residual
    (Cauchy), so that wrong matches and blends do not pull, and are found anew in each of the ``rounds``.

    Displacements are taken where the stars are, not where their noisy centres were measured: a map that
    shrinks the field would else shrink the noise with it and look the better for it.
    """
    weights = 1.0 / (observations.error**2 + LEAST_ERROR**2)
    parameters, residuals = np.zeros(priors.shape), np.zeros((len(star), 2))
    for count in (rounds - rounds // 2, rounds // 2):
        xs, ys = _noiseless_places(observations, residuals)
        moves = displacements(xs, ys, observations.array)
        problem = _Problem.build(observations, star, moves, priors)
        for _ in range(count):
            parameters = problem.solve(weights, parameters)
            placed, stars = problem.place(parameters, weights)
            residuals = placed - stars[star]
            weights = _robust_weights(residuals, observations.error, problem.freedom)
    return Solution(parameters, stars[:, 0], stars[:, 1], residuals, weights)


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
    """
    moves = displacements(own.xs, own.ys, own.array).reshape(2 * len(own.u), -1)
    normal = (moves * np.repeat(weights, 2)[:, None]).T @ moves
    return float(np.trace(np.linalg.solve(normal + np.diag(1.0 / priors**2), normal)))


def fit_to_stars(own: Observations, place: F64, priors: F64) -> tuple[F64, F64]:
    """One exposure's parameters that lay it on known ``place`` (n, 2), and the residuals (n, 2) in arcsec.

    Robust: wrong pairs lose their weight as the scale of the residuals that count is narrowed.
    """
    moves = displacements(own.xs, own.ys, own.array).reshape(2 * len(own.u), -1)
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
    """The linear problem: design (2n, unknowns), which star each row is of, nominal positions, priors.

    ``moves`` (2n, parameters): the design where all exposures had the same parameters.
    """

    design: sparse.csr_matrix
    moves: F64
    star: Index
    stars: int
    nominal: F64
    priors: F64
    freedom: F64
    rows: tuple[Index, ...]

    @classmethod
    def build(cls, observations: Observations, star: Index, moves: F64, priors: F64) -> _Problem:
        count, width = len(star), priors.shape[1]
        columns = observations.frame[:, None, None] * width + np.arange(width)[None, None, :]
        columns = np.broadcast_to(columns, (count, 2, width)).reshape(-1)
        pointer = np.arange(0, 2 * count * width + 1, width)
        design = sparse.csr_matrix((moves.reshape(-1), columns, pointer), shape=(2 * count, priors.size))
        seen = np.bincount(star)
        nominal = np.stack([observations.u, observations.v], axis=1)
        # A star seen n times takes 1/n of each of its residuals' freedom.
        freedom = np.maximum(1.0 - 1.0 / seen[star], 0.05)
        frames = np.repeat(observations.frame, 2)
        rows = tuple(np.flatnonzero(frames == number) for number in range(len(priors)))
        return cls(design, moves.reshape(-1, width), star, len(seen), nominal, priors, freedom, rows)

    def average(self, values: F64, weights: F64) -> F64:
        """Weighted mean of (n, columns) values over each star's rows, (stars, columns)."""
        total = np.bincount(self.star, weights, self.stars)
        sums = [np.bincount(self.star, weights * column, self.stars) for column in values.T]
        return np.stack(sums, axis=1) / np.maximum(total, 1e-30)[:, None]

    def place(self, parameters: F64, weights: F64) -> tuple[F64, F64]:
        """Positions of all observations with the parameters applied, and of the stars."""
        placed = self.nominal + (self.design @ parameters.ravel()).reshape(-1, 2)
        return placed, self.average(placed, weights)

    def solve(self, weights: F64, start: F64) -> F64:
        """The parameters that minimise the squares for given weights, stars eliminated."""
        held = 1.0 / self.priors.ravel() ** 2
        both = np.repeat(weights, 2)

        def relative(values: F64) -> F64:
            pairs = values.reshape(-1, 2)
            return np.asarray((pairs - self.average(pairs, weights)[self.star]).ravel() * both, float)

        def normal(vector: F64) -> F64:
            return np.asarray(self.design.T @ relative(self.design @ vector) + held * vector, float)

        alone, common = self._inverse_blocks(both, held), self._inverse_common(weights, held)

        def nearly_solve(vector: F64) -> F64:
            part = vector.reshape(self.priors.shape)
            found = np.einsum("fij,fj->fi", alone, part) + common @ part.sum(axis=0)
            return np.asarray(found.ravel(), float)

        size = len(held)
        found, _ = cg(
            LinearOperator((size, size), matvec=normal),
            -(self.design.T @ relative(self.nominal.ravel())),
            x0=start.ravel(),
            rtol=1e-8,
            maxiter=1000,
            M=LinearOperator((size, size), matvec=nearly_solve),
        )
        return np.asarray(found, float).reshape(self.priors.shape)

    def _inverse_common(self, weights: F64, held: F64) -> F64:
        """Inverse normal matrix where all exposures have the same parameters, (width, width).

        That is what stars tell least about, for it moves them with the exposures: with this beside the
        exposures' own blocks the solver needs few rounds, and ends where the priors want it to.
        """
        count, width = self.priors.shape
        moves = self.moves.reshape(-1, 2 * width)
        relative = (moves - self.average(moves, weights)[self.star]) * weights[:, None]
        normal = self.moves.T @ relative.reshape(-1, width)
        return np.asarray(np.linalg.inv(normal + np.diag(held.reshape(count, width).sum(axis=0))), float)

    def _inverse_blocks(self, both: F64, held: F64) -> F64:
        """Inverse normal matrix of each exposure alone, (exposures, width, width), to speed the solver."""
        count, width = self.priors.shape
        blocks = np.zeros((count, width, width))
        for number, rows in enumerate(self.rows):
            part = self.design[rows][:, number * width : (number + 1) * width].toarray()
            normal = (part * both[rows][:, None]).T @ part
            blocks[number] = np.linalg.inv(normal + np.diag(held[number * width : (number + 1) * width]))
        return blocks
