"""Raw exposures of the instruments on paper: a field of known stars, flats, darks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from paper import SCALE
from raw_exposure import TARGET, primary_header

DITHERS = ((0.0, 0.0), (1.2, 0.6), (-0.9, 1.1), (0.5, -1.3))
IN_DOME = {"OBSCLASS": "dayCal", "FRAME": "AZEL_TOPO", "TRKFRAME": "AZEL_TOPO", "EXPTIME": 15.0}
EVEN = np.ones((96, 128))
GAIN, NOISE, SKY = 2.0, 10.0, 3000.0
_RNG = np.random.default_rng(8)
_U, _V = np.meshgrid(np.linspace(-4.8, 4.8, 5), np.linspace(-3.3, 3.3, 4))
#: Arcsec east and north of the target, and electrons.
STARS = np.stack(
    [
        *(np.stack([_U.ravel(), _V.ravel()]) + _RNG.uniform(-0.3, 0.3, (2, 20))),
        10 ** _RNG.uniform(4.3, 5.3, 20),
    ],
    axis=1,
)
UNEVEN = 1.0 + 0.1 * np.sin(np.arange(128) / 20.0) * np.ones((96, 1))


def take(folder: Path, number: int, light: np.ndarray, dark: np.ndarray | float = 0.0, **cards: Any) -> Path:
    """One raw file of 128 x 96 pixels, ADU, of electrons of light and of those that come without any."""
    rng = np.random.default_rng(number)
    electrons = rng.poisson(light * UNEVEN + dark) + NOISE * rng.standard_normal(light.shape)
    cards = {"INSTRUME": "PAPER", "FILTER": "Y_G0811"} | cards
    primary = primary_header(2.0 * number, RA=TARGET[0], DEC=TARGET[1], **cards)
    chip = fits.ImageHDU((electrons / GAIN).astype(np.float32))
    east, north = (cards.get(key, 0.0) / 3600 for key in ("RAOFFSET", "DECOFFSE"))
    chip.header.update(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 60.0, "CRPIX2": 45.0,
         "CRVAL1": TARGET[0] + east / np.cos(np.radians(TARGET[1])), "CRVAL2": TARGET[1] + north,
         "CD1_1": SCALE / 3600, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": SCALE / 3600}
    )  # fmt: skip
    path = folder / f"P20170505S{number:04d}.fits"
    fits.HDUList([fits.PrimaryHDU(header=primary), chip]).writeto(path)
    return path


def sky_and_stars(east: float, north: float) -> np.ndarray:
    """Electrons of the field, the pointing that far from the target."""
    y, x = np.mgrid[:96, :128]
    light = np.full(x.shape, SKY)
    for u, v, flux in STARS:
        dx, dy = x - 59.0 - (u - east) / SCALE, y - 44.0 - (v - north) / SCALE
        light += flux / (2 * np.pi * 2.9) * np.exp(-(dx**2 + dy**2) / 5.8)
    return light
