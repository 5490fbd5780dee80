"""The zeropoint of an image: in its header, beside the published one, and from stars of the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import hypot
from pathlib import Path

import numpy as np

from reducer.align.identify import StarList, find_offset, pair_up
from reducer.astrometry import sky_to_plane
from reducer.frame import Context, FrameRef
from reducer.headers.descriptors import Descriptors, describe
from reducer.instruments import instrument_of
from reducer.references import PASSBAND_ERROR, Star, in_filter, read_standards
from reducer.sources import NO_POSITION, light_about
from reducer.types import F64, Header, Table

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


# --- published zeropoints and extinction: a range to be in, and the atmosphere's share -------------

#: How far a zeropoint may lie from the nominal one before it is warned about, mag: published sets disagree.
SANE = 0.2
#: By what the extinction of a night may differ from the table's, mag per airmass.
EXTINCTION_ERROR = 0.02
#: Micron at which a filter is taken to be whose wavelength is not known.
USUAL_WAVELENGTH = 2.2


def extinction(facts: Descriptors) -> float:
    """Magnitudes per airmass in a frame's filter, of the nearest band in which it is known."""
    filters = instrument_of(facts.primary).filters
    here = facts.passband.wavelength if facts.passband else USUAL_WAVELENGTH
    known = [(abs(one.wavelength - here), one.extinction) for one in filters.values() if one.extinction]
    return min(known)[1]


def nominal_zeropoint(facts: Descriptors) -> float | None:
    """The nominal magnitude of 1 electron/s at airmass 0, mean of the arrays; None for a filter without."""
    known = facts.passband.zeropoints if facts.passband else ()
    return float(np.mean(known)) if known else None


def warn_if_strange(at_zero: float, facts: Descriptors, notify: Callable[..., None]) -> None:
    """Warn about a zeropoint at airmass 0 that is far from the nominal one."""
    usual = nominal_zeropoint(facts)
    if usual is not None and abs(at_zero - usual) > SANE:
        notify("zeropoint_odd", at_zero=at_zero, nominal=usual)


def tell_zeropoint(found: Zeropoint, context: Context) -> None:
    """Say what a zeropoint is, from which star, and of what its error is made."""
    context.notify(
        "zeropoint",
        zeropoint=found.value,
        zeropoint_error=found.error,
        star=found.star,
        source=found.source,
        parts={name: size for name, size in found.parts.items() if size >= 5e-4},
    )


# --- stars of a catalogue in the field, and the transparency that they tell ------------------------

#: Fewest stars that tie a field; arcsec within which others count as neighbours (2MASS does not resolve them)
#: and the most light that they may have together; signal to noise of a star.
FEWEST, REACH, MOST_NEIGHBOURS, LEAST_SIGNAL = 3, 1.5, 0.1, 20.0
#: Arcsec within which the field's place may be wrong, and within which a star is the catalogue's.
SEARCH, SAME = 2.0, 0.25
#: What stars scatter by besides their errors, mag.
OWN_SCATTER = 0.02
#: A zeropoint that serves to recognise stars by their brightness where nothing better is known.
ROUGH = 26.0


@dataclass(frozen=True)
class FieldStars:
    """Zeropoints that single stars give (n,), their errors, and the error that they share, mag."""

    zeropoints: F64
    errors: F64
    common: float = 0.0

    def mean(self) -> tuple[float, float, int]:
        """The robust mean, its error, and how many stars agree."""
        weights = 1.0 / self.errors**2
        middle = float(np.median(self.zeropoints))
        for _ in range(20):
            away = (self.zeropoints - middle) / self.errors
            pulled = weights / (1.0 + (away / 2.5) ** 2)
            middle = float(np.sum(pulled * self.zeropoints) / pulled.sum())
        kept = np.abs(self.zeropoints - middle) < 3.0 * self.errors
        scatter = float(np.std(self.zeropoints[kept])) if kept.any() else 0.0
        count = int(kept.sum())
        return middle, max(float(weights[kept].sum()) ** -0.5, scatter / max(count, 1) ** 0.5), count


