"""Guided pointings and motions of one target are stacked apart by name; two names at one place are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from frames_on_paper import SCIENCE, frame, planned, tutorial

from goafetch.events import words
from goafetch.plan.plan import Plan
from goafetch.plan.sort import Wanted
from reducer import instruments
from reducer.headers.descriptors import Descriptors

RA, DEC = 201.37, -43.02
UNGUIDED: dict[str, Any] = SCIENCE | {"RA": RA, "DEC": DEC, "PA": 0.0, "POFFSET": 0.0, "QOFFSET": 0.0}
HERE = UNGUIDED | {"GWFS1CFG": "ODGW1"}
THERE = HERE | {"POFFSET": 30.0, "QOFFSET": -240.0}
Frames = list[tuple[Path, Descriptors]]


def flats() -> Frames:
    return [each for each in tutorial() if each[1].observation_class == "dayCal"]


def series(first: int, what: dict[str, Any], hour: int = 5, **changes: Any) -> Frames:
    return [frame(first + i, f"{hour:02d}:{(first - 95) + 2 * i:02d}:00", what, **changes) for i in range(3)]


def names(plan: Plan) -> dict[str, tuple[int, int]]:
    return {group.name: (len(group.frames), len(group.lent)) for group in plan.visits}


def test_two_guided_pointings_are_stacked_by_name_and_lent_to_each_other() -> None:
    plan = planned([*flats(), *series(95, HERE), *series(101, THERE)])
    aside = "NGC5128 (30E 240S) Kshort 60 s"
    assert names(plan) == {"NGC5128 Kshort 60 s": (3, 3), aside: (3, 3)}
    assert [stack.name for stack in plan.stacks] == ["NGC5128 Kshort 60 s", aside]
    first, second = plan.visits
    assert first.lent == second.frames and second.lent == first.frames
    assert any("3 of NGC5128, 3 of NGC5128 (30E 240S)" in words(why) for why in first.reasons)


@pytest.mark.parametrize("sky", [UNGUIDED | {"QOFFSET": 240.0}, THERE | {"OBJECT": "NGC5128 sky"}])
def test_a_pointing_that_is_not_guided_or_named_sky_is_no_second_target(sky: dict[str, Any]) -> None:
    assert names(planned([*flats(), *series(95, HERE), *series(101, sky)])) == {"NGC5128 Kshort 60 s": (6, 0)}


@pytest.mark.parametrize("seconds", [30.0, 90.0])
def test_a_guided_pointing_of_another_exposure_time_is_stacked_by_name(seconds: float) -> None:
    """It was taken for sky unseen, and scaled: the stars of a second target would be holes in the first."""
    plan = planned([*flats(), *series(95, HERE), *series(101, THERE, EXPTIME=seconds)])
    aside = f"NGC5128 (30E 240S) Kshort {seconds:g} s"
    assert names(plan) == {"NGC5128 Kshort 60 s": (3, 0), aside: (3, 0)}
    assert any(
        "a stack by name" in words(why)
        for visit in plan.visits
        if visit.name == aside
        for why in visit.reasons
    )
    named = planned([*flats(), *series(95, HERE), *series(101, THERE | {"OBJECT": "Sky"}, EXPTIME=seconds)])
    assert names(named) == {"NGC5128 Kshort 60 s": (6, 0)}


def test_skies_of_their_own_serve_both_pointings() -> None:
    sky = HERE | {"OBJECT": "Sky", "DEC": DEC + 0.1, "OBSID": "GS-2017A-Q-29-9"}
    plan = planned([*flats(), *series(95, HERE), *series(101, THERE), *series(107, sky)])
    assert names(plan) == {"NGC5128 Kshort 60 s": (3, 6), "NGC5128 (30E 240S) Kshort 60 s": (6, 3)}


def test_a_dither_within_the_field_is_one_pointing() -> None:
    wide = [frame(95 + i, f"05:{i:02d}:00", HERE, POFFSET=40.0 * i) for i in range(4)]
    assert names(planned([*flats(), *wide])) == {"NGC5128 Kshort 60 s": (4, 0)}


def test_pointings_are_apart_by_what_the_user_says() -> None:
    frames = [*flats(), *series(95, HERE), *series(101, THERE)]
    assert names(planned(frames, Wanted(frac_fov=4.0))) == {"NGC5128 Kshort 60 s": (6, 0)}


def test_pointings_are_apart_by_what_is_usual_for_the_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan took the usual part of the field where separateSky takes the instrument's own."""
    gsaoi = instruments.KNOWN["GSAOI"]
    own = replace(gsaoi, defaults={**gsaoi.defaults, ("separateSky", "frac_FOV"): 4.0})
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "GSAOI": own})
    frames = [*flats(), *series(95, HERE), *series(101, THERE)]
    assert names(planned(frames)) == {"NGC5128 Kshort 60 s": (6, 0)}


