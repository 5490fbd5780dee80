"""From what a user asks for to the archive's address for it, every word validated before it is sent."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, TypeVar
from urllib.parse import quote

from calstore.associate import NIGHT_BEGINS, night_of
from goafetch.archive.cone import Cone, check_cone
from goafetch.config import INSTRUMENT
from goafetch.errors import UsageError

#: The archive ignores dates outside these (FitsStorage gemini_metadata_utils, DATE_LIMIT_LOW and _HIGH).
FIRST, LAST = date(1999, 1, 1), date(2100, 1, 1)

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
        the shortest time there is, and ``may_include`` tells which rows that may bring.
        """
        if self.start.time() == time.min and self.end.time() == time.min:
            last = self.end - DAY
            return f"{self.start:%Y%m%d}" if last == self.start else f"{self.start:%Y%m%d}-{last:%Y%m%d}"
        return f"{_not_midnight(self.start, -MOMENT)}--{_not_midnight(self.end, MOMENT)}"

    def may_include(self, moment: object) -> bool:
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


def all_time() -> Interval:
    """All the time from which the archive can hold data: from a second after its first midnight on."""
    today = datetime.now(UTC).date()
    return Interval(datetime.combine(FIRST, time(0, 0, 1)), datetime.combine(today + 2 * DAY, time.min))


def night_interval(label: date) -> Interval:
    """The UTC time of the night with this label at Gemini South; it holds that of Gemini North too."""
    start = datetime.combine(label, time.min) + NIGHT_BEGINS
    return Interval(start, start + DAY)


def resolve_today(text: str, today: Callable[[], date]) -> str:
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
    return night_interval(read_date(text.strip()))


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


Kind = Literal["program", "observation", "label"]

# The forms of FitsStorage gemini_metadata_utils/progid_obsid_dl.py. Some instruments' names have a hyphen:
# without them the number of an observation would read as that of its program.
_NAMES = r"(?:IGRINS-2|[A-Z][A-Z0-9+]*(?:-[NSX])?)"
_PROGRAM = (
    r"(?:G[NS]-20\d\d[AB]-(?:Q|C|SV|QS|DD|LP|FT|DS|CAL|ENG)-\d+"
    r"|G[NS]-(?:CAL|ENG)20\d\d[01]\d[0-3]\d"
    r"|G-20\d\d[AB]-\d+-[CDFLQSVP]"
    rf"|G-20\d\d[AB]-(?:CAL|ENG|COM|MON)-{_NAMES}-\d+)"
)
_LABEL = rf"({_PROGRAM}-\d+)-\d+((?:-\w+)*)"
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("program", _PROGRAM),
    ("observation", rf"{_PROGRAM}-\d+"),
    ("label", _LABEL),
)
_LOOSE_OLD = r"G?-?([NS])?-?(20\d\d)-?([AB])-?(SV|QS|DD|LP|FT|DS|CAL|ENG|Q|C)-?(\d+)((?:-\d+){0,2})"
_LOOSE_NEW = r"G-?(20\d\d)-?([AB])-?(\d{1,4})-?([CDFLQSVP])((?:-\d+){0,2})"


@dataclass(frozen=True)
class Identifier:
    """A valid name: what ``kind`` of name it is, and its ``value`` as the archive spells it."""

    kind: Kind
    value: str

    @property
    def word(self) -> str:
        """The archive's word for it.

        Some of its releases read bare observations of the new CAL, ENG, COM and MON programs as programs,
        and drop labels with other extensions than letters: these are sent under the name of their kind.
        """
        keys = {"observation": "obsid", "label": "datalabel"}
        label = re.fullmatch(_LABEL, self.value)
        plain = label is None or not label[2]
        if self.kind not in keys or (plain and not re.match(r"G-20\d\d[AB]-[CEM]", self.value)):
            return self.value
        return f"{keys[self.kind]}={self.value}"


def is_identifier(text: str) -> bool:
    """Tell whether a word reads as the name of a program, an observation or a data label."""
    return _match(text.strip().upper()) is not None


