"""The width of a star's image at half its maximum, measured on its pixels."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray

from reducer.sources.detection import NOT_CENTRED
from reducer.types import F32, F64, Table

#: Signal to noise from which a star's own pixels tell its width.
LEAST_SIGNAL = 30.0


def half_width(image: F32, bad: NDArray[np.bool_], x: float, y: float, guess: float) -> tuple[float, float]:
    """FWHM in pixels of a star at 0-based (x, y) on no background, and its peak: NaN if it cannot be told.

    The logarithm of the profile is a polynomial of the radius squared, fitted to the pixels within 0.8 of
    the FWHM ``guess``; nothing is assumed of the profile beyond.
    """
    row, column = np.indices(image.shape)
    r2 = np.asarray((column - x) ** 2 + (row - y) ** 2)
    near = (r2 < (0.8 * guess) ** 2) & (image > 0) & ~bad
    if near.sum() < 8:
        return np.nan, np.nan
    scaled = r2[near] / guess**2
    top, slope, bend = polynomial.polyfit(scaled, np.log(image[near]), 2, w=image[near])
    inside = slope * slope - 4.0 * bend * np.log(2.0)
    if slope >= 0 or inside < 0:
        return np.nan, np.nan
    # The nearer of the radii squared where the profile has fallen to half.
    half = 2.0 * np.log(2.0) / (np.sqrt(inside) - slope)
    return float(2.0 * guess * np.sqrt(half)), float(np.exp(top))


def measure_widths(sources: Table, data: F32, usable: NDArray[np.bool_]) -> F64:
    """FWHM in pixels of the strong sources of an image (ny, nx), measured on their pixels; NaN of others."""
    strong = sources["flux"][:, 0] > LEAST_SIGNAL * sources["flux_error"][:, 0]
    strong &= (sources["flags"] & NOT_CENTRED) == 0
    widths = np.full(len(sources), np.nan)
    for n in np.flatnonzero(strong):
        widths[n] = _width_of(sources[n], data, usable)
    return widths


def fill_widths(widths: F64, windows: F64) -> F64:
    """FWHM of all sources from those measured on pixels and the widths of the windows that centred them.

    A window's width counts a source's wings too: that of faint ones is taken in the proportion that the
    strong ones show.
    """
    told = np.isfinite(widths)
    share = np.median(widths[told] / windows[told]) if told.any() else 1.0
    return np.where(told, widths, share * windows)


def _width_of(source: Table, data: F32, usable: NDArray[np.bool_]) -> float:
    guess = float(source["fwhm"])
    reach, x, y = int(0.8 * guess) + 2, round(float(source["x"])), round(float(source["y"]))
    left, low = max(x - reach, 0), max(y - reach, 0)
    part = np.s_[low : y + reach + 1, left : x + reach + 1]
    cut = data[part] - np.float32(source["background"])
    return half_width(cut, ~usable[part], float(source["x"]) - left, float(source["y"]) - low, guess)[0]
