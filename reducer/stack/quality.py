"""What each exposure of a stack was like, which stand out, and which are left out: doubled or trailed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import gammainc

from reducer.align.identify import StarList, pair_up
from reducer.astrometry import Geometry, Grid
from reducer.frame import Context, FrameRef
from reducer.sources import IS_SATURATED, NOT_CENTRED, TOO_SHARP, well_measured
from reducer.stack.exposures import CORRECTED, Exposure, StarImage, is_fuzzy, median_of_known
from reducer.types import F64, Reason, Table, because

# --- exposures in which the telescope jumped: every star twice, at one distance and in one ratio of light

#: Least signal to noise of both images of a star, so that their distance is known to a part of a pixel and
#: their ratio to a part of itself; the brightest few of an array that are looked at.
STRONG, MOST = 10.0, 300
#: Pixels within which the other image is sought (a guide star that is lost for longer spoils more than that);
#: by what factor either may be the brighter one, the jump having come early or late.
APART, UNLIKE = 60.0, 5.0
#: Within what, in pixels and in the logarithm of the ratio, pairs are alike: arrays differ in scale by 1.5 %
#: and in rotation by half a degree, and light of STRONG stars has a tenth of noise.
SAME_GAP, SAME_RATIO = 0.75, 0.35
#: The part of the stars whose other image is bright enough to be seen that show it: the rest lie at an edge,
#: on bad pixels or are blended.
MOSTLY = 0.5
#: How often chance may put as many pairs of stars at one distance: one exposure of ten thousand.
BY_CHANCE = 1e-4


def leave_out_doubled(frames: Sequence[FrameRef], notify: Callable[..., None]) -> list[FrameRef]:
    """Leave out, by name, exposures whose stars are double: before others are laid on their second images.

    Where that is true of half of them or more, it is the field's, and all are kept.
    """
    return [frames[number] for number in _kept(frames, [doubled(frame) for frame in frames], notify)]


def _kept(frames: Sequence[FrameRef], reasons: Sequence[Reason], notify: Callable[..., None]) -> list[int]:
    """The frames without a reason to leave them out, which is told of the others; all where half have one."""
    if 2 * sum(map(bool, reasons)) >= len(frames):
        return list(range(len(frames)))
    for frame, reason in zip(frames, reasons, strict=True):
        if reason:
            notify("refused", name=frame.path.name, **reason)
    return [number for number, reason in enumerate(reasons) if not reason]


def doubled(frame: FrameRef) -> Reason:
    """Why a frame's stars are double, nothing where they are not: most have a companion in one and the same
    place with one and the same part of their light, and more do so than chance can bring about."""
    tables = [_strong(table) for table in frame.sources]
    signal = np.concatenate([np.zeros(0), *(_signal(table) for table in tables)])
    stars, gaps = _pairs(tables)
    if not len(gaps):
        return {}
    scaled = gaps / [SAME_GAP, SAME_GAP, SAME_RATIO]
    alike = cKDTree(scaled).query_ball_point(scaled, 1.0, p=np.inf)
    best = max(alike, key=len)
    if _by_chance(len(best), len(scaled)) > BY_CHANCE:
        return {}
    gap = np.median(gaps[best], axis=0)
    owed = signal > STRONG * np.exp(abs(gap[2]))
    shows = np.isin(np.arange(len(signal)), stars[best])
    if shows[owed].sum() < MOSTLY * owed.sum():
        return {}
    return because("doubled", pairs=len(best), distance=np.hypot(*gap[:2]))


def _strong(table: Table) -> Table:
    """The brightest sources that may be an image of a star."""
    kept: Table = table[(table["flags"] & (IS_SATURATED | NOT_CENTRED | TOO_SHARP)) == 0]
    return kept[_signal(kept) > STRONG][:MOST]


def _signal(table: Table) -> F64:
    return np.asarray(table["flux"][:, 0] / np.maximum(table["flux_error"][:, 0], 1e-30))


def _pairs(tables: list[Table]) -> tuple[NDArray[np.intp], F64]:
    """The pairs within APART of each array's stars, which are numbered through all arrays: their two numbers
    (n, 2), and gap in x, never negative, and y, pixels, and the logarithm of their ratio of light, (n, 3)."""
    numbers, gaps, first = [np.zeros((0, 2), np.intp)], [np.zeros((0, 3))], 0
    for table in tables:
        places = np.stack([table["x"], table["y"], np.log(table["flux"][:, 0])], axis=1)
        found = cKDTree(places[:, :2]).query_pairs(APART, output_type="ndarray")
        gap = places[found[:, 1]] - places[found[:, 0]]
        gap *= np.where(gap[:, :1] < 0, -1.0, 1.0)
        like = np.abs(gap[:, 2]) < np.log(UNLIKE)
        numbers.append(found[like] + first)
        gaps.append(gap[like])
        first += len(table)
    return np.concatenate(numbers), np.concatenate(gaps)


def _by_chance(alike: int, pairs: int) -> float:
    """How often as many of some pairs, strewn over all gaps and ratios, lie about one of them.

    A Poisson probability for the others about each one, for as many places as there are pairs.
    """
    share = (2 * SAME_GAP) ** 2 / (np.pi / 2 * APART**2) * SAME_RATIO / np.log(UNLIKE)
    # The probability of k events or more is the regularised lower incomplete gamma function of k.
    return float(pairs * gammainc(alike - 1, pairs * share)) if alike > 1 else 1.0


# --- the table EXPOSURES ---------------------------------------------------------------------------

EXPOSURE = np.dtype(
    [("filename", "U68"), ("ut", "U24"), ("seconds", "f8"), ("fwhm", "f8"), ("ellipticity", "f8"),
     ("strehl", "f8"), ("sky", "f8"), ("transparency", "f8"), ("transparency_error", "f8"),
     ("weight", "f8"), ("shift_east", "f8"), ("shift_north", "f8"), ("matches", "i4"), ("rms", "f8"),
     ("model", "U16"), ("outlier", "U48"), ("core", "f8")]
)  # fmt: skip
#: What sets an exposure apart from the median of all: FWHM and residual this many times as large, of which
#: residuals below some arcsec do not count; ellipticity higher by this; transparency and matches less than
#: this part.
WIDE, ASKEW, SMALL_RESIDUAL, LONG, CLOUDY, LONELY = 1.5, 3.0, 0.002, 0.15, 0.7, 0.25
#: Ellipticity above the median of an exposure that is wide as well, from which on it is trailed: of those
#: drawn over seeing and crowding 0.14 was the least; where the loop opened, which widens too, 0.02 the most.
TRAILED = 0.07
#: Fewest exposures of which one can stand out.
FEWEST = 3


def exposure_table(exposures: Sequence[Exposure]) -> Table:
    """EXPOSURES, what each input was like; NaN: not known.

    FWHM in arcsec, ellipticity and an estimate of the Strehl ratio, medians of its bright stars; mean
    level of the sky that was subtracted, electrons; transparency relative to the first and its error;
    weight (sum 1); shift east and north from its header's pointing, arcsec; stars that aligned it; their
    rms residual per axis, arcsec; its geometry's model; and in what it stands out from the others.
    """
    table = np.zeros(len(exposures), EXPOSURE)
    weights = np.array([np.max(exposure.weights) for exposure in exposures])
    rates = np.array([exposure.frame.scale * exposure.seconds for exposure in exposures])
    table["weight"] = weights / max(float(weights.sum()), 1e-30)
    table["transparency"] = rates[0] / rates
    table["transparency_error"] = [exposure.frame.scale_error for exposure in exposures]
    table["seconds"] = [exposure.seconds for exposure in exposures]
    for row, exposure in zip(table, exposures, strict=True):
        geometry, header = exposure.frame.placed, exposure.frame.header
        row["filename"], row["model"] = exposure.frame.path.name, geometry.model
        row["ut"] = f"{header.get('DATE-OBS', '')}T{header.get('UT', '')}"
        row["fwhm"] = exposure.image.width * geometry.pixel
        row["ellipticity"], row["strehl"] = exposure.image.ellipticity, exposure.image.strehl
        row["core"] = exposure.image.core
        row["sky"] = sky_level(exposure.frame)
        row["shift_east"], row["shift_north"] = shift_of(geometry)
        row["matches"], row["rms"] = geometry.matches, geometry.rms
    table["outlier"] = outliers(table)
    return table


def outliers(table: Table) -> list[str]:
    """For each exposure the columns in which it is much worse than the median, separated by commas."""
    if len(table) < FEWEST:
        return [""] * len(table)
    middle = {
        name: median_of_known(table[name])
        for name in ("fwhm", "ellipticity", "transparency", "matches", "rms")
    }
    worse = {
        "fwhm": table["fwhm"] > WIDE * middle["fwhm"],
        "ellipticity": table["ellipticity"] > middle["ellipticity"] + LONG,
        "core": is_fuzzy(table["core"], table["fwhm"]),
        "transparency": table["transparency"] < CLOUDY * middle["transparency"],
        "matches": table["matches"] < LONELY * middle["matches"],
        "rms": table["rms"] > np.maximum(ASKEW * middle["rms"], SMALL_RESIDUAL),
    }
    return [",".join(name for name, bad in worse.items() if bad[row]) for row in range(len(table))]


def sky_level(frame: FrameRef) -> float:
    """Mean over a frame's arrays of the sky that was subtracted, electrons; NaN if no header tells."""
    levels = [float(chip["SKYLEVEL"]) for chip in frame.chips if "SKYLEVEL" in chip]
    return float(np.mean(levels)) if levels else np.nan


