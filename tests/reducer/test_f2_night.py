"""Nights of Flamingos-2 from raw frames to a stack, against their truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caged import Here
from f2_truth import agrees_with_truth

from goafetch.config import Settings
from goafetch.pipeline.run import Request, run_job
from goafetch.practice.flamingos2 import Night
from reducer import instruments
from reducer.astrometry import StaticMap
from reducer.errors import BadInput
from reducer.fitsio import open_frame
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

    agrees_with_truth(night, playground, report.stacks, stars=12)


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
