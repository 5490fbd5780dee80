"""The image of a star as a stack's own stars show it: an oversampled table that varies over the field."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from reducer import dq
from reducer.errors import BadInput
from reducer.photometry.catalogue import ring_levels
from reducer.sources import RADII, centre_sources, light_about, sum_apertures
from reducer.types import F32, F64, U16, Table

#: Nodes of a table to a pixel, how far it reaches (pixels), and the nodes from its middle to its edge.
OVER, REACH = 2, 32
MIDDLE = OVER * (REACH + 2)
#: How far the round wing beyond goes, and the width of its rings, pixels.
WING_END, WING_STEP = 128, 4
#: Nodes beyond these radii (pixels) change slowly: they are smoothed by so many of themselves.
SMOOTH_FROM = ((9.0, 3.0), (18.0, 8.0))
#: Signal to noise, the part of its light that others may have within APART pixels, and the part of its core
#: that may be bad, of a star that tells the image; how many are taken, and of each square of the field.
STRONG, MOST_LIGHT, APART, CORE = 60.0, 0.05, 12.0, 6.0
SQUARES, PER_SQUARE = 10, 5
#: The fewest stars that tell an image, and how many there are to be for each term of a polynomial.
FEWEST, PER_TERM = 5, 4
#: Rounds of robust fits of the nodes, and the deviation (of the median one) beyond which a star counts less.
ROUNDS, TOLERANCE = 5, 2.5


@dataclass(frozen=True)
class Psf:
    """A star's image: ``tables`` (terms, n, n) at OVER nodes a pixel, one for each term of a polynomial of
    the ``order`` over the field, whose pixels ``centre`` and ``half`` scale to -1..1; ``wing``: light per
    pixel of the rings of WING_STEP beyond REACH; ``fwhm`` in pixels; ``stars``: how many tell it."""

    tables: F64
    order: int
    centre: tuple[float, float]
    half: float
    wing: F64
    fwhm: float
    stars: int

    @cached_property
    def powers(self) -> NDArray[np.int64]:
        """Exponents (terms, 2) of the scaled x and y of each term."""
        return powers_of(self.order)

    @cached_property
    def frame(self) -> F64:
        """Middle of the field and its half width, pixels."""
        return np.array([*self.centre, self.half])

    def at(self, x: float, y: float, reach: int = REACH) -> F64:
        """The image (2 reach + 1, same) of a star of light 1 in the middle of pixel (x, y)."""
        stamp = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
        middle = np.array([float(reach)])
        frame = self.frame - np.array([x - reach, y - reach, 0.0])
        add_stars(stamp, middle, middle, np.ones(1), np.full(1, reach), self.tables, self.powers, frame,
                  self.wing)  # fmt: skip
        return stamp.astype(float)


def powers_of(order: int) -> NDArray[np.int64]:
    """Exponents (terms, 2) of a polynomial of two variables."""
    return np.array([(i, j) for i in range(order + 1) for j in range(order + 1 - i)])


# --- drawing stars ---------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def local_table(tables, powers, frame, x, y, nodes, out):  # type: ignore[no-untyped-def]
    """The table at pixel (x, y), into ``out``: as many ``nodes`` from its middle as are needed."""
    u, v = (x - frame[0]) / frame[2], (y - frame[1]) / frame[2]
    first, last = MIDDLE - nodes, MIDDLE + nodes + 1
    for t in range(len(powers)):
        share = u ** powers[t, 0] * v ** powers[t, 1]
        for j in range(first, last):
            for i in range(first, last):
                out[j, i] = share * tables[t, j, i] + (out[j, i] if t else 0.0)


@njit(cache=True, nogil=True)
def _taps(t, value, slope):  # type: ignore[no-untyped-def]
    """Weights of the four nodes about a place, by the cubic of Keys (1981), and of the slope there."""
    value[0] = t * (-0.5 + t * (1.0 - 0.5 * t))
    value[1] = 1.0 + t * t * (-2.5 + 1.5 * t)
    value[2] = t * (0.5 + t * (2.0 - 1.5 * t))
    value[3] = t * t * (-0.5 + 0.5 * t)
    slope[0] = -0.5 + t * (2.0 - 1.5 * t)
    slope[1] = t * (-5.0 + 4.5 * t)
    slope[2] = 0.5 + t * (4.0 - 4.5 * t)
    slope[3] = t * (-1.0 + 1.5 * t)


@njit(cache=True, nogil=True)
def draw(table, x, y, reach, image, along, across):  # type: ignore[no-untyped-def]
    """The star at (x, y) on the pixels within ``reach`` of the nearest one, (2 reach + 1, same), and its
    change per pixel that it is moved along x and y, into the last three."""
    wx, wy, sx, sy = np.empty(4), np.empty(4), np.empty(4), np.empty(4)
    column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    left, low = OVER * (column - x), OVER * (row - y)
    _taps(left - np.floor(left), wx, sx)
    _taps(low - np.floor(low), wy, sy)
    c0 = MIDDLE + int(np.floor(left)) - OVER * reach - 1
    r0 = MIDDLE + int(np.floor(low)) - OVER * reach - 1
    count = 2 * reach + 1
    for j in range(count):
        for i in range(count):
            c, value, dx, dy = c0 + OVER * i, 0.0, 0.0, 0.0
            for b in range(4):
                line = table[r0 + OVER * j + b]
                inner = wx[0] * line[c] + wx[1] * line[c + 1] + wx[2] * line[c + 2] + wx[3] * line[c + 3]
                tilt = sx[0] * line[c] + sx[1] * line[c + 1] + sx[2] * line[c + 2] + sx[3] * line[c + 3]
                value += wy[b] * inner
                dx += wy[b] * tilt
                dy += sy[b] * inner
            image[j, i], along[j, i], across[j, i] = value, -OVER * dx, -OVER * dy


@njit(cache=True, nogil=True)
def add_star(model, x, y, light, reach, table, wing):  # type: ignore[no-untyped-def]
    """Add a star's ``light``, electrons, to an image (ny, nx) out to ``reach`` pixels, by a table."""
    height, width = model.shape
    wx, wy, slope = np.empty(4), np.empty(4), np.empty(4)
    column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    left, low = OVER * (column - x), OVER * (row - y)
    _taps(left - np.floor(left), wx, slope)
    _taps(low - np.floor(low), wy, slope)
    c0, r0 = MIDDLE + int(np.floor(left)) - 1, MIDDLE + int(np.floor(low)) - 1
    for j in range(max(row - reach, 0), min(row + reach + 1, height)):
        for i in range(max(column - reach, 0), min(column + reach + 1, width)):
            square = (i - x) ** 2 + (j - y) ** 2
            if square > reach * reach:
                continue
            value = 0.0
            if square <= REACH * REACH:
                c = c0 + OVER * (i - column)
                for b in range(4):
                    line = table[r0 + OVER * (j - row) + b]
                    value += wy[b] * (
                        wx[0] * line[c] + wx[1] * line[c + 1] + wx[2] * line[c + 2] + wx[3] * line[c + 3]
                    )
            else:
                ring = (np.sqrt(square) - REACH) / WING_STEP
                k = int(ring)
                if k + 1 < len(wing):
                    value = wing[k] + (ring - k) * (wing[k + 1] - wing[k])
            model[j, i] += np.float32(light * value)


