"""A night of an instrument that is lit in a circle, lies transposed in the field and adds up its coadds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from caged import Here
from paper import CIRCLE, GLOW, ROUND, SCALE
from paper_night import DITHERS, GAIN, IN_DOME, NOISE, SKY, STARS, UNEVEN
from raw_exposure import TARGET, primary_header

from goafetch.config import Settings
from goafetch.pipeline.run import Request, run_job, survey
from goafetch.plan.decide import make_plan
from goafetch.plan.plan import Plan
from reducer import dq, instruments
from reducer.astrometry import sky_to_plane
from reducer.fitsio import Disk, open_frame, read_chip

SECONDS, COADDS, FLAT_SECONDS = 30.0, 2, 5.0
Y, X = np.mgrid[:96, :128]
INSIDE = np.hypot(X - CIRCLE[0], Y - CIRCLE[1]) < CIRCLE[2]
GCAL = IN_DOME | {
    "OBJECT": "GCALflat", "OBSTYPE": "FLAT", "GCALLAMP": "IRhigh", "GCALSHUT": "CLOSED",
    "EXPTIME": FLAT_SECONDS, "COADDS": 1,
}  # fmt: skip
DARK = {"OBSTYPE": "DARK", "OBJECT": "Dark", "OBSCLASS": "dayCal"}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "ROUND": ROUND})


def expose(folder: Path, number: int, light: np.ndarray | float = 0.0, **cards: Any) -> Path:
    """One raw file: the sum of coadds of so many electrons of light each, and of those of the dark."""
    usual = {"INSTRUME": "ROUND", "FILTER": "K_G0999", "EXPTIME": SECONDS, "COADDS": COADDS}
    primary = primary_header(2.0 * number, RA=TARGET[0], DEC=TARGET[1], **usual | cards)
    rng, each = np.random.default_rng(number), light * UNEVEN * INSIDE + GLOW * primary["EXPTIME"]
    shape = (int(primary["COADDS"]), *X.shape)
    electrons = rng.poisson(np.broadcast_to(each, shape)) + NOISE * rng.standard_normal(shape)
    counts = np.round(electrons.sum(axis=0) / GAIN).astype(np.int32)
    chip = fits.ImageHDU(counts[None])
    east, north = (cards.get(key, 0.0) / 3600 for key in ("RAOFFSET", "DECOFFSE"))
    chip.header.update(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 60.0, "CRPIX2": 45.0,
         "CRVAL1": TARGET[0] + east / np.cos(np.radians(TARGET[1])), "CRVAL2": TARGET[1] + north,
         "CD1_1": 0.0, "CD1_2": SCALE / 3600, "CD2_1": SCALE / 3600, "CD2_2": 0.0, "CD3_3": 1.0}
    )  # fmt: skip
    path = folder / f"P20170505S{number:04d}.fits"
    fits.HDUList([fits.PrimaryHDU(header=primary), chip]).writeto(path)
    return path


def field(east: float, north: float) -> np.ndarray:
    """Electrons of the sky and the stars: north is along x, east along y."""
    light = np.full(X.shape, SKY)
    for u, v, flux in STARS:
        dx, dy = X - 59.0 - (v - north) / SCALE, Y - 44.0 - (u - east) / SCALE
        light += flux / (2 * np.pi * 2.9) * np.exp(-(dx**2 + dy**2) / 5.8)
    return light


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Flats of the closed shutter, two with the lamp on; darks of both exposure times; a dithered field."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for n in range(1, 6):
        expose(folder, n, 20000.0, **GCAL)
    for n in (6, 7):
        expose(folder, n, 30000.0, **GCAL | {"GCALSHUT": "OPEN"})
    for n in range(21, 27):
        expose(folder, n, **DARK, EXPTIME=FLAT_SECONDS, COADDS=1)
    for n in range(31, 37):
        expose(folder, n, **DARK)
    for n, (east, north) in enumerate(DITHERS, 41):
        expose(folder, n, field(east, north), RAOFFSET=east, DECOFFSE=north)
    return folder


def planned(folder: Path) -> Plan:
    return make_plan(survey(sorted(folder.glob("*.fits")))[0], Path("playground"))


def test_its_raw_files_become_a_stack_that_is_right_within_the_circle(raw: Path, tmp_path: Path) -> None:
    request = Request(str(raw), into=tmp_path / "work", catalog="none", phot_catalog="none")
    report = run_job(request, Settings(), pool=Here())
    assert report.exit_code == 0
    playground = tmp_path / "work/playground"

    flat = read_chip(open_frame(playground / "P20170505S0001_flat.fits"), 0)
    assert np.array_equal(flat.mask & dq.UNILLUMINATED > 0, ~INSIDE)
    truth = UNEVEN / np.median((UNEVEN * np.ones(X.shape))[INSIDE])
    away = ((flat.data - truth) / np.sqrt(flat.variance))[INSIDE & (flat.mask == 0)]
    assert abs(away.mean()) < 0.15 and away.std() == pytest.approx(1.0, abs=0.05)

    exposures = [read_chip(open_frame(path), 0) for path in sorted(playground.glob("*_skyCorrected.fits"))]
    assert len(exposures) == len(DITHERS)
    assert all(np.all(chip.mask[~INSIDE] & dq.UNILLUMINATED) for chip in exposures)

    (path,) = report.stacks
    stack, objects = open_frame(path), Disk().read_table(path, "OBJCAT")
    assert objects is not None
    u, v = sky_to_plane(objects["RA"], objects["DEC"], TARGET)
    away = np.hypot(u[:, None] - STARS[:, 0], v[:, None] - STARS[:, 1])
    nearest, seen = away.argmin(axis=1), away.min(axis=1) < 0.1
    assert seen.sum() >= 10 and away.min(axis=1)[seen].max() < 0.04
    light = objects["FLUX_APER"][seen, 0] / STARS[nearest[seen], 2]
    assert np.abs(np.median(light) - 1.0) < 0.015
    seconds = Disk().read_image(path, "EXPTIME")
    assert seconds is not None and seconds.max() == pytest.approx(len(DITHERS) * COADDS * SECONDS, rel=0.01)
    assert 0.2 < np.mean(seconds == 0) < 0.6, "the corners beyond the circle"
    assert open_frame(path).header["DARKIM"] == "P20170505S0031_dark.fits"
    assert stack.chips[0]["CD1_1"] < 0 < stack.chips[0]["CD2_2"]


def test_in_some_filters_the_closed_shutter_is_the_light_of_flats(raw: Path) -> None:
    """It was taken for lamp-off frames, which there were no lamp-on frames for."""
    plan = planned(raw)
    (flat,) = plan.flats
    assert [path.name for path in flat.frames] == [f"P20170505S{n:04d}.fits" for n in range(1, 6)]
    assert flat.dark == Path("playground/P20170505S0021_dark.fits")
    left = {each.path.name: each.reason for each in plan.left_out}
    assert left == {
        f"P20170505S{n:04d}.fits": "a flat with the lamp on: in K the closed shutter is the light"
        for n in (6, 7)
    }


def test_spectra_are_left_out_by_name(raw: Path) -> None:
    expose(raw, 51, SKY, GRISM="in")
    expose(raw, 52, 20000.0, **GCAL, GRISM="in")
    left = {each.path.name: each.reason for each in planned(raw).left_out}
    assert left["P20170505S0051.fits"] == "a spectrum" and left["P20170505S0052.fits"] == "a flat of spectra"
