"""Stars that others' light hides from a search by isophotes, and how bright one has to be to be found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from reducer import dq
from reducer.instruments.base import Widths
from reducer.photometry.catalogue import ApertureCorrection, measure_widths
from reducer.sources import (
    BLENDED,
    IS_SATURATED,
    NO_POSITION,
    NOT_CENTRED,
    SOURCE,
    centre_sources,
    drop_repeated,
    is_blurred,
    light_about,
    places_of,
    well_measured,
)
from reducer.types import F32, F64, U16, Header, Table

# --- peaks over their own surroundings -------------------------------------------------------------

#: Sigmas by which a star has to stand out of its surroundings.
THRESHOLD = 6.0
#: The same where no star's light is beneath, below QUIET sigmas a pixel: the search by isophotes has the best
#: filter, and asks for 5 sigmas of the pixels' own noise.
ALONE_THRESHOLD, QUIET = 4.3, 3.0
#: How much wider than a star's core is the Gaussian whose level is taken off.
WIDER = 2.2
#: In FWHM: how far from its peak a source may have been centred; how far it is still the one of that peak;
#: within which sources blend; about saturated stars, where nothing is sought; wider than which no star is.
STRAYED, SAME, BLEND, BURNT, EXTENDED = 0.5, 0.9, 2.0, 3.0, 2.5
#: By what part of their own light halos and images of stars may depart from what is taken off.
ROUGH_HALO, ROUGH_IMAGE = 0.01, 0.1
#: The part of a source's light that makes a neighbour within BLEND worth a flag.
DISTURBS = 0.02
#: Stars that tell what a star looks like, at most and in any case, and their signal to noise and neighbours'
#: light; step and reach of its profile, pixels; how far from it, as a part of its peak, a peak is of no star.
MOST_STARS, FEWEST_STARS, STRONG, ALONE, STEP, REACH, NO_STAR = 60, 5, 50.0, 0.1, 0.5, 18.0, 0.3
#: How many of these stars, the nearest, tell the light that goes with a peak at a place of the image.
NEAREST = 5
#: FWHM in pixels where no strong star tells it; side of the squares whose median is no star's light, pixels;
#: most bad pixels of the 25 about a peak; pixels at the edge that are not searched.
USUAL_FWHM, SQUARE, MOST_BAD, EDGE = 4.0, 96, 4, 6
#: By how much the correlation of pixels may raise the noise of the filtered image.
MOST_CORRELATED = 1.25
#: Pixels between the places at which it is noted how bright a star has to be to be found.
SPARSE = 23
_GAUSSIAN = 2.0 * np.sqrt(2.0 * np.log(2.0))
#: Pixels of an image, and electrons within the first of RADII that a star needs there to be found.
NEED = np.dtype([("x", "f8"), ("y", "f8"), ("light", "f8")])


@dataclass(frozen=True)
class Search:
    """An image seen through a filter that passes stars and no slope: ``signal`` and its sigma, (ny, nx);
    ``detail``, the image less its smooth light, 0 where ``bad``; ``halo``, what of that is stars'."""

    signal: F32
    sigma: F32
    detail: F32
    bad: NDArray[np.bool_]
    halo: F32


@dataclass(frozen=True)
class Pattern:
    """What ``signal`` shows of a star of peak 1 at distances of STEP (n,); of each star that tells it the
    pixels (stars, 2) and the light within RADII (stars, 4), which changes over the field as images do."""

    profile: F64
    places: F64
    light: F64

    def light_at(self, places: F64) -> F64:
        """The light within RADII (n, 4) of a star of peak 1 at pixels (n, 2)."""
        count = min(NEAREST, len(self.places))
        near = cKDTree(self.places).query(places, k=np.arange(1, count + 1))[1]
        return np.asarray(np.median(self.light[near], axis=1))