@njit(cache=True, nogil=True)
def nodes_for(reach):  # type: ignore[no-untyped-def]
    """How many nodes from the middle of a table (nodes, nodes) are needed out to ``reach`` pixels."""
    return min(OVER * (min(reach, REACH) + 1) + 2, MIDDLE)


@njit(cache=True, nogil=True)
def add_stars(model, x, y, light, reach, tables, powers, frame, wing):  # type: ignore[no-untyped-def]
    """Add stars (n,) to an image (ny, nx), electrons, each out to its ``reach``, pixels."""
    table = np.zeros(tables.shape[1:])
    for n in range(len(x)):
        local_table(tables, powers, frame, x[n], y[n], nodes_for(reach[n]), table)
        add_star(model, x[n], y[n], light[n], reach[n], table, wing)


# --- which stars tell the image --------------------------------------------------------------------


def choose_stars(sources: Table, mask: U16) -> Table:
    """The strong stars of an image (ny, nx) that stand alone on good pixels, spread over it.

    ``sources``: their 0-based places ``x`` and ``y``, the ``flux`` in the first of RADII with its ``error``,
    and ``clean``: no flag is against them. BadInput where there are fewer than FEWEST.
    """
    strong = sources["clean"] & (sources["flux"] > STRONG * sources["error"])
    places = np.stack([sources["x"], sources["y"]], axis=1)
    light = np.maximum(sources["flux"], 0.0)
    alone = np.zeros(len(sources), bool)
    own = light[strong]
    alone[strong] = light_about(places[strong], places, light, APART) < (1.0 + MOST_LIGHT) * own
    whole = alone.copy()
    whole[alone] = [_is_whole(mask, *place) for place in places[alone]]
    chosen = _spread(sources[whole], mask.shape)
    if len(chosen) < FEWEST:
        raise BadInput(
            f"{len(chosen)} stars can tell the PSF: of {len(sources)} sources {strong.sum()} are unsaturated "
            f"and above {STRONG:.0f} sigma, {alone.sum()} of these without a neighbour within {APART:.0f} "
            f"pixels, {whole.sum()} of these on good pixels",
            f"at least {FEWEST} isolated stars above {STRONG:.0f} sigma",
            "use a deeper stack or one with more stars; OBJCAT has aperture magnitudes of all sources",
        )
    return chosen


