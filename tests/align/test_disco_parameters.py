"""Every value of the tutorial's ``disco_pars`` reaches the step that it governs, and has an effect."""

from collections import namedtuple

import numpy as np
import pytest

from goafetch.api import disco, disco_pars
from reducer.align.global_fit import Limits, align_exposures
from reducer.align.identify import StarList, find_offset
from reducer.frame import Context, tell_nobody
from reducer.recipes import parse
from reducer.steps import alignment
from reducer.steps.alignment import adjustWCSToReference, determineAstrometricSolution

MatchInfo = namedtuple("MatchInfo", ["offset_radius", "match_radius", "min_matches", "degree"])
OBJECTS = MatchInfo(*disco_pars.OBJCAT_ALIGN_RADIUS, None, disco_pars.OBJCAT_POLY_DEGREE)
REFERENCE = MatchInfo(
    *disco_pars.REFCAT_ALIGN_RADIUS, disco_pars.REFCAT_MIN_MATCHES, disco_pars.REFCAT_POLY_DEGREE
)
#: Of the sources of positions and magnitudes one is known.
STARS = {"measureZeropoint:standards": "stars.csv", "determineAstrometricSolution:catalog": None}


def test_every_value_of_the_tutorial_is_a_parameter_of_a_step():
    given = parse(disco.stack_parameters(OBJECTS, REFERENCE, disco_pars.PIXEL_SCALE, STARS))
    assert given["adjustWCSToReference"] == {"first_pass": 5.0, "final": 0.1, "order": 3}
    tie = {"first_pass": 10.0, "final": 0.2, "min_matches": 5, "order": 3}
    assert given["determineAstrometricSolution"] == tie
    assert given["resampleToCommonFrame"] == {"pixel_scale": 0.02}
    assert given["measureZeropoint"] == {"standards": "stars.csv"}


def test_each_field_of_either_match_changes_the_limits(field, tmp_path, monkeypatch):
    seen = []
    found = align_exposures(frames := field(3, 60, 5)[0], tell_nobody)
    for module, name, made in (
        (alignment, "align_exposures", found),
        (alignment, "tie_to", None),
    ):
        monkeypatch.setattr(module, name, lambda *given, made=made: seen.append(given) or made)
    given = disco.stack_parameters(MatchInfo(2.0, 0.05, 9, 1), MatchInfo(4.0, 0.3, 7, 2), None, {})
    (tmp_path / "stars.csv").write_text("ra,dec\n1,2\n")
    context = Context(
        tmp_path, parse([*given, ("determineAstrometricSolution:catalog", tmp_path / "stars.csv")])
    )
    determineAstrometricSolution(adjustWCSToReference(frames, context), context)
    assert seen[0][2] == Limits(radius=2.5, tolerance=0.05, order=1, fewest=9)
    assert seen[1][2] == Limits(radius=4.0, tolerance=0.3, order=2, fewest=7)


def test_the_search_radius_decides_what_is_found():
    rng = np.random.default_rng(3)
    u, v = rng.uniform(-30, 30, (2, 40))
    stars = StarList(u, v, rng.uniform(14, 18, 40))
    moved = StarList(u + 3.0, v, stars.magnitude)
    assert find_offset(stars, moved, 2.0) is None
    assert find_offset(stars, moved, 5.0).du == pytest.approx(-3.0, abs=0.01)


def test_the_degree_decides_what_is_left(field):
    frames, _, _ = field(4, 400, 61, own=0.02)
    left = [
        np.median([g.rms for g in align_exposures(frames, tell_nobody, Limits(order=order)).geometries])
        for order in (1, 3)
    ]
    assert left[0] > 5 * left[1]
