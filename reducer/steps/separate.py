"""Tell object exposures from sky exposures, and find the skies that serve each object exposure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from reducer.align.wcs import commanded, descriptors_of, positions, seconds
from reducer.astrometry import sky_to_plane
from reducer.errors import MissingCalibration
from reducer.frame import Context, FrameRef
from reducer.headers.targets import SEPARATE, is_sky_name, link
from reducer.products import exposure_name
from reducer.sky.empty import Move, Objects, count_objects, find_in_pair, is_poor
from reducer.sky.objects import BLOCK
from reducer.step import step
from reducer.steps.prepare import same_settings
from reducer.steps.skylevel import shift
from reducer.types import F64, because

#: Exposures of the field itself that serve as sky for one of them, unless max_skies says otherwise.
MOST_OF_FIELD = 20


@step(suffix="_skySeparated")
def separateSky(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    ref_obj: Annotated[tuple[str, ...], "files to take as object exposures"] = (),
    ref_sky: Annotated[tuple[str, ...], "files to take as sky exposures"] = (),
    frac_FOV: Annotated[float, "fraction of the field that separates pointings"] = SEPARATE,
) -> list[FrameRef]:
    """Give each frame its role: 'object', 'sky', or 'both' where no exposure is off the target."""
    names = [exposure_name(frame.path) for frame in frames]
    # Names tell of one group; another one of the same run is separated as ever.
    if any(_is(name, told) for name in names for told in (*ref_obj, *ref_sky)):
        roles, reasons = _as_told(frames, ref_obj, ref_sky), ["asked"]
    else:
        if ref_obj or ref_sky:
            context.notify("separated_by_pointing")
        roles, reasons = _by_pointing(frames, frac_FOV, context)
    off_target = roles.count("sky")
    why = because(*reasons, distance=frac_FOV * frames[0].instrument.field.side)
    context.notify("separation", on_target=len(roles) - off_target, off_target=off_target, **why)
    separated = [frame.with_(role=role) for frame, role in zip(frames, roles, strict=True)]
    objects = [frame for frame in separated if frame.role != "sky"]
    # A sky of another exposure time is scaled; objects of several times are of several stacks.
    kept = same_settings(objects, ("exposure time",), context)
    return [frame for frame in separated if frame.role == "sky" or frame in kept]


def _as_told(frames: Sequence[FrameRef], objects: Sequence[str], skies: Sequence[str]) -> list[str]:
    roles = []
    for name in (exposure_name(frame.path) for frame in frames):
        is_object = any(_is(name, told) for told in objects)
        is_sky = any(_is(name, told) for told in skies)
        if is_object == is_sky:
            roles.append("both" if is_object else "sky" if objects and not skies else "object")
        else:
            roles.append("object" if is_object else "sky")
    return roles


def _is(name: str, told: str) -> bool:
    return name == exposure_name(Path(told.removesuffix(".bz2")))


@step(suffix="_skiesLeftOut")
def leaveOutSkies(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Go on with the on-target frames alone."""
    return [frame for frame in frames if frame.role != "sky"]


# --- by pointing and guiding -------------------------------------------------------------------------


def _by_pointing(
    frames: Sequence[FrameRef], fraction: float, context: Context
) -> tuple[list[str], list[str]]:
    """The frames' roles, and the reasons for them."""
    east, north = positions(frames)
    apart = fraction * frames[0].instrument.field.side
    groups = link(east, north, apart)
    named = np.array([is_sky_name(descriptors_of(frame).object or "") for frame in frames])
    if groups.max() == 0:
        return ["both"] * len(frames), ["within"]
    blank = {group for group in range(groups.max() + 1) if named[groups == group].all()}
    left = [group for group in range(groups.max() + 1) if group not in blank]
    on_target, reasons = _on_target(frames, groups, left or sorted(blank), context)
    if blank and left:
        reasons = [*reasons, "named_sky"]
    roles = ["object" if group in on_target else "sky" for group in groups]
    if "sky" not in roles:
        return ["both"] * len(frames), ["all_on_target", *reasons]
    return roles, reasons


