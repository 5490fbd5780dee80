"""Axes in right ascension and declination: ticks where round values meet the edges of a picture.

They are set once, from the tangential projection itself (Calabretta & Greisen 2002, A&A 395, 1077):
astropy's own axes take longer to import and to draw than all the rest of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reducer.types import F64

#: Steps between ticks: seconds of time for right ascension, of arc for declination.
STEPS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
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
