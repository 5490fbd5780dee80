"""Interpolation kernels of six taps, and their weights in a table."""

from __future__ import annotations

from functools import cache

import numpy as np

from reducer.errors import BadParameter
from reducer.types import F32, F64

#: Taps of a kernel, columns of its table (the last two are zero, so that eight numbers fill a register), and
#: steps of a pixel at which weights are tabulated.
TAPS, LANES, STEPS = 6, 8, 2048


def _keys6(s: F64) -> F64:
    """Fourth-order cubic convolution (Keys 1981, IEEE Trans. ASSP 29, 1153, section VI)."""
    inner = 4 / 3 * s**3 - 7 / 3 * s**2 + 1
    middle = -7 / 12 * s**3 + 3 * s**2 - 59 / 12 * s + 15 / 6
    outer = s**3 / 12 - 2 / 3 * s**2 + 21 / 12 * s - 3 / 2
    return np.where(s < 1, inner, np.where(s < 2, middle, np.where(s < 3, outer, 0.0)))


def _keys4(s: F64) -> F64:
    """Third-order cubic convolution (Keys 1981, section IV)."""
    inner, outer = 1.5 * s**3 - 2.5 * s**2 + 1, -0.5 * s**3 + 2.5 * s**2 - 4 * s + 2
    return np.asarray(np.where(s < 1, inner, np.where(s < 2, outer, 0.0)), float)


def _lanczos3(s: F64) -> F64:
    return np.asarray(np.where(s < 3, np.sinc(s) * np.sinc(s / 3), 0.0), float)


def _linear(s: F64) -> F64:
    return np.maximum(1.0 - s, 0.0)


KERNELS = {"keys6": _keys6, "keys4": _keys4, "lanczos3": _lanczos3, "linear": _linear}


@cache
def kernel_table(name: str) -> F32:
    """Weights [0] of the pixels -2..3 about a point at fraction k / STEPS, rows sum to 1; a window [1] on the
    same pixels under which they are corrected where some are bad; and [2] the window's sum, first and second
    moment about the point and the sum of the weights' sizes: (3, STEPS + 1, LANES)."""
    if name not in KERNELS:
        raise BadParameter(f"no interpolation is called {name}", " or ".join(KERNELS))
    distance = np.arange(-2, 4)[None, :] - np.arange(STEPS + 1)[:, None] / STEPS
    weights = KERNELS[name](np.abs(distance))
    table, window = np.zeros((3, STEPS + 1, LANES), np.float32), 1.0 / (1.0 + distance**2) ** 2
    table[0, :, :TAPS] = weights / weights.sum(axis=1, keepdims=True)
    table[1, :, :TAPS] = window
    table[2, :, :3] = np.stack([(window * distance**power).sum(axis=1) for power in range(3)], axis=1)
    table[2, :, 3] = np.abs(table[0]).sum(axis=1)
    return table
