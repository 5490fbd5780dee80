"""The archive's words: what each means, what is silently dropped, and which query is open."""

from __future__ import annotations

from datetime import datetime

import pytest

from goafetch.practice.goa.criteria import keeps
from goafetch.practice.goa.dates import MalformedValue
from goafetch.practice.goa.words import describe, parse, split_path

NOW = datetime(2026, 11, 22, 12, 0)


def criteria(*words: str) -> dict[str, object]:
    return dict(parse(words, NOW).criteria)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("gemini_SOUTH", {"telescope": "Gemini-South"}),
        ("S20170505S0095", {"filename": "S20170505S0095.fits"}),
        ("S20170505S0095.fits.bz2", {"filename": "S20170505S0095.fits"}),
        ("filename=bpm_x.fits", {"filename": "bpm_x.fits"}),
        ("OBJECT", {"observation_type": "OBJECT"}),
        ("dayCal", {"observation_class": "dayCal"}),
        ("domeflat", {"caltype": "domeflat"}),
        ("Raw", {"processing": "Raw"}),
        ("RAW", {"reduction": "RAW"}),
        ("gsaoi", {"inst": "GSAOI"}),
        ("filter=Kshort", {"filter": "Kshort"}),
        ("notengineering", {"engineering": False}),
        ("NotFail", {"qa_state": "NotFail"}),
        ("LGS", {"lgs": "LGS", "ao": "AO"}),
        ("LS", {"mode": "LS", "spectroscopy": True}),
        ("imaging", {"spectroscopy": False}),
        ("GS-2017A-Q-29", {"program_id": "GS-2017A-Q-29"}),
        ("G-2024B-0123-Q", {"program_id": "G-2024B-0123-Q"}),
        ("progid=gs-2017a-q-29", {"program_id": "gs-2017a-q-29"}),
        ("progid=GS-2017A-Q-29-32", {"observation_id": "GS-2017A-Q-29-32"}),
        ("GS-2017A-Q-29-32-001", {"data_label": "GS-2017A-Q-29-32-001"}),
        ("obsid=GS-X-1", {"observation_id": "GS-X-1"}),
        ("S20170505S003", {"filepre": "S20170505S003"}),
        ("object=NGC5128", {"object": "NGC5128"}),
        ("20170505", {"date": "20170505"}),
        ("2017-05-05", {"date": "2017-05-05"}),
        ("20170504-20170505", {"daterange": "20170504-20170505"}),
        (
            "2017-05-04T18:00:00--2017-05-05T18:00:00",
            {"daterange": "2017-05-04T18:00:00--2017-05-05T18:00:00"},
        ),
        ("GS-CAL20170504", {"program_id": "GS-CAL20170504"}),
        ("G-2026B-CAL-GSAOI-01", {"program_id": "G-2026B-CAL-GSAOI-01"}),
        ("G-2026B-CAL-GSAOI-01-15", {"observation_id": "G-2026B-CAL-GSAOI-01-15"}),
        ("G-2026B-MON-GMOS-S-01-15-001", {"data_label": "G-2026B-MON-GMOS-S-01-15-001"}),
        ("GS-2017A-Q-29-32-001-2", {"data_label": "GS-2017A-Q-29-32-001-2"}),
        ("GS-2017A-Q-29-32-001-SKY-CORR", {"data_label": "GS-2017A-Q-29-32-001-SKY-CORR"}),
    ],
)
def test_a_word_means_what_the_archive_says(word: str, expected: dict[str, object]) -> None:
    assert criteria(word) == expected


@pytest.mark.parametrize(
    "word",
    [
        "gs-2017a-q-29",
        "daycal",
        "object",
        "inst=GSAOI",
        "20170532",
        "19981231",
        "foo",
        "raw",
        "S19990101S0001.fits",
    ],
)
def test_a_misspelt_word_is_dropped_and_widens_the_query(word: str) -> None:
    selection = parse([word], NOW)
    assert not selection.criteria
    assert selection.unknown == (word,)
    assert selection.is_open


def test_later_words_overwrite_earlier_ones_and_the_most_specific_label_wins() -> None:
    assert criteria("20170505", "20170506") == {"date": "20170506"}
    assert criteria("GS-2017A-Q-29-32-001", "GS-2017A-Q-1") == {"data_label": "GS-2017A-Q-29-32-001"}
    assert criteria("defaults", "AnyQA")["qa_state"] == "AnyQA"


@pytest.mark.parametrize("word", ["object=HaroX-7", "GSAOI", "science", "filter=Kshort", "RAW"])
def test_a_query_without_date_program_or_file_is_open(word: str) -> None:
    assert parse([word], NOW).is_open


def test_an_escaped_slash_splits_words_and_slash_stands_for_itself() -> None:
    assert split_path("/jsonsummary/GSAOI%2Fscience//object=a=slash=b") == [
        "jsonsummary",
        "GSAOI",
        "science",
        "object=a/b",
    ]


def test_the_selection_is_described_in_the_archives_order() -> None:
    selection = parse(["GS-2017A-Q-29", "science", "20170505-20170506", "GSAOI"], NOW).adding(present=True)
    assert describe(selection) == "/daterange=20170505-20170506/GSAOI/science/present/GS-2017A-Q-29"
    assert describe(parse(["defaults", "GSAOI"], NOW)) == "/defaults/GSAOI"


