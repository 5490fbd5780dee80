"""A night of 64x64-pixel arrays that goes through everything from flats to a stack in a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from raw_exposure import TARGET, expose, primary_header, write_raw

SIDE, FIRST = 64, 992
LAMPS_ON, LAMPS_OFF, ON_TARGET, ON_SKY = range(1, 4), range(4, 7), range(11, 14), range(14, 17)
IN_DOME = {"OBSCLASS": "dayCal", "FRAME": "AZEL_TOPO", "TRKFRAME": "AZEL_TOPO", "EXPTIME": 15.0}
#: Pixels by which each exposure on the target is moved.
DITHERS = ((0, 0), (0, 0), (0, 0))
ARRAYS = (1, 2, 3, 4)
_Y, _X = np.mgrid[:SIDE, :SIDE].astype(float)


def write_program(folder: Path) -> list[Path]:
    """Three lamp-on and three lamp-off frames, three exposures of a star field, three of sky."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in LAMPS_ON:
        made.append(_take(folder, number, 22000 * np.ones((4, SIDE, SIDE)), OBJECT="Domeflat", **IN_DOME))
    for number in LAMPS_OFF:
        made.append(_take(folder, number, 2000 * np.ones((4, SIDE, SIDE)), OBJECT="Domeflat OFF", **IN_DOME))
    for number, (dx, dy) in zip(ON_TARGET, DITHERS, strict=True):
        cards = {"RAOFFSET": -dx * 0.0197, "DECOFFSE": -dy * 0.0197}
        made.append(_take(folder, number, 3000 + _stars(dx, dy), minutes=2.0 * number, **cards))
    for number in ON_SKY:
        cards = {"RAOFFSET": 300.0, "DECOFFSE": 300.0 + number, "OBJECT": "Field sky"}
        made.append(_take(folder, number, 3000 * np.ones((4, SIDE, SIDE)), minutes=2.0 * number, **cards))
    return made


def name_of(number: int) -> str:
    """The file of an exposure."""
    return f"S20170505S{number:04d}.fits"


def _take(folder: Path, number: int, light: np.ndarray, minutes: float = 0.0, **cards: Any) -> Path:
    rng = np.random.default_rng(number)
    cards |= {"RA": TARGET[0], "DEC": TARGET[1]}
    images = {array: expose(light[array - 1], array, rng) for array in ARRAYS}
    return write_raw(folder / name_of(number), primary_header(minutes, **cards), images, FIRST)


def _stars(dx: float, dy: float) -> np.ndarray:
    light = np.zeros((4, SIDE, SIDE))
    for array in ARRAYS:
        rng = np.random.default_rng(100 + array)
        for x, y, flux in zip(*rng.uniform(10, SIDE - 10, (2, 6)), rng.uniform(1e5, 6e5, 6), strict=True):
            r2 = (_X - x - dx) ** 2 + (_Y - y - dy) ** 2
            light[array - 1] += flux / (2 * np.pi * 3) * np.exp(-r2 / 6)
    return light
