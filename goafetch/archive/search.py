"""Searching: every row checked, and what the archive's limits cut off asked for until it is all there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

from goafetch.archive.client import ArchiveClient
from goafetch.archive.query import (
    DAY,
    Criteria,
    Interval,
    Query,
    admits,
    all_time,
    build_query,
    dated,
    night_interval,
    other_spellings,
)
from goafetch.archive.records import Record, is_sought, mismatch, night_in, read_record, to_table
from goafetch.errors import BadAnswer, Gone, NothingFound, Refused, Unreachable
from goafetch.text import table_html

if TYPE_CHECKING:
    from astropy.table import Table

#: Below this no answer is divided further: one telescope does not write that much.
SHORTEST = DAY / 1440
#: Files that the archive counts but did not list are asked for by name, up to so many.
MOST_BY_NAME = 20

#: What tells the versions of a file, and files of one name in two folders, apart: stored name, data label.
Key = tuple[str, str | None]


@dataclass(frozen=True)
class SearchResult:
    """What was found, in the order of file names; ``query`` as it was sent; ``warnings`` to be shown.

    ``unseen``: names of files that the archive counts among the answers and does not list.
    """

    records: list[Record]
    query: Query
    warnings: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def to_table(self) -> Table:
        """The columns of astroquery.gemini's table, in its order, with true types."""
        return to_table(self.records)

    def __repr__(self) -> str:
        return f"<SearchResult: {self._summary}>"

    @property
    def _summary(self) -> str:
        return f"{len(self.records)} file{'' if len(self.records) == 1 else 's'}: {self.query}"

    def _repr_html_(self) -> str:
        names = ("name", "object", "observation_class", "filter_name", "exposure_time", "ut_datetime")
        rows = [{name: getattr(record, name) for name in names} for record in self.records]
        return table_html(rows, self._summary)


def search_archive(client: ArchiveClient, criteria: Criteria) -> SearchResult:
    """Find files. Raises UsageError (a word is not valid), BadAnswer (a row was not asked for), Unreachable.

    An empty result is not an error; ``nothing_found`` makes one of it.
    """
    asked = dated(criteria, client.now)
    found = find_records_of(client, build_query(asked))
    for name in other_spellings(asked.object or "") if asked.near is None else ():
        if not (found.records or found.unseen):
            other = find_records_of(client, build_query(replace(asked, object=name)))
            if other.records:
                found = other
                found.warnings.append(f"no object is called {asked.object!r}: these are of {name!r}")
    if hidden := [r.name for r in found.records if r.pending_ingest]:
        found.warnings.append(
            f"the archive is about to replace {len(hidden)} of these files: {_names(hidden)}"
        )
    if found.unseen:
        found.warnings.append(
            f"the archive counts {len(found.unseen)} more files among the answers and does not list them: "
            f"{_names(found.unseen)}"
        )
    return found


def find_records_of(client: ArchiveClient, query: Query) -> SearchResult:
    """All records that answer a validated query.

    Where the archive cuts its answers is a setting of its own, and it does not tell. An answer shorter than
    an earlier one of its kind is whole; another one is held against the archive's list of QA states, which
    has no limit, and what is missing is asked for by the nights that the files' names tell.
    """
    rows, may_be_cut = _ask(client, query)
    found = _Collected(rows)
    if may_be_cut and query.filename is None:
        counted = _count(client, query)
        if counted is None or not found.keys <= set(counted):
            found.add(_by_halves(client, query, rows))
        else:
            found.missing = {key for key, state in counted.items() if admits(query.qa, state)} - found.keys
            _complete(client, query, found)
    records = sorted((r for r in found.records if is_sought(r, query)), key=lambda record: record.remote)
    unseen = sorted(name.removesuffix(".bz2") for name, _ in found.missing)
    return SearchResult(records, query, list(query.notes), unseen)


class _Collected:
    """The records so far, each file once, and the keys of those that are still missing."""

    def __init__(self, rows: Sequence[Record]) -> None:
        self._by_place: dict[str, Record] = {}
        self.keys: set[Key] = set()
        self.missing: set[Key] = set()
        self.add(rows)

    @property
    def records(self) -> list[Record]:
        return list(self._by_place.values())

    def add(self, rows: Sequence[Record]) -> None:
        """Of two versions, which older archives do not mark, the later one stays."""
        for row in rows:
            known = self._by_place.get(row.remote)
            if known is None or known.lastmod is None or row.lastmod is None or row.lastmod >= known.lastmod:
                self._by_place[row.remote] = row
        self.settle(rows)

    def settle(self, rows: Sequence[Record]) -> None:
        """These are missing no more: they have come, or are known not to be among the answers."""
        keys = {(row.filename, row.data_label) for row in rows}
        self.keys |= keys
        self.missing -= keys


def _count(client: ArchiveClient, query: Query) -> dict[Key, str | None] | None:
    """The QA states of all that a query selects by its other words; None where the archive has no such list.

    Some releases do not heed the words for QA state and engineering there.
    """
    try:
        rows = client.rows("jsonqastate", query.words)
    except (Gone, Refused, BadAnswer, Unreachable):
        return None
    if not all(isinstance(row, Mapping) and isinstance(row.get("filename"), str) for row in rows):
        return None
    return {(row["filename"], row.get("data_label")): row.get("qa_state") for row in rows}


