"""Subtract the sky: one pattern of all useful skies, and for each exposure its own level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from reducer.align.wcs import descriptors_of, positions, seconds
from reducer.errors import BadInput, BadParameter
from reducer.frame import Context, FrameRef
from reducer.headers.targets import link
from reducer.products import OFF_TARGET, ON_TARGET, SKY
from reducer.provenance import plan_product, product_name
from reducer.sky.empty import find_fixed
from reducer.sky.field import common_offsets, fit_field
from reducer.sky.level import odd_skies
from reducer.sky.objects import BLOCK, Bool, pack_mask, unpack_mask
from reducer.sky.readout_offsets import (
    CELL_ROWS,
    STEP,
    Reference,
    channel_width,
    covered_channels,
    fit_exposure,
    judge_reference_pixels,
    weigh_in,
)
from reducer.sky.row_offsets import Ramp, find_ramps
from reducer.step import Auto, step
from reducer.steps.prepare import SETTINGS
from reducer.steps.skyframes import (
    KeepTask,
    LookTask,
    Pattern,
    PatternTask,
    SubtractTask,
    combine_blocks,
    combine_skies,
    in_blocks,
    keep_sky,
    look,
    no_offsets,
    strips_in,
    subtract,
    without_ramps,
)
from reducer.steps.skylevel import (
    FrameSky,
    LevelChoice,
    Leveling,
    array_ratios,
    choose_level,
    find_levels,
    frame_level,
    shift,
    what_is_done,
    without_filled,
)
from reducer.types import F32, F64

#: Part of an array without a clean sky that is worth a word.
TOLD = 0.002
#: What a sky of the user's own has to share with the exposures that it serves.
SHARED: Mapping[str, Callable[[FrameRef], Any]] = {
    "instrument": lambda frame: frame.instrument.name,
    "filter": SETTINGS["filter"],
    "region": SETTINGS["region"],
    "flat-fielded": lambda frame: "FLATCORR" in frame.header,
}


@dataclass
class Skies:
    """The sky exposures in use, what they show, and the pattern of each set of them.

    ``blocks``: where each is in blocks of 4x4 pixels. ``offsets``: of the channels, by frame and array,
    electrons for each column; ``width``: of a channel; ``ramps``: by frame and array. ``odd``: the skies that
    are left out. ``factors``: the exposure time of the objects over that of each; all that is known of it
    here is scaled by that.
    """

    frames: dict[str, FrameRef]
    factors: dict[str, float]
    blocks: dict[str, Path] = field(default_factory=dict)
    seen: dict[str, FrameSky] = field(default_factory=dict)
    offsets: dict[str, dict[int, F32]] = field(default_factory=dict)
    ramps: dict[str, dict[int, Ramp]] = field(default_factory=dict)
    patterns: dict[frozenset[str], Pattern] = field(default_factory=dict)
    odd: frozenset[str] = frozenset()
    width: int = 512

    def kept(self) -> list[str]:
        """The names of the skies that are not left out, in order."""
        return sorted(set(self.frames) - self.odd)

    def members(self, frame: FrameRef) -> frozenset[str]:
        """The names of the skies that serve an exposure; odd ones only where it has no others."""
        return frozenset(frame.skies) - self.odd or frozenset(frame.skies)


@step(suffix=ON_TARGET, writes=True)
def skyCorrect(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    offset_sky: Annotated[Auto, "level the sky by the object frame's own median"] = "auto",
    scale_sky: Annotated[Auto, "scale the sky by the object frame's own median"] = "auto",
    level: Annotated[Literal["follow", "first"], "sky level: along time, or of the first sky"] = "follow",
    channels: Annotated[bool, "remove the offsets of the readout channels"] = True,
    sky: Annotated[str | None, "file of the sky of all exposures: `_flatCorrected` or `_sky`"] = None,
    save_sky: Annotated[bool, "write what is subtracted from each exposure, as `_sky`"] = False,
) -> list[FrameRef]:
    """Subtract the sky from the object frames, which become `_skyCorrected`; off-target ones stay."""
    if offset_sky is True and scale_sky is True:
        raise BadParameter("skyCorrect has offset_sky=True and scale_sky=True", "at most one of them")
    off_target = [frame for frame in frames if frame.role == "sky"]
    if sky:
        frames = _with_sky(frames, Path(sky).absolute(), context)
    if lost := [frame.path.name for frame in frames if frame.role != "sky" and not frame.skies]:
        raise BadInput(f"{', '.join(lost)}: no sky exposures", "associateSky before skyCorrect, or neither")
    fields = _wanted_fields(frames, context)
    objects = [frame for field in fields for frame in field]
    # Skies are judged by all fields, so that what is made again alone comes out the same.
    every = [frame for frame in frames if frame.role != "sky"]
    skies = make_patterns(frames, every, channels, context) if objects else Skies({}, {})
    tasks = [
        LookTask(context.disk, frame, skies.patterns[skies.members(frame)], skies.blocks.get(frame.path.name))
        for frame in objects
    ]
    seen = dict(zip((frame.path.name for frame in objects), context.map(look, tasks), strict=True))
    made = _keep_skies(off_target, skies, context)
    for group in fields:
        leveling = Leveling(offset_sky, scale_sky, level)
        made |= _correct_group(group, skies, seen, leveling, channels, save_sky, context)
    return [made[frame.path.name] for frame in frames if frame.path.name in made]


def _with_sky(frames: Sequence[FrameRef], path: Path, context: Context) -> list[FrameRef]:
    """The frames and the one sky, of the user, that serves them all; BadInput where it is none of theirs."""
    own = context.disk.open_frame(path).with_(role="sky")
    remedy = "give a `_flatCorrected` frame, or a `_sky` that save_sky=True wrote, of this filter"
    if "PREPARE" not in own.header or "SKYCORR" in own.header:
        state = "a raw file" if "PREPARE" not in own.header else "without its sky"
        raise BadInput(f"{path.name} is {state}", "a reduced exposure with its sky in it", remedy)
    if path in [
        context.folder / product_name(f.path, suffix) for f in frames for suffix in (OFF_TARGET, SKY)
    ]:
        raise BadInput(f"{path} is a product of these exposures", "a file that stays", "give a copy of it")
    for frame in frames:
        differing = [name for name in SHARED if not _shares(name, own, frame)]
        if differing:
            found, needed = (", ".join(f"{n} {SHARED[n](f)}" for n in differing) for f in (own, frame))
            raise BadInput(f"{path.name}: {found}", f"what {frame.path.name} has: {needed}", remedy)
    served = (frame if frame.role == "sky" else frame.with_(skies=(path.name,)) for frame in frames)
    return [*served, own]


def _shares(name: str, own: FrameRef, frame: FrameRef) -> bool:
    """Whether a sky has what an exposure has; it may have arrays that the exposure lacks."""
    found, needed = SHARED[name](own), SHARED[name](frame)
    return set(needed) <= set(found) if name == "region" else bool(found == needed)


def _wanted_fields(frames: Sequence[FrameRef], context: Context) -> list[list[FrameRef]]:
    """Object frames by field; those of fields alone of which products are wanted, where of no sky any is."""
    fields = _fields([frame for frame in frames if frame.role != "sky"])
    skies = [product_name(frame.path, OFF_TARGET) for frame in frames if frame.role == "sky"]
    if any(_is_wanted(name, context) for name in skies):
        return fields
    wanted = [[product_name(frame.path, ON_TARGET) for frame in field] for field in fields]
    kept = [any(_is_wanted(name, context) for name in names) for names in wanted]
    return [field for field, is_kept in zip(fields, kept, strict=True) if is_kept]


def _fields(objects: Sequence[FrameRef]) -> list[list[FrameRef]]:
    """Object frames by the field they look at."""
    groups = link(*positions(objects), objects[0].instrument.field.side / 2)
    return [
        [frame for frame, group in zip(objects, groups, strict=True) if group == wanted]
        for wanted in np.unique(groups)
    ]


# --- the pattern -------------------------------------------------------------------------------------


def make_patterns(
    frames: Sequence[FrameRef], objects: Sequence[FrameRef], channels: bool, context: Context
) -> Skies:
    """Combine the skies twice: objects masked as seen in each sky, then as seen without the pattern.

    The first time in blocks, which is all that is to be seen of that pattern. ``channels``: whether their
    offsets are removed.
    """
    used = frozenset(name for frame in objects for name in frame.skies)
    serving = {frame.path.name: frame for frame in frames if frame.path.name in used}
    skies = Skies(serving, _factors(serving, objects, context))
    skies.blocks = {name: in_blocks(context.scratch / name) for name in skies.frames}
    _look_at_skies(skies, {}, context)
    skies.seen = without_filled(skies.seen)
    skies.odd = _find_odd(skies, context)
    fixed = _find_fixed(skies, context)
    sets = {skies.members(frame) for frame in objects}
    skies.offsets = {name: no_offsets(frame) for name, frame in skies.frames.items()}
    tasks = _pattern_tasks(skies, frozenset(skies.kept()), context, "_skyfirst")
    light = dict(zip(tasks, context.map(combine_blocks, tasks.values()), strict=True))
    _look_at_skies(skies, {array: task.path for array, task in tasks.items()}, context)
    skies.seen = {name: _with_fixed(seen, fixed) for name, seen in skies.seen.items()}
    skies.ramps = dict(
        zip(skies.seen, find_ramps([strips_in(seen) for seen in skies.seen.values()]), strict=True)
    )
    skies.seen = {name: without_ramps(seen, skies.ramps[name]) for name, seen in skies.seen.items()}
    if channels:
        strips = [strips_in(seen) for seen in skies.seen.values()]
        skies.width = channel_width(strips)
        common = common_offsets(light, skies.width, len(skies.kept()))
        for name, found in zip(skies.seen, strips, strict=True):
            own = fit_exposure(found, skies.width).offsets
            skies.offsets[name] = {array: own[array] + common[array] for array in own}
    for place, members in enumerate(sorted(sets, key=sorted)):
        tasks = _pattern_tasks(skies, members, context, f"_sky{place}")
        skies.patterns[members] = dict(zip(tasks, context.map(combine_skies, tasks.values()), strict=True))
    return skies


def _factors(
    serving: Mapping[str, FrameRef], objects: Sequence[FrameRef], context: Context
) -> dict[str, float]:
    """What each sky is scaled by to the exposure time of the objects, which is told."""
    wanted = descriptors_of(objects[0]).exposure_time or 1.0
    times = {name: descriptors_of(frame).exposure_time or wanted for name, frame in serving.items()}
    for time in sorted(set(times.values()) - {wanted}):
        count = list(times.values()).count(time)
        context.notify("sky_scaled", frames=count, seconds=time, factor=wanted / time, wanted=wanted)
    return {name: wanted / time for name, time in times.items()}


def _find_odd(skies: Skies, context: Context) -> frozenset[str]:
    """The off-target exposures whose level is out of line with the others', which is told."""
    names = [name for name, frame in skies.frames.items() if frame.role == "sky"]
    times = np.array([seconds(skies.frames[name]) for name in names])
    ratios = array_ratios([skies.seen[name] for name in names]) if names else {}
    levels = np.array([frame_level(skies.seen[name], ratios) for name in names])
    is_odd = odd_skies(times, levels)
    for name, level in zip(np.array(names)[is_odd], levels[is_odd], strict=True):
        usual = float(np.median(levels[~is_odd]))
        context.notify("sky_odd", file=str(name), level=level, usual=usual)
    return frozenset(str(name) for name in np.array(names)[is_odd])


