"""Asks the archive which calibrations it associates, and for their own records and settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from goafetch.archive.calibrations.settings import Settings, read_settings
from goafetch.archive.client import ArchiveClient
from goafetch.archive.errors import BadAnswer, Gone, Refused
from goafetch.archive.language.dates import DAY, Interval
from goafetch.archive.language.identifiers import Identifier, is_identifier, observation_of, read_identifier
from goafetch.archive.query import Query
from goafetch.archive.records import Record
from goafetch.archive.search import find

#: What is asked for; the archive looks for one type at a time (GOA_API: later words overwrite earlier).
LAMP_ON, LAMP_OFF, STANDARD, MASK = (
    "domeflat",
    "lampoff_domeflat",
    "photometric_standard",
    "processed_bpm",
)
TYPES = (LAMP_ON, LAMP_OFF, STANDARD, MASK)

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


def ask(client: ArchiveClient, records: Sequence[Record], kind: str) -> dict[str, list[Listed]]:
    """By science file name: what the archive associates of one type, nearest in time first.

    Files that the archive leaves out of its answer are left out here.
    """
    wanted = {record.name for record in records}
    found: dict[str, list[Listed]] = {}
    for target in client.rows("jsoncalmgr", (kind, *selection_of(records).words)):
        name = _text(target, "filename").removesuffix(".bz2")
        if name in wanted:
            found[name] = _listed(target, kind)
    return found


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
            client.notify("info", text=f"{record.name}: coadds and region are not known ({error.found})")
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


def _listed(target: object, kind: str) -> list[Listed]:
    found = []
    for info in _list(target, "cal_info"):
        if not isinstance(info, Mapping) or info.get("type") != kind:
            raise BadAnswer(f"the archive was asked for {kind} and answered {info!r:.200}", f"type {kind!r}")
        for item in info.get("cals") or []:  # null where the archive's own look-up failed
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
