"""Values, variances and masks of one array at the pixels of a stack: the only interpolation there is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer import dq
from reducer.astrometry import INVERSE_DEGREE, Inverse
from reducer.errors import BadParameter
from reducer.frame import Chip
from reducer.types import F32, F64, U16

#: What carries no measurement at all; a saturated pixel has a value, kept for where there is none better.
USELESS = dq.UNUSABLE & ~dq.SATURATED
#: The share of a kernel's absolute weight that masked pixels may take.
MOST_LOST = 0.15
#: Pixels added before and after each row and column, so that no tap of a point on the chip lies outside.
BEFORE, AFTER = 3, 5
#: Marks of a point: a tap on a useless pixel, a saturated pixel as near as it matters.
TOUCHES_BAD, NEAR_SATURATED = 1, 2
#: Output pixels by which a chip's outline is extended to be safe.
REACH = 3
#: Powers of each coordinate in the inverse map.
TERMS = INVERSE_DEGREE + 1
#: Sums may be reordered, so that they are done eight at a time.
FAST = {"contract", "reassoc"}
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


@dataclass(frozen=True)
class Padded:
    """A block of a chip with a border of BEFORE and AFTER pixels: data and variance, 0 where useless.

    ``missing``: which of the TAPS pixels of a row from each one on are useless, a bit for each; ``marks`` of
    the points whose first taps, in column and row, are at each pixel (both uint8). ``mask`` has no border.
    """

    data: F32
    variance: F32
    missing: NDArray[np.uint8]
    marks: NDArray[np.uint8]
    mask: U16


def pad(chip: Chip) -> Padded:
    """A chip, or a block of its rows, made ready for interpolation."""
    height, width = chip.mask.shape
    shape = (height + BEFORE + AFTER, width + BEFORE + AFTER)
    planes = np.empty(shape, np.float32), np.empty(shape, np.float32)
    missing, marks = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    _pad(chip.data, chip.variance, chip.mask, *planes, missing, marks)
    return Padded(*planes, missing, marks, chip.mask)


@njit(cache=True, nogil=True)
def _pad(data, variance, mask, out, out_variance, missing, marks):  # type: ignore[no-untyped-def]
    """Copy into the border, and mark the points that useless or saturated pixels reach."""
    height, width = mask.shape
    rows, columns = marks.shape
    inside = slice(BEFORE, BEFORE + width)
    for j in range(rows):
        out[j], out_variance[j] = np.float32(0.0), np.float32(0.0)
        if BEFORE <= j < height + BEFORE:
            out[j, inside], out_variance[j, inside] = data[j - BEFORE], variance[j - BEFORE]
            _mark_row(mask[j - BEFORE], j, out, out_variance, missing, marks)
            for i in range(BEFORE):
                _miss(missing, marks, j, i)
            for i in range(width + BEFORE, columns):
                _miss(missing, marks, j, i)
        else:
            missing[j] = 2**TAPS - 1
            marks[max(j - TAPS + 1, 0) : j + 1] |= np.uint8(TOUCHES_BAD)


@njit(cache=True, nogil=True)
def _mark_row(mask, row, out, out_variance, missing, marks):  # type: ignore[no-untyped-def]
    """Put 0 in the place of the useless pixels of a row, and mark what they and saturated ones reach."""
    for i in range(len(mask)):
        if mask[i] & (USELESS | dq.SATURATED):
            column = i + BEFORE
            if mask[i] & USELESS:
                out[row, column], out_variance[row, column] = np.float32(0.0), np.float32(0.0)
                _miss(missing, marks, row, column)
            if mask[i] & dq.SATURATED:
                # It matters to the points that have it among the inner four taps along both axes.
                marks[max(row - 4, 0) : row, max(column - 4, 0) : column] |= np.uint8(NEAR_SATURATED)


@njit(cache=True, nogil=True)
def _miss(missing, marks, row, column):  # type: ignore[no-untyped-def]
    """Note a useless pixel with the points that have it among their taps."""
    for i in range(min(TAPS, column + 1)):
        missing[row, column - i] |= np.uint8(1 << i)
        for j in range(min(TAPS, row + 1)):
            marks[row - j, column - i] |= np.uint8(TOUCHES_BAD)


@njit(cache=True, nogil=True, inline="always")
def _plain(data, variance, kernel, left, low, tx, ty):  # type: ignore[no-untyped-def]
    """Value and variance at a point all of whose taps, from (left, low) on, are good."""
    value, spread = np.float32(0.0), np.float32(0.0)
    for i in range(LANES):
        column = left + np.uint64(i)
        line, line_variance = np.float32(0.0), np.float32(0.0)
        for j in range(TAPS):
            row = low + np.uint64(j)
            line += kernel[ty, np.uint64(j)] * data[row, column]
            line_variance += kernel[ty, np.uint64(j)] * kernel[ty, np.uint64(j)] * variance[row, column]
        value += kernel[tx, np.uint64(i)] * line
        spread += kernel[tx, np.uint64(i)] * kernel[tx, np.uint64(i)] * line_variance
    return value, spread


@njit(cache=True, nogil=True, inline="always")
def _moments(whole, t, shift):  # type: ignore[no-untyped-def]
    """The window's sum, first and second moment along an axis about a point ``shift`` beyond the table's."""
    zeroth, first, second = np.float64(whole[t, 0]), np.float64(whole[t, 1]), np.float64(whole[t, 2])
    return zeroth, first - shift * zeroth, second - 2.0 * shift * first + shift * shift * zeroth


@njit(cache=True, nogil=True, inline="always")
def _missing(missing, kernel, window, whole, left, low, tx, ty, fx, fy):  # type: ignore[no-untyped-def]
    """What the bad taps take away: the share of the weight, level and slopes of the weights; and the moments
    of the window on the good taps."""
    x0, x1, x2 = _moments(whole, tx, fx - np.float64(tx) / STEPS)
    y0, y1, y2 = _moments(whole, ty, fy - np.float64(ty) / STEPS)
    n00, n10, n01, n20, n11, n02 = x0 * y0, x1 * y0, x0 * y1, x2 * y0, x1 * y1, x0 * y2
    lost, r0, r1, r2 = 0.0, 0.0, 0.0, 0.0
    for j in range(TAPS):
        bits, i = np.uint32(missing[low + np.uint64(j), left]), np.uint64(0)
        while bits:
            if bits & np.uint32(1):
                dx, dy = np.float64(i) - 2.0 - fx, j - 2.0 - fy
                tap = np.float64(kernel[tx, i]) * kernel[ty, np.uint64(j)]
                wing = np.float64(window[tx, i]) * window[ty, np.uint64(j)]
                lost, r0, r1, r2 = lost + abs(tap), r0 + tap, r1 + tap * dx, r2 + tap * dy
                n00, n10, n01 = n00 - wing, n10 - wing * dx, n01 - wing * dy
                n20, n11, n02 = n20 - wing * dx * dx, n11 - wing * dx * dy, n02 - wing * dy * dy
            bits, i = bits >> np.uint32(1), i + np.uint64(1)
    return lost, r0, r1, r2, n00, n10, n01, n20, n11, n02


@njit(cache=True, nogil=True, inline="always")
def _solve(r0, r1, r2, n00, n10, n01, n20, n11, n02):  # type: ignore[no-untyped-def]
    """The correction a + b dx + c dy under the window that restores level and slopes."""
    # The small diagonal serves points that have hardly any good taps; they are refused for what they lost.
    n00, n20, n02 = n00 + 1e-9, n20 + 1e-9, n02 + 1e-9
    c00, c01, c02 = n20 * n02 - n11 * n11, n11 * n01 - n10 * n02, n10 * n11 - n20 * n01
    c11, c12, c22 = n00 * n02 - n01 * n01, n10 * n01 - n00 * n11, n00 * n20 - n10 * n10
    scale = 1.0 / (n00 * c00 + n10 * c01 + n01 * c02)
    a = (c00 * r0 + c01 * r1 + c02 * r2) * scale
    b = (c01 * r0 + c11 * r1 + c12 * r2) * scale
    c = (c02 * r0 + c12 * r1 + c22 * r2) * scale
    return np.float32(a), np.float32(b), np.float32(c)


@njit(cache=True, nogil=True, inline="always")
def _corrected(  # type: ignore[no-untyped-def]
    data, variance, kernel, window, left, low, tx, ty, fx, fy, a, b, c
):  # fmt: skip
    """Value and variance with the weights of the good taps corrected; bad ones hold 0."""
    value, spread = np.float32(0.0), np.float32(0.0)
    for i in range(LANES):
        column = left + np.uint64(i)
        tap, wing = kernel[tx, np.uint64(i)], window[tx, np.uint64(i)]
        level = wing * (a + b * (np.float32(i - 2) - fx))
        for j in range(TAPS):
            row = low + np.uint64(j)
            change = window[ty, np.uint64(j)] * (level + wing * c * (np.float32(j - 2) - fy))
            weight = tap * kernel[ty, np.uint64(j)] + change
            value += weight * data[row, column]
            spread += weight * weight * variance[row, column]
    return value, spread


@njit(cache=True, nogil=True, inline="always")
def _patched(  # type: ignore[no-untyped-def]
    data, variance, missing, kernel, window, whole, left, low, tx, ty, fx, fy
):  # fmt: skip
    """Whether a point with bad taps can be had, its value and variance.

    The weights of bad taps are dropped, and the least correction of the others restores the sum and the
    centroid: a level and a slope are reproduced exactly, so that neither a bright nor a dark halo
    surrounds a bad pixel.
    """
    lost, r0, r1, r2, n00, n10, n01, n20, n11, n02 = _missing(
        missing, kernel, window, whole, left, low, tx, ty, np.float64(fx), np.float64(fy)
    )
    if lost > MOST_LOST * whole[tx, 3] * whole[ty, 3]:
        return False, np.float32(0.0), np.float32(0.0)
    a, b, c = _solve(r0, r1, r2, n00, n10, n01, n20, n11, n02)
    value, spread = _corrected(data, variance, kernel, window, left, low, tx, ty, fx, fy, a, b, c)
    return True, value, spread


@njit(cache=True, nogil=True, inline="always")
def _place(tables, q, start, step, x, y):  # type: ignore[no-untyped-def]
    """Pixels of a chip at a row of output pixels: polynomials of p by Horner's scheme."""
    along_x, along_y = np.zeros(TERMS), np.zeros(TERMS)
    for i in range(TERMS):
        for j in range(TERMS - 1 - i, -1, -1):
            along_x[i] = along_x[i] * q + tables[0, i, j]
            along_y[i] = along_y[i] * q + tables[1, i, j]
    for k in range(len(x)):
        p, at_x, at_y = start + step * k, 0.0, 0.0
        for i in range(TERMS):
            at_x, at_y = at_x * p + along_x[TERMS - 1 - i], at_y * p + along_y[TERMS - 1 - i]
        x[k], y[k] = at_x, at_y


