"""The archive's calibration manager: what it associates, with the records and read-outs of that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from calstore.associate import Rectangle
from goafetch.archive.client import ArchiveClient
from goafetch.archive.errors import BadAnswer, Gone, Refused
from goafetch.archive.query import Query
from goafetch.archive.query_syntax import (
    DAY,
    Identifier,
    Interval,
    is_identifier,
    observation_of,
    read_identifier,
)
from goafetch.archive.records import Record
from goafetch.archive.search import find
from goafetch.events import Noted

_CARD = re.compile(r"([A-Z][A-Z0-9_-]*)\s*=\s*('(?:[^']|'')*'|[^/]*)")
_SECTION = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]")


@dataclass(frozen=True)
class Settings:
    """Read-out of one file. ``reads``: non-destructive reads (LNRS) as written; ``region``: what was read.

    What is not known is left at its default: one coadd, no reads named, whole arrays.
    """

    coadds: int = 1
    reads: str = ""
    region: tuple[Rectangle, ...] = ()


def read_settings(page: str) -> Settings:
    """Settings from a /fullheader page: cards of the primary header, then of each extension (FitsStorage)."""
    primary, *extensions = _headers(page)
    coadds = primary.get("COADDS", "")
    return Settings(
        coadds=int(float(coadds)) if re.fullmatch(r"\d+(\.0*)?", coadds) else 1,
        reads=primary.get("LNRS", ""),
        region=_region(extensions),
    )


def _headers(page: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = [{}]
    for line in page.splitlines():
        if line.startswith("--- HDU"):
            found.append({})
        elif card := _CARD.match(line):
            found[-1].setdefault(card[1], card[2].strip().strip("'").strip())
    return found


def _region(extensions: list[dict[str, str]]) -> tuple[Rectangle, ...]:
    """What was read of each array, zero-based and half-open; nothing where any extension does not tell."""
    found: list[Rectangle] = []
    for number, header in enumerate(extensions, 1):
        match = _SECTION.fullmatch(header.get("CCDSEC", header.get("ARRAYSEC", "")))
        if match is None:
            return ()
        x1, x2, y1, y2 = map(int, match.groups())
        found.append((number, x1 - 1, x2, y1 - 1, y2))
    return tuple(found)


#: What is asked for; the archive looks for one type at a time (GOA_API: later words overwrite earlier).
LAMP_ON, LAMP_OFF, STANDARD, MASK = (
    "domeflat",
    "lampoff_domeflat",
    "photometric_standard",
    "processed_bpm",
)
TYPES = (LAMP_ON, LAMP_OFF, STANDARD, MASK)


@dataclass(frozen=True)
class Rule:
    """What a type of calibration is in the archive's rows, and how many it associates."""

    observation_class: str
    object: str | None
    count: int


RULES = {
    LAMP_ON: Rule("dayCal", "Domeflat", 20),
    LAMP_OFF: Rule("dayCal", "Domeflat OFF", 20),
    STANDARD: Rule("partnerCal", None, 8),
}
#: How far from the science the archive looks for them.
INTERVAL = 30 * DAY
#: How often it is asked where its own look-up fails.
ATTEMPTS = 3
#: Requests at a time: few enough to be polite.
CONNECTIONS = 4


@dataclass(frozen=True)
class Listed:
    """A calibration that the archive associates with a science file: its name, data label and stored md5."""

    name: str
    label: str
    md5: str | None


def selection_of(records: Sequence[Record]) -> Query:
    """The closed search that brings these science files (of one program, filter and night) as targets."""
    first = records[0]
    times = [r.ut_datetime for r in records if r.ut_datetime]
    if first.program_id is None or not is_identifier(first.program_id) or not times:
        return Query(filename=first.name, qa="AnyQA")
    start = min(times).replace(hour=0, minute=0, second=0, microsecond=0)
    end = max(times).replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    return Query(
        identifier=read_identifier(first.program_id),
        interval=Interval(start, end),
        observation_class=first.observation_class,
        observation_type=first.observation_type,
        filter=first.filter_name,
        instrument=first.instrument,
        reduction=first.reduction,
    )


