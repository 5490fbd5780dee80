"""Pictures of products: pixels with axes in RA and Dec, for the page and for a notebook."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goafetch.report.draw import (
    INK,
    as_png,
    as_svg,
    centre_and_spread,
    drawn_plainly,
    new_axes,
    new_figure,
)
from goafetch.report.stack_file import Mosaic, StackFile, read_mosaic, read_stack, shrink
from reducer.instruments import instrument_of
from reducer.types import F32, F64

#: The colour of sky that no array saw: nothing in a grey picture looks like it.
NO_DATA = "#3b5b7a"
#: The same in a picture of dark stars on white.
NO_DATA_ON_WHITE = "#c5d6ea"
#: What makes a map of another one.
Change = Callable[[F32], F32]


def draw_stack(stack: StackFile, most: int = 1100) -> bytes:
    """A PNG of the stack with axes in RA and Dec where its header has a celestial WCS."""
    image, blocks = shrink(stack.half, most)
    return draw_on_sky(stack, stretched(image), 2 * blocks)


def draw_on_sky(stack: StackFile, picture: NDArray[Any], side: int) -> bytes:
    """A PNG of a picture of a stack with its axes.

    ``picture``: from 0 to 1 (ny, nx), or colours (ny, nx, 3); each of its pixels is ``side`` of the stack's.
    """
    scale = 1 / side
    height, width = (length * scale for length in stack.shape)
    figure = new_figure(7.6, 7.0 * height / width)
    axes = new_axes(figure)
    axes.imshow(picture, origin="lower", cmap=grey(), vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5))
    world = stack.world()
    if world is not None:
        label_sky(axes, world, stack.shape, scale, stack.text("RADESYS"))
    else:
        axes.set(xlabel="x (pixels)", ylabel="y (pixels)", xticks=(), yticks=())
    return as_png(figure, dpi=round(max(100, picture.shape[1] / 6.6)))


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
    """An SVG of the arrays as they lie on the focal plane, masked pixels in blue."""
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
    corners = [array.corner for array in instrument_of(mosaic.header, mosaic.path.name).arrays]
    columns, rows = sorted({x for x, _ in corners}), sorted({y for _, y in corners}, reverse=True)
    for number, image in small.items():
        x, y = corners[number - 1]
        place = 1 + rows.index(y) * len(columns) + columns.index(x)
        axes = new_axes(figure, 100 * len(rows) + 10 * len(columns) + place, title=f"array {number}")
        axes.set(xticks=(), yticks=())
        drawn = axes.imshow(image, origin="lower", cmap=grey(), vmin=low, vmax=high, interpolation="nearest")
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


def grey(name: str = "gray", bad: str = NO_DATA) -> Any:
    """A table of colours, by default grey, in which places without data have the colour ``bad``."""
    from matplotlib import colormaps

    return colormaps[name].with_extremes(bad=bad)


def _percentile(image: F32, percent: float) -> float | None:
    finite = image[np.isfinite(image)]
    return float(np.percentile(finite, percent)) if finite.size else None


# --- axes in right ascension and declination: ticks where round values meet the edges ------------------
# They are set once, from the tangential projection itself (Calabretta & Greisen 2002, A&A 395, 1077):
# astropy's own axes take longer to import and to draw than all the rest of the picture.

#: Steps between ticks: seconds of time for right ascension, of arc for declination.
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
MOST_TICKS = 6


@dataclass(frozen=True)
class Ticks:
    """Where ticks stand along an edge, in pixels from its beginning, and what they say."""

    title: str
    places: list[float]
    labels: list[str]


def find_sky(world: Mapping[str, float], x: F64, y: F64) -> tuple[F64, F64]:
    """RA and Dec in degrees of one-based pixels; ``world``: CRPIX, CRVAL and CD of a tangential projection.

    RA runs on without a jump at 360 degrees.
    """
    dx, dy = x - world["CRPIX1"], y - world["CRPIX2"]
    xi, eta = (np.radians(world[f"CD{row}_1"] * dx + world[f"CD{row}_2"] * dy) for row in (1, 2))
    pole = np.radians(world["CRVAL2"])
    below = np.cos(pole) - eta * np.sin(pole)
    ra = world["CRVAL1"] + np.degrees(np.arctan2(xi, below))
    dec = np.degrees(np.arctan2(np.sin(pole) + eta * np.cos(pole), np.hypot(xi, below)))
    return np.unwrap(ra, period=360), dec


def find_ticks(world: Mapping[str, float], size: tuple[int, int]) -> tuple[Ticks, Ticks]:
    """Ticks of the lower and of the left edge of a picture of ``size`` (ny, nx) pixels.

    The lower edge shows whichever coordinate changes more along it, the left edge the other one.
    """
    height, width = size
    right, up = np.linspace(0.5, width + 0.5, 200), np.linspace(0.5, height + 0.5, 200)
    below, left = find_sky(world, right, np.full(200, 0.5)), find_sky(world, np.full(200, 0.5), up)
    shrunk = np.cos(np.radians(world["CRVAL2"]))
    is_upright = abs(np.ptp(below[0])) * shrunk >= abs(np.ptp(below[1]))
    first, second = (0, 1) if is_upright else (1, 0)
    return _tick(below[first], right - 0.5, first == 0), _tick(left[second], up - 0.5, second == 0)


def _tick(degrees: F64, places: F64, is_ra: bool) -> Ticks:
    """Round values among the coordinates along an edge."""
    title = "Right ascension" if is_ra else "Declination"
    seconds = degrees * (240 if is_ra else 3600)
    order = np.argsort(seconds)
    low, high = seconds[order[0]], seconds[order[-1]]
    step = next((step for step in STEPS if (high - low) / step <= MOST_TICKS), STEPS[-1])
    values = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    found = np.interp(values, seconds[order], places[order])
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    labels = [write_angle(value % 86400 if is_ra else value, digits, signed=not is_ra) for value in values]
    return Ticks(title, [float(place) for place in found], labels)


def write_angle(seconds: float, digits: int, *, signed: bool) -> str:
    """Seconds of time or arc as HH:MM:SS."""
    unit = 10**digits
    whole, part = divmod(round(abs(seconds) * unit), unit)
    sign = ("−" if seconds < 0 else "+") if signed else ""
    text = f"{sign}{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{text}.{part:0{digits}d}" if digits else text


def label_sky(
    axes: Any, world: Mapping[str, float], size: tuple[int, int], scale: float, system: str
) -> None:
    """Give axes of a shrunken picture, ``scale`` of its pixels to one of the stack's, their ticks."""
    below, left = find_ticks(world, size)
    for axis, ticks in ((axes.xaxis, below), (axes.yaxis, left)):
        axis.set_ticks([place * scale - 0.5 for place in ticks.places], ticks.labels)
        axis.set_label_text(f"{ticks.title} {system}".strip())
    axes.tick_params(axis="y", labelrotation=90)
    for label in axes.get_yticklabels():
        label.set_verticalalignment("center")


