"""Exposures in which something went wrong: stopped, trailed, doubled, out of line; named and left out."""

from pathlib import Path

import numpy as np
import pytest

from reducer.frame import Context
from reducer.headers.repairs import why_stopped
from reducer.sources import SOURCE
from reducer.stack.exposures import StarImage
from reducer.stack.quality import (
    EXPOSURE,
    _strong,
    doubled,
    leave_out_doubled,
    leave_out_spoilt,
    outliers,
    tell_outliers,
)
from reducer.steps.alignment import adjustWCSToReference

WHOLE = {"EXPTIME": 60.0, "COADDS": 1, "ELAPSED": 66.0, "UTSTART": "23:59:30.0", "UTEND": "00:00:35.2"}


@pytest.mark.parametrize(
    "changed",
    [
        {"ELAPSED": 24.0},
        {"INTEGRIT": "ABORTED"},
        {"INTEGRIT": "STOP"},
        {"UTEND": "23:59:55.0"},
        {"COADDS": 3},
    ],
)
def test_a_stopped_exposure_is_known_by_each_of_its_cards(changed):
    assert not why_stopped(WHOLE)
    assert why_stopped(WHOLE | changed)


@pytest.mark.parametrize(
    "cards",
    [
        {"EXPTIME": 5.5, "COADDS": 1, "ELAPSED": 12.0, "UTSTART": "02:51:41.5", "UTEND": "02:51:52.3"},
        {"EXPTIME": 120.0, "COADDS": 3, "ELAPSED": 126.0, "UTSTART": "07:40:28.7", "UTEND": "07:47:45.5"},
        {"EXPTIME": 15.0, "INTEGRIT": "OK", "ELAPSED": 0.0, "UTSTART": "", "UTEND": "no"},
        {},
    ],
)
def test_real_headers_of_whole_exposures_are_whole(cards):
    assert not why_stopped(cards)


def doubling(frame, share, ratio=1.0):
    """The frame with a part of its stars doubled, 20 pixels apart, in a ratio of light."""
    tables = []
    for table in frame.sources:
        twin = table[: int(share * len(table))].copy()
        twin["flux"] *= ratio
        twin["x"] += 18.0
        twin["y"] += 9.0
        both = np.concatenate([table, twin])
        tables.append(both[np.argsort(-both["flux"][:, 0], kind="stable")])
    return frame.with_(sources=tuple(tables))


@pytest.mark.parametrize("stars", [20, 300, 8000])
def test_double_stars_are_known_and_crowds_are_not(field, stars):
    frames, _, _ = field(1, stars, 71)
    assert not doubled(frames[0])
    assert doubled(doubling(frames[0], 0.9))["distance"] == pytest.approx(20.1, abs=0.05)


@pytest.mark.parametrize("stars", [6, 12])
def test_a_jump_is_known_among_few_stars(field, stars):
    """Six pairs were asked for: a moving target among five bright stars had 12 % of light too much."""
    frame = field(1, stars, 75)[0][0]
    assert not doubled(frame)
    assert doubled(doubling(frame, 1.0))["distance"] == pytest.approx(20.1, abs=0.05)


@pytest.mark.parametrize("ratio", [0.3, 3.0])
def test_a_jump_early_or_late_is_known(field, ratio):
    assert doubled(doubling(field(1, 300, 76)[0][0], 1.0, ratio))["distance"] == pytest.approx(20.1, abs=0.05)


def test_one_double_star_and_a_field_with_some_are_no_jump(field):
    frame = field(1, 40, 77)[0][0]
    assert not doubled(doubling(frame, 0.3))
    assert not doubled(doubling(frame.with_(sources=(frame.sources[0][:1],)), 1.0))


def test_doubled_exposures_are_left_out_before_others_are_laid_on_them(field):
    """Of a few stars two agreed with the second images of the others: one exposure was put 0.4 arcsec off."""
    frames, _, _ = field(4, 12, 72)
    frames[1] = doubling(frames[1], 1.0)
    told = []
    context = Context(Path(), notify=lambda event, **facts: told.append((event, facts)))
    aligned = adjustWCSToReference(frames, context)
    assert [frame.path.name for frame in aligned] == ["S0000.fits", "S0002.fits", "S0003.fits"]
    refused = [(f["name"], f["reason"]) for event, f in told if event == "refused"]
    assert refused == [("S0001.fits", "doubled")]


def test_trailed_exposures_are_left_out_by_name(field):
    frames, _, _ = field(5, 200, 72)
    images = [StarImage(4.0, 0.03, 0.3) for _ in frames]
    images[3] = StarImage(40.0, 0.5, 0.1)
    told = []
    context = Context(Path(), notify=lambda event, **facts: told.append((event, facts)))
    kept, left = leave_out_spoilt(frames, images, context)
    assert [frame.path.name for frame in kept] == ["S0000.fits", "S0001.fits", "S0002.fits", "S0004.fits"]
    assert len(left) == 4
    ((_, facts),) = told
    assert facts["name"] == "S0003.fits"
    assert facts["reason"] == "trailed"


@pytest.mark.parametrize(("length", "kept"), [(0.144, 2), (0.013, 3)])
def test_weak_trails_in_a_crowd_are_told_from_a_loop_that_opened(field, length, kept):
    """Ellipticities above the median as drawn: trails in a crowd with poor images were kept."""
    images = [StarImage(5.0, 0.02, 0.3), StarImage(5.2, 0.02, 0.3), StarImage(16.0, 0.02 + length, 0.1)]
    assert len(leave_out_spoilt(field(3, 200, 74)[0], images, Context(Path()))[0]) == kept


def test_a_field_of_double_stars_is_kept(field):
    frames = [doubling(frame, 1.0) for frame in field(3, 200, 73)[0]]
    assert len(leave_out_doubled(frames, Context(Path()).notify)) == 3


def test_a_loop_that_opened_is_named():
    table = np.zeros(5, EXPOSURE)
    table["fwhm"], table["core"], table["transparency"] = 0.08, 0.45, 1.0
    table["matches"], table["rms"] = 400, 5e-4
    table["core"] *= [1.0, 0.82, 0.70, 1.05, 1.0]
    assert outliers(table) == ["", "", "core", "", ""]
    table["outlier"] = outliers(table)
    table["filename"][2] = "S2.fits"
    told = []
    tell_outliers(table, Context(Path(), notify=lambda event, **facts: told.append(facts)))
    (fact,) = told
    assert (fact["file"], fact["medians"]) == ("S2.fits", {"core": 0.45})
    assert fact["values"] == {"core": pytest.approx(0.315)}


def test_strong_sources_are_so_against_their_errors():
    """Not by their light: a bright one in a bright nebula has a large error."""
    table = np.zeros(3, SOURCE)
    table["flux"][:, 0], table["flux_error"][:, 0] = (1e5, 900.0, 800.0), (1e5, 1.0, 400.0)
    assert list(_strong(table)["flux"][:, 0]) == [900.0]
