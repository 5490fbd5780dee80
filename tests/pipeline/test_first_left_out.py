"""A first exposure that is left out takes no other with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from caged import run_here

from goafetch.practice import simulate
from goafetch.practice.exposure.night import Night, Program
from goafetch.practice.program import tutorial

KINDS = frozenset({"science", "lamp-on", "lamp-off", "mask"})


def test_a_flat_whose_first_lamp_stayed_dark_still_serves_the_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = Night(size=128, objects=2, skies=0, flats=3, dither=2.0, compress=False, stars=3000, only=KINDS)

    def plan(night: Night) -> Program:
        program = tutorial(night)
        dark = "S20170505S0030"
        exposures = [
            replace(e, trouble=frozenset({"lamp dead"} if e.name == dark else ())) for e in program.exposures
        ]
        return replace(program, exposures=tuple(exposures))

    monkeypatch.setitem(simulate.PROGRAMS, "dark", plan)
    simulate.build_program("dark", tmp_path / "raw", night=night, workers=1)
    report = run_here(tmp_path / "raw", into=tmp_path / "work", catalog="none", phot_catalog="none")
    (stack,) = report.stacks
    assert stack.exists()
    left_out = {each.name: each.reason for each in report.summary.exclusions}
    assert "S20170505S0030.fits" in left_out
    again = run_here(tmp_path / "raw", into=tmp_path / "work", catalog="none", phot_catalog="none")
    assert again.redone == 0
