"""Searching: every row checked, cut answers noticed and asked for again in parts until they are whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from goafetch.archive.client import ArchiveClient
from goafetch.archive.errors import BadAnswer
from goafetch.archive.language.dates import DAY, Interval, everything
from goafetch.archive.query import Criteria, Query, build_query
from goafetch.archive.records import Record, answers, mismatch, read_rows, to_table
from goafetch.errors import NothingFound
from goafetch.show import table_html

if TYPE_CHECKING:
    from astropy.table import Table

#: Below this no answer is divided further: one telescope does not write that much.
SHORTEST = DAY / 1440


@dataclass(frozen=True)
class SearchResult:
    """What was found, in the order of file names; ``query`` as it was sent; ``warnings`` to be shown."""

    records: list[Record]
    query: Query
    warnings: list[str] = field(default_factory=list)

    def to_table(self) -> Table:
        """The columns of astroquery.gemini's table, in its order, with true types."""
        return to_table(self.records)

    def _repr_html_(self) -> str:
        names = ("name", "object", "observation_class", "filter_name", "exposure_time", "ut_datetime")
        rows = [{name: getattr(record, name) for name in names} for record in self.records]
        return table_html(rows, f"{len(rows)} files: {self.query}")


def search(client: ArchiveClient, criteria: Criteria) -> SearchResult:
    """Find files. Raises UsageError (a word is not valid), BadAnswer (a row was not asked for), Unreachable.

    An empty result is not an error; ``nothing_found`` makes one of it.
    """
    query = build_query(criteria)
    found = find(client, query)
    warnings = list(query.notes)
    if hidden := [r for r in found if r.pending_ingest]:
        warnings.append(f"the archive is about to replace {len(hidden)} of these files: {_names(hidden)}")
    return SearchResult(found, query, warnings)


def find(client: ArchiveClient, query: Query) -> list[Record]:
    """All records that answer a validated query, by name."""
    rows = _whole(query, lambda part: _ask(client, part))
    return sorted((row for row in rows if answers(row, query)), key=lambda record: record.remote)


def nothing_found(client: ArchiveClient, query: Query) -> NothingFound:
    """The error for an empty result; says what the archive has of the program, if it has any of it."""
    if query.identifier is None:
        return NothingFound(
            f"nothing in the archive answers {query}",
            remedy="ask for less with fewer options",
        )
    name = query.identifier.value
    wider = Query(identifier=query.identifier, qa="AnyQA")
    rows = _ask(client, wider) if wider.words != query.words else []
    if not rows:
        return NothingFound(
            f"the archive has nothing of {name}",
            "the name as the archive spells it",
            "check it at https://archive.gemini.edu/searchform",
        )
    return NothingFound(f"nothing of {name} answers {query}", remedy=f"the archive has {_describe(rows)}")


def _ask(client: ArchiveClient, query: Query) -> list[Record]:
    """One request; a row that was not asked for means that the archive dropped a word."""
    records = read_rows(client.rows("jsonsummary", query.words))
    for record in records:
        if (reason := mismatch(record, query)) is not None:
            raise BadAnswer(
                f"the archive widened the search: {record.name} came back, but {reason}",
                f"rows that answer {query}",
                "this archive does not understand one of these words; ask with fewer options",
            )
    return records


def _whole(query: Query, ask: Callable[[Query], list[Record]]) -> list[Record]:
    """Ask; where the answer has as many rows as the archive gives at most, ask for each part of its time."""
    rows = ask(query)
    if len(rows) < query.limit or query.filename:
        return rows
    interval = query.interval or everything()
    if interval.end - interval.start <= SHORTEST:
        raise BadAnswer(
            f"the archive cuts its answer at {query.limit} rows even for {interval.word}",
            "an answer that is whole",
            "ask for less, with --type, --class or --filter",
        )
    parts = [_whole(query.during(part), ask) for part in _halves(interval, rows)]
    return _merge(rows, *parts)


def _halves(interval: Interval, rows: Sequence[Record]) -> tuple[Interval, Interval]:
    """Divide where half of the rows that did come lie: cut answers are then soon small enough."""
    times = sorted(r.ut_datetime for r in rows if r.ut_datetime and r.ut_datetime in interval)
    middle = times[len(times) // 2] if times else interval.start + (interval.end - interval.start) / 2
    return interval.split(middle)


def _merge(*groups: list[Record]) -> list[Record]:
    """Each file once. The cut answer is among them: it may hold rows without a time."""
    return list({record.remote: record for group in groups for record in group}.values())


def _names(records: Sequence[Record]) -> str:
    shown = ", ".join(record.name for record in records[:5])
    return shown + (", ..." if len(records) > 5 else "")


def _describe(rows: Sequence[Record]) -> str:
    nights = sorted({str(r.ut_datetime.date()) for r in rows if r.ut_datetime})
    parts = [f"{len(rows)} files of it"]
    if nights:
        parts.append(f"UTC dates {nights[0]} to {nights[-1]}" if len(nights) > 1 else f"UTC date {nights[0]}")
    for what, values in (
        ("instruments", {r.instrument for r in rows if r.instrument}),
        ("filters", {r.filter_name for r in rows if r.filter_name}),
        ("classes", {r.observation_class for r in rows if r.observation_class}),
    ):
        parts.append(f"{what} {', '.join(sorted(values)[:8])}")
    return "; ".join(parts)