def _find_fixed(skies: Skies, context: Context) -> dict[int, Bool]:
    """By array the blocks in which all off-target exposures show an object, which is told."""
    names = [name for name in skies.kept() if skies.frames[name].role == "sky"]
    if not names:
        return {}
    frames = [skies.frames[name] for name in names]
    east, north = positions(frames)
    tasks = []
    for array in sorted(set.intersection(*(set(skies.seen[name]) for name in names))):
        moves = tuple(
            shift(frame, array, east[0] - east[place], north[0] - north[place], (BLOCK, BLOCK))
            for place, frame in enumerate(frames)
        )
        seen = [(skies.blocks[name], skies.seen[name][array]) for name in names]
        each_sky = [(path, part.level, part.packed) for path, part in seen]
        tasks.append((context.disk, array, each_sky, moves))
    found = {task[1]: each for task, each in zip(tasks, context.map(find_fixed, tasks), strict=True)}
    shares = {array: float(each.mean()) for array, each in found.items() if each.any()}
    if max(shares.values(), default=0.0) > TOLD:
        context.notify("sky_covered", areas=shares, skies=len(names))
    return found


def _with_fixed(seen: FrameSky, fixed: Mapping[int, Bool]) -> FrameSky:
    """What a sky shows, with what is in all of them hidden as well."""
    return {
        array: replace(part, packed=pack_mask(unpack_mask(part.packed) | fixed[array]))
        if array in fixed
        else part
        for array, part in seen.items()
    }


