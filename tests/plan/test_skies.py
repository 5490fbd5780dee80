"""Visits and their skies are told by where exposures look and when, whatever they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from astropy.coordinates import SkyCoord
from frames_on_paper import SCIENCE, frame, planned, reasons, tutorial

from goafetch.events import words
from goafetch.pipeline.stages import Outcome, is_empty_sky
from goafetch.plan.plan import Plan, Stack
from goafetch.plan.sort import Wanted
from goafetch.plan.visits import apart
from reducer.headers.descriptors import Descriptors
from reducer.headers.targets import is_sky_name, target_of
from reducer.products import OFF_TARGET, ON_TARGET

RA, DEC = 201.37, -43.02
HERE: dict[str, Any] = SCIENCE | {"RA": RA, "DEC": DEC, "PA": 0.0, "POFFSET": 0.0, "QOFFSET": 0.0}
#: Five arcminutes north, by offset and by coordinates of its own.
BESIDE, ELSEWHERE = HERE | {"QOFFSET": 300.0}, HERE | {"OBJECT": "Sky", "DEC": DEC + 300 / 3600}


def night(sky: dict[str, Any], hour: int = 5, **changes: Any) -> list[tuple[Path, Descriptors]]:
    flats = [each for each in tutorial() if each[1].observation_class == "dayCal"]
    science = [frame(95 + i, f"05:{i:02d}:00", HERE) for i in range(3)]
    skies = [frame(110 + i, f"{hour:02d}:{10 + i}:00", sky, **changes) for i in range(2)]
    return [*flats, *science, *skies]


def groups(plan: Plan) -> list[tuple[str, int]]:
    return [(group.name, len(group.frames)) for group in plan.visits]


@pytest.mark.parametrize("sky", [BESIDE, ELSEWHERE, BESIDE | {"OBJECT": "NGC5128 sky"}])
@pytest.mark.parametrize("change", [{}, {"EXPTIME": 30.0}, {"EXPTIME": 90.0}, {"OBSID": "GS-2017A-Q-29-33"}])
def test_skies_go_with_the_visit_that_they_serve(sky: dict[str, Any], change: dict[str, Any]) -> None:
    plan = planned(night(sky, **change))
    assert groups(plan) == [("NGC5128 Kshort 60 s", 5)]
    assert [stack.name for stack in plan.stacks] == ["NGC5128 Kshort 60 s"]
    assert plan.visits[0].product == "S20170505S0095_image.fits"
    scaled = any("scaled to 60 s" in words(reason) for reason in plan.visits[0].reasons)
    assert scaled == ("EXPTIME" in change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"EXPTIME": 5.0}, "its 5 s are less than 0.25"),
        ({"EXPTIME": 30.0, "LNRS": 2}, "their patterns differ"),
        ({"FILTER1": "J_G1102"}, "no exposure of a target in J within 2 hours and 3 degrees"),
        ({"hour": 9}, "no exposure of a target in Kshort"),
        ({"DEC": DEC + 5.0}, "no exposure of a target in Kshort"),
    ],
)
def test_a_blank_sky_that_serves_nothing_is_left_out_by_name(change: dict[str, Any], words: str) -> None:
    plan = planned(night(ELSEWHERE, **change))
    assert groups(plan) == [("NGC5128 Kshort 60 s", 3)]
    assert words in reasons(plan)["S20170505S0110.fits"]
    assert len(plan.stacks) == 1


def test_skies_of_several_visits_are_lent() -> None:
    """Each exposure belongs to one group, which writes its product."""
    other = [frame(120 + i, f"05:{20 + i}:00", HERE, EXPTIME=30.0) for i in range(2)]
    first, second = planned([*night(ELSEWHERE), *other]).visits
    assert [path.name[10:13] for path in first.frames[3:]] == ["011", "011"]
    assert second.lent == first.frames[3:]
    assert second.inputs == (*second.frames, *second.lent)


def test_one_target_however_it_is_typed() -> None:
    names = ("NGC5128", "NGC 5128", "NGC 5128", "ngc5128", "NGC-5128")
    frames = [frame(95 + i, f"05:{i:02d}:00", HERE, OBJECT=name) for i, name in enumerate(names)]
    plan = planned([*tutorial()[:30], *frames])
    assert groups(plan) == [("NGC 5128 Kshort 60 s", 5)]


def test_names_alike_at_other_places_are_other_targets() -> None:
    frames = [frame(95, "05:00:00", HERE, OBJECT="M83"), frame(96, "05:02:00", HERE, OBJECT="M8-3", RA=270.9)]
    assert len(planned([*tutorial()[:30], *frames]).stacks) == 2


def test_skies_come_with_an_object_that_is_asked_for() -> None:
    assert groups(planned(night(ELSEWHERE), Wanted(object="ngc5128"))) == [("NGC5128 Kshort 60 s", 5)]


def test_a_visit_goes_on_as_long_as_no_gap_is_long() -> None:
    """Half a night with an exposure every hour is one visit; what comes three hours later is not."""
    flats = [each for each in tutorial() if each[1].observation_class == "dayCal"]
    hours = (1, 2, 3, 4, 7, 8)
    plan = planned([*flats, *(frame(95 + i, f"{hour:02d}:00:00", HERE) for i, hour in enumerate(hours))])
    assert [len(visit.frames) for visit in plan.visits] == [4, 2]


@pytest.mark.parametrize("dec", [0.0, -60.0, 89.0])
def test_places_are_as_far_apart_as_on_the_sphere(dec: float) -> None:
    one, other = (10.0, dec), (10.5, dec + 0.3)
    far = SkyCoord(*one, unit="deg").separation(SkyCoord(*other, unit="deg")).deg
    assert apart(one, other) == pytest.approx(far, rel=1e-9)
    assert apart(one, None) is None


def test_words_for_empty_sky() -> None:
    skies = {"Sky": "", "blank sky 2": "", "SKY_1": "", "NGC5128 sky": "NGC5128", "M83 off-sky": "M83"}
    assert {name: target_of(name) for name in skies if is_sky_name(name)} == skies
    assert not any(is_sky_name(name) for name in ("Whisky", "skydisk", "NGC 5128", "Blanco 1"))


def test_only_a_pointing_of_which_all_proved_to_be_sky_and_that_lends_it_has_no_stack() -> None:
    def outcome(*suffixes: str) -> Outcome:
        return Outcome(
            "a", "visit", "made", tuple(Path(f"S{n}{each}.fits") for n, each in enumerate(suffixes))
        )

    def stack(*lent: tuple[Path, ...]) -> Stack:
        (visit, *_) = planned(night(BESIDE)).visits
        return replace(planned(night(BESIDE)).stacks[0], groups=tuple(replace(visit, lent=x) for x in lent))

    target, sky = outcome(ON_TARGET), outcome(OFF_TARGET)
    lends, keeps = (Path("S9.fits"),), ()
    assert is_empty_sky(stack(lends, lends), [sky, target])
    assert not is_empty_sky(stack(lends, keeps), [sky])
    assert not is_empty_sky(stack(lends), [target])
