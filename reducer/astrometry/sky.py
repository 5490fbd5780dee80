"""Between the sky and a plane that touches it: gnomonic projection, a header's linear WCS, refraction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from reducer.types import F64, Header

ARCSEC = np.pi / 180.0 / 3600.0

Position = tuple[float, float]


def sky_to_plane(ra: F64, dec: F64, centre: Position) -> tuple[F64, F64]:
    """Gnomonic projection of (ra, dec) about ``centre``, degrees; (xi east, eta north) in arcsec.

    Source: Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3.
    """
    a, d = np.radians(np.asarray(ra, float) - centre[0]), np.radians(dec)
    sin0, cos0 = np.sin(np.radians(centre[1])), np.cos(np.radians(centre[1]))
    depth = sin0 * np.sin(d) + cos0 * np.cos(d) * np.cos(a)
    xi = np.cos(d) * np.sin(a) / depth
    eta = (cos0 * np.sin(d) - sin0 * np.cos(d) * np.cos(a)) / depth
    return xi / ARCSEC, eta / ARCSEC


def plane_to_sky(xi: F64, eta: F64, centre: Position) -> tuple[F64, F64]:
    """The inverse of ``sky_to_plane``: arcsec in the plane to (ra in 0..360, dec) in degrees."""
    x, y = np.asarray(xi, float) * ARCSEC, np.asarray(eta, float) * ARCSEC
    sin0, cos0 = np.sin(np.radians(centre[1])), np.cos(np.radians(centre[1]))
    ra = centre[0] + np.degrees(np.arctan2(x, cos0 - y * sin0))
    dec = np.degrees(np.arctan2(sin0 + y * cos0, np.hypot(x, cos0 - y * sin0)))
    return ra % 360.0, dec


@dataclass(frozen=True)
class LinearWcs:
    """A header's TAN WCS without distortion: reference pixel (1-based), its place, degrees per pixel."""

    pixel: Position
    sky: Position
    matrix: tuple[float, float, float, float]

    def to_sky(self, x: F64, y: F64) -> tuple[F64, F64]:
        """Degrees of right ascension and declination at 1-based pixels of the header's own image."""
        return plane_to_sky(*self.offsets(x, y), self.sky)

    def offsets(self, x: F64, y: F64) -> tuple[F64, F64]:
        """Arcsec east and north of ``sky``, on its tangent plane, at 1-based pixels."""
        dx, dy = np.asarray(x, float) - self.pixel[0], np.asarray(y, float) - self.pixel[1]
        a, b, c, d = self.matrix
        return (a * dx + b * dy) * 3600.0, (c * dx + d * dy) * 3600.0

    @property
    def scale(self) -> float:
        """Arcsec per pixel."""
        a, b, c, d = self.matrix
        return float(np.sqrt(abs(a * d - b * c))) * 3600.0


def read_wcs(header: Header) -> LinearWcs | None:
    """The linear WCS of an image header, or None where it has none that can be used."""
    keys = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
    values = [header.get(key) for key in keys]
    if not all(isinstance(value, int | float) and np.isfinite(value) for value in values):
        return None
    p, q, ra, dec, a, b, c, d = (float(value) for value in values)
    if str(header.get("CTYPE1", "RA---TAN")).upper().startswith("DEC"):
        ra, dec, a, b, c, d = dec, ra, c, d, a, b
    if a * d == b * c:
        return None
    return LinearWcs((p, q), (ra, dec), (a, b, c, d))


def mean_position(positions: list[Position]) -> Position:
    """The middle of several positions in degrees, safe across 0 h."""
    first = positions[0]
    xi, eta = sky_to_plane(np.array([p[0] for p in positions]), np.array([p[1] for p in positions]), first)
    ra, dec = plane_to_sky(np.array([np.median(xi)]), np.array([np.median(eta)]), first)
    return float(ra[0]), float(dec[0])


# --- refraction --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """Where a telescope stands: east longitude and latitude in degrees; ``refraction``: radians of it per
    tan(zenith distance), (n - 1) of the air."""

    longitude: float
    latitude: float
    refraction: float


def air(pressure: float, celsius: float) -> float:
    """(n - 1) of dry air at 2.2 micron: 2.736e-4 at 1013.25 hPa and 15 C (Ciddor 1996), scaled by pressure
    (hPa) and temperature."""
    return 2.736e-4 * (pressure / 1013.25) * (288.15 / (273.15 + celsius))


def sidereal_time(when: datetime, site: Site) -> float:
    """Local mean sidereal time in degrees at a UTC (Astronomical Almanac, low precision)."""
    days = (when - datetime(2000, 1, 1, 12)).total_seconds() / 86400.0
    return (280.46061837 + 360.98564736629 * days + site.longitude) % 360.0


def horizon_angles(ra: float, dec: float, when: datetime, site: Site) -> tuple[float, float]:
    """Zenith distance and parallactic angle in radians (north through east, to the zenith)."""
    hour, d, phi = np.radians(sidereal_time(when, site) - ra), np.radians(dec), np.radians(site.latitude)
    cosine = np.sin(phi) * np.sin(d) + np.cos(phi) * np.cos(d) * np.cos(hour)
    angle = np.arctan2(np.sin(hour), np.tan(phi) * np.cos(d) - np.sin(d) * np.cos(hour))
    return float(np.arccos(np.clip(cosine, -1.0, 1.0))), float(angle)


def removal_matrix(ra: float, dec: float, when: datetime, site: Site) -> F64:
    """The (2, 2) matrix from observed to true offsets (xi east, eta north) about a position in degrees.

    Refraction k tan z moves stars to the zenith: towards it offsets shrink by 1 - k sec^2 z, across it by
    1 - k. Below 5 degrees of altitude the simple law fails and the identity is returned.
    """
    zenith, angle = horizon_angles(ra, dec, when, site)
    if zenith > np.radians(85.0):
        return np.eye(2)
    up = np.array([np.sin(angle), np.cos(angle)])
    across = np.array([np.cos(angle), -np.sin(angle)])
    along_scale, across_scale = 1.0 + site.refraction / np.cos(zenith) ** 2, 1.0 + site.refraction
    return np.asarray(along_scale * np.outer(up, up) + across_scale * np.outer(across, across), float)
