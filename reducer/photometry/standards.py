"""Magnitudes of standard stars: from a user's table, the published ones, the archive, or a catalogue."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from reducer.align.references import read_table, take_column, take_position, take_words
from reducer.errors import BadFile
from reducer.headers.descriptors import Descriptors

#: Columns of users' and catalogues' tables, in lower case.
NAME = ("name", "star", "object", "id", "main_id")
FILTER = ("filter", "band", "filter_name")
MAGNITUDE = ("mag", "magnitude", "vega")
ERROR = ("error", "mag_error", "e_mag", "err", "magerr", "sigma")
#: Bands and the columns in which tables give their magnitudes; 2MASS calls its Ks Kmag.
BANDS: Mapping[str, tuple[str, ...]] = {
    "Z": ("z", "zmag", "z_mag"),
    "J": ("j", "jmag", "j_mag", "j_m"),
    "H": ("h", "hmag", "h_mag", "h_m"),
    "K": ("k", "k_mag"),
    "Ks": ("ks", "kshort", "ksmag", "ks_mag", "k_m", "kmag"),
    "K'": ("kprime", "kp"),
}
#: What users' tables call bands.
SYNONYMS = {"ks": "Ks", "k_s": "Ks", "k'": "K'", "kp": "K'"}
#: The error in mag where a table gives none, and of taking a standard band for the filter of that name.
UNSAID_ERROR, PASSBAND_ERROR = 0.02, 0.01
#: Arcsec within which a standard's listed position has to be that of the target.
NEAR = 20.0


@dataclass(frozen=True)
class Star:
    """A star's Vega magnitudes by band or filter, each with its error; degrees, NaN if unknown."""

    name: str
    ra: float
    dec: float
    magnitudes: Mapping[str, tuple[float, float]]
    source: str


@dataclass(frozen=True)
class Magnitude:
    """The Vega magnitude of a star in a filter, its error, which star, and by whom."""

    value: float
    error: float
    star: str
    source: str


def read_standards(path: Path, source: str = "") -> list[Star]:
    """Stars of a FITS, ECSV, CSV or VOTable file.

    Either a row for each star and filter (name or position, filter, mag, error), or a row for each star with
    a column for each band. BadFile if it has neither names nor positions, or no magnitudes.
    """
    table = read_table(path)
    names, (ra, dec) = take_words(table, NAME), take_position(table)
    if names is None and (ra is None or dec is None):
        raise _unfit(path, table, "names, or positions in degrees in columns such as ra and dec")
    if take_column(table, MAGNITUDE) is None and not list(_band_columns(table)):
        raise _unfit(path, table, "magnitudes: columns filter and mag, or columns such as J, H and Ks")
    nowhere = np.full(len(table), np.nan)
    rows = zip(
        names or [""] * len(table),
        nowhere if ra is None else ra,
        nowhere if dec is None else dec,
        _magnitudes(table),
        strict=True,
    )
    label = source or str(table.meta.get("CATALOG") or path.name)
    return [Star(name, float(a), float(d), bands, label) for name, a, d, bands in rows if bands]


def _unfit(path: Path, table: Any, needed: str) -> BadFile:
    return BadFile(f"{path.name} has the columns {', '.join(table.colnames)}", needed, "rename the columns")


def _magnitudes(table: Any) -> Iterator[dict[str, tuple[float, float]]]:
    """Each row's magnitudes and errors by band or filter."""
    filters, values = take_words(table, FILTER), take_column(table, MAGNITUDE)
    errors = take_column(table, ERROR)
    columns = list(_band_columns(table))
    for row in range(len(table)):
        found = {band: (m[row], UNSAID_ERROR if e is None else e[row]) for band, m, e in columns}
        if values is not None:
            name = filters[row] if filters else ""
            error = UNSAID_ERROR if errors is None else errors[row]
            found[SYNONYMS.get(name.lower(), name)] = (values[row], error)
        yield {
            band: (float(m), float(e) if math.isfinite(e) else UNSAID_ERROR)
            for band, (m, e) in found.items()
            if math.isfinite(m)
        }


def _band_columns(table: Any) -> Iterator[tuple[str, Any, Any]]:
    for band, names in BANDS.items():
        values = take_column(table, names)
        if values is not None:
            words = [pattern.format(name) for name in names for pattern in ("e_{}", "{}_err", "{}_error")]
            yield band, values, take_column(table, words)


@cache
def published() -> tuple[Star, ...]:
    """The standards that come with the program: data/standards.json, with its source."""
    text = resources.files("reducer").joinpath("data/standards.json").read_text(encoding="utf-8")
    known = json.loads(text)
    stars = []
    for values in known["stars"]:
        row = dict(zip(known["columns"], values, strict=True))
        bands = {b: (row[b], row[f"e_{b}"]) for b in ("J", "H", "K", "Ks") if row[b] is not None}
        stars.append(Star(row["name"], row["ra"], row["dec"], bands, known["label"]))
    return tuple(stars)


def find_magnitude(stars: Sequence[Star], facts: Descriptors, by_name: bool) -> Magnitude | None:
    """The magnitude of an exposure's target in its filter, if it is listed: by name if trusted, else that of
    the nearest star."""
    name, ra, dec = facts.object or "", facts.target_ra, facts.target_dec
    found: list[tuple[float, Magnitude]] = []
    for star in stars:
        named = by_name and bool(star.name) and _plain(star.name) == _plain(name)
        distance = 0.0 if named else _distance(star, ra, dec)
        known = in_filter(star.magnitudes, facts) if distance < NEAR else None
        if known is not None:
            found.append((distance, Magnitude(*known, star.name or name, star.source)))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def in_filter(bands: Mapping[str, tuple[float, float]], facts: Descriptors) -> tuple[float, float] | None:
    """A star's magnitude and error in the filter of an exposure, None if its bands do not give it.

    A magnitude given for the very filter counts as it is; else the instrument's colour terms make it.
    """
    own = bands.get(facts.filter or "") or bands.get("")
    if own:
        return own
    for term in facts.passband.terms if facts.passband else ():
        if {term.band, *term.colour} <= set(bands):
            magnitude, error = bands[term.band]
            blue, red = (bands[band][0] for band in term.colour or (term.band, term.band))
            return magnitude + term.zero + term.slope * (blue - red), math.hypot(error, term.error)
    return None


def _distance(star: Star, ra: float | None, dec: float | None) -> float:
    """Arcsec between a star's listed position and another, infinite where one is unknown."""
    if ra is None or dec is None or not math.isfinite(star.ra + star.dec):
        return math.inf
    east = ((star.ra - ra + 180.0) % 360.0 - 180.0) * math.cos(math.radians(dec))
    return math.hypot(east, star.dec - dec) * 3600.0


def _plain(name: str) -> str:
    return "".join(name.split()).lower().removeprefix("persson").lstrip("-_")