def read_identifier(text: str) -> Identifier:
    """The name in ``text``; lower case is put right. Raises UsageError, with a suggestion if there is one."""
    stripped = text.strip()
    found = _match(stripped) or _match(stripped.upper())
    if found is not None:
        return found
    meant = suggest(stripped)
    raise UsageError(
        f"{text!r} is not a Gemini program, observation or data label"
        if stripped
        else "no program was given",
        "a name such as GS-2017A-Q-29, G-2024B-0123-Q, GS-2017A-Q-29-32 or GS-2017A-Q-29-32-001",
        f"did you mean {meant}?" if meant else "",
    )


def suggest(text: str) -> str | None:
    """The name that was probably meant where dashes are missing, doubled or replaced, or O stands for 0."""
    dashed = re.sub(r"[\s_./–—-]+", "-", text.strip().upper())
    dashed = re.sub(r"(?<=\d)O|O(?=\d)", "0", dashed)
    if old := re.fullmatch(_LOOSE_OLD, dashed):
        site, year, half, kind, number, rest = old.groups()
        return f"G{site or 'S'}-{year}{half}-{kind}-{int(number)}{rest}"
    if new := re.fullmatch(_LOOSE_NEW, dashed):
        year, half, number, kind, rest = new.groups()
        return f"G-{year}{half}-{int(number):04d}-{kind}{rest}"
    return None


def observation_of(label: str) -> str | None:
    """The observation that a data label belongs to, or None for what is not a data label."""
    match = re.fullmatch(_LABEL, label)
    return match[1] if match else None


def _match(text: str) -> Identifier | None:
    for kind, pattern in _PATTERNS:
        if re.fullmatch(pattern, text):
            return Identifier(kind, text)
    return None


# FitsStorage get_selection.py and gemini_metadata_utils; exact spelling counts there.
CLASSES = ("science", "acq", "acqCal", "dayCal", "partnerCal", "progCal", "nightCal")
TYPES = (
    *("OBJECT", "DARK", "ARC", "FLAT", "BIAS", "PINHOLE", "RONCHI", "CAL", "FRINGE", "MASK"),
    *("STANDARD", "SLITILLUM", "BPM"),
)
INSTRUMENTS = (
    *("GSAOI", "GMOS", "GMOS-N", "GMOS-S", "NIRI", "NIFS", "GNIRS", "F2", "GHOST", "GPI", "NICI", "TReCS"),
    *("michelle", "IGRINS", "IGRINS-2", "Phoenix", "MAROON-X", "Zorro", "bHROS"),
)
#: What each QA word selects: the states of a row that satisfy it (None: any but Fail; empty: any at all).
QA_STATES: dict[str, tuple[str, ...] | None] = {
    "Pass": ("Pass",),
    "Usable": ("Usable",),
    "Fail": ("Fail",),
    "CHECK": ("CHECK",),
    "UndefinedQA": ("Undefined",),
    "Win": ("Pass", "Usable"),
    "Lucky": ("Pass", "Undefined"),
    "NotFail": None,
    "AnyQA": (),
}


def admits(qa: str, state: str | None) -> bool:
    """Whether a QA word selects rows of a QA state."""
    states = QA_STATES[qa]
    return state != "Fail" if states is None else not states or state in states


def match_word(text: str, known: Iterable[str], what: str) -> str:
    """The known word that ``text`` spells in any case; else a UsageError that names the nearest and all."""
    words = list(known)
    by_lower = {word.lower(): word for word in words}
    if text.strip().lower() in by_lower:
        return by_lower[text.strip().lower()]
    near = difflib.get_close_matches(text.strip().lower(), by_lower, 1, 0.6)
    raise UsageError(
        f"{text!r} is not {what}",
        "one of " + ", ".join(words),
        f"did you mean {by_lower[near[0]]}?" if near else "",
    )


def read_filter(text: str, instrument: str | None) -> str:
    """A filter's name as the archive spells it, without component number; a known instrument's own."""
    from reducer.instruments import KNOWN

    name = re.sub(r"_G\d{4}", "", text.strip()).removesuffix("&Clear").removeprefix("Clear&")
    if instrument is None or instrument not in KNOWN:
        return read_free_text(name, "filter")
    known = KNOWN[instrument]
    return match_word(known.aliases.get(name.lower(), name), known.filters, f"a filter of {instrument}")


