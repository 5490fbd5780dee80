"""Dates and nights as the archive reads them: UTC days, and southern nights that begin at 18:00 UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

Period = tuple[datetime, datetime]

DAY = timedelta(days=1)
# A night at Gemini South is labelled as if the day began six hours early (FitsStorage CHILE_OFFSET).
SOUTHERN_NIGHT = timedelta(hours=-6)
EARLIEST, LATEST = date(1999, 1, 1), date(2100, 1, 1)
_COMPACT = re.compile(r"\d{8}")
_NAMED_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}


class MalformedValue(ValueError):
    """A value that makes the archive's request handler crash, so that the front end answers 502."""


def read_date(word: str, now: datetime) -> date | None:
    """Read ``YYYYMMDD``, ``YYYY-MM-DD``, ``today`` ...; None when it is no date between 1999 and 2100."""
    if word in _NAMED_DAYS:
        return now.date() + _NAMED_DAYS[word] * DAY
    form = "%Y%m%d" if _COMPACT.fullmatch(word) else "%Y-%m-%d"
    try:
        day = datetime.strptime(word, form).replace(tzinfo=UTC).date()
    except ValueError:
        return None
    return day if EARLIEST <= day <= LATEST else None


def read_range(word: str, now: datetime) -> Period | None:
    """Read ``D1-D2`` (compact) or ``D1--D2`` (ISO dates or datetimes) as [start, end); None if neither."""
    first, mark, last = word.partition("--" if "--" in word else "-")
    if not mark:
        return None
    ends = [_read_moment(part, now, iso=mark == "--") for part in (first, last)]
    if ends[0] is None or ends[1] is None:
        return None
    # A reversed range is turned round; a date includes its whole day, a time of day is where the range ends.
    (start, _), (end, is_day) = sorted(end for end in ends if end is not None)
    return start, end + DAY if is_day else end


def _read_moment(word: str, now: datetime, *, iso: bool) -> tuple[datetime, bool] | None:
    """Give the moment and whether it stands for a whole day."""
    if iso and ("T" in word or " " in word):
        try:
            return datetime.fromisoformat(word).replace(tzinfo=None), False
        except ValueError:
            return None
    day = read_date(word, now)
    return None if day is None else (datetime.combine(day, time()), True)


def day_period(value: str, now: datetime) -> Period:
    """Give [start, end) of the value of ``date=`` or ``night=``; a time of day in it is silently lost.

    Raises:
        MalformedValue: the value is no date.
    """
    day = read_date(value.partition("T")[0], now)
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
