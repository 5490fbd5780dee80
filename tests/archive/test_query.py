"""Every word is validated before it is sent: malformed input gives a sentence, near misses a suggestion."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from goafetch.archive.cone import Cone, read_cone, read_radius
from goafetch.archive.query import (
    Criteria,
    build_query,
    encode_path,
    observation_of,
    read_dates,
    read_filter,
    read_identifier,
    read_night,
    suggest,
)
from goafetch.errors import UsageError
from goafetch.practice.goa.words import parse
from reducer import instruments

ALWAYS = ("RAW", "NotFail", "notengineering", "canonical", "present")


def words(**criteria: object) -> tuple[str, ...]:
    return build_query(Criteria(**criteria)).words


def test_the_main_job_asks_for_canonical_raw_present_files() -> None:
    found = words(program="GS-2017A-Q-29", date="20170504-20170505", observation_class="science")
    assert found == ("GS-2017A-Q-29", "20170504-20170505", "GSAOI", "science", *ALWAYS)


@pytest.mark.parametrize(
    ("typed", "kind", "value"),
    [
        ("GS-2017A-Q-29", "program", "GS-2017A-Q-29"),
        ("gs-2017a-q-29", "program", "GS-2017A-Q-29"),
        (" GS-2017A-Q-29 ", "program", "GS-2017A-Q-29"),
        ("GS-CAL20170505", "program", "GS-CAL20170505"),
        ("GS-2017A-Q-29-32", "observation", "GS-2017A-Q-29-32"),
        ("GS-2017A-Q-29-32-001", "label", "GS-2017A-Q-29-32-001"),
        ("GS-CAL20170505-40-015", "label", "GS-CAL20170505-40-015"),
        ("G-2024B-0123-Q", "program", "G-2024B-0123-Q"),
        ("g-2024b-0123-q-0007", "observation", "G-2024B-0123-Q-0007"),
        ("G-2025A-CAL-GSAOI-01", "program", "G-2025A-CAL-GSAOI-01"),
        ("G-2026B-CAL-GSAOI-01-15", "observation", "G-2026B-CAL-GSAOI-01-15"),
        ("G-2026B-ENG-GSAOI-01-15-001", "label", "G-2026B-ENG-GSAOI-01-15-001"),
        ("G-2026B-MON-GMOS-S-02", "program", "G-2026B-MON-GMOS-S-02"),
        ("G-2026B-COM-IGRINS-2-02-7", "observation", "G-2026B-COM-IGRINS-2-02-7"),
        ("GS-2017A-Q-29-32-001-2", "label", "GS-2017A-Q-29-32-001-2"),
        ("GS-2017A-Q-29-32-001-SKY-CORR", "label", "GS-2017A-Q-29-32-001-SKY-CORR"),
    ],
)
def test_names_are_recognised(typed: str, kind: str, value: str) -> None:
    found = read_identifier(typed)
    assert (found.kind, found.value) == (kind, value)


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("GS-2017A-Q-29-32", "GS-2017A-Q-29-32"),
        ("GS-2017A-Q-29-32-001", "GS-2017A-Q-29-32-001"),
        ("G-2024B-0123-Q-0007", "G-2024B-0123-Q-0007"),
        ("G-2026B-CAL-GSAOI-01", "G-2026B-CAL-GSAOI-01"),
        ("G-2026B-CAL-GSAOI-01-15", "obsid=G-2026B-CAL-GSAOI-01-15"),
        ("G-2026B-CAL-GSAOI-01-15-001", "datalabel=G-2026B-CAL-GSAOI-01-15-001"),
        ("GS-2017A-Q-29-32-001-2", "datalabel=GS-2017A-Q-29-32-001-2"),
        ("GS-2017A-Q-29-32-001-SKY-CORR", "datalabel=GS-2017A-Q-29-32-001-SKY-CORR"),
    ],
)
def test_names_that_the_archive_may_misread_say_what_they_are(typed: str, sent: str) -> None:
    identifier = read_identifier(typed)
    assert identifier.word == sent
    [(key, value)] = parse([sent], datetime(2026, 11, 22)).criteria.items()
    assert value == typed
    assert (
        key
        == {"program": "program_id", "observation": "observation_id", "label": "data_label"}[identifier.kind]
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("GS2017AQ29", "GS-2017A-Q-29"),
        ("GS_2017A_Q_29", "GS-2017A-Q-29"),
        ("GS 2017A Q 29", "GS-2017A-Q-29"),
        ("GS--2017A-Q-29", "GS-2017A-Q-29"),
        ("GS-2O17A-Q-29", "GS-2017A-Q-29"),
        ("2017A-Q-29", "GS-2017A-Q-29"),
        ("GS-2017AQ29-32", "GS-2017A-Q-29-32"),
        ("G-2024B-123Q", "G-2024B-0123-Q"),
        ("M31", None),
    ],
)
def test_near_misses_are_suggested(typed: str, meant: str | None) -> None:
    assert suggest(typed) == meant
    with pytest.raises(UsageError) as caught:
        read_identifier(typed)
    assert (meant or "GS-2017A-Q-29") in str(caught.value)


def test_a_label_knows_its_observation() -> None:
    assert observation_of("GS-CAL20170505-40-015") == "GS-CAL20170505-40"
    assert observation_of("G-2026B-CAL-GSAOI-01-15-001") == "G-2026B-CAL-GSAOI-01-15"
    assert observation_of("GS-2017A-Q-29-32-001-SKY-CORR") == "GS-2017A-Q-29-32"
    assert observation_of("BPM") is None


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"program": ""}, "no program"),
        ({"program": "GS-2017A-Q-29; rm"}, "not a Gemini program"),
        ({"program": "G", "date": "20170505"}, "not a Gemini program"),
        ({"date": "20170532"}, "there is no day 20170532"),
        ({"date": "20170229"}, "there is no day"),
        ({"date": "2017-05"}, "not a date"),
        ({"date": "yesterweek"}, "not a date"),
        ({"date": ""}, "not a date"),
        ({"date": "20170505-20170504"}, "did you mean 20170504-20170505?"),
        ({"date": "19850101"}, "outside"),
        ({"date": "2017notadate"}, "not a date"),
        ({"date": "20170505", "night": "20170505"}, "one of them"),
        ({"night": "20170504-20170505"}, "not a date"),
        ({"observation_class": "sience"}, "did you mean science?"),
        ({"observation_type": "OBJEKT"}, "did you mean OBJECT?"),
        ({"filter": "Kshrot"}, "did you mean Kshort?"),
        ({"instrument": "GSOAI"}, "did you mean GSAOI?"),
        ({"qa": "NotFailed"}, "did you mean NotFail?"),
        ({"object": "  "}, "empty"),
        ({"object": "*"}, "matches everything"),
        ({"object": "M\n42"}, "cannot be"),
        ({"filename": "../../etc/passwd"}, "not the name of a file"),
        ({"near": Cone(400, 0, 1)}, "not on the sky"),
        ({"near": Cone(10, 0, 0)}, "not on the sky"),
    ],
)
def test_malformed_input_gives_a_sentence(bad: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_query(Criteria(**bad))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("HaroX-7", "object=HaroX-7"),
        ("LMC FIELD 2", "object=LMC%20FIELD%202"),
        ("NGC 5128/halo", "object=NGC%205128=slash=halo"),
        ("Haro*", "object=Haro*"),
        ("NGC*28", "object=NGC*"),
        ("50% + more?", "object=50%25%20%2B%20more%3F"),
    ],
)
def test_objects_are_sent_as_the_archive_reads_them(typed: str, sent: str) -> None:
    assert sent in encode_path(words(object=typed)).split("/")


@pytest.mark.parametrize(
    ("typed", "sent"),
    [("Kshort_G1105", "Kshort"), ("ks", "Kshort"), ("KSHORT", "Kshort"), ("h2(1-0)", "H2(1-0)")],
)
def test_filters_are_sent_without_component_numbers(typed: str, sent: str) -> None:
    assert f"filter={sent}" in words(filter=typed)


def test_filters_of_another_instrument_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    known = instruments.KNOWN["GSAOI"]
    other = replace(known, filters={"Ks": known.filters["Kshort"]}, aliases={})
    monkeypatch.setattr(instruments, "KNOWN", {"F2": other})
    assert read_filter("ks_G0804", "F2") == "Ks"
    with pytest.raises(UsageError, match="'Kshort' is not a filter of F2"):
        read_filter("Kshort", "F2")
    assert read_filter("whatever", "NIRI") == "whatever"


def test_dates_include_both_ends() -> None:
    interval = read_dates("20170504-20170505")
    assert (interval.start, interval.end) == (datetime(2017, 5, 4), datetime(2017, 5, 6))
    assert read_dates("2017-05-04--2017-05-05") == interval == read_dates("20170504..20170505")


def test_a_night_begins_on_the_afternoon_before_its_label() -> None:
    night = read_night("20170505")
    assert (night.start, night.end) == (datetime(2017, 5, 4, 18), datetime(2017, 5, 5, 18))
    assert "night=20170505" in words(program="GS-2017A-Q-29", night="2017-05-05")


def test_masks_are_not_raw() -> None:
    assert words(observation_type="bpm") == (
        "GSAOI",
        "BPM",
        "NotFail",
        "notengineering",
        "canonical",
        "present",
    )


def test_a_circle_across_zero_hours_is_sent_as_a_range() -> None:
    found = words(near=Cone(0.01, -30, 0.05))
    assert found[1].startswith("ra=359.95") and found[1].split("-")[1].startswith("0.06")
    assert "ra=201.300000" in words(near=Cone(201.3, -62.7, 0.05))


@pytest.mark.parametrize(
    "text",
    ["201.365 -43.0192", "13:25:27.6 -43:01:09.12", "13 25 27.6 -43 01 09.12", "13h25m27.6s, -43d01m09.12s"],
)
def test_positions_are_read_in_any_usual_form(text: str) -> None:
    cone = read_cone(text, "1m")
    assert cone.ra == pytest.approx(201.365) and cone.dec == pytest.approx(-43.0192)
    assert cone.radius == pytest.approx(1 / 60)


def test_small_negative_declinations_keep_their_sign() -> None:
    assert read_cone("00:00:01 -00:00:30").dec == pytest.approx(-30 / 3600)


@pytest.mark.parametrize("bad", ["13:61:00 -43:00:00", "400.0 10.0", "12 , ", "10.0 -95.0"])
def test_positions_off_the_sky_are_refused(bad: str) -> None:
    with pytest.raises(UsageError):
        read_cone(bad)


def test_radii_have_units() -> None:
    assert [read_radius(t) for t in ("60", "1.5m", '30"', "0.3d")] == pytest.approx([60, 90, 30, 1080])
    with pytest.raises(UsageError):
        read_radius("-3")


def test_separation_is_a_great_circle() -> None:
    assert Cone(0, 60, 1).separation(180, 60) == pytest.approx(60)
    assert Cone(359.5, 0, 1).separation(0.5, 0) == pytest.approx(1)
