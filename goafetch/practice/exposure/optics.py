"""Where a star falls on the arrays: refraction, each exposure's own distortion, and the static distortion."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

#: Refraction at Cerro Pachon in the near infrared, radian at 45 degrees (n - 1 = 1.95e-4 at 730 hPa, 8 C).
REFRACTIVITY = 1.95e-4
#: Radius of the field to which distortion coefficients refer, arcsec.
FIELD_RADIUS = 45.0
#: The telescope points at this pixel of array 4 (1-based; it lies in the gap: DRAGONS' rotation centre).
POINTING_PIXEL = (-65.44, -75.154)


@cache
def read_data(name: str) -> dict[str, Any]:
    """The published numbers of the instrument: ``arrays``, ``filters`` or ``distortion``."""
    text = files("reducer").joinpath("instruments", "gsaoi", f"{name}.json").read_text(encoding="utf-8")
    numbers: dict[str, Any] = json.loads(text)
    return numbers


@cache
def static_polynomials() -> tuple[F64, F64]:
    """Forward and backward polynomials, each (array 4, axis 2, power of x 4, power of y 4)."""
    tables = np.zeros((2, 4, 2, 4, 4))
    for entry in read_data("distortion")["arrays"]:
        for way, key in enumerate(("pixel_to_static", "static_to_pixel")):
            for axis, name in enumerate("xy"):
                for term, value in entry[key][name].items():
                    tables[way, entry["extension"] - 1, axis, int(term[1]), int(term[3])] = value
    return tables[0], tables[1]


def pixel_to_static(array: int, x: F64 | float, y: F64 | float) -> tuple[F64, F64]:
    """Full-frame 1-based pixel of an array (0..3) to arcsec in the static frame."""
    forward = static_polynomials()[0][array]
    polyval = np.polynomial.polynomial.polyval2d
    return polyval(x, y, forward[0]), polyval(x, y, forward[1])


def static_jacobian(array: int, x: F64, y: F64) -> F64:
    """Derivatives of the static map, arcsec per pixel, (n, 2, 2): rows static axes, columns pixel axes."""
    forward = static_polynomials()[0][array]
    polynomial = np.polynomial.polynomial
    columns = [
        [polynomial.polyval2d(x, y, polynomial.polyder(forward[i], axis=j)) for j in (0, 1)] for i in (0, 1)
    ]
    return np.moveaxis(np.array(columns), 2, 0)


def static_to_pixel(array: int, sx: F64, sy: F64) -> tuple[F64, F64]:
    """The inverse of ``pixel_to_static``, good to 1e-9 pixel within two arrays' width (Newton's method).

    The published inverse is only good to 0.01 pixel and serves as the start.
    """
    backward = static_polynomials()[1][array]
    polyval = np.polynomial.polynomial.polyval2d
    x, y = polyval(sx, sy, backward[0]), polyval(sx, sy, backward[1])
    for _ in range(4):
        fx, fy = pixel_to_static(array, x, y)
        jacobian = static_jacobian(array, x, y)
        determinant = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]
        dx, dy = sx - fx, sy - fy
        x = x + (jacobian[:, 1, 1] * dx - jacobian[:, 0, 1] * dy) / determinant
        y = y + (jacobian[:, 0, 0] * dy - jacobian[:, 1, 0] * dx) / determinant
    return x, y


@cache
def static_extent(array: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Range of x and of y, static-frame arcsec, that an array (0..3) covers."""
    corner_x, corner_y = np.array([1.0, 2048.0, 1.0, 2048.0]), np.array([1.0, 1.0, 2048.0, 2048.0])
    x, y = pixel_to_static(array, corner_x, corner_y)
    return (float(x.min()), float(x.max())), (float(y.min()), float(y.max()))


@cache
def field_centre() -> tuple[float, float]:
    """The point of the static frame, arcsec, that the telescope's pointing refers to."""
    x, y = pixel_to_static(3, *POINTING_PIXEL)
    return float(x), float(y)


