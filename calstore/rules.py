"""Which calibration suits which frame: one table, the only place where an association rule stands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from calstore.record import (
    DARK,
    LAMP_OFF,
    LAMP_ON,
    PROCESSED_BPM,
    PROCESSED_FLAT,
    STANDARD,
    WHOLE,
    Calibration,
    Need,
    Rectangle,
)

#: A condition says in words why a calibration does not suit a need; nothing if it does.
Condition = Callable[[Need, Calibration], str | None]

#: Archive and observatory associate flats and standards over this time (FitsStorage, calibration_gsaoi.py).
LONGEST = dt.timedelta(days=30)
#: Exposure times that differ by less than this fraction are the same.
SAME_EXPOSURE = 0.01


@dataclass(frozen=True)
class Rule:
    """The conditions that a calibration must meet, and the words for what decides between several.

    Of those that meet all conditions the one nearest in time wins, or with ``latest`` the last one.
    """

    conditions: tuple[Condition, ...]
    latest: bool = False

    def rank(self, need: Need, calibration: Calibration) -> float:
        """The smaller, the better: seconds between the two."""
        return abs((need.when - calibration.when).total_seconds())


def same_filter(need: Need, calibration: Calibration) -> str | None:
    """The filters are equal."""
    if calibration.filter_name == need.filter_name:
        return None
    return f"filter {calibration.filter_name or 'unknown'}, needed {need.filter_name or 'a known filter'}"


def within_thirty_days(need: Need, calibration: Calibration) -> str | None:
    """No more than 30 days lie between the two."""
    apart = abs(need.when - calibration.when)
    return None if apart <= LONGEST else f"{apart / dt.timedelta(days=1):.1f} days away, at most 30 allowed"


def valid_by_that_date(need: Need, calibration: Calibration) -> str | None:
    """The calibration is valid from a date at or before the need's."""
    if calibration.when.date() <= need.when.date():
        return None
    return f"valid from {calibration.when.date()}, after {need.when.date()}"


def covers_the_frame(need: Need, calibration: Calibration) -> str | None:
    """The calibration holds all pixels that the frame has."""
    if not calibration.region:
        return None
    held = {number: rectangle for number, *rectangle in calibration.region}
    for number, x1, x2, y1, y2 in need.region or WHOLE:
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


#: By the kind of calibration. Lamp-on frames are sought for a science frame; lamp-off frames for a lamp-on
#: frame, with which they form one set.
RULES: Mapping[str, Rule] = {
    PROCESSED_FLAT: Rule((same_filter, covers_the_frame, within_thirty_days)),
    PROCESSED_BPM: Rule((covers_the_frame, valid_by_that_date), latest=True),
    STANDARD: Rule((same_filter, within_thirty_days)),
    DARK: Rule((same_exposure, same_coadds, same_read_mode, covers_the_frame, within_thirty_days)),
    LAMP_ON: Rule((same_filter, covers_the_frame, within_thirty_days)),
    LAMP_OFF: Rule(
        (same_filter, same_exposure, same_coadds, same_read_mode, same_region, within_thirty_days)
    ),
}


def _section(x1: int, x2: int, y1: int, y2: int) -> str:
    return f"[{x1 + 1}:{x2},{y1 + 1}:{y2}]"


def _words(region: tuple[Rectangle, ...]) -> str:
    parts = (f"{_section(*rectangle)} of array {number}" for number, *rectangle in region)
    return ", ".join(parts) or "the whole arrays"
