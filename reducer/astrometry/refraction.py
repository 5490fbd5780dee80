"""Differential refraction: how the atmosphere shrinks the field, from the time and the place in the sky."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from reducer.types import F64


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