def add_hidden(sources: Table, data: F32, variance: F32, mask: U16, widths: Widths) -> tuple[Table, Table]:
    """The sources of an image (ny, nx) with those beside brighter ones that the search for them missed, and
    places spread over the image with the light that a star needs there to be found (dtype NEED).

    The light of those added is that of strong stars with the same peak, once brighter ones are taken off.
    Sources within BLEND of one that disturbs them are flagged. Nothing is added without a strong star, nor in
    images of natural seeing, which hide no star beside their cores.
    """
    if is_blurred(sources, widths) or min(data.shape) <= 2 * EDGE:
        return sources, np.zeros(0, NEED)
    fwhm = typical_width(sources, data, mask)
    search = look_closely(data, variance, (mask & dq.UNUSABLE) != 0, fwhm)
    pattern = star_pattern(search, sources)
    if pattern is None:
        return sources, np.zeros(0, NEED)
    peaks = find_peaks(search, pattern.profile, fwhm)
    burnt = sources[(sources["flags"] & IS_SATURATED) != 0]
    peaks = peaks[_distances(peaks, burnt) > BURNT * fwhm]
    kept = sources[~_astray(sources, peaks, fwhm)]
    known = kept[(kept["flags"] & NOT_CENTRED) == 0]
    added = _measure(search, data, variance, peaks[_distances(peaks, known) > SAME * fwhm], pattern, fwhm)
    both = np.concatenate([kept, added])
    both = drop_repeated(both[np.argsort(-both["flux"][:, 0], kind="stable")])
    _flag_blends(both, BLEND * fwhm)
    return both, _needed(search, pattern, both, BLEND * fwhm)


def _distances(places: F64, sources: Table) -> F64:
    """From each place (n, 2 or more) to the nearest source, pixels; infinite without any."""
    if not len(sources) or not len(places):
        return np.full(len(places), np.inf)
    return np.asarray(cKDTree(places_of(sources)).query(places[:, :2])[0])


def _astray(sources: Table, peaks: F64, fwhm: float) -> NDArray[np.bool_]:
    """Sources that a neighbour has drawn from their peak, or that have settled nowhere though one is near."""
    if not len(peaks) or not len(sources):
        return np.zeros(len(sources), bool)
    tree, places = cKDTree(peaks[:, :2]), places_of(sources)
    away = tree.query(places)[0] / fwhm
    reach = np.maximum(BLEND * fwhm, 0.5 * sources["fwhm"])
    several = np.array([len(index) > 1 for index in tree.query_ball_point(places, reach)])
    single = (away < 2.0 * SAME) & (sources["fwhm"] < EXTENDED * fwhm)
    lost = ((sources["flags"] & NOT_CENTRED) != 0) & (away < BLEND)
    burnt = (sources["flags"] & IS_SATURATED) != 0
    return np.asarray((lost | ((away > STRAYED) & (several | single))) & ~burnt)


def typical_width(sources: Table, data: F32, mask: U16) -> float:
    """The median FWHM in pixels of the strongest good stars of an image.

    ``data``, ``mask``: (ny, nx), electrons.
    """
    good = sources[(sources["flags"] & (NO_POSITION | BLENDED)) == 0][:60]
    widths = measure_widths(good, data, (mask & dq.UNUSABLE) == 0)
    known = widths[np.isfinite(widths)]
    return float(np.median(known)) if len(known) else USUAL_FWHM


def look_closely(data: F32, variance: F32, bad: NDArray[np.bool_], fwhm: float) -> Search:
    """Take off the light that is smooth on WIDER times a star's width, and filter what is left by its core.

    The noise is that of the pixels, as much larger as their correlation makes it, and a part of the light
    that is taken off, since no halo is quite smooth. ``data``, ``variance``, ``bad``: (ny, nx), electrons.
    """
    narrow = fwhm / _GAUSSIAN
    wide = WIDER * narrow
    smooth = gaussian_filter(np.where(bad, np.float32(0.0), data), wide, truncate=3.0)
    cover = gaussian_filter((~bad).astype(np.float32), wide, truncate=3.0)
    smooth /= np.maximum(cover, np.float32(1e-3))
    detail = np.where(bad, np.float32(0.0), data - smooth)
    signal = gaussian_filter(detail, narrow, truncate=3.0)
    # Of the difference of two Gaussians, the wider one smoothed twice, the sum of squares.
    both = narrow**2 + wide**2
    square = 1.0 / narrow**2 + 1.0 / both - 4.0 / (narrow**2 + both)
    noise = np.sqrt(np.maximum(variance, np.float32(0.0)) * np.float32(square / (4.0 * np.pi)))
    sample = np.s_[EDGE:-EDGE:5, EDGE:-EDGE:3]
    seen = ~bad[sample] & (noise[sample] > 0)
    more = (
        1.4826 * float(np.median(np.abs(signal[sample][seen] / noise[sample][seen]))) if seen.any() else 1.0
    )
    smooth -= _level(smooth, bad)
    noise *= np.float32(min(max(more, 1.0), MOST_CORRELATED))
    halo = np.maximum(smooth, np.float32(0.0))
    return Search(signal, np.hypot(noise, halo * np.float32(ROUGH_HALO)), detail, bad, halo)


