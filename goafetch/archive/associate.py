"""Which calibrations to fetch for science files: the archive's association, made sharp and explained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache, cached_property

from goafetch.archive.calibrations import calmgr, choose
from goafetch.archive.calibrations.calmgr import LAMP_OFF, LAMP_ON, MASK, STANDARD, TYPES, Listed
from goafetch.archive.calibrations.choose import WORDS, Choice, ScienceGroup
from goafetch.archive.calibrations.settings import Settings
from goafetch.archive.client import ArchiveClient
from goafetch.archive.records import Record
from goafetch.text import some


@dataclass(frozen=True)
class Association:
    """Calibrations to fetch.

    ``files``: their records, flats first. ``rejected``: each candidate that was not taken, with the reason.
    ``reasons`` and ``kinds``: by file name, why each was taken, and the archive's type of calibration.
    ``warnings``: what could not be had. ``failed``: by type, the science files for which the archive's own
    look-up failed, whatever was found for them in another way. ``lost``: of these, those for which nothing
    was found, though it may well be there.
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
class _Offer:
    """What the archive associates: by type and science file, with the records and settings of all of it.

    ``failed`` as in Association.
    """

    listed: dict[str, dict[str, list[Listed]]]
    known: dict[str, Record]
    settings: dict[str, Settings]
    failed: dict[str, list[str]]

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The type of each calibration that is associated; others that are known are masks."""
        return {i.name: kind for kind in TYPES for items in self.listed[kind].values() for i in items}

    def candidates(self, kind: str, part: Sequence[Record]) -> list[Record]:
        """Each calibration of a type that is associated with any of these files, once."""
        names = dict.fromkeys(item.name for r in part for item in self.listed[kind].get(r.name, []))
        return [self.known[name] for name in names if name in self.known]

    def sets(self, kind: str, part: Sequence[Record]) -> list[choose.CalibrationSet]:
        """The same, in uniform sets."""
        return choose.make_sets(kind, self.candidates(kind, part), self.settings)


def associate(client: ArchiveClient, records: Sequence[Record]) -> Association:
    """Flats (lamp on and off), standards and bad-pixel masks for the GSAOI science files among the records.

    Flats and standards are those that the archive associates, of which the nearest uniform sets are taken;
    a mask that it does not associate, as for old data, is searched for by type. Raises as a search does.
    """
    parts = _parts(records)
    offer = _gather(client, parts)
    find_masks = cache(lambda instrument: calmgr.masks(client, instrument))
    choices = [Choice(warnings=_complaints(parts, offer))]
    lost: dict[str, list[str]] = {}
    for part in parts:
        begin = len(choices)
        group = ScienceGroup(tuple(part), offer.settings.get(_largest(part, client.today()).name))
        flats = choose.choose_flats(group, offer.sets(LAMP_ON, part), offer.sets(LAMP_OFF, part))
        standards = choose.choose_standards(group, offer.sets(STANDARD, part))
        choices += [flats, standards]
        stars = [offer.known[name] for name in standards.taken]
        for night in [part, *_nights(stars)]:
            choice = choose.choose_mask(night, offer.candidates(MASK, part))
            if not choice.taken:
                masks = find_masks(part[0].instrument)
                offer.known.update({mask.name: mask for mask in masks})
                choice = choose.choose_mask(night, masks)
            if not choice.taken:
                choice.warnings.append(f"no bad-pixel mask is valid for the data of {night[0].night}")
            choices.append(choice)
        for kind, names in _lost(part, offer, choices[begin:]).items():
            lost.setdefault(kind, []).extend(names)
    return _sum_up(choices, offer, lost)


def _parts(records: Sequence[Record]) -> list[list[Record]]:
    """Science files that share program, filter and night, for each of which the archive is asked once."""
    parts: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in records:
        science = record.observation_class == "science" and record.observation_type == "OBJECT"
        if science and record.instrument == "GSAOI":
            parts[record.program_id, record.filter_name, record.night].append(record)
    return [group for _, group in sorted(parts.items(), key=lambda item: tuple(map(str, item[0])))]


def _nights(records: Iterable[Record]) -> list[list[Record]]:
    nights: dict[object, list[Record]] = defaultdict(list)
    for record in records:
        nights[record.night].append(record)
    return list(nights.values())


def _largest(part: Sequence[Record], today: date) -> Record:
    """The file whose region holds that of the others; one with a public header where there is one."""
    return max(part, key=lambda record: (not record.proprietary(today), record.data_size or 0, record.name))


def _gather(client: ArchiveClient, parts: Sequence[list[Record]]) -> _Offer:
    """All that has to be asked: associations, the calibrations' own records, and how they were read."""
    listed: dict[str, dict[str, list[Listed]]] = {kind: {} for kind in TYPES}
    known: dict[str, Record] = {}
    failures: dict[str, list[str]] = {}
    for part in parts:
        for kind in TYPES:
            found, failed = calmgr.ask(client, part, kind)
            listed[kind] |= found
            if failed:
                failures.setdefault(kind, []).extend(failed)
                records = calmgr.nearest(client, part, kind)
                known |= {record.name: record for record in records}
                same = [Listed(record.name, record.data_label or "", record.file_md5) for record in records]
                listed[kind] |= dict.fromkeys(failed, same)
    items = [item for answer in listed.values() for found in answer.values() for item in found]
    known |= calmgr.look_up(client, (item for item in items if item.name not in known))
    raw = {i.name for kind in (LAMP_ON, LAMP_OFF, STANDARD) for f in listed[kind].values() for i in f}
    asked = [known[name] for name in sorted(raw & set(known))] + [
        _largest(part, client.today()) for part in parts
    ]
    return _Offer(listed, known, calmgr.settings_of(client, asked), failures)


