"""Aligned exposures made ready to be stacked: residual sky, weights, and the way to their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reducer.align.grid import Grid
from reducer.astrometry.geometry import Geometry, Inverse
from reducer.errors import BadInput
from reducer.frame import Context, FrameRef
from reducer.stack.images import StarImage, is_fuzzy
from reducer.stack.levels import Level, Survey, lattice, solve_levels, survey_exposure
from reducer.stack.noise import Sampling, excess_of, samplings
from reducer.stack.snowballs import find_snowballs
from reducer.types import F64


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
    geometries = [geometry_of(frame) for frame in frames]
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
                weights=weigh(survey, frame.scale, peak),
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
        taken = ", ".join(f"{one.at(part.width / 2, part.height / 2):+.1f}" for one, part in middles)
        context.notify("info", text=f"{frame.path.name}: residual sky {taken} electrons")
    return tuple(exposures)


def flux_factor(geometry: Geometry, grid: Grid) -> float:
    """What a frame's values are multiplied by for the size of the stack's pixels.

    Exposures hold electrons per reference pixel, stacks per pixel of their own.
    """
    return (grid.scale / geometry.pixel) ** 2


def weigh(survey: Survey, scale: float, peak: float) -> F64:
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


def geometry_of(frame: FrameRef) -> Geometry:
    """A frame's geometry; BadInput if no step has given it one."""
    if frame.geometry is None:
        raise BadInput(f"{frame.path.name} is not aligned", "adjustWCSToReference before this step")
    return frame.geometry
