"""Which calibration fits which frame, and why each other one does not, by the rules of its instrument."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from calstore import REBUILD, DamagedStore

#: Array number and the rectangle of the full array: x1, x2, y1, y2, zero-based, half-open.
Rectangle = tuple[int, int, int, int, int]

PROCESSED_FLAT = "processed_flat"
PROCESSED_BPM = "processed_bpm"
PROCESSED_DARK = "processed_dark"
STANDARD = "standard"
DARK = "dark"
LAMP_ON = "lamp_on"
LAMP_OFF = "lamp_off"


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What association looks at: UT at the start, the filter as people say it, and how the arrays were read.

    ``region``: what was read of each array, empty where that is not known. ``exposure_time`` in seconds.
    """

    kind: str
    when: dt.datetime
    instrument: str = ""
    filter_name: str = ""
    region: tuple[Rectangle, ...] = ()
    exposure_time: float | None = None
    coadds: int = 1
    read_mode: str = ""
    program_id: str = ""

    def __post_init__(self) -> None:
        if self.when.tzinfo is not None:
            utc = self.when.astimezone(dt.UTC).replace(tzinfo=None)
            object.__setattr__(self, "when", utc)


class Rule(Protocol):
    """How a calibration of one kind fits: as plain data, which the instrument tells.

    ``same``: the traits in which it is as what was needed. ``covers``: whether it must hold every pixel that
    the frame has. ``days``: no more lie between the two. ``latest``: whether it is valid from its date on,
    and the last one wins; else the one nearest in time.
    """

    @property
    def same(self) -> tuple[str, ...]: ...
    @property
    def covers(self) -> bool: ...
    @property
    def days(self) -> float | None: ...
    @property
    def latest(self) -> bool: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Need(Traits):
    """What a frame, called ``name``, needs: a calibration of ``kind`` that suits these traits by ``rule``."""

    rule: Rule
    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration(Traits):
    """A calibration file: ``path``, the SHA-256 (and md5, where known) of its content, and its traits.

    ``origin`` says who made it ('goafetch', 'DRAGONS', 'archive').
    """

    path: str
    sha256: str = ""
    md5: str = ""
    origin: str = ""

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.replace("\\", "/").rpartition("/")[2]

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a file that people can read; what is as usual is left out."""
        values = {key: getattr(self, key) for key in USUAL if getattr(self, key) != USUAL[key]}
        values["when"] = self.when.isoformat(timespec="milliseconds")
        if "region" in values:
            values["region"] = [list(rectangle) for rectangle in self.region]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any], folder: str = "") -> Calibration:
        """The calibration of such values; a relative path is taken to be below ``folder``.

        DamagedStore if they do not make one.
        """
        try:
            made = dict(values)
            if folder and not made["path"].startswith("/"):
                made["path"] = f"{folder}/{made['path']}"
            made["when"] = dt.datetime.fromisoformat(values["when"])
            if "region" in made:
                made["region"] = tuple(map(tuple, made["region"]))
            return cls(**made)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedStore(
                f"the record {values!r} is not a calibration", "kind, path and when", REBUILD
            ) from error


#: What a record leaves out.
USUAL: dict[str, Any] = {field.name: field.default for field in fields(Calibration)}


#: A night is labelled by the UT date at its end; it begins at 18:00 UT: 14:00 in Chile, 8:00 in Hawaii.
NIGHT_BEGINS = dt.timedelta(hours=-6)
#: A condition says in words why a calibration does not suit a need; nothing if it does.
Condition = Callable[[Need, Calibration], str | None]

#: Exposure times that differ by less than this fraction are the same.
SAME_EXPOSURE = 0.01


def night_of(when: dt.datetime) -> dt.date:
    """The label of the night in which a UT moment falls: D from D-1 18:00 to D 18:00."""
    return (when - NIGHT_BEGINS).date()


def valid_from(name: str, taken: dt.datetime | None) -> dt.datetime | None:
    """From when a mask is valid: the date in its name (``bpm_20121104_``), else when its data were taken."""
    named = re.search(r"(?:^|_)(20\d{6})(?=_|\.)", name)
    try:
        return dt.datetime.strptime(named[1], "%Y%m%d") if named else taken
    except ValueError:
        return taken  # no day of the calendar


def same_filter(need: Need, calibration: Calibration) -> str | None:
    """The filters are equal."""
    if calibration.filter_name == need.filter_name:
        return None
    return f"filter {calibration.filter_name or 'unknown'}, needed {need.filter_name or 'a known filter'}"


def within_days(need: Need, calibration: Calibration) -> str | None:
    """No more days lie between the two than the rule allows."""
    apart, most = abs(need.when - calibration.when) / dt.timedelta(days=1), need.rule.days
    return None if most is None or apart <= most else f"{apart:.1f} days away, at most {most:g} allowed"


def valid_by_that_date(need: Need, calibration: Calibration) -> str | None:
    """The calibration is valid from a date at or before the need's."""
    if calibration.when.date() <= need.when.date():
        return None
    return f"valid from {calibration.when.date()}, after {need.when.date()}"


def covers_the_frame(need: Need, calibration: Calibration) -> str | None:
    """The calibration holds all pixels that the frame has, as far as both are known."""
    if not calibration.region:
        return None
    held = {number: rectangle for number, *rectangle in calibration.region}
    for number, x1, x2, y1, y2 in need.region:
        if number not in held:
            return f"does not hold array {number}"
        cx1, cx2, cy1, cy2 = held[number]
        if not (cx1 <= x1 and x2 <= cx2 and cy1 <= y1 and y2 <= cy2):
            return (
                f"holds {_section(cx1, cx2, cy1, cy2)} of array {number}, needed {_section(x1, x2, y1, y2)}"
            )
    return None


