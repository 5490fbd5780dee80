"""Searches over a real socket: complete, checked row by row, and never silently widened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick_archive import QUICK
from tiny_archive import build_tiny_archive

from goafetch.archive.client import ArchiveClient
from goafetch.archive.cone import Cone
from goafetch.archive.query import Criteria, Interval, Query, all_time, build_query, night_interval
from goafetch.archive.records import is_sought, mismatch
from goafetch.archive.search import SHORTEST, _halves, find_records_of, nothing_found, search_archive
from goafetch.errors import BadAnswer, Gone, NothingFound
from goafetch.practice.goa.dates import day_period, range_period
from goafetch.practice.goa.words import parse
from goafetch.practice.server import Limits, PracticeArchive, serve


def names(client: ArchiveClient, **criteria: object) -> list[str]:
    return [record.name for record in search_archive(client, Criteria(**criteria)).records]


def test_the_tutorial_program(client: ArchiveClient) -> None:
    found = names(client, program="GS-2017A-Q-29", date="20170504-20170505")
    assert found == [f"S20170505S{n:04d}.fits" for n in range(95, 111)]


def test_an_object_is_found_with_and_without_the_blank_in_its_name(client: ArchiveClient) -> None:
    alone = search_archive(client, Criteria(object="NGC5128", program="GS-2017A-Q-29"))
    found = search_archive(client, Criteria(object="NGC 5128", program="GS-2017A-Q-29"))
    assert [r.name for r in found.records] == [r.name for r in alone.records] and alone.records
    assert found.warnings == [*alone.warnings, "no object is called 'NGC 5128': these are of 'NGC5128'"]
    assert not search_archive(client, Criteria(object="NGC 5129", program="GS-2017A-Q-29")).warnings


def test_an_object_that_is_not_there_is_answered_with_those_that_are(client: ArchiveClient) -> None:
    nothing = search_archive(client, Criteria(object="NGC1851", program="GS-2017A-Q-29"))
    assert "objects " in str(nothing_found(client, nothing.query).remedy)
    assert "NGC5128" in str(nothing_found(client, nothing.query).remedy)


def test_lower_case_is_put_right_and_said(client: ArchiveClient) -> None:
    found = search_archive(client, Criteria(program="gs-2017a-q-29"))
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
    states = {
        record.qa_state for record in search_archive(client, Criteria(date="20170601-20170630")).records
    }
    assert "Fail" not in states


def test_proprietary_rows_are_shown_as_such(client: ArchiveClient) -> None:
    rows = search_archive(client, Criteria(program="GS-2026A-Q-77")).records
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
    client = Widened(archive.url, policy=QUICK)
    client.drops = drops
    with pytest.raises(BadAnswer, match="widened"):
        search_archive(client, Criteria(**criteria))


@pytest.fixture
def narrow(tiny_folder: Path) -> Iterator[PracticeArchive]:
    """An archive that cuts its answers at few rows, as its settings may say."""
    with serve(tiny_folder, limits=Limits(5, 7)) as archive:
        yield archive


def asked(archive: PracticeArchive) -> int:
    """How many requests came since this was last asked."""
    count = len(archive.requests)
    archive.requests.clear()
    return count


CUT = (
    ({"program": "GS-2017A-Q-29", "date": "20170504-20170505"}, 16),
    ({"program": "GS-2017A-Q-29"}, 16),
    ({"object": "Domeflat*"}, 30),
    ({"night": "20170505"}, 46),
    ({"date": "20170505"}, 16),
)


@pytest.mark.parametrize("limits", [Limits(5, 7), Limits(10, 20), Limits(16, 16), Limits(500, 2000)])
@pytest.mark.parametrize(("criteria", "count"), CUT)
def test_answers_are_whole_whatever_the_archives_limits(
    tiny_folder: Path, limits: Limits, criteria: dict[str, str], count: int
) -> None:
    with serve(tiny_folder, limits=limits) as archive:
        assert len(names(ArchiveClient(archive.url, policy=QUICK), **criteria)) == count


def test_a_whole_answer_costs_one_request_more_and_shorter_ones_none(archive: PracticeArchive) -> None:
    client = ArchiveClient(archive.url, policy=QUICK)
    names(client, night="20170505")
    assert asked(archive) == 2
    names(client, program="GS-2017A-Q-29")
    assert asked(archive) == 1


def test_many_days_cost_few_requests(tmp_path: Path) -> None:
    """300 files of 60 nights, 20 at a time: 15 answers at least; three more tell what there is."""
    build_tiny_archive(tmp_path)
    rows = json.loads((tmp_path / "holdings.json").read_text())
    model = next(row for row in rows if row["object"] == "NGC5128")
    first = datetime(2018, 1, 1, 3)
    made = []
    for number in range(300):
        moment = first + timedelta(days=2 * (number // 5), minutes=number)
        name = f"S{moment:%Y%m%d}S{number:04d}.fits"
        stated = {"name": name, "filename": f"{name}.bz2", "ut_datetime": str(moment)}
        made.append({**model, **stated, "data_label": f"GS-2017A-Q-29-40-{number:03d}"})
    (tmp_path / "holdings.json").write_text(json.dumps(made))
    with serve(tmp_path, limits=Limits(10, 20)) as archive:
        client = ArchiveClient(archive.url, policy=QUICK)
        assert len(names(client, program="GS-2017A-Q-29")) == 300
        assert asked(archive) <= 18
        assert len(names(ArchiveClient(archive.url), object="NGC5128")) == 300
        assert asked(archive) <= 20


class Poorer(ArchiveClient):
    """An archive without a list of QA states."""

    def rows(self, feature: str, words: tuple[str, ...]) -> list[object]:
        if feature == "jsonqastate":
            raise Gone("no such list")
        return super().rows(feature, words)


@pytest.mark.parametrize(("criteria", "count"), CUT)
def test_answers_are_made_whole_without_the_list_of_states(
    narrow: PracticeArchive, criteria: dict[str, str], count: int
) -> None:
    assert len(names(Poorer(narrow.url, policy=QUICK), **criteria)) == count


class Stricter(ArchiveClient):
    """An archive whose list of QA states heeds all words."""

    def rows(self, feature: str, words: tuple[str, ...]) -> list[object]:
        found = super().rows(feature, words)
        if feature != "jsonqastate":
            return found
        return [row for row in found if row["qa_state"] != "Fail" and "S20170601S0006" not in row["filename"]]


@pytest.mark.parametrize("kind", [ArchiveClient, Stricter, Poorer])
@pytest.mark.parametrize("limits", [Limits(5, 4), Limits(5, 20)])
def test_failed_and_engineering_frames_are_rightly_missing(
    tiny_folder: Path, kind: type[ArchiveClient], limits: Limits
) -> None:
    with serve(tiny_folder, limits=limits) as archive:
        found = search_archive(kind(archive.url, policy=QUICK), Criteria(program="GS-2017A-Q-30"))
    assert len(found.records) == 4 and found.unseen == []


def test_what_the_archive_counts_and_does_not_list_is_named(archive: PracticeArchive) -> None:
    hidden = "S20170505S0100.fits"

    class Forgetful(ArchiveClient):
        def rows(self, feature: str, words: tuple[str, ...]) -> list[object]:
            rows = super().rows(feature, words)
            return [row for row in rows if feature == "jsonqastate" or row["name"] != hidden]

    found = search_archive(Forgetful(archive.url, policy=QUICK), Criteria(program="GS-2017A-Q-29"))
    assert len(found.records) == 15 and found.unseen == [hidden]
    assert hidden in found.warnings[-1]


def test_an_answer_that_cannot_be_shown_to_be_whole_is_an_error(tiny_folder: Path) -> None:
    row = next(r for r in json.loads((tiny_folder / "holdings.json").read_text()) if r["object"] == "NGC5128")

    class Endless(ArchiveClient):
        asked = 0

        def rows(self, feature: str, words: tuple[str, ...]) -> list[object]:
            self.asked += 1
            if feature == "jsonqastate":
                return []
            start = datetime.fromisoformat(words[1].split("--")[0] if "T" in words[1] else words[1][:8])
            return [{**row, "ut_datetime": str(start)}] * 20

    client = Endless("http://127.0.0.1:9")
    with pytest.raises(BadAnswer, match="cannot be shown"):
        find_records_of(client, build_query(Criteria(program="GS-2017A-Q-29", date="20170501-20170531")))
    assert client.asked < 50


def test_of_two_versions_that_older_archives_do_not_mark_the_later_one_is_taken(tmp_path: Path) -> None:
    build_tiny_archive(tmp_path)
    with serve(tmp_path, faults=["older-software"]) as archive:
        older = archive.holdings[3]
        stale = {**older.row, "file_md5": "0" * 32, "lastmod": "2016-01-01 00:00:00+00:00"}
        archive.holdings[:0] = [replace(older, row=stale)]
        archive.holdings.append(replace(older, row=stale))
        found = search_archive(
            ArchiveClient(archive.url, policy=QUICK), Criteria(program="GS-2017A-Q-29")
        ).records
    assert len(found) == 16 and found[3].file_md5 == older.row["file_md5"]
    assert found[3].present is None and found[3].canonical is None


@given(
    start=st.datetimes(datetime(1999, 1, 1, 0, 0, 1), datetime(2030, 1, 1)),
    length=st.timedeltas(timedelta(minutes=2), timedelta(days=9000)),
    whole_days=st.tuples(st.booleans(), st.booleans()),
    choices=st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=25),
)
@settings(max_examples=300, deadline=None)
def test_the_archive_understands_every_part_that_a_search_can_be_divided_into(
    start: datetime, length: timedelta, whole_days: tuple[bool, bool], choices: list[tuple[float, bool]]
) -> None:
    """Held against the archive's own rule: never a date with a time; no row lost, none but those sifted."""
    end = min(start + length, datetime(2031, 1, 1))
    first = datetime.combine(start.date() + timedelta(days=1), datetime.min.time())
    last = datetime.combine(end.date(), datetime.min.time())
    part = Interval(first if whole_days[0] else start, last if whole_days[1] else end)
    if part.start >= part.end:
        return
    for place, second in choices:
        check_word(part)
        part = part.split(part.start + place * (part.end - part.start))[second]
        if part.end - part.start <= SHORTEST:
            break
    check_word(part & night_interval(part.start.date()))


