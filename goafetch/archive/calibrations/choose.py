"""Sharpens the archive's loose association: uniform sets, the nearest night, a reason for each choice."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from calstore import record as kinds
from calstore.associate import Match, best, suiting
from calstore.record import Calibration, Need
from goafetch.archive.calibrations.calmgr import LAMP_OFF, LAMP_ON, MASK, STANDARD
from goafetch.archive.calibrations.settings import Settings
from goafetch.archive.records import Record

_KINDS = {LAMP_ON: kinds.LAMP_ON, LAMP_OFF: kinds.LAMP_OFF, STANDARD: kinds.STANDARD}
#: What the types are called in messages.
WORDS = {LAMP_ON: "lamp-on flats", LAMP_OFF: "lamp-off flats", STANDARD: "standards", MASK: "bad-pixel masks"}


@dataclass(frozen=True)
class ScienceGroup:
    """Science files that need the same calibrations: of one program, filter and night.

    ``settings``: of the one with the largest region; None where its header is not given out.
    """

    records: tuple[Record, ...]
    settings: Settings | None = field(default_factory=Settings)

    @property
    def when(self) -> datetime:
        """The middle one of their times (UTC)."""
        return _middle(self.records)

    @property
    def name(self) -> str:
        """Program, filter and night, for messages."""
        first = self.records[0]
        return f"{first.filter_name} of {first.night} ({first.program_id})"

    def need(self, kind: str) -> Need:
        """What they need of a kind of calibration."""
        first = self.records[0]
        return Need(
            kind=kind,
            when=self.when,
            filter_name=first.filter_name or "",
            region=self.settings.region if self.settings else (),
            name=self.name,
        )


@dataclass(frozen=True)
class CalibrationSet:
    """Files of one type, night and read-out, which are used together."""

    kind: str
    records: tuple[Record, ...]
    settings: Settings

    @property
    def name(self) -> str:
        """What it is, for messages."""
        first, n = self.records[0], len(self.records)
        coadds = f" x {self.settings.coadds}" if self.settings.coadds != 1 else ""
        exposure = f"{first.exposure_time:g} s" if first.exposure_time is not None else "unknown exposure"
        what = f" of {first.object}" if self.kind == STANDARD else ""
        return f"{n} {WORDS[self.kind]}{what} in {first.filter_name} of {first.night}, {exposure}{coadds}"

    def traits(self, make: Any, kind: str, **more: str) -> Any:
        """As a Need or a Calibration of calstore."""
        first = self.records[0]
        return make(
            kind=kind,
            when=_middle(self.records),
            filter_name=first.filter_name or "",
            region=self.settings.region,
            exposure_time=first.exposure_time,
            coadds=self.settings.coadds,
            read_mode=f"{first.detector_readmode_setting or ''} {self.settings.reads}".strip(),
            **more,
        )

    @property
    def calibration(self) -> Calibration:
        """As calstore's rules see it; its path is the first file's name."""
        found: Calibration = self.traits(Calibration, _KINDS[self.kind], path=self.records[0].name)
        return found


@dataclass
class Choice:
    """What was taken and what was not, each file with its reason."""

    taken: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def take(self, chosen: CalibrationSet, reason: str) -> None:
        """Take all files of a set."""
        self.taken.update({record.name: reason for record in chosen.records})

    def reject(self, unfit: CalibrationSet, reason: str) -> None:
        """Leave all files of a set, unless they are taken for something else."""
        self.rejected.update({record.name: f"{unfit.name}: {reason}" for record in unfit.records})


def make_sets(kind: str, records: Iterable[Record], settings: Mapping[str, Settings]) -> list[CalibrationSet]:
    """Divide files of one type into sets that are uniform in night and read-out (standards: and star)."""
    groups: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in records:
        read = settings.get(record.name, Settings())
        exposure = None if record.exposure_time is None else round(record.exposure_time, 2)
        star = record.object if kind == STANDARD else None
        key = (record.night, record.filter_name, exposure, read, record.detector_readmode_setting, star)
        groups[key].append(record)
    return [
        CalibrationSet(kind, tuple(group), settings.get(group[0].name, Settings()))
        for group in groups.values()
    ]


def choose_flats(group: ScienceGroup, on: Sequence[CalibrationSet], off: Sequence[CalibrationSet]) -> Choice:
    """The nearest lamp-on set that has a lamp-off set read in the same way, and that lamp-off set."""
    choice = Choice()
    fitting = _fitting(group, kinds.LAMP_ON, on, choice)
    pairs = [(lit, _dark_for(lit, off)) for lit in fitting]
    complete = [(lit, dark) for lit, dark in pairs if dark is not None]
    lit, dark = complete[0] if complete else (fitting[0] if fitting else None, None)
    if lit is None:
        choice.warnings.append(f"no lamp-on flats suit {group.name}")
    else:
        choice.take(lit, _praise(lit, group))
    if dark is not None and lit is not None:
        choice.take(dark, f"{_praise(dark, group)}, read as the lamp-on flats")
    elif lit is not None:
        choice.warnings.append(f"no lamp-off flats match the {lit.name}")
    for other, partner in pairs:
        if other is not lit:
            lacking = partner is None and dark is not None
            choice.reject(
                other, "no lamp-off flats match it" if lacking else f"a nearer set serves {group.name}"
            )
    for other in off:
        if other is not dark:
            choice.reject(other, "not the lamp-off partner of the flats taken")
    return choice


def choose_standards(group: ScienceGroup, sets: Sequence[CalibrationSet]) -> Choice:
    """All sets of standards of the night that is nearest."""
    choice = Choice()
    fitting = _fitting(group, kinds.STANDARD, sets, choice)
    nearest = _distance(fitting[0], group) if fitting else 0
    for standard in fitting:
        if _distance(standard, group) == nearest:
            choice.take(standard, _praise(standard, group))
        else:
            choice.reject(standard, f"standards of a nearer night serve {group.name}")
    return choice


def choose_mask(records: Sequence[Record], candidates: Sequence[Record]) -> Choice:
    """The latest mask that is valid from a date at or before that of the records, which share one night."""
    choice = Choice()
    first = records[0]
    usable = []
    for mask in candidates:
        if None not in (mask.detector_binning, first.detector_binning) and (
            mask.detector_binning != first.detector_binning
        ):
            choice.rejected[mask.name] = f"binning {mask.detector_binning}, needed {first.detector_binning}"
        elif valid_from(mask) is None:
            choice.rejected[mask.name] = "neither its name nor its record tells from when it is valid"
        else:
            usable.append(_as_mask(mask))
    need = Need(kind=kinds.PROCESSED_BPM, when=_middle(records), name=f"data of {first.night}")
    if not usable:
        return choice
    found = best(need, usable)
    choice.rejected |= {r.calibration.path: r.reason for r in found.rejected}
    if isinstance(found, Match):
        choice.taken[found.calibration.path] = f"bad-pixel mask: {found.reason}"
    return choice


def valid_from(mask: Record) -> date | None:
    """The date from which a mask holds: the one in its name, else that of its record."""
    named = re.search(r"(?:^|_)(20\d{6})(?=_|\.)", mask.name)
    if named:
        return datetime.strptime(named[1], "%Y%m%d").date()
    return mask.ut_datetime.date() if mask.ut_datetime else None


def _as_mask(mask: Record) -> Calibration:
    start = datetime.combine(valid_from(mask) or date.min, datetime.min.time())
    return Calibration(kind=kinds.PROCESSED_BPM, when=start, path=mask.name)


def _fitting(
    group: ScienceGroup, kind: str, sets: Sequence[CalibrationSet], choice: Choice
) -> list[CalibrationSet]:
    """Sets that meet the rule's conditions, the nearest first; the others are rejected with its words."""
    need, by_path = group.need(kind), {s.calibration.path: s for s in sets}
    offered = [s.calibration for s in sets]
    if group.settings is None:  # what the science's region asks of a flat cannot be judged
        offered = [replace(calibration, region=()) for calibration in offered]
    good = [by_path[calibration.path] for calibration in suiting(need, offered)]
    for rejection in best(need, offered).rejected:
        unfit = by_path[rejection.calibration.path]
        if unfit not in good:
            choice.reject(unfit, rejection.reason)
    return good


def _dark_for(lit: CalibrationSet, off: Sequence[CalibrationSet]) -> CalibrationSet | None:
    need = lit.traits(Need, kinds.LAMP_OFF, name=lit.name)
    found = best(need, [s.calibration for s in off])
    if not isinstance(found, Match):
        return None
    return next(s for s in off if s.calibration.path == found.calibration.path)


def _praise(chosen: CalibrationSet, group: ScienceGroup) -> str:
    nights = _distance(chosen, group)
    apart = "same night" if nights == 0 else f"{nights} night{'s' if nights > 1 else ''} apart"
    return f"{WORDS[chosen.kind]}: filter {chosen.records[0].filter_name}, {apart}"


def _distance(chosen: CalibrationSet, group: ScienceGroup) -> int:
    """Nights between a set and the science."""
    one, other = chosen.records[0].night, group.records[0].night
    return abs((one - other).days) if one and other else abs((_middle(chosen.records) - group.when).days)


def _middle(records: Sequence[Record]) -> datetime:
    times = sorted(r.ut_datetime for r in records if r.ut_datetime)
    return times[len(times) // 2] if times else datetime.min
