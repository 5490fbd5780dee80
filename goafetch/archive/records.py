"""The archive's rows as typed records, and the check that they are what was asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from calstore.associate import Rectangle, night_of
from goafetch.archive.query import (
    Interval,
    Query,
    admits,
    matches_loosely,
    matches_object,
    object_word,
    read_dates,
)
from goafetch.errors import BadAnswer
from reducer.keywords import parse_section

if TYPE_CHECKING:
    from astropy.table import MaskedColumn, Table

#: No raw exposure or mask comes near this; a row that says so is wrong.
LARGEST_FILE = 8 * 10**9
_SAFE_NAME = re.compile(r"[A-Za-z0-9][\w.+()=,-]*")
_BAYS = re.compile(r"[NS](20\d{6})[SE]\d+")
_CARD = re.compile(r"^([A-Z][A-Z0-9_-]*)\s*=\s*('(?:[^']|'')*'|[^/\n]*)", re.MULTILINE)


@dataclass(frozen=True)
class Record:
    """One file of the archive: the keys of a /jsonsummary row, in its order, with true types.

    Names end in .fits; ``filename`` is the stored one, usually with .bz2. Sizes are bytes and md5s hex:
    ``file_*`` of the stored file, ``data_*`` of the FITS inside. Times are UTC. Positions are degrees,
    ``exposure_time`` seconds of all coadds together. What the archive does not know, or hides, is None.
    """

    name: str
    filename: str
    path: str
    compressed: bool | None
    file_size: int
    data_size: int | None
    file_md5: str
    data_md5: str | None
    lastmod: datetime | None
    mdready: bool | None
    entrytime: datetime | None
    present: bool | None
    canonical: bool | None
    size: int | None
    md5: str | None
    pending_ingest: bool | None
    program_id: str | None
    engineering: bool | None
    science_verification: bool | None
    processing: str | None
    calibration_program: bool | None
    observation_id: str | None
    data_label: str | None
    telescope: str | None
    instrument: str | None
    ut_datetime: datetime | None
    local_time: str | None
    observation_type: str | None
    observation_class: str | None
    object: str | None
    ra: float | None
    dec: float | None
    azimuth: float | None
    elevation: float | None
    cass_rotator_pa: float | None
    airmass: float | None
    filter_name: str | None
    exposure_time: float | None
    disperser: str | None
    camera: str | None
    central_wavelength: float | None
    wavelength_band: str | None
    focal_plane_mask: str | None
    detector_binning: str | None
    detector_gain_setting: str | None
    detector_roi_setting: str | None
    detector_readspeed_setting: str | None
    detector_welldepth_setting: str | None
    detector_readmode_setting: str | None
    spectroscopy: bool | None
    mode: str | None
    adaptive_optics: bool | None
    laser_guide_star: bool | None
    wavefront_sensor: str | None
    gcal_lamp: str | None
    raw_iq: int | None
    raw_cc: int | None
    raw_wv: int | None
    raw_bg: int | None
    requested_iq: int | None
    requested_cc: int | None
    requested_wv: int | None
    requested_bg: int | None
    qa_state: str | None
    release: date | None
    reduction: str | None
    types: frozenset[str] | None
    phot_standard: bool | None
    phot_standards: tuple[dict[str, Any], ...] | None

    @property
    def remote(self) -> str:
        """The file's place below the archive's /file/: path and stored name."""
        return f"{self.path}/{self.filename}" if self.path else self.filename

    @property
    def night(self) -> date | None:
        """The night it belongs to: the date in its name, else the night at Gemini South of its time."""
        return night_in(self.name) or (night_of(self.ut_datetime) if self.ut_datetime else None)

    def proprietary(self, today: date | None = None) -> bool:
        """Whether the archive gives it only to those with rights: its release lies ahead, or has no date."""
        today = today or datetime.now(UTC).date()
        return (self.release is None or self.release > today) and not self.engineering


def night_in(name: str) -> date | None:
    """The night that the name of a raw file tells."""
    named = _BAYS.match(name)
    try:
        return datetime.strptime(named[1], "%Y%m%d").date() if named else None
    except ValueError:
        return None


def read_record(row: object) -> Record:
    """A record from one object of the archive's JSON. Raises BadAnswer for anything else."""
    if not isinstance(row, Mapping):
        raise BadAnswer(
            f"a row of the archive's answer is {type(row).__name__}", "an object with named values"
        )
    values = {name: _convert(name, reader, row) for name, reader in _READERS.items()}
    record = Record(**values)
    _check_names(record)
    return record


