"""Aligned exposures made ready to be stacked: sharpness, residual sky, weights, the way to their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

from reducer import dq
from reducer.astrometry import Geometry, Grid, Inverse
from reducer.errors import BadInput
from reducer.frame import Context, Files, FrameRef
from reducer.headers.descriptors import describe
from reducer.photometry.catalogue import width_of
from reducer.sources import (
    BLENDED,
    NO_POSITION,
    WIDE_RADIUS,
    WIDE_RING,
    light_about,
    places_of,
    well_measured,
)
from reducer.stack.levels import Level, Survey, lattice, solve_levels, survey_exposure
from reducer.stack.noise import Sampling, excess_of, samplings
from reducer.stack.snowballs import find_snowballs
from reducer.types import F64, Table

# --- width, shape and Strehl ratio of an exposure's stars, on their pixels -------------------------

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
        pairs = np.array([_profile(files, frame, index, star) for star in stars]).reshape(-1, 2)
        light = _light_alone(stars, table)
        cores = stars["flux"][:, 0] / stars["flux"][:, 2]
        found.append((pairs[:, 0], stars["ellipticity"], pairs[:, 1] / light / perfect, light, cores))
    columns = (np.concatenate(column) for column in zip(*found, strict=True))
    widths, ellipticities, strehls, light, cores = columns
    return StarImage(
        median_of_known(widths),
        median_of_known(ellipticities),
        _strehl_of(strehls, light),
        median_of_known(cores),
    )


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
    kept: Table = table[well_measured(table, LEAST_SIGNAL, flags=NO_POSITION | BLENDED)][:MOST_STARS]
    return kept


def _light_alone(stars: Table, table: Table) -> F64:
    """All light of each star: what is within WIDE_RADIUS over its ring, less the neighbours' part of it, by
    their light in an aperture. NaN where that is more than the star's own.

    ``table``: all sources of the array. Neighbours shine as the star does, in the ring as a level too high.
    """
    places, others, light = places_of(stars), places_of(table), np.maximum(table["flux"][:, 1], 0.0)
    within, to_ring, beyond = (light_about(places, others, light, r) for r in (WIDE_RADIUS, *WIDE_RING))
    share = WIDE_RADIUS**2 / (WIDE_RING[1] ** 2 - WIDE_RING[0] ** 2)
    own = np.maximum(stars["flux"][:, 1], 0.0)
    inner, ring = within - own, share * (beyond - to_ring)
    alone = inner + ring < MOST_NEIGHBOURS * own
    return np.where(alone, stars["wide"] * own / np.where(alone, own + inner - ring, 1.0), np.nan)


def _profile(files: Files, frame: FrameRef, index: int, star: Table) -> tuple[float, float]:
    """FWHM in pixels and peak in electrons per pixel of one star, read from the disk."""
    reach, y = int(star["fwhm"]) + 2, round(float(star["y"]))
    rows = slice(max(y - reach, 0), min(y + reach + 1, int(frame.chips[index]["NAXIS2"])))
    chip = files.read_chip(frame, index, rows, variance=False)
    star = star.copy()
    star["y"] -= rows.start
    return width_of(star, chip.data, (chip.mask & dq.UNUSABLE) == 0)


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
    return np.asarray((cores < FUZZY * median_of_known(cores)) & (median_of_known(widths) < CORRECTED), bool)


def median_of_known(values: F64) -> float:
    """The median of what is finite, NaN where nothing is. ``values``: (n,) of any unit."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan


# --- exposures -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exposure:
    """One exposure ready to be stacked: where its pixels go, what to take off and multiply, what it weighs.

    ``inverses``: from the stack's pixels to each chip's; ``levels``: residual sky in the exposure's own
    electrons; ``factor`` brings it to the reference's transparency and exposure time; ``weights``
    by array number from 0; ``variance``: of a pixel of the sky, so scaled; ``seconds``: EXPTIME x COADDS;
    ``width``: FWHM of its stars in its own pixels, the other exposures' where it has none; ``image``: what
    its stars look like. ``samplings``: how it is interpolated along either axis; ``excess``: what its VAR is
    multiplied by, because its pixels are correlated already. ``snowballs``: of each chip, (n, 3): column, row
    and radius in pixels of what heavy cosmic rays spoil, 0 where it cannot be told and stays.
    """

    frame: FrameRef
    arrays: tuple[int, ...]
    inverses: tuple[Inverse, ...]
    levels: tuple[Level, ...]
    factor: float
    weights: F64
    variance: float
    seconds: float
    width: float
    image: StarImage
    samplings: tuple[Sampling, Sampling]
    excess: float
    snowballs: tuple[F64, ...] = ()


