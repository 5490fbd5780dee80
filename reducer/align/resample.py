"""Values, variances and masks of one array at the pixels of a stack: the only interpolation there is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer import dq
from reducer.align.geometry import Inverse
from reducer.errors import BadParameter
from reducer.frame import F32, F64, U16, Chip

#: Taps of a kernel, and steps of a pixel at which its weights are tabulated.
TAPS, STEPS = 6, 2048
#: What carries no measurement at all; a saturated pixel has a value, kept for where there is none better.
USELESS = dq.UNUSABLE & ~dq.SATURATED
#: The share of a kernel's absolute weight that masked pixels may take.
MOST_LOST = 0.15


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
def kernel_table(name: str) -> F64:
    """Weights (STEPS + 1, TAPS) of the pixels -2..3 about a point at fraction k / STEPS; rows sum to 1."""
    if name not in KERNELS:
        raise BadParameter(f"no interpolation is called {name}", " or ".join(KERNELS))
    fraction = np.arange(STEPS + 1)[:, None] / STEPS
    weights = KERNELS[name](np.abs(np.arange(-2, 4)[None, :] - fraction))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), float)


@njit(cache=True, nogil=True)
def mark_near(mask, bits, below, above):  # type: ignore[no-untyped-def]
    """Where a pixel with one of ``bits`` is up to ``below`` before or ``above`` after, uint8 (ny, nx)."""
    height, width = mask.shape
    out = np.zeros((height, width), np.uint8)
    for j in range(height):
        for i in range(width):
            if mask[j, i] & bits:
                for jj in range(max(j - above, 0), min(j + below + 1, height)):
                    for ii in range(max(i - above, 0), min(i + below + 1, width)):
                        out[jj, ii] = 1
    return out


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, inline="always")
def _plain(data, variance, ix, iy, taps_x, taps_y):  # type: ignore[no-untyped-def]
    """Value and variance at a point all of whose taps are good."""
    near, near_variance = data[iy - 2 : iy + 4, ix - 2 : ix + 4], variance[iy - 2 : iy + 4, ix - 2 : ix + 4]
    value, spread = 0.0, 0.0
    for j in range(TAPS):
        line, line_variance = 0.0, 0.0
        for i in range(TAPS):
            line += taps_x[i] * near[j, i]
            line_variance += taps_x[i] * taps_x[i] * near_variance[j, i]
        value += taps_y[j] * line
        spread += taps_y[j] * taps_y[j] * line_variance
    return value, spread


@njit(cache=True, nogil=True)
def _is_good(mask, column, row):  # type: ignore[no-untyped-def]
    height, width = mask.shape
    return 0 <= column < width and 0 <= row < height and not mask[row, column] & USELESS


@njit(cache=True, nogil=True)
def _moments(window, distance):  # type: ignore[no-untyped-def]
    zeroth, first, second = 0.0, 0.0, 0.0
    for i in range(TAPS):
        zeroth += window[i]
        first += window[i] * distance[i]
        second += window[i] * distance[i] ** 2
    return zeroth, first, second


@njit(cache=True, nogil=True)
def _missing(mask, ix, iy, taps, windows, distances):  # type: ignore[no-untyped-def]
    """What the bad taps take away: level and slopes of the weights, the share of the weight, and the
    correction a + b dx + c dy, under a window on the good taps, that restores them."""
    x0, x1, x2 = _moments(windows[0], distances[0])
    y0, y1, y2 = _moments(windows[1], distances[1])
    n00, n10, n01, n20, n11, n02 = x0 * y0, x1 * y0, x0 * y1, x2 * y0, x1 * y1, x0 * y2
    r0, r1, r2, lost = 0.0, 0.0, 0.0, 0.0
    for j in range(TAPS):
        for i in range(TAPS):
            if _is_good(mask, ix + i - 2, iy + j - 2):
                continue
            w, g = taps[0][i] * taps[1][j], windows[0][i] * windows[1][j]
            dx, dy = distances[0][i], distances[1][j]
            lost += abs(w)
            r0, r1, r2 = r0 + w, r1 + w * dx, r2 + w * dy
            n00, n10, n01 = n00 - g, n10 - g * dx, n01 - g * dy
            n20, n11, n02 = n20 - g * dx * dx, n11 - g * dx * dy, n02 - g * dy * dy
    # The small diagonal serves points that have hardly any good taps; they are refused for what they lost.
    n00, n20, n02 = n00 + 1e-9, n20 + 1e-9, n02 + 1e-9
    c00, c01, c02 = n20 * n02 - n11 * n11, n11 * n01 - n10 * n02, n10 * n11 - n20 * n01
    c11, c12, c22 = n00 * n02 - n01 * n01, n10 * n01 - n00 * n11, n00 * n20 - n10 * n10
    det = n00 * c00 + n10 * c01 + n01 * c02
    a = (c00 * r0 + c01 * r1 + c02 * r2) / det
    b = (c01 * r0 + c11 * r1 + c12 * r2) / det
    c = (c02 * r0 + c12 * r1 + c22 * r2) / det
    return lost, a, b, c


@njit(cache=True, nogil=True)
def _patched(data, variance, mask, ix, iy, fx, fy, taps, work):  # type: ignore[no-untyped-def]
    """Whether a point with bad taps can be had, its value and variance.

    The weights of bad taps are dropped, and the least correction of the others restores the sum and the
    centroid: a level and a slope are reproduced exactly, so that neither a bright nor a dark halo
    surrounds a bad pixel.
    """
    total_x, total_y = 0.0, 0.0
    for i in range(TAPS):
        work[2, i], work[3, i] = i - 2 - fx, i - 2 - fy
        work[0, i] = 1.0 / (1.0 + work[2, i] ** 2) ** 2
        work[1, i] = 1.0 / (1.0 + work[3, i] ** 2) ** 2
        total_x, total_y = total_x + abs(taps[0][i]), total_y + abs(taps[1][i])
    lost, a, b, c = _missing(mask, ix, iy, taps, work[:2], work[2:])
    if lost > MOST_LOST * total_x * total_y:
        return False, 0.0, 0.0
    value, spread = 0.0, 0.0
    for j in range(TAPS):
        for i in range(TAPS):
            if _is_good(mask, ix + i - 2, iy + j - 2):
                window = work[0, i] * work[1, j]
                w = taps[0][i] * taps[1][j] + window * (a + b * work[2, i] + c * work[3, j])
                value += w * data[iy + j - 2, ix + i - 2]
                spread += w * w * variance[iy + j - 2, ix + i - 2]
    return True, value, spread


@njit(cache=True, nogil=True)
def _interpolate(  # type: ignore[no-untyped-def]
    data, variance, mask, near_bad, near_saturated, first_row, tables, u0, v0, half, kernel,
    left, low, out, out_variance, out_mask, out_array, array,
):  # fmt: skip
    height, width = data.shape
    degree = tables.shape[1]
    along_x, along_y, work = np.zeros(degree), np.zeros(degree), np.zeros((4, TAPS))
    # The chip's own outline lies within -1..1 of p and q.
    first, last = max(int(u0 - half) - left - 2, 0), min(int(u0 + half) - left + 3, out.shape[1])
    for row in range(out.shape[0]):
        q = (low + row - v0) / half
        for i in range(degree):
            along_x[i], along_y[i] = 0.0, 0.0
            for j in range(degree - 1 - i, -1, -1):
                along_x[i] = along_x[i] * q + tables[0, i, j]
                along_y[i] = along_y[i] * q + tables[1, i, j]
        for column in range(first, last):
            p = (left + column - u0) / half
            x, y = 0.0, 0.0
            for i in range(degree - 1, -1, -1):
                x, y = x * p + along_x[i], y * p + along_y[i]
            y -= first_row
            if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
                continue
            ix, iy = int(np.floor(x)), int(np.floor(y))
            fx, fy = x - ix, y - iy
            taps = (kernel[int(fx * STEPS + 0.5)], kernel[int(fy * STEPS + 0.5)])
            nearest = mask[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))]
            inside = 2 <= ix < width - 3 and 2 <= iy < height - 3
            if inside and not near_bad[iy, ix]:
                value, spread = _plain(data, variance, ix, iy, taps[0], taps[1])
            else:
                found, value, spread = _patched(data, variance, mask, ix, iy, fx, fy, taps, work)
                if nearest & USELESS or not found:
                    out_mask[row, column] = nearest | dq.NO_DATA
                    continue
            out[row, column], out_variance[row, column] = value, spread
            saturated = near_saturated[max(iy, 0), max(ix, 0)]
            out_mask[row, column] = nearest | (dq.SATURATED if saturated else 0)
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
    chip: Chip, array: int, first_row: int, inverse: Inverse, planes: Planes, kernel: str = "keys6"
) -> None:
    """Put the values of one array (1..4) into an exposure's ``planes``, surface brightness kept.

    ``chip`` may be a block of rows beginning at ``first_row``; ``inverse`` maps output pixels to the whole
    chip's. Pixels that the chip does not reach keep what they have; those that it reaches only with too
    many masked pixels get NO_DATA and the nearest pixel's bits. Saturation spreads as far as it matters.
    """
    near_bad = mark_near(chip.mask, USELESS, 2, 3)
    near_saturated = mark_near(chip.mask, dq.SATURATED, 1, 2)
    _interpolate(
        chip.data, chip.variance, chip.mask, near_bad, near_saturated, first_row, inverse.tables,
        inverse.u0, inverse.v0, inverse.half, kernel_table(kernel), *planes.corner,
        planes.data, planes.variance, planes.mask, planes.array, array,
    )  # fmt: skip


def rows_needed(
    inverse: Inverse, corner: tuple[int, int], shape: tuple[int, int], chip_shape: tuple[int, int]
) -> slice | None:
    """The rows of a chip that a rectangle of output pixels takes values from, None if it takes none."""
    rows = np.linspace(corner[1] - 0.5, corner[1] + shape[0] - 0.5, 9)
    columns = np.linspace(corner[0] - 0.5, corner[0] + shape[1] - 0.5, 65)
    u, v = np.meshgrid(columns, rows)
    x, y = inverse.evaluate(u, v)
    near = (x > -70) & (x < chip_shape[1] + 70) & (y > -70) & (y < chip_shape[0] + 70)
    if not near.any():
        return None
    first, last = int(y[near].min()) - 8, int(y[near].max()) + 9
    return slice(max(first, 0), min(last, chip_shape[0])) if last > 0 and first < chip_shape[0] else None
