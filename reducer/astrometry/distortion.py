"""The static distortion of the four arrays, and the smooth terms that describe what departs from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial import legendre

from reducer.instruments.base import read_data
from reducer.types import F64

#: Middle of the field in the static plane and half its width, arcsec: the four arrays lie within it.
FIELD_CENTRE = (-5.8, -5.5)
FIELD_HALF_WIDTH = 43.5


@dataclass(frozen=True)
class StaticMap:
    """One array's map from 1-based full-array pixels to arcsec: coefficients [i, j] of x**i * y**j."""

    x: F64
    y: F64

    def evaluate(self, x: F64, y: F64) -> tuple[F64, F64]:
        """Arcsec in the static plane at 1-based full-array pixels."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        values = [np.polynomial.polynomial.polyval2d(x, y, table) for table in (self.x, self.y)]
        return np.asarray(values[0], float), np.asarray(values[1], float)

    def jacobian(self, x: float, y: float) -> F64:
        """The local (2, 2) matrix in arcsec per pixel."""
        step = 0.5
        east, west = (
            self.evaluate(np.array(x + step), np.array(y)),
            self.evaluate(np.array(x - step), np.array(y)),
        )
        up, down = (
            self.evaluate(np.array(x), np.array(y + step)),
            self.evaluate(np.array(x), np.array(y - step)),
        )
        return np.array([[east[k] - west[k], up[k] - down[k]] for k in (0, 1)], float)


@cache
def static_map(array: int) -> StaticMap:
    """The static map of array 1..4 (the instrument scientist's solution, gsaoi/distortion.json)."""
    document = read_data("gsaoi", "distortion")
    entry = next(item for item in document["arrays"] if item["extension"] == array)
    return StaticMap(*(_coefficients(entry["pixel_to_static"][axis]) for axis in "xy"))


@cache
def affine(array: int) -> tuple[F64, F64]:
    """The affine map nearest to an array's static map: arcsec at pixel (0, 0), and (2, 2) arcsec per pixel.

    It is fitted to the whole array, as the observatory's CRPIX and CD are.
    """
    x, y = (side.ravel() for side in np.meshgrid(np.linspace(1, 2048, 17), np.linspace(1, 2048, 17)))
    design = np.stack([np.ones_like(x), x, y], axis=1)
    fit = np.linalg.lstsq(design, np.stack(static_map(array).evaluate(x, y), axis=1), rcond=None)[0]
    return np.asarray(fit[0]), np.asarray(fit[1:].T)


def _coefficients(terms: Mapping[str, float]) -> F64:
    table = np.zeros((4, 4))
    for name, value in terms.items():
        i, j = name[1:].split("_")
        table[int(i), int(j)] = value
    return table


def degrees(degree: int) -> tuple[tuple[int, int], ...]:
    """The exponents (i, j) of all terms up to a total degree, low degrees first."""
    return tuple((total - j, j) for total in range(degree + 1) for j in range(total + 1))


def term_count(degree: int) -> int:
    """How many terms a two-dimensional polynomial of this total degree has."""
    return (degree + 1) * (degree + 2) // 2


def basis(xs: F64, ys: F64, degree: int) -> F64:
    """Products of Legendre polynomials over the field, (n, terms), at static-plane positions in arcsec.

    Legendre products are nearly orthogonal over the field, so each coefficient is the size in arcsec of
    its term at the field's edge, and one prior fits all the terms of a degree.
    """
    p = (np.asarray(xs, float) - FIELD_CENTRE[0]) / FIELD_HALF_WIDTH
    q = (np.asarray(ys, float) - FIELD_CENTRE[1]) / FIELD_HALF_WIDTH
    vp, vq = legendre.legvander(p, degree), legendre.legvander(q, degree)
    return np.stack([vp[..., i] * vq[..., j] for i, j in degrees(degree)], axis=-1)
