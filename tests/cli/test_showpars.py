"""`goafetch showpars`: what a step can be told, for a file's instrument and recipe."""

from __future__ import annotations

import csv
from pathlib import Path

FRAME, FLAT = "../playdata/S20170505S0095.fits", "../playdata/S20170505S0030.fits"


def test_a_steps_parameters_with_unit_and_meaning(goafetch, playground: Path) -> None:
    done = goafetch(f"showpars {FRAME} add_dq")
    assert done.code == 0
    assert done.lines == [
        "addDQ\tuser_bpm\tNone\t\tfile of a mask whose bad pixels are bad too",
        "addDQ\tlatency\tTrue\t\tmask persistence of earlier saturated exposures",
        "addDQ\ttime\t900.0\ts\thow long persistence lasts",
        "addDQ\tskip_primitive\tFalse\t\tleave the step out",
        "addDQ\twrite_outputs\tFalse\t\twrite what the step passes on, under its own suffix",
    ]


def test_defaults_are_those_of_the_files_instrument(goafetch, playground: Path) -> None:
    row = next(row for row in goafetch(f"showpars {FRAME} --json").json if row["parameter"] == "pixel_scale")
    assert (row["step"], row["default"], row["unit"]) == ("resampleToCommonFrame", 0.02, "arcsec")


def test_without_a_step_those_that_the_file_passes(goafetch, playground: Path) -> None:
    passed = {
        name: dict.fromkeys(row["step"] for row in csv.DictReader(goafetch(f"showpars {name} --csv").lines))
        for name in (FRAME, FLAT)
    }
    assert list(passed[FLAT]) == ["prepare", "makeFlat"]
    assert {"skyCorrect", "stackFrames"} < set(passed[FRAME]) and "makeFlat" not in passed[FRAME]


def test_an_unknown_step_is_a_usage_error_with_a_suggestion(goafetch, playground: Path) -> None:
    done = goafetch(f"showpars {FRAME} skyCorect")
    assert done.code == 2
    assert "did you mean skyCorrect?" in done.err
    assert goafetch("showpars nothing.fits").code == 2
