"""Which calibrations to fetch for science files: the archive's association, made sharp and explained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from calstore.associate import (
    DARK,
    LAMP_OFF,
    LAMP_ON,
    PROCESSED_BPM,
    SAME_EXPOSURE,
    STANDARD,
)
from goafetch.archive.calibration_sets import (
    READ_ALIKE,
    WORDS,
    CalibrationSet,
    Choice,
    ScienceGroup,
    archive_rules,
    are_mixed,
    choose_darks,
    choose_flats,
    choose_mask,
    choose_standards,
    dark_will_do,
    known_instrument,
    make_sets,
)
from goafetch.archive.client import ArchiveClient
from goafetch.archive.query import (
    Identifier,
    Interval,
    Query,
    is_identifier,
    observation_of,
    read_dates,
    read_identifier,
)
from goafetch.archive.records import Readout, Record, parse_fullheader
from goafetch.archive.search import find_records_of
from goafetch.errors import BadAnswer, Gone, Refused
from goafetch.events import Noted
from goafetch.words import some

if TYPE_CHECKING:
    from reducer.instruments.base import CalibrationRule


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
    if first.program_id is None or not is_identifier(first.program_id) or not times:
        return Query(filename=first.name, qa="AnyQA")
    return Query(
        identifier=read_identifier(first.program_id),
        interval=read_dates(f"{min(times):%Y%m%d}-{max(times):%Y%m%d}"),
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
    """What the archive would associate by its own rule, searched for: same filter or exposure time, as the
    rule says, nearest in time."""
    times = [r.ut_datetime for r in records if r.ut_datetime]
    if rule.sought is None or rule.days is None or not times or not records[0].filter_name:
        return []
    (observation_class, kind, name, count), middle = rule.sought, sorted(times)[len(times) // 2]
    longest = timedelta(days=rule.days)
    query = Query(
        interval=Interval(min(times) - longest, max(times) + longest),
        observation_class=observation_class,
        observation_type=kind,
        object=name,
        filter=records[0].filter_name if "filter_name" in rule.same else None,
        instrument=records[0].instrument,
        reduction="RAW",
    )
    found = [record for record in find_records_of(client, query).records if record.ut_datetime]
    if "exposure_time" in rule.same and "filter_name" not in rule.same:
        found = [record for record in found if any(_as_long(record, other) for other in records)]
    return sorted(found, key=lambda r: abs((r.ut_datetime or middle) - middle))[:count]


def _as_long(record: Record, other: Record) -> bool:
    one, two = record.exposure_time, other.exposure_time
    return one is not None and two is not None and abs(one - two) <= SAME_EXPOSURE * max(one, two)


def find_records(client: ArchiveClient, labels: Mapping[str, str]) -> dict[str, Record]:
    """The records of files, by name: one search for each observation of their data labels, the rest by name.

    ``labels``: the data label of each file, by the file's name.
    """
    observations = sorted({o for label in labels.values() if (o := observation_of(label))})
    queries = [Query(identifier=Identifier("observation", o), qa="AnyQA") for o in observations]
    found = _search_all(client, queries, labels)
    missing = sorted(set(labels) - set(found))
    return found | _search_all(client, [Query(filename=name, qa="AnyQA") for name in missing], labels)


def find_masks(client: ArchiveClient, instrument: str) -> list[Record]:
    """All bad-pixel masks of an instrument, searched for by type."""
    query = Query(instrument=instrument, observation_type="BPM", qa="AnyQA")
    return [record for record in find_records_of(client, query).records if record.qa_state != "Fail"]


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
        answers = list(threads.map(lambda query: find_records_of(client, query).records, queries))
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


#: Class and type of the files for which calibrations are sought.
SCIENCE = ("science", "OBJECT")


@dataclass(frozen=True)
class Association:
    """Calibrations to fetch.

    ``files``: their records, flats first. ``rejected``: each candidate that was not taken, with the reason.
    ``reasons`` and ``kinds``: by file name, why each was taken, and the archive's type of calibration.
    ``warnings``: what could not be had. ``failed``: by that type, the science files for which the archive's
    own look-up failed, whatever was found for them in another way. ``lost``: of these, by kind, those for
    which nothing was found, though it may well be there.
    """

    files: list[Record]
    rejected: list[tuple[Record, str]] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    failed: dict[str, list[str]] = field(default_factory=dict)
    lost: dict[str, list[str]] = field(default_factory=dict)

    @property
    def shortcomings(self) -> list[tuple[str, str]]:
        """What is lost, in words, and why."""
        why = "the archive's look-up failed for {}, and a search found none that suits; try again later"
        return [(WORDS[kind], why.format(some(names, 1))) for kind, names in self.lost.items()]


@dataclass(frozen=True)
class _Candidates:
    """What the archive associates: by kind and science file, with the records and readouts of all of it.

    ``failed``: by kind and what the archive calls it, the science files for which its look-up failed.
    """

    listed: dict[str, dict[str, list[Associated]]]
    known: dict[str, Record]
    readouts: dict[str, Readout]
    failed: dict[tuple[str, str], list[str]]

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each calibration that is associated; others that are known are masks."""
        listed = ((kind, i.name) for kind in WORDS for items in self.listed[kind].values() for i in items)
        return {name: kind for kind, name in listed if name in self.known and self.serves(name, kind)}

    def serves(self, name: str, kind: str) -> bool:
        """Whether a file is of a kind: what the archive calls flats, whatever the lamp, is told by that."""
        record = self.known[name]
        known = known_instrument(record)
        if kind not in (LAMP_ON, LAMP_OFF) or known is None or not are_mixed(record):
            return True
        tags = ("GCALFLAT", "LAMPOFF" if record.gcal_lamp == "Off" else "LAMPON")
        return known.lamp(tags, record.filter_name) == ("on" if kind == LAMP_ON else "off")

    def add(self, others: _Candidates) -> None:
        """Know those of another answer as well."""
        for kind, answer in others.listed.items():
            self.listed[kind].update(answer)
        self.known.update(others.known)
        self.readouts.update(others.readouts)
        for key, names in others.failed.items():
            self.failed.setdefault(key, []).extend(names)

    def candidates(self, kind: str, part: Sequence[Record]) -> list[Record]:
        """Each calibration of a kind that is associated with any of these files, once."""
        names = dict.fromkeys(item.name for r in part for item in self.listed[kind].get(r.name, []))
        return [self.known[name] for name in names if name in self.known and self.serves(name, kind)]

    def sets(self, kind: str, part: Sequence[Record]) -> list[CalibrationSet]:
        """The same, in uniform sets."""
        return make_sets(kind, self.candidates(kind, part), self.readouts)


