"""The report's figures, each an inline picture with the sentence below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from goafetch.report.drawing import graphs, pictures
from goafetch.report.drawing.draw import drawn_plainly
from goafetch.report.model import Product, RunSummary
from goafetch.report.products import Stack, read_mosaic
from goafetch.report.quality import Quality


@dataclass(frozen=True)
class Figure:
    """An inline SVG and the sentence below it."""

    svg: str
    caption: str


def list_flats(folder: Path, products: Sequence[Product]) -> list[tuple[Path, str, int]]:
    """The master flats among the products of a workspace, as ``draw_flat`` takes them."""
    flats = [product for product in products if product.kind == "flat" and (folder / product.path).exists()]
    return [(folder / flat.path, flat.group, number) for number, flat in enumerate(flats)]


@drawn_plainly
def draw_flat(path: Path, group: str, number: int) -> Figure:
    """A master flat of a group; ``number`` tells it from others on a page."""
    mosaic = read_mosaic(path)
    alt = f"Master flat {path.name}, the arrays as they lie on the focal plane."
    svg = pictures.draw_mosaic(mosaic, "relative response", alt, f"flat{number}")
    return Figure(svg, f"{path.name} ({group}): {mosaic.masked:.1%} of its pixels are masked (blue).")


def draw_maps(stack: Stack, quality: Quality) -> list[Figure]:
    """Exposure time and noise of each pixel of a stack, and how faint a star it shows there."""
    figures = []
    if stack.seconds is not None:
        words = "seconds", "Map of the exposure time of each pixel."
        svg = pictures.draw_map(stack.seconds, stack.shape, words, "seconds")
        figures.append(Figure(svg, "Exposure time of each pixel."))
    words = "electrons", "Map of the noise of single pixels."
    svg = pictures.draw_map(stack.thin.variance, stack.shape, words, "noise", change=np.sqrt)
    caption = "Noise of a pixel, the square root of VAR: it grows with light and where fewer exposures reach."
    figures.append(Figure(svg, caption))
    return [*figures, *_draw_depth(stack, quality)]


def _draw_depth(stack: Stack, quality: Quality) -> list[Figure]:
    """The faintest star at each place, where there is a zeropoint: without one the noise says the same."""
    if quality.depth is None or not quality.noise or quality.limit(quality.depth) is None:
        return []
    words = "mag", "Map of the faintest point source that stands five sigma above the sky."
    svg = pictures.draw_map(
        stack.thin.variance,
        stack.shape,
        words,
        "depth",
        change=lambda variance: quality.faintest(np.sqrt(variance)),
    )
    return [Figure(svg, "The faintest star at five sigma, in an aperture of one FWHM in radius.")]


def list_skies(folder: Path, summary: RunSummary, stack: str) -> tuple[list[Path], list[Path]]:
    """The frames of a stack that tell the sky's level: those on target, and those off target."""
    paths = {
        kind: [folder / p.path for p in summary.products if p.kind == kind and p.stack == stack]
        for kind in ("on target", "off target")
    }
    return [p for p in paths["on target"] if p.exists()], [p for p in paths["off target"] if p.exists()]


@drawn_plainly
def draw_sky(on_target: Sequence[Path], off_target: Sequence[Path]) -> Figure | None:
    """The sky's level against time in the frames of a group, None if fewer than two tell it."""
    points = [*graphs.read_sky(on_target, on_target=True), *graphs.read_sky(off_target, on_target=False)]
    if len(points) < 2:
        return None
    caption = "The level that was subtracted from each exposure on target, and that seen off target."
    return Figure(graphs.draw_sky(points, "sky"), caption)


def draw_exposures(stack: Stack) -> Figure | None:
    """What each exposure of a stack was like, None if the product does not say."""
    table = stack.tables.get("EXPOSURES")
    if table is None or not len(table):
        return None
    caption = (
        "Against time: width of stars, Strehl ratio where it was estimated, transparency relative to the "
        "first exposure, and the rms residual per axis of the stars that aligned it."
    )
    return Figure(graphs.draw_exposures(table, "exposures"), caption)


def draw_noise(stack: Stack) -> Figure | None:
    """How noise is correlated between a stack's pixels, None if the product does not say."""
    table = stack.tables.get("NOISE")
    svg = graphs.draw_noise(table, "boxes") if table is not None else None
    caption = (
        "Resampling and shared skies correlate neighbouring pixels: multiply the square root of the summed "
        "VAR over a box by this to get the noise of its sum."
    )
    return Figure(svg, caption) if svg else None


def draw_residuals(stack: Stack) -> Figure | None:
    """What the alignment left, None if the product does not say."""
    table = stack.tables.get("RESIDUALS")
    if table is None or not len(table):
        return None
    caption = (
        "How far the exposures show stars from their mean places. Arrows that point at random are noise; "
        "neighbours that agree would be distortion that was not solved for."
    )
    return Figure(graphs.draw_residuals(table, stack.shape, "residuals"), caption)


def draw_growth(stack: Stack, scale: float | None) -> Figure | None:
    """The growth curve of the brightest good star, None without one."""
    growth = graphs.measure_growth(stack)
    if growth is None:
        return None
    unit = f"{growth.holding(0.5) * scale:.3f} arcsec" if scale else f"{growth.holding(0.5):.1f} pixels"
    caption = (
        f"Light within a radius of the brightest good star, at x {growth.x:.0f}, y {growth.y:.0f}: "
        f"{growth.light[-1]:.4g} electrons an exposure in all, half of them within {unit}."
    )
    return Figure(graphs.draw_growth(growth, scale, "growth"), caption)