def _look_at_skies(skies: Skies, pattern: Pattern, context: Context) -> None:
    tasks = [
        LookTask(context.disk, frame, pattern, skies.blocks[name], skies.factors[name])
        for name, frame in skies.frames.items()
    ]
    skies.seen = dict(zip(skies.frames, context.map(look, tasks), strict=True))


def _pattern_tasks(
    skies: Skies, members: frozenset[str], context: Context, suffix: str
) -> dict[int, PatternTask]:
    """What makes the pattern of some of the skies, by array."""
    names = sorted(members)
    frames = tuple(skies.frames[name] for name in names)
    seen = tuple(skies.seen[name] for name in names)
    blocks = tuple(skies.blocks[name] for name in names)
    offsets = tuple(skies.offsets[name] for name in names)
    ramps = tuple(skies.ramps.get(name, {}) for name in names)
    factors = tuple(skies.factors[name] for name in names)
    tasks = {}
    for array in sorted({array for shown in seen for array in shown}):
        path = context.scratch / product_name(frames[0].path, f"{suffix}_{array}")
        tasks[array] = PatternTask(context.disk, frames, blocks, seen, offsets, ramps, factors, array, path)
    return tasks


def _keep_skies(frames: Sequence[FrameRef], skies: Skies, context: Context) -> dict[str, FrameRef]:
    """Write the off-target frames; their channel offsets are known against the pattern of them all."""
    tasks = []
    for frame in frames:
        target = plan_product(context, frame, OFF_TARGET, [frame])
        scaled, factor = skies.offsets.get(frame.path.name), skies.factors.get(frame.path.name, 1.0)
        offsets = no_offsets(frame) if scaled is None else _times(scaled, 1.0 / factor)
        tasks.append(KeepTask(context.disk, frame, offsets, target))
    return _write(frames, tasks, keep_sky, context)


