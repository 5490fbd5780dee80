"""Graphs measured on stars: what the alignment left, and how a star's light grows with the aperture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from goafetch.report.drawing.draw import COLOURS, INK, as_svg, new_axes, new_figure
from goafetch.report.products import Stack, column
from reducer import dq
from reducer.types import F64, Table

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


def measure_growth(stack: Stack) -> Growth | None:
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


def _grow(stack: Stack, x: float, y: float) -> Growth | None:
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


def draw_growth(growth: Growth, scale: float | None, prefix: str) -> str:
    """An SVG of the part of a star's light within a radius, against the radius in arcsec (or pixels)."""
    figure = new_figure(6.4, 2.9)
    axes = new_axes(figure)
    radii, part = growth.radii * (scale or 1.0), growth.light / growth.light[-1]
    error = growth.error / growth.light[-1]
    axes.fill_between(radii, part - error, part + error, color=COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(radii, part, color=COLOURS[0])
    axes.axhline(1, color=INK, linewidth=0.6, linestyle=":")
    axes.set(xlabel=f"radius ({'arcsec' if scale else 'pixels'})", ylabel="part of the light", ylim=(0, 1.08))
    axes.set_xlim(0, radii[-1])
    axes.grid(color=INK, alpha=0.15, linewidth=0.5)
    half = growth.holding(0.5) * (scale or 1.0)
    alt = (
        f"Growth curve of a star: half of its light lies within {half:.3g} {'arcsec' if scale else 'pixels'}."
    )
    return as_svg(figure, alt, prefix)


def draw_residuals(table: Table, shape: tuple[int, int], prefix: str) -> str:
    """An SVG of RESIDUALS: arrows over the stack of ``shape`` (ny, nx), and their scatter in mas."""
    figure = new_figure(6.4, 3.3, top=0.3)
    figure.subplots_adjust(wspace=0.3)
    dx, dy = (table[name].astype(float) * 1000 for name in ("DX", "DY"))
    size = np.hypot(dx, dy)
    length = float(np.percentile(size, 95)) or 1.0
    shown = table[size < 3 * length][:: max(1, -(-len(table) // MOST_ARROWS))]
    places = new_axes(figure, 121)
    arrows = places.quiver(
        shown["X_IMAGE"], shown["Y_IMAGE"], shown["DX"] * 1000, shown["DY"] * 1000,
        angles="xy", scale_units="xy", scale=length / (0.07 * max(shape)), color=COLOURS[0], width=0.003,
    )  # fmt: skip
    unit = _round_number(length)
    key = places.quiverkey(arrows, 0.8, 1.04, unit, f"{unit:g} mas", labelpos="E", fontproperties={"size": 9})
    key.text.set_color(INK)
    places.set(xlim=(0, shape[1]), ylim=(0, shape[0]), xlabel="x (pixels)", ylabel="y (pixels)", aspect=1)
    cloud = new_axes(figure, 122)
    cloud.scatter(dx, dy, s=3, color=COLOURS[0], alpha=0.5, linewidths=0, rasterized=True)
    edge = 2.2 * length
    cloud.axhline(0, color=INK, linewidth=0.4)
    cloud.axvline(0, color=INK, linewidth=0.4)
    cloud.set(xlim=(-edge, edge), ylim=(-edge, edge), xlabel="Δx (mas)", ylabel="Δy (mas)", aspect=1)
    return as_svg(
        figure, f"{len(table)} residuals of the alignment; 95 % are below {length:.2g} mas.", prefix
    )


def _round_number(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above a value."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(step for step in (1, 2, 5) if step * power <= value * 1.0000001) * power)
