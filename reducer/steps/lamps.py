"""Lamp frames of a flat: what each shows, whether it is what it says, and one level for those that are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reducer import dq
from reducer.align.wcs import descriptors_of
from reducer.combine import median_of, median_of_seen
from reducer.detector import ArrayReadout, correct
from reducer.errors import BadInput
from reducer.frame import Context, FrameRef
from reducer.keywords import region
from reducer.masks import Calibrations, Place, known_bits, read_counts
from reducer.sky.readout_offsets import SAMPLE, Columns, offsets_against
from reducer.types import F32, F64, U16, Reason, because

#: Rows measured at a time: what is made of them stays in the processor's cache.
ROWS = 64
#: Relative departure of a frame's level from the others' beyond which it is left out; of an array's likewise.
LEVEL_LIMIT = 0.15
#: Part of an array's pixels that may saturate with the lamp on, or be no numbers.
MOST_SATURATED, MOST_LOST = 0.5, 0.5
#: How many times brighter frames with the lamp on are at least than those with the lamp off, and the part of
#: the brightest level below which all are as dark.
CONTRAST, DARKEST = 1.3, 0.1
#: Electrons below which a flat without lamp-off frames holds no light, and below which no level is off.
NO_LIGHT, FAINT = 100.0, 30.0


@dataclass(frozen=True)
class Measured:
    """What one lamp frame shows: per array its level and its column means (nx,), electrons, and the part of
    its pixels that saturated or are no numbers."""

    levels: tuple[float, ...]
    profiles: tuple[F32, ...]
    saturated: tuple[float, ...]
    lost: tuple[float, ...]

    @property
    def level(self) -> float:
        """The median of the arrays, electrons."""
        return float(np.median(self.levels))


@dataclass(frozen=True)
class Lamp:
    """Frames of one kind, scaled to a common level: path, factor and channel offsets of each, and which of
    its arrays, 1..4, can be used."""

    frames: tuple[FrameRef, ...]
    factors: tuple[float, ...]
    offsets: tuple[tuple[F32, ...], ...]
    arrays: tuple[frozenset[int], ...]


def measure_lamps(lit: Sequence[FrameRef], dark: Sequence[FrameRef], context: Context) -> list[Lamp]:
    """Measure each frame; leave out, by name, those that are not what they say, and arrays that are not.

    Lamp-on frames must be brighter than lamp-off frames and not saturated; then each must agree with the
    others of its kind. Returns the lamp-on frames and, where there are any, the lamp-off frames.
    """
    calibrations = Calibrations(context.disk, context.bpm)
    frames = [*lit, *dark]
    measured = context.map(_measure, [(calibrations, frame) for frame in frames])
    found = {frame.path: each for frame, each in zip(frames, measured, strict=True)}
    reasons = _saturated(lit, found)
    levels = {path: each.level for path, each in found.items() if path not in reasons}
    if not dark:
        reasons |= {p: because("no_light", level=e) for p, e in levels.items() if e < NO_LIGHT}
    elif not any(_changes(frame) for frame in lit):
        reasons |= _mistaken([frame.path for frame in lit], [frame.path for frame in dark], levels)
    return [_agreeing(group, found, reasons, context) for group in (lit, dark) if group]


def _changes(frame: FrameRef) -> bool:
    """Whether the light changes from exposure to exposure."""
    return "TWILIGHT" in descriptors_of(frame).tags


def _saturated(lit: Sequence[FrameRef], found: Mapping[Path, Measured]) -> dict[Path, Reason]:
    """The lamp-on frames most of whose arrays saturated."""
    reasons = {}
    for frame in lit:
        parts = dict(zip(arrays_of(frame), found[frame.path].saturated, strict=True))
        full = [array for array, part in parts.items() if part > MOST_SATURATED]
        if 2 * len(full) > len(parts):
            reasons[frame.path] = because("saturated", arrays=full, area=max(parts.values()))
    return reasons


def _mistaken(lit: Sequence[Path], dark: Sequence[Path], levels: Mapping[Path, float]) -> dict[Path, Reason]:
    """The frames whose level, electrons, is not that of their kind; BadInput where the kinds are not two.

    The two kinds are told apart at the widest gap between the levels of all frames.
    """
    on, off = ([levels[path] for path in group if path in levels] for group in (lit, dark))
    if not on or not off:
        return {}
    told = f"{np.median(on):.0f} electrons with the lamp on and {np.median(off):.0f} with it off"
    ordered = np.sort(np.maximum([*on, *off], max(DARKEST * max(*on, *off), 1.0)))
    gaps = ordered[1:] / ordered[:-1]
    if gaps.max() < CONTRAST:
        raise BadInput(told, "more light with the lamp on", "check that the lamp was on")
    limit = float(np.sqrt(ordered[gaps.argmax()] * ordered[gaps.argmax() + 1]))
    if max(on) < limit < min(off):
        raise BadInput(told, "more light with the lamp on", "are OBJECT Domeflat and Domeflat OFF swapped?")
    unlit = [path for path in lit if levels.get(path, limit) < limit]
    bright = [path for path in dark if levels.get(path, limit) > limit]
    return {path: because("lamp_is_off", level=levels[path]) for path in unlit} | {
        path: because("lamp_is_on", level=levels[path]) for path in bright
    }


def _agreeing(
    frames: Sequence[FrameRef],
    found: Mapping[Path, Measured],
    reasons: Mapping[Path, Reason],
    context: Context,
) -> Lamp:
    """The frames of one kind that agree, brought to a common level; the others are left out by name."""
    usual = float(np.median([found[f.path].level for f in frames if f.path not in reasons] or [0.0]))
    arrays = set().union(*map(arrays_of, frames))
    kept, refused = [], []
    for frame in frames:
        reason = reasons.get(frame.path) or _why_not(found[frame.path], usual, frame)
        if missing := arrays - set(arrays_of(frame)):
            reason = because("arrays_missing", arrays=sorted(missing))
        if reason:
            context.notify("refused", name=frame.path.name, **reason)
            refused.append(f"{frame.path.name} {reason['reason'].replace('_', ' ')}")
        else:
            kept.append((frame, found[frame.path]))
    if not kept:
        raise BadInput(f"no usable lamp frame: {', '.join(refused)}", "frames of one level", "take others")
    return _common_level(kept, context)


def arrays_of(frame: FrameRef) -> list[int]:
    """The numbers of a frame's arrays."""
    return [int(chip["EXTVER"]) for chip in frame.chips]


