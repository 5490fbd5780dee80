"""The report's figures: each an inline picture of what a product measured, with the sentence below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from goafetch.report import pictures
from goafetch.report.draw import COLOURS, INK, add_legend, as_svg, drawn_plainly, new_axes, new_figure
from goafetch.report.run_summary import Product, RunSummary
from goafetch.report.stack_file import StackFile, as_number, column, read_mosaic
from goafetch.report.verdicts import Quality
from reducer import dq, fitsio
from reducer.frame import FrameRef
from reducer.headers.descriptors import describe
from reducer.types import F64, Table

#: Rows in the middle of an array that stand for its background.
ROWS = 48
#: Minutes that exposures of one night span at most.
ONE_NIGHT = 720
#: Columns of EXPOSURES that are drawn where the product has them: title, factor, colour.
PANELS = (
    ("fwhm", "FWHM (mas)", 1000.0, COLOURS[0]),
    ("strehl", "Strehl", 1.0, COLOURS[3]),
    ("transparency", "transparency", 1.0, COLOURS[2]),
    ("rms", "residual (mas)", 1000.0, COLOURS[1]),
)


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


def draw_maps(stack: StackFile, quality: Quality) -> list[Figure]:
    """Exposure time and noise of each pixel of a stack, and how faint a star it shows there."""
    figures = []
    if stack.seconds is not None:
        words = "seconds", "Map of the exposure time of each pixel."
        svg = pictures.draw_map(stack.seconds, stack.shape, words, "seconds")
        figures.append(Figure(svg, "Exposure time of each pixel."))
    words = "electrons", "Map of the noise of single pixels."
    svg = pictures.draw_map(stack.thin.variance, stack.shape, words, "noise", change=np.sqrt)
    caption = "Noise per pixel, √VAR: higher on bright sources and where fewer exposures overlap."
    figures.append(Figure(svg, caption))
    return [*figures, *_draw_depth(stack, quality)]


def _draw_depth(stack: StackFile, quality: Quality) -> list[Figure]:
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
    return [Figure(svg, "5-sigma limiting magnitude of point sources, aperture radius one FWHM.")]


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
    seen = {"on target": _read_sky(on_target, True), "off target": _read_sky(off_target, False)}
    points = [point for part in seen.values() for point in part]
    if len(points) < 2:
        return None
    figure = new_figure(6.4, 2.9)
    axes = new_axes(figure)
    begin = min(when for when, _ in points)
    for (label, part), mark, colour in zip(seen.items(), "os", COLOURS[:2], strict=True):
        minutes = [(when - begin).total_seconds() / 60 for when, _ in part]
        axes.plot(minutes, [level for _, level in part], mark, color=colour, label=label, markersize=5)
    axes.set(xlabel=f"minutes after {begin:%Y-%m-%d %H:%M} UT", ylabel="sky (electrons)")
    axes.grid(color=INK, alpha=0.15, linewidth=0.5)
    add_legend(axes)
    levels = [level for _, level in points]
    alt = (
        f"Sky level of {len(points)} exposures against time, from {min(levels):.0f} to {max(levels):.0f} "
        "electrons."
    )
    caption = "Sky level subtracted from the exposures on target, and measured off target."
    return Figure(as_svg(figure, alt, "sky"), caption)


def _read_sky(paths: Sequence[Path], is_on_target: bool) -> list[tuple[datetime, float]]:
    """When exposures were taken, and their sky, electrons, the mean of their arrays: the level that was
    subtracted from those on target, and that seen in those off target."""
    points = []
    for path in paths:
        frame = fitsio.open_frame(path)
        when = describe(frame.header, frame.chips).ut_datetime
        levels = [_level(frame, index, is_on_target) for index in range(len(frame.chips))]
        known = [level for level in levels if level is not None]
        if when is not None and known:
            points.append((when, float(np.mean(known))))
    return points


def _level(frame: FrameRef, index: int, is_on_target: bool) -> float | None:
    if is_on_target:
        return as_number(frame.chips[index].get("SKYLEVEL"))
    height = int(frame.chips[index]["NAXIS2"])
    middle = slice(max(0, height // 2 - ROWS // 2), height // 2 + ROWS // 2)
    chip = fitsio.read_chip(frame, index, middle)
    good = chip.data[(chip.mask & dq.UNUSABLE) == 0]
    return float(np.median(good)) if good.size else None


def draw_exposures(stack: StackFile) -> Figure | None:
    """What each exposure of a stack was like, None if the product does not say."""
    table = stack.tables.get("EXPOSURES")
    if table is None or not len(table):
        return None
    known = [(panel, column(table, panel[0])) for panel in PANELS]
    panels = [panel for panel, values in known if values is not None and np.isfinite(values).any()]
    if not panels:
        return None
    places, label = _times(table)
    edge = 0.05 * float(np.ptp(places)) or 0.5
    figure = new_figure(6.4, 0.5 + 1.3 * len(panels))
    figure.subplots_adjust(hspace=0.14)
    for row, (name, title, factor, colour) in enumerate(panels):
        axes = new_axes(figure, 100 * len(panels) + 11 + row)
        axes.plot(places, table[name] * factor, "o", color=colour, markersize=5)
        axes.set_ylabel(title)
        axes.yaxis.set_label_coords(-0.085, 0.5)
        axes.margins(y=0.15)
        axes.set_xlim(places.min() - edge, places.max() + edge)  # of all, also where a value is not known
        axes.grid(color=INK, alpha=0.15, linewidth=0.5)
        axes.tick_params(labelbottom=row == len(panels) - 1)
    axes.set_xlabel(label)
    widths = table["fwhm"][np.isfinite(table["fwhm"])] * 1000
    span = f"from {widths.min():.0f} to {widths.max():.0f} mas" if widths.size else "not measured"
    alt = f"Width, transparency and alignment residual of {len(table)} exposures; FWHM {span}."
    caption = (
        "Against time: FWHM of stars, Strehl ratio where it was estimated, transparency relative to the "
        "first exposure, and rms alignment residual per axis."
    )
    return Figure(as_svg(figure, alt, "exposures"), caption)


def _times(table: Table) -> tuple[np.ndarray, str]:
    """Where exposures stand on an axis of time, and its label: their order where nights lie between them."""
    ut = np.array([np.datetime64(str(text)) for text in table["ut"]], "datetime64[ms]")
    minutes = (ut - ut.min()) / np.timedelta64(60_000, "ms")
    if minutes.max() < ONE_NIGHT:
        return minutes, f"minutes after {str(ut.min())[:16].replace('T', ' ')} UT"
    return np.argsort(np.argsort(ut)) + 1, "exposure in order of time"


def draw_noise(stack: StackFile) -> Figure | None:
    """How noise is correlated between a stack's pixels, None if the product does not say."""
    table = stack.tables.get("NOISE")
    sizes, ratios = column(table, "n"), column(table, "ratio")
    if sizes is None or ratios is None:
        return None
    figure = new_figure(6.4, 2.6)
    axes = new_axes(figure)
    axes.plot(sizes, ratios, color=COLOURS[0])
    axes.axhline(1, color=INK, linewidth=0.6, linestyle=":")
    axes.set(xlabel="side of a box (pixels)", ylabel="noise / √ΣVAR")
    axes.grid(color=INK, alpha=0.15, linewidth=0.5)
    ends = f"{ratios[0]:.2f} at {sizes[0]} pixels, {ratios[-1]:.2f} at {sizes[-1]}"
    alt = f"Noise of boxes over the square root of their summed VAR: {ends}."
    caption = (
        "Resampling and shared skies correlate neighbouring pixels: multiply the square root of the summed "
        "VAR over a box by this to get the noise of its sum."
    )
    return Figure(as_svg(figure, alt, "boxes"), caption)


