"""Where every pixel of an exposure lies on the tangent plane that all exposures share, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import chebyshev

from reducer.astrometry.distortion import Field, degrees
from reducer.astrometry.sky import LinearWcs, Position, mean_position, plane_to_sky, sky_to_plane
from reducer.types import F64

#: Degree of the polynomial that stands for a chip's whole inverse chain: good to 4e-4 mas.
INVERSE_DEGREE = 6


@dataclass(frozen=True)
class ChipRegion:
    """Which array (from 1) a chip is, and the zero-based column and row of the full array where it begins.

    The image of a stack, which is free of distortion already, has its linear WCS as ``plane`` instead.
    """

    array: int
    x: int
    y: int
    width: int
    height: int
    plane: LinearWcs | None = None


@dataclass(frozen=True)
class Geometry:
    """An exposure's map from pixels to arcsec on a common tangent plane (xi east, eta north).

    pixel -> static plane (array by array) -> ``linear`` (parity, position angle, refraction) about
    ``pointing`` -> sky -> the plane about ``tangent``; then the exposure's own correction is added:
    ``coefficients`` (2, terms) of ``field.basis`` of ``degree``, and ``shifts`` (2, arrays), one for each.
    Positions are degrees, all else arcsec. ``model`` names what the correction was solved with.
    """

    regions: tuple[ChipRegion, ...]
    field: Field
    linear: F64
    pointing: Position
    tangent: Position
    degree: int = 0
    coefficients: F64 | None = None
    shifts: F64 | None = None
    model: str = "header offsets"
    rms: float = float("nan")
    matches: int = 0

    def evaluate(self, x: F64, y: F64, chip: int) -> tuple[F64, F64]:
        """Arcsec on the common plane at 0-based pixels of a chip as it is read."""
        u, v = self.placed(*self.static(x, y, chip))
        if self.shifts is not None:
            array = self.regions[chip].array - 1
            u, v = u + self.shifts[0, array], v + self.shifts[1, array]
        return u, v

    def static(self, x: F64, y: F64, chip: int) -> tuple[F64, F64]:
        """Arcsec in the static plane at 0-based pixels of a chip as it is read."""
        region = self.regions[chip]
        if region.plane is not None:
            dx, dy = region.plane.offsets(np.asarray(x, float) + 1.0, np.asarray(y, float) + 1.0)
            return dx + self.field.centre[0], dy + self.field.centre[1]
        full_x, full_y = np.asarray(x, float) + region.x + 1, np.asarray(y, float) + region.y + 1
        return self.field.maps[region.array - 1].evaluate(full_x, full_y)

    def nominal(self, xs: F64, ys: F64) -> tuple[F64, F64]:
        """Arcsec on the common plane at static-plane positions, without the exposure's own correction."""
        dx, dy = xs - self.field.centre[0], ys - self.field.centre[1]
        xi = self.linear[0, 0] * dx + self.linear[0, 1] * dy
        eta = self.linear[1, 0] * dx + self.linear[1, 1] * dy
        if self.pointing == self.tangent:
            return xi, eta
        return sky_to_plane(*plane_to_sky(xi, eta, self.pointing), self.tangent)

    def placed(self, xs: F64, ys: F64) -> tuple[F64, F64]:
        """Arcsec on the common plane at static-plane positions (n,), but for the shifts of single arrays."""
        u, v = self.nominal(xs, ys)
        if self.coefficients is None:
            return u, v
        terms = self.field.basis(xs, ys, self.degree)
        return u + terms @ self.coefficients[0], v + terms @ self.coefficients[1]

    @property
    def middle(self) -> F64:
        """Where the middle of the field lies on the common plane, arcsec (2,)."""
        return np.concatenate(self.placed(*(np.array([value]) for value in self.field.centre)))

    @property
    def pixel(self) -> float:
        """Side in arcsec of the pixel whose electrons the frame holds: the reference pixel, a stack's own."""
        plane = self.regions[0].plane
        return self.field.reference_scale if plane is None else plane.scale

    def area(self, x: F64, y: F64, chip: int) -> F64:
        """Square arcsec of sky on the chip's pixels at 0-based places."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        east = np.subtract(self.evaluate(x + 0.5, y, chip), self.evaluate(x - 0.5, y, chip))
        north = np.subtract(self.evaluate(x, y + 0.5, chip), self.evaluate(x, y - 0.5, chip))
        return np.asarray(np.abs(east[0] * north[1] - east[1] * north[0]), float)

    def corners(self, chip: int) -> tuple[F64, F64]:
        """The chip's outline on the common plane: 9 points along each side."""
        region = self.regions[chip]
        along = np.linspace(0.0, 1.0, 9)
        zero, one = np.zeros(9), np.ones(9)
        x = np.concatenate([along, one, along[::-1], zero]) * region.width - 0.5
        y = np.concatenate([zero, along, one, along[::-1]]) * region.height - 0.5
        return self.evaluate(x, y, chip)

    def inverse(self, chip: int, project: Callable[[F64, F64], tuple[F64, F64]] | None = None) -> Inverse:
        """The chip's map back to its pixels, a polynomial fitted to the whole chain.

        It maps from the common plane in arcsec, or from what ``project`` makes of that: a stack's pixels.
        """
        region = self.regions[chip]
        nodes = (chebyshev.chebpts1(16) * 0.5 + 0.5) * 1.02 - 0.01
        x, y = np.meshgrid(nodes * region.width - 0.5, nodes * region.height - 0.5)
        u, v = self.evaluate(x.ravel(), y.ravel(), chip)
        if project is not None:
            u, v = project(u, v)
        centre = np.array([(u.min() + u.max()) / 2, (v.min() + v.max()) / 2])
        half = max(np.ptp(u), np.ptp(v)) / 2
        p, q = (u - centre[0]) / half, (v - centre[1]) / half
        exponents = degrees(INVERSE_DEGREE)
        design = np.stack([p**i * q**j for i, j in exponents], axis=1)
        solution = np.linalg.lstsq(design, np.stack([x.ravel(), y.ravel()], axis=1), rcond=None)[0]
        tables = np.zeros((2, INVERSE_DEGREE + 1, INVERSE_DEGREE + 1))
        for (i, j), pair in zip(exponents, solution, strict=True):
            tables[:, i, j] = pair
        return Inverse(float(centre[0]), float(centre[1]), float(half), tables)

    def moved(self, dx: float, dy: float) -> Geometry:
        """The same map with everything shifted on the common plane by (dx, dy) arcsec."""
        base = np.zeros((2, 1)) if self.coefficients is None else self.coefficients
        changed = base.copy()
        changed[:, 0] += (dx, dy)
        return replace(self, coefficients=changed)