@njit(cache=True, nogil=True, fastmath=FAST)
def _interpolate(  # type: ignore[no-untyped-def]
    data, variance, missing, marks, mask, first_row, tables, u0, v0, half, taps, plane, factor,
    left, low, out, out_variance, out_mask, out_array, array,
):  # fmt: skip
    height, width = mask.shape
    kernel, window, whole = taps[0], taps[1], taps[2]
    # The chip's own outline lies within -1..1 of p and q.
    first, last = max(int(u0 - half) - left - REACH, 0), min(int(u0 + half) - left + REACH + 1, out.shape[1])
    xs, ys = np.empty(max(last - first, 0)), np.empty(max(last - first, 0))
    top, bottom = first_row - 0.5, first_row + height - 0.5
    for row in range(out.shape[0]):
        q = (low + row - v0) / half
        if abs(q) > 1.0 + REACH / half:
            continue
        _place(tables, q, (left + first - u0) / half, 1.0 / half, xs, ys)
        for column in range(first, last):
            x, y = xs[column - first], ys[column - first]
            if not (-0.5 <= x < width - 0.5 and top <= y < bottom):
                continue
            ix, iy = int(x + 1.0) - 1, int(y + 1.0) - 1
            fx, fy = x - ix, y - iy
            iy -= first_row
            tx, ty = np.uint64(fx * STEPS + 0.5), np.uint64(fy * STEPS + 0.5)
            nearest = mask[np.uint64(iy + (fy >= 0.5)), np.uint64(ix + (fx >= 0.5))]
            at_x, at_y = np.uint64(ix - 2 + BEFORE), np.uint64(iy - 2 + BEFORE)
            mark = marks[at_y, at_x]
            if mark & TOUCHES_BAD:
                found, value, spread = _patched(
                    data, variance, missing, kernel, window, whole, at_x, at_y, tx, ty,
                    np.float32(fx), np.float32(fy),
                )  # fmt: skip
                if nearest & USELESS or not found:
                    out_mask[row, column] = nearest | dq.NO_DATA
                    continue
            else:
                value, spread = _plain(data, variance, kernel, at_x, at_y, tx, ty)
            level = plane[0] + plane[1] * x + plane[2] * y
            out[row, column], out_variance[row, column] = (value - level) * factor, spread * (factor * factor)
            out_mask[row, column] = nearest | (dq.SATURATED if mark & NEAR_SATURATED else 0)
            out_array[row, column] = array