#: Residuals below, mas, are those of a fit through as many stars as it has terms: they say nothing.
LEAST_RESIDUAL = 1e-3
#: Arrows that a picture holds at most: more cannot be told apart.
MOST_ARROWS = 700
#: Radii of the growth curve in pixels end here; the ring beyond them tells the background.
REACH, RING = 60, (66, 80)


@dataclass(frozen=True)
class Growth:
    """A star's light within apertures: ``radii`` in pixels, ``light`` and its ``error`` in electrons.

    ``x``, ``y``: the star's place in one-based pixels.
    """

    x: float
    y: float
    radii: F64
    light: F64
    error: F64

    def holding(self, part: float) -> float:
        """The radius in pixels that holds a part of the light."""
        return float(np.interp(part, np.maximum.accumulate(self.light) / self.light[-1], self.radii))


def measure_growth(stack: StackFile) -> Growth | None:
    """The growth curve of the brightest good star with nothing missing around it; None without one."""
    table = stack.tables.get("OBJCAT")
    x, y, flags = (column(table, name) for name in ("X_IMAGE", "Y_IMAGE", "FLAGS"))
    flux = column(table, "FLUX_APER")
    if x is None or y is None or flags is None or flux is None:
        return None
    bright = np.argsort(-flux.reshape(len(flux), -1)[:, 0])
    for row in bright[flags[bright] == 0][:40]:
        grown = _grow(stack, float(x[row]), float(y[row]))
        if grown is not None:
            return grown
    return None


