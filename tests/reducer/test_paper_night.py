"""A night of an instrument that no file of the reduction knows of, from raw frames to a stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from paper import PAPER, SCALE, STACK_SCALE
from raw_exposure import TARGET, primary_header

from reducer import instruments
from reducer.astrometry.sky import sky_to_plane
from reducer.fitsio import Disk
from reducer.frame import Context
from reducer.recipes import makeProcessedFlat, reduce
from reducer.run import open_frames, run_recipe

DITHERS = ((0.0, 0.0), (1.2, 0.6), (-0.9, 1.1), (0.5, -1.3))
IN_DOME = {"OBSCLASS": "dayCal", "FRAME": "AZEL_TOPO", "TRKFRAME": "AZEL_TOPO", "EXPTIME": 15.0}
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


def take(folder: Path, number: int, light: np.ndarray, **cards: Any) -> Path:
    """One raw file of 128 x 96 pixels, ADU, of electrons of light."""
    rng = np.random.default_rng(number)
    electrons = rng.poisson(light * UNEVEN) + NOISE * rng.standard_normal(light.shape)
    primary = primary_header(
        2.0 * number, INSTRUME="PAPER", FILTER="Y_G0811", RA=TARGET[0], DEC=TARGET[1], **cards
    )
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


def test_raw_frames_become_a_stack_by_the_instruments_own_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "PAPER": PAPER})
    even = np.ones((96, 128))
    lamps = [take(tmp_path, n, 22000 * even, OBJECT="Domeflat", **IN_DOME) for n in (1, 2, 3)]
    lamps += [take(tmp_path, n, 2000 * even, OBJECT="Domeflat OFF", **IN_DOME) for n in (4, 5, 6)]
    (tmp_path / "made").mkdir()
    context = Context(tmp_path / "made")
    flat = run_recipe(makeProcessedFlat, open_frames(lamps), context)[0]
    raw = [
        take(tmp_path, 11 + n, sky_and_stars(east, north), RAOFFSET=east, DECOFFSE=north)
        for n, (east, north) in enumerate(DITHERS)
    ]
    (stack,) = run_recipe(reduce, open_frames(raw), replace(context, flat=flat.path))
    objects = Disk().read_table(stack.path, "OBJCAT")
    assert objects is not None
    u, v = sky_to_plane(objects["RA"], objects["DEC"], TARGET)
    away = np.hypot(u[:, None] - STARS[:, 0], v[:, None] - STARS[:, 1])
    nearest = away.argmin(axis=0)
    assert away.min(axis=0).max() < 0.04
    light = objects["FLUX_APER"][nearest, 0] / STARS[:, 2]
    assert np.abs(light - 1.0).max() < 0.05
    assert np.abs(np.median(light) - 1.0) < 0.015
    assert stack.chips[0]["CD2_2"] * 3600 == pytest.approx(STACK_SCALE)
