"""What is done to each frame for its sky: look at it, combine skies into a pattern, subtract the pattern."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from reducer import dq
from reducer.combine import clipped_mean, median_of
from reducer.frame import F32, U16, Chip, Files, FrameRef
from reducer.headers.gsaoi import region
from reducer.provenance import Target
from reducer.sky.channels import Strips, strips_of
from reducer.sky.objects import (
    BLOCK,
    Bool,
    block_means,
    cell_map,
    expand,
    find_objects,
    without_faint,
)
from reducer.steps.masks import index_of, read_response

#: Pixels of all frames combined at a time.
PIXELS_AT_ONCE = 4_000_000


#: The path of each array's pattern.
Pattern = Mapping[int, Path]
#: A compressed mask, and its shape.
Packed = tuple[bytes, tuple[int, int]]


@dataclass(frozen=True)
class Seen:
    """What one array of a frame shows once a pattern is subtracted.

    ``level``: median of the free sky, electrons. ``cells``: medians of cells of 64 pixels between the stars,
    NaN where none are free. ``free``: fraction of the usable pixels that no object covers.
    ``strips``: the free sky for the fit of the channels' offsets. ``packed``: the object mask.
    """

    level: float
    cells: F32
    free: float
    strips: Strips
    packed: Packed

    def objects(self) -> Bool:
        """The object mask in blocks of 4x4 pixels."""
        return unpack(self.packed)


def pack(mask: Bool) -> Packed:
    """A mask in few bytes, to go between processes and stay in memory for many frames."""
    return zlib.compress(np.packbits(mask).tobytes(), 1), (mask.shape[0], mask.shape[1])


def unpack(packed: Packed) -> Bool:
    """The mask that was packed."""
    content, shape = packed
    bits = np.unpackbits(np.frombuffer(zlib.decompress(content), np.uint8), count=shape[0] * shape[1])
    return bits.reshape(shape).astype(bool)


@dataclass(frozen=True)
class LookTask:
    """Look at a frame, with a pattern (the path of each array's) subtracted if there is one already."""

    disk: Files
    frame: FrameRef
    pattern: Pattern


def look(task: LookTask) -> dict[int, Seen]:
    """Measure each array of a frame: level, background cells, channel offsets, objects."""
    seen = {}
    for index, header in enumerate(task.frame.chips):
        array = int(header["EXTVER"])
        chip = task.disk.read_chip(task.frame, index, variance=False)
        data, mask = chip.data, chip.mask
        if task.pattern:
            sky, _, unseen = _read_pattern(task.disk, task.pattern, array, variance=False)
            data -= sky
            mask |= unseen & np.uint16(dq.NO_DATA)
        known = task.frame.hidden.get(array)
        hidden = unpack(known) if known else None
        seen[array] = see(data, mask, region(header).x1, not task.pattern, hidden)
    return seen


def see(data: F32, mask: U16, first_column: int, local: bool, hidden: Bool | None = None) -> Seen:
    """Measure one array; ``local`` while the array's own pattern is still in it.

    ``hidden``: blocks of 4x4 pixels that are known to hold objects.
    """
    means, counts = block_means(data, mask)
    if hidden is not None:
        counts = np.where(hidden, np.float32(0), counts)
    objects = find_objects(means, counts, local)
    known = counts >= BLOCK
    free = known & ~objects
    stars = objects if local else find_objects(means, counts, local=True)
    cells = cell_map(means, known & ~stars)
    dark = free if local else without_faint(means, known & ~stars)
    return Seen(
        level=median_of(means[free]) if free.any() else float("nan"),
        cells=cells,
        free=float(free.sum() / max(known.sum(), 1)),
        strips=strips_of(means, dark, data.shape[1], first_column),
        packed=pack(objects if hidden is None else objects | hidden),
    )


# --- the pattern -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PatternTask:
    """Combine one array of several sky frames, given what each shows."""

    disk: Files
    frames: tuple[FrameRef, ...]
    seen: tuple[Mapping[int, Seen], ...]
    offsets: tuple[Mapping[int, F32], ...]
    array: int
    path: Path


def combine_skies(task: PatternTask) -> Path:
    """Write the mean of skies without their levels, channel offsets and objects, for one array."""
    frames = [place for place, frame in enumerate(task.frames) if task.array in task.seen[place]]
    first = task.frames[frames[0]]
    header = first.chips[index_of(first, task.array)]
    height, width = region(header).shape
    step = max(BLOCK, PIXELS_AT_ONCE // (width * len(frames)) // BLOCK * BLOCK)
    values, noises = np.empty((2, len(frames), step, width), np.float32)
    masks = np.empty(values.shape, np.uint16)
    data, variance = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    mask = np.zeros((height, width), np.uint16)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        block = (slice(None), slice(0, rows.stop - start))
        for layer, place in enumerate(frames):
            _sky_rows(task, place, rows, values[block][layer], noises[block][layer], masks[block][layer])
        data[rows], variance[rows], used = clipped_mean(
            values[block], noises[block], masks[block], dq.UNUSABLE
        )
        mask[rows][used == 0] = dq.NO_DATA
    chip = Chip(data, variance, mask, header)
    return task.disk.write_frame(task.path, first.header, [chip], lasting=False)


def _read_pattern(disk: Files, pattern: Pattern, array: int, variance: bool = True) -> tuple[F32, F32, U16]:
    return disk.read_planes(pattern[array], array, variance=variance)


def _sky_rows(task: PatternTask, place: int, rows: slice, value: F32, noise: F32, mask: U16) -> None:
    """Fill in some rows of a sky without its level and offsets; objects count as no data."""
    frame, seen = task.frames[place], task.seen[place][task.array]
    chip = task.disk.read_chip(frame, index_of(frame, task.array), rows)
    hidden = expand(seen.objects(), chip.data.shape, rows.start)
    np.bitwise_or(chip.mask, hidden * np.uint16(dq.NO_DATA), out=mask)
    np.subtract(chip.data, task.offsets[place][task.array] + np.float32(seen.level), out=value)
    noise[:] = chip.variance


# --- off-target frames -------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeepTask:
    """Write a sky exposure itself, without its channel offsets."""

    disk: Files
    frame: FrameRef
    offsets: Mapping[int, F32]
    target: Target


def keep_sky(task: KeepTask) -> Path:
    """Write a flat-fielded sky exposure as a product, which no later step reads."""
    target, chips = task.target, _without_offsets(task)
    return task.disk.write_frame(target.path, target.header, chips, tables=target.tables, read_soon=False)


def _without_offsets(task: KeepTask) -> Iterator[Chip]:
    for index, header in enumerate(task.frame.chips):
        offsets = task.offsets[int(header["EXTVER"])]
        chip = task.disk.read_chip(task.frame, index)
        header = header.copy()
        header["CHANRMS"] = (round(float(offsets.std()), 3), "rms of channel offsets (electron)")
        chip.data[:] -= offsets
        yield Chip(chip.data, chip.variance, chip.mask, header)


# --- subtraction -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SubtractTask:
    """Subtract pattern, level and channel offsets from one frame and write it.

    ``levels``: per array the electrons to subtract; ``factors``: what the pattern is multiplied by.
    ``flat``: that the frame was divided by, if it was; ``skies``: how many exposures made the pattern.
    """

    disk: Files
    frame: FrameRef
    pattern: Pattern
    levels: Mapping[int, float]
    factors: Mapping[int, float]
    offsets: Mapping[int, F32]
    target: Target
    skies: int
    flat: Path | None = None


def subtract(task: SubtractTask) -> Path:
    """Write a frame without its sky."""
    return task.disk.write_frame(
        task.target.path, task.target.header, _without_sky(task), tables=task.target.tables
    )


def _without_sky(task: SubtractTask) -> Iterator[Chip]:
    for index, header in enumerate(task.frame.chips):
        array = int(header["EXTVER"])
        chip = task.disk.read_chip(task.frame, index)
        sky, sky_variance, unseen = _read_pattern(task.disk, task.pattern, array)
        header = header.copy()
        header["SKYLEVEL"] = (round(task.levels[array], 3), "sky level subtracted (electron)")
        header["CHANRMS"] = (round(float(task.offsets[array].std()), 3), "rms of channel offsets (electron)")
        if task.factors[array] != 1.0:
            sky *= np.float32(task.factors[array])
            sky_variance *= np.float32(task.factors[array] ** 2)
        # In place: the pixels were read for this alone, and fresh memory costs more than the sum.
        sky += np.float32(task.levels[array])
        chip.data[:] -= sky
        chip.data[:] -= task.offsets[array]
        chip.variance[:] += sky_variance
        if task.flat is not None:
            flat = read_response(task.disk, task.flat, header)
            forget_common_noise(chip.variance, chip.data, sky, flat.data, flat.variance, task.skies)
        chip.mask[:] |= unseen
        yield Chip(chip.data, chip.variance, chip.mask, header)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def forget_common_noise(
    variance: F32, data: F32, sky: F32, flat: F32, flat_variance: F32, skies: int
) -> None:
    """Take from the variance, in place, the flat's noise in the sky: frame and pattern were divided by the
    same flat, so that it goes with the sky, and only that in the light which is left stays.

    ``data``: without sky; ``sky``: what was subtracted, with its level; ``skies``: whose mean it is.
    """
    share = np.float32(1.0 + 1.0 / skies)
    for y in range(data.shape[0]):
        for x in range(data.shape[1]):
            response = flat[y, x]
            noise = flat_variance[y, x] / (response * response) if response > np.float32(0) else np.float32(0)
            light = sky[y, x]
            variance[y, x] -= noise * light * (np.float32(2) * data[y, x] + light * share)