def shift_of(geometry: Geometry) -> tuple[float, float]:
    """How far east and north of its header's pointing an exposure was placed, arcsec."""
    if geometry.coefficients is None:
        return 0.0, 0.0
    return float(geometry.coefficients[0, 0]), float(geometry.coefficients[1, 0])


def tell_outliers(table: Table, context: Context) -> None:
    """Warn of the exposures of a table EXPOSURES that stand out, and in what; not of changing seeing."""
    if not median_of_known(table["fwhm"]) < CORRECTED:
        return
    for row in table[table["outlier"] != ""]:
        names = row["outlier"].split(",")
        context.notify(
            "outlier",
            file=str(row["filename"]),
            values={name: row[name] for name in names},
            medians={name: median_of_known(table[name]) for name in names},
        )


def leave_out_spoilt(
    frames: Sequence[FrameRef], images: Sequence[StarImage], context: Context
) -> tuple[list[FrameRef], list[StarImage]]:
    """Leave out, by name, exposures during which the telescope moved, by their trailed stars.

    Where that is true of half of them or more, it is the field's, and all are kept.
    """
    reasons: list[Reason] = [{}] * len(frames)
    if len(frames) >= FEWEST:
        widths, lengths = (np.array([getattr(i, key) for i in images]) for key in ("width", "ellipticity"))
        trailed = (widths > WIDE * median_of_known(widths)) & (lengths > median_of_known(lengths) + TRAILED)
        for number in np.flatnonzero(trailed):
            wide = widths[number] / median_of_known(widths)
            reasons[number] = because("trailed", ellipticity=lengths[number], ratio=wide)
    kept = _kept(frames, reasons, context.notify)
    scale = frames[kept[0]].scale
    return [frames[n].with_(scale=frames[n].scale / scale) for n in kept], [images[n] for n in kept]


