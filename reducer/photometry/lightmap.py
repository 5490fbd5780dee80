"""The light of one exposure on a coarse lattice of the sky: what transparencies are compared by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from reducer import dq
from reducer.align.resample import USELESS
from reducer.astrometry import Geometry, Grid, common_grid
from reducer.frame import Files, FrameRef
from reducer.sources import IS_SATURATED, NOT_CENTRED, TOO_SHARP, about_hits
from reducer.types import F32, F64, Table

#: Arcsec between the nodes of the lattice, and pixels between the points at which its map is evaluated.
SPACING, STEP = 0.3, 16
#: Within so many pixels of a source a masked pixel is taken for the one opposite its centre; beyond, for the
#: mean of the good ones within ASIDE.
MIRRORED, ASIDE = 12.0, 2
#: The least part of a node that pixels have to cover, and good ones of it; arcsec that do not count about
#: saturated stars, whose cores are lost, and what moves.
COVERED, GOOD, LOST = 0.98, 0.6, 2.0


@dataclass(frozen=True)
class LightMap:
    """``light``: electrons of each node of a lattice, (ny, nx); ``array``: its number, 0 where not all is
    seen."""

    light: F32
    array: NDArray[np.uint8]


def sky_lattice(geometries: list[Geometry]) -> Grid:
    """The lattice over all of the exposures' fields."""
    return common_grid(geometries, SPACING)


def map_light(task: tuple[Files, FrameRef, Grid, F64]) -> LightMap:
    """The light of an aligned frame, each square of four pixels shared out among the four nodes around it.

    A flat makes surface brightness of light, so a pixel counts by its area on the sky. No light is lost but
    at the edges: bad pixels get what a star shows on the other side of its centre. Nothing is seen about the
    places of what moves, (n, 2) arcsec on the common plane.
    """
    files, frame, points, moving = task
    geometry = frame.placed
    shape = (points.height, points.width)
    light, array = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    lost = np.zeros(shape, bool)
    for index, table in enumerate(frame.sources):
        chip = files.read_chip(frame, index, variance=False)
        data, bad = fill_bad(chip.data, (chip.mask & USELESS) != 0, table)
        sums = np.zeros((3, *shape))
        share_out(data, bad, *_coarse_map(geometry, index, points), STEP, sums)
        full = (points.scale / geometry.pixel) ** 2
        holes = (sums[1] > COVERED * full) & (sums[2] < GOOD * sums[1])
        seen = (sums[1] > COVERED * full) & ~ndimage.binary_dilation(holes)
        light += sums[0]
        array[seen] = geometry.regions[index].array
        lost |= _near_saturated(geometry, index, table, chip.mask, points)
    lost |= _near(points, *points.to_pixel(*moving.T))
    array[lost] = 0
    return LightMap(light, array)


def _coarse_map(geometry: Geometry, chip: int, points: Grid) -> tuple[F64, F64, F64]:
    """Column and row on the lattice, and area in the frame's unit, at every STEP-th pixel of a chip."""
    region = geometry.regions[chip]
    axes = [np.arange(0.0, length + STEP, STEP) for length in (region.width, region.height)]
    x, y = np.meshgrid(*axes)
    column, row = points.to_pixel(*geometry.evaluate(x.ravel(), y.ravel(), chip))
    area = geometry.area(x.ravel(), y.ravel(), chip) / geometry.pixel**2
    return column.reshape(x.shape), row.reshape(x.shape), area.reshape(x.shape)


def _near_saturated(
    geometry: Geometry, chip: int, sources: Table, mask: NDArray[np.uint16], points: Grid
) -> NDArray[np.bool_]:
    touched = sources[(sources["flags"] & IS_SATURATED) != 0]
    rows = np.clip(touched["y"].astype(int)[:, None] + np.arange(-3, 4), 0, mask.shape[0] - 1)
    columns = np.clip(touched["x"].astype(int)[:, None] + np.arange(-3, 4), 0, mask.shape[1] - 1)
    full = (mask[rows[:, :, None], columns[:, None, :]] & dq.SATURATED) != 0
    stars = touched[full.any(axis=(1, 2))]
    return _near(points, *points.to_pixel(*geometry.evaluate(stars["x"], stars["y"], chip)))


def _near(points: Grid, columns: F64, rows: F64) -> NDArray[np.bool_]:
    """The nodes within LOST of some places (n,) on the lattice."""
    near = np.zeros((points.height, points.width), bool)
    reach = LOST / points.scale
    for column, row in zip(columns, rows, strict=True):
        y, x = np.ogrid[: points.height, : points.width]
        near |= np.hypot(x - column, y - row) < reach
    return near


