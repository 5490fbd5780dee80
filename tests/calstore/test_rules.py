"""Which calibration fits which frame, and the sentence for each that does not."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from calstore.associate import (
    DARK,
    LAMP_OFF,
    LAMP_ON,
    PROCESSED_BPM,
    PROCESSED_FLAT,
    STANDARD,
    Calibration,
    Match,
    Need,
    NoMatch,
    best,
    night_of,
    rank,
    valid_from,
)
from reducer.instruments import KNOWN
from reducer.instruments.base import CalibrationRule

RULES = KNOWN["GSAOI"].calibrations
NIGHT = dt.datetime(2017, 5, 5, 1, 0)
WHOLE = tuple((n, 0, 2048, 0, 2048) for n in (1, 2, 3, 4))
CENTRE = tuple((n, 512, 1536, 512 + s, 1536 + s) for n, s in ((1, 1), (2, 1), (3, -1), (4, -1)))


def calibration(kind: str = PROCESSED_FLAT, days: float = 1, **traits: object) -> Calibration:
    values: dict = {"path": f"/c/{kind}_{days}.fits", "filter_name": "Kshort", "exposure_time": 15.0}
    values |= {"read_mode": "Bright Objects", "coadds": 1} | traits
    return Calibration(kind=kind, when=NIGHT + dt.timedelta(days=days), **values)


def need(kind: str = PROCESSED_FLAT, **traits: object) -> Need:
    values: dict = {
        "filter_name": "Kshort",
        "exposure_time": 60.0,
        "read_mode": "Faint Objects",
        "name": "science",
    }
    return Need(kind=kind, rule=RULES[kind], when=NIGHT, **(values | traits))


def test_the_nearest_flat_of_the_filter_wins_and_each_other_is_told_why() -> None:
    near, far = calibration(days=-2), calibration(days=9)
    other, late = calibration(days=0.1, filter_name="J"), calibration(days=-31)
    answer = best(need(), [far, late, near, other])
    assert isinstance(answer, Match)
    assert answer.calibration is near
    assert "same filter" in answer.reason and "nearest in time of 2" in answer.reason
    reasons = {rejection.calibration: rejection.reason for rejection in answer.rejected}
    assert reasons == {
        far: "fits, but processed_flat_-2.fits is nearer (2.0 days against 9.0 days)",
        late: "31.0 days away, at most 30 allowed",
        other: "filter J, needed Kshort",
    }


def test_exposure_coadds_and_read_mode_of_a_flat_need_not_be_those_of_the_science() -> None:
    answer = best(need(), [calibration(exposure_time=5.0, coadds=4)])
    assert isinstance(answer, Match)


@pytest.mark.parametrize(
    ("held", "needed", "fits"),
    [
        ((), CENTRE, True),
        (CENTRE, (), True),
        (WHOLE, CENTRE, True),
        (CENTRE, CENTRE, True),
        (CENTRE, WHOLE, False),
        (WHOLE[:3], WHOLE, False),
    ],
)
def test_a_flat_must_hold_every_pixel_of_the_frame(held: tuple, needed: tuple, fits: bool) -> None:
    answer = best(need(region=needed), [calibration(region=held)])
    assert isinstance(answer, Match) == fits


def test_a_region_that_is_too_small_is_named() -> None:
    answer = best(need(region=WHOLE), [calibration(region=CENTRE)])
    assert isinstance(answer, NoMatch)
    assert answer.rejected[0].reason == "holds [513:1536,514:1537] of array 1, needed [1:2048,1:2048]"


@pytest.mark.parametrize("kind", RULES)
def test_a_calibration_of_another_instrument_never_serves(kind: str) -> None:
    asked = need(kind, instrument="F2", exposure_time=15.0, read_mode="Bright Objects")
    ours, other = (calibration(kind, -1, instrument=name) for name in ("F2", "GSAOI"))
    assert isinstance(best(asked, [ours, other]), Match)
    assert isinstance(best(asked, [other, calibration(kind, -1)]), NoMatch)


def test_the_latest_mask_that_was_valid_is_taken() -> None:
    old, new = calibration(PROCESSED_BPM, -2000), calibration(PROCESSED_BPM, -1600)
    future = calibration(PROCESSED_BPM, 30)
    answer = best(need(PROCESSED_BPM), [future, new, old])
    assert isinstance(answer, Match)
    assert answer.calibration is new
    assert "the latest of 2, valid from" in answer.reason
    assert "after 2017-05-05" in {r.calibration: r.reason for r in answer.rejected}[future]


def test_a_mask_is_valid_from_the_whole_of_its_day() -> None:
    later_that_day = replace(calibration(PROCESSED_BPM), when=NIGHT + dt.timedelta(hours=2))
    assert isinstance(best(need(PROCESSED_BPM), [later_that_day]), Match)


@pytest.mark.parametrize(
    ("traits", "word"),
    [
        ({"exposure_time": 20.0}, "exposure time 20.0 s"),
        ({"coadds": 2}, "2 coadds"),
        ({"read_mode": "Faint Objects"}, "read mode Faint Objects"),
        ({"region": CENTRE}, "holds [513:1536,514:1537] of array 1"),
        ({"filter_name": "J"}, "filter J"),
        ({"days": 40}, "40.0 days away"),
    ],
)
def test_lamp_off_frames_are_uniform_with_the_lamp_on_frames(traits: dict, word: str) -> None:
    lamp_on = need(LAMP_OFF, exposure_time=15.0, read_mode="Bright Objects")
    good, bad = calibration(LAMP_OFF, 0.2), calibration(LAMP_OFF, **traits)
    assert rank(lamp_on, [bad, good])[0] == [good]
    answer = best(lamp_on, [bad])
    assert isinstance(answer, NoMatch)
    assert answer.rejected[0].reason.startswith(word)


def test_a_rule_asks_no_more_than_it_says() -> None:
    """One that sets no days takes a calibration of any age, and its reason names what it does ask."""
    asked = replace(need(DARK), rule=CalibrationRule(same=("read_mode",)))
    old = calibration(DARK, -3000, read_mode="Faint Objects", filter_name="J")
    answer = best(asked, [old, calibration(DARK, 1)])
    assert isinstance(answer, Match) and answer.calibration is old
    assert answer.reason == "same read mode; the only one, 3000.0 days away"


def test_exposures_within_one_percent_are_the_same() -> None:
    assert isinstance(
        best(need(DARK, exposure_time=15.1, read_mode="Bright Objects"), [calibration(DARK)]), Match
    )


@pytest.mark.parametrize("kind", [STANDARD, LAMP_ON])
def test_lamp_on_and_standards_are_found_by_filter_and_time(kind: str) -> None:
    a, b = calibration(kind, -0.9), calibration(kind, 0.5)
    assert rank(need(kind), [a, b, calibration(kind, filter_name="H")])[0] == [b, a]


def test_the_answer_does_not_depend_on_the_order() -> None:
    twins = [calibration(path=f"/c/{letter}.fits") for letter in "ba"]
    answers = {best(need(), order).calibration.name for order in (twins, twins[::-1])}
    assert answers == {"a.fits"}


def test_an_unknown_filter_fits_nothing_but_itself() -> None:
    assert isinstance(best(need(), [calibration(filter_name="")]), NoMatch)
    assert "none at all" in best(need(), []).reason


def test_times_with_zones_are_kept_in_utc() -> None:
    zone = dt.timezone(dt.timedelta(hours=-3))
    assert replace(need(), when=NIGHT.replace(tzinfo=dt.UTC)) == need()
    assert replace(need(), when=dt.datetime(2017, 5, 4, 22, 0, tzinfo=zone)).when == NIGHT


def test_a_masks_date_is_in_its_name_or_when_it_was_taken() -> None:
    taken = dt.datetime(2015, 2, 3, 4)
    assert valid_from("bpm_20121104_gsaoi.fits", taken) == dt.datetime(2012, 11, 4)
    assert valid_from("mask.fits", taken) == taken and valid_from("mask.fits", None) is None
    assert valid_from("S20170505S0030_bpm.fits", taken) == taken


def test_a_masks_name_with_a_day_that_does_not_exist_tells_no_date() -> None:
    assert valid_from("bpm_20121399_gsaoi.fits", None) is None


def test_a_night_has_the_date_of_its_end() -> None:
    assert night_of(dt.datetime(2017, 5, 4, 18)) == night_of(dt.datetime(2017, 5, 5, 17, 59))
    assert str(night_of(NIGHT)) == "2017-05-05"