def read_free_text(text: str, what: str) -> str:
    """Free text that can stand in an address: not empty, no control characters."""
    stripped = text.strip()
    if not stripped or not stripped.isprintable():
        raise UsageError(f"{text!r} cannot be the name of an {what}" if stripped else f"the {what} is empty")
    return stripped


def read_object(text: str) -> str:
    """An object's name or pattern (``*`` stands for anything) that selects something."""
    name = read_free_text(text, "object")
    if not name.strip("*"):
        raise UsageError(
            f"the object {text!r} matches everything", "a name, or part of one with *", "for example 'NGC*'"
        )
    return name


def other_spellings(name: str) -> list[str]:
    """A name without its blanks and with one before its number: observers write NGC5128 and NGC 5128."""
    joined = re.sub(r"[\s_]+", "", name)
    spaced = re.sub(r"(?<=[A-Za-z])(?=\d)", " ", joined)
    return [each for each in dict.fromkeys((joined, spaced)) if each and each != name]


def object_word(name: str) -> str:
    """What to send for an object pattern.

    The archive understands ``*`` only in patterns that begin or end with one (FitsStorage
    query_selection.py), so of any other pattern the part before the first ``*`` is sent, and the rows
    are compared with the whole pattern afterwards. A slash would end the word: it is written ``=slash=``.
    """
    if "*" in name and not (name.startswith("*") or name.endswith("*")):
        name = name.split("*", 1)[0] + "*"
    return name.replace("/", "=slash=")


def matches_object(pattern: str, name: str | None) -> bool:
    """Tell whether an object's name fits a pattern with ``*``, in any case."""
    return name is not None and _compiled(pattern, anything="*").fullmatch(name) is not None


def matches_loosely(sent: str, name: str | None) -> bool:
    """Tell whether the archive, which compares by SQL's ILIKE (``_`` is any character), may return a name."""
    if name is None:
        return False
    pattern = sent.replace("=slash=", "/").replace("%", "*")
    return _compiled(pattern, anything="*", any_one="_").fullmatch(name) is not None


def _compiled(pattern: str, *, anything: str, any_one: str = "") -> re.Pattern[str]:
    parts = [".*" if c == anything else "." if c == any_one else re.escape(c) for c in pattern]
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


T = TypeVar("T")


@dataclass(frozen=True)
class Criteria:
    """What is sought, in the user's words; None asks for nothing.

    ``program``: a program, observation or data label. ``date``: UTC date or range D1-D2. ``night``: the
    date in file names, whose night at Gemini South runs from 18:00 UTC of the day before to 18:00 UTC.
    Both may be 'today' or 'yesterday' until ``dated`` has spelt them out.
    ``object`` may hold ``*``. ``qa``: the archive's QA word. ``near``: a circle on the sky. ``filename``:
    one file. ``reduction``: RAW unless processed files (masks) are wanted. A word not understood is refused
    when the query is built.
    """

    program: str | None = None
    date: str | None = None
    night: str | None = None
    observation_class: str | None = None
    observation_type: str | None = None
    object: str | None = None
    filter: str | None = None
    instrument: str | None = INSTRUMENT
    qa: str = "NotFail"
    near: Cone | None = None
    filename: str | None = None
    reduction: str | None = "RAW"