def _complaints(parts: Sequence[list[Record]], offer: _Offer) -> list[str]:
    """Science files that the archive passed over, and calibrations that it lists but does not have."""
    told = {name for answer in offer.listed.values() for name in answer}
    silent = [record.name for part in parts for record in part if record.name not in told]
    found = [f"the archive associates nothing with {name} (QA state Fail?)" for name in silent]
    for kind, names in offer.failed.items():
        number = len({item.name for name in names for item in offer.listed[kind][name]})
        instead = "masks are searched for by type" if kind == MASK else f"{number} were found by a search"
        found.append(
            f"the archive's look-up of {kind} failed for {len(names)} files ({', '.join(names)}): {instead}"
        )
    items = {item.name: item for a in offer.listed.values() for items in a.values() for item in items}
    for name, item in sorted(items.items()):
        record = offer.known.get(name)
        if record is None:
            found.append(f"the archive associates {name}, but a search does not find it")
        elif item.md5 and item.md5 != record.file_md5:
            found.append(f"{name} was replaced in the archive after it was associated: the new one is taken")
    return found


def _lost(part: Sequence[Record], offer: _Offer, choices: Sequence[Choice]) -> dict[str, list[str]]:
    """By type: the files of a part whose look-up failed, where no other way led to anything."""
    had = {offer.kinds.get(name, MASK) for choice in choices for name in choice.taken}
    names = {record.name for record in part}
    failed = {kind: [n for n in files if n in names] for kind, files in offer.failed.items()}
    return {kind: files for kind, files in failed.items() if files and kind not in had}


def _sum_up(choices: Sequence[Choice], offer: _Offer, lost: dict[str, list[str]]) -> Association:
    """What serves any group is taken; a rejection counts only where nothing else needed the file."""
    reasons: dict[str, str] = {}
    rejected: dict[str, str] = {}
    for choice in choices:
        for name, reason in choice.taken.items():
            reasons.setdefault(name, reason)
        for name, reason in choice.rejected.items():
            rejected.setdefault(name, reason)
    kinds = {name: offer.kinds.get(name, MASK) for name in reasons}
    order = sorted(reasons, key=lambda name: (TYPES.index(kinds[name]), name))
    return Association(
        files=[offer.known[name] for name in order],
        rejected=[(offer.known[name], why) for name, why in sorted(rejected.items()) if name not in reasons],
        reasons={name: reasons[name] for name in order},
        kinds={name: kinds[name] for name in order},
        lost=lost,
        warnings=[text for choice in choices for text in choice.warnings],
        failed=offer.failed,
    )
