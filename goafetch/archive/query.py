"""From what a user asks for to the archive's address for it, every word validated before it is sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

from calstore.associate import night_of
from goafetch.archive import query_syntax as syntax
from goafetch.config import INSTRUMENT
from goafetch.errors import UsageError

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
    near: syntax.Cone | None = None
    filename: str | None = None
    reduction: str | None = "RAW"


@dataclass(frozen=True)
class Query:
    """A validated search: what is sent, and what the rows that come back are held against.

    ``engineering``: only such frames, rather than none of them. ``notes`` tell how something typed was read.
    """

    identifier: syntax.Identifier | None = None
    interval: syntax.Interval | None = None
    night: str | None = None
    observation_class: str | None = None
    observation_type: str | None = None
    object: str | None = None
    filter: str | None = None
    instrument: str | None = None
    qa: str = "NotFail"
    near: syntax.Cone | None = None
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
        return (
            *self._whose(),
            *(word for word in (self.instrument, self.observation_class, self.observation_type) if word),
            *([f"filter={self.filter}"] if self.filter else []),
            *self._where(),
            *([self.reduction] if self.reduction else []),
            self.qa,
            *self._for_engineers(),
            "canonical",
            "present",
        )

    def during(self, interval: syntax.Interval) -> Query:
        """The same search in a part of the time."""
        return replace(self, interval=interval, night=None)

    def _whose(self) -> list[str]:
        found = [self.identifier.word] if self.identifier else []
        if self.night:
            found.append(f"night={self.night}")
        elif self.interval:
            found.append(self.interval.word)
        return found + ([f"filename={self.filename}"] if self.filename else [])

    def _for_engineers(self) -> list[str]:
        if self.engineering:
            return ["engineering"]
        return ["notengineering"] if self.qa != "AnyQA" else []

    def _where(self) -> list[str]:
        if self.near is None:
            return [f"object={syntax.object_word(self.object)}"] if self.object else []
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
        date=date and syntax.resolve_today(date, lambda: now().date()),
        night=night and syntax.resolve_today(night, lambda: night_of(now())),
    )


def build_query(criteria: Criteria) -> Query:
    """Validate every word. Raises UsageError that says what was meant, or what there is to choose from."""
    if criteria.date and criteria.night:
        raise UsageError("both a date and a night were given", "one of them", "leave out --date or --night")
    identifier = _given(syntax.read_identifier, criteria.program)
    instrument = _read_instrument(criteria.instrument)
    kind = _given(syntax.match_word, criteria.observation_type or None, syntax.TYPES, "an observation type")
    chosen = criteria.observation_class or None
    night = _given(syntax.read_night, criteria.night or None)
    return Query(
        identifier=identifier,
        interval=night or _given(syntax.read_dates, criteria.date),
        night=night.end.strftime("%Y%m%d") if night else None,
        observation_class=_given(syntax.match_word, chosen, syntax.CLASSES, "an observation class"),
        observation_type=kind,
        object=_given(syntax.read_object, criteria.object),
        filter=_given(syntax.read_filter, criteria.filter, instrument),
        instrument=instrument,
        qa=syntax.match_word(criteria.qa, syntax.QA_STATES, "a QA word"),
        near=_given(_checked, criteria.near),
        filename=_given(_read_filename, criteria.filename),
        reduction=criteria.reduction if kind != "BPM" else None,
        notes=_notes(criteria.program, identifier),
    )


def encode(selection: tuple[str, ...]) -> str:
    """Words as the path of an address."""
    return "/".join(quote(word, safe="=*,:()'~") for word in selection)


def _given(read: Callable[..., T], text: object, *how: object) -> T | None:
    """What was given, read; None for nothing."""
    return read(text, *how) if text is not None else None


def _read_instrument(text: str | None) -> str | None:
    if text is None or text.strip().lower() in ("", "any"):
        return None
    return syntax.match_word(text, syntax.INSTRUMENTS, "an instrument of the archive")


def _read_filename(text: str) -> str:
    """A stored file's name as the archive's ``filename=`` wants it: with .fits, without .bz2."""
    name = text.strip().removesuffix(".bz2")
    name = name if name.endswith(".fits") else f"{name}.fits"
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*\.fits", name):
        raise UsageError(
            f"{text!r} is not the name of a file of the archive", "a name like S20170505S0095.fits"
        )
    return name


def _checked(cone: syntax.Cone) -> syntax.Cone:
    if not (0 <= cone.ra < 360 and -90 <= cone.dec <= 90 and 0 < cone.radius <= 10):
        raise UsageError(
            f"a circle of {cone.radius:g} degrees around {cone.ra:g} {cone.dec:g} is not on the sky",
            "right ascension 0 to 360, declination -90 to 90, a radius of at most 10 degrees",
        )
    return cone


def _notes(typed: str | None, identifier: syntax.Identifier | None) -> tuple[str, ...]:
    if typed is None or identifier is None or typed.strip() == identifier.value:
        return ()
    return (f"{typed.strip()} was read as {identifier.value}",)