@dataclass(frozen=True)
class Picture:
    """A picture of a product: shows itself in a notebook; ``save`` writes it as PNG."""

    png: bytes
    caption: str

    def __repr__(self) -> str:
        return f"<Picture of {self.caption}>"

    def _repr_html_(self) -> str:
        source = base64.b64encode(self.png).decode("ascii")
        words = html.escape(self.caption)
        return f'<figure><img alt="{words}" src="data:image/png;base64,{source}"><p>{words}</p></figure>'

    def save(self, path: str | Path) -> Path:
        """Write the PNG and return its path."""
        Path(path).write_bytes(self.png)
        return Path(path)


@drawn_plainly
def view(product: str | Path) -> Picture:
    """A picture of a product: a stack with axes in RA and Dec, any other with its arrays as they lie.

    Raises reducer.errors.BadFile for what is not a product or exposure of a known instrument.
    """
    from reducer.fitsio import open_frame

    path = Path(product)
    frame = open_frame(path)
    if len(frame.chips) == 1 and "TEXPTIME" in frame.header:
        return Picture(draw_stack(read_stack(path)), f"{path.name}: stack, asinh stretch; blue: no data")
    return Picture(paint_mosaic(read_mosaic(path)), f"{path.name}: the arrays as they lie on the focal plane")
