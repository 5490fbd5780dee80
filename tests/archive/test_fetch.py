"""Fetching over a real socket, through every fault: right files or named ones, nothing wrong in place."""

from __future__ import annotations

import bz2
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quick_archive import QUICK, Threads, wrong_files
from told import Told

from goafetch.archive import download
from goafetch.archive.calibrations import associate
from goafetch.archive.client import ArchiveClient
from goafetch.archive.download import FetchReport, Options, fetch_files
from goafetch.archive.job import fetch_criteria, fetch_locked
from goafetch.archive.lock import Lock
from goafetch.archive.query import Criteria
from goafetch.archive.records import Record
from goafetch.archive.search import search_archive
from goafetch.archive.unpack import partial_files
from goafetch.errors import Blocked, Elsewhere, GoafetchError, WorkspaceError
from goafetch.events import Progressed, StageBegun, StageEnded, words
from goafetch.practice.server import Fault, PracticeArchive, serve
from goafetch.workspace import Workspace

NAMES = (
    *("unavailable", "reset", "wrong-bytes", "slow-drip", "trailing-json", "withheld", "short-tar"),
    *("limits", "association-error", "retry-after", "clock", "older-software"),
)


@pytest.fixture
def records(client: ArchiveClient) -> list[Record]:
    return search_archive(client, Criteria(program="GS-2017A-Q-29")).records[:6]


def delivered(archive: PracticeArchive) -> list[str]:
    return [
        name for request in archive.requests if request.path.startswith("/file/") for name in request.files
    ]


def test_files_arrive_verified_and_unpacked(
    client: ArchiveClient, records: list[Record], pool: Threads, tmp_path: Path, truth: dict[str, str]
) -> None:
    folder, seen = tmp_path / "playdata", []
    report = fetch_files(client, records, folder, Options(pool=pool, on_file=seen.append))
    assert sorted(name for name, _ in report.done) == [r.name for r in records]
    assert sorted(p.name for p in folder.iterdir()) == [r.name for r in records]
    assert wrong_files(folder, truth) == [] and report.exit_code == 0
    assert sorted(seen) == sorted(folder.iterdir())
    assert report.bytes == sum(r.file_size for r in records)


def test_a_repetition_moves_nothing(
    archive: PracticeArchive, client: ArchiveClient, records: list[Record], pool: Threads, tmp_path: Path
) -> None:
    fetch_files(client, records, tmp_path / "playdata", Options(pool=pool))
    archive.requests.clear()
    report = fetch_files(client, records, tmp_path / "playdata", Options(pool=pool))
    assert len(report.present) == 6 and report.bytes == 0 and archive.requests == []


def test_only_what_is_missing_or_damaged_is_fetched(
    archive: PracticeArchive, client: ArchiveClient, records: list[Record], pool: Threads, tmp_path: Path
) -> None:
    folder = tmp_path / "playdata"
    fetch_files(client, records, folder, Options(pool=pool))
    (folder / records[0].name).unlink()
    damaged = folder / records[1].name
    content = bytearray(damaged.read_bytes())
    content[5000] ^= 1
    damaged.write_bytes(content)
    (folder / records[2].name).write_bytes(b"SIMPLE  =")
    archive.requests.clear()
    report = fetch_files(client, records, folder, Options(pool=pool))
    assert sorted(delivered(archive)) == [r.filename for r in records[:3]]
    assert len(report.done) == 3 and len(report.present) == 3
    assert "md5 is not the archive's" in dict(report.done)[records[1].name]


def test_a_dry_run_tells_and_touches_nothing(
    archive: PracticeArchive, client: ArchiveClient, records: list[Record], tmp_path: Path
) -> None:
    archive.requests.clear()
    report = fetch_files(client, records, tmp_path / "playdata", Options(dry_run=True))
    assert [d.word for d in report.planned] == ["fetch"] * 6
    assert report.bytes == sum(r.file_size for r in records)
    assert report.needed == sum(r.data_size or 0 for r in records)
    assert archive.requests == [] and not (tmp_path / "playdata").exists()


