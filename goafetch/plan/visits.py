"""Exposures of the sky into visits to a target: by where they look and when, whatever they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from calstore.associate import PROCESSED_DARK
from goafetch.events import Decided
from goafetch.plan.asides import asides, may_be_target, parts
from goafetch.plan.groups import by, time_of
from goafetch.plan.model import SCIENCE, Group, LeftOut, Setup, Stack
from goafetch.plan.names import apart, joined, target_place, targets
from goafetch.plan.sort import Frame, of_role
from reducer.headers.targets import SHORTEST, plain

#: Exposures of a target further apart than this belong to different visits, with skies of their own.
VISIT_GAP = timedelta(hours=2)
#: What is said of a visit that is stacked apart whole: its objects cannot be counted beside the target's.
ALONE = (
    "guided elsewhere than the target's other exposures, or following another motion, with a setup of its "
    "own: a stack by name; it would be their sky if its name said so"
)
#: Degrees from its target beyond which an exposure of empty sky does not serve.
FARTHEST = 3.0


@dataclass
class Visit:
    """Exposures of one target and setup, and the exposures of empty sky beside them that serve it.

    ``aside``: what is added to the target's name where others of it are stacked apart. ``lent``: exposures
    of other visits that may be its sky.
    """

    target: str
    frames: list[Frame]
    aside: str = ""
    skies: list[Frame] = field(default_factory=list)
    lent: list[Frame] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def setup(self) -> Setup:
        """The setup of its own frames."""
        return self.frames[0].setup

    @property
    def program(self) -> str:
        """The program of its frames."""
        return self.frames[0].facts.program_id or ""

    def gap(self, other: Visit) -> timedelta:
        """The time between this visit and another; none where they overlap."""
        one, two = sorted((self.frames, other.frames), key=lambda frames: time_of(frames[0]))
        return max(time_of(two[0]) - time_of(one[-1]), timedelta(0))


def visits(
    frames: Sequence[Frame], kind: str, frac_fov: float | None = None
) -> tuple[list[Group], list[LeftOut]]:
    """Exposures of one target and setup, split where more than two hours lie between two of them.

    Exposures of empty sky that have a name, an exposure time or coordinates of their own go with the visits
    that they serve; those that serve none are left out, with the reason.
    """
    members = of_role(frames, kind)
    target = targets(members)
    found = [
        Visit(name, part, reasons=[said] if (said := joined(part)) else [])
        for (_, name, _), same in by(members, lambda f: (f.facts.program_id, target[f.path], f.setup)).items()
        for part in _split_in_time(same)
    ]
    left_out: list[LeftOut] = []
    if kind == SCIENCE:
        blank = [visit for visit in found if _is_blank(visit, found)]
        found = _split_in_place([visit for visit in found if visit not in blank], frac_fov)
        left_out = [LeftOut(f.path, why) for sky in blank for f, why in _serve(sky, found)]
    return list(_numbered(found, kind)), left_out


def _numbered(found: Sequence[Visit], kind: str) -> Iterator[Group]:
    def stack(visit: Visit) -> tuple[str, str, Setup]:
        """What the visits of one stack have in common."""
        return visit.program, visit.target + visit.aside, visit.setup

    for (program, target, setup), same in by(found, stack).items():
        for number, visit in enumerate(same, start=1):
            yield Group(
                kind,
                target,
                setup,
                time_of(visit.frames[0]),
                tuple(f.path for f in (*visit.frames, *visit.skies)),
                reasons=tuple(map(Decided, visit.reasons)),
                visit=number,
                program=program,
                lent=tuple(f.path for f in visit.lent),
                apart=tuple((f.path, f.setup) for f in visit.skies if f.setup != setup),
            )


def stacks(groups: Sequence[Group]) -> list[Stack]:
    """One stack for all visits to a target with one setup."""
    together = by(groups, lambda g: (g.kind, g.program, g.target, g.setup))
    return [Stack(g[0].kind, g[0].target, g[0].setup, tuple(g)) for g in together.values()]


def _split_in_time(frames: Sequence[Frame]) -> list[list[Frame]]:
    parts: list[list[Frame]] = []
    for frame in frames:
        if parts and time_of(frame) - time_of(parts[-1][-1]) <= VISIT_GAP:
            parts[-1].append(frame)
        else:
            parts.append([frame])
    return parts


def _split_in_place(found: Sequence[Visit], frac_fov: float | None) -> list[Visit]:
    """The visits with what is stacked apart in visits of its own, each lent the others' exposures.

    Whether another guided pointing is a second target or empty sky is decided when its pixels are read.
    """
    split: list[Visit] = []
    for same in by(found, lambda visit: (visit.program, visit.target)).values():
        names = asides([visit.frames for visit in same], frac_fov)
        for visit in same:
            for aside, frames in parts(visit.frames, names).items():
                others = [frame for frame in visit.frames if frame not in frames]
                said = [_told_apart(visit, names)] if others else [ALONE] if aside else []
                split.append(Visit(visit.target, frames, aside, [], others, [*visit.reasons, *said]))
    return split


def _told_apart(visit: Visit, names: Mapping[Path, str]) -> str:
    """What a visit's exposures are told apart by."""
    found = by(visit.frames, lambda f: names.get(f.path, ""))
    counts = ", ".join(f"{len(frames)} of {visit.target}{aside}" for aside, frames in found.items())
    return (
        f"{counts}: told apart by guided pointing and by motion, a stack of each; a pointing that proves "
        "poor in objects is the sky of the others"
    )