def _is_whole(mask: U16, x: float, y: float) -> bool:
    """Whether all pixels of a star's core are on the image and good."""
    row, column, reach = round(y), round(x), int(CORE)
    height, width = mask.shape
    if not (reach <= row < height - reach and reach <= column < width - reach):
        return False
    part = mask[row - reach : row + reach + 1, column - reach : column + reach + 1]
    return not (part & dq.UNUSABLE).any()


def _spread(stars: Table, shape: tuple[int, int]) -> Table:
    """The strongest few of each square of the field."""
    side = max(shape) / SQUARES
    square = (stars["y"] // side) * SQUARES + stars["x"] // side
    order = np.argsort(-stars["flux"], kind="stable")
    kept: list[int] = []
    for name in np.unique(square):
        kept += list(order[square[order] == name][:PER_SQUARE])
    chosen: Table = stars[np.array(sorted(kept), int)]
    return chosen


def order_for(stars: int) -> int:
    """The order of the polynomial over the field that so many stars can tell."""
    return next(p for p in (3, 2, 1, 0) if p == 0 or stars >= PER_TERM * (p + 1) * (p + 2) // 2)


# --- making the tables -----------------------------------------------------------------------------


def first_psf(image: F32, bad: NDArray[np.bool_], stars: Table, fwhm: float) -> Psf:
    """The robust mean of stars (``x``, ``y``, ``flux``, electrons) of an image (ny, nx) without sky."""
    height, width = image.shape
    side = 2 * MIDDLE + 1
    empty = Psf(np.zeros((1, side, side)), 0, (width / 2.0, height / 2.0), max(height, width) / 2.0,
                np.zeros(1), fwhm, len(stars))  # fmt: skip
    return improve(empty, image, bad, stars, 0)


def improve(psf: Psf, residual: F32, bad: NDArray[np.bool_], stars: Table, order: int) -> Psf:
    """The PSF with what stars leave in a ``residual`` (ny, nx), each divided by its light, put into it.

    ``stars``: ``x``, ``y``, ``flux`` and its ``error``; each node is fitted over the field by a polynomial of
    the ``order``, robustly against what is beside a star.
    """
    left = np.full((len(stars), 2 * MIDDLE + 1, 2 * MIDDLE + 1), np.nan, np.float32)
    _lay_on_nodes(residual, bad, stars["x"], stars["y"], stars["flux"], left)
    # The ring at the table's edge tells each star's own sky: a nebula is not to be its halo.
    with warnings.catch_warnings(action="ignore"):  # of stars at the edge, which see nothing there
        level = np.nanmedian(left[:, _edge_ring()], axis=1)
    left -= np.where(np.isfinite(level), level, 0.0)[:, None, None].astype(np.float32)
    powers = powers_of(order)
    u, v = (stars["x"] - psf.centre[0]) / psf.half, (stars["y"] - psf.centre[1]) / psf.half
    design = u[:, None] ** powers[:, 0] * v[:, None] ** powers[:, 1]
    # The noise of the light of all counts alike beyond a per cent, which no star's image is known to.
    weight = 1.0 / ((stars["error"] / stars["flux"]) ** 2 + 0.01**2)
    change = np.zeros((len(powers), *left.shape[1:]))
    _fit_nodes(left, design, weight, change)
    tables = np.zeros_like(change)
    tables += _reorder(psf, powers)
    return replace(psf, tables=tables + _calm(change), order=order, stars=len(stars))


def _reorder(psf: Psf, powers: NDArray[np.int64]) -> F64:
    """The tables under the terms of a polynomial of a higher order."""
    tables = np.zeros((len(powers), *psf.tables.shape[1:]))
    for table, power in zip(psf.tables, psf.powers, strict=True):
        tables[np.flatnonzero((powers == power).all(axis=1))[0]] = table
    return tables


def _calm(change: F64) -> F64:
    """Changes of tables, smoothed away from the core, where a star's image has no detail."""
    y, x = np.mgrid[-MIDDLE : MIDDLE + 1, -MIDDLE : MIDDLE + 1] / OVER
    for first, width in SMOOTH_FROM:
        far = np.clip((np.hypot(x, y) - first) / 9.0, 0.0, 1.0)
        smooth = np.array([gaussian_filter(table, width, mode="nearest") for table in change])
        change = change + far * (smooth - change)
    return change


@njit(cache=True, nogil=True)
def _lay_on_nodes(image, bad, x, y, flux, out):  # type: ignore[no-untyped-def]
    """An image about stars, over their light, interpolated at the nodes of a table; NaN where it is bad."""
    height, width = image.shape
    wx, wy, slope = np.empty(4), np.empty(4), np.empty(4)
    for n in range(len(x)):
        for j in range(2 * MIDDLE + 1):
            py = y[n] + (j - MIDDLE) / OVER
            row = int(np.floor(py))
            _taps(py - row, wy, slope)
            for i in range(2 * MIDDLE + 1):
                px = x[n] + (i - MIDDLE) / OVER
                column = int(np.floor(px))
                if row < 1 or column < 1 or row + 2 >= height or column + 2 >= width:
                    continue
                _taps(px - column, wx, slope)
                total, seen = 0.0, True
                for b in range(4):
                    for a in range(4):
                        seen = seen and not bad[row - 1 + b, column - 1 + a]
                        total += wy[b] * wx[a] * image[row - 1 + b, column - 1 + a]
                if seen:
                    out[n, j, i] = total / flux[n]


@njit(cache=True, nogil=True)
def _fit_nodes(left, design, weight, out):  # type: ignore[no-untyped-def]
    """Robust least squares of each node (stars, n, n) over the design (stars, terms), into (terms, n, n)."""
    stars, terms = design.shape
    normal, right, away = np.zeros((terms, terms)), np.zeros(terms), np.zeros(stars)
    for j in range(left.shape[1]):
        for i in range(left.shape[2]):
            seen = np.flatnonzero(np.isfinite(left[:, j, i]))
            if len(seen) < 2 * terms:
                continue
            fit = np.zeros(terms)
            fit[0] = np.median(left[seen, j, i])
            for _ in range(ROUNDS):
                for k in range(len(seen)):
                    away[k] = left[seen[k], j, i] - np.dot(design[seen[k]], fit)
                scale = TOLERANCE * 1.4826 * np.median(np.abs(away[: len(seen)])) + 1e-12
                normal[:], right[:] = 0.0, 0.0
                for k in range(len(seen)):
                    n = seen[k]
                    w = weight[n] / (1.0 + (away[k] / scale) ** 2)
                    for a in range(terms):
                        right[a] += w * design[n, a] * left[n, j, i]
                        for b in range(terms):
                            normal[a, b] += w * design[n, a] * design[n, b]
                fit = np.linalg.solve(normal, right)
            out[:, j, i] = fit


def add_wing(psf: Psf, residual: F32, bad: NDArray[np.bool_], stars: Table) -> Psf:
    """The PSF with a round wing as the medians of rings about strong stars show it, and 0 at its end.

    ``residual``: the image (ny, nx), electrons, without background and all stars' images within their reach.
    """
    count = (WING_END - REACH) // WING_STEP + 1
    rings = np.full((len(stars), count), np.nan)
    known = psf.wing if len(psf.wing) == count else np.zeros(count)
    for star, row in zip(stars, rings, strict=True):
        row[:] = _rings_about(residual, bad, float(star["x"]), float(star["y"]), count) / star["flux"]
    seen = np.isfinite(rings).sum(axis=0) >= min(FEWEST, len(stars))
    weight = np.sqrt(stars["flux"])
    change = np.array([_weighted_median(ring, weight) if ok else 0.0
                       for ring, ok in zip(rings.T, seen, strict=True)])  # fmt: skip
    wing = np.maximum.accumulate((known + change)[::-1])[::-1]
    wing = wing - wing[-1]
    # Tables are over their own edge: there the wing begins.
    tables = psf.tables.copy()
    tables[0] += wing[0] - tables[0][_edge_ring()].mean()
    return replace(psf, tables=tables, wing=wing)


def _edge_ring() -> NDArray[np.bool_]:
    """The nodes at the edge of a table."""
    y, x = np.mgrid[-MIDDLE : MIDDLE + 1, -MIDDLE : MIDDLE + 1] / OVER
    return np.asarray(np.abs(np.hypot(x, y) - REACH + 1.0) < 2.0)


def _weighted_median(values: F64, weight: F64) -> float:
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known])]
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def _rings_about(image: F32, bad: NDArray[np.bool_], x: float, y: float, count: int) -> F64:
    """Medians of rings about a place, NaN where hardly any pixel is seen."""
    row, column = round(y), round(x)
    rows = slice(max(row - WING_END, 0), row + WING_END + 1)
    columns = slice(max(column - WING_END, 0), column + WING_END + 1)
    part, hidden = image[rows, columns], bad[rows, columns]
    j, i = np.ogrid[rows.start : rows.start + part.shape[0], columns.start : columns.start + part.shape[1]]
    ring = np.rint((np.hypot(i - x, j - y) - REACH) / WING_STEP).astype(int)
    medians = np.full(count, np.nan)
    for k in range(count):
        values = part[(ring == k) & ~hidden]
        if len(values) > 0.3 * 2 * np.pi * (REACH + k * WING_STEP) * WING_STEP:
            medians[k] = np.median(values)
    return medians