def _write(
    frames: Sequence[FrameRef],
    tasks: Sequence[Any],
    function: Callable[[Any], Path],
    context: Context,
) -> dict[str, FrameRef]:
    """Run the tasks (of ``frames``) whose products are wanted; all products there are, by frame name."""
    wanted = [task for task in tasks if _is_wanted(task.target.path.name, context)]
    for path in context.map(function, wanted):
        context.notify("made", path=path)
    made = {}
    for frame, task in zip(frames, tasks, strict=True):
        if task.target.path.exists():
            found = context.disk.open_frame(task.target.path)
            made[frame.path.name] = found.with_(
                repairs=frame.repairs,
                md5=frame.md5,
                role=frame.role,
                skies=frame.skies,
                reference_pixels=frame.reference_pixels,
                before=frame,
            )
    return made


def _is_wanted(product: str, context: Context) -> bool:
    return context.wanted is None or product in context.wanted


# --- levels ------------------------------------------------------------------------------------------


def _correct_group(
    group: Sequence[FrameRef],
    skies: Skies,
    seen: Mapping[str, FrameSky],
    leveling: Leveling,
    channels: bool,
    save_sky: bool,
    context: Context,
) -> dict[str, FrameRef]:
    shown = [seen[frame.path.name] for frame in group]
    ramps = find_ramps([strips_in(seen_one) for seen_one in shown])
    shown = [without_ramps(*each) for each in zip(shown, ramps, strict=True)]
    ratios = array_ratios([skies.seen[name] for name in skies.kept()])
    decided = choose_level(group, shown, ratios, leveling)
    decision = decided[0]
    names = tuple(frame.path.name for frame in group)
    context.notify("sky", frames=names, **what_is_done(decided, leveling))
    levels = find_levels(group, shown, _sky_levels(group, skies, ratios), ratios, decided, leveling, context)
    per_array = [
        {array: level * ratios.get(array, 1.0) for array in seen_one}
        for level, seen_one in zip(levels.values, shown, strict=True)
    ]
    offsets = [no_offsets(frame) for frame in group]
    if channels:
        offsets = _offsets(group, shown, per_array, skies, decision, context)
    tasks = []
    for place, (frame, seen_one, level) in enumerate(zip(group, shown, levels.values, strict=True)):
        members = skies.members(frame)
        inputs = [frame, *(skies.frames[name] for name in sorted(members))]
        facts: dict[str, Any] = {"SKYMODE": decision.mode, "SKYNUM": len(members), **levels.keywords}
        target = plan_product(context, frame, ON_TARGET, inputs, stamps=("SKYCORR",), keywords=facts)
        sky = plan_product(context, frame, SKY, inputs, keywords=facts) if save_sky else None
        base = np.mean([frame_level(skies.seen[name], ratios) for name in members])
        factor = level / base if decision.scale else 1.0
        tasks.append(
            SubtractTask(
                disk=context.disk,
                frame=frame,
                pattern=skies.patterns[members],
                levels=per_array[place],
                factors={array: float(factor) for array in seen_one},
                offsets=offsets[place],
                ramps=ramps[place],
                objects={array: part.packed for array, part in seen_one.items()},
                target=target,
                skies=len(members),
                flat=context.flat if "FLATCORR" in frame.header else None,
                dark=frame.dark,
                sky=sky,
            )
        )
    made = _write(group, tasks, subtract, context)
    for frame in made.values():
        _tell_ramps(frame, context)
        _tell_rows(frame, context)
    return made