def _level(smooth: F32, bad: NDArray[np.bool_]) -> F32:
    """The medians of squares of an image, on all of its pixels."""
    level = np.zeros_like(smooth)
    for top in range(0, smooth.shape[0], SQUARE):
        for left in range(0, smooth.shape[1], SQUARE):
            part = np.s_[top : top + SQUARE, left : left + SQUARE]
            seen = smooth[part][::3, ::3][~bad[part][::3, ::3]]
            level[part] = np.median(seen) if len(seen) else 0.0
    return level


def star_pattern(search: Search, sources: Table) -> Pattern | None:
    """The medians of strong stars that stand alone, or of those that do best; None without any."""
    stars = sources[well_measured(sources, STRONG, flags=NO_POSITION | BLENDED)]
    if not len(stars):
        return None
    about = light_about(places_of(stars), places_of(sources), sources["flux"][:, 0], 2.0 * REACH)
    others = about / stars["flux"][:, 0] - 1.0
    order = np.argsort(others, kind="stable")
    alone = stars[order[: np.clip((others < ALONE).sum(), FEWEST_STARS, MOST_STARS)]]
    found = np.array([_profile_of(search.signal, float(star["x"]), float(star["y"])) for star in alone])
    told = np.isfinite(found).all(axis=1) & (found[:, 0] > 0)
    if not told.any():
        return None
    alone, found, peak = alone[told], found[told], found[told, :1]
    return Pattern(np.median(found / peak, axis=0), places_of(alone), alone["flux"] / peak)


def _profile_of(signal: F32, x: float, y: float) -> F64:
    """Mean signal by distance from a star, NaN at the edge of the image."""
    column, row, reach = round(x), round(y), int(REACH) + 1
    height, width = signal.shape
    bins = np.full(int(REACH / STEP) + 1, np.nan)
    if not (reach <= column < width - reach and reach <= row < height - reach):
        return bins
    part = signal[row - reach : row + reach + 1, column - reach : column + reach + 1]
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    index = np.rint(np.hypot(dx + column - x, dy + row - y) / STEP).astype(int)
    inside = index < len(bins)
    counts = np.bincount(index[inside], minlength=len(bins))
    sums = np.bincount(index[inside], part[inside].astype(float), len(bins))
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    known = np.flatnonzero(counts)
    means = np.interp(np.arange(len(bins)), known, means[known])
    return np.asarray(means, float)


def find_peaks(search: Search, profile: F64, fwhm: float) -> F64:
    """Columns, rows, heights and their errors (n, 4) of the peaks that stand out by THRESHOLD, those included
    that come out once the images of brighter ones are taken off, by what a star looks like."""
    signal, sigma, bad = search.signal, search.sigma, search.bad
    first = _peaks(signal, sigma, bad)
    first = first[np.argsort(-first[:, 2], kind="stable")]
    rest, taken = signal.copy(), np.zeros_like(signal)
    _take_off(rest, taken, first, profile, max(round(fwhm), 2))
    second = _peaks(rest, np.hypot(sigma, np.float32(ROUGH_IMAGE) * taken), bad)
    near = np.full(len(second), np.inf)
    if len(first) and len(second):
        near = cKDTree(first[:, :2]).query(second[:, :2])[0]
    return np.asarray(np.concatenate([first, second[near > SAME * fwhm]]), float)


@njit(cache=True, nogil=True)
def _peaks(signal, sigma, bad):  # type: ignore[no-untyped-def]
    """Columns and rows, to parts of a pixel, heights and errors of the highest of 5 x 5 pixels."""
    height, width = signal.shape
    found, count = np.empty((1000, 4)), 0
    for j in range(EDGE, height - EDGE):
        for i in range(EDGE, width - EDGE):
            value = signal[j, i]
            if bad[j, i] or sigma[j, i] <= 0.0 or value < THRESHOLD * sigma[j, i]:
                continue
            if value < signal[j - 2 : j + 3, i - 2 : i + 3].max():
                continue
            if bad[j - 2 : j + 3, i - 2 : i + 3].sum() > MOST_BAD:
                continue
            if count == len(found):
                found = np.concatenate((found, np.empty_like(found)))
            found[count, 0] = i + _vertex(signal[j, i - 1], value, signal[j, i + 1])
            found[count, 1] = j + _vertex(signal[j - 1, i], value, signal[j + 1, i])
            found[count, 2], found[count, 3] = value, sigma[j, i]
            count += 1
    return found[:count]


