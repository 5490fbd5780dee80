"""A circle on the sky, as coordinates that people type or a name that a resolver knows."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from urllib.parse import quote

from goafetch import network
from goafetch.errors import Unreachable, UsageError

#: Where Sesame answers for SIMBAD, NED and VizieR.
SESAME = (
    "https://cds.unistra.fr/cgi-bin/nph-sesame",
    "http://vizier.cfa.harvard.edu/viz-bin/nph-sesame",
)
_UNITS = {"": 1, '"': 1, "s": 1, "arcsec": 1, "'": 60, "m": 60, "arcmin": 60, "d": 3600, "deg": 3600}
_DEGREES = r"(\d+(?:\.\d*)?)d?[\s,]+([+-]?\d+(?:\.\d*)?)d?"
_SEXAGESIMAL = (
    r"(\d{1,2})[h:\s]\s*(\d{1,2})[m:\s]\s*(\d{1,2}(?:\.\d*)?)s?[\s,]*"
    r"([+-]?)(\d{1,2})[d:°\s]\s*(\d{1,2})[m:'\s]\s*(\d{1,2}(?:\.\d*)?)[s\"]?"
)


@dataclass(frozen=True)
class Cone:
    """A circle on the sky: centre and radius, all in degrees (ICRS)."""

    ra: float
    dec: float
    radius: float

    def separation(self, ra: float, dec: float) -> float:
        """Degrees between the centre and a position in degrees (haversine)."""
        d1, d2 = math.radians(self.dec), math.radians(dec)
        a = math.sin((d2 - d1) / 2) ** 2
        a += math.cos(d1) * math.cos(d2) * math.sin(math.radians(ra - self.ra) / 2) ** 2
        return math.degrees(2 * math.asin(min(1.0, math.sqrt(a))))

    @property
    def ra_reach(self) -> float | None:
        """Half the width in right ascension of the box the archive searches; None where it has no sides."""
        cosine = math.cos(math.radians(self.dec))
        reach = self.radius / cosine if cosine > 1e-6 else 360.0
        return reach if reach < 90 else None


def read_cone(near: str, radius: str = "180") -> Cone:
    """The circle around ``near`` ('201.36 -43.02', '13:25:27.6 -43:01:09', or a name that a resolver knows).

    ``radius``: arcsec, or with a unit: 60s, 3m, 0.1d. A name needs the network. Raises UsageError.
    """
    degrees = read_radius(radius) / 3600
    position = _read_position(near.strip()) or _resolve(near.strip())
    if position[0] >= 360 or abs(position[1]) > 90:
        raise UsageError(
            f"{near!r} is not on the sky", "right ascension below 24 h, declination within 90 degrees"
        )
    return Cone(*position, degrees)


def read_radius(text: str) -> float:
    """Arcsec from a number with or without a unit."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([\"'a-z]*)", text.strip())
    if match is None or match[2] not in _UNITS or float(match[1]) <= 0:
        raise UsageError(f"{text!r} is not a size on the sky", "arcsec, or 60s, 3m, 0.1d, '10 arcsec'")
    return float(match[1]) * _UNITS[match[2]]


def _read_position(text: str) -> tuple[float, float] | None:
    if match := re.fullmatch(_DEGREES, text):
        return float(match[1]), float(match[2])
    match = re.fullmatch(_SEXAGESIMAL, text)
    if match is None:
        return None
    h, m, s, sign, d, arcmin, arcsec = match.groups()
    if max(float(m), float(s), float(arcmin), float(arcsec)) >= 60:
        raise UsageError(
            f"{text!r} has minutes or seconds of 60 and more", "a position such as 13:25:27.6 -43:01:09"
        )
    dec = float(d) + float(arcmin) / 60 + float(arcsec) / 3600
    return 15 * (float(h) + float(m) / 60 + float(s) / 3600), -dec if sign == "-" else dec


def _resolve(name: str) -> tuple[float, float]:
    """ICRS degrees of a named object, from Sesame."""
    if not re.search(r"[A-Za-z]", name):
        raise UsageError(
            f"{name!r} is neither a position nor a name",
            "for example '201.365 -43.019' or '13:25:27.6 -43:01:09'",
        )
    for address in SESAME:
        try:
            answer = network.fetch_text(f"{address}/SNV?{quote(name)}")
        except OSError:
            continue
        found = re.search(r"%J\s*([0-9.]+)\s*([+-]?[0-9.]+)", answer)
        if found is None:
            raise UsageError(
                f"neither SIMBAD nor NED nor VizieR knows {name!r}",
                "an object that they know, or coordinates",
                "give RA and Dec, as '201.365 -43.019'",
            )
        return float(found[1]), float(found[2])
    raise Unreachable(
        f"no resolver could be reached that knows {name!r}",
        "coordinates, or a name and a network",
        "give RA and Dec, as '201.365 -43.019'",
    )


def check_cone(cone: Cone) -> Cone:
    """The circle, if it is one on the sky; UsageError if not."""
    if not (0 <= cone.ra < 360 and -90 <= cone.dec <= 90 and 0 < cone.radius <= 10):
        raise UsageError(
            f"a circle of {cone.radius:g} degrees around {cone.ra:g} {cone.dec:g} is not on the sky",
            "right ascension 0 to 360, declination -90 to 90, a radius of at most 10 degrees",
        )
    return cone