def _tell_ramps(frame: FrameRef, context: Context) -> None:
    """Say of a frame what ramps were removed, and warn of those that stay and of arrays that may hide one."""
    gone, left = (
        {chip["EXTVER"]: chip[key] for chip in frame.chips if key in chip} for key in ("RAMP", "RAMPLEFT")
    )
    if gone:
        context.notify("ramp_removed", file=frame.path.name, depths=gone)
    if left:
        context.notify("ramp_kept", file=frame.path.name, depths=left)
    hidden = [chip["EXTVER"] for chip in frame.chips if chip["EXTVER"] not in gone | left]
    if gone and hidden:
        context.notify("ramp_hidden", file=frame.path.name, arrays=hidden)


def _tell_rows(frame: FrameRef, context: Context) -> None:
    """Say of a frame what offsets of rows were removed, and in which arrays rows keep theirs."""
    sizes = [chip["ROWRMS"] for chip in frame.chips if "ROWRMS" in chip]
    if not sizes:
        return
    context.notify("rows_levelled", file=frame.path.name, offsets=np.mean(sizes))
    counts = {chip["EXTVER"]: int(chip["NAXIS2"]) - chip["ROWSFREE"] for chip in frame.chips}
    covered = {array: count for array, count in counts.items() if count}
    if covered:
        context.notify("rows_covered", file=frame.path.name, rows=covered)


def _sky_levels(group: Sequence[FrameRef], skies: Skies, ratios: Mapping[int, float]) -> tuple[F64, F64]:
    """Times (seconds) and levels (electrons) of the skies of a field, in order of time."""
    names = frozenset().union(*(skies.members(frame) for frame in group))
    ordered = sorted(names, key=lambda name: seconds(skies.frames[name]))
    times = np.array([seconds(skies.frames[name]) for name in ordered])
    return times, np.array([frame_level(skies.seen[name], ratios) for name in ordered])


def _offsets(
    group: Sequence[FrameRef],
    shown: Sequence[FrameSky],
    levels: Sequence[Mapping[int, float]],
    skies: Skies,
    decision: LevelChoice,
    context: Context,
) -> list[dict[int, F32]]:
    """Channel offsets of the frames of a field: each by itself where the field is blank, else together."""
    _tell_covered(group, shown, skies.width, context)
    if decision.blank:
        return [dict(fit_exposure(strips_in(seen), skies.width).offsets) for seen in shown]
    east, north = positions(group)
    cell = (STEP, CELL_ROWS * BLOCK)
    moves = [
        {
            array: shift(frame, array, east[0] - east[place], north[0] - north[place], cell)
            for array in shown[place]
        }
        for place, frame in enumerate(group)
    ]
    strips = [
        {array: part.strips.less(levels[place][array]) for array, part in seen.items()}
        for place, seen in enumerate(shown)
    ]
    found = fit_field(strips, moves, skies.width)
    reference = _reference(skies)
    if reference is None:
        return found
    return weigh_in(found, [frame.reference_pixels for frame in group], reference, skies.width)


def _tell_covered(group: Sequence[FrameRef], shown: Sequence[FrameSky], width: int, context: Context) -> None:
    """Say in which arrays channels keep their offsets because objects cover them."""
    for frame, seen in zip(group, shown, strict=True):
        counts = {array: covered_channels(part.strips, width) for array, part in seen.items()}
        covered = {array: count for array, count in counts.items() if count}
        if covered:
            context.notify("channels_covered", file=frame.path.name, channels=covered)


def _reference(skies: Skies) -> Reference | None:
    """What the skies show of the reference pixels; None where these do not follow the offsets."""
    names = skies.kept()
    all_reference_pixels = [skies.frames[name].reference_pixels for name in names]
    offsets = [_times(skies.offsets[name], 1.0 / skies.factors[name]) for name in names]
    return judge_reference_pixels(all_reference_pixels, offsets, skies.width)


def _times(offsets: Mapping[int, F32], factor: float) -> dict[int, F32]:
    return {array: each * np.float32(factor) for array, each in offsets.items()}