def associate(client: ArchiveClient, records: Sequence[Record]) -> Association:
    """Flats (lamp on and off), darks, standards and bad-pixel masks for the science files among the records.

    Flats and standards are those that the archive associates, of which the nearest uniform sets are taken;
    a mask that it does not associate, as for old data, is searched for by type. Raises as a search does.
    """
    parts = _parts(records)
    offer = _gather(client, parts)
    masks_of = cache(partial(find_masks, client))
    choices = [Choice(warnings=_complaints(parts, offer))]
    lost: dict[str, list[str]] = {}
    for part in parts:
        begin = len(choices)
        group = ScienceGroup(tuple(part), offer.readouts.get(_largest(part, client.today()).name))
        flats = choose_flats(group, offer.sets(LAMP_ON, part), offer.sets(LAMP_OFF, part))
        standards = choose_standards(group, offer.sets(STANDARD, part))
        choices += [flats, standards, *_choose_darks(client, part, flats, group, offer)]
        stars = [offer.known[name] for name in standards.taken]
        for night in [part, *_divide(stars, lambda star: (star.night,))]:
            choice = choose_mask(night, offer.candidates(PROCESSED_BPM, part))
            if not choice.taken:
                masks = masks_of(part[0].instrument)
                offer.known.update({mask.name: mask for mask in masks})
                choice = choose_mask(night, masks)
            if not choice.taken:
                choice.warnings.append(f"no bad-pixel mask is valid for the data of {night[0].night}")
            choices.append(choice)
        for kind, names in _lost(part, offer, choices[begin:]).items():
            lost.setdefault(kind, []).extend(names)
    return _sum_up(choices, offer, lost)


def _choose_darks(
    client: ArchiveClient, part: list[Record], flats: Choice, group: ScienceGroup, offer: _Candidates
) -> list[Choice]:
    """The darks for the files of a part, and for lamp-on flats that no lamp-off frames go with.

    None where the instrument has no rule for raw ones.
    """
    if DARK not in archive_rules(part[0]):
        return []
    readouts = offer.readouts if group.readout else {}  # else how the files were read is not known
    choices = [choose_darks(group, make_sets(DARK, offer.candidates(DARK, part), readouts))]
    kinds = offer.kinds
    if dark_will_do(part[0]) and {kinds[name] for name in flats.taken} == {LAMP_ON}:
        lit = [offer.known[name] for name in flats.taken]
        own = _gather(client, [lit], (DARK,))
        offer.add(own)
        alike = ScienceGroup(tuple(lit), own.readouts.get(lit[0].name) or offer.readouts.get(lit[0].name))
        choices.append(choose_darks(alike, own.sets(DARK, lit)))
    return choices


def _parts(records: Sequence[Record]) -> list[list[Record]]:
    """Science files of one program, instrument, filter and night, for each of which is asked once."""
    ours = (record for record in records if archive_rules(record))
    return _divide(
        (record for record in ours if (record.observation_class, record.observation_type) == SCIENCE),
        lambda record: (record.program_id, record.instrument, record.filter_name, record.night),
    )


