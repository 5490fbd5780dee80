"""Sources of one array: found on a smooth background, centred by a window of their own width, and summed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sep
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from reducer import dq
from reducer.instruments.base import Widths
from reducer.types import F32, F64, U16, Table

# --- how far each pixel stands out -----------------------------------------------------------------

#: Taps on either side of the middle of the filter along each axis.
SIDE = 2
TAPS = 2 * SIDE + 1
#: Products and sums may be done in one step.
CONTRACTED = {"contract"}


@njit(cache=True, nogil=True)
def set_bad_aside(data, mask, bits):  # type: ignore[no-untyped-def]
    """Set ``data`` to 0, in place, where the mask has one of ``bits``: returns that, (ny, nx) uint8."""
    bad = np.empty(data.shape, np.uint8)
    for j in range(data.shape[0]):
        for i in range(data.shape[1]):
            bad[j, i] = mask[j, i] & bits != 0
            data[j, i] = np.float32(0.0) if bad[j, i] else data[j, i]
    return bad


@njit(cache=True, nogil=True, fastmath=CONTRACTED)
def significance(whole, level, variance, bad, roughness, taps):  # type: ignore[no-untyped-def]
    """Signal to noise (ny, nx) of a source of the filter's shape at each pixel.

    Takes ``whole`` off ``level``, in place: that holds the image without its background then, 0 where bad.
    ``variance`` becomes what is used, in place: ``roughness`` where there is none, and at least about half of
    it, so that a background rougher than its noise is no source; 0 where bad. The filter is the optimal one
    for noise that differs from pixel to pixel: sum(k d / v) / sqrt(sum(k^2 / v)); ``taps`` (5,): its profile,
    it is the product of that along either axis.
    """
    height, width = whole.shape
    out = np.empty((height, width), np.float32)
    weight, light = np.zeros(width + 2 * SIDE, np.float32), np.zeros(width + 2 * SIDE, np.float32)
    # The last rows, filtered along the row; the one of row j stands at j modulo TAPS.
    weights, lights = np.zeros((TAPS, width), np.float32), np.zeros((TAPS, width), np.float32)
    none, one, squares = np.float32(0.0), np.float32(1.0), taps * taps
    for j in range(height + SIDE):
        now = j % TAPS
        if j < height:
            for i in range(width):
                v = variance[j, i] if variance[j, i] > none else roughness
                v = none if bad[j, i] else max(v, np.float32(0.49) * roughness)
                level[j, i] = none if bad[j, i] else whole[j, i] - level[j, i]
                variance[j, i] = v
                weight[i + SIDE] = one / v if v > none else none
                light[i + SIDE] = weight[i + SIDE] * level[j, i]
            _add_five(light[0:], light[1:], light[2:], light[3:], light[4:], taps, lights[now])
            _add_five(weight[0:], weight[1:], weight[2:], weight[3:], weight[4:], squares, weights[now])
        else:
            lights[now], weights[now] = none, none
        if j >= SIDE:
            _filter_down(
                lights, weights, j, taps, squares, out[j - SIDE], light[SIDE:-SIDE], weight[SIDE:-SIDE]
            )
    return out


@njit(cache=True, nogil=True, fastmath=CONTRACTED)
def _add_five(a, b, c, d, e, taps, out):  # type: ignore[no-untyped-def]
    """Weighted sums of five rows."""
    for i in range(len(out)):
        out[i] = taps[0] * a[i] + taps[1] * b[i] + taps[2] * c[i] + taps[3] * d[i] + taps[4] * e[i]


@njit(cache=True, nogil=True)
def _filter_down(lights, weights, last, taps, squares, out, signal, total):  # type: ignore[no-untyped-def]
    """Filter along the columns, from the rows up to ``last``; ``signal`` and ``total`` are room for a row."""
    k = last + 1  # the oldest of the rows
    a, b, c, d, e = k % TAPS, (k + 1) % TAPS, (k + 2) % TAPS, (k + 3) % TAPS, (k + 4) % TAPS
    _add_five(lights[a], lights[b], lights[c], lights[d], lights[e], taps, signal)
    _add_five(weights[a], weights[b], weights[c], weights[d], weights[e], squares, total)
    for i in range(len(out)):
        out[i] = signal[i] / np.sqrt(total[i] + np.float32(1e-30))


@njit(cache=True, nogil=True)
def is_touched(mask, bits, x, y, radius):  # type: ignore[no-untyped-def]
    """Whether a pixel whose mask has one of ``bits`` has its middle within a radius of (x, y), (n,)."""
    height, width = mask.shape
    touched = np.zeros(len(x), np.bool_)
    for n in range(len(x)):
        for j in range(max(int(y[n] - radius), 0), min(int(y[n] + radius) + 2, height)):
            for i in range(max(int(x[n] - radius), 0), min(int(x[n] + radius) + 2, width)):
                if mask[j, i] & bits and (i - x[n]) ** 2 + (j - y[n]) ** 2 < radius * radius:
                    touched[n] = True
    return touched


# --- centres and shapes ----------------------------------------------------------------------------

#: Rounds of centring, at most; steps below these parts of the width end them, or are let pass at the end.
ROUNDS, SMALL_STEP, LARGEST_STEP = 120, 6e-5, 1e-3
#: Sums over a window: light, x, y, xx, yy, xy, variance of the centroid, and the window over good pixels.
SUMS = 8
#: The longest row of a window, pixels: its sigma stays below 45.
LONGEST = 300
#: Sums may be reordered, so that they are done many pixels at a time.
FAST = {"contract", "reassoc"}


@njit(cache=True, nogil=True, fastmath=FAST)
def _sum_row(image, variance, bell, row, first, last, x):  # type: ignore[no-untyped-def]
    """Sums along a row, of data d, variance v, window w: w, w^2, w d (1, dx, dx^2), w^2 v (1, dx^2)."""
    w0, w2, m0, m1, m2, q0, q2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(np.uint64(first), np.uint64(last)):
        dx = np.float64(i) - x
        weight = bell[i - np.uint64(first)]
        value, noise = weight * image[row, i], weight * weight * variance[row, i]
        w0 += weight
        w2 += weight * weight
        m0 += value
        m1 += value * dx
        m2 += value * dx * dx
        q0 += noise
        q2 += noise * dx * dx
    return w0, w2, m0, m1, m2, q0, q2


@njit(cache=True, nogil=True, inline="always")
def _add_moments(sums, dy, m0, m1, m2):  # type: ignore[no-untyped-def]
    sums[0] += m0
    sums[1] += m1
    sums[2] += m0 * dy
    sums[3] += m2
    sums[4] += m0 * dy * dy
    sums[5] += m1 * dy


@njit(cache=True, nogil=True)
def _sum_window(image, variance, bad, x, y, sigma, bell, sums):  # type: ignore[no-untyped-def]
    """Moments about (x, y) under a Gaussian window cut at 3 sigma, into ``sums``.

    Bad pixels, where image and variance are 0, are filled with the window's own shape, so that they do not
    pull the centre. ``bell``: room for the window along a row.
    """
    height, width = image.shape
    reach, fill, square = int(3.0 * sigma) + 1, np.zeros(6), 0.0
    sums[:] = 0.0
    start, end = max(int(x) - reach, 0), min(int(x) + reach + 2, width)
    for i in range(start, end):
        bell[i - start] = np.exp(-0.5 * (i - x) ** 2 / (sigma * sigma))
    for j in range(max(int(y) - reach, 0), min(int(y) + reach + 2, height)):
        dy = j - y
        chord = np.sqrt(max(9.0 * sigma * sigma - dy * dy, 0.0))
        first, last = max(int(np.ceil(x - chord)), start), min(int(np.floor(x + chord)) + 1, end)
        if first >= last:
            continue
        along = np.exp(-0.5 * dy * dy / (sigma * sigma))
        w0, w2, m0, m1, m2, q0, q2 = _sum_row(image, variance, bell[first - start :], j, first, last, x)
        _add_moments(sums, dy, along * m0, along * m1, along * m2)
        sums[6] += along * along * 0.5 * (q2 + q0 * dy * dy)
        sums[7] += along * w0
        square += along * along * w2
        for i in range(first, last):
            if bad[j, i]:
                dx, weight = i - x, along * bell[i - start]
                _add_moments(fill, dy, weight * weight, weight * weight * dx, weight * weight * dx * dx)
                sums[7] -= weight
                square -= weight * weight
    if square > 0.0:
        share = sums[0] / square
        for k in range(6):  # whole arrays or tuples would take half of the kernel's time to compile
            sums[k] += share * fill[k]


@njit(cache=True, nogil=True)
def centre_sources(image, variance, bad, columns, rows, widths):  # type: ignore[no-untyped-def]
    """Centres and shapes by a round Gaussian window that takes the width of the source.

    ``columns``, ``rows``: pixels to start from; ``widths``: sigmas to start from, pixels; ``bad`` pixels
    (uint8) hold 0 in image and variance. Returns (n, 8): x, y, error of the centre per axis, sigma,
    ellipticity, angle in degrees, 1 if it settled, and the share of the window that is masked or off the
    image. A matched window's centroid has nearly the least error possible for a round image (Bernstein &
    Jarvis 2002, AJ 123, 583).
    """
    out, sums, bell = np.zeros((len(columns), 8)), np.zeros(SUMS), np.zeros(LONGEST)
    for n in range(len(columns)):
        x, y, sigma = float(columns[n]), float(rows[n]), min(max(widths[n], 1.0), 20.0)
        room, step, settled = 3.0 * widths[n] + 3.0, np.inf, 0.0
        qxx, qyy, qxy, error = 1.0, 1.0, 0.0, 0.0
        for _ in range(ROUNDS):
            _sum_window(image, variance, bad, x, y, sigma, bell, sums)
            if sums[0] <= 0.0:
                break
            mx, my = sums[1] / sums[0], sums[2] / sums[0]
            qxx, qyy = sums[3] / sums[0] - mx * mx, sums[4] / sums[0] - my * my
            qxy, second = sums[5] / sums[0] - mx * my, 0.5 * (qxx + qyy)
            error, step = 2.0 * np.sqrt(sums[6]) / sums[0], 2.0 * (abs(mx) + abs(my))
            away = max(abs(x + 2.0 * mx - columns[n]), abs(y + 2.0 * my - rows[n]))
            if second <= 0.05 or away > room:
                step = np.inf
                break
            # A window of the source's own width halves the second moment.
            change = min(max(np.sqrt(2.0 * second), 0.8), 25.0) / sigma - 1.0
            x, y, sigma = x + 2.0 * mx, y + 2.0 * my, sigma * (1.0 + 0.7 * change)
            if step < SMALL_STEP * sigma and abs(change) < 3e-3:
                break
        settled = 1.0 if step < LARGEST_STEP * sigma else 0.0
        spread = np.sqrt((qxx - qyy) ** 2 + 4.0 * qxy * qxy) / max(qxx + qyy, 1e-9)
        # The whole window, cut at 3 sigma, sums to 2 pi sigma^2 (1 - exp(-9 / 2)).
        masked = 1.0 - sums[7] / (2.0 * np.pi * sigma * sigma * 0.98889)
        ellipticity = 1.0 - np.sqrt(max(1.0 - spread, 0.0) / (1.0 + spread))
        angle = 0.5 * np.degrees(np.arctan2(2.0 * qxy, qxx - qyy))
        found = out[n]
        found[0], found[1], found[2], found[3] = x, y, error, sigma
        found[4], found[5], found[6], found[7] = ellipticity, angle, settled, masked
    return out


# --- light in round apertures ----------------------------------------------------------------------


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_run(image, variance, bad, row, first, last, sums):  # type: ignore[no-untyped-def]
    """Add the whole pixels ``first`` to ``last`` (not with it) of a row."""
    light, square, masked = 0.0, 0.0, np.uint32(0)
    for i in range(np.uint64(first), np.uint64(last)):
        light += image[row, i]
        square += variance[row, i]
        masked += np.uint32(bad[row, i])
    sums[0] += light
    sums[1] += square
    sums[2] += last - first - masked
    sums[3] += last - first


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_edge(  # type: ignore[no-untyped-def]
    image, variance, bad, row, first, last, x, dy, radius, sums
):  # fmt: skip
    """Add pixels that the circle may cut: the share of a pixel inside falls over one pixel of radius."""
    for i in range(first, last):
        share = min(max(radius + 0.5 - np.sqrt((i - x) ** 2 + dy * dy), 0.0), 1.0)
        sums[0] += share * image[row, i]
        sums[1] += share * variance[row, i]
        sums[2] += 0.0 if bad[row, i] else share
        sums[3] += share


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_disc(image, variance, bad, x, y, radius, sums):  # type: ignore[no-untyped-def]
    """Add light, its variance, good and whole area (pixels) of the part of a disc that is on the image."""
    height, width = image.shape
    for row in range(max(int(y - radius), 0), min(int(y + radius) + 2, height)):
        dy = row - y
        outer = (radius + 0.5) ** 2 - dy * dy
        if outer < 0.0:
            continue
        reach, core = np.sqrt(outer), np.sqrt(max((radius - 0.5) ** 2 - dy * dy, 0.0))
        first, last = max(int(np.ceil(x - reach)), 0), min(int(np.floor(x + reach)) + 1, width)
        left = min(max(int(np.ceil(x - core)), first), last) if core > 0.0 else last
        right = min(max(int(np.floor(x + core)) + 1, left), last)
        _add_edge(image, variance, bad, row, first, left, x, dy, radius, sums)
        _add_run(image, variance, bad, row, left, right, sums)
        _add_edge(image, variance, bad, row, right, last, x, dy, radius, sums)


@njit(cache=True, nogil=True)
def sum_apertures(image, variance, bad, x, y, radii, ring):  # type: ignore[no-untyped-def]
    """Light in discs of ``radii`` about (x, y), and its error: two arrays (n, radii).

    ``bad`` pixels (uint8), where image and variance are 0, are taken to be as bright as the mean of the
    others of their disc; nothing is added for what lies off the image. ``ring``: radii of the ring whose mean
    is taken off, (0, 0) for none. NaN where a disc or a ring has no good pixel.
    """
    shape = (len(x), len(radii))
    light, error = np.full(shape, np.nan), np.full(shape, np.nan)
    sums, hole = np.zeros(4), np.zeros(4)
    for n in range(len(x)):
        level, level_square = 0.0, 0.0
        if ring[1] > 0.0:
            sums[:], hole[:] = 0.0, 0.0
            _add_disc(image, variance, bad, x[n], y[n], ring[1], sums)
            _add_disc(image, variance, bad, x[n], y[n], ring[0], hole)
            sums -= hole
            if sums[2] < 1.0:
                continue
            level, level_square = sums[0] / sums[2], sums[1] / sums[2] ** 2
        for k in range(len(radii)):
            sums[:] = 0.0
            _add_disc(image, variance, bad, x[n], y[n], radii[k], sums)
            if sums[2] > 0.0:
                part = sums[3] / sums[2]
                light[n, k] = sums[0] * part - level * sums[3]
                error[n, k] = np.sqrt(sums[1] * part + level_square * sums[3] ** 2)
    return light, error


# --- sources ---------------------------------------------------------------------------------------

Bool = NDArray[np.bool_]
U8 = NDArray[np.uint8]

#: Radii of the apertures in pixels; fluxes stand in ``flux`` in this order.
RADII = (8.0, 16.0, 32.0, 50.0)
#: Radius of the aperture for all of a star's light, inner and outer radius of the ring of its background, in
#: pixels; stars blurred by natural seeing have them twice as wide.
WIDE_RADIUS, WIDE_RING = 92.2, (112.0, 145.0)
#: How many of the brightest sources of an image are measured in the wide aperture (NaN: the others).
WIDE_COUNT = 40
#: A source's flags: not a clean measurement because of a saturated pixel, the edge, masked pixels, a
#: neighbour, a centre that did not settle, or a width that no star can have (a cosmic ray).
IS_SATURATED, AT_EDGE, ON_BAD_PIXEL, BLENDED, NOT_CENTRED, TOO_SHARP = 1, 2, 4, 8, 16, 32
#: Flags of what is no star that could be placed, or none whose place could be trusted.
NO_POSITION = IS_SATURATED | AT_EDGE | ON_BAD_PIXEL | NOT_CENTRED | TOO_SHARP

SOURCE = np.dtype(
    [
        ("x", "f8"),  # 0-based pixel of the chip as read
        ("y", "f8"),
        ("error", "f8"),  # of the centre, pixels per axis
        ("flux", "f8", (len(RADII),)),  # electrons in apertures of RADII
        ("flux_error", "f8", (len(RADII),)),
        ("wide", "f8"),  # electrons in WIDE_RADIUS over the ring's mean, or NaN
        ("peak", "f8"),  # electrons per pixel above the background
        ("background", "f8"),  # electrons per pixel
        ("fwhm", "f8"),  # pixels
        ("ellipticity", "f8"),
        ("angle", "f8"),  # degrees from x towards y
        ("flags", "i4"),
    ]
)
#: Mesh of the background in pixels: for sharp images, and for stars blurred by natural seeing.
SHARP_MESH, BLURRED_MESH = 96, 384
#: How many sharp stars, of what signal to noise, ellipticity and spread of widths, tell that a wide source is
#: a galaxy (hits of particles are neither round nor alike), beyond how many of its widths, where no clumps
#: of its own are.
FEW, STRONG, ROUND, ALIKE, LIT = 4, 20.0, 0.2, 0.2, 3.0
#: The share of the centring window that masked pixels may hold; they are filled with the window's shape.
MOST_MASKED = 0.04
#: The least contrast of a neighbour that is told apart, sharp and blurred: the noise on a blurred star's
#: broad top is no neighbour.
SHARP_CONTRAST, BLURRED_CONTRAST = 0.005, 0.1
#: Centres nearer than this are those of one star, pixels: no image is sharp enough to tell two so close.
SAME = 0.5
#: Standard deviations above the background, of the filtered image, from which on there is a source.
THRESHOLD = 5.0
#: The fewest pixels of a source above it.
LEAST_AREA = 5
_GAUSSIAN = 2.0 * np.sqrt(2.0 * np.log(2.0))
#: The detection filter along each axis: a Gaussian of 4 pixels FWHM.
_PROFILE = np.exp(-0.5 * np.arange(-SIDE, SIDE + 1) ** 2 / (4.0 / _GAUSSIAN) ** 2).astype(np.float32)


def places_of(sources: Table) -> F64:
    """Their 0-based pixels, (n, 2): column and row."""
    return np.stack([sources["x"], sources["y"]], axis=1)


def well_measured(sources: Table, signal: float = 0.0, aperture: int = 0, flags: int = NO_POSITION) -> Bool:
    """Which sources have none of some flags, and in an aperture (of RADII) light above ``signal`` errors."""
    strong = sources["flux"][:, aperture] > signal * sources["flux_error"][:, aperture]
    return np.asarray(((sources["flags"] & flags) == 0) & strong, bool)


def light_about(places: F64, others: F64, light: F64, radius: float) -> F64:
    """The light of all sources at ``others`` (m, 2) within a radius of each of some places (n, 2)."""
    near = cKDTree(others).query_ball_point(places, radius) if len(places) else []
    return np.array([light[index].sum() for index in near])


def detect_sources(
    data: F32,
    variance: F32,
    mask: U16,
    widths: Widths,
    threshold: float = THRESHOLD,
    least_area: int = LEAST_AREA,
) -> Table:
    """Sources of an image (ny, nx) in electrons, brightest first, as a table of dtype ``SOURCE``.

    ``data`` and ``variance`` are changed in place: 0 where the mask says that there are none, the variance
    raised where the background is rougher. ``widths``: what stars look like; those broadened by natural
    seeing are found again on a coarser background. ``threshold``: standard deviations above the background,
    of the filtered image, that at least ``least_area`` pixels must have.
    """
    least = (threshold, least_area)
    sources = _detect(data, variance, mask, widths, SHARP_MESH, least)
    if is_blurred(sources, widths):
        mask = _mask_sharp(mask, sources)
        sources = _detect(data, variance, mask, widths, BLURRED_MESH, least, widened=2.0)
    return sources


def _mask_sharp(mask: U16, sources: Table) -> U16:
    """A copy of a mask with what is too sharp for a star marked: it would pull a blurred one's centre."""
    marked = mask.copy()
    for part in about_hits(sources):
        marked[part] |= dq.COSMIC_RAY
    return marked


