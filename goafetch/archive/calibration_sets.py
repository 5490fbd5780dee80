"""Which calibrations suit science files, decided purely: sets of files against the instrument's rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from calstore.associate import (
    DARK,
    LAMP_OFF,
    LAMP_ON,
    PROCESSED_BPM,
    PROCESSED_DARK,
    STANDARD,
    Calibration,
    Match,
    Need,
    best,
    rank,
    valid_from,
)
from goafetch.archive.records import Readout, Record
from goafetch.needs import need
from goafetch.words import some

if TYPE_CHECKING:
    from reducer.instruments.base import CalibrationRule, Instrument

#: What the kinds are called in messages, in the order in which they are fetched.
WORDS = {
    LAMP_ON: "lamp-on flats",
    LAMP_OFF: "lamp-off flats",
    DARK: "darks",
    STANDARD: "standards",
    PROCESSED_BPM: "bad-pixel masks",
}


#: Those of which it matters how they were read.
READ_ALIKE = (LAMP_ON, LAMP_OFF, DARK, STANDARD)


# --- what the instrument's rules say of a record's calibrations ---------------------------------------------


def archive_rules(record: Record) -> dict[str, CalibrationRule]:
    """By kind, what its instrument has of the archive and by which rule; nothing if it is not known."""
    known = known_instrument(record)
    return {kind: rule for kind, rule in known.calibrations.items() if rule.archive} if known else {}


def known_instrument(record: Record) -> Instrument | None:
    """The instrument that took it, None for one that is not reduced here."""
    from reducer.instruments import KNOWN

    return KNOWN.get(record.instrument or "")


def dark_will_do(record: Record) -> bool:
    """Whether a flat of its instrument may have a dark subtracted where there are no lamp-off frames."""
    known = known_instrument(record)
    return known is not None and known.needs(PROCESSED_DARK, "flat")


def are_mixed(record: Record) -> bool:
    """Whether the archive calls lamp-on and lamp-off frames of its instrument the same."""
    words = [rule.archive for kind, rule in archive_rules(record).items() if kind in (LAMP_ON, LAMP_OFF)]
    return len(words) == 2 and words[0] == words[1]


# --- sets of files --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScienceGroup:
    """Science files that need the same calibrations: of one program, filter and night.

    ``readout``: of the one with the largest region; None where its header is not given out.
    """

    records: tuple[Record, ...]
    readout: Readout | None = field(default_factory=Readout)

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
        return need(
            kind,
            when=self.when,
            instrument=first.instrument or "",
            filter_name=first.filter_name or "",
            region=self.readout.region if self.readout else (),
            exposure_time=first.exposure_time,
            coadds=self.readout.coadds if self.readout else 1,
            read_mode=_read_mode(first, self.readout or Readout()),
            name=self.name,
        )


@dataclass(frozen=True)
class CalibrationSet:
    """Files of one kind, night and read-out, which are used together."""

    kind: str
    records: tuple[Record, ...]
    readout: Readout

    @property
    def name(self) -> str:
        """What it is, for messages."""
        first, n = self.records[0], len(self.records)
        coadds = f" x {self.readout.coadds}" if self.readout.coadds != 1 else ""
        exposure = f"{first.exposure_time:g} s" if first.exposure_time is not None else "unknown exposure"
        what = f" of {first.object}" if self.kind == STANDARD else ""
        light = "" if self.kind == DARK else f" in {first.filter_name}"
        return f"{n} {WORDS[self.kind]}{what}{light} of {first.night}, {exposure}{coadds}"

    @property
    def traits(self) -> dict[str, Any]:
        """What calstore's rules look at."""
        first = self.records[0]
        return {
            "when": _middle(self.records),
            "instrument": first.instrument or "",
            "filter_name": first.filter_name or "",
            "region": self.readout.region,
            "exposure_time": first.exposure_time,
            "coadds": self.readout.coadds,
            "read_mode": _read_mode(first, self.readout),
        }

    @property
    def calibration(self) -> Calibration:
        """As calstore's rules see it; its path is the first file's name."""
        return Calibration(kind=self.kind, path=self.records[0].name, **self.traits)


def _read_mode(record: Record, readout: Readout) -> str:
    return f"{record.detector_readmode_setting or ''} {readout.reads}".strip()


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


def make_sets(kind: str, records: Iterable[Record], readouts: Mapping[str, Readout]) -> list[CalibrationSet]:
    """Divide files of one kind into sets that are uniform in night and read-out (standards: and star)."""
    groups: dict[tuple[Readout, object], list[Record]] = defaultdict(list)
    for record in records:
        readout = readouts.get(record.name, Readout())
        exposure = None if record.exposure_time is None else round(record.exposure_time, 2)
        star = record.object if kind == STANDARD else None
        key = (record.night, record.filter_name, exposure, record.detector_readmode_setting, star)
        groups[readout, key].append(record)
    return [CalibrationSet(kind, tuple(group), readout) for (readout, _), group in groups.items()]


