"""Masks: what is known of an array's pixels before the exposure, and what is put where they show nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numba import njit

from reducer import dq
from reducer.detector import NO_RESPONSE, Response, flag_unlit
from reducer.errors import BadInput
from reducer.frame import Files, FrameRef
from reducer.instruments.base import Array
from reducer.keywords import Region, region
from reducer.types import F32, U16


@dataclass(frozen=True)
class Calibrations:
    """The calibrations of a task: the disk to read them from, and their paths, None where there is none.

    ``user_bpm``: a mask of the user's, whose bad pixels are bad too.
    """

    disk: Files
    bpm: Path | None = None
    flat: Path | None = None
    dark: Path | None = None
    user_bpm: Path | None = None


@dataclass(frozen=True)
class Place:
    """Which array was read, and where, as a frame's headers tell: asked of them once, not for all its rows.

    ``windows``: what guide windows leave out, (first row, last, first column, last).
    """

    array: Array
    where: Region
    windows: tuple[tuple[int, int, int, int], ...]

    @staticmethod
    def of(frame: FrameRef, index: int) -> Place:
        """The place of an array of a frame."""
        array, where = frame.array(index), region(frame.chips[index])
        windows = (
            (max(y1 - where.y1, 0), max(y2 - where.y1, 0), max(x1 - where.x1, 0), max(x2 - where.x1, 0))
            for x1, x2, y1, y2 in frame.instrument.guide_windows(frame.header, array.number)
        )
        return Place(array, where, tuple(windows))


def index_of(frame: FrameRef, array: int) -> int:
    """The place of an array (1..4) among a frame's chips; BadInput if the frame does not have it."""
    for index, chip in enumerate(frame.chips):
        if int(chip["EXTVER"]) == array:
            return index
    raise BadInput(f"{frame.path.name} has no array {array}", "all arrays of the frame it is used for")


def read_counts(disk: Files, frame: FrameRef, index: int, rows: slice | None = None) -> F32:
    """The raw counts of one array of a frame, or of some of its rows."""
    array = int(frame.chips[index]["EXTVER"])
    return disk.read_planes(frame.path, array, rows, variance=False, mask=False)[0]


def known_bits(calibrations: Calibrations, place: Place) -> U16:
    """The mask an array starts with, (ny, nx) of its region: bad, reference and guide pixels.

    It is kept for the next frame, and not the caller's to change.
    """
    masks = (path for path in (calibrations.bpm, calibrations.user_bpm) if path is not None)
    return _known_bits(calibrations.disk, tuple(map(_as_of, masks)), place)


#: A calibration file, and its time of change, so that what was read of it is not taken for a later one.
Dated = tuple[Path, int]


def _as_of(path: Path) -> Dated:
    return path, path.stat().st_mtime_ns


@lru_cache(maxsize=4)  # frame after frame needs those of the same four arrays
def _known_bits(disk: Files, masks: tuple[Dated, ...], place: Place) -> U16:
    mask = np.zeros(place.where.shape, np.uint16)
    for path, _ in masks:
        frame = disk.open_frame(path)
        index = index_of(frame, place.array.number)
        rows, columns = place.where.within(region(frame.chips[index]))
        # Any value but 0 is bad; what is not a number is not 0 either.
        mask |= (disk.read_chip(frame, index, rows).data[:, columns] != 0) * np.uint16(dq.BAD)
    flag_unlit(mask, place.where, place.array)
    for top, bottom, left, right in place.windows:
        mask[top:bottom, left:right] |= dq.BAD
    return mask


def read_response(
    disk: Files, path: Path, place: Place, rows: slice | None = None, variance: bool = True
) -> Response:
    """A flat or a dark, cropped to the region of an array or some of its rows; not the caller's to change.

    Without variance that of it is empty.
    """
    flat, array, where = _as_of(path), place.array.number, place.where
    first, last, _ = (rows or slice(None)).indices(where.shape[0])
    data, mask = _response(disk, flat, array, where)
    noise = _response_noise(disk, flat, array, where, first, last) if variance else NO_RESPONSE.variance
    return Response(data[first:last], noise, mask[first:last])


@lru_cache(maxsize=4)
def _response(disk: Files, flat: Dated, array: int, where: Region) -> tuple[F32, U16]:
    rows, columns = where.within(_region_of(disk, flat, array))
    data, _, mask = disk.read_planes(flat[0], array, rows, variance=False)
    return np.ascontiguousarray(data[:, columns]), np.ascontiguousarray(mask[:, columns])


@lru_cache(maxsize=2)  # is needed less often: only what several exposures are asked for in turn is kept
def _response_noise(disk: Files, flat: Dated, array: int, where: Region, first: int, last: int) -> F32:
    rows, columns = where.within(_region_of(disk, flat, array))
    wanted = slice(rows.start + first, rows.start + last)
    _, variance, _ = disk.read_planes(flat[0], array, wanted, mask=False, data=False)
    return np.ascontiguousarray(variance[:, columns])


@lru_cache(maxsize=4)
def _region_of(disk: Files, flat: Dated, array: int) -> Region:
    frame = disk.open_frame(flat[0])
    return region(frame.chips[index_of(frame, array)])


def forget() -> None:
    """Keep nothing of the calibrations: what is to be done now needs none."""
    _known_bits.cache_clear()
    _response.cache_clear()
    _response_noise.cache_clear()


# --- masked pixels of a product, so that no tool meets garbage there -------------------------------

#: Pixels with one of these show nothing of the sky; saturated ones and hits show what was there.
EMPTY = np.uint16(dq.BAD | dq.NO_DATA | dq.UNILLUMINATED)
#: Pixels on every side within which good ones are looked for, and how many are enough.
REACHES, FEWEST = (1, 2, 4, 8), 3
#: Of this many pixels along either axis one tells the level of the array.
STEP = 8


def fill_masked(data: F32, mask: U16) -> None:
    """Put, in place, the mean of the good pixels near by into each that shows nothing, (ny, nx); where there
    are none within the farthest reach, the median of the array's good pixels, 0 without any.

    The mask stays: they are no measurements.
    """
    sample = data[::STEP, ::STEP][(mask[::STEP, ::STEP] & dq.UNUSABLE) == 0]
    level = np.float32(np.median(sample)) if sample.size else np.float32(0)
    _fill(data, mask, level)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill(data: F32, mask: U16, level: np.float32) -> None:
    height, width = data.shape
    for y in range(height):
        for x in range(width):
            if mask[y, x] & EMPTY:
                data[y, x] = level
                for reach in REACHES:
                    total, count = 0.0, 0
                    for j in range(max(y - reach, 0), min(y + reach + 1, height)):
                        for i in range(max(x - reach, 0), min(x + reach + 1, width)):
                            if mask[j, i] & dq.UNUSABLE == 0:
                                total += data[j, i]
                                count += 1
                    if count >= FEWEST:
                        data[y, x] = total / count
                        break