def test_another_version_in_the_archive_is_left_there_until_updated(
    client: ArchiveClient, records: list[Record], pool: Threads, tmp_path: Path
) -> None:
    folder, one = tmp_path / "playdata", records[0]
    old = bytes(2880).replace(b"\0", b" ").replace(b" " * 9, b"SIMPLE  =", 1)
    folder.mkdir()
    (folder / one.name).write_bytes(old.ljust(one.data_size or 0))
    version = download.Verified(tmp_path / "v.json").md5(folder / one.name)
    locked = {one.name: version}
    report = fetch_files(client, [one], folder, Options(pool=pool), locked=locked)
    assert dict(report.changed) and "--update" in report.changed[0][1]
    report = fetch_files(client, [one], folder, Options(pool=pool, update=True), locked=locked)
    assert report.done == [(one.name, "changed in the archive")]


def test_as_stored_and_unpacked_later_without_fetching_again(
    archive: PracticeArchive, client: ArchiveClient, records: list[Record], pool: Threads, tmp_path: Path
) -> None:
    folder = tmp_path / "playdata"
    fetch_files(client, records, folder, Options(pool=pool, unpack=False))
    assert sorted(p.name for p in folder.iterdir()) == [r.filename for r in records]
    archive.requests.clear()
    assert len(fetch_files(client, records, folder, Options(pool=pool, unpack=False)).present) == 6
    report = fetch_files(client, records, folder, Options(pool=pool))
    assert len(report.done) == 6 and archive.requests == []
    assert sorted(p.name for p in folder.iterdir()) == [r.name for r in records]


def test_a_file_stored_plain(
    client: ArchiveClient, pool: Threads, tmp_path: Path, truth: dict[str, str]
) -> None:
    found = search_archive(client, Criteria(date="20170601-20170630", qa="AnyQA")).records
    plain = [r for r in found if not r.compressed]
    assert plain
    report = fetch_files(client, plain, tmp_path / "playdata", Options(pool=pool))
    assert len(report.done) == len(plain) and wrong_files(tmp_path / "playdata", truth) == []


def test_two_files_of_one_name_cannot_both_be_had(
    client: ArchiveClient, records: list[Record], pool: Threads, tmp_path: Path
) -> None:
    twin = replace(records[0], path="elsewhere")
    report = fetch_files(client, [records[0], twin], tmp_path / "playdata", Options(pool=pool))
    assert len(report.done) == 1 and "another file of this name" in report.failed[0][1]


def test_withheld_files_are_named_with_their_release(
    client: ArchiveClient, archive: PracticeArchive, pool: Threads, tmp_path: Path
) -> None:
    found = search_archive(client, Criteria(program="GS-2026A-Q-77")).records
    archive.requests.clear()
    report = fetch_files(client, found, tmp_path / "playdata", Options(pool=pool))
    assert [name for name, _ in report.withheld] == ["S20260410S0003.fits", "S20260410S0004.fits"]
    assert "2099-01-01" in report.withheld[0][1] and "goafetch login" in report.withheld[0][1]
    assert len(archive.requests) == 2 and report.exit_code == 1


def test_a_token_opens_what_it_may_and_a_bad_one_is_exposed(
    tiny_folder: Path, pool: Threads, tmp_path: Path
) -> None:
    with serve(tiny_folder, token="good-token-123") as archive:
        for token, done in (("good-token-123", 4), ("not-a-token-at-all", 2)):
            client = ArchiveClient(archive.url, token, policy=QUICK)
            found = search_archive(client, Criteria(program="GS-2026A-Q-77")).records
            report = fetch_files(client, found, tmp_path / token, Options(pool=pool))
            assert len(report.done) == done
        assert "does not accept the token" in report.withheld[0][1]
        assert token not in str(report)


def _run(archive: PracticeArchive, folder: Path, pool: Threads) -> FetchReport | GoafetchError:
    client = ArchiveClient(archive.url, policy=QUICK)
    try:
        found = search_archive(client, Criteria(program="GS-2017A-Q-29")).records
        calibrations = associate(client, found).files
        return fetch_files(client, [*calibrations, *found], folder, Options(pool=pool))
    except GoafetchError as error:
        return error


