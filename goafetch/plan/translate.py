"""From what headers say to what the calibration store understands: a Calibration, or a frame's Need."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from calstore.associate import (
    DARK,
    LAMP_OFF,
    LAMP_ON,
    PROCESSED_BPM,
    PROCESSED_DARK,
    PROCESSED_FLAT,
    STANDARD,
    Calibration,
    Need,
    Traits,
    rank,
    valid_from,
)
from goafetch.errors import GoafetchError
from goafetch.needs import need
from reducer.headers.descriptors import Descriptors
from reducer.instruments import find_instrument

#: Those that no light of the sky or a lamp made: any filter may have been in the way.
WITHOUT_LIGHT = (PROCESSED_BPM, PROCESSED_DARK)
#: Which tags, all present, make which kind; the first that fits counts.
KINDS: Sequence[tuple[frozenset[str], str]] = (
    (frozenset({"BPM"}), PROCESSED_BPM),
    (frozenset({"PROCESSED", "DARK"}), PROCESSED_DARK),
    (frozenset({"PROCESSED", "FLAT"}), PROCESSED_FLAT),
    (frozenset({"DARK"}), DARK),
)


class NotACalibration(GoafetchError):
    """A file that is no calibration of any kind that the store keeps."""


def calibration_of(path: Path, facts: Descriptors | None = None) -> Calibration:
    """A file as a calibration, ``facts`` being its descriptors; NotACalibration if it is none."""
    facts = _read(path) if facts is None else facts
    kind = kind_of(facts)
    if kind is None:
        raise NotACalibration(
            f"{path.name} is not a calibration ({' '.join(sorted(facts.tags))})",
            "a processed flat or dark, a bad-pixel mask, a raw dome flat, a dark or a standard",
        )
    when = mask_start(path, facts) if kind == PROCESSED_BPM else facts.ut_datetime
    if when is None:
        raise NotACalibration(f"{path.name} does not say when it was taken", "DATE-OBS and UT in its header")
    traits = _traits(facts, when) | ({"filter_name": ""} if kind in WITHOUT_LIGHT else {})
    return Calibration(kind=kind, path=str(path.absolute()), origin=_origin(facts), **traits)


def need_of(facts: Descriptors, kind: str) -> Need:
    """What a frame needs of a kind; NotACalibration if it does not say when it was taken."""
    if facts.ut_datetime is None:
        raise NotACalibration(f"{facts.filename} has no time", "DATE-OBS and UT in its header")
    return need(kind, name=facts.filename, **_traits(facts, facts.ut_datetime))


def kind_of(facts: Descriptors) -> str | None:
    """The kind of calibration that a frame is, or None."""
    for wanted, kind in KINDS:
        if wanted <= facts.tags:
            return kind
    known = find_instrument(facts.primary)
    if "RAW" in facts.tags and known and (lamp := known.lamp(facts.tags, facts.filter)):
        return LAMP_ON if lamp == "on" else LAMP_OFF
    is_standard = facts.observation_class == "partnerCal" and "RAW" in facts.tags
    return STANDARD if is_standard and "FLAT" not in facts.tags else None


def mask_start(path: Path, facts: Descriptors) -> dt.datetime | None:
    """From when a mask is valid: it need not say at what time of day it was made."""
    taken = dt.datetime.combine(facts.ut_date, facts.ut_time or dt.time()) if facts.ut_date else None
    return valid_from(path.name, taken)


def _read(path: Path) -> Descriptors:
    from reducer.select import describe_file

    return describe_file(path)


def _traits(facts: Descriptors, when: dt.datetime) -> dict[str, Any]:
    known = find_instrument(facts.primary)
    return {
        "when": when,
        "instrument": known.name if known else "",
        "filter_name": (facts.filter or "") if facts.filter_is_known else "",
        "region": facts.regions,
        "exposure_time": facts.exposure_time,
        "coadds": facts.coadds,
        "read_mode": facts.read_speed_setting,
        "program_id": facts.program_id or "",
    }


def _origin(facts: Descriptors) -> str:
    """Who made the file, by the marks that products carry."""
    if "GOAFVERS" in facts.primary:
        return "goafetch"
    return "DRAGONS" if any(key in facts.primary for key in ("PROCFLAT", "PROCDARK")) else "archive"


def previous_flat(made: Traits, stored: Iterable[Calibration]) -> Path | None:
    """The flat that a new one is compared with: the latest before it of its filter; None without any."""
    sought = need(
        PROCESSED_FLAT,
        when=made.when,
        instrument=made.instrument,
        filter_name=made.filter_name,
        region=made.region,
    )
    fitting = rank(sought, [known for known in stored if known.when < made.when])[0]
    return Path(max(fitting, key=lambda known: known.when).path) if fitting else None
