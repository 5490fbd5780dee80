"""A zeropoint, the parts of its error, and how it stands in a header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import hypot

from reducer.types import Header

#: The parts of a zeropoint's error and their keywords.
PARTS = {
    "photons": "PHOTE_PH",
    "growth": "PHOTE_GR",
    "sky": "PHOTE_SK",
    "catalogue": "PHOTE_CA",
    "arrays": "PHOTE_AR",
    "extinction": "PHOTE_EX",
}
#: Every keyword that this file writes.
KEYWORDS = (
    "PHOTZP", "PHOTZPER", "PHOTZP0", "PHOTK", "PHOTAM", "PHOTAPER", "PHOTNUM", "PHOTSTAR", "PHOTCAT",
    "PHOTTRAN", "PHOTTRER", "PHOTMISS", *PARTS.values(),
)  # fmt: skip


@dataclass(frozen=True)
class Zeropoint:
    """The Vega magnitude, above the atmosphere, of a star of 1 electron/s in total on an image's flux scale.

    ``at_zero``: the same at airmass 0, without the extinction ``k`` (mag per airmass) times ``airmass``.
    ``parts``: 1-sigma errors by the names of PARTS, mag. ``radius``: arcsec, the aperture beyond which light
    was extrapolated. ``stars``: how many; ``star`` and ``source``: which, by whose magnitudes.
    ``transparency``: of the image relative to the standard's night, with its error; None: not known.
    """

    value: float
    at_zero: float
    k: float
    airmass: float
    parts: Mapping[str, float] = field(default_factory=dict)
    radius: float = 0.0
    stars: int = 1
    star: str = ""
    source: str = ""
    transparency: tuple[float, float] | None = None

    @property
    def error(self) -> float:
        """All parts together, mag."""
        return hypot(*self.parts.values())

    def summary(self) -> str:
        """'26.181 +- 0.007 mag (photons 0.001, ...)'."""
        parts = ", ".join(f"{name} {size:.3f}" for name, size in self.parts.items() if size >= 5e-4)
        return f"{self.value:.3f} +- {self.error:.3f} mag ({parts})"


def write_zeropoint(header: Header, zeropoint: Zeropoint) -> None:
    """Put a zeropoint with all that belongs to it into a header, in place of another."""
    remove_zeropoint(header)
    transparency = zeropoint.transparency
    facts = {
        "PHOTZP": (round(zeropoint.value, 4), "[mag] Vega, of 1 electron/s in total"),
        "PHOTZPER": (round(zeropoint.error, 4), "[mag] error of PHOTZP"),
        "PHOTZP0": (round(zeropoint.at_zero, 4), "[mag] the same at airmass 0"),
        "PHOTK": (zeropoint.k, "[mag/airmass] extinction"),
        "PHOTAM": (round(zeropoint.airmass, 4), "airmass of PHOTZP"),
        "PHOTAPER": (round(zeropoint.radius, 3), "[arcsec] aperture radius, extrapolated beyond"),
        "PHOTNUM": (zeropoint.stars, "stars that PHOTZP is from"),
        "PHOTSTAR": (zeropoint.star[:60], "standard star"),
        "PHOTCAT": (zeropoint.source[:60], "source of its magnitude"),
        "PHOTTRAN": (round(transparency[0], 4) if transparency else "unknown", "against the standard"),
    }
    facts |= {
        PARTS[name]: (round(size, 5), f"[mag] part of PHOTZPER: {name}")
        for name, size in zeropoint.parts.items()
    }
    if transparency:
        facts["PHOTTRER"] = (round(transparency[1], 4), "error of PHOTTRAN")
    for key, fact in facts.items():
        header[key] = fact


def remove_zeropoint(header: Header) -> None:
    """Take every keyword of a zeropoint out of a header."""
    for key in KEYWORDS:
        if key in header:
            del header[key]


def read_zeropoint(header: Header) -> Zeropoint | None:
    """The zeropoint of a product, None if it has none."""
    if "PHOTZP" not in header:
        return None
    parts = {name: float(header[key]) for name, key in PARTS.items() if key in header}
    known = header.get("PHOTTRAN", "unknown")
    return Zeropoint(
        value=float(header["PHOTZP"]),
        at_zero=float(header["PHOTZP0"]),
        k=float(header["PHOTK"]),
        airmass=float(header["PHOTAM"]),
        parts=parts,
        radius=float(header.get("PHOTAPER") or 0.0),
        stars=int(header.get("PHOTNUM") or 1),
        star=str(header.get("PHOTSTAR") or ""),
        source=str(header.get("PHOTCAT") or ""),
        transparency=None if isinstance(known, str) else (float(known), float(header.get("PHOTTRER") or 0.0)),
    )