def mismatch(record: Record, query: Query) -> str | None:
    """Why a row cannot be an answer to the query, or None: a row that is means the archive widened it."""
    for name, wanted, found in _expected(record, query):
        if wanted != found:
            return f"{name} is {found}, not {wanted}"
    interval = _interval_at(record, query)
    if interval and not interval.may_include(record.ut_datetime):
        return f"its UTC time is {record.ut_datetime}, not within {interval.word}"
    if not admits(query.qa, record.qa_state):
        return f"its QA state is {record.qa_state}, not {query.qa}"
    if query.near is None and query.object:
        sent = object_word(query.object)
        if not matches_loosely(sent, record.object):
            return f"its object is {record.object}, not {query.object}"
    return _outside_box(record, query)


def is_sought(record: Record, query: Query) -> bool:
    """Whether a row that the archive may well return is really sought: of that time, object and circle."""
    interval = _interval_at(record, query)
    if interval and record.ut_datetime not in interval:
        return False
    if query.object and not matches_object(query.object, record.object):
        return False
    if query.near is None:
        return True
    known = record.ra is not None and record.dec is not None
    return known and query.near.separation(record.ra or 0.0, record.dec or 0.0) <= query.near.radius


def _expected(record: Record, query: Query) -> list[tuple[str, object, object]]:
    """What must be equal: the name of each thing, what was asked for, what came."""
    found: list[tuple[str, object, object]] = []
    if query.identifier:
        column = {"program": "program_id", "observation": "observation_id", "label": "data_label"}
        key = column[query.identifier.kind]
        found.append((f"its {key}", query.identifier.value, getattr(record, key)))
    for key in ("observation_class", "observation_type", "reduction"):
        if (wanted := getattr(query, key)) is not None:
            found.append((f"its {key}", wanted, getattr(record, key)))
    if query.filter:
        found.append(("its filter", query.filter, record.filter_name))
    if query.filename:
        found.append(("its name", query.filename, record.name))
    if query.instrument and query.instrument != "GMOS":
        found.append(("its instrument", query.instrument.lower(), (record.instrument or "").lower()))
    if query.qa != "AnyQA":
        found.append(("engineering", query.engineering, record.engineering))
    # Archives of older software say nothing of a file's versions: that is not known, which is not no.
    versions = (("canonical", record.canonical), ("present", record.present))
    return found + [(name, True, value) for name, value in versions if value is not None]


def _interval_at(record: Record, query: Query) -> Interval | None:
    """The time asked for; a night at Gemini North is the UTC date itself."""
    if query.night and record.telescope == "Gemini-North":
        return read_dates(query.night)
    return query.interval


def _outside_box(record: Record, query: Query) -> str | None:
    """The archive searches a box around the circle; a little is granted for rounding."""
    if query.near is None:
        return None
    if record.ra is None or record.dec is None:
        return "its position is not known"
    reach = query.near.ra_reach
    across = abs((record.ra - query.near.ra + 180) % 360 - 180)
    if abs(record.dec - query.near.dec) > query.near.radius * 1.01 + 1e-5 or (
        reach is not None and across > reach * 1.01 + 1e-5
    ):
        return f"its position {record.ra:.5f} {record.dec:.5f} is not near the one asked for"
    return None


