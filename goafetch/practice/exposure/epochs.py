"""What the telescope's own headers look like from epoch to epoch: one table of habits, chosen by date."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache

import numpy as np
from numpy.typing import NDArray

from goafetch.practice.exposure.optics import POINTING_PIXEL, field_centre, pixel_to_static
from goafetch.practice.exposure.region import SIZE

F64 = NDArray[np.float64]
#: One array's WCS: 1-based CRPIX of the full array, and degrees per pixel CD1_1, CD1_2, CD2_1, CD2_2.
Linear = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Epoch:
    """The habits of the headers from a day on.

    ``origin``: the place in the static frame, arcsec, on which target plus offset falls. ``arrays``: the
    WCS of the four arrays as a real header has it, and ``angle`` its position angle; empty for the affine
    maps nearest to the static ones (``nearly_right``). ``offset_sign``: of RAOFFSET and DECOFFSE against P
    and Q turned by PA. ``window_of``: the card by whose origin CRPIX is reduced in windows. ``row_error``:
    central windows are read one row away from CCDSEC. ``clear``: FILT2POS at Clear. ``mjd_early``: seconds
    by which MJD-OBS is early, None where it is 0. ``gains``: the arrays carry GAIN and RDNOISE.
    ``frame_name``: FRMNAME. ``overhead``: seconds of ELAPSED above EXPTIME. ``dsp``: version of the
    controller's code. ``band``: the header knows SCIBAND. ``timing``: it knows NUMREQTW and PROP_MD.
    ``utility``: position and state of the utility wheel.
    """

    since: date
    origin: tuple[float, float] = (0.0, 0.0)
    arrays: tuple[Linear, ...] = ()
    angle: float = 0.0
    offset_sign: int = 1
    window_of: str = "CCDSEC"
    row_error: bool = True
    clear: int = 24
    mjd_early: float | None = 0.0
    gains: bool = True
    frame_name: str = "GSAOI_Frame{array}"
    overhead: float = 6.0
    dsp: str = "V1.11.0"
    band: bool = True
    timing: bool = True
    utility: tuple[int, str] = (31, "WARNING")


#: From real headers: S20130126S0134 and S20130201S0246; S20140113S0167 and S20140122S0227; the tutorial's
#: night, of which no header is public (the geometry that DRAGONS assumes, offsets of 2015 and later, nothing
#: in the arrays' headers that the published reduction does not name); S20181023S0087.
EPOCHS = {
    "2013": Epoch(
        date(2012, 1, 1),
        arrays=(
            (-123.298960, 2976.917034, 5.405125e-06, 4.959899e-08, 4.293440e-08, 5.478233e-06),
            (2116.114856, 2970.108314, 5.564901e-06, 5.154726e-08, 4.271827e-08, 5.477342e-06),
            (2083.312760, 780.085721, 5.558843e-06, -1.144183e-07, 5.984624e-08, 5.476170e-06),
            (-147.812496, 788.631379, 5.404427e-06, -1.068338e-07, 3.636641e-08, 5.472095e-06),
        ),
        offset_sign=-1,
        row_error=False,
        clear=69633,
        mjd_early=48.0,
        dsp="V1.8.0",
        band=False,
        timing=False,
        utility=(54720, "GOOD"),
    ),
    "2014": Epoch(
        date(2013, 5, 13),
        arrays=(
            (-664.995659, 2966.230251, -5.371923e-06, -4.184657e-08, -5.301094e-08, -5.472457e-06),
            (1589.562567, 2952.922207, -5.525371e-06, -4.532818e-08, -5.085892e-08, -5.477400e-06),
            (1557.585628, 760.862341, -5.520582e-06, 1.304518e-07, -6.628953e-08, -5.467122e-06),
            (-694.603231, 772.810697, -5.361513e-06, 1.143486e-07, -4.321703e-08, -5.463321e-06),
        ),
        angle=180.0,
        offset_sign=-1,
        mjd_early=34.0,
        timing=False,
    ),
    "2017": Epoch(
        date(2015, 1, 1),
        origin=field_centre(),
        clear=6933,
        mjd_early=None,
        gains=False,
        frame_name="{name}:{array}",
    ),
    "2018": Epoch(
        date(2018, 1, 1),
        arrays=(
            (-377.040560, 3297.001169, 5.374839e-06, 4.544657e-08, 5.033889e-08, 5.476001e-06),
            (1834.403472, 3293.584213, 5.535874e-06, 4.385443e-08, 4.866645e-08, 5.474785e-06),
            (1868.914147, 1101.850240, 5.520176e-06, -1.257256e-07, 6.685584e-08, 5.467347e-06),
            (-334.200104, 1104.369326, 5.380621e-06, -1.267850e-07, 4.038006e-08, 5.467986e-06),
        ),
        window_of="DETSEC",
        mjd_early=248.0,
        overhead=3.0,
    ),
}


def epoch_of(moment: date | datetime) -> Epoch:
    """The last epoch that had begun."""
    day = moment.date() if isinstance(moment, datetime) else moment
    return max((e for e in EPOCHS.values() if e.since <= day), key=lambda e: e.since)


@cache
def nearly_right(index: int) -> tuple[tuple[float, float], F64]:
    """The best affine map of an array (0..3) to the static frame: 1-based pixel at the field's centre, arcsec
    per pixel (2, 2); off by pixels and parts in a thousand but for array 4, which the pointing refers to."""
    start, matrix = affine(index)
    pixel = np.linalg.solve(matrix, np.array(field_centre()) - start)
    if index == 3:
        return POINTING_PIXEL, matrix
    rng = np.random.default_rng([20170505, index])
    pixel = pixel + rng.uniform(-3.0, 3.0, 2)
    return (float(pixel[0]), float(pixel[1])), matrix * (1.0 + 1e-3 * rng.uniform(-1.0, 1.0))


@cache
def affine(index: int) -> tuple[F64, F64]:
    """The affine map nearest to an array's static one: arcsec at pixel (0, 0), arcsec per pixel (2, 2)."""
    y, x = (a.ravel().astype(float) for a in np.mgrid[1 : SIZE + 1 : 64, 1 : SIZE + 1 : 64])
    design = np.stack([np.ones_like(x), x, y], axis=1)
    fit = np.linalg.lstsq(design, np.stack(pixel_to_static(index, x, y), axis=1), rcond=None)[0]
    return np.asarray(fit[0]), np.asarray(fit[1:].T)


