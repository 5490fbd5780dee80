"""Searches over a real socket: complete, checked row by row, and never silently widened."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from quick_archive import QUICK

from goafetch.archive import query as query_module
from goafetch.archive.client import ArchiveClient
from goafetch.archive.errors import BadAnswer
from goafetch.archive.query import Cone, Criteria, Query, build_query
from goafetch.archive.search import find, nothing_found, search
from goafetch.errors import NothingFound
from goafetch.practice.server import Limits, PracticeArchive, serve


def names(client: ArchiveClient, **criteria: object) -> list[str]:
    return [record.name for record in search(client, Criteria(**criteria)).records]


def test_the_tutorial_program(client: ArchiveClient) -> None:
    found = names(client, program="GS-2017A-Q-29", date="20170504-20170505")
    assert found == [f"S20170505S{n:04d}.fits" for n in range(95, 111)]


def test_lower_case_is_put_right_and_said(client: ArchiveClient) -> None:
    found = search(client, Criteria(program="gs-2017a-q-29"))
    assert len(found.records) == 16 and "was read as GS-2017A-Q-29" in found.warnings[0]


def test_the_night_includes_the_afternoon_before(client: ArchiveClient) -> None:
    night = set(names(client, night="20170505"))
    utc_date = set(names(client, date="20170505"))
    flats = {f"S20170505S{n:04d}.fits" for n in (*range(30, 45), *range(60, 75))}
    assert flats <= night and not flats <= utc_date


def test_the_other_criteria(client: ArchiveClient) -> None:
    assert len(names(client, observation_class="partnerCal", date="20170504")) == 4
    assert len(names(client, object="ngc*", date="20170505")) == 16
    assert names(client, observation_type="BPM") == ["bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"]
    assert names(client, program="GS-2017A-Q-29-32-003") == ["S20170505S0097.fits"]
    assert names(client, program="GS-2017A-Q-29", filter="H") == []
    assert len(names(client, near=Cone(201.36, -43.03, 0.02), object="NGC5128")) == 16


def test_superseded_and_failed_files_do_not_come(client: ArchiveClient) -> None:
    states = {record.qa_state for record in search(client, Criteria(date="20170601-20170630")).records}
    assert "Fail" not in states


def test_proprietary_rows_are_shown_as_such(client: ArchiveClient) -> None:
    rows = search(client, Criteria(program="GS-2026A-Q-77")).records
    assert [row.proprietary() for row in rows] == [False, False, True, True]


class Widened(ArchiveClient):
    """An archive that drops a word, as the real one does with each that it does not know."""

    drops = "science"

    def rows(self, feature: str, words: tuple[str, ...]) -> list[object]:
        return super().rows(feature, tuple(word for word in words if word != self.drops))


@pytest.mark.parametrize(
    ("drops", "criteria"),
    [
        ("GS-2017A-Q-29", {"program": "GS-2017A-Q-29", "date": "20170504-20170505"}),
        ("dayCal", {"observation_class": "dayCal", "date": "20170504-20170505"}),
        ("filter=H", {"program": "GS-2017A-Q-29", "filter": "H"}),
        ("object=M42", {"program": "GS-2017A-Q-29", "object": "M42"}),
        ("20170506", {"program": "GS-2017A-Q-29", "date": "20170506"}),
    ],
)
def test_a_widened_answer_is_an_error(archive: PracticeArchive, drops: str, criteria: dict[str, str]) -> None:
    client = Widened(archive.url, patience=QUICK)
    client.drops = drops
    with pytest.raises(BadAnswer, match="widened"):
        search(client, Criteria(**criteria))


@pytest.fixture
def narrow(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> ArchiveClient:
    """An archive that cuts its answers at few rows; the client knows the limits."""
    monkeypatch.setattr(query_module, "OPEN_LIMIT", 5)
    monkeypatch.setattr(query_module, "CLOSED_LIMIT", 7)
    with serve(tiny_folder, limits=Limits(5, 7)) as archive:
        yield ArchiveClient(archive.url, patience=QUICK)


def test_cut_answers_are_made_whole(narrow: ArchiveClient) -> None:
    assert len(names(narrow, program="GS-2017A-Q-29", date="20170504-20170505")) == 16
    assert len(names(narrow, program="GS-2017A-Q-29")) == 16
    assert len(names(narrow, object="Domeflat*")) == 30
    assert len(names(narrow, night="20170505")) == 46


def test_an_answer_that_stays_cut_is_an_error(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_module, "CLOSED_LIMIT", 20)
    row = next(r for r in json.loads((tiny_folder / "holdings.json").read_text()) if r["object"] == "NGC5128")

    class Endless(ArchiveClient):
        asked = 0

        def rows(self, feature: str, words: tuple[str, ...]) -> list[object]:
            self.asked += 1
            start = datetime.fromisoformat(words[1].split("--")[0] if "T" in words[1] else words[1][:8])
            return [{**row, "ut_datetime": str(start)}] * query_module.CLOSED_LIMIT

    client = Endless("http://127.0.0.1:9")
    with pytest.raises(BadAnswer, match="cuts its answer"):
        find(client, build_query(Criteria(program="GS-2017A-Q-29", date="20170501-20170531")))
    assert client.asked < 50


def test_intervals_divide_without_gap_or_overlap() -> None:
    whole = build_query(Criteria(date="20170501-20170531")).interval
    assert whole is not None
    moment = whole.start
    while moment < whole.end:
        first, second = whole.split(moment)
        assert first.start == whole.start and first.end == second.start and second.end == whole.end
        assert first.start < first.end and second.start < second.end
        moment += timedelta(hours=7)
    day = build_query(Criteria(date="20170505")).interval
    assert day is not None and day.split(datetime(2017, 5, 5, 1))[0].word.startswith("2017-05-05T00:00:00--")


def test_nothing_found_says_what_there_is(client: ArchiveClient) -> None:
    error = nothing_found(client, build_query(Criteria(program="GS-2017A-Q-29", date="20180101")))
    assert isinstance(error, NothingFound) and error.exit_code == 3
    assert "16 files" in str(error) and "2017-05-05" in str(error)
    unknown = nothing_found(client, build_query(Criteria(program="GS-2017A-Q-9999")))
    assert "nothing of GS-2017A-Q-9999" in str(unknown)


def test_queries_count_as_open_where_the_archive_counts_them_so() -> None:
    assert not Query(object="Haro*", instrument="GSAOI").closed
    for closed in (
        {"program": "GS-2017A-Q-29"},
        {"date": "20170505"},
        {"night": "20170505"},
        {"filename": "x.fits"},
    ):
        assert build_query(Criteria(**closed)).closed