def _account(result: FetchReport | GoafetchError, folder: Path) -> None:
    """All 51 files are there, or each that is not is named, with exit code 1 or 4."""
    if isinstance(result, GoafetchError):
        assert result.exit_code in (1, 4)
        return
    here = {path.name for path in folder.iterdir() if path.is_file()}
    named = {name for heading in (result.withheld, result.failed) for name, _ in heading}
    assert not here & named and len(here | named) == len(here) + len(named)
    assert {name for name, _ in result.done} == here
    assert result.exit_code == (0 if not named else result.exit_code) and (named == set()) == (
        result.exit_code == 0
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_fault_alone(
    name: str, tiny_folder: Path, pool: Threads, tmp_path: Path, truth: dict[str, str]
) -> None:
    with serve(tiny_folder, faults=[name], seed=3) as archive:
        result = _run(archive, tmp_path / "playdata", pool)
    assert wrong_files(tmp_path / "playdata", truth) == []
    _account(result, tmp_path / "playdata")
    if name != "withheld":
        assert isinstance(result, FetchReport) and len(result.done) == 51, result


def present_md5s(archive: PracticeArchive) -> dict[str, str]:
    return {h.name: str(h.row["data_md5"]) for h in archive.holdings if h.row["present"]}


def test_a_file_replaced_during_the_fetch_is_taken_anew_and_said(
    records: list[Record], tiny_folder: Path, pool: Threads, tmp_path: Path
) -> None:
    told: list[str] = []
    with serve(tiny_folder, faults=["re-ingest"]) as archive:
        client = ArchiveClient(archive.url, policy=QUICK)
        found = search_archive(client, Criteria(program="GS-2017A-Q-29")).records
        report = fetch_files(
            client,
            found,
            tmp_path / "playdata",
            Options(pool=pool),
            notify=lambda event: told.append(words(event)),
        )
        right = present_md5s(archive)
    assert report.exit_code == 0 and len(report.done) == 16 and len(report.renewed) == 3
    assert wrong_files(tmp_path / "playdata", right) == []
    for name, newer in report.renewed.items():
        assert newer.data_md5 == right[name]
        assert f"replaced it meanwhile, md5 now {right[name]}" in dict(report.done)[name]
        assert any(name in text and "was replaced in the archive" in text for text in told)


def test_the_lock_keeps_the_version_that_came_and_locked_ones_stay(
    tiny_folder: Path, pool: Threads, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    with serve(tiny_folder, faults=["re-ingest"]) as archive:
        client = ArchiveClient(archive.url, policy=QUICK)
        options = Options(pool=pool, calibrations=False)
        fetch_criteria(client, workspace, Criteria(program="GS-2017A-Q-29"), options)
        right = present_md5s(archive)
        lock = Lock.read(workspace.lock_file)
        assert lock is not None
        assert {name: file.data_md5 for name, file in lock.files.items()} == {n: right[n] for n in lock.files}
    shutil.rmtree(workspace.playdata)
    with serve(tiny_folder) as archive:
        locked = fetch_locked(ArchiveClient(archive.url, policy=QUICK), workspace, options).report
    assert len(locked.done) == 13 and len(locked.failed) == 3 and locked.exit_code == 1
    shutil.rmtree(workspace.playdata)
    workspace.lock_file.unlink()
    with serve(tiny_folder) as archive:
        fetch_criteria(
            ArchiveClient(archive.url, policy=QUICK),
            workspace,
            Criteria(program="GS-2017A-Q-29"),
            replace(options, dry_run=False),
        )
    shutil.rmtree(workspace.playdata)
    with serve(tiny_folder, faults=["re-ingest"]) as archive:
        locked = fetch_locked(ArchiveClient(archive.url, policy=QUICK), workspace, options).report
    assert len(locked.done) == 13 and len(locked.failed) == 3
    assert all("replaced it by another version" in reason for _, reason in locked.failed)


@pytest.mark.parametrize(
    ("now", "asked", "finds"),
    [
        ("2017-05-05 04:00", {"date": "today"}, ("20170505", 16)),
        ("2017-05-06 04:00", {"date": "yesterday-today"}, ("20170505-20170506", 16)),
        ("2017-05-04 21:00", {"night": "today"}, ("20170505", 16)),  # in the afternoon, before the night
        ("2017-05-05 17:00", {"night": "today"}, ("20170505", 16)),
        ("2017-05-05 19:00", {"night": "yesterday"}, ("20170505", 16)),
    ],
)
def test_today_is_by_the_archives_clock_and_a_lock_keeps_the_date(
    now: str, asked: dict[str, str], finds: tuple[str, int], tiny_folder: Path, pool: Threads, tmp_path: Path
) -> None:
    """It was by this machine's clock, of UTC for nights too, and the lock's query meant another day later."""
    workspace, options = Workspace(tmp_path), Options(pool=pool, calibrations=False)
    with serve(tiny_folder, now=datetime.fromisoformat(f"{now}+00:00")) as archive:
        archive.holdings[:] = [h for h in archive.holdings if h.row["program_id"] == "GS-2017A-Q-29"]
        client = ArchiveClient(archive.url, policy=QUICK)
        report = fetch_criteria(client, workspace, Criteria(**asked), options).report
    assert len(report.withheld) == finds[1]  # until November
    lock = Lock.read(workspace.lock_file)
    assert lock is not None and finds[0] in (lock.criteria.date, lock.criteria.night)


def test_a_file_that_failed_or_went_since_the_last_fetch_is_told(
    tiny_folder: Path, pool: Threads, tmp_path: Path
) -> None:
    workspace, criteria = Workspace(tmp_path), Criteria(program="GS-2017A-Q-29")
    options = Options(pool=pool, calibrations=False)
    with serve(tiny_folder) as archive:
        client = ArchiveClient(archive.url, policy=QUICK)
        assert fetch_criteria(client, workspace, criteria, options).differences == []
        archive.holdings[2].row["qa_state"] = "Fail"
        gone = archive.holdings.pop(5).name
        result = fetch_criteria(client, workspace, criteria, options)
    failed = archive.holdings[2].name
    assert result.differences == [(failed, "QA state Pass became Fail"), (gone, "no longer found")]


def test_everything_at_once_still_brings_or_names_every_file(
    tiny_folder: Path, pool: Threads, tmp_path: Path
) -> None:
    faults = [
        "limits",
        "association-error",
        "retry-after",
        "re-ingest",
        Fault("withheld", None, 0.33),
        "clock",
    ]
    with serve(tiny_folder, faults=faults, seed=5) as archive:
        result = _run(archive, tmp_path / "playdata", pool)
        right = present_md5s(archive)
    assert isinstance(result, FetchReport) and result.exit_code == 1
    assert len(result.withheld) == 5 and len(result.done) == 46 and not result.failed
    assert wrong_files(tmp_path / "playdata", right) == []


def test_a_network_that_wants_a_login_in_the_middle_ends_the_fetch(
    records: list[Record], tiny_folder: Path, pool: Threads, tmp_path: Path
) -> None:
    with serve(tiny_folder, faults=["captive-portal"]) as archive:
        client = ArchiveClient(archive.url, policy=QUICK)
        with pytest.raises(Elsewhere, match="please sign in"):
            fetch_files(client, records, tmp_path / "playdata", Options(connections=1, pool=pool))
        assert len(archive.requests) <= 2


def test_bytes_that_stay_wrong_are_fetched_twice_and_reported(
    tiny_folder: Path, pool: Threads, tmp_path: Path
) -> None:
    with serve(tiny_folder, faults=[Fault("wrong-bytes", times=None, files=None)]) as archive:
        result = _run(archive, tmp_path / "playdata", pool)
        assert isinstance(result, FetchReport)
        assert len(result.failed) == 51 and result.exit_code == 1
        assert len(delivered(archive)) == 102
    assert list((tmp_path / "playdata").iterdir()) == []


def test_the_robot_page_in_the_middle_ends_the_fetch_at_once(
    records: list[Record], tiny_folder: Path, pool: Threads, tmp_path: Path
) -> None:
    with serve(tiny_folder, faults=["robot-page"]) as archive:
        with pytest.raises(Blocked):
            fetch_files(
                ArchiveClient(archive.url, policy=QUICK),
                records,
                tmp_path / "playdata",
                Options(connections=1, pool=pool),
            )
        assert len(archive.requests) <= 2


def test_an_archive_that_cannot_be_reached_is_given_up(
    client: ArchiveClient, pool: Threads, tmp_path: Path
) -> None:
    found = search_archive(client, Criteria(date="20170504-20170505")).records
    nobody = ArchiveClient("http://127.0.0.1:9", policy=replace(QUICK, attempts=2))
    report = fetch_files(nobody, found, tmp_path / "playdata", Options(pool=pool))
    assert report.exit_code == 4 and len(report.failed) == len(found) and report.done == []
    assert any("not tried" in reason for _, reason in report.failed)


ANY_FAULTS = st.lists(
    st.builds(
        Fault,
        st.sampled_from(NAMES),
        times=st.sampled_from([1, 2, 6]),
        files=st.sampled_from([1, 5, 60]),
        pause=st.just(0.01),
    ),
    max_size=3,
    unique_by=lambda fault: fault.name,
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    faults=ANY_FAULTS,
    seed=st.integers(0, 1000),
)
def test_any_sequence_of_faults(
    faults: list[Fault],
    seed: int,
    tiny_folder: Path,
    pool: Threads,
    tmp_path_factory: pytest.TempPathFactory,
    truth: dict[str, str],
) -> None:
    folder = tmp_path_factory.mktemp("faults") / "playdata"
    with serve(tiny_folder, faults=faults, seed=seed) as archive:
        result = _run(archive, folder, pool)
    assert wrong_files(folder, truth) == []
    _account(result, folder)
    with serve(tiny_folder) as archive:
        again = _run(archive, folder, pool)
        assert isinstance(again, FetchReport) and again.exit_code == 0
        assert len(delivered(archive)) == len(again.done) == 51 - len(again.present)
    shutil.rmtree(folder.parent)


def test_what_was_moved_before_a_break_is_not_moved_again(
    archive: PracticeArchive,
    client: ArchiveClient,
    records: list[Record],
    pool: Threads,
    tmp_path: Path,
    tiny_folder: Path,
) -> None:
    place = tmp_path / "playdata" / ".incoming"
    place.mkdir(parents=True)
    whole, half, wrong = records[:3]
    shutil.copy(tiny_folder / whole.filename, place)
    (place / half.filename).write_bytes((tiny_folder / half.filename).read_bytes()[:-10])
    content = (tiny_folder / wrong.filename).read_bytes()
    (place / wrong.filename).write_bytes(bz2.compress(b"no") + content[len(bz2.compress(b"no")) :])
    (place / f"{half.name}.unpacked").write_bytes(b"half")
    archive.requests.clear()
    report = fetch_files(client, records[:3], tmp_path / "playdata", Options(pool=pool))
    assert len(report.done) == 3
    assert sorted(delivered(archive)) == sorted([half.filename, wrong.filename])
    assert not place.exists()


def test_too_little_disk_is_said_before_a_byte_is_moved(
    archive: PracticeArchive,
    client: ArchiveClient,
    records: list[Record],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    archive.requests.clear()
    with pytest.raises(WorkspaceError, match="free disk"):
        fetch_files(client, records, tmp_path / "playdata")
    assert archive.requests == []


def test_two_fetches_into_one_folder_are_kept_apart(
    client: ArchiveClient, records: list[Record], pool: Threads, tmp_path: Path
) -> None:
    with partial_files(tmp_path / "playdata"), pytest.raises(WorkspaceError, match="another process"):
        fetch_files(client, records, tmp_path / "playdata", Options(pool=pool))


def test_progress_is_told(
    client: ArchiveClient, records: list[Record], pool: Threads, tmp_path: Path
) -> None:
    told = Told()
    fetch_files(
        client,
        records,
        tmp_path / "playdata",
        Options(pool=pool),
        notify=told,
    )
    assert told[0] == StageBegun("fetch", 6) and told[-1] == StageEnded("fetch")
    steps = [event for event in told.of(Progressed) if event.name == "fetch"]
    assert steps[-1].done == steps[-1].total == 6
    done = [event.done for event in steps]
    assert done == sorted(done) and done[0] >= 0
