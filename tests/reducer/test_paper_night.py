"""A night of an instrument that no file of the reduction knows of, from raw frames to a stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from caged import Here
from paper import PAPER, SCALE, STACK_SCALE
from raw_exposure import TARGET, primary_header
from shell import Shell

from goafetch.config import Settings
from goafetch.pipeline.run import Request, run_job
from reducer import instruments
from reducer.align.solve import prior_sizes
from reducer.align.together import departure
from reducer.astrometry import sky_to_plane
from reducer.fitsio import Disk, open_frame
from reducer.sources import TOO_SHARP, detect_sources

DITHERS = ((0.0, 0.0), (1.2, 0.6), (-0.9, 1.1), (0.5, -1.3))
IN_DOME = {"OBSCLASS": "dayCal", "FRAME": "AZEL_TOPO", "TRKFRAME": "AZEL_TOPO", "EXPTIME": 15.0}
GSAOI = instruments.KNOWN["GSAOI"]
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Raw flats and a dithered field, of an instrument that is made known."""
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "PAPER": PAPER})
    raw = tmp_path / "raw"
    raw.mkdir()
    for n in (1, 2, 3):
        take(raw, n, 22000 * EVEN, OBJECT="Domeflat", **IN_DOME)
    for n in (4, 5, 6):
        take(raw, n, 2000 * EVEN, OBJECT="Domeflat OFF", **IN_DOME)
    for n, (east, north) in enumerate(DITHERS, 11):
        take(raw, n, sky_and_stars(east, north), RAOFFSET=east, DECOFFSE=north)
    return raw


def test_a_folder_of_raw_frames_becomes_a_stack_by_the_instruments_own_facts(folder: Path) -> None:
    request = Request(str(folder), into=folder.parent / "work", catalog="none", phot_catalog="none")
    report = run_job(request, Settings(), pool=Here())
    assert report.exit_code == 0
    (path,) = (folder.parent / "work/playground").glob("*_image.fits")
    history = Disk().read_table(path, "HISTORY")
    assert history is not None and "measureZeropoint" not in history["primitive"]
    stack, objects = open_frame(path), Disk().read_table(path, "OBJCAT")
    assert objects is not None
    u, v = sky_to_plane(objects["RA"], objects["DEC"], TARGET)
    away = np.hypot(u[:, None] - STARS[:, 0], v[:, None] - STARS[:, 1])
    nearest = away.argmin(axis=0)
    assert away.min(axis=0).max() < 0.04
    light = objects["FLUX_APER"][nearest, 0] / STARS[:, 2]
    assert np.abs(light - 1.0).max() < 0.05
    assert np.abs(np.median(light) - 1.0) < 0.015
    assert stack.chips[0]["CD2_2"] * 3600 == pytest.approx(STACK_SCALE)


def test_its_flats_fit_by_its_own_rule_and_its_darks_have_none(folder: Path) -> None:
    """Flats of GSAOI serve for 30 days, and the plan said of any dark what is true of its arrays."""
    take(folder, 21, 0 * EVEN, OBSTYPE="DARK", OBJECT="Dark")
    take(folder, 22, sky_and_stars(0.0, 0.0), **{"DATE-OBS": "2017-05-08"})
    said = Shell()(f"plan {folder}")
    assert (
        "flat P20170505S0001_flat.fits: same filter, covers the frame, within 2 days" in said.out + said.err
    )
    assert "P20170505S0022.fits: no processed_flat" in said.err and "at most 2 allowed" in said.err
    assert "P20170505S0021.fits: a dark: PAPER has no rule by which it is used" in said.err


def test_its_stars_may_be_narrower_and_its_exposures_lie_nearer_to_its_map() -> None:
    image = np.zeros((40, 40), np.float32)
    image[18:21, 18:21] = np.float32(2000) * np.array([[0.05, 0.4, 0.05], [0.4, 1, 0.4], [0.05, 0.4, 0.05]])
    planes = image, np.full_like(image, 25.0), np.zeros(image.shape, np.uint16)
    flags = [
        detect_sources(*(plane.copy() for plane in planes), one.widths)["flags"][0] & TOO_SHARP
        for one in (PAPER, GSAOI)
    ]
    assert flags == [0, TOO_SHARP]
    bent = np.zeros(len(prior_sizes(PAPER.field)))
    bent[8] = 0.1
    limits = {one.name: replace(PAPER.field, departures=one.field.departures) for one in (PAPER, GSAOI)}
    assert departure(bent, limits["PAPER"]) and not departure(bent, limits["GSAOI"])
