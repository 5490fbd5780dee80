"""The archive's calibration rules of GSAOI and F2, as loose as they are (FitsStorage, calibration_*.py)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from goafetch.practice.goa.dates import MalformedValue
from goafetch.practice.goa.holdings import Holding
from goafetch.practice.goa.vocabulary import CALIBRATION_TYPES

_COMPONENT = re.compile(r"_G\d+$")


@dataclass(frozen=True)
class Target:
    """What the rules look at in an exposure that needs calibrations."""

    label: str
    instrument: str
    moment: datetime
    filter_name: str
    binning: str
    needs_science_calibrations: bool
    is_mask: bool
    observation_type: str = "OBJECT"
    exposure_time: float | None = None
    read_mode: str | None = None


def target_of(holding: Holding) -> Target | None:
    """Describe a holding as a target; None for one without a time of observation."""
    if holding.moment is None:
        return None
    row = holding.row
    kind = (row["observation_type"], row["observation_class"])
    return Target(
        label=str(row["data_label"]),
        instrument=str(row["instrument"]),
        moment=holding.moment,
        filter_name=plain_filter(str(row["filter_name"])),
        binning=str(row["detector_binning"]),
        needs_science_calibrations=kind == ("OBJECT", "science"),
        is_mask=row["observation_type"] == "BPM",
        observation_type=str(row["observation_type"]),
        exposure_time=row["exposure_time"],
        read_mode=row["detector_readmode_setting"],
    )


def target_of_descriptors(descriptors: Mapping[str, Any]) -> Target:
    """Describe the frame of a POSTed request.

    Raises:
        MalformedValue: a descriptor that the rules need is missing or unreadable (the archive crashes).
    """
    try:
        return Target(
            label=str(descriptors["data_label"]),
            instrument=str(descriptors["instrument"]),
            moment=datetime.fromisoformat(descriptors["ut_datetime"]).replace(tzinfo=None),
            filter_name=plain_filter(str(descriptors["filter_name"])),
            binning=str(descriptors.get("detector_binning", "1x1")),
            needs_science_calibrations=True,
            is_mask=False,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedValue(str(error)) from error


def plain_filter(name: str) -> str:
    """Drop component numbers and clear positions: ``Kshort_G1105&Clear`` is ``Kshort``."""
    parts = [_COMPONENT.sub("", part) for part in name.split("&")]
    return "&".join(part for part in parts if part.lower() != "clear")


@dataclass(frozen=True)
class _Rule:
    """Which holdings serve as one type of calibration, and how many are given."""

    is_one: Callable[[Mapping[str, Any]], bool]
    how_many: int
    same_filter: bool = True
    must_precede: bool = False
    days: float = 30.0
    same_readout: bool = False


def _raw(observation_class: str, *objects: str) -> Callable[[Mapping[str, Any]], bool]:
    def is_one(row: Mapping[str, Any]) -> bool:
        same_kind = row["reduction"] == "RAW" and row["observation_type"] == "OBJECT"
        same_class = row["observation_class"] == observation_class
        return same_kind and same_class and (not objects or row["object"] in objects)

    return is_one


_LAMP_ON = _Rule(_raw("dayCal", "Domeflat"), 20)
_LAMP_OFF = _Rule(_raw("dayCal", "Domeflat OFF"), 20)
_RULES: dict[str, _Rule] = {
    "domeflat": _LAMP_ON,
    "flat": _LAMP_ON,
    "lampoff_domeflat": _LAMP_OFF,
    "lampoff_flat": _LAMP_OFF,
    "photometric_standard": _Rule(_raw("partnerCal"), 8),
    "processed_flat": _Rule(lambda row: row["reduction"] == "PROCESSED_FLAT", 1),
    "processed_bpm": _Rule(
        lambda row: row["observation_type"] == "BPM", 1, same_filter=False, must_precede=True
    ),
}
#: Of F2: flats whatever their lamp and read mode, no lamp-off frames, darks for exposures and flats.
_OF_F2: dict[str, _Rule] = {
    "dark": _Rule(
        lambda row: row["observation_type"] == "DARK", 10, same_filter=False, days=90.0, same_readout=True
    ),
    "flat": _Rule(lambda row: row["observation_type"] == "FLAT", 10, days=90.0),
    "photometric_standard": _Rule(
        lambda row: (row["observation_type"], row["observation_class"]) == ("OBJECT", "partnerCal"),
        10,
        days=1.0,
    ),
}
_BY_INSTRUMENT: dict[str, dict[str, _Rule]] = {"GSAOI": _RULES, "F2": _OF_F2}
_FOR_SCIENCE = frozenset({"domeflat", "lampoff_domeflat", "photometric_standard", "processed_flat"})


def find(kind: str, target: Target, holdings: Iterable[Holding]) -> list[Holding]:
    """Give the calibrations of one type for a target, nearest in time first; none for unknown types."""
    rule = _BY_INSTRUMENT.get(target.instrument, {}).get(kind)
    if rule is None or (target.instrument == "F2" and kind not in applicable(target)):
        return []
    fitting = [holding for holding in holdings if _fits(rule, target, holding)]
    fitting.sort(key=lambda holding: _distance(target, holding))
    return fitting[: rule.how_many]


def _distance(target: Target, holding: Holding) -> timedelta:
    return abs(holding.moment - target.moment) if holding.moment else timedelta.max


def _fits(rule: _Rule, target: Target, holding: Holding) -> bool:
    row, moment = holding.row, holding.moment
    excluded = row["qa_state"] == "Fail" or row["engineering"] or not row["canonical"]
    if moment is None or excluded or not holding.associated or row["instrument"] != target.instrument:
        return False
    if rule.must_precede:
        in_time = moment <= target.moment and row["detector_binning"] == target.binning
    else:
        in_time = abs(moment - target.moment) <= timedelta(days=rule.days)
    same_filter = not rule.same_filter or plain_filter(str(row["filter_name"])) == target.filter_name
    readout = row["exposure_time"], row["detector_readmode_setting"]
    same_readout = not rule.same_readout or readout == (target.exposure_time, target.read_mode)
    return in_time and same_filter and same_readout and rule.is_one(row)


def applicable(target: Target) -> list[str]:
    """Name the types of calibration that the archive associates with a target, in its order of types."""
    if target.is_mask:
        return []
    if target.instrument == "F2":
        kinds = {"dark"} if target.observation_type in ("OBJECT", "FLAT") else set()
        kinds |= {"flat", "photometric_standard"} if target.needs_science_calibrations else set()
        return [kind for kind in CALIBRATION_TYPES if kind in kinds]
    kinds = {"processed_bpm"} | (_FOR_SCIENCE if target.needs_science_calibrations else frozenset())
    return [kind for kind in CALIBRATION_TYPES if kind in kinds]


def associate(
    targets: Sequence[Holding], holdings: Sequence[Holding], *, recursive: bool = True
) -> list[Holding]:
    """Give the calibrations of some holdings, and of those: by type, by target, nearest first."""
    found: dict[tuple[str, str], Holding] = {}
    wanted = list(targets)
    while wanted:
        new = {_key(cal): cal for cal in _direct(wanted, holdings) if _key(cal) not in found}
        found.update(new)
        wanted = list(new.values()) if recursive else []
    return list(found.values())


def _direct(targets: Iterable[Holding], holdings: Sequence[Holding]) -> list[Holding]:
    described = [target for holding in targets if (target := target_of(holding))]
    return [
        calibration
        for kind in CALIBRATION_TYPES
        for target in described
        if kind in applicable(target)
        for calibration in find(kind, target, holdings)
    ]


def _key(holding: Holding) -> tuple[str, str]:
    return holding.stored_name, str(holding.row["file_md5"])