@pytest.mark.parametrize(
    "word",
    ["date=2017notadate", "daterange=foo-bar", "night=20170532", "raw_iq=good", "dec=-43:01:59", "coadds=x"],
)
def test_a_malformed_value_crashes_the_request(word: str) -> None:
    with pytest.raises(MalformedValue):
        keeps(parse([word], NOW).criteria, NOW)


def test_a_reversed_range_is_turned_round_and_days_are_whole() -> None:
    row = {"ut_datetime": "2017-05-05 23:59:59.5"}
    for word in ("20170504-20170505", "20170505-20170504", "2017-05-05--2017-05-04"):
        assert keeps(criteria(word), NOW)(row, "", False)
    until = "2017-05-04T01:00:00--2017-05-05T23:00:00"
    assert not keeps(criteria(until), NOW)(row, "", False)


@pytest.mark.parametrize(
    "word",
    [
        "2017-05-04--2017-05-05T23:00:00",
        "2017-05-04T18:00:00--2017-05-05T00:00:00",
        "2017-05-05T00:00:00--2017-05-05T12:00:00",
        "20170504-20170505T030000",
        "2017-05-04T18:00:00Z--2017-05-05T18:00:00Z",
    ],
)
def test_a_range_that_mixes_a_date_and_a_time_crashes_the_request(word: str) -> None:
    """Midnight reads as a date: whoever halves a day meets it."""
    with pytest.raises(MalformedValue):
        parse([word], NOW)


@pytest.mark.parametrize(
    ("word", "inside", "outside"),
    [
        ("2017", "2017-01-01 12:00:00", "2017-01-02 00:00:00"),
        ("2017-05", "2017-05-01 12:00:00", "2017-05-02 00:00:00"),
        ("2017-W18-5", "2017-05-05 12:00:00", "2017-05-06 00:00:00"),
        ("20170505T030000", "2017-05-05 23:00:00", "2017-05-06 00:00:00"),
        ("now", "2026-11-22 23:00:00", "2026-11-23 00:00:00"),
        ("2017-05-05T00:00:00--2017-05-05T00:00:00", "2017-05-05 23:59:59", "2017-05-06 00:00:00"),
        ("2017-05-04T18:00:00--2017-05-05T00:00:00.000001", "2017-05-05 00:00:00", "2017-05-05 00:00:01"),
        ("2017-05-04T23:59:59.999999--2017-05-05T12:00:00", "2017-05-05 00:00:00", "2017-05-05 12:00:00"),
    ],
)
def test_every_form_of_date_that_the_archive_understands(word: str, inside: str, outside: str) -> None:
    test = keeps(criteria(word), NOW)
    assert test({"ut_datetime": inside}, "", False) and not test({"ut_datetime": outside}, "", False)


def test_a_southern_night_begins_at_18_hours_universal_time() -> None:
    night = keeps(criteria("night=20170505"), NOW)
    for moment, expected in (
        ("2017-05-04 17:59:59", False),
        ("2017-05-04 18:00:00", True),
        ("2017-05-05 17:59:59", True),
        ("2017-05-05 18:00:00", False),
    ):
        assert night({"ut_datetime": moment, "telescope": "Gemini-South"}, "", False) is expected


@pytest.mark.parametrize(
    ("word", "name", "expected"),
    [
        ("object=ngc5128", "NGC5128", True),
        ("object=NGC", "NGC5128", False),
        ("object=NGC*", "NGC5128", True),
        ("object=*5128", "NGC5128", True),
        ("object=N*8", "NGC5128", False),
        ("object=ngc_128", "NGC5128", True),
        ("object=N%8", "NGC5128", True),
        ("object=NGC_5128", "NGC5128", False),
    ],
)
def test_object_names_match_whole_unless_starred_at_an_end(word: str, name: str, expected: bool) -> None:
    assert keeps(criteria(word), NOW)({"object": name}, "", False) is expected


def test_a_cone_is_a_box_and_exposure_times_have_half_a_second_of_room() -> None:
    box = keeps(criteria("ra=201.3", "dec=-60", "sr=60"), NOW)
    assert box({"ra": 201.3 + 1.9 / 60, "dec": -60 + 0.9 / 60}, "", False)
    assert not box({"ra": 201.3 + 2.1 / 60, "dec": -60}, "", False)
    assert not box({"ra": 201.3, "dec": -60}, "", True), "hidden coordinates are never found"
    times = keeps(criteria("exposure_time=60"), NOW)
    assert times({"exposure_time": 60.5}, "", False) and not times({"exposure_time": 60.6}, "", False)


def test_a_cone_across_0_h_wraps_and_a_bad_radius_crashes() -> None:
    box = keeps(criteria("ra=359.9-0.1", "dec=-30", "sr=360"), NOW)
    for ra, expected in ((359.95, True), (0.05, True), (0.2, False), (180.0, False)):
        assert box({"ra": ra, "dec": -30.0}, "", False) is expected
    with pytest.raises(MalformedValue):
        keeps(criteria("ra=201.3", "dec=-60", "sr=x"), NOW)


def test_coadds_select_and_what_no_frame_is_selects_nothing() -> None:
    two = keeps(criteria("coadds=2"), NOW)
    assert two({}, "", False, 2) and not two({}, "", False, 1)
    for word in ("preimage", "pupil_mask=x", "processing_tag=x"):
        assert not keeps(criteria(word), NOW)({}, "", False)
    assert keeps(criteria("processing_tag=default"), NOW)({}, "", False)