def choose_flats(group: ScienceGroup, on: Sequence[CalibrationSet], off: Sequence[CalibrationSet]) -> Choice:
    """The nearest lamp-on set that has a lamp-off set read in the same way, and that lamp-off set."""
    choice = Choice()
    fitting = _fitting(group, LAMP_ON, on, choice)
    partners = [_lamp_off_for(on_set, off) for on_set in fitting]
    taken = next((i for i, partner in enumerate(partners) if partner), 0)
    off_set = partners[taken] if partners else None
    if not fitting:
        names = some([record.name.partition(".")[0] for record in group.records])
        known = (group.records[0].filter_name or "unknown").replace("Unknown", "unknown")
        choice.warnings.append(f"{names}: filter {known}, no lamp-on flats selected")
    else:
        choice.take(fitting[taken], _why_taken(fitting[taken], group))
    if off_set is not None:
        choice.take(off_set, f"{_why_taken(off_set, group)}, read as the lamp-on flats")
    elif fitting and not dark_will_do(group.records[0]):
        choice.warnings.append(f"no lamp-off flats match the {fitting[taken].name}")
    for i, (other, partner) in enumerate(zip(fitting, partners, strict=True)):
        if i != taken:
            lacking = partner is None and off_set is not None
            why = "no lamp-off flats match it" if lacking else f"a nearer set serves {group.name}"
            choice.reject(other, why)
    for other in off:
        if other is not off_set:
            choice.reject(other, "not the lamp-off partner of the flats taken")
    return choice


def choose_standards(group: ScienceGroup, sets: Sequence[CalibrationSet]) -> Choice:
    """All sets of standards of the night that is nearest."""
    choice = Choice()
    fitting = _fitting(group, STANDARD, sets, choice)
    nearest = _distance(fitting[0], group) if fitting else 0
    for standard in fitting:
        if _distance(standard, group) == nearest:
            choice.take(standard, _why_taken(standard, group))
        else:
            choice.reject(standard, f"standards of a nearer night serve {group.name}")
    return choice


def choose_darks(group: ScienceGroup, sets: Sequence[CalibrationSet]) -> Choice:
    """All darks that were read as the files of a group, for each exposure time among these."""
    choice = Choice()
    for time, records in _by_time(group.records).items():
        alike = replace(group, records=tuple(records))
        fitting = _fitting(alike, DARK, sets, choice)
        for dark in fitting:
            choice.take(dark, _why_taken(dark, alike))
        if not fitting:
            choice.warnings.append(f"no darks of {time:g} s suit {group.name}")
    return choice


def _by_time(records: Iterable[Record]) -> dict[float, list[Record]]:
    """Records by their exposure time, those without one left out."""
    found: dict[float, list[Record]] = defaultdict(list)
    for record in records:
        if record.exposure_time is not None:
            found[record.exposure_time].append(record)
    return found


def choose_mask(records: Sequence[Record], candidates: Sequence[Record]) -> Choice:
    """The latest mask that is valid from a date at or before that of the records, which share one night."""
    choice = Choice()
    first = records[0]
    usable = []
    for mask in candidates:
        binnings = {mask.detector_binning, first.detector_binning}
        if len(binnings - {None}) > 1:
            choice.rejected[mask.name] = f"binning {mask.detector_binning}, needed {first.detector_binning}"
        elif (start := valid_from(mask.name, mask.ut_datetime)) is None:
            choice.rejected[mask.name] = "neither its name nor its record tells from when it is valid"
        else:
            of = mask.instrument or ""
            usable.append(Calibration(kind=PROCESSED_BPM, when=start, instrument=of, path=mask.name))
    sought = ScienceGroup(tuple(records)).need(PROCESSED_BPM)
    found = best(replace(sought, name=f"data of {first.night}"), usable)
    choice.rejected |= {r.calibration.path: r.reason for r in found.rejected}
    if isinstance(found, Match):
        choice.taken[found.calibration.path] = f"bad-pixel mask: {found.reason}"
    return choice


def _fitting(
    group: ScienceGroup, kind: str, sets: Sequence[CalibrationSet], choice: Choice
) -> list[CalibrationSet]:
    """Sets that meet the rule's conditions, the nearest first; the others are rejected with its words."""
    if not sets:  # of a kind, perhaps, for which the instrument has no rule
        return []
    by_path = {s.calibration.path: s for s in sets}
    good, unfit = rank(group.need(kind), [s.calibration for s in sets])
    for rejection in unfit:
        choice.reject(by_path[rejection.calibration.path], rejection.reason)
    return [by_path[calibration.path] for calibration in good]


def _lamp_off_for(on_set: CalibrationSet, off: Sequence[CalibrationSet]) -> CalibrationSet | None:
    good, _ = rank(need(LAMP_OFF, name=on_set.name, **on_set.traits), [s.calibration for s in off])
    return next(s for s in off if s.calibration == good[0]) if good else None


def _why_taken(chosen: CalibrationSet, group: ScienceGroup) -> str:
    nights = _distance(chosen, group)
    apart = "same night" if nights == 0 else f"{nights} night{'s' if nights > 1 else ''} apart"
    first = chosen.records[0]
    alike = f"{first.exposure_time:g} s" if chosen.kind == DARK else f"filter {first.filter_name}"
    return f"{WORDS[chosen.kind]}: {alike}, {apart}"


def _distance(chosen: CalibrationSet, group: ScienceGroup) -> int:
    """Nights between a set and the science."""
    one, other = chosen.records[0].night, group.records[0].night
    return abs((one - other).days) if one and other else abs((_middle(chosen.records) - group.when).days)


def _middle(records: Sequence[Record]) -> datetime:
    times = sorted(r.ut_datetime for r in records if r.ut_datetime)
    return times[len(times) // 2] if times else datetime.min
