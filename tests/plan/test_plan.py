"""Plans for nights as they come: complete, untidy, or without what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from frames_on_paper import (
    LAMP_OFF,
    LAMP_ON,
    MASK,
    SCIENCE,
    SKY,
    STANDARD,
    frame,
    mask,
    planned,
    reasons,
    tutorial,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from goafetch.events import words
from goafetch.plan.sort import Frame, Wanted
from goafetch.plan.visits import target_place
from reducer.headers.descriptors import Descriptors


def test_the_tutorial_is_one_flat_one_standard_and_one_science_group() -> None:
    plan = planned(tutorial())
    assert [len(group.frames) for group in plan.flats] == [30]
    assert [(group.kind, len(group.frames)) for group in plan.visits] == [("standard", 4), ("science", 16)]
    assert plan.flats[0].product == "S20170505S0030_flat.fits"
    assert {group.flat.name for group in plan.visits if group.flat} == {"S20170505S0030_flat.fits"}
    assert {group.bpm.name for group in plan.groups() if group.bpm} == {
        "bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"
    }
    assert plan.left_out == ()
    assert plan.warnings == ()


def test_every_choice_has_a_reason() -> None:
    for group in planned(tutorial()).groups():
        assert any("mask" in words(reason) for reason in group.reasons)
        assert group.kind == "flat" or any("flat" in words(reason) for reason in group.reasons)


def test_science_without_a_flat_in_its_filter_is_refused_and_the_rest_goes_on() -> None:
    frames = [*tutorial(), frame(200, "06:00:00", SCIENCE, FILTER1="J_G1102")]
    plan = planned(frames)
    assert len(plan.visits) == 2
    assert "needed J" in reasons(plan)["S20170505S0200.fits"]
    assert [left.failed for left in plan.left_out] == [True]


def test_lamp_on_frames_without_lamp_off_are_refused_with_what_there_is() -> None:
    frames = [f for f in tutorial() if f[1].object != "Domeflat OFF"]
    frames += [frame(60, "01:30:00", LAMP_OFF, EXPTIME=5.0)]
    plan = planned(frames)
    assert plan.flats == ()
    assert "Kshort 5 s" in reasons(plan)["S20170505S0030.fits"]
    assert "no processed_flat" in reasons(plan)["S20170505S0095.fits"]


def test_lamp_off_frames_are_paired_within_the_stores_thirty_days() -> None:
    """Once those of 818 days before were subtracted: the plan had a rule of its own, without a limit."""
    lit = [frame(30 + i, f"01:{i:02d}:00", LAMP_ON) for i in range(3)]
    science = frame(95, "05:00:00", SCIENCE)
    far, near = (frame(60, "01:10:00", LAMP_OFF, **{"DATE-OBS": day}) for day in ("2015-02-07", "2017-04-06"))
    plan = planned([*lit, far, science])
    assert plan.flats == () and "no processed_flat" in reasons(plan)["S20170505S0095.fits"]
    assert "818.0 days away, at most 30 allowed" in reasons(plan)["S20170505S0030.fits"]
    assert "within 30 days" in reasons(plan)["S20170505S0060.fits"]
    plan = planned([*lit, near, science])
    assert len(plan.flats) == 1 and near[0] in plan.flats[0].frames


def test_a_flat_set_never_mixes_exposure_coadds_or_read_mode() -> None:
    frames = [frame(30 + i, f"01:{i:02d}:00", LAMP_ON, EXPTIME=(5.0, 15.0)[i % 2]) for i in range(8)]
    frames += [frame(60 + i, f"01:{20 + i}:00", LAMP_OFF, EXPTIME=(5.0, 15.0)[i % 2]) for i in range(8)]
    plan = planned([*frames, frame(95, "05:00:00", SCIENCE)])
    assert len(plan.flats) == 1
    taken = {f"S20170505S{n:04d}.fits" for n in (31, 33, 35, 37, 61, 63, 65, 67)}
    assert {path.name for path in plan.flats[0].frames} == taken
    assert sum("no frame needs this flat" in why for why in reasons(plan).values()) == 8


def test_the_nearer_night_wins_and_the_reason_says_so() -> None:
    frames = tutorial()
    frames += [frame(300 + i, f"01:{i:02d}:00", LAMP_ON, **{"DATE-OBS": "2017-05-08"}) for i in range(3)]
    frames += [frame(310 + i, f"01:{10 + i}:00", LAMP_OFF, **{"DATE-OBS": "2017-05-08"}) for i in range(3)]
    science = planned(frames).visits[-1]
    assert science.flat is not None and science.flat.name == "S20170505S0030_flat.fits"
    told = map(words, science.reasons)
    assert any("S20170505S0300_flat.fits" in text and "nearer" in text for text in told)


def test_different_targets_filters_exposures_and_coadds_are_stacked_apart() -> None:
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"OBJECT": "M83"},
        {"EXPTIME": 30.0},
        {"COADDS": 2},
        {"LNRS": 2},
    )
    frames = [frame(95 + i, f"05:{i:02d}:00", SCIENCE, **change) for i, change in enumerate(changes)]
    plan = planned([*tutorial()[:30], *frames])
    assert len(plan.stacks) == len(changes)


def test_sky_pointings_with_a_name_of_their_own_join_their_target() -> None:
    frames = [frame(95, "05:00:00", SCIENCE), frame(96, "05:02:00", SCIENCE, OBJECT="NGC5128 sky")]
    plan = planned([*tutorial()[:30], *frames])
    assert [len(group.frames) for group in plan.visits] == [2]


def test_visits_of_a_target_have_their_own_skies_and_share_a_stack() -> None:
    frames = [frame(95 + i, f"0{hour}:0{i}:00", SCIENCE) for hour in (2, 7) for i in range(3)]
    frames = [(Path(f"S20170505S{95 + i:04d}.fits"), facts) for i, (_, facts) in enumerate(frames)]
    plan = planned([*tutorial()[:30], *frames])
    assert [group.visit for group in plan.visits] == [1, 2]
    assert [len(stack.groups) for stack in plan.stacks] == [2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RAWPIREQ": "NO", "RAWGEMQA": "BAD"}, "Fail"),
        ({"FILTER1": "Unknown", "FILT1POS": 17}, "moving"),
        ({"INSTRUME": "GMOS-S"}, "not a GSAOI or F2 or FLAM frame"),
        ({"OBSTYPE": "DARK"}, "dark"),
        ({"OBSCLASS": "acq"}, "acquisition"),
        ({"UT": "", "DATE-OBS": "soon"}, "DATE-OBS"),
        ({"EXPTIME": -3.0}, "EXPTIME"),
    ],
)
def test_what_cannot_be_used_is_left_out_with_its_reason(change: dict[str, Any], words: str) -> None:
    plan = planned([*tutorial(), frame(400, "05:40:00", SCIENCE, **change)])
    assert words in reasons(plan)["S20170505S0400.fits"]
    assert len(plan.visits) == 2


def test_limits_on_object_and_filter_are_the_archives() -> None:
    frames = [*tutorial(), frame(400, "05:40:00", SCIENCE, OBJECT="M83")]
    assert len(planned(frames, Wanted(object="ngc*")).stacks) == 2  # the standard is not the user's choice
    assert "M83" in reasons(planned(frames, Wanted(object="ngc5128")))["S20170505S0400.fits"]


def test_a_frame_that_lacks_an_array_goes_with_its_group() -> None:
    plan = planned([*tutorial(), frame(111, "05:33:00", SCIENCE, arrays=3)])
    assert [len(group.frames) for group in plan.visits] == [4, 17]


def test_without_a_mask_the_run_goes_on_and_says_so() -> None:
    plan = planned(tutorial()[:-1])
    assert len(plan.visits) == 2
    assert any("without a static bad-pixel mask" in text for text in plan.warnings)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (mask("bpm_20100101_older.fits"), "no frame needs this mask; fits, but bpm_20121104"),
        (mask("bpm_20180101_later.fits"), "valid from 2018-01-01, after 2017-05-05"),
        (mask("bpm_20130101_middle.fits", section="[513:1024,513:1024]"), "holds [513:1024"),
        (mask("bpm_20121104_a_second.fits", arrays=3), "does not hold array"),
    ],
)
def test_a_mask_that_no_frame_needs_is_named_with_its_reason_and_is_no_failure(
    other: tuple[Path, Descriptors], words: str
) -> None:
    plan = planned([*tutorial(), other])
    assert words in reasons(plan)[other[0].name]
    assert not any(left.failed for left in plan.left_out)
    assert {group.bpm.name[:12] for group in plan.groups() if group.bpm} == {"bpm_20121104"}


def test_masks_need_not_say_at_what_time_of_day_they_were_made() -> None:
    others = [mask("bpm_20130101_b.fits", UT=""), mask("bpm_20140101_c.fits", UT="")]
    plan = planned([*tutorial(), *others])
    assert {group.bpm.name for group in plan.groups() if group.bpm} == {"bpm_20140101_c.fits"}


def test_a_mask_beside_flats_alone_is_left_out_with_them() -> None:
    plan = planned([f for f in tutorial() if f[1].observation_class != "science" and f[1].object != "9132"])
    assert list(plan.groups()) == []
    assert reasons(plan)["bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"] == "no frame needs this mask"
    assert not any(left.failed for left in plan.left_out)


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (mask("undated.fits", **{"DATE-OBS": "soon"}), "from when it is valid"),
        (mask("without_arrays.fits", arrays=0), "which arrays"),
        (frame(98, "05:06:30", SCIENCE, bitpix=-32, BPMASK="A,"), "the counts of 60 s"),
        (frame(30, "01:00:30", LAMP_ON, bitpix=-32, OBSTYPE="BPM"), "the counts of 15 s"),
    ],
)
def test_what_only_calls_itself_a_mask_is_refused_alone(
    damaged: tuple[Path, Descriptors], words: str
) -> None:
    """An exposure taken for a mask would mark every pixel of the night as bad."""
    sound = [f for f in tutorial() if f[0] != damaged[0]]
    plan = planned([*sound, damaged])
    assert words in reasons(plan)[damaged[0].name]
    assert [left.failed for left in plan.left_out] == [True]
    assert [group.bpm for group in plan.groups()] == [group.bpm for group in planned(sound).groups()]


@settings(max_examples=60, deadline=None, database=None)
@given(st.data())
def test_every_file_is_in_a_group_is_its_mask_or_is_left_out(data: st.DataObject) -> None:
    kinds = (SCIENCE, STANDARD, LAMP_ON, LAMP_OFF, MASK, SCIENCE | {"BPMASK": True}, {"INSTRUME": "GMOS-S"})
    changes = st.fixed_dictionaries(
        {},
        optional={
            "FILTER1": st.sampled_from(["J_G1102", "Unknown", ""]),
            "DATE-OBS": st.sampled_from(["2012-11-04", "2017-05-06", "soon"]),
            "EXPTIME": st.sampled_from([5.0, -1.0, "x"]),
            "UT": st.sampled_from(["09:00:00", ""]),
            "section": st.sampled_from(["[513:1536,513:1536]"]),
            "arrays": st.integers(0, 3),
            "bitpix": st.sampled_from([16, -32]),
        },
    )
    drawn = data.draw(st.lists(st.tuples(st.sampled_from(kinds), changes), max_size=14))
    files = [frame(n, f"05:{n:02d}:00", what, **change) for n, (what, change) in enumerate(drawn, 1)]
    plan = planned(files)
    # Lamp-off frames may serve flats of several nights.
    placed = [*{path for flat in plan.flats for path in flat.frames}]
    placed += [path for group in plan.groups() if group.kind != "flat" for path in group.frames]
    placed += {group.bpm for group in plan.groups() if group.bpm}
    placed += [left.path for left in plan.left_out]
    assert sorted(path.name for path in placed) == sorted(path.name for path, _ in files)
    lit = [path for flat in plan.flats for path in flat.frames[: flat.lit]]
    assert len(lit) == len(set(lit))


def test_lamp_off_frames_that_a_flat_uses_are_not_left_out_with_another_flat() -> None:
    lit = [frame(1, "01:00:00", LAMP_ON), frame(3, "01:00:00", LAMP_ON, **{"DATE-OBS": "2017-04-20"})]
    plan = planned([*lit, frame(2, "01:10:00", LAMP_OFF), frame(95, "05:00:00", SCIENCE)])
    assert [path.name for path in plan.flats[0].frames] == ["S20170505S0001.fits", "S20170505S0002.fits"]
    assert [left.path.name for left in plan.left_out] == ["S20170505S0003.fits"]


def test_a_flat_of_part_of_the_arrays_does_not_serve_a_whole_frame() -> None:
    frames = [frame(30, "01:00:00", LAMP_ON, section="[513:1536,513:1536]")]
    frames += [frame(60, "01:10:00", LAMP_OFF, section="[513:1536,513:1536]"), frame(95, "05:00:00", SCIENCE)]
    assert "holds [513:1536" in reasons(planned(frames))["S20170505S0095.fits"]


def test_the_plan_does_not_depend_on_the_order_of_the_files() -> None:
    assert planned(tutorial()) == planned(tutorial()[::-1])


@pytest.mark.parametrize(
    ("wheels", "used"),
    [
        ({"FILTER1": "J_G1102"}, True),
        ({"FILTER1": "Z_G1101"}, True),
        ({"FILTER1": "Jcont_G1107"}, True),
        ({"FILTER1": "Clear", "FILTER2": "PaB_G1117"}, True),
        ({"FILTER1": "H_G1103"}, False),
        ({"FILTER1": "Kshort_G1105"}, False),
    ],
)
def test_lamp_on_alone_serves_where_that_is_the_custom(wheels: dict[str, str], used: bool) -> None:
    frames = [frame(30 + i, f"01:{i:02d}:00", LAMP_ON, **wheels) for i in range(3)]
    plan = planned([*frames, *(frame(95 + i, f"05:{2 * i:02d}:00", SCIENCE, **wheels) for i in range(3))])
    assert (len(plan.flats), len(plan.stacks)) == (used, used)
    if used:
        assert "no lamp-off frames: in" in words(plan.flats[0].reasons[0])
        assert not plan.left_out


GCAL = LAMP_ON | {"OBJECT": "GCALflat", "OBSTYPE": "FLAT", "GCALLAMP": "QH100W", **SKY}


def test_flats_of_the_calibration_unit_are_lit_by_their_shutter() -> None:
    science = [frame(95 + i, f"05:{2 * i:02d}:00", SCIENCE) for i in range(3)]
    lit = [frame(30 + i, f"01:{i:02d}:00", GCAL, GCALSHUT="OPEN") for i in range(3)]
    dark = [frame(40 + i, f"01:{10 + i:02d}:00", GCAL, GCALSHUT="CLOSED") for i in range(3)]
    [flat] = planned([*lit, *dark, *science]).flats
    assert (flat.lit, len(flat.frames)) == (3, 6)
    [flat] = planned([*lit, *science]).flats
    assert (flat.lit, len(flat.frames)) == (3, 3)
    dome = [frame(60 + i, f"01:{20 + i:02d}:00", LAMP_ON) for i in range(2)]
    dome += [frame(70 + i, f"01:{30 + i:02d}:00", LAMP_OFF) for i in range(2)]
    plan = planned([*lit, *dark, *dome, *science])
    assert [flat.product for flat in plan.flats] == ["S20170505S0060_flat.fits"]
    assert reasons(plan)["S20170505S0030.fits"] == "a GCAL flat: there are dome flats of Kshort"


@pytest.mark.parametrize("known", [{}, {"RA": 200.0}, {"DEC": -30.0}])
def test_a_target_of_which_one_coordinate_is_missing_has_no_place(known: dict[str, float]) -> None:
    path, facts = frame(1, "05:00:00", SCIENCE, **known)
    assert target_place(Frame(path, facts)) is None
