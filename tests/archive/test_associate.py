"""Association over a real socket: the archive's answer, sharpened; a silent mask found by type."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from quick_archive import QUICK

from calstore.associate import LAMP_OFF, LAMP_ON, STANDARD
from goafetch.archive.calibrations import associate
from goafetch.archive.client import ArchiveClient
from goafetch.archive.query import Criteria
from goafetch.archive.records import Record
from goafetch.archive.search import search_archive
from goafetch.errors import BadAnswer
from goafetch.practice.server import Fault, PracticeArchive, serve
from reducer import instruments
from reducer.instruments.base import CalibrationRule

BPM = "bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"


@pytest.fixture
def science(client: ArchiveClient) -> list[Record]:
    return search_archive(client, Criteria(program="GS-2017A-Q-29")).records


def test_the_tutorials_calibrations(client: ArchiveClient, science: list[Record]) -> None:
    found = associate(client, science)
    names = [record.name for record in found.files]
    flats = [f"S20170505S{n:04d}.fits" for n in (*range(30, 45), *range(60, 75))]
    standards = [f"S20170504S{n:04d}.fits" for n in range(114, 118)]
    assert names == [*flats, *standards, BPM]
    assert not found.warnings and not found.rejected
    assert {found.kinds[n] for n in flats[:15]} == {"domeflat"}
    assert found.kinds[BPM] == "processed_bpm"
    assert "filter Kshort, same night" in found.reasons[flats[0]]
    assert "valid from 2012-11-04" in found.reasons[BPM]


def test_calibrations_belong_to_other_programs(client: ArchiveClient, science: list[Record]) -> None:
    assert all(record.program_id != "GS-2017A-Q-29" for record in associate(client, science).files)


def test_few_requests_serve_many_files(
    archive: PracticeArchive, client: ArchiveClient, science: list[Record]
) -> None:
    archive.requests.clear()
    associate(client, science)
    asked = [r.path.split("/")[1] for r in archive.requests]
    assert asked.count("jsoncalmgr") == 4 and asked.count("jsonsummary") <= 4


def test_the_archive_is_asked_for_what_the_instrument_has_rules_for(
    archive: PracticeArchive, client: ArchiveClient, science: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {
        "processed_flat": CalibrationRule(same=("filter_name",), days=2.0),
        "standard": CalibrationRule(same=("filter_name",), days=0.1, archive="photometric_standard"),
        "processed_bpm": CalibrationRule(latest=True, archive="processed_bpm"),
    }
    known = replace(instruments.KNOWN["GSAOI"], calibrations=own)
    monkeypatch.setattr(instruments, "KNOWN", {"GSAOI": known})
    archive.requests.clear()
    found = associate(client, science)
    asked = [r.path.split("/")[2] for r in archive.requests if r.path.startswith("/jsoncalmgr")]
    assert asked == ["photometric_standard", "processed_bpm"]
    assert [record.name for record in found.files] == [BPM]
    assert all("at most 0.1 allowed" in why for _, why in found.rejected) and len(found.rejected) == 4


def test_nothing_is_associated_with_nothing(client: ArchiveClient) -> None:
    assert associate(client, []).files == []


def test_a_science_file_that_the_archive_passes_over_is_named(
    client: ArchiveClient, science: list[Record]
) -> None:
    class Forgetful(ArchiveClient):
        def rows(self, feature: str, words: tuple[str, ...]) -> list[object]:
            rows = super().rows(feature, words)
            return rows[1:] if feature == "jsoncalmgr" else rows

    found = associate(Forgetful(client.base_url), science)
    passed_over = [text for text in found.warnings if "associates nothing" in text]
    assert len(passed_over) == 1 and len(found.files) == 35


def test_an_answer_for_another_type_is_an_error(client: ArchiveClient, science: list[Record]) -> None:
    class Confused(ArchiveClient):
        def rows(self, feature: str, words: tuple[str, ...]) -> list[object]:
            text = json.dumps(super().rows(feature, words))
            return (
                json.loads(text.replace('"domeflat"', '"arc"'))
                if feature == "jsoncalmgr"
                else json.loads(text)
            )

    with pytest.raises(BadAnswer, match="domeflat"):
        associate(Confused(client.base_url), science)


def test_the_returned_addresses_are_not_followed(
    archive: PracticeArchive, client: ArchiveClient, science: list[Record], tmp_path: Path
) -> None:
    class Astray(ArchiveClient):
        def rows(self, feature: str, words: tuple[str, ...]) -> list[object]:
            text = json.dumps(super().rows(feature, words))
            return json.loads(text.replace("https://127.0.0.1", "https://evil.example.org"))

    assert len(associate(Astray(client.base_url), science).files) == 35


def test_a_look_up_that_failed_once_is_repeated(tiny_folder: Path, science: list[Record]) -> None:
    with serve(tiny_folder, faults=[Fault("association-error", times=1)]) as archive:
        found = associate(ArchiveClient(archive.url, policy=QUICK), science)
    assert len(found.files) == 35 and not found.failed and not found.warnings and not found.lost


def test_where_look_ups_fail_calibrations_are_searched_for_and_it_is_said(
    tiny_folder: Path, science: list[Record]
) -> None:
    """The archive's 'error' is not 'there is nothing': flats were dropped without a word."""
    with serve(tiny_folder, faults=["association-error"]) as archive:
        found = associate(ArchiveClient(archive.url, policy=QUICK), science)
        asked = [request.path.split("/")[1:3] for request in archive.requests]
    assert len(found.files) == 35 and not found.lost
    assert asked.count(["jsoncalmgr", "domeflat"]) == 3
    names = [record.name for record in science]
    types = ("domeflat", "lampoff_domeflat", "photometric_standard", "processed_bpm")
    assert found.failed == dict.fromkeys(types, names)
    said = [text for text in found.warnings if "look-up of domeflat failed for 16 files" in text]
    assert len(said) == 1 and names[0] in said[0] and "15 were found by a search" in said[0]


