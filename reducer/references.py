"""Reference stars from tables, whatever their columns are called: positions at an epoch, and magnitudes."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from reducer.errors import BadFile
from reducer.headers.descriptors import Descriptors
from reducer.types import F64

# --- positions -------------------------------------------------------------------------------------

#: Names under which columns are known, in lower case, the first that is there counts.
NAMES = {
    "ra": ("ra", "ra_icrs", "raj2000", "_raj2000", "ra_deg", "alpha_j2000", "right_ascension"),
    "dec": ("dec", "de", "de_icrs", "dej2000", "_dej2000", "dec_deg", "delta_j2000", "decj2000",
            "declination"),
    "pm_ra": ("pmra", "pm_ra", "pmra_cosdec", "pm_ra_cosdec"),
    "pm_dec": ("pmdec", "pmde", "pm_dec"),
    "epoch": ("ref_epoch", "epoch", "obsepoch"),
    "magnitude": ("gmag", "phot_g_mean_mag", "mag", "magnitude", "kmag", "ks", "ksmag", "k", "hmag", "jmag"),
    "error": ("ra_error", "e_ra_icrs", "error_mas", "pos_error", "err_pos"),
}  # fmt: skip
#: Keywords of a table that say the epoch of its positions.
EPOCHS = ("ref_epoch", "epoch", "refepoch", "obsepoch")
#: How the description of a column says it (VizieR).
DESCRIBED = re.compile(r"\bEp(?:och)?\s*=?\s*J?(\d{4}(?:\.\d+)?)")
#: The error in arcsec of a table that does not say it, and of a place whose own is missing.
UNSAID_ERROR, MISSING_ERROR = 0.005, 5.0
#: Motion in arcsec a year per axis that a star has whose motion is not known: of field stars at some kpc.
UNKNOWN_MOTION = 0.005
#: Medians of motions in mas a year that are no field's: what reads so is in another unit.
LEAST_MOTION, MOST_MOTION, FEW = 0.02, 500.0, 5
#: Milliarcsec in units of angle, years in units of time, as tables write them; "s" is a second of time.
ANGLES = {"mas": 1.0, "marcsec": 1.0, "milliarcsecond": 1.0, "uas": 1e-3, "arcsec": 1e3, "arcsecond": 1e3,
          "as": 1e3, '"': 1e3, "arcmin": 6e4, "deg": 3.6e6, "degree": 3.6e6, "rad": 2.06264806e8, "s": 1.5e4,
          "sec": 1.5e4}  # fmt: skip
YEARS = {"yr": 1.0, "year": 1.0, "y": 1.0, "a": 1.0, "jyear": 1.0, "century": 100.0, "cy": 100.0,
         "cyr": 100.0, "cent": 100.0, "ha": 100.0, "d": 1 / 365.25, "day": 1 / 365.25}  # fmt: skip
RATE = re.compile(r'([a-z]+|")[\s./*]*\(?\s*(100)?\s*([a-z]+)\)?\s*(?:\*\*|\^)?\s*\(?(?:-1)?\)?')


@dataclass(frozen=True)
class References:
    """Reference stars at ``epoch`` (year): right ascension and declination in degrees, error in arcsec.

    ``magnitude``: in any band, to know the bright ones; 0 where the table has none.
    """

    name: str
    ra: F64
    dec: F64
    error: F64
    magnitude: F64
    epoch: float


def read_references(path: Path, epoch: float) -> References:
    """The stars of a FITS, ECSV, CSV or VOTable file, moved to ``epoch`` by their proper motions.

    Right ascension and declination in degrees, proper motions in mas a year, errors in mas, or in the
    columns' units. The epoch has to be said where there are motions. A star without one among others that
    have it is as uncertain as the years since make it. BadFile, with the column's name, for what is missing
    or cannot be right.
    """
    table = read_star_table(path)
    ra, dec = take_position(table)
    if ra is None or dec is None:
        raise _unfit(path, table, "positions in degrees, in columns such as ra and dec")
    _check_positions(path, table, ra, dec)
    motion = [_take_motion(path, table, key, dec) for key in ("pm_ra", "pm_dec")]
    since = _take_epoch(path, table)
    if since is None and any(each is not None for each in motion):
        columns = " and ".join(_name_of(table, NAMES[key]) or "" for key in ("pm_ra", "pm_dec")).strip(" and")
        found = f"{path.name} has proper motions in {columns}, and says no epoch of its positions"
        raise BadFile(found, "the year that they are of", "add a column ref_epoch")
    years = np.zeros(len(ra)) if since is None else epoch - since
    error = take_column(table, NAMES["error"], "mas")
    error = np.full(len(ra), UNSAID_ERROR) if error is None else np.nan_to_num(error / 1e3, nan=MISSING_ERROR)
    known = np.isfinite([np.full(len(ra), np.nan) if each is None else each for each in motion]).all(axis=0)
    known |= all(each is None for each in motion)
    error = np.where(known, error, np.hypot(error, UNKNOWN_MOTION * np.abs(np.nan_to_num(years))))
    east, north = (np.zeros(len(ra)) if each is None else np.nan_to_num(each) * years for each in motion)
    ra, dec = ra + east / 3.6e6 / np.cos(np.radians(dec)), dec + north / 3.6e6
    good = np.isfinite(ra) & np.isfinite(dec)
    magnitude = take_column(table, NAMES["magnitude"])
    magnitude = np.zeros(len(ra)) if magnitude is None else np.nan_to_num(magnitude, nan=99.0)
    name = str(table.meta.get("CATALOG") or table.meta.get("catalog") or path.name)
    return References(name, ra[good], dec[good], np.maximum(error[good], 1e-4), magnitude[good], epoch)


def _check_positions(path: Path, table: Any, ra: F64, dec: F64) -> None:
    """BadFile, with the column's name, where positions are none in degrees."""
    for key, values, low, high in (("ra", ra, -180.0, 360.0), ("dec", dec, -90.0, 90.0)):
        known = values[np.isfinite(values)]
        if not len(known):
            raise BadFile(f"column {_name_of(table, NAMES[key])} of {path.name} is empty", "degrees")
        if known.min() < low or known.max() > high:
            found = f"column {_name_of(table, NAMES[key])} of {path.name} runs from {known.min():.6g} to "
            raise BadFile(f"{found}{known.max():.6g}", "degrees", "say the unit that it has")