# --- what a star of light 1 is in an aperture ------------------------------------------------------


@dataclass(frozen=True)
class Gauge:
    """What a star of light 1 at 0, 0 measures, as coefficients (terms,) of a polynomial over the field:
    ``base``, its light in the first of RADII over the near ring; ``centre`` (terms, 2) of a matched window,
    pixels."""

    psf: Psf
    base: F64
    centre: F64

    def at(self, coefficients: F64, x: F64, y: F64) -> F64:
        """One of these at pixels (n,)."""
        return _design(self.psf, x, y) @ coefficients


def _design(psf: Psf, x: F64, y: F64) -> F64:
    u, v = (x - psf.centre[0]) / psf.half, (y - psf.centre[1]) / psf.half
    return np.asarray(u[:, None] ** psf.powers[:, 0] * v[:, None] ** psf.powers[:, 1])


def gauge(psf: Psf) -> Gauge:
    """How a star of light 1 is measured as sources are measured."""
    points = psf.half * np.linspace(-0.9, 0.9, 5)
    x, y = (axis.ravel() for axis in np.meshgrid(psf.centre[0] + points, psf.centre[1] + points))
    table = np.zeros((len(x), 3))
    for n in range(len(x)):
        table[n, 0], table[n, 1:] = _as_source(psf.at(x[n], y[n]), psf.fwhm)
    fit = np.asarray(np.linalg.lstsq(_design(psf, x, y), table, rcond=None)[0], float)
    return Gauge(psf, fit[:, 0], fit[:, 1:])


def _as_source(stamp: F64, fwhm: float) -> tuple[float, F64]:
    """Light in the first aperture over the ring of an image (n, n) of a star, and where its centre lies."""
    image = (1e5 * stamp).astype(np.float32)
    middle = np.array([float(REACH)])
    nowhere = np.zeros(image.shape, np.uint8)
    level = ring_levels(image, nowhere, middle, middle)[0]
    light, _ = sum_apertures(image, image, nowhere, middle, middle, np.array(RADII[:1]), (0.0, 0.0))
    start = np.array([REACH])
    shape = centre_sources(image, nowhere.astype(np.float32), nowhere, start, start, np.array([fwhm / 2.355]))
    centre = shape[0, :2] - REACH if shape[0, 6] > 0 else np.zeros(2)
    return float(light[0, 0] - level * np.pi * RADII[0] ** 2) / 1e5, centre
