"""Pictures of arrays: the stack on the sky, its maps, the flat as the arrays lie on the focal plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from goafetch.report.blocks import shrink
from goafetch.report.drawing.draw import INK, as_png, as_svg, centre_and_spread, new_axes, new_figure
from goafetch.report.drawing.skyaxes import label_sky
from goafetch.report.products import Mosaic, Stack
from reducer.types import F32

#: The colour of sky that no array saw: nothing in a grey picture looks like it.
NO_DATA = "#3b5b7a"
#: What makes a map of another one.
Change = Callable[[F32], F32]
#: Where the arrays lie on the focal plane, row and column from the top left (arrays 3, 4 above 2, 1).
PLACES = {3: (0, 0), 4: (0, 1), 2: (1, 0), 1: (1, 1)}


def draw_stack(stack: Stack, most: int = 1100) -> bytes:
    """A PNG of the stack with axes in RA and Dec where its header has a celestial WCS."""
    image, blocks = shrink(stack.half, most)
    scale = 1 / (2 * blocks)
    height, width = (side * scale for side in stack.shape)
    figure = new_figure(7.6, 7.0 * height / width)
    axes = new_axes(figure)
    axes.imshow(stretched(image), origin="lower", cmap=_grey(), vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5))
    world = stack.world()
    if world is not None:
        label_sky(axes, world, stack.shape, scale, stack.text("RADESYS"))
    else:
        axes.set(xlabel="x (pixels)", ylabel="y (pixels)", xticks=(), yticks=())
    return as_png(figure, dpi=round(max(100, image.shape[1] / 6.6)))


def stretched(image: F32, softness: float = 3.0) -> F32:
    """Values from 0 (black) to 1 (white) by an asinh of the signal in units of the noise; NaN stays."""
    middle, spread = centre_and_spread(image)
    signal = np.arcsinh((image - middle) / (softness * spread))
    finite = signal[np.isfinite(signal)]
    if finite.size == 0:
        return image
    dark = float(np.percentile(finite, 1))
    high = max(float(np.percentile(finite, 99.9)), float(np.arcsinh(20 / softness)))
    low = dark - 0.12 * (high - dark)
    return np.asarray(np.clip((signal - low) / (high - low), 0, 1), np.float32)


def draw_map(
    image: F32, size: tuple[int, int], words: tuple[str, str], prefix: str, change: Change = np.asarray
) -> str:
    """An SVG of a positive map of the stack, such as exposure time, with its scale; 0 is no data.

    ``image``: every other pixel of a stack of ``size`` (ny, nx), of which means over blocks are shown, after
    ``change`` is applied to them. ``words``: what the scale says, and a description.
    """
    means, blocks = shrink(np.where(image > 0, image, np.float32(np.nan)), 450)
    small = change(means)
    height, width = size
    figure = new_figure(5.0, 3.2 * height / width + 0.6, right=1.0)
    axes = new_axes(figure)
    drawn = axes.imshow(
        small,
        origin="lower",
        cmap="viridis",
        extent=(0.5, small.shape[1] * 2 * blocks + 0.5, 0.5, small.shape[0] * 2 * blocks + 0.5),
        interpolation="nearest",
        vmin=_percentile(small, 1),
        vmax=_percentile(small, 99),
    )
    axes.set(xlim=(0.5, width + 0.5), ylim=(0.5, height + 0.5), xlabel="x (pixels)", ylabel="y (pixels)")
    _add_scale(figure, drawn, words[0])
    return as_svg(figure, words[1], prefix)


def draw_mosaic(mosaic: Mosaic, label: str, alt: str, prefix: str) -> str:
    """An SVG of the four arrays as they lie on the focal plane, masked pixels in blue."""
    return as_svg(_plot_mosaic(mosaic, label, (1, 99)), alt, prefix)


def paint_mosaic(mosaic: Mosaic) -> bytes:
    """A PNG of the arrays of any product or exposure, from its 1st to its 99.5th percentile."""
    unit = str(mosaic.header.get("BUNIT", "")) or "value"
    return as_png(_plot_mosaic(mosaic, unit, (1, 99.5)))


def _plot_mosaic(mosaic: Mosaic, label: str, percentiles: tuple[float, float]) -> Any:
    small = {number: shrink(data, 330)[0] for number, data in mosaic.data.items()}
    values = np.concatenate([image[np.isfinite(image)] for image in small.values()])
    low, high = np.percentile(values, percentiles) if values.size else (0.0, 1.0)
    figure = new_figure(5.4, 4.6, right=1.0, top=0.3)
    figure.subplots_adjust(left=0.02, bottom=0.02, wspace=0.05, hspace=0.14)
    for number, image in small.items():
        row, place = PLACES[number]
        axes = new_axes(figure, 221 + 2 * row + place, title=f"array {number}")
        axes.set(xticks=(), yticks=())
        drawn = axes.imshow(image, origin="lower", cmap=_grey(), vmin=low, vmax=high, interpolation="nearest")
    if small:
        _add_scale(figure, drawn, label)
    return figure


def _add_scale(figure: Any, drawn: Any, label: str) -> None:
    """A colour bar in the right margin of a figure, as high as its axes."""
    width, edges = figure.get_figwidth(), figure.subplotpars
    place = (edges.right + 0.1 / width, edges.bottom, 0.16 / width, edges.top - edges.bottom)
    bar = figure.colorbar(drawn, cax=figure.add_axes(place))
    bar.set_label(label, color=INK, fontsize=9.5)
    bar.ax.tick_params(colors=INK, labelsize=9)
    bar.outline.set_edgecolor(INK)
    bar.outline.set_linewidth(0.6)


def _grey() -> Any:
    from matplotlib import colormaps

    return colormaps["gray"].with_extremes(bad=NO_DATA)


def _percentile(image: F32, percent: float) -> float | None:
    finite = image[np.isfinite(image)]
    return float(np.percentile(finite, percent)) if finite.size else None
