"""Arrays in blocks of 4x4 pixels: small enough to be looked at again and again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer import dq
from reducer.frame import Chip, Files, FrameRef
from reducer.region import region
from reducer.sky.objects import BLOCK, Bool
from reducer.types import F32, U16

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
    """Means of the usable pixels in blocks of 4x4, and their number; a rest at the edges is dropped."""
    shape = (data.shape[0] // BLOCK, data.shape[1] // BLOCK)
    means, counts = np.empty(shape, np.float32), np.empty(shape, np.uint16)
    _fill(data, _NOTHING, mask, dq.UNUSABLE, means, _NOTHING, counts)
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
        _fill(chip.data, own, chip.mask, dq.UNUSABLE, means[part], noise[part], counts[part])
    return Blocks(means, noise, counts)


def parts_of(height: int) -> Iterator[slice]:
    """The rows of an array, as many as are worked on at a time."""
    return (slice(first, min(first + ROWS, height)) for first in range(0, height, ROWS))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill(data: F32, variance: F32, mask: U16, unusable: int, means: F32, noise: F32, counts: U16) -> None:
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


def pack(mask: Bool) -> Packed:
    """A mask in few bytes, to go between processes and stay in memory for many frames."""
    return zlib.compress(np.packbits(mask, axis=1).tobytes(), 1), (mask.shape[0], mask.shape[1])


def unpack(packed: Packed) -> Bool:
    """The mask that was packed."""
    return unpack_rows(unpack_bits(packed), packed[1][1], slice(None))


def unpack_bits(packed: Packed) -> NDArray[np.uint8]:
    """The mask that was packed, eight blocks of a row in a byte."""
    content, (height, _) = packed
    return np.frombuffer(zlib.decompress(content), np.uint8).reshape(height, -1)


def unpack_rows(bits: NDArray[np.uint8], width: int, rows: slice) -> Bool:
    """Some rows of a mask of so many columns."""
    mask: Any = np.unpackbits(bits[rows], axis=1, count=width).view(bool)
    return np.asarray(mask, bool)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def hide(objects: Bool, mask: U16) -> None:
    """Add, in place, NO_DATA to the bits of the pixels of blocks that hold objects.

    Rows and columns beyond the last whole block are left as they are.
    """
    for y in range(min(mask.shape[0], 4 * objects.shape[0])):
        row = objects[y // 4]
        for x in range(min(mask.shape[1], 4 * objects.shape[1])):
            mask[y, x] |= np.uint16(dq.NO_DATA) if row[x // 4] else np.uint16(0)