def _why_not(measured: Measured, usual: float, frame: FrameRef) -> Reason:
    if min(measured.lost) > MOST_LOST:
        return because("pixels_not_finite")
    away = abs(measured.level - usual)
    if _changes(frame) or away <= max(LEVEL_LIMIT * usual, FAINT):
        return {}
    return because("off_level", level=measured.level, difference=away / max(usual, 1.0))


def _common_level(kept: Sequence[tuple[FrameRef, Measured]], context: Context) -> Lamp:
    frames, found = zip(*kept, strict=True)
    left = _left_arrays(frames, found, context)
    relative = _relative(np.array([measured.levels for measured in found]), left)
    offsets: list[tuple[F32, ...]] = []
    for place, measured in enumerate(found):
        chips = []
        for chip, profile in enumerate(measured.profiles):
            good = ~left[:, chip] | left[:, chip].all()
            profiles = [other.profiles[chip] for other, use in zip(found, good, strict=True) if use]
            reference = np.mean(profiles, axis=0) * (relative[place] / relative[good].mean())
            chips.append(offsets_against(profile, reference, region(frames[0].chips[chip]).x1))
        offsets.append(tuple(chips))
    arrays = [
        frozenset(array for array, out in zip(arrays_of(frame), row, strict=True) if not out)
        for frame, row in zip(frames, left, strict=True)
    ]
    return Lamp(frames, tuple(1.0 / relative), tuple(offsets), tuple(arrays))


