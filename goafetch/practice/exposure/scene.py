"""What is on the sky: star catalogues and the galaxy's light."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Galaxy:
    """A smooth elliptical profile: ``brightness`` (e/s/arcsec^2 for a perfect pixel) at ``radius`` arcsec.

    It falls as exp(b - b (r/radius)^(1/n)), b = 2 n - 1/3 (Sersic); ``centre`` in tangent-plane arcsec.
    """

    centre: tuple[float, float]
    brightness: float
    radius: float
    index: float = 2.0
    axis_ratio: float = 0.85
    angle: float = 0.6

    def light(self, xi: F64, eta: F64) -> F64:
        """Surface brightness at tangent-plane arcsec."""
        dx, dy = xi - self.centre[0], eta - self.centre[1]
        c, s = math.cos(self.angle), math.sin(self.angle)
        r = np.hypot(c * dx + s * dy, (c * dy - s * dx) / self.axis_ratio)
        b = 2.0 * self.index - 1.0 / 3.0
        return np.asarray(self.brightness * np.exp(b - b * ((r + 0.3) / self.radius) ** (1.0 / self.index)))


@dataclass(frozen=True)
class Field:
    """A piece of sky: tangent point (degrees), stars (tangent-plane arcsec and magnitude), a galaxy."""

    name: str
    ra: float
    dec: float
    x: F64
    y: F64
    magnitude: F64
    galaxy: Galaxy | None = None

    def celestial(self) -> tuple[F64, F64]:
        """Right ascension and declination of the stars, degrees (gnomonic projection)."""
        xi, eta = np.radians(self.x / 3600.0), np.radians(self.y / 3600.0)
        ra0, dec0 = math.radians(self.ra), math.radians(self.dec)
        below = math.cos(dec0) - eta * math.sin(dec0)
        ra = ra0 + np.arctan2(xi, below)
        dec = np.arctan2(math.sin(dec0) + eta * math.cos(dec0), np.hypot(xi, below))
        return np.degrees(ra) % 360.0, np.degrees(dec)


def draw_magnitudes(rng: np.random.Generator, count: int, bright: float, faint: float, slope: float) -> F64:
    """Magnitudes from a luminosity function N(<m) ~ 10^(slope m) between two limits."""
    low, high = 10 ** (slope * bright), 10 ** (slope * faint)
    return np.asarray(np.log10(rng.uniform(low, high, count)) / slope)


def make_field(
    name: str,
    ra: float,
    dec: float,
    rng: np.random.Generator,
    *,
    stars: int,
    faint: float,
    bright: float = 11.5,
    slope: float = 0.35,
    half: float = 62.0,
    galaxy: Galaxy | None = None,
) -> Field:
    """A field of ``stars`` stars within ``half`` arcsec; with a galaxy six in ten follow its light."""
    x, y = rng.uniform(-half, half, (2, stars))
    if galaxy is not None:
        tries = rng.uniform(-half, half, (2, 20 * stars))
        light = np.minimum(galaxy.light(*tries), 3.0 * galaxy.brightness)
        kept = np.flatnonzero(rng.random(light.size) < light / light.max())[: int(0.6 * stars)]
        x[: kept.size], y[: kept.size] = tries[:, kept]
    return Field(name, ra, dec, x, y, draw_magnitudes(rng, stars, bright, faint, slope), galaxy)


def sparse_field(name: str, ra: float, dec: float, rng: np.random.Generator, stars: int) -> Field:
    """``stars`` stars of 14-18.5 mag within 38 arcsec of the centre, and others too faint to align on."""
    others = 60
    x, y = np.concatenate(
        [rng.uniform(-38.0, 38.0, (2, stars)), rng.uniform(-62.0, 62.0, (2, others))], axis=1
    )
    bright = draw_magnitudes(rng, stars, 14.0, 18.5, 0.25)
    return Field(
        name, ra, dec, x, y, np.concatenate([bright, draw_magnitudes(rng, others, 20.8, 23.0, 0.35)])
    )


def single_star(name: str, ra: float, dec: float, magnitude: float, rng: np.random.Generator) -> Field:
    """A standard star at the tangent point with a handful of faint neighbours."""
    neighbours = 60
    x, y = rng.uniform(-95.0, 95.0, (2, neighbours))
    far = np.hypot(x, y) > 4.0
    faint = draw_magnitudes(rng, neighbours, 15.5, 19.5, 0.3)
    return Field(
        name,
        ra,
        dec,
        np.concatenate([[0.0], x[far]]),
        np.concatenate([[0.0], y[far]]),
        np.concatenate([[magnitude], faint[far]]),
    )
