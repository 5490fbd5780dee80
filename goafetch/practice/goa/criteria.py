"""One test per criterion of a selection, over plain records (after FitsStorage query_selection.py)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from goafetch.practice.goa.dates import SOUTHERN_NIGHT, MalformedValue, Period, day_period, range_period
from goafetch.practice.goa.words import Value

Row = Mapping[str, Any]
RowTest = Callable[[Row], bool]
# The record, the stored name with its path, whether its coordinates are hidden, and the number of coadds.
HoldingTest = Callable[[Row, str, bool, int], bool]

# Criterion to record key, where equality is all.
EQUAL = {
    "present": "present",
    "canonical": "canonical",
    "science_verification": "science_verification",
    "program_id": "program_id",
    "observation_id": "observation_id",
    "data_label": "data_label",
    "observation_type": "observation_type",
    "observation_class": "observation_class",
    "reduction": "reduction",
    "telescope": "telescope",
    "filename": "name",
    "path": "path",
    "binning": "detector_binning",
    "gain": "detector_gain_setting",
    "readspeed": "detector_readspeed_setting",
    "welldepth": "detector_welldepth_setting",
    "readmode": "detector_readmode_setting",
    "filter": "filter_name",
    "spectroscopy": "spectroscopy",
    "mode": "mode",
    "mdready": "mdready",
    "calprog": "calibration_program",
    "processing": "processing",
    "camera": "camera",
    "focal_plane_mask": "focal_plane_mask",
}
WHOLE_NUMBERS = ("raw_iq", "raw_cc", "raw_wv", "raw_bg")
RANGES = {"az": "azimuth", "el": "elevation", "crpa": "cass_rotator_pa"}
# Searches by position or object name find no row whose coordinates are proprietary, whoever asks.
REVEALING = frozenset({"object", "ra", "dec", *RANGES})
QA_SETS = {
    "Win": {"Pass", "Usable"},
    "Lucky": {"Pass", "Undefined"},
    "UndefinedQA": {"Undefined"},
    "NotFail": {"Pass", "Usable", "CHECK", "Undefined"},
}
_RANGE = re.compile(r"(-?\d*\.?\d+)-(-?\d*\.?\d+)")
_DEFAULT_RADIUS = 180.0


def keeps(criteria: Mapping[str, Value], now: datetime) -> HoldingTest:
    """Build the one test that a set of criteria stands for.

    Raises:
        MalformedValue: a date or a whole number cannot be read (the archive's handler crashes).
    """
    tests = [test for name, value in criteria.items() if (test := _row_test(name, value, criteria, now))]
    files = criteria.get("filelist")
    hides = bool(REVEALING & criteria.keys())
    wanted = _whole_number(str(criteria["coadds"])) if "coadds" in criteria else None

    def test_holding(row: Row, stored_name: str, hidden: bool, coadds: int = 1) -> bool:
        if (hides and hidden) or (isinstance(files, tuple) and stored_name not in files):
            return False
        if wanted not in (None, coadds):
            return False
        return all(test(row) for test in tests)

    return test_holding


def _row_test(name: str, value: Value, criteria: Mapping[str, Value], now: datetime) -> RowTest | None:
    text = str(value)
    if name in EQUAL:
        return lambda row: row[EQUAL[name]] == value
    if name in WHOLE_NUMBERS:
        number = _whole_number(text)
        return lambda row: row[name] == number
    if name in RANGES:
        return _range_test(RANGES[name], text)
    if name in {"ra", "dec"}:
        return _box_test(name, criteria)
    if name in _TIMED:
        return _TIMED[name](text, now)
    maker = _MAKERS.get(name)
    return maker(value) if maker else None


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise MalformedValue(text) from error


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _between(key: str, low: float, high: float) -> RowTest:
    return lambda row: row[key] is not None and low <= row[key] <= high


def _range_test(key: str, text: str) -> RowTest | None:
    match = _RANGE.fullmatch(text)
    return _between(key, float(match[1]), float(match[2])) if match else None


def _box_test(name: str, criteria: Mapping[str, Value]) -> RowTest | None:
    """Cone searches are a box; what cannot be read is silently ignored; sexagesimal crashes the archive."""
    text = str(criteria[name])
    if match := _RANGE.fullmatch(text):
        low, high = float(match[1]), float(match[2])
        if name == "ra" and low > high:
            return lambda row: row["ra"] is not None and (row["ra"] >= low or row["ra"] <= high)
        return _between(name, *sorted((low, high)))
    if ":" in text:
        raise MalformedValue(text)
    centre = _number(text)
    if centre is None:
        return None
    half = _radius(str(criteria.get("sr", _DEFAULT_RADIUS)))
    declination = _number(str(criteria.get("dec", "")))
    if name == "ra" and declination is not None:
        half /= math.cos(math.radians(declination))
    return _between(name, centre - half, centre + half)


def _radius(text: str) -> float:
    """Give a search radius in degrees: arcsec, or degrees with a trailing ``d``; others crash the archive."""
    value = _number(text.removesuffix("d"))
    if value is None:
        raise MalformedValue(text)
    return value if text.endswith("d") else value / 3600


def _instrument(value: Value) -> RowTest:
    names = {"GMOS-N", "GMOS-S"} if value == "GMOS" else {value}
    return lambda row: row["instrument"] in names


def _quality(value: Value) -> RowTest | None:
    if value == "AnyQA":
        return None
    states = QA_SETS.get(str(value), {value})
    return lambda row: row["qa_state"] in states


def _object(value: Value) -> RowTest:
    """SQL's ILIKE: a full match, case ignored; ``_`` is any character, ``%`` any number of them.

    A star at either end makes all stars stand for anything.
    """
    text = str(value)
    if text.startswith("*") or text.endswith("*"):
        text = text.replace("*", "%")
    pieces = [{"%": ".*", "_": "."}.get(character) or re.escape(character) for character in text]
    pattern = re.compile("".join(pieces), re.DOTALL | re.IGNORECASE)
    return lambda row: row["object"] is not None and pattern.fullmatch(row["object"]) is not None


def _exposure(value: Value) -> RowTest | None:
    text = str(value).replace(" ", "")
    if match := _RANGE.fullmatch(text):
        return _between("exposure_time", float(match[1]), float(match[2]))
    seconds = _number(text)
    return None if seconds is None else _between("exposure_time", max(seconds - 0.5, 0), seconds + 0.5)


def _wavelength(value: Value) -> RowTest | None:
    if match := _RANGE.fullmatch(str(value)):
        low, high = sorted((float(match[1]), float(match[2])))
        return _between("central_wavelength", low, high)
    centre = _number(str(value))
    return None if centre is None else _between("central_wavelength", centre - 0.1, centre + 0.1)


def _disperser(value: Value) -> RowTest:
    return lambda row: row["disperser"] == value or str(row["disperser"]).startswith(f"{value}_")


def _region(value: Value) -> RowTest:
    names = {"Fixed", "Full Frame"} if value == "Full Frame" else {value}
    return lambda row: row["detector_roi_setting"] in names


def _engineering(value: Value) -> RowTest | None:
    return (lambda row: row["engineering"] is value) if isinstance(value, bool) else None


def _nothing(value: Value) -> RowTest:
    """No frame here is a pre-image or has a pupil mask, a publication, proposal or pipeline tag."""
    return lambda row: False


_MAKERS: dict[str, Callable[[Value], RowTest | None]] = {
    "inst": _instrument,
    "qa_state": _quality,
    "object": _object,
    "exposure_time": _exposure,
    "cenwlen": _wavelength,
    "disperser": _disperser,
    "detector_roi": _region,
    "engineering": _engineering,
    "ao": lambda value: lambda row: row["adaptive_optics"] is (value == "AO"),
    "lgs": lambda value: lambda row: row["laser_guide_star"] is (value == "LGS"),
    "photstandard": lambda value: lambda row: bool(row["phot_standard"]),
    "twilight": lambda value: lambda row: (row["object"] == "Twilight") is value,
    "filepre": lambda value: lambda row: str(row["name"]).startswith(str(value)),
    "processing_tag": lambda value: None if value == "default" else _nothing(value),
    "pre_image": _nothing,
    "pupil_mask": _nothing,
    "publication": _nothing,
    "PIname": _nothing,
    "ProgramText": _nothing,
}


def _within(row: Row, key: str, period: Period) -> bool:
    value = row[key]
    if value is None:
        return False
    return period[0] <= datetime.fromisoformat(value).replace(tzinfo=None) < period[1]


def _by_day(key: str, read: Callable[[str, datetime], Period]) -> Callable[[str, datetime], RowTest]:
    def make(text: str, now: datetime) -> RowTest:
        period = read(text, now)
        return lambda row: _within(row, key, period)

    return make


def _by_night(read: Callable[[str, datetime], Period]) -> Callable[[str, datetime], RowTest]:
    def make(text: str, now: datetime) -> RowTest:
        start, end = read(text, now)
        southern = (start + SOUTHERN_NIGHT, end + SOUTHERN_NIGHT)
        return lambda row: _within(
            row, "ut_datetime", southern if row["telescope"] == "Gemini-South" else (start, end)
        )

    return make


_TIMED: dict[str, Callable[[str, datetime], RowTest]] = {
    "date": _by_day("ut_datetime", day_period),
    "daterange": _by_day("ut_datetime", range_period),
    "night": _by_night(day_period),
    "nightrange": _by_night(range_period),
    "entrytimedaterange": _by_day("entrytime", range_period),
    "lastmoddaterange": _by_day("lastmod", range_period),
}