def test_a_pointing_is_called_the_same_in_every_visit() -> None:
    """A later visit to the other pointing alone went into one stack with the first."""
    plan = planned([*flats(), *series(95, HERE), *series(101, THERE, hour=9)])
    assert [stack.name[:18] for stack in plan.stacks] == ["NGC5128 Kshort 60 ", "NGC5128 (30E 240S)"]


def moving(first: int, hour: int = 5) -> Frames:
    """A target that moves 360 arcsec an hour, followed: RA and DEC of the header go with it."""
    frames = []
    for i in range(3):
        minute = first - 95 + 2 * i
        at = DEC + 0.1 * (hour - 5 + minute / 60)
        frames.append(frame(first + i, f"{hour:02d}:{minute:02d}:00", HERE, DECTRACK=0.1, DEC=at))
    return frames


def test_exposures_that_follow_a_target_are_told_from_those_on_the_stars() -> None:
    on_stars = [frame(113 + i, f"05:{18 + i}:00", HERE, POFFSET=2.0 * i) for i in range(2)]
    skies = [frame(117 + i, f"05:{22 + i}:00", UNGUIDED, QOFFSET=300.0) for i in range(2)]
    plan = planned([*flats(), *moving(95), *on_stars, *skies])
    assert names(plan) == {
        "NGC5128 Kshort 60 s": (5, 2),
        "NGC5128 (on the stars) Kshort 60 s": (2, 5),
    }
    assert any("by motion" in words(why) for why in plan.visits[0].reasons)


def test_a_target_that_is_followed_far_is_one_pointing() -> None:
    plan = planned([*flats(), *moving(95), *moving(101, hour=6)])
    assert names(plan) == {"NGC5128 Kshort 60 s": (6, 0)}


OTHER = {"OBJECT": "Cen A", "DEC": DEC + 2 / 3600}


def test_two_names_in_one_observation_are_one_target() -> None:
    same = {"OBSID": "GS-2017A-Q-29-32"}
    plan = planned([*flats(), *series(95, HERE, **same), *series(101, HERE, **same, **OTHER)[:2]])
    assert names(plan) == {"NGC5128 Kshort 60 s": (5, 0)}
    assert any("NGC5128 and Cen A are at one place" in words(why) for why in plan.visits[0].reasons)
    assert not any("two names" in text for text in plan.warnings)


def test_two_names_at_one_place_in_two_observations_are_two_stacks_which_is_said() -> None:
    plan = planned([*flats(), *series(95, HERE, OBSID="A-1"), *series(101, HERE, OBSID="A-2", **OTHER)])
    assert len(plan.stacks) == 2
    (told,) = [text for text in plan.warnings if "two names" in text]
    assert "NGC5128 and Cen A (Kshort 60 s) are 2.0 arcsec apart" in told and "goafetch disco" in told


@pytest.mark.parametrize("change", [{"DEC": DEC + 30 / 3600}, {"QOFFSET": 200.0}, {"OBJECT": "Sky"}])
def test_targets_that_are_meant_to_be_two_are(change: dict[str, Any]) -> None:
    other = series(101, HERE, OBSID="A-1", **(OTHER | change))
    plan = planned([*flats(), *series(95, HERE, OBSID="A-1"), *other])
    assert not any("two names" in text for text in plan.warnings)
    assert not any("taken for one target" in words(why) for group in plan.visits for why in group.reasons)


def test_what_is_one_pointing_is_told_by_the_field_of_the_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    known = instruments.KNOWN["GSAOI"]
    wide = replace(known, field=replace(known.field, side=400.0))
    monkeypatch.setattr(instruments, "KNOWN", {"GSAOI": wide})
    assert names(planned([*flats(), *series(95, HERE), *series(101, THERE)])) == {
        "NGC5128 Kshort 60 s": (6, 0)
    }
