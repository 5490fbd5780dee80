"""From raw counts to electrons with variance and mask: one pass over the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from reducer import dq
from reducer.instruments.base import Array, Levels
from reducer.keywords import Region
from reducer.types import F32, U16

_NOTHING = np.zeros((0, 0), np.float32)
_NO_MASK = np.zeros((0, 0), np.uint16)
#: ADU that no read-out reaches, of 16 bits a read; larger ones are damage, and their cube is no number.
_IMPOSSIBLE = np.float32(1e7)


@dataclass(frozen=True)
class ArrayReadout:
    """How one array was read, and which corrections are wanted (the switches of the detector steps).

    ``coadds`` exposures were averaged into the stored image, or added up, where the levels are those of sums.
    """

    levels: Levels
    coadds: int
    mask: bool = True
    linearize: bool = True
    electrons: bool = True
    variance: bool = True


@dataclass(frozen=True)
class Response:
    """A flat's response (median 1), or a dark's electrons, its variance and mask, over the region of the
    exposure."""

    data: F32
    variance: F32
    mask: U16


NO_RESPONSE = Response(_NOTHING, _NOTHING, _NO_MASK)


def correct(
    raw: F32,
    exposure: ArrayReadout,
    *,
    static: U16 | None = None,
    response: Response = NO_RESPONSE,
    dark: Response = NO_RESPONSE,
    offsets: F32 | None = None,
    scale: float = 1.0,
    into: tuple[F32, F32, U16] | None = None,
) -> tuple[F32, F32, U16, int]:
    """Linearise raw counts, turn them into electrons, subtract offsets and dark, divide by the response.

    ``raw``: (ny, nx) ADU of the average coadd. ``static``: bits to start the mask with, (ny, nx).
    ``offsets``: electrons per column, (nx,). ``scale``: a last factor on the electrons. ``into``: arrays for
    the results, in place of new ones. Returns electrons of the average coadd, their variance (zero where it
    is not wanted), the mask, and the number of pixels that are not numbers, or impossible ones. The noise is
    that of the averaged coadds: electrons/n + (read noise x slope of the correction)^2/n, and the dark's and
    the flat's own.
    """
    noise = np.empty(raw.shape, np.float32) if exposure.variance else _NOTHING
    data, variance, mask = into or (np.empty(raw.shape, np.float32), noise, np.empty(raw.shape, np.uint16))
    lost = _correct(
        raw,
        np.zeros(raw.shape[1], np.float32) if offsets is None else offsets,
        _NO_MASK if static is None else static,
        response.data,
        response.variance,
        response.mask,
        dark.data,
        dark.variance,
        dark.mask,
        _numbers(exposure, scale),
        exposure.variance,
        data,
        variance,
        mask,
    )
    if not variance.size:
        variance = np.broadcast_to(np.float32(0), raw.shape)
    return data, variance, mask, int(lost)


def _numbers(exposure: ArrayReadout, scale: float) -> F32:
    """What the kernel computes with, in single precision: good to a part in ten million."""
    levels = exposure.levels
    linearity = levels.linearity if exposure.linearize else (1.0, 0.0, 0.0)
    factor = (1.0 if exposure.electrons else 1.0 / levels.gain) * scale
    noise = levels.read_noise**2
    limits = (levels.non_linear, levels.saturation) if exposure.mask else (np.inf, np.inf)
    return np.array([levels.gain, *linearity, noise, 1.0 / exposure.coadds, factor, *limits], np.float32)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _correct(
    raw: F32,
    offsets: F32,
    static: U16,
    flat: F32,
    flat_variance: F32,
    flat_mask: U16,
    dark: F32,
    dark_variance: F32,
    dark_mask: U16,
    numbers: F32,
    with_variance: bool,
    data: F32,
    variance: F32,
    mask: U16,
) -> int:
    # Loops without branches along the rows: the processor then works on many pixels at once.
    zero, two, three = np.float32(0), np.float32(2), np.float32(3)
    gain, a0, a1, a2, noise2, share, factor, non_linear, saturation = numbers
    lost = 0
    for y in range(raw.shape[0]):
        for x in range(raw.shape[1]):
            count = raw[y, x]
            read = count * gain
            known = abs(count) < _IMPOSSIBLE
            lost += not known
            linear = read * (a0 + read * (a1 + read * a2))
            data[y, x] = (linear - offsets[x]) * factor if known else zero
            level = np.uint16(4) if count >= saturation else np.uint16(2 * (count >= non_linear))
            mask[y, x] = level if known else np.uint16(16)
        if with_variance:
            for x in range(raw.shape[1]):
                read = raw[y, x] * gain
                linear = read * (a0 + read * (a1 + read * a2))
                slope = a0 + read * (two * a1 + read * three * a2)
                noise = (max(linear, zero) + noise2 * slope * slope) * share * factor * factor
                variance[y, x] = noise if abs(raw[y, x]) < _IMPOSSIBLE else zero
        if static.size:
            for x in range(raw.shape[1]):
                mask[y, x] |= static[y, x]
        if dark.size:
            _subtract(data[y], mask[y], dark[y], dark_mask[y], factor)
            if with_variance:
                variance[y] += dark_variance[y] * (factor * factor)
        if flat.size:
            _divide(data[y], mask[y], flat[y], flat_mask[y])
            if with_variance:
                _divide_noise(data[y], variance[y], flat[y], flat_variance[y])
    return lost


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _subtract(data: F32, mask: U16, dark: F32, dark_mask: U16, factor: np.float32) -> None:
    for x in range(data.size):
        data[x] -= dark[x] * factor
        mask[x] |= dark_mask[x]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _divide(data: F32, mask: U16, flat: F32, flat_mask: U16) -> None:
    for x in range(data.size):
        sees = flat[x] > np.float32(0)
        data[x] /= flat[x] if sees else np.float32(1)
        mask[x] |= flat_mask[x] | (np.uint16(0) if sees else np.uint16(1))


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _divide_noise(data: F32, variance: F32, flat: F32, flat_variance: F32) -> None:
    for x in range(data.size):
        sees = flat[x] > np.float32(0)
        inverse = np.float32(1) / (flat[x] if sees else np.float32(1))
        own = data[x] * data[x] * flat_variance[x] if sees else np.float32(0)
        variance[x] = (variance[x] + own) * inverse * inverse


def flag_unlit(mask: U16, region: Region, array: Array) -> U16:
    """Flag, in place, what a region holds of the full array that sees no light: the reference pixels on its
    edge, and what lies beyond its circle.

    ``mask``: (ny, nx) of the region.
    """
    depth, (height, width) = array.reference_pixels, array.shape
    first_x, first_y = depth - region.x1, depth - region.y1
    last_x, last_y = width - depth - region.x1, height - depth - region.y1
    mask[: max(first_y, 0)] |= dq.UNILLUMINATED
    mask[max(last_y, 0) :] |= dq.UNILLUMINATED
    mask[:, : max(first_x, 0)] |= dq.UNILLUMINATED
    mask[:, max(last_x, 0) :] |= dq.UNILLUMINATED
    if array.circle is not None:
        x0, y0, radius = array.circle
        x, y = np.arange(region.x1, region.x2) - x0, np.arange(region.y1, region.y2) - y0
        mask[x**2 + y[:, None] ** 2 > radius**2] |= dq.UNILLUMINATED
    return mask
