"""What is stacked apart of one target: other guided pointings, and exposures that follow another motion."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from goafetch.plan.groups import by
from goafetch.plan.names import target_place
from goafetch.plan.sort import Frame
from reducer.headers.targets import SEPARATE, are_tracked, link

#: What is added to a target's name for exposures that do not follow what most others of it do.
MOTIONS = {True: " (followed)", False: " (on the stars)"}

Place = tuple[float, float]


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