def _on_target(
    frames: Sequence[FrameRef], groups: NDArray[np.integer[Any]], left: Sequence[int], context: Context
) -> tuple[list[int], list[str]]:
    """Those of some groups of pointings that are on target, and why.

    A pointing that was not guided is sky. Where all were, the target's is that nearest to it; another one is
    sky if it is poor in objects beside it, else a target too. Where none was, those away from it are sky.
    """
    if len(left) == 1:
        return list(left), ["one_pointing"]
    of_each = {group: [f for f, g in zip(frames, groups, strict=True) if g == group] for group in left}
    share = {group: _guided(of_each[group]) for group in left}
    guided = [group for group in left if share[group] >= 0.5]
    reasons = ["guided"] if 0 < len(guided) < len(left) else []
    if len(guided) == 1:
        return guided, reasons
    distance = {group: _from_target(of_each[group]) for group in guided or left}
    nearest = min(distance.values())
    half = frames[0].instrument.field.side / 2
    near = [group for group, away in distance.items() if away - nearest < half]
    others = {group: of_each[group] for group in guided if group not in near}
    if not others:
        return near, reasons or ["nearest"]
    poor = poor_pointings(of_each[near[0]], others, context)
    return [group for group in guided if group not in poor], [*reasons, "objects_counted"]


def _guided(frames: Sequence[FrameRef]) -> float:
    """The share of exposures that were guided."""
    return float(np.mean([descriptors_of(frame).wavefront_sensor is not None for frame in frames]))


def _from_target(frames: Sequence[FrameRef]) -> float:
    """Arcsec between the exposures of a pointing and their target."""
    return float(np.median([_away(frame) for frame in frames]))


def _away(frame: FrameRef) -> float:
    """Arcsec between an exposure and its target; 0 where the headers do not tell."""
    described, place = descriptors_of(frame), commanded(frame)
    ra, dec = described.target_ra, described.target_dec
    if described.sky_offset is not None:
        return float(np.hypot(*described.sky_offset))
    if place is None or ra is None or dec is None:
        return 0.0
    east, north = sky_to_plane(np.array(place[:1]), np.array(place[1:]), (ra, dec))
    return float(np.hypot(east[0], north[0]))


# --- association -------------------------------------------------------------------------------------


@step(suffix="_skyAssociated")
def associateSky(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    time: Annotated[float, "how near in time a sky exposure has to be with use_all=False", "s"] = 600.0,
    distance: Annotated[float, "how far away a sky exposure of the field must be", "arcsec"] = 3.0,
    min_skies: Annotated[int, "fewest sky exposures to go on with"] = 1,
    max_skies: Annotated[int | None, "most sky exposures to use, nearest in time"] = None,
    use_all: Annotated[bool, "use sky exposures however long ago"] = True,
) -> list[FrameRef]:
    """Note for each object frame the names of the skies that serve it (``skies``), nearest in time first.

    Exposures of a target serve those of the same pointing alone. Where others are left, an exposure that has
    too few skies is left out by name, unless skyCorrect:sky names a sky for it.
    """
    fewest = max(min_skies, 1)
    own_sky = context.parameters.get("skyCorrect", {}).get("sky")
    east, north = positions(frames)
    fraction = separateSky.chosen(frames, context)["frac_FOV"]
    pointing = link(east, north, fraction * frames[0].instrument.field.side)
    times = np.array([seconds(frame) for frame in frames])
    associated: list[FrameRef] = []
    missing: dict[str, MissingCalibration] = {}
    for place, frame in enumerate(frames):
        if frame.role == "sky":
            associated.append(frame)
            continue
        away = np.hypot(east - east[place], north - north[place])
        away[pointing != pointing[place]] = np.inf
        others = _usable(frames, place, away, distance, context)
        order = sorted(others, key=lambda other: abs(times[other] - times[place]))
        most = max_skies or (MOST_OF_FIELD if frame.role == "both" else None)
        near = [other for other in order if use_all or abs(times[other] - times[place]) <= time]
        chosen = (near if len(near) >= min_skies else order[:min_skies])[:most]
        if len(chosen) < fewest and not own_sky:
            missing[frame.path.name] = _too_few(len(chosen), fewest)
            continue
        associated.append(frame.with_(skies=tuple(frames[other].path.name for other in chosen)))
    if missing and all(frame.role == "sky" for frame in associated):
        name, error = next(iter(missing.items()))
        raise MissingCalibration(f"{name} has {error.found}", error.needed, error.remedy)
    for name, error in missing.items():
        context.notify("refused", name=name, **error.reason)
    return associated


