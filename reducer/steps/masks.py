"""What is known of an array's pixels before the exposure: the static mask, the border, the guide windows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from reducer import dq
from reducer.detector import NO_RESPONSE, Response, flag_border
from reducer.errors import BadInput
from reducer.frame import Files, FrameRef
from reducer.region import Region, region
from reducer.types import F32, U16, Header


@dataclass(frozen=True)
class Calibrations:
    """The calibrations of a task: the disk to read them from, and their paths, None where there is none."""

    disk: Files
    bpm: Path | None = None
    flat: Path | None = None


@dataclass(frozen=True)
class Place:
    """Which array was read, and where, as a frame's headers tell: asked of them once, not for all its rows.

    ``windows``: what guide windows leave out, (first row, last, first column, last).
    """

    array: int
    where: Region
    windows: tuple[tuple[int, int, int, int], ...]

    @staticmethod
    def of(frame: FrameRef, index: int) -> Place:
        """The place of an array of a frame."""
        chip = frame.chips[index]
        array, where = int(chip["EXTVER"]), region(chip)
        windows = (
            (rows.start, rows.stop, columns.start, columns.stop)
            for rows, columns in guide_windows(frame.header, array, where)
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
    """The mask an array starts with, (ny, nx) of its region: static bad pixels, border, guide windows.

    It is kept for the next frame, and not the caller's to change.
    """
    return _known_bits(calibrations.disk, _as_of(calibrations.bpm), place)


#: A calibration file, and its time of change, so that what was read of it is not taken for a later one.
Dated = tuple[Path, int] | None


def _as_of(path: Path | None) -> Dated:
    return None if path is None else (path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)  # frame after frame needs those of the same four arrays
def _known_bits(disk: Files, bpm: Dated, place: Place) -> U16:
    mask = np.zeros(place.where.shape, np.uint16)
    if bpm is not None:
        mask |= _static_bits(disk, bpm[0], place.array, place.where)
    flag_border(mask, place.where)
    for top, bottom, left, right in place.windows:
        mask[top:bottom, left:right] |= dq.BAD
    return mask


def _static_bits(disk: Files, path: Path, array: int, where: Region) -> U16:
    """A static bad-pixel mask (any value but 0 is bad), cropped to a region."""
    frame = disk.open_frame(path)
    index = index_of(frame, array)
    rows, columns = where.within(region(frame.chips[index]))
    chip = disk.read_chip(frame, index, rows)
    # What is not a number is not 0 either.
    bits: U16 = (chip.data[:, columns] != 0) * np.uint16(dq.BAD)
    return bits


def read_response(
    disk: Files, path: Path, place: Place, rows: slice | None = None, variance: bool = True
) -> Response:
    """A flat, cropped to the region of an array or some of its rows; not the caller's to change.

    Without variance that of the response is empty.
    """
    flat, array, where = _as_of(path), place.array, place.where
    first, last, _ = (rows or slice(None)).indices(where.shape[0])
    data, mask = _response(disk, flat, array, where)
    noise = _response_noise(disk, flat, array, where, first, last) if variance else NO_RESPONSE.variance
    return Response(data[first:last], noise, mask[first:last])


@lru_cache(maxsize=4)
def _response(disk: Files, flat: Dated, array: int, where: Region) -> tuple[F32, U16]:
    assert flat is not None
    rows, columns = where.within(_region_of(disk, flat, array))
    data, _, mask = disk.read_planes(flat[0], array, rows, variance=False)
    return np.ascontiguousarray(data[:, columns]), np.ascontiguousarray(mask[:, columns])


@lru_cache(maxsize=1)  # is needed less often: only what several exposures are asked for in turn is kept
def _response_noise(disk: Files, flat: Dated, array: int, where: Region, first: int, last: int) -> F32:
    assert flat is not None
    rows, columns = where.within(_region_of(disk, flat, array))
    wanted = slice(rows.start + first, rows.start + last)
    _, variance, _ = disk.read_planes(flat[0], array, wanted, mask=False, data=False)
    return np.ascontiguousarray(variance[:, columns])


@lru_cache(maxsize=4)
def _region_of(disk: Files, flat: Dated, array: int) -> Region:
    assert flat is not None
    frame = disk.open_frame(flat[0])
    return region(frame.chips[index_of(frame, array)])


def forget() -> None:
    """Keep nothing of the calibrations: what is to be done now needs none."""
    _known_bits.cache_clear()
    _response.cache_clear()
    _response_noise.cache_clear()


#: The corner of each array that is farthest from the middle of the field, where idle guide windows stand.
FAR_CORNERS = {1: (2048, 1), 2: (1, 1), 3: (1, 2048), 4: (2048, 2048)}
#: Pixels by which the headers leave open where a guide window lies.
UNSURE = 1


def guide_windows(primary: Header, array: int, where: Region) -> list[tuple[slice, slice]]:
    """The hole that an on-detector guide window leaves in an array, as slices of its region.

    GWFSnCFG is 'ODGWm' for a window on array m, GWFSnX and GWFSnY its central pixel (so the cards say), and
    GWFSnSIZ its side. The side is even, and nothing says on which side of the centre the odd pixel lies, nor
    whether pixels count from 0: all that this can mean is left out, one pixel more on each side. The windows
    of the other arrays are read as well, parked in the far corner (Gemini IRAF package, gaprepare).
    """
    windows = {}
    for guider in range(1, 5):
        name = str(primary.get(f"GWFS{guider}CFG", "")).strip().upper()
        numbers = [primary.get(f"GWFS{guider}{key}") for key in ("X", "Y", "SIZ")]
        if name.startswith("ODGW") and all(isinstance(number, int | float) for number in numbers):
            windows[name[4:]] = [int(number or 0) for number in numbers]
    if not windows:
        return []
    side = next(iter(windows.values()))[2]
    x, y, side = windows.get(str(array), [*FAR_CORNERS[array], side])
    rows, columns = (
        slice(max(low - UNSURE, 0), max(low + side + UNSURE, 0))
        for low in (y - side // 2 - where.y1, x - side // 2 - where.x1)
    )
    return [(rows, columns)]