def _take_motion(path: Path, table: Any, key: str, dec: F64) -> F64 | None:
    """Proper motion in mas a year, in right ascension times the cosine of declination; NaN where missing."""
    column = _named(table, NAMES[key])
    if column is None:
        return None
    where = f"column {_name_of(table, NAMES[key])} of {path.name}"
    values = np.asarray(np.ma.filled(np.ma.asarray(column, float), np.nan), float)
    unit = str(getattr(column, "unit", None) or "").strip().lower()
    if unit:
        parts = RATE.fullmatch(unit)
        if parts is None or parts[1] not in ANGLES or parts[3] not in YEARS:
            raise BadFile(f"{where} is in {unit}", "an angle in a time, such as mas / yr")
        factor = ANGLES[parts[1]] / YEARS[parts[3]] / float(parts[2] or 1)
        # Seconds of time are those of right ascension itself.
        return values * factor * (np.cos(np.radians(dec)) if parts[1] in ("s", "sec") else 1.0)
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if len(sizes) >= FEW and not LEAST_MOTION < np.median(sizes) < MOST_MOTION:
        found = f"{where} has no unit, and values of {np.median(sizes):.2g} in the median"
        raise BadFile(found, "proper motions in mas a year", "say the unit that it has")
    return values


def _take_epoch(path: Path, table: Any) -> F64 | None:
    """The year of each position, from a column or the table's keywords; None where nothing says it."""
    column = _named(table, NAMES["epoch"])
    if column is not None:
        where = f"column {_name_of(table, NAMES['epoch'])} of {path.name}"
        return np.array([_year(value, where) for value in np.ma.asarray(column)], float)
    keyword = next((key for key in table.meta if str(key).lower() in EPOCHS), None)
    if keyword is not None:
        return np.full(len(table), _year(table.meta[keyword], f"keyword {keyword} of {path.name}"))
    described = DESCRIBED.search(str(getattr(_named(table, NAMES["ra"]), "description", None) or ""))
    return np.full(len(table), float(described[1])) if described else None


