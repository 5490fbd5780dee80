"""From raw counts to electrons with variance and mask: one pass over the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from reducer import dq
from reducer.frame import F32, F64, U16
from reducer.headers.gsaoi import ARRAYS, BORDER, SIDE, Region

_NOTHING = np.zeros((1, 1), np.float32)
_NO_MASK = np.zeros((1, 1), np.uint16)


@dataclass(frozen=True)
class Exposure:
    """How one array was read, and which corrections are wanted (the switches of the detector steps).

    ``coadds`` exposures were averaged into the stored image; ``read_noise`` is that of one, in electrons.
    """

    array: int
    coadds: int
    read_noise: float
    mask: bool = True
    linearize: bool = True
    electrons: bool = True
    variance: bool = True

    @staticmethod
    def of(array: int, coadds: int, mode: str, **switches: bool) -> Exposure:
        """An exposure in a read mode ('Bright Objects', 'Faint Objects', 'Very Faint Objects')."""
        return Exposure(array, coadds, ARRAYS[array - 1].read_noise[mode], **switches)


@dataclass(frozen=True)
class Response:
    """A flat's response (median 1), its variance and mask, over the region of the exposure."""

    data: F32
    variance: F32
    mask: U16

    def crop(self, rows: slice, columns: slice) -> Response:
        """The part that belongs to a smaller region."""
        return Response(
            np.ascontiguousarray(self.data[rows, columns]),
            np.ascontiguousarray(self.variance[rows, columns]),
            np.ascontiguousarray(self.mask[rows, columns]),
        )


NO_RESPONSE = Response(_NOTHING, _NOTHING, _NO_MASK)


def correct(
    raw: F32,
    exposure: Exposure,
    *,
    static: U16 | None = None,
    response: Response = NO_RESPONSE,
    offsets: F32 | None = None,
) -> tuple[F32, F32, U16, int]:
    """Linearise raw counts, turn them into electrons, subtract channel offsets, divide by the response.

    ``raw``: (ny, nx) ADU of the average coadd. ``static``: bits to start the mask with, (ny, nx).
    ``offsets``: electrons per column, (nx,). Returns electrons of the average coadd, their variance, the
    mask, and the number of pixels that are not numbers. The noise is that of the averaged coadds:
    variance = electrons/n + (read noise x slope of the correction)^2/n, and the flat's own.
    """
    array = ARRAYS[exposure.array - 1]
    a0, a1, a2 = array.linearity if exposure.linearize else (1.0, 0.0, 0.0)
    numbers = np.array(
        [
            array.gain,
            a0,
            a1,
            a2,
            exposure.read_noise**2,
            exposure.coadds,
            array.non_linear,
            array.saturation,
            1.0 if exposure.electrons else 1.0 / array.gain,
        ]
    )
    data, variance = np.empty(raw.shape, np.float32), np.zeros(raw.shape, np.float32)
    mask = np.zeros(raw.shape, np.uint16) if static is None else static.astype(np.uint16)
    lost = _correct(
        raw,
        np.zeros(raw.shape[1], np.float32) if offsets is None else offsets,
        response.data,
        response.variance,
        response.mask,
        numbers,
        exposure.mask,
        exposure.variance,
        data,
        variance,
        mask,
    )
    return data, variance, mask, int(lost)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _correct(
    raw: F32,
    offsets: F32,
    flat: F32,
    flat_variance: F32,
    flat_mask: U16,
    numbers: F64,
    with_mask: bool,
    with_variance: bool,
    data: F32,
    variance: F32,
    mask: U16,
) -> int:
    gain, a0, a1, a2, noise2, coadds, non_linear, saturation, factor = numbers
    divide = flat.shape[0] > 1
    lost = 0
    for y in range(raw.shape[0]):
        for x in range(raw.shape[1]):
            count = raw[y, x]
            if not np.isfinite(count):
                lost += 1
                mask[y, x] |= 16
                data[y, x] = 0.0
                continue
            read = count * gain
            linear = read * (a0 + read * (a1 + read * a2))
            slope = a0 + read * (2 * a1 + read * 3 * a2)
            value = (linear - offsets[x]) * factor
            noise = (max(linear, 0.0) + noise2 * slope * slope) / coadds * factor * factor
            if with_mask:
                if count >= saturation:
                    mask[y, x] |= 4
                elif count >= non_linear:
                    mask[y, x] |= 2
            if divide:
                sensitivity = flat[y, x]
                mask[y, x] |= flat_mask[y, x]
                if sensitivity > 0:
                    value /= sensitivity
                    noise = (noise + value * value * flat_variance[y, x]) / (sensitivity * sensitivity)
                else:
                    mask[y, x] |= 1
            data[y, x] = value
            if with_variance:
                variance[y, x] = noise
    return lost


def linear_electrons(counts: float, array: int) -> float:
    """The electrons that a level in ADU stands for, after linearity correction."""
    a0, a1, a2 = ARRAYS[array - 1].linearity
    read = counts * ARRAYS[array - 1].gain
    return read * (a0 + read * (a1 + read * a2))


def flag_border(mask: U16, region: Region) -> U16:
    """Flag, in place, the reference pixels on the edge of the full array that a region holds."""
    first_x, first_y = BORDER - region.x1, BORDER - region.y1
    last_x, last_y = SIDE - BORDER - region.x1, SIDE - BORDER - region.y1
    mask[: max(first_y, 0)] |= dq.UNILLUMINATED
    mask[max(last_y, 0) :] |= dq.UNILLUMINATED
    mask[:, : max(first_x, 0)] |= dq.UNILLUMINATED
    mask[:, max(last_x, 0) :] |= dq.UNILLUMINATED
    return mask
