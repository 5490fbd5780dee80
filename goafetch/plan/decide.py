"""The plan itself: groups with their calibrations, by the store's rules, each choice with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from calstore.associate import PROCESSED_BPM, PROCESSED_FLAT, Calibration, Match, Need, NoMatch, best
from goafetch.events import CalibrationChoice, Decided
from goafetch.needs import need
from goafetch.plan.groups import flat_groups
from goafetch.plan.model import FLAT, SCIENCE, STANDARD, Group, LeftOut, Plan
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
) -> Plan:
    """Decide what is reduced with what.

    ``frames``: raw files and masks with their descriptors. ``playground``: where products will stand.
    ``processed``: finished calibrations that are at hand besides (the store's).
    """
    wanted = wanted or Wanted()
    sorted_frames, left_out = sort_frames(frames, wanted)
    masks = _masks(sorted_frames)
    raw_flats, no_flats = flat_groups(sorted_frames)
    flats = [_with_mask(group, masks) for group in raw_flats]
    promised = [promise(flat, playground) for flat in flats]
    names = {promise.name for promise in promised}
    candidates = [*promised, *(c for c in processed if c.name not in names)]

    groups, refused = [], []
    standards, _ = visits(sorted_frames, STANDARD)
    science, blank = visits(sorted_frames, SCIENCE, wanted.frac_fov)
    for visit in (*standards, *science):
        answer = best(_need(visit, PROCESSED_FLAT), candidates)
        if isinstance(answer, NoMatch):
            refused += [LeftOut(path, _no_flat(visit, answer), failed=True) for path in visit.frames]
        else:
            groups.append(_with_mask(_with_flat(visit, answer), masks))

    used = {group.flat for group in groups}
    idle = [flat for flat in flats if playground / flat.product not in used]
    flats = [flat for flat in flats if flat not in idle]
    # Lamp-off frames may belong to several flats.
    needed = {path for flat in flats for path in flat.frames}
    spare = dict.fromkeys(path for flat in idle for path in flat.frames if path not in needed)
    left_out += [LeftOut(path, "no frame needs this flat") for path in spare]
    left_out += _idle_masks(masks, [*flats, *groups])
    return Plan(
        tuple(flats),
        tuple(groups),
        tuple(stacks(groups)),
        tuple([*left_out, *blank, *no_flats, *refused]),
        (
            *sorted({NO_MASK for group in groups if group.bpm is None}),
            *two_names(of_role(sorted_frames, SCIENCE)),
        ),
    )


def plan_flats(frames: Iterable[tuple[Path, Descriptors]]) -> list[Group]:
    """The master flats that calibrations alone make, as ``make_plan`` would have them."""
    sorted_frames, _ = sort_frames(frames)
    masks = _masks(sorted_frames)
    return [_with_mask(group, masks) for group in flat_groups(sorted_frames)[0]]


def _masks(frames: Sequence[Frame]) -> list[Calibration]:
    """The masks by name: they need not say at what time of day they were made."""
    masks = sorted((frame for frame in frames if frame.role == MASK), key=lambda frame: frame.path.name)
    return [calibration_of(mask.path, mask.facts) for mask in masks]


def promise(flat: Group, playground: Path) -> Calibration:
    """The master flat that a group will become, as the rules see it."""
    return Calibration(
        kind=PROCESSED_FLAT,
        path=str(playground / flat.product),
        when=flat.when,
        origin="goafetch",
        **flat.setup.traits,
    )


def _need(group: Group, kind: str) -> Need:
    return need(kind, name=group.name, when=group.when, **group.setup.traits)


def _with_flat(visit: Group, answer: Match) -> Group:
    chosen = answer.calibration
    choice = CalibrationChoice(FLAT, chosen.name, answer.reason)
    others = (Decided(f"not {lost.calibration.name}", lost.reason) for lost in answer.rejected)
    return replace(visit, flat=Path(chosen.path), reasons=(*visit.reasons, choice, *others))


def _with_mask(group: Group, masks: Sequence[Calibration]) -> Group:
    answer = best(_need(group, PROCESSED_BPM), masks)
    if isinstance(answer, NoMatch):
        return replace(group, reasons=(*group.reasons, Decided(f"{answer.reason}; {NO_MASK}")))
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


def _no_flat(visit: Group, answer: NoMatch) -> str:
    tried = "; ".join(f"{lost.calibration.name}: {lost.reason}" for lost in answer.rejected)
    kind = "a" if visit.kind == SCIENCE else "a standard's"
    days = _need(visit, PROCESSED_FLAT).rule.days
    remedy = f"fetch {kind} {FLAT} in {visit.setup.filter} within {days:g} days (lamp on and lamp off)"
    return f"{answer.reason}{f' ({tried})' if tried else ''}; {remedy}"
