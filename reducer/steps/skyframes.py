"""What is done to each frame for its sky: look at it, combine skies into a pattern, subtract the pattern."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numba import njit

from reducer import dq
from reducer.combine import combine_rows, median_of, median_of_seen
from reducer.detector import NO_RESPONSE
from reducer.frame import Chip, Files, FrameRef
from reducer.keywords import region
from reducer.masks import Place, fill_masked, index_of, read_response
from reducer.provenance import Target
from reducer.sky.objects import (
    BLOCK,
    CELL,
    Blocks,
    Bool,
    Packed,
    bin_array,
    block_means,
    cell_map,
    find_objects,
    hide,
    pack_mask,
    parts_of,
    read_blocks,
    unpack_bits,
    unpack_mask,
    unpack_rows,
    without_faint,
    write_blocks,
)
from reducer.sky.readout_offsets import Strips, strips_of
from reducer.sky.row_offsets import Ramp, row_offsets
from reducer.types import F32, U16, Header

#: The path of each array's pattern.
Pattern = Mapping[int, Path]


@dataclass(frozen=True)
class ArraySky:
    """What one array of a frame shows once a pattern is subtracted.

    ``level``: median of the free sky, electrons. ``cells``: medians of cells of 64 pixels between the stars,
    NaN where none are free. ``free``: fraction of the usable pixels that no object covers.
    ``strips``: the free sky for the fit of the channels' offsets. ``packed``: the object mask in blocks.
    """

    level: float
    cells: F32
    free: float
    strips: Strips
    packed: Packed


def strips_in(seen: Mapping[int, ArraySky]) -> dict[int, Strips]:
    """The cells of all arrays of a frame in which channel offsets are measured."""
    return {array: part.strips for array, part in seen.items()}


def without_ramps(seen: Mapping[int, ArraySky], ramps: Mapping[int, Ramp]) -> dict[int, ArraySky]:
    """What a frame shows once the ramps that surely are in its arrays are taken off: they pull the median."""
    cleaned = dict(seen)
    for array, ramp in ramps.items():
        if ramp.sure:
            side = CELL * BLOCK
            along = ramp.over(seen[array].cells.shape[0] * side).reshape(-1, side).mean(axis=1)
            cells = seen[array].cells - along[:, None]
            known = np.isfinite(cells).any()
            level = float(median_of_seen(cells)) if known else seen[array].level
            cleaned[array] = replace(seen[array], level=level, cells=cells)
    return cleaned


def no_offsets(frame: FrameRef) -> dict[int, F32]:
    """Channel offsets of zero for every array of a frame."""
    return {int(chip["EXTVER"]): np.zeros(int(chip["NAXIS1"]), np.float32) for chip in frame.chips}


def in_blocks(path: Path) -> Path:
    """Where a frame, or a pattern, is in blocks."""
    return path.with_name(f"{path.stem}_blocks.fits")


@dataclass(frozen=True)
class LookTask:
    """Look at a frame.

    ``pattern``: the path of each array's pattern, to be subtracted, if there is one already. ``blocks``:
    where the frame is in blocks, or, while there is no pattern, is to be written in blocks; None: nowhere.
    ``factor``: what its pixels are multiplied by.
    """

    disk: Files
    frame: FrameRef
    pattern: Pattern
    blocks: Path | None = None
    factor: float = 1.0


def look(task: LookTask) -> dict[int, ArraySky]:
    """Measure each array of a frame: level, background cells, channel offsets, objects."""
    seen, made = {}, {}
    for index, header in enumerate(task.frame.chips):
        array = int(header["EXTVER"])
        if task.pattern and task.blocks:
            blocks = read_blocks(task.disk, task.blocks, array)
        else:
            blocks = bin_array(task.disk, task.frame, index, variance=not task.pattern).times(task.factor)
            made[array] = blocks
        if task.pattern:
            blocks = blocks.less(read_blocks(task.disk, in_blocks(task.pattern[array]), array))
        known = task.frame.hidden.get(array)
        hidden = unpack_mask(known) if known else None
        seen[array] = see(blocks, task.frame, index, not task.pattern, hidden)
    if task.blocks and not task.pattern:
        write_blocks(task.disk, task.blocks, task.frame, made)
    return seen


def see(blocks: Blocks, frame: FrameRef, index: int, local: bool, hidden: Bool | None = None) -> ArraySky:
    """Measure one array of a frame; ``local`` while the array's own pattern is still in it.

    ``hidden``: blocks that are known to hold objects. ``hidden``: (ny / 4, nx / 4).
    """
    means = blocks.means
    counts = blocks.counts if hidden is None else np.where(hidden, np.uint16(0), blocks.counts)
    objects = find_objects(means, counts, local)
    known = counts >= BLOCK
    free = known & ~objects
    stars = objects if local else find_objects(means, counts, local=True)
    cells = cell_map(means, known & ~stars)
    dark = free if local else without_faint(means, known & ~stars)
    return ArraySky(
        level=median_of(means[free]) if free.any() else float("nan"),
        cells=cells,
        free=float(free.sum() / max(known.sum(), 1)),
        strips=strips_of(means, dark, region(frame.chips[index]), frame.array(index)),
        packed=pack_mask(objects if hidden is None else objects | hidden),
    )


# --- the pattern -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PatternTask:
    """Combine one array of several sky frames, given what each shows and where each is in blocks.

    ``factors``: what the pixels of each are multiplied by; the other facts, as ``ramps`` by array, are of
    scaled skies already.
    """

    disk: Files
    frames: tuple[FrameRef, ...]
    blocks: tuple[Path, ...]
    seen: tuple[Mapping[int, ArraySky], ...]
    offsets: tuple[Mapping[int, F32], ...]
    ramps: tuple[Mapping[int, Ramp], ...]
    factors: tuple[float, ...]
    array: int
    path: Path

    @property
    def places(self) -> list[int]:
        """The frames that have the array."""
        return [place for place in range(len(self.frames)) if self.array in self.seen[place]]

    @property
    def first(self) -> tuple[FrameRef, int]:
        """The first frame that has the array, and the array's place among its chips."""
        frame = self.frames[self.places[0]]
        return frame, index_of(frame, self.array)