def _divide(records: Iterable[Record], key: Callable[[Record], tuple[object, ...]]) -> list[list[Record]]:
    """The records of each key, in the order of the keys as they are written."""
    groups: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return [groups[each] for each in sorted(groups, key=lambda each: tuple(map(str, each)))]


def _largest(part: Sequence[Record], today: date) -> Record:
    """The file whose region holds that of the others; one with a public header where there is one."""
    return max(part, key=lambda record: (not record.proprietary(today), record.data_size or 0, record.name))


def _gather(
    client: ArchiveClient, parts: Sequence[list[Record]], kinds: Collection[str] = tuple(WORDS)
) -> _Candidates:
    """All that has to be asked: associations, the calibrations' own records, and how they were read.

    Lamp-on and lamp-off frames that the archive does not tell apart are searched for besides: of so many
    places in its answer one kind may have taken all.
    """
    listed: dict[str, dict[str, list[Associated]]] = {kind: {} for kind in WORDS}
    known: dict[str, Record] = {}
    failures: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        for kind, rule in archive_rules(part[0]).items():
            if kind not in kinds:
                continue
            found, failed = ask(client, part, rule.archive)
            if failed:
                failures.setdefault((kind, rule.archive), []).extend(failed)
            mixed = kind in (LAMP_ON, LAMP_OFF) and are_mixed(part[0])
            same = []
            if failed or mixed:
                records = find_nearest(client, part, rule)
                known |= {record.name: record for record in records}
                same = [Associated(r.name, r.data_label or "", r.file_md5) for r in records]
            listed[kind] |= {name: [*items, *same] if mixed else items for name, items in found.items()}
            listed[kind] |= dict.fromkeys(failed, same)
    items = [item for answer in listed.values() for found in answer.values() for item in found]
    known |= find_records(client, {item.name: item.label for item in items if item.name not in known})
    raw = {i.name for kind in READ_ALIKE for f in listed[kind].values() for i in f}
    asked = [known[name] for name in sorted(raw & set(known))] + [
        _largest(part, client.today()) for part in parts
    ]
    return _Candidates(listed, known, find_readouts(client, asked), failures)


def _complaints(parts: Sequence[list[Record]], offer: _Candidates) -> list[str]:
    """Science files that the archive passed over, and calibrations that it lists but does not have."""
    told = {name for answer in offer.listed.values() for name in answer}
    silent = [record.name for part in parts for record in part if record.name not in told]
    found = [f"the archive associates nothing with {name} (QA state Fail?)" for name in silent]
    for (kind, word), names in offer.failed.items():
        number = len({item.name for name in names for item in offer.listed[kind][name]})
        is_mask = kind == PROCESSED_BPM
        instead = "masks are searched for by type" if is_mask else f"{number} were found by a search"
        found.append(
            f"the archive's look-up of {word} failed for {len(names)} files ({', '.join(names)}): {instead}"
        )
    items = {item.name: item for a in offer.listed.values() for items in a.values() for item in items}
    for name, item in sorted(items.items()):
        record = offer.known.get(name)
        if record is None:
            found.append(f"the archive associates {name}, but a search does not find it")
        elif item.md5 and item.md5 != record.file_md5:
            found.append(f"{name} was replaced in the archive after it was associated: the new one is taken")
    return found


def _lost(part: Sequence[Record], offer: _Candidates, choices: Sequence[Choice]) -> dict[str, list[str]]:
    """By kind: the files of a part whose look-up failed, where no other way led to anything."""
    had = {offer.kinds.get(name, PROCESSED_BPM) for choice in choices for name in choice.taken}
    names = {record.name for record in part}
    failed = ((kind, [n for n in files if n in names]) for (kind, _), files in offer.failed.items())
    return {kind: files for kind, files in failed if files and kind not in had}


def _sum_up(choices: Sequence[Choice], offer: _Candidates, lost: dict[str, list[str]]) -> Association:
    """What serves any group is taken; a rejection counts only where nothing else needed the file."""
    reasons: dict[str, str] = {}
    rejected: dict[str, str] = {}
    for choice in reversed(choices):  # of several reasons the first stands
        reasons |= choice.taken
        rejected |= choice.rejected
    kinds = {name: offer.kinds.get(name, PROCESSED_BPM) for name in reasons}
    order = sorted(reasons, key=lambda name: (list(WORDS).index(kinds[name]), name))
    return Association(
        files=[offer.known[name] for name in order],
        rejected=[(offer.known[name], why) for name, why in sorted(rejected.items()) if name not in reasons],
        reasons={name: reasons[name] for name in order},
        kinds={name: archive_rules(offer.known[name])[kinds[name]].archive for name in order},
        lost=lost,
        warnings=[text for choice in choices for text in choice.warnings],
        failed={word: files for (_, word), files in offer.failed.items()},
    )