# --- empty sky ---------------------------------------------------------------------------------------


def _is_blank(visit: Visit, found: Sequence[Visit]) -> bool:
    """Whether all exposures of a visit are of empty sky: by their names, or because they look away from their
    target, unguided, while others of that visit, with another exposure time, look at it."""
    if all(frame.named_sky for frame in visit.frames):
        return True
    beside = [other for other in found if other.target == visit.target and _could_serve(visit, other)]
    return all(_is_off_target(f) and not may_be_target(f) for f in visit.frames) and any(
        not _is_off_target(f) and not f.named_sky for other in beside for f in other.frames
    )


def _is_off_target(frame: Frame) -> bool:
    away = apart(frame.facts.pointing, target_place(frame))
    return frame.named_sky or (away is not None and 3600 * away > frame.instrument.field.side)


def _could_serve(sky: Visit, visit: Visit) -> bool:
    """Whether exposures of empty sky belong to a visit: by program, filter, arrays, time and place."""
    same = (sky.program, sky.setup.filter, sky.setup.regions) == (
        visit.program,
        visit.setup.filter,
        visit.setup.regions,
    )
    if not same or sky is visit or sky.gap(visit) > VISIT_GAP:
        return False
    away = apart(sky.frames[0].facts.pointing, visit.frames[0].facts.pointing)
    return away is None or away < FARTHEST


def _serve(sky: Visit, found: Sequence[Visit]) -> list[tuple[Frame, str]]:
    """Give exposures of empty sky to the visits that they serve; else each with the reason why to none."""
    beside = [visit for visit in found if _could_serve(sky, visit)]
    own = [visit for visit in beside if any(plain(visit.target) == plain(f.target) for f in sky.frames)]
    against = {id(visit): _why_not(sky, visit) for visit in own or beside}
    served = [visit for visit in own or beside if not against[id(visit)]]
    for visit in own or beside:
        visit.reasons.append(_told(sky, visit, against[id(visit)]))
    if served:
        first = min(served, key=lambda visit: (visit.setup != sky.setup, sky.gap(visit)))
        first.skies += sky.frames
        for visit in served:
            visit.lent += sky.frames if visit is not first else []
        return []
    why = "; ".join(dict.fromkeys(against.values())) or (
        f"no exposure of a target in {sky.setup.filter} within {VISIT_GAP.seconds / 3600:g} hours and "
        f"{FARTHEST:g} degrees that it could serve"
    )
    return [(frame, f"blank sky: {why}") for frame in sky.frames]


def _why_not(blank: Visit, visit: Visit) -> str:
    """Why exposures of empty sky cannot be scaled to serve a visit; '' if they can."""
    sky, target = blank.setup, visit.setup
    if sky.read_mode != target.read_mode:
        return f"read for {sky.read_mode}, the target for {target.read_mode}: their patterns differ"
    rule = blank.frames[0].instrument.calibrations.get(PROCESSED_DARK)
    if rule and any(sky.traits[name] != target.traits[name] for name in rule.same):
        return f"{sky}, the target {target}: no dark fits both"
    if sky.exposure_time < SHORTEST * target.exposure_time:
        return (
            f"its {sky.exposure_time:g} s are less than {SHORTEST:g} of the target's "
            f"{target.exposure_time:g} s: scaled, its noise would be the stack's"
        )
    return ""


def _told(sky: Visit, visit: Visit, against: str) -> str:
    away = apart(sky.frames[0].facts.pointing, visit.frames[0].facts.pointing)
    where = "" if away is None else f", {60 * away:.1f} arcmin away"
    what = f"{len(sky.frames)} exposures of {sky.frames[0].facts.object} {sky.setup}{where}"
    if against:
        return f"not {what}: {against}"
    scaled = sky.setup.exposure_time != visit.setup.exposure_time
    return f"{what}: its sky{f', scaled to {visit.setup.exposure_time:g} s' if scaled else ''}"