def prepare_exposures(
    frames: Sequence[FrameRef], images: Sequence[StarImage], grid: Grid, kernel: str, context: Context
) -> tuple[Exposure, ...]:
    """Levels, weights and inverse maps of all exposures, whose stars look like ``images``."""
    light = [frame.with_(sources=()) for frame in frames]
    points = lattice(grid, len(frames))
    surveys = list(context.map(survey_exposure, [(context.disk, frame, points) for frame in light]))
    pairs = zip(frames, surveys, strict=True)
    if bare := [frame.path.name for frame, survey in pairs if (survey.variance == 0).any()]:
        raise BadInput(
            f"{', '.join(bare)}: no variance", "that of each pixel, to weigh exposures by", "leave addVAR in"
        )
    geometries = [frame.placed for frame in frames]
    factors = [frame.scale for frame in frames]
    levels = solve_levels(surveys, factors, geometries, points)
    widths = known_widths(images)
    sharp = sharpness(images, geometries)
    snowballs = find_snowballs(frames, geometries, context)
    exposures = []
    for frame, geometry, survey, level, width, peak, image, spoilt in zip(
        light, geometries, surveys, levels, widths, sharp, images, snowballs, strict=True
    ):
        inverses = tuple(geometry.inverse(chip, grid.to_pixel) for chip in range(len(frame.chips)))
        along = samplings(context.disk, frame, geometry, inverses[0], grid)
        exposures.append(
            Exposure(
                frame=frame,
                arrays=tuple(region.array for region in geometry.regions),
                inverses=inverses,
                levels=level,
                factor=frame.scale * flux_factor(geometry, grid),
                weights=weights_of(survey, frame.scale, peak),
                variance=float(np.nanmedian(survey.variance)) * frame.scale**2,
                seconds=exposure_seconds(frame),
                width=float(width),
                image=image,
                samplings=along,
                excess=excess_of(kernel, along),
                snowballs=spoilt,
            )
        )
        middles = zip(level, geometry.regions, strict=True)
        taken = {part.array: one.at(part.width / 2, part.height / 2) for one, part in middles}
        context.notify("residual_sky", file=frame.path.name, levels=taken)
    return tuple(exposures)


def flux_factor(geometry: Geometry, grid: Grid) -> float:
    """What a frame's values are multiplied by for the size of the stack's pixels.

    Exposures hold electrons per reference pixel, stacks per pixel of their own.
    """
    return (grid.scale / geometry.pixel) ** 2


def weights_of(survey: Survey, scale: float, peak: float) -> F64:
    """Weights by array number from 0: a star's peak brightness over the sky's scaled variance."""
    weights = peak / (survey.variance * scale**2)
    return np.where(np.isfinite(weights), weights, 0.0)


def sharpness(images: Sequence[StarImage], geometries: Sequence[Geometry]) -> F64:
    """Peaks of a star's images (n,) relative to the median exposure's: one over their area, or, if lower, the
    light of their cores where the loop was open for a time, for then these keep their width.
    """
    widths, cores = known_widths(images), np.array([image.core for image in images])
    peaks = (np.median(widths) / widths) ** 2
    opened = is_fuzzy(cores, widths * [geometry.pixel for geometry in geometries])
    if opened.any():
        peaks[opened] = np.minimum(peaks, cores / np.nanmedian(cores))[opened]
    return peaks


def known_widths(images: Sequence[StarImage]) -> F64:
    """FWHM in pixels; where an exposure has no star to measure, the median of the others, 1 without any."""
    widths = np.array([image.width for image in images])
    known = widths[np.isfinite(widths)]
    return np.where(np.isfinite(widths), widths, np.median(known) if len(known) else 1.0)


def exposure_seconds(frame: FrameRef) -> float:
    """EXPTIME x COADDS, or TEXPTIME of a frame that is a stack already."""
    total = frame.header.get("TEXPTIME")
    if total is not None:
        return float(total)
    return frame.exposure_time * frame.coadds
