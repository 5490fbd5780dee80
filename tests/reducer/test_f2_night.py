"""Nights of Flamingos-2 from raw frames to a stack, against their truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caged import Here

from goafetch.config import Settings
from goafetch.pipeline.run import Request, run_job
from goafetch.practice.flamingos2 import DEC, RA, Night
from reducer import dq, instruments
from reducer.astrometry import StaticMap, sky_to_plane
from reducer.errors import BadInput
from reducer.fitsio import Disk, open_frame, read_chip
from reducer.headers.repairs import repair
from reducer.instruments.base import Array, Instrument

F2 = instruments.KNOWN["F2"]


SCALE = F2.field.reference_scale


def small(side: int, **facts: Any) -> Night:
    """A night of an array of so many pixels, all that is on it scaled down with it."""
    circle = (0.51 * side, 0.51 * side, 0.515 * side)
    return Night(side=side, circle=circle, pointing=(0.5 * side, 0.5 * side), **facts)


def known_as(night: Night) -> Instrument:
    """The instrument with an array of the night's size, and all else its own."""
    side, (x, y), (xc, yc, edge) = night.side, night.origin, night.lit
    across, along = np.array([[-SCALE * (y + 1), SCALE]]), np.array([[-SCALE * (x + 1)], [SCALE]])
    return replace(
        F2,
        arrays=(Array(1, "", (side, side), (0, 0), (-0.5, -0.5), reference_pixels=0, circle=night.lit),),
        field=replace(
            F2.field,
            maps=(StaticMap(across, along, (side, side)),),
            centre=(SCALE * (yc - y), SCALE * (xc - x)),
            side=2 * SCALE * edge,
            half_width=SCALE * edge,
            area=np.pi * (SCALE * edge) ** 2,
        ),
    )


K = {"filter": "Ks_G0804", "seconds": 15.0, "flat_seconds": 4.0, "sky": 20000.0, "angle": 65.4, "reads": 4}
NIGHTS = [
    pytest.param(small(512, seed=2, **K), id="Ks, the closed shutter, turned, four reads"),
    pytest.param(small(512), id="J, lamp on and off"),
]


@pytest.mark.prove
@pytest.mark.parametrize("night", NIGHTS)
def test_a_night_becomes_a_stack_that_agrees_with_its_truth(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "F2": known_as(night)})
    raw = night.take(tmp_path / "raw")
    request = Request(str(raw), into=tmp_path / "work", catalog="none", phot_catalog="none")
    report = run_job(request, Settings(), pool=Here())
    assert report.exit_code == 0
    playground = tmp_path / "work/playground"

    flat = read_chip(open_frame(playground / "S20170505S0001_flat.fits"), 0)
    good = flat.mask & dq.UNUSABLE == 0
    assert np.array_equal(flat.mask & dq.UNILLUMINATED > 0, ~night.inside | (night.response < 0.2))
    truth = night.response / np.median(night.response[good])
    away = ((flat.data - truth) / np.sqrt(flat.variance))[good]
    assert abs(away.mean()) < 0.2 and away.std() == pytest.approx(1.0, abs=0.06)

    dark = read_chip(open_frame(playground / "S20170505S0021_dark.fits"), 0)
    away = ((dark.data - night.dark * night.seconds) / np.sqrt(dark.variance))[dark.mask == 0]
    assert abs(away.mean()) < 0.05 and away.std() == pytest.approx(1.0, abs=0.05)

    paths = sorted(playground.glob("*_skyCorrected.fits"))
    assert len(paths) == night.dithers
    pulls, levels = [], []
    for path, (p, q) in zip(paths, night.offsets, strict=True):
        chip = read_chip(open_frame(path), 0)
        light = night.light(p, q) - night.sky
        blank = (chip.mask == 0) & (light < 3.0)
        pulls.append((chip.data / np.sqrt(chip.variance))[blank])
        levels.append(chip.header["SKYLEVEL"])
    assert np.std(np.concatenate(pulls)) == pytest.approx(1.0, abs=0.02)
    assert abs(np.mean(np.concatenate(pulls))) < 0.05
    assert np.median(levels) == pytest.approx(night.sky * np.median(night.response[good]), rel=0.005)

    (path,) = report.stacks
    objects = Disk().read_table(path, "OBJCAT")
    assert objects is not None
    u, v = sky_to_plane(objects["RA"], objects["DEC"], (RA, DEC))
    apart = np.hypot(u[:, None] - night.truth[:, 0], v[:, None] - night.truth[:, 1])
    nearest, seen = apart.argmin(axis=1), apart.min(axis=1) < 2 * SCALE
    crowd = np.hypot(*(night.truth[:, None, :2] - night.truth[None, :, :2]).transpose(2, 0, 1))
    np.fill_diagonal(crowd, np.inf)
    alone = crowd.min(axis=1) > 4.0
    seen &= alone[nearest] & (objects["FLUX_APER"][:, 0] > 50 * objects["FLUXERR_APER"][:, 0])
    assert seen.sum() >= 12
    light = night.truth[nearest[seen], 2] * np.median(night.response[good])
    assert np.median(objects["FLUX_TOTAL"][seen] / light) == pytest.approx(1.0, abs=0.01)
    ratio = objects["FLUX_APER"][seen, 0] / light
    error = np.hypot((objects["FLUXERR_APER"] / objects["FLUX_APER"])[seen, 0], 0.003)
    assert 1.4826 * np.median(np.abs(ratio / np.median(ratio) - 1.0) / error) < 1.2
    places, true = np.stack([u[seen], v[seen]], axis=1), night.truth[nearest[seen], :2]
    design = np.column_stack([np.ones(len(places)), places])
    left = true - design @ np.linalg.lstsq(design, true, rcond=None)[0]
    assert np.sqrt(np.mean(left**2)) < 0.05 * SCALE, "but for refraction, which was not drawn"
    assert np.hypot(*np.median(places - true, axis=0)) < 0.15, "the headers are in single precision"


def test_spectra_slits_and_lost_wheels_are_left_out_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = small(64, stars=0, dithers=4)
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "F2": known_as(night)})
    raw = night.take(tmp_path / "raw")
    planned = {
        "still moving: the filter reads Unknown": {"FILTER1": "Get Timed Out?"},
        "a spectrum": {"GRISM": "JH_G5801"},
        "slit or mask": {"MOSPOS": "4pix-slit"},
    }
    for number, cards in enumerate(planned.values(), 111):
        night.write(raw, number, 6000.0, 60.0, **cards)
    report = run_job(Request(str(raw), into=tmp_path / "work", dry_run=True), Settings(), pool=Here())
    told = {each.name: each.reason for each in report.summary.exclusions}
    assert sorted(told) == ["S20170505S0111.fits", "S20170505S0112.fits", "S20170505S0113.fits"]
    assert all(why in told[name] for name, why in zip(sorted(told), planned, strict=True))


@pytest.mark.parametrize(
    ("cards", "why"),
    [({"OBJECT": "COVER CLOSED"}, "cover was closed"), ({"LNRS": 3}, "LNRS 3"), ({"AOFOLD": "IN"}, "GeMS")],
)
def test_what_its_rules_refuse_is_named(tmp_path: Path, cards: dict[str, Any], why: str) -> None:
    path = small(64, stars=0).write(tmp_path, 101, 6000.0, 60.0, **cards)
    with pytest.raises(BadInput, match=why):
        repair(open_frame(path))