def _year(value: Any, where: str) -> float:
    """A year from a Julian year, a Julian date or modified one, or a date; NaN for none."""
    text = str(value).strip().lstrip("J")
    if not text or text.lower() in ("nan", "--"):
        return math.nan
    try:
        date = datetime.fromisoformat(text) if text.count("-") == 2 else None
        number = float(text) if date is None else date.year + (date.timetuple().tm_yday - 1) / 365.25
    except ValueError:
        number = math.nan
    if number > 2_400_000:
        number -= 2_400_000.5
    if number > 15_000:
        number = 2000.0 + (number - 51544.5) / 365.25
    if not 1850.0 < number < 2100.0:
        raise BadFile(f"{where} holds {text}", "a year, such as 2016.0")
    return number


def read_star_table(path: Path) -> Any:
    """An astropy table from a FITS, ECSV, CSV or VOTable file, told apart by the name's end.

    A text file with another ending is read as whatever columns it seems to have. BadFile if it is none.
    """
    from astropy.table import Table
    from astropy.units import UnitsWarning

    formats = {".fits": "fits", ".fit": "fits", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv",
               ".vot": "votable", ".xml": "votable", ".votable": "votable"}  # fmt: skip
    needed = "a table in FITS, ECSV, CSV or VOTable format"
    if not path.is_file():
        raise BadFile(f"there is no file {path}", needed)
    kind = formats.get(path.suffix.lower())
    try:
        if kind == "fits":
            # Of a product its catalogue, of what has none the first table. FITS knows no electrons.
            with suppress(KeyError), warnings.catch_warnings(action="ignore", category=UnitsWarning):
                return Table.read(path, format=kind, hdu="OBJCAT")
        return Table.read(path, format=kind) if kind else Table.read(path, format="ascii")
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise BadFile(f"{path}: {error}", needed) from error


def take_position(table: Any) -> tuple[F64 | None, F64 | None]:
    """Right ascension and declination in degrees, None for one that the table does not have.

    Text such as 13:25:26.1 is read as hours in right ascension.
    """
    found: list[F64 | None] = []
    for key in ("ra", "dec"):
        column = _named(table, NAMES[key])
        if column is not None and column.dtype.kind in "UO":
            found.append(_from_text(column, key == "ra"))
        else:
            found.append(take_column(table, NAMES[key]))
    return found[0], found[1]


def take_column(table: Any, names: Sequence[str], unit: str = "") -> F64 | None:
    """A column as plain numbers, of angles in degrees or another ``unit`` where it says its own; None if
    there is none so named."""
    values = _named(table, names)
    if values is None:
        return None
    plain = np.asarray(np.ma.filled(np.ma.asarray(values, float), np.nan), float)
    own = str(getattr(values, "unit", "") or "").strip().lower()
    own = {"h": "hour", "hr": "hour", "hourangle": "hour"}.get(own, own)
    sizes = ANGLES | {"hour": 15 * ANGLES["deg"]}
    return plain * (sizes[own] / sizes[unit or "deg"]) if own in sizes else plain


def take_words(table: Any, names: Sequence[str]) -> list[str] | None:
    """A column as text, None if there is none so named."""
    values = _named(table, names)
    return None if values is None else [str(value).strip() for value in values]


def _named(table: Any, names: Sequence[str]) -> Any:
    found = _name_of(table, names)
    return None if found is None else table[found]


def _name_of(table: Any, names: Sequence[str]) -> str | None:
    """What a column is called in a table."""
    columns = {name.lower(): name for name in table.colnames}
    return next((columns[name] for name in names if name in columns), None)


def _from_text(values: Any, in_hours: bool) -> F64:
    from astropy.coordinates import Angle

    texts = [str(value).strip() for value in values]
    degrees = [
        float(t) if _is_number(t) else Angle(t, "hourangle" if in_hours else "deg").degree for t in texts
    ]
    return np.asarray(degrees, float)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("+-").isdigit()


# --- magnitudes: of a user's table, the published ones, the archive, or a catalogue ----------------

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
UNSAID_MAG_ERROR, PASSBAND_ERROR = 0.02, 0.01
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
    table = read_star_table(path)
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
        found = {band: (m[row], UNSAID_MAG_ERROR if e is None else e[row]) for band, m, e in columns}
        if values is not None:
            name = filters[row] if filters else ""
            error = UNSAID_MAG_ERROR if errors is None else errors[row]
            found[SYNONYMS.get(name.lower(), name)] = (values[row], error)
        yield {
            band: (float(m), float(e) if math.isfinite(e) else UNSAID_MAG_ERROR)
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