@njit(cache=True, nogil=True)
def _vertex(before, here, after):  # type: ignore[no-untyped-def]
    """Where between the middles of three pixels a parabola is highest, -0.5 to 0.5 from the second."""
    bend = 2.0 * here - before - after
    return min(max(0.5 * (after - before) / bend, -0.5), 0.5) if bend > 0.0 else 0.0


@njit(cache=True, nogil=True)
def _take_off(signal, taken, peaks, profile, side):  # type: ignore[no-untyped-def]
    """Take a star's image off at each peak (n, 4), the brightest first, if what is ``side`` pixels away is a
    star's; its height becomes what is left there. ``taken``: how much is taken off each pixel."""
    height, width = signal.shape
    reach = (len(profile) - 1) * STEP
    for n in range(len(peaks)):
        x, y = peaks[n, 0], peaks[n, 1]
        column, row = int(np.rint(x)), int(np.rint(y))
        light = signal[row, column] / profile[int(np.rint(np.hypot(column - x, row - y) / STEP))]
        around = 0.25 * (signal[row - side, column] + signal[row + side, column])
        around += 0.25 * (signal[row, column - side] + signal[row, column + side])
        if light <= 0.0 or abs(around - light * profile[int(side / STEP)]) > NO_STAR * light:
            continue
        peaks[n, 2], peaks[n, 3] = light, np.hypot(peaks[n, 3], ROUGH_IMAGE * taken[row, column])
        for j in range(max(row - int(reach), 0), min(row + int(reach) + 1, height)):
            for i in range(max(column - int(reach), 0), min(column + int(reach) + 1, width)):
                away = np.hypot(i - x, j - y) / STEP
                k = int(away)
                if k + 1 < len(profile):
                    image = light * (profile[k] + (away - k) * (profile[k + 1] - profile[k]))
                    signal[j, i] -= image
                    taken[j, i] += abs(image)


def _measure(search: Search, data: F32, variance: F32, peaks: F64, pattern: Pattern, fwhm: float) -> Table:
    """The stars at some peaks (n, 4), as sources; their background is what lies beneath their own peak."""
    stars = np.zeros(len(peaks), SOURCE)
    if not len(peaks):
        return stars
    column, row = np.rint(peaks[:, :2]).astype(np.int64).T
    noise = np.where(search.bad, np.float32(0.0), variance)
    start = np.full(len(row), fwhm / _GAUSSIAN)
    shape = centre_sources(search.detail, noise, search.bad.astype(np.uint8), column, row, start)
    settled = (shape[:, 6] > 0) & (np.hypot(*(shape[:, :2] - peaks[:, :2]).T) < STRAYED * fwhm)
    stars["x"], stars["y"] = np.where(settled[:, None], shape[:, :2], peaks[:, :2]).T
    unsure = peaks[:, 3] / peaks[:, 2]
    stars["error"] = np.where(settled, shape[:, 2], 0.5 * fwhm * unsure)
    stars["fwhm"], stars["wide"] = fwhm, np.nan
    stars["ellipticity"], stars["angle"] = shape[:, 4], shape[:, 5]
    stars["flux"] = peaks[:, 2:3] * pattern.light_at(peaks[:, :2])
    stars["flux_error"] = unsure[:, None] * stars["flux"]
    # A Gaussian core of this light within the first aperture is so high.
    stars["peak"] = stars["flux"][:, 0] / (2.0 * np.pi * (fwhm / _GAUSSIAN) ** 2)
    stars["background"] = data[row, column] - stars["peak"]
    return stars


def _flag_blends(sources: Table, reach: float) -> None:
    """Flag the sources that have another within ``reach`` pixels, unless it is much fainter."""
    pairs = cKDTree(places_of(sources)).query_pairs(reach, output_type="ndarray")
    light = np.maximum(sources["flux"][:, 0], 0.0)
    for one, other in (pairs.T, pairs.T[::-1]):
        disturbed = one[light[other] > DISTURBS * light[one]]
        sources["flags"][disturbed] |= BLENDED