@dataclass(frozen=True)
class Mapping:
    """One exposure's map from its field's tangent plane (arcsec east, north) to the static frame (arcsec).

    static = centre + w + quadratic(w / 45 arcsec), w = matrix @ (position - pointing).
    ``matrix`` (2, 2) holds refraction, rotation, scale and parity; ``quadratic`` (2, 3) the coefficients of
    u*u, u*v, v*v in arcsec for each axis.
    """

    pointing: tuple[float, float]
    matrix: F64
    quadratic: F64

    def to_static(self, xi: F64, eta: F64) -> tuple[F64, F64]:
        """Tangent-plane arcsec to static-frame arcsec."""
        du, dv = xi - self.pointing[0], eta - self.pointing[1]
        wx = self.matrix[0, 0] * du + self.matrix[0, 1] * dv
        wy = self.matrix[1, 0] * du + self.matrix[1, 1] * dv
        qx, qy = self._bend(wx, wy)
        cx, cy = field_centre()
        return cx + wx + qx, cy + wy + qy

    def to_sky(self, sx: F64, sy: F64) -> tuple[F64, F64]:
        """Static-frame arcsec to tangent-plane arcsec (the bend is small: two rounds give 1e-7 arcsec)."""
        cx, cy = field_centre()
        px, py = sx - cx, sy - cy
        wx, wy = px, py
        for _ in range(2):
            qx, qy = self._bend(wx, wy)
            wx, wy = px - qx, py - qy
        inverse = np.linalg.inv(self.matrix)
        xi = self.pointing[0] + inverse[0, 0] * wx + inverse[0, 1] * wy
        eta = self.pointing[1] + inverse[1, 0] * wx + inverse[1, 1] * wy
        return xi, eta

    def _bend(self, wx: F64, wy: F64) -> tuple[F64, F64]:
        u, v = wx / FIELD_RADIUS, wy / FIELD_RADIUS
        a, b = self.quadratic
        uu, uv, vv = u * u, u * v, v * v
        return a[0] * uu + a[1] * uv + a[2] * vv, b[0] * uu + b[1] * uv + b[2] * vv


def refraction_matrix(zenith_distance: float, parallactic: float) -> F64:
    """How refraction shrinks a small field, (2, 2) on (east, north); angles in radian.

    R = A tan z moves stars towards the zenith: distances along the vertical shrink by A / cos(z)**2,
    distances along the horizon by A.
    """
    up = np.array([math.sin(parallactic), math.cos(parallactic)])
    across = np.array([up[1], -up[0]])
    vertical = 1.0 - REFRACTIVITY / math.cos(zenith_distance) ** 2
    return vertical * np.outer(up, up) + (1.0 - REFRACTIVITY) * np.outer(across, across)


def sky_to_instrument(position_angle: float, port: int) -> F64:
    """Matrix from (east, north) to the instrument's (x, y); at position angle 0 on port 1 it is unity.

    The position angle (radian) is that of +y, from north through east. Other ports see the sky mirrored.
    """
    c, s = math.cos(position_angle), math.sin(position_angle)
    parity = 1.0 if port == 1 else -1.0
    return np.array([[parity * c, -parity * s], [s, c]])


@dataclass(frozen=True)
class Pointing:
    """Where the telescope looks: degrees, except airmass; parallactic angle from north through east."""

    azimuth: float
    elevation: float
    airmass: float
    parallactic: float
    hour_angle: float


LATITUDE, LONGITUDE = -30.24075, -70.73669


def point(ra: float, dec: float, julian_date: float) -> Pointing:
    """Horizontal coordinates of a position (degrees) on Cerro Pachon (sidereal time: Meeus, ch. 12)."""
    sidereal = (280.46061837 + 360.98564736629 * (julian_date - 2451545.0) + LONGITUDE) % 360.0
    hour = math.radians((sidereal - ra + 180.0) % 360.0 - 180.0)
    lat, delta = math.radians(LATITUDE), math.radians(dec)
    sin_el = math.sin(lat) * math.sin(delta) + math.cos(lat) * math.cos(delta) * math.cos(hour)
    azimuth = math.atan2(
        -math.cos(delta) * math.sin(hour),
        math.sin(delta) * math.cos(lat) - math.cos(delta) * math.sin(lat) * math.cos(hour),
    )
    parallactic = math.atan2(
        math.sin(hour), math.tan(lat) * math.cos(delta) - math.sin(delta) * math.cos(hour)
    )
    airmass = 1.0 / (sin_el + 1e-9) if sin_el > 0.2 else 5.0
    return Pointing(
        math.degrees(azimuth) % 360.0,
        math.degrees(math.asin(sin_el)),
        airmass,
        math.degrees(parallactic),
        math.degrees(hour),
    )
