"""Where the sky is free: masks of objects grown to their halos, and maps of the light between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from reducer import dq
from reducer.frame import F32, F64, U16

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


def block_means(data: F32, mask: U16, unusable: int = dq.UNUSABLE) -> tuple[F32, F32]:
    """Means of the usable pixels in blocks of 4x4, and their number; a rest at the edges is dropped."""
    shape = (data.shape[0] // BLOCK, data.shape[1] // BLOCK)
    means, counts = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    _block_means(data, mask, unusable, means, counts)
    return means, counts


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _block_means(data: F32, mask: U16, unusable: int, means: F32, counts: F32) -> None:
    for y in range(means.shape[0] * 4):
        for x in range(means.shape[1] * 4):
            if not mask[y, x] & unusable:
                means[y // 4, x // 4] += data[y, x]
                counts[y // 4, x // 4] += 1
    for y in range(means.shape[0]):
        for x in range(means.shape[1]):
            if counts[y, x] > 0:
                means[y, x] /= counts[y, x]


def scatter(values: NDArray[np.floating[Any]]) -> float:
    """Standard deviation from the quartiles (of a sample of the values where there are very many)."""
    if not values.size:
        return 0.0
    low, high = np.percentile(values[:: max(values.size // 30_000, 1)], (25, 75))
    return float(0.7413 * (high - low))


def find_objects(means: F32, counts: F32, local: bool) -> Bool:
    """Which blocks hold light of objects.

    ``means``, ``counts``: of ``block_means``. ``local``: judge against the surroundings (where the array's
    own pattern is still in), else against a plane, so that wide objects are found as well.
    """
    known = counts >= BLOCK
    if known.sum() < 100:
        return np.zeros(means.shape, bool)
    background = local_background(means, known) if local else plane(means, known)
    residual = np.where(known, means - background, 0.0)
    found = np.zeros(means.shape, bool)
    for size in SCALES:
        free = known & ~found
        weight = ndimage.uniform_filter(free.astype(np.float32), size, mode="nearest")
        light = ndimage.uniform_filter(np.where(free, residual, 0.0), size, mode="nearest")
        average = light / np.maximum(weight, 1e-3)
        noise = scatter(average[free & (weight > 0.5)])
        found |= known & (weight > 0.1) & (average > THRESHOLD * noise)
    return grow(found, known)


def without_faint(means: F32, free: Bool) -> Bool:
    """The free blocks that no faint light seems to be in, judged against their surroundings."""
    if free.sum() < 100:
        return free
    residual = np.where(free, means - local_background(means, free), np.float32(0))
    weight = ndimage.uniform_filter(free.astype(np.float32), 3, mode="nearest")
    average = ndimage.uniform_filter(residual, 3, mode="nearest") / np.maximum(weight, 1e-3)
    noise = scatter(residual[free])
    single, around = FAINT
    dark: Bool = free & (np.abs(residual) < single * noise) & (average < around * noise / 3)
    return dark


def grow(found: Bool, known: Bool) -> Bool:
    """Grow each object by a fraction of its radius and one block; less if too little would stay free."""
    labels, number = ndimage.label(found)
    if not number:
        return found
    radius = np.sqrt(np.bincount(labels.ravel()) / np.pi)
    distance, nearest = ndimage.distance_transform_edt(~found, return_indices=True)
    reach = radius[labels[nearest[0], nearest[1]]]
    for growth in (GROWTH, GROWTH / 2, 0.0):
        grown: Bool = distance <= 1.0 + growth * reach
        if (known & ~grown).sum() > FREE * known.sum():
            return grown
    return found


def local_background(means: F32, known: Bool) -> F32:
    """The median around each block: of cells of 8 blocks, then of 5x5 cells."""
    return spread(
        ndimage.median_filter(cell_medians(means, known, 8), size=5, mode="nearest"), means.shape, 8
    )


def cell_medians(means: F32, known: Bool, size: int = CELL) -> F32:
    """The median of the known blocks in cells of ``size`` blocks; where none are known, that of all."""
    cells = cell_map(means, known, size)
    everywhere = np.nanmedian(cells) if np.isfinite(cells).any() else 0.0
    return np.where(np.isfinite(cells), cells, everywhere).astype(np.float32)


def cell_map(means: F32, known: Bool, size: int = CELL) -> F32:
    """Like ``cell_medians``, with NaN where less than a tenth of a cell is known."""
    height, width = means.shape[0] // size, means.shape[1] // size
    values = np.where(known, means, np.nan)[: height * size, : width * size]
    cells = values.reshape(height, size, width, size).swapaxes(1, 2).reshape(height, width, size * size)
    ordered = np.sort(cells, axis=2)
    number = np.isfinite(cells).sum(axis=2)
    middle = np.take_along_axis(ordered, np.maximum(number // 2, 0)[:, :, None].clip(0, size * size - 1), 2)
    return np.where(number >= size * size / 10, middle[:, :, 0], np.nan).astype(np.float32)


def spread(cells: F32, shape: tuple[int, ...], size: int) -> F32:
    """Bilinear interpolation between the centres of cells of ``size`` blocks (or pixels) onto a shape."""
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
    """A plane through the lower envelope of the cells: fitted three times, without what stands above it."""
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


def expand(blocks: Bool, shape: tuple[int, ...], first_row: int = 0) -> Bool:
    """Blocks as pixels: of an image of ``shape`` that begins at ``first_row`` of the array (a multiple of 4).

    Rows and columns beyond the last whole block are taken as free.
    """
    part = blocks[first_row // BLOCK : -(-(first_row + shape[0]) // BLOCK)]
    pixels = np.zeros(shape, bool)
    wide = np.repeat(np.repeat(part, BLOCK, axis=0), BLOCK, axis=1)[: shape[0], : shape[1]]
    pixels[: wide.shape[0], : wide.shape[1]] = wide
    return pixels