def _needed(search: Search, pattern: Pattern, sources: Table, reach: float) -> Table:
    """The light that a star has to have to be found, at places spread over an image.

    Its peak has to rise out of the noise, and out of what lies there: another star's core, or the pit about
    it. Within ``reach`` pixels of a source the search by isophotes sees one with it.
    """
    rows, columns = (np.arange(EDGE, length - EDGE, SPARSE) for length in search.bad.shape)
    y, x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    seen = ~search.bad[y, x] & (search.sigma[y, x] > 0)
    x, y = x[seen], y[seen]
    sigma, signal, places = search.sigma[y, x], search.signal[y, x], np.stack([x, y], axis=1).astype(float)
    alone = (search.halo[y, x] < QUIET * sigma) & (_distances(places, sources) > reach)
    least = np.where(alone, ALONE_THRESHOLD, THRESHOLD) * sigma
    needed = np.zeros(len(x), NEED)
    needed["x"], needed["y"] = x, y
    if len(x):
        needed["light"] = np.where(signal > least, signal + least, least - signal)
        needed["light"] *= pattern.light_at(places)[:, 0]
    return needed


# --- completeness ----------------------------------------------------------------------------------

COMPLETENESS = np.dtype([("FLUX", "f8"), ("FRACTION", "f8")])
#: Magnitudes between the rows of the table, and the fractions that its ends lie within.
BETWEEN, ENDS = 0.25, (0.005, 0.995)
#: Bright stars in each of the squares in which they are counted, and squares along a side at most; the part
#: of the places at which such a star is found.
PER_SQUARE, MOST_SQUARES, BRIGHT = 30, 8, 0.9
#: Keywords of the light of which a fraction of stars is found.
KEYWORDS = {"COMPL90": 0.9, "COMPL50": 0.5}


def completeness_table(needed: Table, sources: Table, correction: ApertureCorrection) -> Table:
    """COMPLETENESS: the FRACTION of stars of a FLUX (electrons in total) that are found, by how they would
    stand out of noise and neighbours at places of an image.

    ``needed``: the light that a star needs there (dtype ``NEED``), in the aperture that ``correction``
    begins from. Stars are taken to be spread as the bright ones of ``sources`` are: more where it is crowded.
    Empty without places or correction.
    """
    gain = 10.0 ** (-0.4 * correction.at(needed["x"], needed["y"])[0])
    total = needed["light"] * gain
    known = np.isfinite(total) & (total > 0)
    if not known.any():
        return np.zeros(0, COMPLETENESS)
    share = crowding(needed, sources)[known]
    if not share.any():
        share[:] = 1.0
    order = np.argsort(total[known])
    total, fraction = total[known][order], np.cumsum(share[order]) / share.sum()
    faint, bright = np.interp(ENDS, fraction, total)
    count = int(np.ceil(2.5 * np.log10(bright / faint) / BETWEEN)) + 1
    table = np.zeros(count, COMPLETENESS)
    table["FLUX"] = faint * 10.0 ** (0.4 * BETWEEN * np.arange(count))
    table["FRACTION"] = np.interp(table["FLUX"], total, fraction)
    return table


def crowding(needed: Table, sources: Table) -> F64:
    """How many bright stars each of some places (n,) of an image stands for.

    They are counted in squares of about PER_SQUARE; bright are those that are found nearly anywhere.
    """
    stars = sources[sources["flux"][:, 0] > np.quantile(needed["light"], BRIGHT)]
    low, high = (np.array([end(needed["x"]), end(needed["y"])]) for end in (np.min, np.max))
    side = int(np.clip(np.sqrt(len(stars) / PER_SQUARE), 1, MOST_SQUARES))

    def square(table: Table) -> NDArray[np.intp]:
        cell = np.clip((places_of(table) - low) / (high - low + 1.0) * side, 0, side - 1).astype(np.intp)
        return np.asarray(cell[:, 1] * side + cell[:, 0])

    of_places = square(needed)
    counts = np.bincount(square(stars), minlength=side**2) / np.maximum(
        np.bincount(of_places, minlength=side**2), 1
    )
    return np.asarray(counts[of_places])


def write_completeness(header: Header, table: Table) -> None:
    """Put the light of which 90 and 50 % of stars are found into a header."""
    for key, fraction in KEYWORDS.items():
        if len(table):
            light = 10.0 ** np.interp(fraction, table["FRACTION"], np.log10(table["FLUX"]))
            header[key] = round(float(light), 1)