# --- the table RESIDUALS ---------------------------------------------------------------------------

#: Arcsec within which aligned sources are the same star, and its signal to noise in the smallest aperture.
SAME, LEAST_SIGNAL = 0.06, 20.0
#: Stars of an array that count at most, the brightest first.
MOST_STARS = 150

RESIDUAL = np.dtype([("exposure", "i4"), ("X_IMAGE", "f4"), ("Y_IMAGE", "f4"), ("DX", "f4"), ("DY", "f4")])


def residual_table(frames: Sequence[FrameRef], grid: Grid) -> Table:
    """RESIDUALS of aligned frames with sources: the row of EXPOSURES from 1, the star's mean place in 1-based
    pixels of the stack, and how far this exposure shows it from there, in arcsec along x and y.

    Only stars of at least two exposures stand in it. It is measured from the final geometries, so it shows
    what is left in the stack whatever the alignment's own fit says.
    """
    places = [_places(frame, grid) for frame in frames]
    star = _identify(places, SAME / grid.scale)
    exposure = np.repeat(np.arange(1, len(frames) + 1), [len(x) for x, _ in places])
    x, y = (np.concatenate([place[axis] for place in places]) for axis in (0, 1))
    count = np.bincount(star)
    mean_x, mean_y = (np.bincount(star, values) / np.maximum(count, 1) for values in (x, y))
    several = count[star] >= 2
    table = np.zeros(int(several.sum()), RESIDUAL)
    table["exposure"] = exposure[several]
    table["X_IMAGE"], table["Y_IMAGE"] = mean_x[star[several]] + 1, mean_y[star[several]] + 1
    table["DX"] = (x - mean_x[star])[several] * grid.scale
    table["DY"] = (y - mean_y[star])[several] * grid.scale
    return table


def _places(frame: FrameRef, grid: Grid) -> tuple[F64, F64]:
    """Zero-based stack pixels of a frame's bright sources with a trusted position."""
    found = [(np.zeros(0), np.zeros(0))]
    for chip, table in enumerate(frame.sources):
        kept = table[well_measured(table, LEAST_SIGNAL)][:MOST_STARS]
        found.append(grid.to_pixel(*frame.placed.evaluate(kept["x"], kept["y"], chip)))
    return np.concatenate([x for x, _ in found]), np.concatenate([y for _, y in found])


def _identify(places: Sequence[tuple[F64, F64]], tolerance: float) -> np.ndarray:
    """Which star each place is of, exposure after exposure against a growing list."""
    known_x, known_y, parts = np.zeros(0), np.zeros(0), []
    for x, y in places:
        star = pair_up(x, y, StarList(known_x, known_y, np.zeros(len(known_x))), tolerance)
        new = np.flatnonzero(star < 0)
        star[new] = len(known_x) + np.arange(len(new))
        known_x, known_y = np.concatenate([known_x, x[new]]), np.concatenate([known_y, y[new]])
        parts.append(star)
    return np.concatenate(parts)
