"""Graphs of what happened: the sky's level against time, and how noise is correlated between pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from goafetch.report.drawing.draw import COLOURS, INK, add_legend, as_svg, new_axes, new_figure
from goafetch.report.products import as_number, column
from reducer import dq, fitsio
from reducer.frame import FrameRef
from reducer.headers.descriptors import describe
from reducer.types import Table

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
class SkyPoint:
    """The sky's level in one exposure: electrons, mean of its arrays; ``target`` tells on from off target."""

    name: str
    when: datetime
    level: float
    target: bool


def read_sky(paths: Sequence[Path], *, on_target: bool) -> list[SkyPoint]:
    """The sky level that was subtracted from exposures on target, or is seen in those off target."""
    points = []
    for path in paths:
        frame = fitsio.open_frame(path)
        when = describe(frame.header, frame.chips).ut_datetime
        levels = [_level(frame, index, on_target) for index in range(len(frame.chips))]
        known = [level for level in levels if level is not None]
        if when is not None and known:
            points.append(SkyPoint(path.name, when, float(np.mean(known)), on_target))
    return points


def _level(frame: FrameRef, index: int, on_target: bool) -> float | None:
    if on_target:
        return as_number(frame.chips[index].get("SKYLEVEL"))
    height = int(frame.chips[index]["NAXIS2"])
    middle = slice(max(0, height // 2 - ROWS // 2), height // 2 + ROWS // 2)
    chip = fitsio.read_chip(frame, index, middle)
    good = chip.data[(chip.mask & dq.UNUSABLE) == 0]
    return float(np.median(good)) if good.size else None


def draw_sky(points: Sequence[SkyPoint], prefix: str) -> str:
    """An SVG of the sky's level against time, exposures on target and off target apart."""
    figure = new_figure(6.4, 2.9)
    axes = new_axes(figure)
    begin = min(point.when for point in points)
    for target, label, mark in ((True, "on target", "o"), (False, "off target", "s")):
        chosen = [point for point in points if point.target is target]
        minutes = [(point.when - begin).total_seconds() / 60 for point in chosen]
        levels = [point.level for point in chosen]
        axes.plot(minutes, levels, mark, color=COLOURS[0 if target else 1], label=label, markersize=5)
    axes.set(xlabel=f"minutes after {begin:%Y-%m-%d %H:%M} UT", ylabel="sky (electrons)")
    axes.grid(color=INK, alpha=0.15, linewidth=0.5)
    add_legend(axes)
    levels = [point.level for point in points]
    alt = (
        f"Sky level of {len(points)} exposures against time, from {min(levels):.0f} to {max(levels):.0f} "
        "electrons."
    )
    return as_svg(figure, alt, prefix)


def draw_exposures(table: Table, prefix: str) -> str:
    """An SVG of width, transparency and alignment of the exposures of a stack against time."""
    panels = [panel for panel in PANELS if column(table, panel[0]) is not None]
    places, label = _times(table)
    figure = new_figure(6.4, 0.5 + 1.3 * len(panels))
    figure.subplots_adjust(hspace=0.14)
    for row, (name, title, factor, colour) in enumerate(panels):
        axes = new_axes(figure, 100 * len(panels) + 11 + row)
        axes.plot(places, table[name] * factor, "o", color=colour, markersize=5)
        axes.set_ylabel(title)
        axes.yaxis.set_label_coords(-0.085, 0.5)
        axes.margins(y=0.15)
        axes.grid(color=INK, alpha=0.15, linewidth=0.5)
        axes.tick_params(labelbottom=row == len(panels) - 1)
    axes.set_xlabel(label)
    widths = table["fwhm"][np.isfinite(table["fwhm"])] * 1000
    span = f"from {widths.min():.0f} to {widths.max():.0f} mas" if widths.size else "not measured"
    alt = f"Width, transparency and alignment residual of {len(table)} exposures; FWHM {span}."
    return as_svg(figure, alt, prefix)


def _times(table: Table) -> tuple[np.ndarray, str]:
    """Where exposures stand on an axis of time, and its label: their order where nights lie between them."""
    ut = np.array([np.datetime64(str(text)) for text in table["ut"]], "datetime64[ms]")
    minutes = (ut - ut.min()) / np.timedelta64(60_000, "ms")
    if minutes.max() < ONE_NIGHT:
        return minutes, f"minutes after {str(ut.min())[:16].replace('T', ' ')} UT"
    return np.argsort(np.argsort(ut)) + 1, "exposure in order of time"


def draw_noise(table: Table, prefix: str) -> str | None:
    """An SVG of the table NOISE; None if the table does not have its columns."""
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
    return as_svg(figure, alt, prefix)
