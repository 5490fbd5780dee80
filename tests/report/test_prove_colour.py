"""Two simulated filters of stars whose colours are known, from raw frames to colours, against the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from true_night import TrueNight, make_night

from goafetch.practice import simulate
from goafetch.practice.exposure.night import Night, Program
from goafetch.practice.program import draw_zeropoints, tutorial
from goafetch.report.same_sky import match_places
from goafetch.report.star_colours import measure_colours
from reducer import recipes
from reducer.astrometry import sky_to_plane

pytestmark = pytest.mark.prove

#: By filter: its wheel's name, and by how much its files' numbers are later.
FILTERS = {"Kshort": ("Kshort_G1105", 0), "J": ("J_G1102", 200)}


def in_filter(name: str):
    """Plans the tutorial's program in a filter, in which stars have J - Kshort of 0.75 +- 0.25 mag."""
    wheel, later = FILTERS[name]

    def plan(night: Night) -> Program:
        program = tutorial(night)
        exposures = [
            replace(e, filter1=wheel, name=f"{e.name[:-4]}{int(e.name[-4:]) + later:04d}")
            for e in program.exposures
            if e.kind != "mask"
        ]
        fields = {}
        for key, field in program.fields.items():
            red = np.random.default_rng(55).normal(0.75, 0.25, field.magnitude.size)
            fields[key] = replace(field, magnitude=field.magnitude + (red if name == "J" else 0.0))
        return replace(
            program, exposures=tuple(exposures), fields=fields, zeropoints=draw_zeropoints(night, (name,))
        )

    return plan


def stack_of(folder: Path, name: str) -> tuple[Path, TrueNight, float]:
    """The stack in a filter, with the zeropoint that is true of it, its night, and what its aperture
    correction is said to be good to, mag, for all stars."""
    night = make_night(folder / name, "science", "sky", program=name, seed=5, stars=15000)
    frames, told = night.reduce("science", "sky", steps=recipes.reduce)
    facts = json.loads((folder / name / "truth/program.json").read_text())
    with fits.open(frames[-1].path, mode="update") as units:
        reference = str(units[0].header["REFFRAME"]).split(".")[0]
        clear = 2.5 * np.log10(night.exposures[reference]["transmission"])
        units["SCI"].header["PHOTZP"] = facts["zeropoint_on_stack_scale"][name] + clear
        units["SCI"].header["PHOTZPER"] = 0.0
    (growth,) = (facts["growth_error"] for event, facts in told if event == "aperture_correction")
    return frames[-1].path, night, growth


def test_colours_of_a_simulated_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILTERS:
        monkeypatch.setitem(simulate.PROGRAMS, name, in_filter(name))
    made = {name: stack_of(tmp_path, name) for name in FILTERS}
    colours = measure_colours([path for path, *_ in made.values()])
    (found,) = colours.agreements.values()
    assert found.stars > 60 and found.error.max() < 0.3
    truth = {name: night.catalogue(night.raw("science")[0].stem) for name, (_, night, _) in made.items()}
    tangent = tuple(truth["J"]["tangent"])
    table = colours.table
    places = np.stack(sky_to_plane(np.asarray(table["RA"]), np.asarray(table["DEC"]), tangent), axis=1)
    true = np.stack(sky_to_plane(truth["J"]["ra"], truth["J"]["dec"], tangent), axis=1)
    bright = truth["J"]["magnitude"] < 20.0
    for reach in (0.3, 0.1, 0.05):  # coordinates are the pointing's
        one, other = match_places(places, true[bright], reach)
        places += np.median(true[bright][other] - places[one], axis=0)
    one, other = match_places(places, true, 0.03)
    red = truth["J"]["magnitude"] - truth["Kshort"]["magnitude"]
    off, error, *flags = (
        np.ma.filled(np.ma.asarray(table[name], float), np.nan)[one]
        for name in ("COL_J_Kshort", "COLERR_J_Kshort", "FLAGS_J", "FLAGS_Kshort")
    )
    off -= red[other]
    known = (flags[0] == 0) & (flags[1] == 0) & (error < 0.25)
    assert known.sum() > 150
    shift = np.median(off[known])
    assert abs(shift) < 3.0 * np.hypot(*(growth for *_, growth in made.values()))
    pull = (off[known] - shift) / error[known]
    assert 0.5 < 1.4826 * np.median(np.abs(pull)) < 1.2 and np.mean(np.abs(pull) > 3) < 0.05
