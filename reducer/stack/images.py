"""How sharp an exposure's stars are: width, shape and Strehl ratio, measured on their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import j1

from reducer import dq
from reducer.frame import Context, Files, FrameRef
from reducer.headers.descriptors import describe
from reducer.photometry.width import half_width
from reducer.sources.detection import BLENDED, NO_POSITION, WIDE_RING
from reducer.types import F64, Table

#: Stars of an array that are measured at most, the brightest first, and their least signal to noise.
MOST_STARS, LEAST_SIGNAL = 12, 30.0
#: Light of the sources around a star, over its own, above which it does not stand alone.
MOST_NEIGHBOURS = 1.0
RADIANS = np.pi / 180.0 / 3600.0
#: Fewest isolated stars from which a Strehl ratio is told.
FEWEST_ALONE = 3
#: A core's part of the light lower than this part of the median: the loop was open for a time. Of such
#: exposures drawn over seeing and crowding they are 0.56 to 0.73, of good ones 0.75 and more. And the median
#: FWHM in arcsec up to which the loop was closed at all, without which the air makes what it likes.
FUZZY, CORRECTED = 0.74, 0.2


@dataclass(frozen=True)
class StarImage:
    """The medians of an exposure's bright single stars, NaN without any: FWHM in pixels, ellipticity,
    and an estimate of the Strehl ratio (NaN also where too few stars stand alone, or where their light is so
    badly measured that it is not between 0 and 1). ``core``: part of the light within 32 pixels that is
    within 8; what shines around stars in a crowd is in it, so that it tells exposures of one field apart.
    """

    width: float
    ellipticity: float
    strehl: float
    core: float = np.nan


def measure_images(frames: Sequence[FrameRef], context: Context) -> list[StarImage]:
    """What the stars of each frame with measured sources look like."""
    return list(context.map(_measure_frame, [(context.disk, frame) for frame in frames]))


def _measure_frame(task: tuple[Files, FrameRef]) -> StarImage:
    files, frame = task
    found = [(np.zeros(0),) * 5]
    instrument = frame.instrument
    pixel = instrument.field.reference_scale
    perfect = peak_of_perfect_image(wavelength_of(frame), *instrument.pupil, pixel)
    for index, table in enumerate(frame.sources):
        stars = _single_stars(table)
        alone = _is_isolated(stars)
        pairs = np.array([_profile(files, frame, index, star) for star in stars]).reshape(-1, 2)
        light = np.where(alone, stars["wide"], np.nan)
        cores = stars["flux"][:, 0] / stars["flux"][:, 2]
        found.append((pairs[:, 0], stars["ellipticity"], pairs[:, 1] / light / perfect, light, cores))
    columns = (np.concatenate(column) for column in zip(*found, strict=True))
    widths, ellipticities, strehls, light, cores = columns
    return StarImage(_median(widths), _median(ellipticities), _strehl_of(strehls, light), _median(cores))


def _strehl_of(strehls: F64, light: F64) -> float:
    """The median of stars' Strehl ratios weighted by their light, NaN where fewer than three are between 0
    and 1: what shines around a faint star can be brighter than its halo."""
    known = (strehls > 0.0) & (strehls < 1.0)
    if known.sum() < FEWEST_ALONE:
        return np.nan
    order = np.argsort(strehls[known])
    share = np.cumsum(light[known][order])
    return float(strehls[known][order][np.searchsorted(share, 0.5 * share[-1])])


def _single_stars(table: Table) -> Table:
    """The brightest stars with nothing amiss."""
    strong = table["flux"][:, 0] > LEAST_SIGNAL * table["flux_error"][:, 0]
    kept: Table = table[((table["flags"] & (NO_POSITION | BLENDED)) == 0) & strong][:MOST_STARS]
    return kept


def _is_isolated(table: Table) -> F64:
    """Whether other sources near enough to reach a star's background ring are much fainter together."""
    places = np.stack([table["x"], table["y"]], axis=1)
    light = np.maximum(table["flux"][:, 1], 0.0)
    near = cKDTree(places).query_ball_point(places, 1.4 * WIDE_RING[1]) if len(table) else []
    total = np.array([light[index].sum() for index in near])
    return np.asarray(np.isfinite(table["wide"]) & (total - light < MOST_NEIGHBOURS * light))


def _profile(files: Files, frame: FrameRef, index: int, star: Table) -> tuple[float, float]:
    """FWHM in pixels and peak in electrons per pixel of one star, read from the disk."""
    reach = int(1.3 * star["fwhm"]) + 2
    x, y = round(float(star["x"])), round(float(star["y"]))
    height, width = int(frame.chips[index]["NAXIS2"]), int(frame.chips[index]["NAXIS1"])
    rows = slice(max(y - reach, 0), min(y + reach + 1, height))
    columns = slice(max(x - reach, 0), min(x + reach + 1, width))
    chip = files.read_chip(frame, index, rows, variance=False)
    cut = chip.data[:, columns] - np.float32(star["background"])
    bad = (chip.mask[:, columns] & dq.UNUSABLE) != 0
    middle = float(star["x"]) - columns.start, float(star["y"]) - rows.start
    return half_width(cut, bad, *middle, float(star["fwhm"]))


def peak_of_perfect_image(wavelength: float, pupil: float, hidden: float, pixel: float) -> float:
    """The share of a star's light in the middle pixel if only the pupil and the pixel widened its image.

    ``wavelength``, ``pupil``, ``hidden``: metres; ``pixel``: arcsec. The image of an annular pupil (Born &
    Wolf, Principles of Optics, 8.6.2), averaged over a square of the pixel's size.
    """
    ratio = hidden / pupil
    middles = (np.arange(21) - 10) / 21.0 * pixel * RADIANS
    radius = np.hypot(*np.meshgrid(middles, middles))
    argument = np.maximum(np.pi * pupil * radius / wavelength, 1e-9)

    def disc(v: F64) -> F64:
        return np.asarray(2.0 * j1(v) / v)

    amplitude = (disc(argument) - ratio**2 * disc(ratio * argument)) / (1.0 - ratio**2)
    collecting = np.pi / 4.0 * pupil**2 * (1.0 - ratio**2)
    return float(np.mean(amplitude**2) * collecting * (pixel * RADIANS / wavelength) ** 2)


def wavelength_of(frame: FrameRef) -> float:
    """The filter's effective wavelength in metres, NaN for a filter that is not known."""
    found = describe(frame.header, frame.chips).effective_wavelength
    return np.nan if found is None else float(found)


def is_fuzzy(cores: F64, widths: F64) -> NDArray[np.bool_]:
    """In which exposures with such cores (n,) and FWHM in arcsec (n,) the loop was open for a time, as the
    others tell: a Strehl ratio cannot, which is wrong by a factor of two in crowds."""
    return np.asarray((cores < FUZZY * _median(cores)) & (_median(widths) < CORRECTED), bool)


def _median(values: F64) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