def ask(
    client: ArchiveClient, records: Sequence[Record], kind: str
) -> tuple[dict[str, list[Listed]], list[str]]:
    """By science file name: what the archive associates of one type, nearest in time first.

    Files that the archive leaves out of its answer are left out here; those for which its own look-up
    failed, several times, are named beside.
    """
    words = (kind, *selection_of(records).words)
    wanted = {record.name for record in records}
    found: dict[str, list[Listed]] = {}
    failed: set[str] = set()
    for attempt in range(ATTEMPTS):
        if attempt:
            client.pause("/".join(("jsoncalmgr", *words)), f"the look-up of {kind} failed there", attempt)
        for target in client.rows("jsoncalmgr", words):
            name = _text(target, "filename").removesuffix(".bz2")
            if name in wanted and name not in found:
                listed = _listed(target, kind)
                if listed is None:
                    failed.add(name)
                else:
                    found[name] = listed
        failed -= found.keys()
        if not failed:
            break
    return found, sorted(failed)


def nearest(client: ArchiveClient, records: Sequence[Record], kind: str) -> list[Record]:
    """What the archive would associate by its own rule, searched for: same filter, nearest in time.

    Source: FitsStorage ``cal/calibration/calibration_gsaoi.py``.
    """
    times = [r.ut_datetime for r in records if r.ut_datetime]
    if kind not in RULES or not times or not records[0].filter_name:
        return []
    rule, middle = RULES[kind], sorted(times)[len(times) // 2]
    query = Query(
        interval=Interval(min(times) - INTERVAL, max(times) + INTERVAL),
        observation_class=rule.observation_class,
        observation_type="OBJECT",
        object=rule.object,
        filter=records[0].filter_name,
        instrument=records[0].instrument,
        reduction="RAW",
    )
    found = [record for record in find(client, query).records if record.ut_datetime]
    return sorted(found, key=lambda r: abs((r.ut_datetime or middle) - middle))[: rule.count]


def look_up(client: ArchiveClient, listed: Iterable[Listed]) -> dict[str, Record]:
    """The records of calibrations, by name: one search for each observation, the rest by file name."""
    by_name = {item.name: item for item in listed}
    observations = {observation_of(item.label) for item in by_name.values()} - {None}
    queries = [
        Query(identifier=Identifier("observation", str(o)), qa="AnyQA")
        for o in sorted(map(str, observations))
    ]
    found = _search_all(client, queries, by_name)
    missing = sorted(set(by_name) - set(found))
    found |= _search_all(client, [Query(filename=name, qa="AnyQA") for name in missing], by_name)
    return found


def masks(client: ArchiveClient, instrument: str) -> list[Record]:
    """All bad-pixel masks of an instrument, searched for by type."""
    query = Query(instrument=instrument, observation_type="BPM", qa="AnyQA")
    return [record for record in find(client, query).records if record.qa_state != "Fail"]


def settings_of(client: ArchiveClient, records: Sequence[Record]) -> dict[str, Settings]:
    """How each file was read out, by name; without those whose headers are not given out."""

    def read(record: Record) -> Settings | None:
        try:
            return read_settings(client.page("fullheader", record.name))
        except (Gone, Refused) as error:
            client.notify(Noted(f"{record.name}: coadds and region are not known ({error.found})"))
            return None

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        found = zip(records, threads.map(read, records), strict=True)
        return {record.name: settings for record, settings in found if settings is not None}


def _search_all(
    client: ArchiveClient, queries: Sequence[Query], wanted: Mapping[str, Any]
) -> dict[str, Record]:
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        answers = list(threads.map(lambda query: find(client, query).records, queries))
    return {record.name: record for answer in answers for record in answer if record.name in wanted}


def _listed(target: object, kind: str) -> list[Listed] | None:
    """What is associated with one science file; None where the archive's own look-up failed."""
    found = []
    for info in _list(target, "cal_info"):
        if not isinstance(info, Mapping) or info.get("type") != kind:
            raise BadAnswer(f"the archive was asked for {kind} and answered {info!r:.200}", f"type {kind!r}")
        if info.get("error"):
            return None
        for item in info.get("cals") or []:
            md5 = item.get("md5") if isinstance(item, Mapping) else None
            found.append(Listed(_text(item, "name").removesuffix(".bz2"), str(item.get("label") or ""), md5))
    return found


def _text(item: object, key: str) -> str:
    value = item.get(key) if isinstance(item, Mapping) else None
    if not isinstance(value, str):
        raise BadAnswer(f"an association without {key}: {item!r:.200}", "the keys of /jsoncalmgr")
    return value


def _list(item: object, key: str) -> list[Any]:
    value = item.get(key) if isinstance(item, Mapping) else None
    if not isinstance(value, list):
        raise BadAnswer(f"an association without {key}: {item!r:.200}", "the keys of /jsoncalmgr")
    return value