@dataclass(frozen=True)
class Inverse:
    """0-based pixel = sum of table[i, j] * p**i * q**j, with p, q = (u - u0, v - v0) / half."""

    u0: float
    v0: float
    half: float
    tables: F64

    def evaluate(self, u: F64, v: F64) -> tuple[F64, F64]:
        """0-based pixels of the chip at (u, v); beyond the chip an extrapolation."""
        p, q = (np.asarray(u, float) - self.u0) / self.half, (np.asarray(v, float) - self.v0) / self.half
        powers_p, powers_q = _powers(p), _powers(q)
        x, y = (np.einsum("...i,...i", powers_p @ table, powers_q) for table in self.tables)
        return x, y

    def window(self, width: int, height: int) -> tuple[slice, slice]:
        """Rows and columns of a grid of such size beyond which the chip certainly does not lie."""
        reach = self.half + 1.0
        low, high = max(int(self.v0 - reach), 0), min(int(self.v0 + reach) + 2, height)
        left, right = max(int(self.u0 - reach), 0), min(int(self.u0 + reach) + 2, width)
        return slice(low, max(high, low)), slice(left, max(right, left))


def _powers(values: F64) -> F64:
    """The powers of some values up to INVERSE_DEGREE, along a last axis."""
    powers = np.ones((*values.shape, INVERSE_DEGREE + 1))
    for power in range(1, INVERSE_DEGREE + 1):
        np.multiply(powers[..., power - 1], values, out=powers[..., power])
    return powers


def common_tangent(geometries: Sequence[Geometry]) -> Position:
    """The middle of the exposures' pointings, degrees."""
    return mean_position([geometry.pointing for geometry in geometries])