def check_word(part: Interval) -> None:
    if part.start >= part.end:
        return
    [(kind, word)] = parse([part.word], datetime(2026, 11, 22)).criteria.items()
    period = (day_period if kind == "date" else range_period)(str(word), datetime(2026, 11, 22))
    assert period[0] <= part.start and part.end <= period[1]
    assert part.may_include(period[0]) and part.may_include(period[1] - timedelta(microseconds=1))


def test_all_the_time_there_is_can_be_asked_for() -> None:
    check_word(all_time())
    for half in all_time().split(datetime(1999, 1, 1, 12)):
        check_word(half)


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
    assert day is not None
    assert day.split(datetime(2017, 5, 5, 1))[0].word == "2017-05-04T23:59:59.999999--2017-05-05T12:00:00"


def test_a_row_beyond_a_parts_end_is_sifted_not_blamed(client: ArchiveClient) -> None:
    [record] = search_archive(client, Criteria(filename="S20170505S0095.fits")).records
    query = replace(
        build_query(Criteria()), interval=Interval(datetime(2017, 5, 4, 18), datetime(2017, 5, 5))
    )
    late = replace(record, ut_datetime=datetime(2017, 5, 5))
    assert mismatch(late, query) is None and not is_sought(late, query)
    assert mismatch(record, query) is not None


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


def test_a_part_is_divided_where_half_of_its_rows_lie(client: ArchiveClient) -> None:
    (record, *_) = search_archive(client, Criteria(program="GS-2017A-Q-29")).records
    interval = Interval(datetime(2017, 5, 1), datetime(2017, 5, 31))
    times = [datetime(2017, 5, 2, 3) + timedelta(hours=6 * n) for n in range(24)]
    beyond = [datetime(2017, 6, 1)] * 30
    first, second = _halves(interval, [replace(record, ut_datetime=time) for time in (*times, *beyond)])
    assert sum(time in first for time in times) == sum(time in second for time in times) == 12