@dataclass(frozen=True)
class HeaderWcs:
    """The WCS of the four arrays at position angle 0: 1-based pixels of the full arrays, arcsec per pixel,
    and the place in the static frame, arcsec, at which CRVAL stands."""

    pixels: tuple[tuple[float, float], ...]
    matrices: tuple[F64, ...]
    reference: tuple[float, float]


@cache
def header_wcs(since: date) -> HeaderWcs:
    """The WCS that the observatory holds in the epoch that begins on a day.

    A real header's matrices are turned so that the median of their angles is that of the static map's: the
    rotation by the matrices is true, and what the pixels say besides is the epoch's habit.
    """
    epoch = epoch_of(since)
    if not epoch.arrays:
        pixels, matrices = zip(*(nearly_right(index) for index in range(4)), strict=True)
        return HeaderWcs(pixels, matrices, field_centre())
    raw = [np.reshape(numbers[2:], (2, 2)) * 3600.0 for numbers in epoch.arrays]
    own = [_angle(m @ np.linalg.inv(affine(index)[1])) for index, m in enumerate(raw)]
    turn = _turn(-own[0] - float(np.median([(a - own[0] + math.pi) % math.tau - math.pi for a in own])))
    matrices = tuple(turn @ m for m in raw)
    pixels = tuple(numbers[:2] for numbers in epoch.arrays)
    middle = np.full(2, (SIZE + 1) / 2)
    places = [
        affine(index)[0] + affine(index)[1] @ middle + matrices[index] @ (np.array(pixels[index]) - middle)
        for index in range(4)
    ]
    x, y = np.mean(places, axis=0)
    return HeaderWcs(pixels, matrices, (float(x), float(y)))


def _angle(matrix: F64) -> float:
    return math.atan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1])


def _turn(angle: float) -> F64:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