def _grow(stack: StackFile, x: float, y: float) -> Growth | None:
    left, low = round(x - 1) - RING[1], round(y - 1) - RING[1]
    side = 2 * RING[1] + 1
    if left < 0 or low < 0 or left + side > stack.shape[1] or low + side > stack.shape[0]:
        return None
    planes = stack.rows(slice(low, low + side), True)
    part = np.s_[:, left : left + side]
    if (planes.mask[part] & dq.UNUSABLE).any():
        return None
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(columns - (x - 1 - left), rows - (y - 1 - low))
    ring = (distance > RING[0]) & (distance < RING[1])
    light = planes.data[part] - np.median(planes.data[part][ring])
    radii = np.arange(1.0, REACH + 1)
    inside = np.searchsorted(radii, distance.ravel())
    sums = [
        np.bincount(inside, plane.ravel().astype(float), len(radii) + 1)[: len(radii)].cumsum()
        for plane in (light, planes.variance[part])
    ]
    error = np.sqrt(np.maximum(sums[1], 0)) * (stack.value("NOISCORR") or 1.0)
    return Growth(x, y, radii, sums[0], error) if sums[0][-1] > 0 else None


def draw_growth(stack: StackFile, scale: float | None) -> Figure | None:
    """The growth curve of the brightest good star, None without one; ``scale``: arcsec per pixel."""
    growth = measure_growth(stack)
    if growth is None:
        return None
    figure = new_figure(6.4, 2.9)
    axes = new_axes(figure)
    radii, part = growth.radii * (scale or 1.0), growth.light / growth.light[-1]
    error = growth.error / growth.light[-1]
    axes.fill_between(radii, part - error, part + error, color=COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(radii, part, color=COLOURS[0])
    axes.axhline(1, color=INK, linewidth=0.6, linestyle=":")
    unit = "arcsec" if scale else "pixels"
    axes.set(xlabel=f"radius ({unit})", ylabel="enclosed flux fraction", ylim=(0, 1.08))
    axes.set_xlim(0, radii[-1])
    axes.grid(color=INK, alpha=0.15, linewidth=0.5)
    half = growth.holding(0.5) * (scale or 1.0)
    alt = f"Growth curve of a star: half of its flux within {half:.3g} {unit}."
    within = f"{half:.3f} arcsec" if scale else f"{half:.1f} pixels"
    caption = (
        f"Enclosed flux of the brightest good star, at x {growth.x:.0f}, y {growth.y:.0f}: "
        f"{growth.light[-1]:.4g} e- per exposure in total, half of it within {within}."
    )
    return Figure(as_svg(figure, alt, "growth"), caption)


def draw_residuals(stack: StackFile) -> Figure | None:
    """What the alignment left, as arrows over the stack and in mas; None if the product does not say."""
    table = stack.tables.get("RESIDUALS")
    if table is None or not len(table):
        return None
    svg, length = _draw_arrows(table, table["DX"], table["DY"], stack.shape, "residuals")
    if not svg:
        return None
    caption = (
        f"After alignment: residuals of each exposure's stars from their mean positions, 95 % below "
        f"{length:.2g} mas. Random arrows are noise; coherent ones would be distortion left unsolved."
    )
    return Figure(svg, caption)


def draw_unaligned(stack: StackFile) -> Figure | None:
    """The same stars before the alignment, where the headers' pointing alone puts each exposure."""
    table, exposures, world = stack.tables.get("RESIDUALS"), stack.tables.get("EXPOSURES"), stack.world()
    if table is None or exposures is None or world is None or not len(table):
        return None
    if column(exposures, "shift_east") is None or table["exposure"].max() > len(exposures):
        return None
    matrix = np.array([[world["CD1_1"], world["CD1_2"]], [world["CD2_1"], world["CD2_2"]]])
    along = np.linalg.inv(matrix) * np.sqrt(abs(np.linalg.det(matrix)))  # east and north to x and y
    shifts = np.stack([exposures["shift_east"], exposures["shift_north"]])
    moved = (along @ (shifts - shifts.mean(axis=1, keepdims=True)))[:, table["exposure"] - 1]
    svg, length = _draw_arrows(
        table, table["DX"] - moved[0], table["DY"] - moved[1], stack.shape, "unaligned"
    )
    caption = (
        f"Before alignment: the same stars where the headers' pointing puts each exposure, 95 % within "
        f"{length:.0f} mas of their mean."
    )
    return Figure(svg, caption) if svg else None


def _draw_arrows(
    table: Table, x_off: F64, y_off: F64, shape: tuple[int, int], prefix: str
) -> tuple[str, float]:
    """Offsets of stars (arcsec along x and y) as arrows over the stack and as a cloud, and the length in mas
    that 95 % of them stay below; '' where they are those of a fit without freedom."""
    dx, dy = (np.asarray(offset, float) * 1000 for offset in (x_off, y_off))
    size = np.hypot(dx, dy)
    length = float(np.percentile(size, 95))
    if length < LEAST_RESIDUAL:
        return "", length
    figure = new_figure(6.4, 3.3, top=0.3)
    figure.subplots_adjust(wspace=0.3)
    kept = np.flatnonzero(size < 3 * length)[:: max(1, -(-len(table) // MOST_ARROWS))]
    places = new_axes(figure, 121)
    arrows = places.quiver(
        table["X_IMAGE"][kept], table["Y_IMAGE"][kept], dx[kept], dy[kept],
        angles="xy", scale_units="xy", scale=length / (0.07 * max(shape)), color=COLOURS[0], width=0.003,
    )  # fmt: skip
    unit = round_number(length)
    key = places.quiverkey(arrows, 0.8, 1.04, unit, f"{unit:g} mas", labelpos="E", fontproperties={"size": 9})
    key.text.set_color(INK)
    places.set(xlim=(0, shape[1]), ylim=(0, shape[0]), xlabel="x (pixels)", ylabel="y (pixels)", aspect=1)
    cloud = new_axes(figure, 122)
    cloud.scatter(dx, dy, s=3, color=COLOURS[0], alpha=0.5, linewidths=0, rasterized=True)
    edge = 2.2 * length
    cloud.axhline(0, color=INK, linewidth=0.4)
    cloud.axvline(0, color=INK, linewidth=0.4)
    cloud.set(xlim=(-edge, edge), ylim=(-edge, edge), xlabel="Δx (mas)", ylabel="Δy (mas)", aspect=1)
    alt = f"{len(table)} offsets of stars from their mean positions; 95 % are below {length:.2g} mas."
    return as_svg(figure, alt, prefix), length


def round_number(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above a value."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(step for step in (1, 2, 5) if step * power <= value * 1.0000001) * power)
