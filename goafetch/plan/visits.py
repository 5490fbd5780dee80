"""Exposures of the sky into visits to a target: by where they look and when, whatever they are called."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import combinations
from pathlib import Path

import numpy as np

from calstore.associate import PROCESSED_DARK
from goafetch.events import Decided
from goafetch.plan.groups import by, time_of
from goafetch.plan.plan import SCIENCE, Group, LeftOut, Setup, Stack
from goafetch.plan.sort import Frame, of_role
from reducer.headers.targets import SEPARATE, SHORTEST, are_tracked, link, plain

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
    together = by(found, lambda visit: (visit.program, visit.target + visit.aside, visit.setup))
    for (program, target, setup), same in together.items():
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


# --- which target an exposure is of, by the names that were typed and by where the targets are ---------

#: Arcsec within which targets of different names are at one place: coordinates typed by hand differ by less,
#: targets that are meant to be two by more.
ONE_PLACE = 10.0

Place = tuple[float, float]


def apart(one: Place | None, other: Place | None) -> float | None:
    """Degrees between two places; None where one is unknown."""
    if one is None or other is None:
        return None
    (ra1, dec1), (ra2, dec2) = ([math.radians(angle) for angle in place] for place in (one, other))
    half = math.sin((dec2 - dec1) / 2) ** 2 + math.cos(dec1) * math.cos(dec2) * math.sin((ra2 - ra1) / 2) ** 2
    return math.degrees(2 * math.asin(math.sqrt(min(half, 1.0))))


def target_place(frame: Frame) -> Place | None:
    """Where an exposure's target is, degrees; None where its header does not tell."""
    ra, dec = frame.facts.target_ra, frame.facts.target_dec
    return None if ra is None or dec is None else (ra, dec)


def targets(frames: Sequence[Frame]) -> dict[Path, str]:
    """The target of each exposure, in the spelling that most exposures of it have.

    Names that differ in case, blanks and hyphens are one where their targets are at one place; where headers
    do not tell the place, nothing speaks against it. Other names are one where exposures of one observation
    look at one place under both.
    """
    target: dict[Path, str] = {}
    for same in by(frames, lambda f: (f.facts.program_id, plain(f.target))).values():
        spelled = by(same, lambda f: f.target)
        order = [name for name, _ in Counter(f.target for f in same).most_common()]
        for place, name in enumerate(order):
            ways = [other for other in order[:place] if _one_field(spelled[other], spelled[name])]
            known = target[spelled[ways[0]][0].path] if ways else name
            target |= {f.path: known for f in spelled[name]}
    for observed in by(frames, lambda f: f.facts.observation_id).values():
        named: dict[str, list[Frame]] = {}
        for frame in observed:
            named.setdefault(target[frame.path], []).append(frame)
        order = sorted(named, key=lambda name: -len(named[name]))
        for place, name in enumerate(order):
            ways = [other for other in order[:place] if _at_one_place(named[other], named[name]) is not None]
            target |= {f.path: ways[0] for f in named[name] if ways}
    return target


def _one_field(some: Sequence[Frame], others: Sequence[Frame]) -> bool:
    near = (apart(target_place(a), target_place(b)) for a in some for b in others)
    return any(away is None or 3600 * away < some[0].instrument.field.side for away in near)


def _at_one_place(some: Sequence[Frame], others: Sequence[Frame]) -> float | None:
    """Arcsec between two targets at one place, where exposures look at the same field; None for others."""
    away = apart(target_place(some[0]), target_place(others[0]))
    if away is None or 3600 * away > ONE_PLACE:
        return None
    looked = (
        apart(a.facts.pointing, b.facts.pointing)
        for a in some
        for b in others
        if not (a.named_sky or b.named_sky)
    )
    side = some[0].instrument.field.side
    return 3600 * away if any(gap is not None and 3600 * gap < side for gap in looked) else None


def joined(frames: Sequence[Frame]) -> str:
    """What is said of exposures whose names differ in more than their spelling; '' where they do not."""
    names = list(dict.fromkeys(f.target for f in frames if not f.named_sky))
    if len({plain(name) for name in names}) < 2:
        return ""
    return f"{' and '.join(names)} are at one place in one observation: taken for one target"