def find_zeropoint(
    objects: Table, growth: float, reference: FrameRef, catalog: str | None, context: Context
) -> Zeropoint | None:
    """The zeropoint of a stack whose sources are ``objects``: of the field's stars where three agree, else
    what the standard gave; None without either.

    ``growth``: error of the total light that is common to all, mag. ``catalog``: file of the stars.
    """
    given = read_zeropoint(reference.header)
    if catalog and reference.drift is not None:
        context.notify("no_zeropoint_moving")
        return given
    # A standard's own stack has been measured on a star that is better known than its neighbours.
    if not catalog or not len(objects) or (given is not None and given.transparency is not None):
        return given
    facts = describe(reference.header, reference.chips, reference.path.name)
    stars = read_standards(Path(catalog))
    seconds = reference.exposure_time
    matched = match_field(objects, stars, facts, seconds)
    mean, error, count = matched.mean() if len(matched.errors) else (0.0, 0.0, 0)
    source = stars[0].source if stars else Path(catalog).name
    if count < FEWEST:
        context.notify("few_field_stars", stars=count, source=source, fewest=FEWEST)
        return given
    k, airmass = extinction(facts), facts.scale_airmass or float("nan")
    found = Zeropoint(
        value=mean,
        at_zero=mean + k * airmass,
        k=k,
        airmass=airmass,
        parts={
            "catalogue": float(np.hypot(error, PASSBAND_ERROR)),
            "growth": float(np.hypot(growth, matched.common)),
        },
        stars=count,
        star=f"{count} stars of the field",
        source=source,
    )
    if given is not None:
        ratio = 10.0 ** (0.4 * (mean - given.value))
        found = replace(
            found, transparency=(ratio, 0.921 * ratio * float(np.hypot(found.error, given.error)))
        )
    warn_if_strange(found.at_zero, facts, context.notify)
    tell_zeropoint(found, context)
    return found


def match_field(objects: Table, stars: Sequence[Star], facts: Descriptors, seconds: float) -> FieldStars:
    """The zeropoint by each isolated source that is a star of the catalogue."""
    known = [(star.ra, star.dec, *found) for star in stars if (found := in_filter(star.magnitudes, facts))]
    listed = np.array(known, float).reshape(-1, 4)
    listed = listed[np.isfinite(listed).all(axis=1)]
    good = _alone(objects)
    if not len(listed) or not good.any():
        return FieldStars(np.zeros(0), np.zeros(0))
    centre = (float(np.median(objects["RA"])), float(np.median(objects["DEC"])))
    u, v = sky_to_plane(objects["RA"], objects["DEC"], centre)
    instrumental = -2.5 * np.log10(objects["FLUX_TOTAL"][good] / seconds)
    seen = StarList(u[good], v[good], instrumental + (nominal_zeropoint(facts) or ROUGH))
    wanted = StarList(*sky_to_plane(listed[:, 0], listed[:, 1], centre), listed[:, 2])
    offset = find_offset(wanted, seen, SEARCH)
    if offset is None:
        return FieldStars(np.zeros(0), np.zeros(0))
    index = pair_up(seen.u + offset.du, seen.v + offset.dv, wanted, SAME)
    paired = index >= 0
    if not paired.any():
        return FieldStars(np.zeros(0), np.zeros(0))
    mine = objects[good][paired]
    noise = 1.0857 * mine["FLUXERR_APER"][:, 0] / mine["FLUX_APER"][:, 0]
    every = 1.0857 * mine["FLUXERR_TOTAL"] / mine["FLUX_TOTAL"]
    errors = np.sqrt(listed[index[paired], 3] ** 2 + noise**2 + OWN_SCATTER**2)
    # The aperture correction of neighbouring stars is wrong alike.
    common = float(np.sqrt(np.median(np.maximum(every**2 - noise**2, 0.0))))
    return FieldStars(listed[index[paired], 2] - instrumental[paired], errors, common)


def _alone(objects: Table) -> F64:
    """Sources with a trusted total light and no bright neighbour."""
    light = np.maximum(objects["FLUX_APER"][:, 1], 0.0)
    with np.errstate(invalid="ignore"):
        good = (objects["FLAGS"] & NO_POSITION == 0) & (
            objects["FLUX_TOTAL"] > LEAST_SIGNAL * objects["FLUXERR_TOTAL"]
        )
    places = np.stack(
        sky_to_plane(objects["RA"], objects["DEC"], (objects["RA"][0], objects["DEC"][0])), axis=1
    )
    others = light_about(places, places, light, REACH) - light
    return np.asarray(good & (others < MOST_NEIGHBOURS * light))