def _relative(levels: F64, left: NDArray[np.bool_]) -> F64:
    """The level of each frame over that of them all, (frames,), from the arrays that are not left out.

    An array without any light has no say.
    """
    count = np.maximum((~left).sum(axis=0), 1)
    means = np.where(left, 0.0, levels).sum(axis=0) / count
    ratios = np.where(left | (means <= 0), np.nan, levels / np.where(means > 0, means, 1.0))
    relative = median_of_seen(ratios, axis=1)
    return np.where(relative > 0, relative, 1.0)


def _left_arrays(
    frames: Sequence[FrameRef], found: Sequence[Measured], context: Context
) -> NDArray[np.bool_]:
    """The arrays of each frame, (frames, arrays), that are not used, which is told."""
    levels = np.array([measured.levels for measured in found])
    full = np.array([measured.saturated for measured in found]) > MOST_SATURATED
    lost = np.array([measured.lost for measured in found]) > MOST_LOST
    middle = np.median(levels, axis=1, keepdims=True)
    lost |= (levels < DARKEST * middle) & (middle > FAINT)
    usual = median_of_seen(np.where(full | lost, np.nan, levels), axis=0)
    expected = _relative(levels, full | lost)[:, None] * usual
    away = np.abs(levels - expected) > np.maximum(LEVEL_LIMIT * np.abs(expected), FAINT)
    for frame, *row in zip(frames, full, lost, away, levels, expected, strict=True):
        for array, is_full, is_lost, is_away, level, wanted in zip(arrays_of(frame), *row, strict=True):
            if is_full or is_lost or is_away:
                fact = (
                    "lamp_array_saturated" if is_full else "lamp_array_dead" if is_lost else "lamp_array_odd"
                )
                context.notify(fact, file=frame.path.name, array=array, level=level, usual=wanted)
    return np.asarray(full | lost | away)


def _measure(task: tuple[Calibrations, FrameRef]) -> Measured:
    calibrations, frame = task
    levels, profiles, saturated, lost = [], [], [], []
    for index in range(len(frame.chips)):
        raw = read_counts(calibrations.disk, frame, index)
        bits = known_bits(calibrations, Place.of(frame, index))
        exposure = exposure_of(frame, index, variance=False)
        data, _, mask, broken = _electrons(raw[::4, ::4], bits[::4, ::4], exposure)
        # A saturated pixel has no less light than it shows.
        good = mask & (dq.UNUSABLE & ~dq.SATURATED) == 0
        levels.append(median_of(data[good]) if good.any() else 0.0)
        saturated.append(float((mask[good] & dq.SATURATED > 0).mean()) if good.any() else 0.0)
        lost.append(broken / mask.size)
        data, _, mask, _ = _electrons(raw[::SAMPLE], bits[::SAMPLE], exposure)
        columns = Columns.of(data, mask)
        for first in range(0, len(raw), ROWS):
            rows = slice(first, first + ROWS)
            data, _, mask, _ = _electrons(raw[rows], bits[rows], exposure)
            columns.add(data, mask)
        profiles.append(columns.means())
    return Measured(tuple(levels), tuple(profiles), tuple(saturated), tuple(lost))


def _electrons(raw: F32, bits: U16, exposure: ArrayReadout) -> tuple[F32, F32, U16, int]:
    return correct(np.ascontiguousarray(raw), exposure, static=np.ascontiguousarray(bits))


def exposure_of(frame: FrameRef, index: int, **switches: bool) -> ArrayReadout:
    """How an array of a frame was read."""
    levels = frame.instrument.stored_levels(frame.header, int(frame.chips[index]["EXTVER"]))
    return ArrayReadout(levels, descriptors_of(frame).coadds, **switches)
