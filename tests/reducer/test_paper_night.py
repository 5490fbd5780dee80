"""A night of an instrument that no file of the reduction knows of, from raw frames to a stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from caged import Here
from paper import PAPER, STACK_SCALE
from paper_night import DITHERS, EVEN, IN_DOME, STARS, sky_and_stars, take
from raw_exposure import TARGET
from shell import Shell

from goafetch.config import Settings
from goafetch.pipeline.run import Request, run_job
from reducer import instruments
from reducer.align.global_fit import departure
from reducer.align.solve import prior_sizes
from reducer.astrometry import sky_to_plane
from reducer.fitsio import Disk, open_frame
from reducer.sources import TOO_SHARP, detect_sources

GSAOI = instruments.KNOWN["GSAOI"]


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
