"""UTC dates and observing nights as a user types them and as the archive wants them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from goafetch.errors import UsageError

#: The archive ignores dates outside these (FitsStorage gemini_metadata_utils, DATE_LIMIT_LOW and _HIGH).
FIRST, LAST = date(1999, 1, 1), date(2100, 1, 1)

#: A night at Gemini South begins at 18:00 UTC (14:00 in Chile) of the day before its label (CHILE_OFFSET).
NIGHT_BEGINS = timedelta(hours=-6)

DAY = timedelta(days=1)
#: The shortest time that the archive tells apart.
MOMENT = timedelta(microseconds=1)
_DATE = r"\d{8}|\d{4}-\d{1,2}-\d{1,2}"
_NAMED = {"today": timedelta(), "yesterday": -DAY}


@dataclass(frozen=True)
class Interval:
    """A stretch of UTC time, from ``start`` up to but without ``end`` (both without time zone)."""

    start: datetime
    end: datetime

    def __contains__(self, moment: object) -> bool:
        return isinstance(moment, datetime) and self.start <= moment < self.end

    def __and__(self, other: Interval) -> Interval:
        """What both have in common; nothing where its end is not after its start."""
        return Interval(max(self.start, other.start), min(self.end, other.end))

    @property
    def word(self) -> str:
        """The archive's word for it: whole days as dates, anything else as times.

        It reads midnight as a date and cannot compare that with a time: such an end is moved outwards by
        the shortest time there is, and ``reached`` tells which rows that may bring.
        """
        if self.start.time() == time.min and self.end.time() == time.min:
            last = self.end - DAY
            return f"{self.start:%Y%m%d}" if last == self.start else f"{self.start:%Y%m%d}-{last:%Y%m%d}"
        return f"{_not_midnight(self.start, -MOMENT)}--{_not_midnight(self.end, MOMENT)}"

    def reached(self, moment: object) -> bool:
        """Whether the archive may return a row of this time for ``word``."""
        return isinstance(moment, datetime) and self.start - MOMENT <= moment <= self.end

    def split(self, at: datetime) -> tuple[Interval, Interval]:
        """Two parts, divided at the start of the day of ``at``; within a day, in the middle."""
        middle = datetime.combine(at.date(), time.min)
        if not self.start < middle < self.end:
            middle = datetime.combine(at.date() + DAY, time.min)
        if not self.start < middle < self.end:
            middle = self.start + (self.end - self.start) / 2
            middle = middle.replace(microsecond=0)
        return Interval(self.start, middle), Interval(middle, self.end)


def _not_midnight(moment: datetime, step: timedelta) -> str:
    moment = moment + step if moment.time() == time.min else moment
    return moment.isoformat(timespec="auto" if moment.microsecond else "seconds")


def everything() -> Interval:
    """All the time from which the archive can hold data: from a second after its first midnight on."""
    today = datetime.now(UTC).date()
    return Interval(datetime.combine(FIRST, time(0, 0, 1)), datetime.combine(today + 2 * DAY, time.min))


def span_of_night(label: date) -> Interval:
    """The UTC time of the night with this label at Gemini South; it holds that of Gemini North too."""
    start = datetime.combine(label, time.min) + NIGHT_BEGINS
    return Interval(start, start + DAY)


def spell_out(text: str, today: Callable[[], date]) -> str:
    """The text with a date for today and yesterday; ``today`` is asked only where one of them is named."""
    return re.sub(r"\b(today|yesterday)\b", lambda found: f"{today() + _NAMED[found[1]]:%Y%m%d}", text)


def read_dates(text: str) -> Interval:
    """One UTC date, or a range D1-D2 of them, both included. Raises UsageError with the right form."""
    match = re.fullmatch(rf"({_DATE})(?:(?:--|-|\.\.|:|/| to )({_DATE}))?", text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is not a date or a range of dates",
            "YYYYMMDD or YYYYMMDD-YYYYMMDD (UTC)",
            "for example --date 20170504-20170505",
        )
    first = read_date(match[1])
    last = read_date(match[2]) if match[2] else first
    if last < first:
        raise UsageError(
            f"the range {text} ends before it begins",
            "the earlier date first",
            f"did you mean {last:%Y%m%d}-{first:%Y%m%d}?",
        )
    return Interval(datetime.combine(first, time.min), datetime.combine(last + DAY, time.min))


def read_night(text: str) -> Interval:
    """The UTC time that the night ``text`` (its label, as in file names) covers at Gemini South."""
    return span_of_night(read_date(text.strip()))


def read_date(text: str) -> date:
    """A date that exists and that the archive can know."""
    digits = re.fullmatch(r"(\d{4})-?(\d{1,2})-?(\d{1,2})", text)
    if digits is None:
        raise UsageError(f"{text!r} is not a date", "YYYYMMDD or YYYY-MM-DD", "for example 20170505")
    try:
        found = date(*(int(part) for part in digits.groups()))
    except ValueError as error:
        raise UsageError(f"there is no day {text}", "a date of the calendar, YYYYMMDD") from error
    if not FIRST <= found < LAST:
        raise UsageError(f"{text} lies outside what the archive can hold", f"a date from {FIRST} on")
    return found


def night_of(moment: datetime) -> date:
    """The label of the night at Gemini South in which a UTC moment falls."""
    return (moment - NIGHT_BEGINS).date()
