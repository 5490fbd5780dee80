"""Exposures of small arrays of one response, with lamps, skies and stars, for the recipes of the detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from raw_exposure import SIDE, expose, primary_header, write_raw

from reducer.fitsio import open_frame
from reducer.frame import FrameRef

ARRAYS = (1, 2, 3, 4)
SENSITIVITY = {1: 0.99, 2: 1.07, 3: 0.95, 4: 0.98}
Y, X = np.mgrid[0:SIDE, 0:SIDE].astype(float)
RNG = np.random.default_rng(42)
RESPONSE = {
    array: SENSITIVITY[array] * (1 + 0.015 * RNG.standard_normal((SIDE, SIDE))) * (1 + 0.05 * X / SIDE)
    for array in ARRAYS
}
DEAD = (slice(100, 104), slice(30, 40))
for array in ARRAYS:
    RESPONSE[array][DEAD] *= 0.3
#: Median of the response over all good pixels: what the flat is normalised by.
NORM = float(np.median([RESPONSE[array] for array in ARRAYS]))


def take(folder: Path, number: int, light: dict[int, np.ndarray], **cards: Any) -> Path:
    """Expose light (electrons at response 1 per array) and write the raw file."""
    rng = np.random.default_rng(number)
    images = {}
    for array, electrons in light.items():
        offsets = np.repeat(2 * rng.standard_normal(SIDE // 64), 64)
        images[array] = expose(electrons * RESPONSE[array] / NORM, array, rng) + (offsets / 2.4).astype(
            np.float32
        )
    return write_raw(folder / f"S{number:03d}.fits", primary_header(**cards), images)


def frames(paths: Sequence[Path]) -> list[FrameRef]:
    """The frames of raw files."""
    return [open_frame(path) for path in paths]


def spoil(path: Path, array: int, how: str) -> None:
    """Make an array of a raw file dead, half dead, noise alone, or lifted."""
    with fits.open(path, mode="update") as units:
        if how == "dead":
            units[array].data[:] = 0
        elif how == "half":
            units[array].data[: SIDE // 2] = 7
        elif how == "noise":
            units[array].data[:] = np.random.default_rng(1).normal(0, 12, (SIDE, SIDE))
        else:
            units[array].data[:] += 600