def two_names(frames: Sequence[Frame]) -> list[str]:
    """Warnings of targets that are at one place under two names, which a setup makes two stacks of."""
    target = targets(frames)
    told = []
    for same in by(frames, lambda f: (f.facts.program_id, f.setup)).values():
        named = by(same, lambda f: target[f.path])
        for (one, some), (other, others) in combinations(named.items(), 2):
            away = _at_one_place(some, others)
            if away is not None:
                told.append(
                    f"{one} and {other} ({some[0].setup}) are {away:.1f} arcsec apart: one place under two "
                    "names and observations, two stacks; if they are one target, goafetch disco makes one "
                    "stack of their _skyCorrected frames"
                )
    return told


# --- what is stacked apart of one target: other guided pointings, and exposures of another motion ------

#: What is added to a target's name for exposures that do not follow what most others of it do.
MOTIONS = {True: " (followed)", False: " (on the stars)"}


def asides(visits: Sequence[Sequence[Frame]], frac_fov: float | None) -> dict[Path, str]:
    """What is added to the target's name for each exposure of the visits to a target; '' for most.

    Guided pointings apart by more than that part of the field, other than that nearest to the target, are
    called by their place, in arcsec: " (30E 240N)". Exposures that follow a moving target and others are two
    kinds. Pointings that are not guided, and those named sky, may only be sky. ``frac_fov``: that part, None
    for the instrument's usual one.
    """
    tracked = {
        frame.path: is_tracked
        for frames in visits
        for frame, is_tracked in zip(
            frames, are_tracked([f.facts for f in frames], frames[0].instrument.widths.sharp), strict=True
        )
    }
    candidates = [f for frames in visits for f in frames if may_be_target(f)]
    usual = Counter(tracked[f.path] for f in candidates if tracked[f.path] is not None).most_common(1)
    motion = {f.path: tracked[f.path] for f in candidates}
    places = _pointings(candidates, motion, frac_fov)
    return {
        path: places[path] + (MOTIONS[moves] if moves is not None and moves != usual[0][0] else "")
        for path, moves in motion.items()
    }


def may_be_target(frame: Frame) -> bool:
    """Whether an exposure may show a target: it is guided, and not called sky."""
    return frame.facts.wavefront_sensor is not None and not frame.named_sky


def _pointings(
    frames: Sequence[Frame], tracked: Mapping[Path, bool | None], frac_fov: float | None
) -> dict[Path, str]:
    """The name of each exposure's pointing: '' for that nearest to the target, others by the way from it."""
    known = [(frame, way) for frame in frames if (way := _way(frame)) is not None]
    names = {frame.path: "" for frame in frames}
    if not known:
        return names
    first = target_place(known[0][0])
    shifts = [(0.0, 0.0) if tracked[f.path] else _between(first, target_place(f)) for f, _ in known]
    ways = np.array([way for _, way in known]) + np.array(shifts)
    instrument = known[0][0].instrument
    if frac_fov is None:
        frac_fov = instrument.defaults.get(("separateSky", "frac_FOV"), SEPARATE)
    groups = link(ways[:, 0], ways[:, 1], frac_fov * instrument.field.side)
    middles = {group: np.median(ways[groups == group], axis=0) for group in np.unique(groups)}
    nearest = min(middles, key=lambda group: float(np.hypot(*middles[group])))
    for (frame, _), group in zip(known, groups, strict=True):
        names[frame.path] = "" if group == nearest else f" ({compass(*middles[group] - middles[nearest])})"
    return names


def _way(frame: Frame) -> Place | None:
    """Arcsec (east, north) from an exposure's target to where it looks."""
    place, pointing = target_place(frame), frame.facts.pointing
    if place is None:
        return None
    return frame.facts.sky_offset or (None if pointing is None else _between(place, pointing))


def _between(one: Place | None, other: Place | None) -> Place:
    """Arcsec (east, north) from one place to another near it."""
    assert one is not None and other is not None
    east = (other[0] - one[0] + 180.0) % 360.0 - 180.0
    return 3600.0 * east * math.cos(math.radians(other[1])), 3600.0 * (other[1] - one[1])


def compass(east: float, north: float) -> str:
    """An offset as people say it: '30E 240N'."""
    return f"{abs(east):.0f}{'E' if east >= 0 else 'W'} {abs(north):.0f}{'N' if north >= 0 else 'S'}"


def parts(frames: Sequence[Frame], names: Mapping[Path, str]) -> dict[str, list[Frame]]:
    """The exposures of a visit by what is stacked apart; those that are only sky go with the first part."""
    named = [names[f.path] for f in frames if f.path in names]
    home = "" if "" in named or not named else named[0]
    found = by(frames, lambda f: names.get(f.path, home))
    return {name: found[name] for name in sorted(found, key=lambda name: (name != home, name))}
