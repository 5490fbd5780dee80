"""Offsets of single rows, and the ramp after a reset, as the free sky of an exposure shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from reducer import dq
from reducer.combine import median_of_seen
from reducer.sky.field import Band, smooth_light
from reducer.sky.objects import BLOCK, Bool, scatter
from reducer.sky.readout_offsets import CELL_ROWS, LEAST, Strips
from reducer.types import F32, F64, U16

#: Free pixels that each half of a row needs for its offset to be measured, and rows that an array needs.
FEWEST, FEWEST_ROWS = 48, 64
#: What rows have in common across both halves: the least part of their scatter, and standard deviations.
LEAST_SHARED, SURE = 0.5, 6.0
#: Rows over which light is smooth, tried in turn, and by how much what is left may exceed the scatter from
#: row to row: light that is not so smooth is followed, not taken for offsets.
REACHES, EXCESS = (256, 128, 64, 32), 1.15
#: Standard deviations of pixels beyond which they do not count, of a row's first mean and of its last.
WIDE, CLIP = 6.0, 3.0
#: Rows within which a ramp falls to 1/e, tried in turn; electrons and standard deviations of its depth, and
#: the most that it may leave of the squares of a profile.
SCALES, LEAST_DEPTH, DEPTH_SURE, LEFT = np.geomspace(40.0, 250.0, 20), 5.0, 8.0, 0.25
#: Electrons from which on what may be a ramp is named where it is not sure.
NAMED = 20.0
#: Exposures of a field among which one's ramp can be told from what they have in common.
FEWEST_EXPOSURES = 3


@dataclass(frozen=True)
class RowOffsets:
    """Offsets of an array's rows, electrons, (ny,), zero where there are none or they are not known; and
    how many rows have too few free pixels to tell."""

    offsets: F32
    unknown: int


def row_offsets(data: F32, mask: U16, objects: Bool) -> RowOffsets:
    """What each row of a sky-subtracted array lies above its neighbours.

    ``objects``: in blocks of 4x4 pixels. Zero unless the left and the right halves of rows go together, by
    more than half of the scatter of rows: so no photon noise is added, and no star's light is taken.
    ``data``, ``mask``: (ny, nx) electrons; ``objects``: (ny / 4, nx / 4).
    """
    nothing = np.zeros(data.shape[0], np.float32)
    part = np.s_[: BLOCK * objects.shape[0] : BLOCK, : BLOCK * objects.shape[1] : BLOCK]
    values = data[part][(mask[part] & dq.UNUSABLE == 0) & ~objects]
    if values.size < FEWEST:
        return RowOffsets(nothing, data.shape[0])
    sigma = scatter(values)
    centre = np.full(data.shape[0], np.median(values), np.float32)
    means, counts = _half_means(data, mask, objects, centre, np.float32(WIDE * sigma))
    known = counts.min(axis=0) >= FEWEST
    if _shared(means, counts, known) == 0.0:
        return RowOffsets(nothing, int((~known).sum()))
    centre[known] = np.average(means, axis=0, weights=np.maximum(counts, 1))[known]
    means, counts = _half_means(data, mask, objects, centre, np.float32(CLIP * sigma))
    shared = _shared(means, counts, known)
    rows = np.average(means, axis=0, weights=np.maximum(counts, 1))
    noise = scatter(np.diff(rows, 2)[_threes(known)]) / np.sqrt(6.0)
    weights = np.where(known, counts.sum(axis=0) / counts[:, known].sum(axis=0).mean(), 0.0)
    for reach in REACHES:
        band = Band(rows, weights, weights, 1.0, (reach / (2.0 * np.pi)) ** 4)
        away = np.where(known, rows - smooth_light(band, rows[:, None])[0][:, 0], 0.0)
        if scatter(away[known]) <= EXCESS * noise:
            return RowOffsets((shared * away).astype(np.float32), int((~known).sum()))
    return RowOffsets(nothing, data.shape[0])


def _shared(means: F64, counts: F64, known: Bool) -> float:
    """The part of the rows' scatter that both halves have in common; 0 where it is not sure.

    Of second differences: what is smooth along columns, as all light of the sky, has next to none.
    """
    threes = _threes(known)
    if threes.sum() < FEWEST_ROWS:
        return 0.0
    halves = np.diff(means, 2, axis=1)[:, threes]
    limit = 4.0 * np.array([[scatter(half)] for half in halves])
    halves = halves[:, (np.abs(halves) <= limit).all(axis=0)]
    whole = np.average(halves, axis=0, weights=counts.sum(axis=1))
    together = float(np.mean(halves[0] * halves[1]))
    sure = together / np.sqrt(np.prod(np.mean(halves**2, axis=1))) * np.sqrt(halves.shape[1] / 3.0)
    shared = min(together / float(np.mean(whole**2)), 1.0)
    return shared if shared > LEAST_SHARED and sure > SURE else 0.0


def _threes(known: Bool) -> Bool:
    return np.asarray(known[:-2] & known[1:-1] & known[2:], bool)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _half_means(data: F32, mask: U16, objects: Bool, centre: F32, limit: np.float32) -> tuple[F64, F64]:
    """Means of the free pixels of each row's halves within ``limit`` of its centre, and their number."""
    height, width = data.shape
    means, counts = np.zeros((2, height)), np.zeros((2, height))
    bits = np.uint16(dq.UNUSABLE)
    for y in range(min(height, 4 * objects.shape[0])):
        for x in range(min(width, 4 * objects.shape[1])):
            free = (mask[y, x] & bits == 0) & (not objects[y // 4, x // 4])
            if free and abs(data[y, x] - centre[y]) <= limit:
                half = 2 * x // width
                means[half, y] += data[y, x]
                counts[half, y] += 1.0
    return means / np.maximum(counts, 1.0), counts


# --- ramps -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ramp:
    """How far the first row lies below the rest, electrons, and in how many rows this falls to 1/e; whether
    it is ``sure`` that this is no light, so that it may be taken off."""

    depth: float
    scale: float
    sure: bool = True

    def over(self, rows: int) -> F32:
        """What the ramp surely adds to each row of an array, electrons, (rows,)."""
        depth = self.depth if self.sure else 0.0
        return (-depth * np.exp(-np.arange(rows) / self.scale)).astype(np.float32)


def find_ramps(exposures: Sequence[Mapping[int, Strips]]) -> list[dict[int, Ramp]]:
    """The ramps of exposures of one field, by array, told from what these have in common.

    Between two exposures alone none is sure.
    """
    found: list[dict[int, Ramp]] = [{} for _ in exposures]
    for array in sorted({array for exposure in exposures for array in exposure}):
        places = [place for place, exposure in enumerate(exposures) if array in exposure]
        if len(places) < 2:
            continue
        strips = [exposures[place][array] for place in places]
        cells = np.stack([np.where(each.weights > LEAST, each.values, np.nan) for each in strips])
        cells -= median_of_seen(cells.reshape(len(places), -1), axis=1)[:, None, None]
        away = cells - median_of_seen(cells, axis=0)
        for place, profile in zip(places, median_of_seen(away, axis=2), strict=True):
            ramp = _fit_ramp(profile)
            if ramp is not None and len(places) < FEWEST_EXPOSURES:
                ramp = replace(ramp, depth=2.0 * ramp.depth, sure=False)  # half of it is in what is common
            if ramp is not None and (ramp.sure or ramp.depth > NAMED):
                found[place][array] = ramp
    return found


def _fit_ramp(profile: F64) -> Ramp | None:
    """The ramp in the profile of an array's cells along its rows.

    None unless it and a gradient leave less than a parabola does, and not sure unless far less.
    """
    known, step = np.isfinite(profile), CELL_ROWS * BLOCK
    y = np.arange(profile.size)[known] / max(profile.size, 1)
    if known.sum() < 8 or not known[:2].any():
        return None
    smooth = np.stack([np.ones(y.size), y, y**2], axis=1)
    before = _squares(smooth, profile[known])[0]
    fits = []
    for scale in SCALES:
        shape = np.exp(-np.arange(profile.size * step) / scale).reshape(-1, step).mean(axis=1)[known]
        fits.append((*_squares(np.column_stack([shape, smooth[:, :2]]), profile[known]), scale))
    after, depth, error, scale = min(fits)
    deep = -depth > max(LEAST_DEPTH, DEPTH_SURE * error) and after < before
    return Ramp(-depth, float(scale), after < LEFT * before) if deep else None


def _squares(design: F64, values: F64) -> tuple[float, float, float]:
    """The squares that a fit leaves, and its first coefficient with its error."""
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    left = float(np.sum((values - design @ solution) ** 2))
    normal = np.linalg.inv(design.T @ design)
    error = np.sqrt(normal[0, 0] * left / max(values.size - design.shape[1], 1))
    return left, float(solution[0]), float(error)