def about_hits(sources: Table) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of 9 x 9 pixels about each source that is too sharp for a star."""
    for hit in sources[(sources["flags"] & TOO_SHARP) != 0]:
        row, column = int(hit["y"] + 0.5), int(hit["x"] + 0.5)
        yield slice(max(row - 4, 0), row + 5), slice(max(column - 4, 0), column + 5)


def is_blurred(sources: Table, widths: Widths) -> bool:
    """Whether the brightest real source is as wide as natural seeing makes it, and is no galaxy among sharp
    stars: round ones of one width, outside of its light."""
    real = sources[(sources["flags"] & (NOT_CENTRED | TOO_SHARP)) == 0]
    if not len(real):
        return False
    first = real[np.argmax(real["flux"][:, -1])]
    away = np.hypot(real["x"] - first["x"], real["y"] - first["y"]) > LIT * first["fwhm"]
    strong = real["flux"][:, 0] > STRONG * real["flux_error"][:, 0]
    sharp = real["fwhm"][away & strong & (real["fwhm"] < widths.blurred) & (real["ellipticity"] < ROUND)]
    alike = np.abs(sharp - np.median(sharp)) < ALIKE * np.median(sharp) if len(sharp) else sharp
    return bool(first["fwhm"] > widths.blurred and np.count_nonzero(alike) < FEW)


def _detect(
    data: F32,
    variance: F32,
    mask: U16,
    widths: Widths,
    mesh: int,
    least: tuple[float, int],
    widened: float = 1.0,
) -> Table:
    threshold, least_area = least
    bad = set_bad_aside(data, mask, dq.UNUSABLE & ~dq.SATURATED)
    background = sep.Background(data, mask=bad.view(bool), bw=mesh, bh=mesh, fw=3, fh=3)
    image = background.back()
    roughness = np.float32(background.globalrms) ** 2
    signal = significance(data, image, variance, bad, roughness, _PROFILE)
    # Room for as many pixels as there can be in sources, and two for sep's lists of them: it fills all of it.
    sep.set_extract_pixstack(np.count_nonzero(signal > threshold) + 2)
    found = sep.extract(
        signal, threshold, minarea=least_area, filter_kernel=None, deblend_nthresh=16,
        deblend_cont=SHARP_CONTRAST if widened == 1.0 else BLURRED_CONTRAST,
    )  # fmt: skip
    del signal
    sources = _measure(image, variance, mask, bad, found, data)
    too_sharp = (sources["flags"] & NOT_CENTRED == 0) & (sources["fwhm"] < widths.least)
    sources["flags"] |= np.where(too_sharp, TOO_SHARP, 0)
    sources = drop_repeated(sources)
    _measure_wide(sources, data, variance, bad, widened)
    return sources


def _measure_wide(sources: Table, image: F32, noise: F32, bad: U8, widened: float) -> None:
    """Total light of the brightest sources in a wide aperture, over the mean of a ring."""
    sources["wide"] = np.nan
    some = np.flatnonzero((sources["flags"] & (NOT_CENTRED | TOO_SHARP)) == 0)[:WIDE_COUNT]
    x, y = np.ascontiguousarray(sources["x"][some]), np.ascontiguousarray(sources["y"][some])
    ring = (WIDE_RING[0] * widened, WIDE_RING[1] * widened)
    light, _ = sum_apertures(image, noise, bad, x, y, np.array([WIDE_RADIUS * widened]), ring)
    sources["wide"][some] = light[:, 0]


def _measure(image: F32, noise: F32, mask: U16, bad: U8, found: Table, whole: F32) -> Table:
    sources = np.zeros(len(found), SOURCE)
    if not len(found):
        return sources
    start = np.clip(np.sqrt(found["a"] * found["b"]), 1.0, 20.0)
    row, column = found["ypeak"].astype(np.int64), found["xpeak"].astype(np.int64)
    shape = centre_sources(image, noise, bad, column, row, start)
    settled = shape[:, 6] > 0
    x, y = np.where(settled, shape[:, 0], found["x"]), np.where(settled, shape[:, 1], found["y"])
    sources["x"], sources["y"] = x, y
    sources["error"], sources["fwhm"] = shape[:, 2], shape[:, 3] * _GAUSSIAN
    sources["ellipticity"], sources["angle"] = shape[:, 4], shape[:, 5]
    light, error = sum_apertures(image, noise, bad, x, y, np.array(RADII), (0.0, 0.0))
    sources["flux"], sources["flux_error"] = np.nan_to_num(light), np.nan_to_num(error)
    sources["peak"] = image[row, column]
    sources["background"] = whole[row, column] - image[row, column]
    sources["flags"] = _flags(sources, found, mask) | np.where(settled, 0, NOT_CENTRED)
    sources["flags"] |= np.where(shape[:, 7] > MOST_MASKED, ON_BAD_PIXEL, 0)
    return sources[np.argsort(-sources["flux"][:, 0], kind="stable")]


def drop_repeated(sources: Table) -> Table:
    """The sources, brightest first, less those that settled where a brighter one did: parts of one star."""
    pairs = cKDTree(places_of(sources)).query_pairs(SAME, output_type="ndarray")
    kept: Table = np.delete(sources, pairs[:, 1])
    return kept


def _flags(sources: Table, found: Table, mask: U16) -> F64:
    radius = np.maximum(1.5 * sources["fwhm"], 4.0)
    height, width = mask.shape
    edge = np.minimum.reduce(
        [sources["x"], sources["y"], width - 1 - sources["x"], height - 1 - sources["y"]]
    )
    bright = dq.SATURATED | dq.NON_LINEAR
    x, y = np.ascontiguousarray(sources["x"]), np.ascontiguousarray(sources["y"])
    flags = np.where(is_touched(mask, bright, x, y, 4.0), IS_SATURATED, 0)
    flags |= np.where(edge < radius, AT_EDGE, 0)
    return np.asarray(flags | np.where((found["flag"] & sep.OBJ_MERGED) != 0, BLENDED, 0))
