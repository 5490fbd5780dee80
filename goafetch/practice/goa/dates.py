"""Dates and nights as the archive reads them: UTC days, and southern nights that begin at 18:00 UTC.

Source: FitsStorage ``gemini_metadata_utils/datestimes.py`` (August 2026).
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

Period = tuple[datetime, datetime]

DAY = timedelta(days=1)
# A night at Gemini South is labelled as if the day began six hours early (FitsStorage CHILE_OFFSET).
SOUTHERN_NIGHT = timedelta(hours=-6)
EARLIEST, LATEST = datetime(1999, 1, 1), datetime(2100, 1, 1)
_NAMED_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_YEAR_OR_MONTH = re.compile(r"(\d{4})(?:-(\d{2}))?")
_ISO = re.compile(r"(?:\d{8}|\d{4}-\d\d-\d\d|\d{4}-?W\d\d(?:-?\d)?)(?:[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)?)?")


class MalformedValue(ValueError):
    """A value that makes the archive's request handler crash, so that the front end answers 502."""


def read_date(word: str, now: datetime) -> date | None:
    """Read a named day or any ISO 8601 date or time; None when it is none between 1999 and 2100.

    A time of day is kept (a ``datetime``), but midnight reads as the date.

    Raises:
        MalformedValue: the time has a zone, which the archive cannot compare with its limits.
    """
    if word == "now":
        return now.replace(tzinfo=None)
    if word in _NAMED_DAYS:
        return now.date() + _NAMED_DAYS[word] * DAY
    moment = _read_iso(word)
    if moment is None:
        return None
    if moment.tzinfo:
        raise MalformedValue(word)
    if not EARLIEST <= moment <= LATEST:
        return None
    return moment if moment.time() != time() else moment.date()


def _read_iso(word: str) -> datetime | None:
    """ISO 8601, years and months by themselves included."""
    short = _YEAR_OR_MONTH.fullmatch(word)
    try:
        if short:
            return datetime(int(short[1]), int(short[2] or 1), 1)
        return datetime.fromisoformat(word) if _ISO.fullmatch(word) else None
    except ValueError:
        return None


def read_range(word: str, now: datetime) -> Period | None:
    """Read ``D1-D2`` or ``D1--D2`` as [start, end); None if it is neither.

    Raises:
        MalformedValue: one end is a date and the other a time of day, which the archive cannot compare.
    """
    parts = word.split("--")
    parts = parts if len(parts) == 2 else word.split("-")
    if len(parts) != 2:
        return None
    ends = [found for part in parts if (found := read_date(part, now)) is not None]
    if len(ends) != 2:
        return None
    if isinstance(ends[0], datetime) is not isinstance(ends[1], datetime):
        raise MalformedValue(word)
    # A reversed range is turned round; a date includes its whole day, a time of day is where the range ends.
    start, end = sorted(ends)
    if isinstance(start, datetime) and isinstance(end, datetime):
        return start, end
    return datetime.combine(start, time()), datetime.combine(end, time()) + DAY


def day_period(value: str, now: datetime) -> Period:
    """Give [start, end) of the value of ``date=`` or ``night=``; a time of day in it is silently lost.

    Raises:
        MalformedValue: the value is no date.
    """
    day = read_date(value, now)
    if day is None:
        raise MalformedValue(value)
    start = datetime.combine(day, time())
    return start, start + DAY


def range_period(value: str, now: datetime) -> Period:
    """Give [start, end) of the value of ``daterange=`` or ``nightrange=``.

    Raises:
        MalformedValue: the value is no range of dates.
    """
    period = read_range(value, now)
    if period is None:
        raise MalformedValue(value)
    return period
