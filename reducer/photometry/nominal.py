"""Published zeropoints and extinction: a range to be in, and the atmosphere's share."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

#: How far a zeropoint may lie from the nominal one before it is warned about, mag: published sets disagree.
SANE = 0.2
#: By what the extinction of a night may differ from the table's, mag per airmass.
EXTINCTION_ERROR = 0.02
#: Microns of the bands that the table of extinction has.
WAVELENGTHS = {"J": 1.25, "H": 1.635, "Kshort": 2.15}


@cache
def _instrument() -> Any:
    text = resources.files("reducer").joinpath("data/gsaoi.json").read_text(encoding="utf-8")
    return json.loads(text)


def extinction(filter_name: str) -> float:
    """Magnitudes per airmass in a filter, of the nearest band that the table has."""
    table = _instrument()["extinction_mag_per_airmass"]
    micron = WAVELENGTHS | {"K": 2.2} | _instrument()["filter_wavelength_um"]
    if filter_name in table:
        return float(table[filter_name])
    here = micron.get(filter_name, 2.2)
    return float(table[min(WAVELENGTHS, key=lambda band: abs(WAVELENGTHS[band] - here))])


def zeropoint(filter_name: str) -> float | None:
    """The nominal magnitude of 1 electron/s at airmass 0, mean of the arrays; None for a filter without."""
    points = _instrument()["nominal_zeropoint_mag_for_1_electron_per_s"].get(filter_name)
    return None if points is None else float(np.mean(list(points.values())))


def warn_if_strange(at_zero: float, filter_name: str, notify: Callable[..., None]) -> None:
    """Warn about a zeropoint at airmass 0 that is far from the nominal one."""
    usual = zeropoint(filter_name)
    if usual is not None and abs(at_zero - usual) > SANE:
        notify(
            "warning",
            text=f"the zeropoint at airmass 0, {at_zero:.2f} mag, is far from the nominal {usual:.2f}: "
            "was it photometric, and are the stars the right ones?",
        )
