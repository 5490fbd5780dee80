"""Means over blocks of pixels, with pixels left out where nothing was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reducer.types import F32


def shrink(image: F32, most: int) -> tuple[F32, int]:
    """Average square blocks until no side exceeds ``most`` pixels; NaN only where a whole block is NaN.

    Returns the smaller image and the side of a block.
    """
    factor = max(1, -(-max(image.shape) // most))
    return (image, 1) if factor == 1 else (average(image, factor), factor)


def average(image: F32, side: int) -> F32:
    """Means of ``side`` x ``side`` pixels, NaN left out; what is left over at an edge is a block too."""
    lack = [(0, -length % side) for length in image.shape]
    padded = np.pad(image, lack, constant_values=np.nan) if any(more for _, more in lack) else image
    known = np.isfinite(padded)
    total, count = _sum(np.where(known, padded, np.float32(0)), side), _sum(known.view(np.uint8), side)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count, np.float32)


def _sum(plane: NDArray[Any], side: int) -> F32:
    """Sums of blocks: rows first, whose pixels lie side by side."""
    rows = plane[::side].astype(np.float32)
    for first in range(1, side):
        rows += plane[first::side]
    total = rows[:, ::side].copy()
    for first in range(1, side):
        total += rows[:, first::side]
    return total
