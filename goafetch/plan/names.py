"""Which target an exposure is of, by the names that were typed and by where the targets are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from goafetch.plan.groups import by
from goafetch.plan.sort import Frame
from reducer.headers.targets import plain

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