def _too_few(number: int, fewest: int) -> MissingCalibration:
    return MissingCalibration(
        f"{number} sky exposures",
        f"{fewest} or more",
        "add sky exposures, name some with separateSky:ref_sky, or set associateSky:use_all=True or a "
        "smaller min_skies",
    )


def _usable(
    frames: Sequence[FrameRef], place: int, away: F64, distance: float, context: Context
) -> list[int]:
    skies = [
        other
        for other, frame in enumerate(frames)
        if frame.role == "sky" or (frame.role == "both" and other != place and np.isfinite(away[other]))
    ]
    far = [other for other in skies if frames[other].role == "sky" or away[other] >= distance]
    if skies and not far:
        context.notify("sky_too_near", file=frames[place].path.name, distance=distance)
        return skies
    return far


#: Exposures of each pointing that are compared.
COMPARED = 3


def poor_pointings(
    target: Sequence[FrameRef], others: Mapping[int, Sequence[FrameRef]], context: Context
) -> list[int]:
    """The numbers of the pointings that are poor in objects beside the target's; what was counted is told."""
    poor = []
    for number, frames in others.items():
        here, there = objects_of_both(target, frames, context)
        if is_poor(there, here):
            poor.append(number)
        context.notify(
            "pointing_is_sky" if number in poor else "pointing_is_target",
            file=exposure_name(frames[0].path),
            objects=there.number,
            area=there.area,
            target_objects=here.number,
            target_area=here.area,
        )
    return poor


def objects_of_both(
    some: Sequence[FrameRef], others: Sequence[FrameRef], context: Context
) -> tuple[Objects, Objects]:
    """The objects of two pointings in flat-fielded exposures, as many and as deep of both.

    Taken are those that lie nearest to the first of each: of small windows they share the most.
    """
    some, others = _nearest_first(some), _nearest_first(others)
    fewest = min(len(some), len(others))
    number = COMPARED if fewest >= COMPARED else min(2, max(len(some), len(others)))
    ones = [some[place % len(some)] for place in range(number)]
    twos = [others[place % len(others)] for place in range(number)]
    tasks = [(context.disk, one, two) for one, two in zip(ones, twos, strict=True)]
    found = list(context.map(find_in_pair, tasks))
    known = [{array: each.known for array, each in pair.items()} for pair in found]
    return (
        count_objects([{a: each.one for a, each in pair.items()} for pair in found], known, _moves(ones)),
        count_objects([{a: each.other for a, each in pair.items()} for pair in found], known, _moves(twos)),
    )


def _nearest_first(frames: Sequence[FrameRef]) -> list[FrameRef]:
    away = np.hypot(*positions(frames))
    return [frames[place] for place in np.argsort(away, kind="stable")]


def _moves(frames: Sequence[FrameRef]) -> list[dict[int, Move]]:
    """By exposure and array the shift, in blocks, from the first one's sky to each."""
    east, north = positions(frames)
    return [
        {
            array: shift(frame, array, east[0] - east[place], north[0] - north[place], (BLOCK, BLOCK))
            for array in (int(chip["EXTVER"]) for chip in frame.chips)
        }
        for place, frame in enumerate(frames)
    ]