def _complete(client: ArchiveClient, query: Query, found: _Collected) -> None:
    """Ask for what is missing: engineering frames are rightly so, then by nights, at last by name."""
    if found.missing and query.qa != "AnyQA" and not query.engineering:
        found.settle(_ask(client, replace(query, engineering=True))[0])
    if found.missing and not query.closed:
        # With its dates the same query is a closed one, which has a higher limit.
        found.add(_ask(client, query.during(all_time()))[0])
    for interval in _runs(found.keys | found.missing, found.missing, client.rows_given[True]):
        part = query.during(interval & (query.interval or interval))
        if part.interval and part.interval.start < part.interval.end:
            rows, may_be_cut = _ask(client, part)
            found.add(rows)
            if may_be_cut and any(_night(key) and _within(key, interval) for key in found.missing):
                found.add(_by_halves(client, part, rows))
    if len(found.missing) <= MOST_BY_NAME:
        for name, _ in sorted(found.missing, key=str):
            rows, _ = _ask(client, Query(filename=name.removesuffix(".bz2"), qa="AnyQA"))
            found.settle(rows)
            found.add([row for row in rows if mismatch(row, query) is None])


def _night(key: Key) -> date | None:
    return night_in(key[0])


def _within(key: Key, interval: Interval) -> bool:
    night = _night(key)
    return night is not None and night_interval(night).start in interval


def _runs(keys: Collection[Key], missing: Collection[Key], limit: int) -> Iterator[Interval]:
    """The time of what is missing, in stretches of nights that hold no more files than an answer may have."""
    counts = Counter(night for key in keys if (night := _night(key)) is not None)
    wanted = {_night(key) for key in missing}
    run: list[date] = []
    for night in [*sorted(counts), date.max]:
        full = night == date.max or sum(counts[each] for each in run) + counts[night] > limit
        if full and wanted & set(run):
            yield Interval(night_interval(run[0]).start, night_interval(run[-1]).end)
        run = [night] if full else [*run, night]


def nothing_found(client: ArchiveClient, query: Query) -> NothingFound:
    """The error for an empty result; says what the archive has of the program, if it has any of it."""
    if query.identifier is None:
        return NothingFound(
            f"nothing in the archive answers {query}",
            remedy="ask for less with fewer options",
        )
    name = query.identifier.value
    wider = Query(identifier=query.identifier, qa="AnyQA")
    rows = _ask(client, wider)[0] if wider.words != query.words else []
    if not rows:
        return NothingFound(
            f"the archive has nothing of {name}",
            "the name as the archive spells it",
            "check it at https://archive.gemini.edu/searchform",
        )
    return NothingFound(f"nothing of {name} answers {query}", remedy=f"the archive has {_describe(rows)}")


def _ask(client: ArchiveClient, query: Query) -> tuple[list[Record], bool]:
    """One request: its rows, and whether more may have been cut off.

    A row that was not asked for means that the archive dropped a word.
    """
    records = [read_record(row) for row in client.rows("jsonsummary", query.words)]
    for record in records:
        if (reason := mismatch(record, query)) is not None:
            raise BadAnswer(
                f"the archive widened the search: {record.name} came back, but {reason}",
                f"rows that answer {query}",
                "this archive does not understand one of these words; ask with fewer options",
            )
    most = client.rows_given[query.closed]
    client.rows_given[query.closed] = max(most, len(records))
    return records, 0 < len(records) >= most


def _by_halves(client: ArchiveClient, query: Query, rows: Sequence[Record]) -> list[Record]:
    """Ask for each half of the time, and for the halves of those that may be cut, until all are whole."""
    interval = query.interval or all_time()
    if interval.end - interval.start <= SHORTEST:
        raise BadAnswer(
            f"it cannot be shown that the archive's answer of {len(rows)} rows for {interval.word} is whole",
            "an answer shorter than others that it gave, or its list of QA states",
            "ask for less, with --type, --class or --filter",
        )
    found: list[Record] = []
    for half in _halves(interval, rows):
        part = query.during(half)
        got, may_be_cut = _ask(client, part)
        found += got + (_by_halves(client, part, got) if may_be_cut else [])
    return found


def _halves(interval: Interval, rows: Sequence[Record]) -> tuple[Interval, Interval]:
    """Divide where half of the rows that did come lie: cut answers are then soon small enough."""
    times = sorted(r.ut_datetime for r in rows if r.ut_datetime and r.ut_datetime in interval)
    middle = times[len(times) // 2] if times else interval.start + (interval.end - interval.start) / 2
    return interval.split(middle)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _describe(rows: Sequence[Record]) -> str:
    nights = sorted({str(r.ut_datetime.date()) for r in rows if r.ut_datetime})
    parts = [f"{len(rows)} files of it"]
    if nights:
        parts.append(f"UTC dates {nights[0]} to {nights[-1]}" if len(nights) > 1 else f"UTC date {nights[0]}")
    for what, values in (
        ("objects", {r.object for r in rows if r.object}),
        ("instruments", {r.instrument for r in rows if r.instrument}),
        ("filters", {r.filter_name for r in rows if r.filter_name}),
        ("classes", {r.observation_class for r in rows if r.observation_class}),
    ):
        parts.append(f"{what} {', '.join(sorted(values)[:8])}")
    return "; ".join(parts)