def same_region(need: Need, calibration: Calibration) -> str | None:
    """Both hold the same pixels."""
    if need.region == calibration.region:
        return None
    return f"holds {_words(calibration.region)}, needed {_words(need.region)}"


def same_exposure(need: Need, calibration: Calibration) -> str | None:
    """The exposure times agree to 1 %."""
    mine, theirs = need.exposure_time, calibration.exposure_time
    if mine is not None and theirs is not None and abs(mine - theirs) <= SAME_EXPOSURE * max(mine, theirs):
        return None
    return f"exposure time {theirs} s, needed {mine} s"


def same_coadds(need: Need, calibration: Calibration) -> str | None:
    """The numbers of coadds are equal."""
    if need.coadds == calibration.coadds:
        return None
    return f"{calibration.coadds} coadds, needed {need.coadds}"


def same_read_mode(need: Need, calibration: Calibration) -> str | None:
    """The read modes are equal."""
    if need.read_mode == calibration.read_mode:
        return None
    return f"read mode {calibration.read_mode or 'unknown'}, needed {need.read_mode or 'a known one'}"


#: What it is to agree in a trait, by its name.
SAME: Mapping[str, Condition] = {
    "filter_name": same_filter,
    "exposure_time": same_exposure,
    "coadds": same_coadds,
    "read_mode": same_read_mode,
    "region": same_region,
}


def conditions(rule: Rule) -> dict[str, Condition]:
    """What a calibration must meet by a rule, by what each is called, in the order of asking."""
    found = {f"same {name.removesuffix('_name').replace('_', ' ')}": SAME[name] for name in rule.same}
    if rule.covers:
        found["covers the frame"] = covers_the_frame
    if rule.days is not None:
        found[f"within {rule.days:g} days"] = within_days
    return found | ({"valid by that date": valid_by_that_date} if rule.latest else {})


def _section(x1: int, x2: int, y1: int, y2: int) -> str:
    return f"[{x1 + 1}:{x2},{y1 + 1}:{y2}]"


def _words(region: tuple[Rectangle, ...]) -> str:
    arrays: dict[str, list[str]] = {}
    for number, *rectangle in region:
        arrays.setdefault(_section(*rectangle), []).append(str(number))
    parts = (f"{section} of array {' and '.join(numbers)}" for section, numbers in arrays.items())
    return ", ".join(parts) or "what is not known"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A calibration that was not taken, and the sentence of the rule it lost by."""

    calibration: Calibration
    reason: str


@dataclass(frozen=True)
class Match:
    """The calibration that fits best, why, and why each other candidate was not taken."""

    calibration: Calibration
    reason: str
    rejected: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class NoMatch:
    """No candidate fits: the need, in words, and why each was not taken."""

    kind: str
    reason: str
    rejected: tuple[Rejection, ...] = ()


def best(
    need: Need,
    candidates: Iterable[Calibration],
    problem: Callable[[Calibration], str | None] = lambda calibration: None,
) -> Match | NoMatch:
    """The candidate of the need's kind that fits best by its rule.

    Candidates of another kind or instrument are passed over in silence; equal ones are decided by name, so
    that the answer does not depend on their order. ``problem`` is asked of the winner, and says in words why
    it cannot be used after all; then the next one wins.
    """
    rule = need.rule
    fitting, rejected = rank(need, candidates)
    while fitting and (reason := problem(fitting[0])) is not None:
        rejected.append(Rejection(fitting.pop(0), reason))
    if not fitting:
        return NoMatch(need.kind, _nothing_fits(need, len(rejected)), tuple(rejected))
    winner, *others = fitting
    losers = [Rejection(loser, _why_second(rule, need, loser, winner)) for loser in others]
    return Match(winner, _why_taken(rule, need, winner, len(losers)), (*losers, *rejected))


def rank(need: Need, candidates: Iterable[Calibration]) -> tuple[list[Calibration], list[Rejection]]:
    """The candidates of the need's kind that meet all conditions, the best first, and the others."""
    asked = conditions(need.rule).values()
    fitting: list[Calibration] = []
    rejected: list[Rejection] = []
    for candidate in candidates:
        if (candidate.kind, candidate.instrument) != (need.kind, need.instrument):
            continue
        reasons = (condition(need, candidate) for condition in asked)
        reason = next(filter(None, reasons), None)
        if reason is None:
            fitting.append(candidate)
        else:
            rejected.append(Rejection(candidate, reason))
    fitting.sort(key=lambda calibration: (abs(need.when - calibration.when), calibration.path))
    return fitting, rejected


def _nothing_fits(need: Need, tried: int) -> str:
    asked = f"no {need.kind} for {need.name or 'this frame'} ({need.filter_name or 'any filter'})"
    return f"{asked}: {f'none of {tried} fits' if tried else 'there is none at all'}"


def _why_taken(rule: Rule, need: Need, winner: Calibration, losers: int) -> str:
    names = ", ".join(conditions(rule))
    if rule.latest:
        which = f"the latest of {losers + 1}" if losers else "the only one"
        return f"{names}; {which}, valid from {winner.when.date()}"
    which = f"the nearest in time of {losers + 1}" if losers else "the only one"
    return f"{names}; {which}, {_apart(need, winner)} away"


def _why_second(rule: Rule, need: Need, loser: Calibration, winner: Calibration) -> str:
    if loser.when == winner.when:
        return f"fits, as {winner.name} does, which comes first by name"
    if rule.latest:
        return f"fits, but {winner.name} is later ({winner.when.date()} against {loser.when.date()})"
    return f"fits, but {winner.name} is nearer ({_apart(need, winner)} against {_apart(need, loser)})"


def _apart(need: Need, calibration: Calibration) -> str:
    hours = abs(need.when - calibration.when) / dt.timedelta(hours=1)
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