def _check_names(record: Record) -> None:
    """Names from outside become file names: nothing but plain ones may pass."""
    plain = _SAFE_NAME.fullmatch(record.name) and record.name.endswith(".fits") and ".." not in record.name
    parts = [part for part in record.path.split("/") if part]
    if not plain or not all(_SAFE_NAME.fullmatch(part) and ".." not in part for part in parts):
        raise BadAnswer(f"the archive names a file {record.remote!r}", "a plain name that ends in .fits")
    if record.filename not in (record.name, f"{record.name}.bz2"):
        raise BadAnswer(
            f"the archive stores {record.name} as {record.filename!r}", "the same name, or the same with .bz2"
        )
    if not 0 < record.file_size < LARGEST_FILE or not 0 < (record.data_size or 1) < LARGEST_FILE:
        raise BadAnswer(
            f"the archive gives {record.name} a size of {record.file_size} bytes", "a possible size"
        )


#: What reading a value of any type and depth may raise: of whole numbers that are infinite, of nested sets.
_UNREADABLE = (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError)


def _convert(name: str, reader: Callable[[Any], Any], row: Mapping[str, Any]) -> Any:
    value = row.get(name)
    if value is None:
        if name not in _REQUIRED:
            return None
        raise BadAnswer(f"a row of the archive's answer has no {name}", "the keys of /jsonsummary")
    try:
        return reader(value)
    except _UNREADABLE as error:
        if name not in _NEEDED:
            return None
        raise BadAnswer(
            f"the archive's answer has {name} = {value!r}", f"{name} as /jsonsummary writes it"
        ) from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise TypeError(value)
    return int(value)


def _number(value: object) -> float | None:
    """A number; one that is not finite is not known."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(value)
    return float(value) if math.isfinite(value) else None


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _day(value: object) -> date:
    return date.fromisoformat(_text(value)[:10])


def _tags(value: object) -> frozenset[str]:
    """The archive writes a Python set as text, in any order: "{'RAW', 'GSAOI'}", "set()"; once a list.

    Not by ``ast``, which fails now and then where several threads parse (CPython gh-106905).
    """
    text = _text(value) if value else "set()"
    if not re.fullmatch(r"set\(\)|[\[{]\s*('[^']*'\s*,?\s*)*[\]}]", text):
        raise ValueError(value)
    return frozenset(re.findall(r"'([^']*)'", text))


def _stars(value: object) -> tuple[dict[str, Any], ...]:
    """Photometric standards, in FitsStorage's columns: name, ra and dec in degrees, j_mag and such."""
    if not isinstance(value, list):
        raise TypeError(value)
    stars = [{str(k): v for k, v in dict(star).items() if isinstance(v, (str, float))} for star in value]
    return tuple(star for star in stars if {"name", "ra", "dec"} <= set(star))


def _md5(value: object) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", _text(value)):
        raise ValueError(value)
    return _text(value)


_BY_TYPE: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "bool": _flag,
    "int": _whole,
    "float": _number,
    "datetime": _moment,
    "date": _day,
    "frozenset[str]": _tags,
    "tuple[dict[str, Any], ...]": _stars,
}
_MD5S = {"file_md5", "data_md5", "md5"}
_REQUIRED = {f.name for f in fields(Record) if not str(f.type).endswith("| None")}
#: Columns that something is decided by: these must be readable. An unreadable one of the others is unknown.
_NEEDED = _REQUIRED | {
    *("data_size", "data_md5", "present", "canonical", "engineering", "program_id", "observation_id"),
    *("data_label", "telescope", "instrument", "ut_datetime", "observation_type", "observation_class"),
    *("object", "ra", "dec", "filter_name", "exposure_time", "qa_state", "release", "reduction"),
}
#: The type of each column that is known.
_TYPES = {f.name: str(f.type).removesuffix(" | None") for f in fields(Record)}
_READERS = {name: _md5 if name in _MD5S else _BY_TYPE[kind] for name, kind in _TYPES.items()}


