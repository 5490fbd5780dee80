"""The archive's calibration manager: what it associates, with the records and read-outs of that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from calstore.associate import Rectangle
from goafetch.archive import query_syntax as syntax
from goafetch.archive.client import ArchiveClient
from goafetch.archive.errors import BadAnswer, Gone, Refused
from goafetch.archive.query import Query
from goafetch.archive.records import Record
from goafetch.archive.search import find
from goafetch.events import Noted
from reducer.keywords import parse_section

if TYPE_CHECKING:
    from reducer.instruments.base import CalibrationRule

_CARD = re.compile(r"^([A-Z][A-Z0-9_-]*)\s*=\s*('(?:[^']|'')*'|[^/\n]*)", re.MULTILINE)


@dataclass(frozen=True)
class Readout:
    """How a file was read out. ``reads``: non-destructive ones (LNRS) as written; ``region``: what was read.

    What is not known is left at its default: one coadd, no reads named, whole arrays.
    """

    coadds: int = 1
    reads: str = ""
    region: tuple[Rectangle, ...] = ()


def parse_fullheader(page: str) -> Readout:
    """The read-out on a /fullheader page: cards of the primary header, then of each extension (FitsStorage).

    The region is as CCDSEC claims it, zero-based and half-open; nothing where any extension does not tell.
    """
    headers = []
    for part in re.split(r"^--- HDU.*$", page, flags=re.MULTILINE):
        cards = ((key, value.strip().strip("'").strip()) for key, value in _CARD.findall(part))
        headers.append(dict(reversed(list(cards))))
    primary, *extensions = headers
    coadds = primary.get("COADDS", "")
    sections = [parse_section(header.get("CCDSEC", header.get("ARRAYSEC"))) for header in extensions]
    return Readout(
        coadds=int(float(coadds)) if re.fullmatch(r"\d+(\.0*)?", coadds) else 1,
        reads=primary.get("LNRS", ""),
        region=tuple((n, *s) for n, s in enumerate(sections, 1) if s) if all(sections) else (),
    )


#: How often it is asked where its own look-up fails.
ATTEMPTS = 3
#: Requests at a time: few enough to be polite.
CONNECTIONS = 4


@dataclass(frozen=True)
class Associated:
    """A calibration that the archive associates with a science file: its name, data label and stored md5."""

    name: str
    label: str
    md5: str | None


def selection_of(records: Sequence[Record]) -> Query:
    """The closed search that brings these science files (of one program, filter and night) as targets."""
    first = records[0]
    times = [r.ut_datetime for r in records if r.ut_datetime]
    if first.program_id is None or not syntax.is_identifier(first.program_id) or not times:
        return Query(filename=first.name, qa="AnyQA")
    start = min(times).replace(hour=0, minute=0, second=0, microsecond=0)
    end = max(times).replace(hour=0, minute=0, second=0, microsecond=0) + syntax.DAY
    return Query(
        identifier=syntax.read_identifier(first.program_id),
        interval=syntax.Interval(start, end),
        observation_class=first.observation_class,
        observation_type=first.observation_type,
        filter=first.filter_name,
        instrument=first.instrument,
        reduction=first.reduction,
    )


def ask(
    client: ArchiveClient, records: Sequence[Record], kind: str
) -> tuple[dict[str, list[Associated]], list[str]]:
    """By science file name: what the archive associates of one of its types, nearest in time first.

    Files that the archive leaves out of its answer are left out here; those for which its own look-up
    failed, several times, are named beside.
    """
    words = (kind, *selection_of(records).words)
    wanted = {record.name for record in records}
    found: dict[str, list[Associated]] = {}
    failed: set[str] = set()
    for attempt in range(ATTEMPTS):
        if attempt:
            client.pause("/".join(("jsoncalmgr", *words)), f"the look-up of {kind} failed there", attempt)
        for target in client.rows("jsoncalmgr", words):
            name = str(_value(target, "filename", str)).removesuffix(".bz2")
            if name in wanted and name not in found:
                listed = _associated(target, kind)
                if listed is None:
                    failed.add(name)
                else:
                    found[name] = listed
        failed -= found.keys()
        if not failed:
            break
    return found, sorted(failed)


def find_nearest(client: ArchiveClient, records: Sequence[Record], rule: CalibrationRule) -> list[Record]:
    """What the archive would associate by its own rule, searched for: same filter, nearest in time."""
    times = [r.ut_datetime for r in records if r.ut_datetime]
    if rule.sought is None or rule.days is None or not times or not records[0].filter_name:
        return []
    (observation_class, name, count), middle = rule.sought, sorted(times)[len(times) // 2]
    longest = timedelta(days=rule.days)
    query = Query(
        interval=syntax.Interval(min(times) - longest, max(times) + longest),
        observation_class=observation_class,
        observation_type="OBJECT",
        object=name,
        filter=records[0].filter_name,
        instrument=records[0].instrument,
        reduction="RAW",
    )
    found = [record for record in find(client, query).records if record.ut_datetime]
    return sorted(found, key=lambda r: abs((r.ut_datetime or middle) - middle))[:count]


def find_records(client: ArchiveClient, listed: Iterable[Associated]) -> dict[str, Record]:
    """The records of calibrations, by name: one search for each observation, the rest by file name."""
    by_name = {item.name: item for item in listed}
    observations = sorted({o for item in by_name.values() if (o := syntax.observation_of(item.label))})
    queries = [Query(identifier=syntax.Identifier("observation", o), qa="AnyQA") for o in observations]
    found = _search_all(client, queries, by_name)
    missing = sorted(set(by_name) - set(found))
    return found | _search_all(client, [Query(filename=name, qa="AnyQA") for name in missing], by_name)


def find_masks(client: ArchiveClient, instrument: str) -> list[Record]:
    """All bad-pixel masks of an instrument, searched for by type."""
    query = Query(instrument=instrument, observation_type="BPM", qa="AnyQA")
    return [record for record in find(client, query).records if record.qa_state != "Fail"]


def find_readouts(client: ArchiveClient, records: Sequence[Record]) -> dict[str, Readout]:
    """How each file was read out, by name; without those whose headers are not given out."""

    def read(record: Record) -> Readout | None:
        try:
            return parse_fullheader(client.page("fullheader", record.name))
        except (Gone, Refused) as error:
            client.notify(Noted(f"{record.name}: coadds and region are not known ({error.found})"))
            return None

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        found = zip(records, threads.map(read, records), strict=True)
        return {record.name: readout for record, readout in found if readout is not None}


def _search_all(
    client: ArchiveClient, queries: Sequence[Query], wanted: Mapping[str, Any]
) -> dict[str, Record]:
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        answers = list(threads.map(lambda query: find(client, query).records, queries))
    return {record.name: record for answer in answers for record in answer if record.name in wanted}


def _associated(target: object, kind: str) -> list[Associated] | None:
    """What is associated with one science file; None where the archive's own look-up failed."""
    found = []
    for info in _value(target, "cal_info", list):
        if not isinstance(info, Mapping) or info.get("type") != kind:
            raise BadAnswer(f"the archive was asked for {kind} and answered {info!r:.200}", f"type {kind!r}")
        if info.get("error"):
            return None
        for item in info.get("cals") or []:
            md5 = item.get("md5") if isinstance(item, Mapping) else None
            stored = str(_value(item, "name", str))
            found.append(Associated(stored.removesuffix(".bz2"), str(item.get("label") or ""), md5))
    return found


def _value(item: object, key: str, kind: type) -> Any:
    value = item.get(key) if isinstance(item, Mapping) else None
    if not isinstance(value, kind):
        raise BadAnswer(f"an association without {key}: {item!r:.200}", "the keys of /jsoncalmgr")
    return value