def test_what_was_lost_with_a_failed_look_up_is_known(tiny_folder: Path, science: list[Record]) -> None:
    with serve(tiny_folder, faults=["association-error"]) as archive:
        archive.holdings[:] = [h for h in archive.holdings if h.row["object"] != "Domeflat OFF"]
        found = associate(ArchiveClient(archive.url, policy=QUICK), science)
    assert found.lost == {LAMP_OFF: [record.name for record in science]}
    [(what, why)] = found.shortcomings
    assert what == "lamp-off flats" and f"{science[0].name} and 15 more" in why
    assert any("lampoff_domeflat failed" in text and "0 were found" in text for text in found.warnings)


def test_flats_of_one_filter_do_not_hide_that_those_of_another_are_lost(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=["association-error"]) as archive:
        science = [h for h in archive.holdings if h.row["program_id"] == "GS-2017A-Q-29"]
        for holding in science[10:]:
            holding.row["filter_name"] = "J"
        client = ArchiveClient(archive.url, policy=QUICK)
        found = associate(client, search_archive(client, Criteria(program="GS-2017A-Q-29")).records)
    names = sorted(holding.name for holding in science[10:])
    assert found.lost == dict.fromkeys((LAMP_ON, LAMP_OFF, STANDARD), names)


def test_raw_darks_are_asked_for_where_an_instrument_has_a_rule_for_them(
    archive: PracticeArchive, client: ArchiveClient, science: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule for raw darks with the archive's word for them was a KeyError."""
    known = instruments.KNOWN["GSAOI"]
    dark = CalibrationRule(same=("exposure_time", "coadds", "read_mode"), days=90.0, archive="dark")
    rules = {**known.calibrations, "dark": dark}
    monkeypatch.setattr(instruments, "KNOWN", {"GSAOI": replace(known, calibrations=rules)})
    archive.requests.clear()
    found = associate(client, science)
    asked = [request.path.split("/")[2] for request in archive.requests if "/jsoncalmgr/" in request.path]
    assert asked.count("dark") == 1 and len(found.files) == 35
    assert any("no darks of" in text for text in found.warnings)


def test_flats_that_the_archive_does_not_tell_apart_are_told_by_their_lamp(
    client: ArchiveClient, science: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the ten that it offers all may have the lamp on: the others are searched for."""
    known = instruments.KNOWN["GSAOI"]
    rules = {kind: rule for kind, rule in known.calibrations.items() if kind != "standard"}
    for kind, lamp in (("lamp_on", "Domeflat"), ("lamp_off", "Domeflat OFF")):
        rules[kind] = replace(rules[kind], archive="domeflat", sought=("dayCal", "OBJECT", lamp, 20))
    monkeypatch.setattr(instruments, "KNOWN", {"GSAOI": replace(known, calibrations=rules)})

    class WithLamps(ArchiveClient):
        def rows(self, feature: str, words: tuple[str, ...]) -> list[object]:
            rows: list[object] = super().rows(feature, words)
            for row in rows if feature == "jsonsummary" else []:
                assert isinstance(row, dict)
                row["gcal_lamp"] = "Off" if row["object"] == "Domeflat OFF" else "IRhigh"
            return rows

    found = associate(WithLamps(client.base_url), science)
    flats = [f"S20170505S{n:04d}.fits" for n in (*range(30, 45), *range(60, 75))]
    assert [record.name for record in found.files] == [*flats, BPM]
    assert not found.warnings