@dataclass(frozen=True)
class Query:
    """A validated search: what is sent, and what the rows that come back are held against.

    ``engineering``: only such frames, rather than none of them. ``notes`` tell how something typed was read.
    """

    identifier: Identifier | None = None
    interval: Interval | None = None
    night: str | None = None
    observation_class: str | None = None
    observation_type: str | None = None
    object: str | None = None
    filter: str | None = None
    instrument: str | None = None
    qa: str = "NotFail"
    near: Cone | None = None
    filename: str | None = None
    reduction: str | None = None
    engineering: bool = False
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(self.words)

    @property
    def closed(self) -> bool:
        """Whether the archive counts this among the queries that it cuts only at the higher limit."""
        return any((self.identifier, self.interval, self.filename))

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the address, as they are before encoding."""
        kinds = "engineering" if self.engineering else "notengineering" if self.qa != "AnyQA" else None
        words = (
            *(*self._whose(), self.instrument, self.observation_class, self.observation_type),
            *(self.filter and f"filter={self.filter}", *self._where(), self.reduction, self.qa, kinds),
        )
        return (*filter(None, words), "canonical", "present")

    def during(self, interval: Interval) -> Query:
        """The same search in a part of the time."""
        return replace(self, interval=interval, night=None)

    def _whose(self) -> list[str]:
        found = [self.identifier.word] if self.identifier else []
        if self.night:
            found.append(f"night={self.night}")
        elif self.interval:
            found.append(self.interval.word)
        return found + ([f"filename={self.filename}"] if self.filename else [])

    def _where(self) -> list[str]:
        if self.near is None:
            return [f"object={object_word(self.object)}"] if self.object else []
        # The archive ignores an object's name when a position is given: the rows are sifted here instead.
        cone, reach = self.near, self.near.ra_reach
        found = [f"dec={cone.dec:.6f}", f"sr={cone.radius * 3600:.3f}"]
        if reach is None:
            return found
        low, high = cone.ra - reach, cone.ra + reach
        if low >= 0 and high < 360:
            return [f"ra={cone.ra:.6f}", *found]
        return [f"ra={low % 360:.6f}-{high % 360:.6f}", *found]


def dated(criteria: Criteria, now: Callable[[], datetime]) -> Criteria:
    """Criteria with the dates that today and yesterday stand for, which a lock must mean tomorrow too.

    ``now``: the UTC time by the archive's clock, asked for where it is needed. Of a date it gives the UTC
    day; of a night that in which the telescope is, whose label changes at 14:00 in Chile.
    """
    date, night = criteria.date, criteria.night
    return replace(
        criteria,
        date=date and resolve_today(date, lambda: now().date()),
        night=night and resolve_today(night, lambda: night_of(now())),
    )


def build_query(criteria: Criteria) -> Query:
    """Validate every word. Raises UsageError that says what was meant, or what there is to choose from."""
    if criteria.date and criteria.night:
        raise UsageError("both a date and a night were given", "one of them", "leave out --date or --night")
    identifier = _given(read_identifier, criteria.program)
    instrument = _read_instrument(criteria.instrument)
    kind = _given(match_word, criteria.observation_type or None, TYPES, "an observation type")
    chosen = criteria.observation_class or None
    night = _given(read_night, criteria.night or None)
    return Query(
        identifier=identifier,
        interval=night or _given(read_dates, criteria.date),
        night=night.end.strftime("%Y%m%d") if night else None,
        observation_class=_given(match_word, chosen, CLASSES, "an observation class"),
        observation_type=kind,
        object=_given(read_object, criteria.object),
        filter=_given(read_filter, criteria.filter, instrument),
        instrument=instrument,
        qa=match_word(criteria.qa, QA_STATES, "a QA word"),
        near=_given(check_cone, criteria.near),
        filename=_given(_read_filename, criteria.filename),
        reduction=criteria.reduction if kind != "BPM" else None,
        notes=_notes(criteria.program, identifier),
    )


def encode_path(selection: tuple[str, ...]) -> str:
    """Words as the path of an address."""
    return "/".join(quote(word, safe="=*,:()'~") for word in selection)


def _given(read: Callable[..., T], text: object, *how: object) -> T | None:
    """What was given, read; None for nothing."""
    return read(text, *how) if text is not None else None


def _read_instrument(text: str | None) -> str | None:
    if text is None or text.strip().lower() in ("", "any"):
        return None
    return match_word(text, INSTRUMENTS, "an instrument of the archive")


def _read_filename(text: str) -> str:
    """A stored file's name as the archive's ``filename=`` wants it: with .fits, without .bz2."""
    name = text.strip().removesuffix(".bz2")
    name = name if name.endswith(".fits") else f"{name}.fits"
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*\.fits", name):
        raise UsageError(
            f"{text!r} is not the name of a file of the archive", "a name like S20170505S0095.fits"
        )
    return name


def _notes(typed: str | None, identifier: Identifier | None) -> tuple[str, ...]:
    if typed is None or identifier is None or typed.strip() == identifier.value:
        return ()
    return (f"{typed.strip()} was read as {identifier.value}",)