def combine_blocks(task: PatternTask) -> Strips:
    """Write the mean of skies in blocks, without levels and objects, and return its cells."""
    places, (frame, index) = task.places, task.first
    shape = region(frame.chips[index]).shape
    masks = [unpack_mask(task.seen[place][task.array].packed) for place in places]

    def fill(layer: int, rows: slice, value: F32, noise: F32, mask: U16) -> None:
        place = places[layer]
        blocks = read_blocks(task.disk, task.blocks[place], task.array, rows)
        np.subtract(blocks.means, np.float32(task.seen[place][task.array].level), out=value)
        noise[:] = blocks.variance
        mask[:] = (masks[layer][rows] | (blocks.counts < BLOCK)) * np.uint16(dq.NO_DATA)

    mean, noise, used = combine_rows((shape[0] // BLOCK, shape[1] // BLOCK), len(places), fill, dq.UNUSABLE)
    pattern = Blocks(mean, noise, np.where(used > 0, BLOCK * BLOCK, 0).astype(np.uint16))
    write_blocks(task.disk, in_blocks(task.path), frame, {task.array: pattern})
    return see(pattern, frame, index, local=True).strips


def combine_skies(task: PatternTask) -> Path:
    """Write the mean of skies without their levels, channel offsets and objects, for one array."""
    places, (frame, index) = task.places, task.first
    header = frame.chips[index]
    masks = [unpack_bits(task.seen[place][task.array].packed) for place in places]

    def fill(layer: int, rows: slice, value: F32, noise: F32, mask: U16) -> None:
        place = places[layer]
        sky, seen = task.frames[place], task.seen[place][task.array]
        chip = task.disk.read_chip(sky, index_of(sky, task.array), rows)
        factor = np.float32(task.factors[place])
        np.multiply(chip.data, factor, out=value)
        value -= task.offsets[place][task.array] + np.float32(seen.level)
        if task.array in task.ramps[place]:
            value -= task.ramps[place][task.array].over(rows.stop)[rows, None]
        np.multiply(chip.variance, factor * factor, out=noise)
        mask[:] = chip.mask
        part = slice(rows.start // BLOCK, rows.stop // BLOCK)
        hide(unpack_rows(masks[layer], seen.packed[1][1], part), mask)

    mean, noise, used = combine_rows(region(header).shape, len(places), fill, dq.UNUSABLE)
    mask = (used == 0) * np.uint16(dq.NO_DATA)
    means, counts = block_means(mean, mask)
    blocks = Blocks(means, np.zeros_like(means), counts)
    write_blocks(task.disk, in_blocks(task.path), frame, {task.array: blocks})
    return task.disk.write_frame(task.path, frame.header, [Chip(mean, noise, mask, header)], lasting=False)


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
    planes = _Planes()
    for index, header in enumerate(task.frame.chips):
        offsets = task.offsets[int(header["EXTVER"])]
        data, variance, mask = planes.of(region(header).shape)
        for rows in parts_of(len(data)):
            chip = task.disk.read_chip(task.frame, index, rows)
            np.subtract(chip.data, offsets, out=data[rows])
            variance[rows], mask[rows] = chip.variance, chip.mask
        fill_masked(data, mask)
        header = header.copy()
        header["CHANRMS"] = round(float(offsets.std()), 3)
        yield Chip(data, variance, mask, header)


class _Planes:
    """Data, variance and mask of one array after the other, in the same memory."""

    def __init__(self) -> None:
        self._planes = _empty((0, 0))

    def of(self, shape: tuple[int, int]) -> tuple[F32, F32, U16]:
        """Planes to be filled; what they held is lost."""
        if self._planes[0].shape != shape:
            self._planes = _empty(shape)
        return self._planes


def _empty(shape: tuple[int, int]) -> tuple[F32, F32, U16]:
    return np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint16)


# --- subtraction -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SubtractTask:
    """Subtract pattern, level and channel offsets from one frame and write it.

    ``levels``: per array the electrons to subtract; ``factors``: what the pattern is multiplied by;
    ``ramps``: that the arrays have; ``objects``: where the objects are, in blocks.
    ``flat``: that the frame was divided by, if it was; ``dark``: that was subtracted of it and of the skies,
    if any was; ``skies``: how many exposures made the pattern. ``sky``: where all that is subtracted
    is written, if it is.
    """

    disk: Files
    frame: FrameRef
    pattern: Pattern
    levels: Mapping[int, float]
    factors: Mapping[int, float]
    offsets: Mapping[int, F32]
    ramps: Mapping[int, Ramp]
    objects: Mapping[int, Packed]
    target: Target
    skies: int
    flat: Path | None = None
    dark: Path | None = None
    sky: Target | None = None


def subtract(task: SubtractTask) -> Path:
    """Write a frame without its sky, and the sky where that is wanted."""
    target, sky = task.target, task.sky
    if sky is not None:
        task.disk.write_frame(sky.path, sky.header, _skies(task), tables=sky.tables, read_soon=False)
    return task.disk.write_frame(target.path, target.header, _without_sky(task), tables=target.tables)


def _without_sky(task: SubtractTask) -> Iterator[Chip]:
    for _, chip in _subtracted(task):
        fill_masked(chip.data, chip.mask)
        yield chip


def _skies(task: SubtractTask) -> Iterator[Chip]:
    """All that is taken off each array: the pattern, its level and the offsets of the readout."""
    for index, left in _subtracted(task):
        before, array = task.disk.read_chip(task.frame, index), int(left.header["EXTVER"])
        _, variance, mask = task.disk.read_planes(task.pattern[array], array)
        mask = mask | left.mask & np.uint16(dq.NO_DATA)
        data = before.data - left.data
        fill_masked(data, mask)
        yield Chip(data, variance * np.float32(task.factors[array] ** 2), mask, left.header)


def _subtracted(task: SubtractTask) -> Iterator[tuple[int, Chip]]:
    """Each array without its sky, by its place; pixels without data are not filled yet."""
    planes = _Planes()
    for index, header in enumerate(task.frame.chips):
        array = int(header["EXTVER"])
        place = Place.of(task.frame, index)
        made = planes.of(place.where.shape)
        for rows in parts_of(len(made[0])):
            chip = task.disk.read_chip(task.frame, index, rows)
            sky = task.disk.read_planes(task.pattern[array], array, rows)
            has_noise = chip.variance.any()  # else none is stated, that of flat and dark neither
            flat, dark = (
                read_response(task.disk, path, place, rows) if path and has_noise else NO_RESPONSE
                for path in (task.flat, task.dark)
            )
            _subtract(
                (chip.data, chip.variance, chip.mask),
                sky,
                np.float32(task.factors[array]),
                np.float32(task.levels[array]),
                task.offsets[array],
                flat.data,
                flat.variance,
                dark.variance,
                np.float32(1.0 / task.skies),
                (made[0][rows], made[1][rows], made[2][rows]),
            )
        header = header.copy()
        header["SKYLEVEL"] = round(task.levels[array], 3)
        header["CHANRMS"] = round(float(task.offsets[array].std()), 3)
        _level_rows(task, array, made, header)
        yield index, Chip(*made, header)


def _level_rows(task: SubtractTask, array: int, made: tuple[F32, F32, U16], header: Header) -> None:
    """Take, in place, an array's ramp and the offsets of its rows off, where it has any; note them."""
    if array in task.ramps:
        ramp = task.ramps[array]
        np.subtract(made[0], ramp.over(len(made[0]))[:, None], out=made[0])
        header["RAMP" if ramp.sure else "RAMPLEFT"] = round(ramp.depth, 2)
    rows = row_offsets(made[0], made[2], unpack_mask(task.objects[array]))
    header["ROWSFREE"] = len(made[0]) - rows.unknown
    if rows.offsets.any():
        np.subtract(made[0], rows.offsets[:, None], out=made[0])
        header["ROWRMS"] = round(float(rows.offsets.std()), 3)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _subtract(
    frame: tuple[F32, F32, U16],
    sky: tuple[F32, F32, U16],
    factor: np.float32,
    level: np.float32,
    offsets: F32,
    flat: F32,
    flat_variance: F32,
    dark_variance: F32,
    share: np.float32,
    made: tuple[F32, F32, U16],
) -> None:
    """Fill in data, variance and mask of a frame without ``factor`` times a pattern, level and offsets.

    The flat's noise in the sky is no noise: frame and pattern were divided by the same flat, so that it goes
    with the sky, and only that in the light which is left stays. Nor is the dark's, which was taken off both:
    of it 1 - ``factor`` stays. ``share``: 1 / skies in the pattern.
    """
    one, two = np.float32(1), np.float32(2)
    counted = one + factor * factor * share
    cancels = counted - (one - factor) * (one - factor)
    for y in range(frame[0].shape[0]):
        for x in range(frame[0].shape[1]):
            light = sky[0][y, x] * factor + level
            left = frame[0][y, x] - light - offsets[x]
            made[0][y, x] = left
            made[1][y, x] = frame[1][y, x] + sky[1][y, x] * (factor * factor)
            made[2][y, x] = frame[2][y, x] | sky[2][y, x]
            if flat.size:
                response = flat[y, x]
                known = response > np.float32(0)
                noise = flat_variance[y, x] / (response * response) if known else np.float32(0)
                made[1][y, x] -= noise * light * (two * left + light * (one + share))
            if dark_variance.size:
                response = flat[y, x] if flat.size and flat[y, x] > np.float32(0) else one
                made[1][y, x] -= dark_variance[y, x] / (response * response) * cancels