def fill_bad(data: F32, bad: NDArray[np.bool_], sources: Table) -> tuple[F32, NDArray[np.bool_]]:
    """Data (ny, nx) with its bad pixels filled, and what is bad, hits taken for sources included."""
    for part in about_hits(sources):
        bad[part] = True
    stars = sources[(sources["flags"] & (TOO_SHARP | NOT_CENTRED)) == 0][::-1]
    return _fill(data, bad, np.ascontiguousarray(stars["x"]), np.ascontiguousarray(stars["y"])), bad


@njit(cache=True, nogil=True)
def _fill(data, bad, x, y):  # type: ignore[no-untyped-def]
    """Bad pixels as the mean of good ones near them, and near stars (n,), the brightest last, by symmetry."""
    height, width = data.shape
    out = data.copy()
    for j in range(height):
        for i in range(width):
            if bad[j, i]:
                rows, columns = (max(j - ASIDE, 0), j + ASIDE + 1), (max(i - ASIDE, 0), i + ASIDE + 1)
                good = ~bad[rows[0] : rows[1], columns[0] : columns[1]]
                total = (data[rows[0] : rows[1], columns[0] : columns[1]] * good).sum()
                out[j, i] = total / max(good.sum(), 1)
    for n in range(len(x)):
        for j in range(max(int(y[n] - MIRRORED), 0), min(int(y[n] + MIRRORED) + 2, height)):
            for i in range(max(int(x[n] - MIRRORED), 0), min(int(x[n] + MIRRORED) + 2, width)):
                if bad[j, i]:
                    _take_mirrored(data, bad, x[n], y[n], i, j, out)
    return out


@njit(cache=True, nogil=True)
def _take_mirrored(data, bad, x, y, i, j, out):  # type: ignore[no-untyped-def]
    """Put in the place of a pixel the one opposite a star's centre, or at a right angle, interpolated."""
    dx, dy = i - x, j - y
    for across, up in ((-dx, -dy), (-dy, dx), (dy, -dx)):
        left, low = int(np.floor(x + across)), int(np.floor(y + up))
        if left < 0 or low < 0 or left + 1 >= data.shape[1] or low + 1 >= data.shape[0]:
            continue
        if bad[low : low + 2, left : left + 2].any():
            continue
        u, v = x + across - left, y + up - low
        lower = (1.0 - u) * data[low, left] + u * data[low, left + 1]
        out[j, i] = (1.0 - v) * lower + v * ((1.0 - u) * data[low + 1, left] + u * data[low + 1, left + 1])
        return


@njit(cache=True, nogil=True)
def share_out(data, bad, column, row, area, step, sums):  # type: ignore[no-untyped-def]
    """Add light, area and good area of all squares of 2 x 2 pixels to ``sums`` (3, ny, nx), in shares that
    fall linearly with the distance from a node along either axis; ``column``, ``row`` and ``area`` of a pixel
    at every ``step``-th one."""
    for j in range(0, data.shape[0] - 1, 2):
        q, t = j // step, (j % step + 0.5) / step
        for i in range(0, data.shape[1] - 1, 2):
            p, s = i // step, (i % step + 0.5) / step
            a, b, c, d = (1 - s) * (1 - t), s * (1 - t), (1 - s) * t, s * t
            x = a * column[q, p] + b * column[q, p + 1] + c * column[q + 1, p] + d * column[q + 1, p + 1]
            y = a * row[q, p] + b * row[q, p + 1] + c * row[q + 1, p] + d * row[q + 1, p + 1]
            size = a * area[q, p] + b * area[q, p + 1] + c * area[q + 1, p] + d * area[q + 1, p + 1]
            k, m = int(np.floor(x)), int(np.floor(y))
            if k < 0 or m < 0 or k + 1 >= sums.shape[2] or m + 1 >= sums.shape[1]:
                continue
            light = size * (data[j, i] + data[j, i + 1] + data[j + 1, i] + data[j + 1, i + 1])
            good = 4.0 - bad[j, i] - bad[j, i + 1] - bad[j + 1, i] - bad[j + 1, i + 1]
            u, v = x - k, y - m
            for e in range(2):
                for f in range(2):
                    share = (u if e else 1.0 - u) * (v if f else 1.0 - v)
                    sums[0, m + f, k + e] += share * light
                    sums[1, m + f, k + e] += share * size * 4.0
                    sums[2, m + f, k + e] += share * size * good