@dataclass(frozen=True)
class Planes:
    """One exposure at the pixels of a stack: data, variance (float32), mask (uint16), and which array gave
    each pixel (uint8, 1..4; 0: none), all (ny, nx); ``corner``: column and row of the pixel [0, 0]."""

    corner: tuple[int, int]
    data: F32
    variance: F32
    mask: U16
    array: NDArray[np.uint8]

    @classmethod
    def empty(cls, corner: tuple[int, int], shape: tuple[int, int]) -> Planes:
        """Planes without any data."""
        mask = np.full(shape, dq.NO_DATA, np.uint16)
        return cls(
            corner, np.zeros(shape, np.float32), np.zeros(shape, np.float32), mask, np.zeros(shape, np.uint8)
        )


def resample_chip(
    chip: Chip,
    array: int,
    first_row: int,
    inverse: Inverse,
    planes: Planes,
    kernel: str = "keys6",
    plane: tuple[float, float, float] = (0.0, 0.0, 0.0),
    factor: float = 1.0,
) -> None:
    """Put the values of one array (1..4) into an exposure's ``planes``, surface brightness kept.

    ``chip`` may be a block of rows beginning at ``first_row``; ``inverse`` maps output pixels to the whole
    chip's. ``plane``: electrons at the chip's pixel (0, 0) and per column and row, taken off; ``factor``
    multiplies what is left. Pixels that the chip does not reach keep what they have; those that it reaches
    only with too many masked pixels get NO_DATA and the nearest pixel's bits. Saturation spreads as far as it
    matters.
    """
    padded = pad(chip)
    _interpolate(
        padded.data, padded.variance, padded.missing, padded.marks, padded.mask, first_row, inverse.tables,
        inverse.u0, inverse.v0, inverse.half, kernel_table(kernel), plane, float(factor), *planes.corner,
        planes.data, planes.variance, planes.mask, planes.array, array,
    )  # fmt: skip


def rows_needed(
    inverse: Inverse, corner: tuple[int, int], shape: tuple[int, int], chip_shape: tuple[int, int]
) -> slice | None:
    """The rows of a chip that whole rows of output pixels take values from, None if they take none."""
    low = max(corner[1] - 0.5, inverse.v0 - inverse.half - REACH)
    high = min(corner[1] + shape[0] - 0.5, inverse.v0 + inverse.half + REACH)
    if low >= high:
        return None
    columns = inverse.u0 + inverse.half * np.linspace(-1.0, 1.0, 33)
    x, y = inverse.evaluate(np.tile(columns, 2), np.repeat([low, high], 33))
    y = y[(x > -70) & (x < chip_shape[1] + 70)]
    if not len(y):
        return None
    first, last = max(int(y.min()) - 4, 0), min(int(y.max()) + 6, chip_shape[0])
    return slice(first, last) if first < last else None
