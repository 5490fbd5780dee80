"""The plan itself: groups with their calibrations, by the store's rules, each choice with its reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from calstore.associate import (
    PROCESSED_BPM,
    PROCESSED_DARK,
    PROCESSED_FLAT,
    Calibration,
    Match,
    Need,
    NoMatch,
    best,
)
from goafetch.events import CalibrationChoice, Event, event_of
from goafetch.needs import need
from goafetch.plan.groups import dark_groups, flat_groups
from goafetch.plan.plan import DARK, FLAT, GIVEN, MASTERS, SCIENCE, STANDARD, Group, LeftOut, Plan
from goafetch.plan.sort import MASK, Frame, Wanted, of_role, sort_frames
from goafetch.plan.translate import calibration_of
from goafetch.plan.visits import stacks, two_names, visits
from reducer.headers.descriptors import Descriptors

#: What is said where there is no static mask: the run goes on, as the flat shows most bad pixels itself.
NO_MASK = "without a static bad-pixel mask, only what the flat itself shows is masked"


def make_plan(
    frames: Iterable[tuple[Path, Descriptors]],
    playground: Path,
    wanted: Wanted | None = None,
    processed: Sequence[Calibration] = (),
    missing: Sequence[LeftOut] = (),
) -> Plan:
    """Decide what is reduced with what.

    ``frames``: raw files and masks with their descriptors. ``playground``: where products will stand.
    ``processed``: finished calibrations that are at hand besides (the store's). ``missing``: what could not
    be had or read.
    """
    wanted = wanted or Wanted()
    sorted_frames, left_out = sort_frames(frames, wanted)
    masks = _masks(sorted_frames)
    darks, flats, no_flats = _masters(sorted_frames, masks, playground, processed)
    candidates = _candidates([*darks, *flats], playground, processed)

    standards, _ = visits(sorted_frames, STANDARD)
    science, blank = visits(sorted_frames, SCIENCE, wanted.frac_fov)
    found = [*standards, *science]
    for kind, path in wanted.given.items():
        found = [_with_given(visit, kind, path) for visit in found]
    settled = {*wanted.given, *wanted.without}
    kinds = [kind for kind in (PROCESSED_DARK, PROCESSED_FLAT) if kind not in settled]
    groups, refused = _complete(found, kinds, candidates)
    groups = [_with_mask(group, masks) for group in groups]

    flats, spare_flats = _used(flats, {group.flat for group in groups}, playground)
    darks, spare_darks = _used(darks, {group.dark for group in (*flats, *groups)}, playground)
    left_out += [*spare_flats, *spare_darks, *_idle_masks(masks, [*darks, *flats, *groups])]
    return Plan(
        tuple(flats),
        tuple(groups),
        tuple(stacks(groups)),
        (*missing, *left_out, *blank, *no_flats, *refused),
        (
            *sorted({NO_MASK for group in groups if group.bpm is None}),
            *two_names(of_role(sorted_frames, SCIENCE)),
        ),
        tuple(darks),
    )


def plan_masters(
    frames: Iterable[tuple[Path, Descriptors]], playground: Path, processed: Sequence[Calibration] = ()
) -> list[Group]:
    """The master darks and flats that calibrations alone make, as ``make_plan`` would have them."""
    sorted_frames, _ = sort_frames(frames)
    darks, flats, _ = _masters(sorted_frames, _masks(sorted_frames), playground, processed)
    return [*darks, *flats]


def _masters(
    frames: Sequence[Frame],
    masks: Sequence[Calibration],
    playground: Path,
    processed: Sequence[Calibration],
) -> tuple[list[Group], list[Group], list[LeftOut]]:
    """Darks, and flats with those that they need, with their masks; and lamp frames that make no flat."""
    darks = [_with_mask(group, masks) for group in dark_groups(frames)]
    raw_flats, no_flats = flat_groups(frames)
    flats, refused = _complete(raw_flats, (PROCESSED_DARK,), _candidates(darks, playground, processed))
    return darks, [_with_mask(group, masks) for group in flats], [*no_flats, *refused]


def _candidates(
    masters: Iterable[Group], playground: Path, processed: Sequence[Calibration]
) -> list[Calibration]:
    """What groups will become, and what is at hand besides under other names."""
    promised = [promise(group, playground) for group in masters]
    names = {promise.name for promise in promised}
    return [*promised, *(c for c in processed if c.name not in names)]


def _complete(
    groups: Iterable[Group], kinds: Sequence[str], candidates: Sequence[Calibration]
) -> tuple[list[Group], list[LeftOut]]:
    """The groups with what they need of some kinds; the frames of those for which there is none."""
    complete, refused = [], []
    for group in groups:
        needed = [kind for kind in kinds if _needs(group, kind)]
        answers = [best(_need(group, kind), candidates) for kind in needed]
        lost = next((answer for answer in answers if isinstance(answer, NoMatch)), None)
        if lost:
            refused += [LeftOut(path, _missing(group, lost), failed=True) for path in group.frames]
        for answer in answers:
            group = _with_master(group, answer) if isinstance(answer, Match) else group
        complete += [] if lost else [group]
    return complete, refused


def _needs(group: Group, kind: str) -> bool:
    """Whether it is left out without a calibration: with lamp-off frames a dark would be gone from a flat."""
    from reducer.instruments import KNOWN

    dark_is_gone = kind == PROCESSED_DARK and group.kind == FLAT and group.lit < len(group.frames)
    return KNOWN[group.setup.instrument].needs(kind, group.kind) and not dark_is_gone


def _used(
    masters: Sequence[Group], used: Collection[Path | None], playground: Path
) -> tuple[list[Group], list[LeftOut]]:
    """The masters that others use; the frames of the rest, but for lamp-off frames of other flats."""
    kept = [group for group in masters if playground / group.product in used]
    needed = {path for group in kept for path in group.frames}
    idle = {path: group.kind for group in masters for path in group.frames if path not in needed}
    return kept, [LeftOut(path, f"no frame needs this {kind}") for path, kind in idle.items()]


def _masks(frames: Sequence[Frame]) -> list[Calibration]:
    """The masks by name: they need not say at what time of day they were made."""
    masks = sorted((frame for frame in frames if frame.role == MASK), key=lambda frame: frame.path.name)
    return [calibration_of(mask.path, mask.facts) for mask in masks]


def promise(group: Group, folder: Path) -> Calibration:
    """The master flat or dark that a group will become, as the rules see it."""
    return Calibration(
        kind=MASTERS[group.kind],
        path=str(folder / group.product),
        when=group.when,
        origin="goafetch",
        **group.setup.traits,
    )


def _need(group: Group, kind: str) -> Need:
    return need(kind, name=group.name, when=group.when, **group.setup.traits)


def _with_master(group: Group, answer: Match) -> Group:
    chosen = answer.calibration
    role = GIVEN[chosen.kind][2]
    choice = CalibrationChoice(role, chosen.name, answer.reason)
    others = (
        event_of("calibration_not_chosen", {"file": lost.calibration.name, "why": lost.reason})
        for lost in answer.rejected
    )
    return _with(group, role, Path(chosen.path), choice, *others)


def _with(group: Group, role: str, path: Path, *reasons: Event) -> Group:
    """A group with its master dark or flat, by the role, and why."""
    group = replace(group, reasons=(*group.reasons, *reasons))
    return replace(group, dark=path) if role == DARK else replace(group, flat=path)


def _with_given(visit: Group, kind: str, path: Path) -> Group:
    """A visit with the dark or the flat that the user gave, if it needs one."""
    if not _needs(visit, kind):
        return visit
    step, name, role = GIVEN[kind]
    return _with(visit, role, path, CalibrationChoice(role, path.name, f"{step}:{name} asks for it"))


def _with_mask(group: Group, masks: Sequence[Calibration]) -> Group:
    answer = best(_need(group, PROCESSED_BPM), masks)
    if isinstance(answer, NoMatch):
        return replace(group, reasons=(*group.reasons, event_of("no_mask", {"why": answer.reason})))
    choice = CalibrationChoice(MASK, answer.calibration.name, answer.reason)
    return replace(group, bpm=Path(answer.calibration.path), reasons=(*group.reasons, choice))


def _idle_masks(masks: Sequence[Calibration], groups: Sequence[Group]) -> list[LeftOut]:
    """The masks that no group takes, each with what the groups have against it."""
    taken = {group.bpm for group in groups}
    lost = [lost for group in groups for lost in best(_need(group, PROCESSED_BPM), masks).rejected]
    idle = []
    for mask in masks:
        if Path(mask.path) not in taken:
            against = dict.fromkeys(one.reason for one in lost if one.calibration is mask)
            idle.append(LeftOut(Path(mask.path), "; ".join(["no frame needs this mask", *against])))
    return idle


def _missing(group: Group, answer: NoMatch) -> str:
    """What was found and what is needed, where nothing of a kind fits a group."""
    tried = "; ".join(f"{lost.calibration.name}: {lost.reason}" for lost in answer.rejected)
    days = _need(group, answer.kind).rule.days
    within = "" if days is None else f" within {days:g} days"
    if answer.kind == PROCESSED_DARK:
        instead = "add lamp-off frames" if group.kind == FLAT else "set darkCorrect:do_cal=skip"
        remedy = f"fetch darks of {group.setup.exposure_time:g} s{within}, or {instead}"
    else:
        kind = "a" if group.kind == SCIENCE else "a standard's"
        remedy = f"fetch {kind} {FLAT} in {group.setup.filter}{within} (lamp on and lamp off)"
    return f"{answer.reason}{f' ({tried})' if tried else ''}; {remedy}"
