"""The static distortion of an instrument's arrays, and the smooth terms that describe departures from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from reducer.types import F64


@dataclass(frozen=True, eq=False)
class StaticMap:
    """The map of an array of some rows and columns from its 1-based pixels to arcsec: coefficients [i, j] of
    x**i * y**j."""

    x: F64
    y: F64
    shape: tuple[int, int]

    def evaluate(self, x: F64, y: F64) -> tuple[F64, F64]:
        """Arcsec in the static plane at 1-based full-array pixels."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        values = [np.polynomial.polynomial.polyval2d(x, y, table) for table in (self.x, self.y)]
        return np.asarray(values[0], float), np.asarray(values[1], float)

    @cached_property
    def affine(self) -> tuple[F64, F64]:
        """The affine map nearest to this one: arcsec at pixel (0, 0), and (2, 2) arcsec per pixel.

        It is fitted to the whole array, as the observatory's CRPIX and CD are.
        """
        rows, columns = self.shape
        x, y = (side.ravel() for side in np.meshgrid(np.linspace(1, columns, 17), np.linspace(1, rows, 17)))
        design = np.stack([np.ones_like(x), x, y], axis=1)
        fit = np.linalg.lstsq(design, np.stack(self.evaluate(x, y), axis=1), rcond=None)[0]
        return np.asarray(fit[0]), np.asarray(fit[1:].T)

    @cached_property
    def middle(self) -> F64:
        """Where the middle of the array lies, arcsec (2,)."""
        rows, columns = self.shape
        return np.array(self.evaluate(np.array((columns + 1) / 2), np.array((rows + 1) / 2)))


@dataclass(frozen=True)
class Departures:
    """How exposures depart from the static model.

    Typical sizes at the field's edge, arcsec, by which what the matches do not determine is held at zero:
    ``shift``, by the headers' error; ``rotation``; ``stretch``, of scale and shear; ``by_degree``, of
    quadratic and higher terms; ``array``, of single arrays. What no solution may exceed: ``most_rotation`` in
    radians; ``most_stretch``, a ratio; ``most`` anywhere after shift and rotation, pixels.
    """

    shift: float
    rotation: float
    stretch: float
    by_degree: Mapping[int, float]
    array: float
    most_rotation: float
    most_stretch: float
    most: float


@dataclass(frozen=True, eq=False)
class Field:
    """What an instrument sees at once, in its static plane: arcsec, as on the sky but turned with the arrays.

    ``maps``: of each array, by number. ``side``: what pointings are told apart by. The arrays lie within
    ``half_width`` of ``centre`` along either axis, and see ``area`` square arcsec. ``reference_scale``:
    arcsec per pixel, by which fluxes are defined. ``departures``: what exposures may differ by from it.
    """

    maps: tuple[StaticMap, ...]
    centre: tuple[float, float]
    side: float
    half_width: float
    area: float
    reference_scale: float
    departures: Departures

    @property
    def arrays(self) -> int:
        """How many there are."""
        return len(self.maps)

    def nearest(self, xs: F64, ys: F64) -> NDArray[np.intp]:
        """Which array (0..) each place (n,) lies on, or nearest to."""
        away = [np.hypot(xs - one.middle[0], ys - one.middle[1]) for one in self.maps]
        return np.asarray(np.argmin(away, axis=0), np.intp)

    def basis(self, xs: F64, ys: F64, degree: int) -> F64:
        """Products of Legendre polynomials over the field, (n, terms), at static-plane positions in arcsec.

        Legendre products are nearly orthogonal over the field, so each coefficient is the size in arcsec of
        its term at the field's edge, and one prior fits all the terms of a degree.
        """
        p = (np.asarray(xs, float) - self.centre[0]) / self.half_width
        q = (np.asarray(ys, float) - self.centre[1]) / self.half_width
        vp, vq = legendre.legvander(p, degree), legendre.legvander(q, degree)
        return np.stack([vp[..., i] * vq[..., j] for i, j in degrees(degree)], axis=-1)


def degrees(degree: int) -> tuple[tuple[int, int], ...]:
    """The exponents (i, j) of all terms up to a total degree, low degrees first."""
    return tuple((total - j, j) for total in range(degree + 1) for j in range(total + 1))


def term_count(degree: int) -> int:
    """How many terms a two-dimensional polynomial of this total degree has."""
    return (degree + 1) * (degree + 2) // 2
