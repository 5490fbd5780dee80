"""Differential refraction: how the atmosphere shrinks the field, from the time and the place in the sky."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from reducer.types import F64

#: Gemini South, from the observatory's pages: east longitude and latitude in degrees.
LONGITUDE, LATITUDE = -70.73669, -30.24075
#: Refraction per tan(zenith distance) in radians at 2.2 micron, 2722 m (about 733 hPa) and 8 C:
#: (n - 1) of dry air, 2.736e-4 at 1013 hPa and 15 C (Ciddor 1996), scaled by pressure and temperature.
CONSTANT = 2.736e-4 * (733.0 / 1013.25) * (288.15 / 281.15)


def sidereal_time(when: datetime) -> float:
    """Local mean sidereal time in degrees at Gemini South at a UTC (Astronomical Almanac, low precision)."""
    days = (when - datetime(2000, 1, 1, 12)).total_seconds() / 86400.0
    return (280.46061837 + 360.98564736629 * days + LONGITUDE) % 360.0


def horizon_angles(ra: float, dec: float, when: datetime) -> tuple[float, float]:
    """Zenith distance and parallactic angle in radians (north through east, to the zenith)."""
    hour, d, phi = np.radians(sidereal_time(when) - ra), np.radians(dec), np.radians(LATITUDE)
    cosine = np.sin(phi) * np.sin(d) + np.cos(phi) * np.cos(d) * np.cos(hour)
    angle = np.arctan2(np.sin(hour), np.tan(phi) * np.cos(d) - np.sin(d) * np.cos(hour))
    return float(np.arccos(np.clip(cosine, -1.0, 1.0))), float(angle)


def removal_matrix(ra: float, dec: float, when: datetime) -> F64:
    """The (2, 2) matrix from observed to true offsets (xi east, eta north) about a position in degrees.

    Refraction k tan z moves stars to the zenith: towards it offsets shrink by 1 - k sec^2 z, across it by
    1 - k. Below 5 degrees of altitude the simple law fails and the identity is returned.
    """
    zenith, angle = horizon_angles(ra, dec, when)
    if zenith > np.radians(85.0):
        return np.eye(2)
    up = np.array([np.sin(angle), np.cos(angle)])
    across = np.array([np.cos(angle), -np.sin(angle)])
    along_scale = 1.0 + CONSTANT / np.cos(zenith) ** 2
    return np.asarray(along_scale * np.outer(up, up) + (1.0 + CONSTANT) * np.outer(across, across), float)