@dataclass(frozen=True)
class Readout:
    """How a file was read out. ``reads``: non-destructive ones (LNRS) as written; ``region``: what was read.

    What is not known is left at its default: one coadd, no reads named, whole arrays.
    """

    coadds: int = 1
    reads: str = ""
    region: tuple[Rectangle, ...] = ()


def parse_fullheader(page: str) -> Readout:
    """The read-out on a /fullheader page: cards of the primary header, then of each extension (FitsStorage).

    The region is as CCDSEC claims it, zero-based and half-open; nothing where any extension does not tell.
    """
    headers = []
    for part in re.split(r"^--- HDU.*$", page, flags=re.MULTILINE):
        cards = ((key, value.strip().strip("'").strip()) for key, value in _CARD.findall(part))
        headers.append(dict(reversed(list(cards))))
    primary, *extensions = headers
    coadds = primary.get("COADDS", "")
    sections = [parse_section(header.get("CCDSEC", header.get("ARRAYSEC"))) for header in extensions]
    return Readout(
        coadds=int(float(coadds)) if re.fullmatch(r"\d+(\.0*)?", coadds) else 1,
        reads=primary.get("LNRS", ""),
        region=tuple((n, *s) for n, s in enumerate(sections, 1) if s) if all(sections) else (),
    )


#: astroquery.gemini's columns in its order (astroquery 0.4.11, gemini/core.py).
COLUMNS = (
    *("exposure_time", "detector_roi_setting", "detector_welldepth_setting", "telescope", "mdready"),
    *("requested_bg", "engineering", "cass_rotator_pa", "ut_datetime", "file_size", "types", "requested_wv"),
    *("detector_readspeed_setting", "size", "laser_guide_star", "observation_id", "science_verification"),
    *("raw_cc", "filename", "instrument", "reduction", "camera", "ra", "detector_binning", "lastmod"),
    *("wavelength_band", "data_size", "mode", "raw_iq", "airmass", "elevation", "data_label"),
    *("requested_iq", "object", "requested_cc", "program_id", "file_md5", "central_wavelength", "raw_wv"),
    *("compressed", "filter_name", "detector_gain_setting", "path", "observation_class", "qa_state"),
    *("observation_type", "calibration_program", "md5", "adaptive_optics", "name", "focal_plane_mask"),
    *("data_md5", "raw_bg", "disperser", "wavefront_sensor", "gcal_lamp", "detector_readmode_setting"),
    *("phot_standard", "local_time", "spectroscopy", "azimuth", "release", "dec"),
)
#: NumPy's type for each of ours, and what stands in a masked place.
_DTYPES: dict[str, tuple[str, Any]] = {
    "str": ("str", ""),
    "bool": ("bool", False),
    "int": ("int64", 0),
    "float": ("float64", 0.0),
    "datetime": ("datetime64[us]", "1970-01-01"),
    "date": ("datetime64[D]", "1970-01-01"),
    "frozenset[str]": ("str", ""),
}
_UNITS = {
    **dict.fromkeys(("ra", "dec", "azimuth", "elevation", "cass_rotator_pa"), "deg"),
    "exposure_time": "s",
    "central_wavelength": "um",
    **dict.fromkeys(("file_size", "data_size", "size"), "byte"),
}


def to_table(records: Sequence[Record]) -> Table:
    """A masked astropy table, one row per record; UTC times as datetime64, tags as sorted words."""
    from astropy.table import Table

    return Table([_column(name, records) for name in COLUMNS], masked=True)


def _column(name: str, records: Sequence[Record]) -> MaskedColumn:
    import numpy as np
    from astropy.table import MaskedColumn

    dtype, filler = _DTYPES[_TYPES[name]]
    values = [getattr(record, name) for record in records]
    values = [" ".join(sorted(value)) if isinstance(value, frozenset) else value for value in values]
    mask = [value is None for value in values]
    data = np.array([filler if value is None else value for value in values], dtype=dtype)
    return MaskedColumn(data, name=name, mask=mask, unit=_UNITS.get(name))
