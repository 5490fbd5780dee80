"""Arrays in blocks of 4x4 pixels, which of them hold objects, and the light between these."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from reducer import dq
from reducer.frame import Chip, Files, FrameRef
from reducer.keywords import region
from reducer.types import F32, F64, U16

Bool = NDArray[np.bool_]

#: Pixels along a side of the blocks that masks are made of.
BLOCK = 4
#: Blocks along a side of the cells of a background map: 64 pixels.
CELL = 16
#: Standard deviations above the background at which a block, alone or averaged, belongs to an object.
THRESHOLD = 4.0
#: The same for light too faint to be an object, of one block and of 3x3, where sums must be free of it.
FAINT = (2.5, 2.0)
#: Sides, in blocks, of the averages in which faint and wide light is looked for.
SCALES = (1, 3, 9)
#: Growth of an object by this fraction of its radius, for the light below the threshold.
GROWTH = 0.6
#: Fraction of an array that masks must leave free.
FREE = 0.05


def scatter(values: NDArray[np.floating[Any]]) -> float:
    """Standard deviation from the quartiles (of a sample of the values where there are very many).

    ``values``: (...,) of any shape and unit.
    """
    if not values.size:
        return 0.0
    ordered = np.sort(values[:: max(values.size // 30_000, 1)])  # a third of the time of np.percentile
    places = np.array([0.25, 0.75]) * (ordered.size - 1)
    low, high = np.interp(places, np.arange(ordered.size), ordered)
    return float(0.7413 * (high - low))


def find_objects(means: F32, counts: U16, local: bool) -> Bool:
    """Which blocks hold light of objects.

    ``means``, ``counts``: of ``blocks.block_means``. ``local``: judge against the surroundings (where the
    array's own pattern is still in), else against a plane, so that wide objects are found as well.
    ``means``: (ny, nx) electrons; returns (ny, nx).
    """
    known = counts >= BLOCK
    if known.sum() < 100:
        return np.zeros(means.shape, bool)
    residual = means - (local_background(means, known) if local else plane(means, known))
    found = np.zeros(means.shape, bool)
    for size in SCALES:
        free = known & ~found
        average, weight = free_means(residual, free, size)
        noise = scatter(average[free & (weight > 0.5)])
        found |= known & (weight > 0.1) & (average > THRESHOLD * noise)
    return grow(found, known)


def free_means(image: F32, free: Bool, size: int) -> tuple[F32, F32]:
    """Means over squares of ``size`` (odd) blocks of what is free, and which part of each is.

    Beyond the edges the blocks there go on. ``image``: (ny, nx) electrons, ``free`` as well.
    """
    if size == 1:
        return image, free.astype(np.float32)
    means, weights = np.empty(image.shape, np.float32), np.empty(image.shape, np.float32)
    _free_means(image, free, size, means, weights)
    return means, weights


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _free_means(image: F32, free: Bool, size: int, means: F32, weights: F32) -> None:
    height, width = image.shape
    reach = size // 2
    light, number = np.zeros(width), np.zeros(width)
    for row in range(-reach, reach + 1):
        _add_row(image, free, min(max(row, 0), height - 1), 1.0, light, number)
    for y in range(height):
        # A sum over columns moves on by one row, and then a sum over rows by one column.
        if y > 0:
            _add_row(image, free, min(y + reach, height - 1), 1.0, light, number)
            _add_row(image, free, max(y - reach - 1, 0), -1.0, light, number)
        total, count = 0.0, 0.0
        for column in range(-reach, reach + 1):
            total += light[min(max(column, 0), width - 1)]
            count += number[min(max(column, 0), width - 1)]
        for x in range(width):
            if x > 0:
                enters, leaves = min(x + reach, width - 1), max(x - reach - 1, 0)
                total += light[enters] - light[leaves]
                count += number[enters] - number[leaves]
            weights[y, x] = count / (size * size)
            means[y, x] = total / max(count, 0.5)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_row(image: F32, free: Bool, row: int, sign: float, light: F64, number: F64) -> None:
    for x in range(light.size):
        light[x] += sign * image[row, x] if free[row, x] else 0.0
        number[x] += sign if free[row, x] else 0.0


def without_faint(means: F32, free: Bool) -> Bool:
    """The free blocks that no faint light seems to be in, judged against their surroundings.

    ``means``: (ny, nx) electrons, ``free`` as well.
    """
    if free.sum() < 100:
        return free
    residual = means - local_background(means, free)
    average, _ = free_means(residual, free, 3)
    noise = scatter(residual[free])
    single, around = FAINT
    dark: Bool = free & (np.abs(residual) <= single * noise) & (average <= around * noise / 3)
    return dark


def grow(found: Bool, known: Bool) -> Bool:
    """Grow each object by a fraction of its radius and one block; less if too little would stay free.

    Both (ny, nx) blocks.
    """
    labels, number = ndimage.label(found)
    if not number:
        return found
    radius = np.sqrt(np.bincount(labels[found]) / np.pi)
    for growth in (GROWTH, GROWTH / 2, 0.0):
        grown = within(labels, (1.0 + growth * radius).astype(np.float32))
        if (known & ~grown).sum() > FREE * known.sum():
            return grown
    return found


def within(labels: NDArray[np.int32], reach: F32) -> Bool:
    """Which blocks are within the reach of a label: no farther than that from a block that has it.

    ``labels``: (ny, nx) blocks; ``reach``: (labels + 1,), blocks.
    """
    near = np.zeros(labels.shape, bool)
    _within(labels, reach, near)
    return near


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _within(labels: NDArray[np.int32], reach: F32, near: Bool) -> None:
    height, width = labels.shape
    # How many stretches of a row begin at each block, less those that have ended before it.
    stretches = np.zeros((height, width + 1), np.int32)
    for y in range(height):
        x = 0
        while x < width:
            first, label = x, labels[y, x]
            while x < width and labels[y, x] == label:
                x += 1
            if label:
                radius = float(reach[label])
                for row in range(max(y - int(radius), 0), min(y + int(radius) + 1, height)):
                    half = int(np.sqrt(radius**2 - (row - y) ** 2))
                    stretches[row, max(first - half, 0)] += 1
                    stretches[row, min(x + half, width)] -= 1
    for y in range(height):
        begun = 0
        for x in range(width):
            begun += stretches[y, x]
            near[y, x] = begun > 0


def local_background(means: F32, known: Bool) -> F32:
    """The median around each block: of cells of 8 blocks, then of 5x5 cells.

    ``means``: (ny, nx) electrons, ``known`` as well.
    """
    return spread(median_around(cell_medians(means, known, 8)), means.shape, 8)


def median_around(cells: F32) -> F32:
    """The median of 5x5 cells around each; beyond the edges the cells there go on.

    ``cells``: (ny, nx) electrons.
    """
    around = sliding_window_view(np.pad(cells, 2, mode="edge"), (5, 5)).reshape(*cells.shape, 25)
    middle: F32 = np.partition(around, 12, axis=2)[:, :, 12]
    return middle


def cell_medians(means: F32, known: Bool, size: int = CELL) -> F32:
    """The median of the known blocks in cells of ``size`` blocks; where none are known, that of all.

    ``means``: (ny, nx) electrons, ``known`` as well; returns a value for each cell.
    """
    cells = cell_map(means, known, size)
    everywhere = np.nanmedian(cells) if np.isfinite(cells).any() else 0.0
    return np.where(np.isfinite(cells), cells, everywhere).astype(np.float32)


def cell_map(means: F32, known: Bool, size: int = CELL) -> F32:
    """Like ``cell_medians``, with NaN where less than a tenth of a cell is known.

    ``means``: (ny, nx) electrons, ``known`` as well; returns a value for each cell.
    """
    height, width = means.shape[0] // size, means.shape[1] // size
    values = np.where(known, means, np.nan)[: height * size, : width * size]
    cells = values.reshape(height, size, width, size).swapaxes(1, 2).reshape(height, width, size * size)
    ordered = np.sort(cells, axis=2)
    number = np.isfinite(cells).sum(axis=2)
    middle = np.take_along_axis(ordered, np.maximum(number // 2, 0)[:, :, None].clip(0, size * size - 1), 2)
    return np.where(number >= size * size / 10, middle[:, :, 0], np.nan).astype(np.float32)


def spread(cells: F32, shape: tuple[int, ...], size: int) -> F32:
    """Bilinear interpolation between the centres of cells of ``size`` blocks (or pixels) onto a shape.

    ``cells``: (rows, columns) of any unit.
    """
    rows = (np.arange(shape[0]) + 0.5) / size - 0.5
    columns = (np.arange(shape[1]) + 0.5) / size - 0.5
    return _between(_between(cells, rows).T, columns).T


def _between(values: F32, places: F64) -> F32:
    places = np.clip(places, 0, values.shape[0] - 1)
    low = np.minimum(places.astype(int), max(values.shape[0] - 2, 0))
    high = np.minimum(low + 1, values.shape[0] - 1)
    part = (places - low).astype(np.float32)[:, None]
    between: F32 = values[low] * (1 - part) + values[high] * part
    return between


def plane(means: F32, known: Bool) -> F32:
    """A plane through the lower envelope of the cells: fitted three times, without what stands above it.

    ``means``: (ny, nx) electrons, ``known`` as well.
    """
    cells = cell_map(means, known)
    y, x = np.mgrid[0 : cells.shape[0], 0 : cells.shape[1]]
    design = np.stack([np.ones(cells.size), x.ravel(), y.ravel()], axis=1)
    values = cells.ravel().astype(float)
    kept = np.isfinite(values)
    solution = np.array([np.median(values[kept]) if kept.any() else 0.0, 0.0, 0.0])
    for _ in range(5):
        residual = values - design @ solution
        noise = max(scatter(residual[kept]), 1e-6)
        kept = np.isfinite(values) & (np.abs(residual - np.median(residual[kept])) < 2.0 * noise)
        if kept.sum() < 10:
            break
        solution = np.linalg.lstsq(design[kept], values[kept], rcond=None)[0]
    rows = (np.arange(means.shape[0]) + 0.5) / CELL - 0.5
    columns = (np.arange(means.shape[1]) + 0.5) / CELL - 0.5
    flat: F32 = (solution[0] + solution[1] * columns[None, :] + solution[2] * rows[:, None]).astype(
        np.float32
    )
    return flat


# --- arrays in blocks ------------------------------------------------------------------------------

#: Rows of an array that are worked on at a time, a multiple of 4: they stay in the processor's cache, and
#: their memory is used again, which is quicker than to get new one.
ROWS = 256
_NOTHING = np.zeros((0, 0), np.float32)
#: A compressed mask, and its shape.
Packed = tuple[bytes, tuple[int, int]]


@dataclass(frozen=True)
class Blocks:
    """An array in blocks: means of their usable pixels, variance of the means, number of these pixels.

    Each (ny // 4, nx // 4), a rest at the edges being dropped; electrons. The variance may be empty.
    """

    means: F32
    variance: F32
    counts: U16

    def less(self, pattern: Blocks) -> Blocks:
        """What is left of an array without a pattern; unknown where the pattern is."""
        counts = np.minimum(self.counts, pattern.counts)
        return Blocks(self.means - pattern.means, self.variance, counts)

    def times(self, factor: float) -> Blocks:
        """What an exposure of ``factor`` times the time would show, with the noise of this one scaled."""
        if factor == 1.0:
            return self
        return Blocks(self.means * np.float32(factor), self.variance * np.float32(factor**2), self.counts)


def block_means(data: F32, mask: U16) -> tuple[F32, U16]:
    """Means of the usable pixels in blocks of 4x4, and their number; a rest at the edges is dropped.

    ``data``: (ny, nx) electrons; returns (ny / 4, nx / 4).
    """
    shape = (data.shape[0] // BLOCK, data.shape[1] // BLOCK)
    means, counts = np.empty(shape, np.float32), np.empty(shape, np.uint16)
    _fill_blocks(data, _NOTHING, mask, dq.UNUSABLE, means, _NOTHING, counts)
    return means, counts


def bin_array(disk: Files, frame: FrameRef, index: int, variance: bool = False) -> Blocks:
    """An array of a frame in blocks, read some rows at a time."""
    height, width = region(frame.chips[index]).shape
    shape = (height // BLOCK, width // BLOCK)
    means, counts = np.empty(shape, np.float32), np.empty(shape, np.uint16)
    noise = np.empty(shape, np.float32) if variance else _NOTHING
    for rows in parts_of(height):
        chip = disk.read_chip(frame, index, rows, variance)
        part = slice(rows.start // BLOCK, rows.stop // BLOCK)
        own = chip.variance if variance else _NOTHING
        _fill_blocks(chip.data, own, chip.mask, dq.UNUSABLE, means[part], noise[part], counts[part])
    return Blocks(means, noise, counts)


def parts_of(height: int) -> Iterator[slice]:
    """The rows of an array, as many as are worked on at a time."""
    return (slice(first, min(first + ROWS, height)) for first in range(0, height, ROWS))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_blocks(
    data: F32, variance: F32, mask: U16, unusable: int, means: F32, noise: F32, counts: U16
) -> None:
    # Sums along columns first, in loops without branches.
    bits, width = np.uint16(unusable), 4 * means.shape[1]
    light, own, number = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.uint16)
    for y in range(means.shape[0]):
        light[:], own[:], number[:] = 0, 0, 0
        for row in range(4 * y, 4 * y + 4):
            for x in range(width):
                usable = mask[row, x] & bits == 0
                light[x] += data[row, x] if usable else np.float32(0)
                number[x] += np.uint16(1) if usable else np.uint16(0)
            if variance.size:
                for x in range(width):
                    own[x] += variance[row, x] if mask[row, x] & bits == 0 else np.float32(0)
        for x in range(means.shape[1]):
            first, last = 4 * x, 4 * x + 4
            counts[y, x] = number[first:last].sum()
            count = np.float32(max(counts[y, x], 1))
            means[y, x] = light[first:last].sum() / count
            if variance.size:
                noise[y, x] = own[first:last].sum() / (count * count)


# --- on disk -----------------------------------------------------------------------------------------


def write_blocks(disk: Files, path: Path, frame: FrameRef, blocks: Mapping[int, Blocks]) -> Path:
    """Write a frame's arrays in blocks, by array number, as a scratch file."""
    headers = {int(header["EXTVER"]): header for header in frame.chips}
    chips = (Chip(each.means, each.variance, each.counts, headers[array]) for array, each in blocks.items())
    return disk.write_frame(path, frame.header, chips, lasting=False)


def read_blocks(disk: Files, path: Path, array: int, rows: slice | None = None) -> Blocks:
    """An array in blocks, or some rows of them, from a scratch file."""
    return Blocks(*disk.read_planes(path, array, rows))


# --- masks -------------------------------------------------------------------------------------------


def pack_mask(mask: Bool) -> Packed:
    """A mask in few bytes, to go between processes and stay in memory for many frames. ``mask``: (ny, nx)."""
    return zlib.compress(np.packbits(mask, axis=1).tobytes(), 1), (mask.shape[0], mask.shape[1])


def unpack_mask(packed: Packed) -> Bool:
    """The mask that was packed."""
    return unpack_rows(unpack_bits(packed), packed[1][1], slice(None))


def unpack_bits(packed: Packed) -> NDArray[np.uint8]:
    """The mask that was packed, eight blocks of a row in a byte."""
    content, (height, _) = packed
    return np.frombuffer(zlib.decompress(content), np.uint8).reshape(height, -1)


def unpack_rows(bits: NDArray[np.uint8], width: int, rows: slice) -> Bool:
    """Some rows of a mask of so many columns. ``bits``: (bytes,); returns (rows, width)."""
    mask: Any = np.unpackbits(bits[rows], axis=1, count=width).view(bool)
    return np.asarray(mask, bool)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def hide(objects: Bool, mask: U16) -> None:
    """Add, in place, NO_DATA to the bits of the pixels of blocks that hold objects.

    Rows and columns beyond the last whole block are left as they are.
    ``objects``: (ny / 4, nx / 4); ``mask``: (ny, nx).
    """
    for y in range(min(mask.shape[0], 4 * objects.shape[0])):
        row = objects[y // 4]
        for x in range(min(mask.shape[1], 4 * objects.shape[1])):
            mask[y, x] |= np.uint16(dq.NO_DATA) if row[x // 4] else np.uint16(0)
