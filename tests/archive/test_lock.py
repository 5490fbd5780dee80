"""The lock holds exact versions: they can be had again, and what changed in the archive is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from quick_archive import Threads

from goafetch.archive import download, job
from goafetch.archive.client import ArchiveClient
from goafetch.archive.download import Options
from goafetch.archive.job import fetch_criteria, fetch_locked
from goafetch.archive.lock import Lock, LockedFile, lock_differences
from goafetch.archive.query import Cone, Criteria
from goafetch.archive.search import search_archive
from goafetch.errors import NothingFound, UsageError, WorkspaceError
from goafetch.practice.server import PracticeArchive
from goafetch.workspace import Workspace

PROGRAM = Criteria(program="GS-2017A-Q-29")


@pytest.fixture(autouse=True)
def _threads(pool: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetches of a job unpack in threads here."""
    original = download.fetch_files

    def in_threads(client, records, folder, options, *args, **named):
        return original(client, records, folder, replace(options, pool=pool), *args, **named)

    monkeypatch.setattr(job, "download", in_threads)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "GS-2017A-Q-29")


def change(archive: PracticeArchive, name: str, **values: object) -> None:
    """Let the archive have another version of a file than before."""
    for holding in archive.holdings:
        if holding.row["name"] == name:
            holding.row.update(values)


def test_a_job_writes_its_versions(client: ArchiveClient, workspace: Workspace) -> None:
    result = fetch_criteria(client, workspace, PROGRAM)
    lock = Lock.read(workspace.lock_file)
    assert lock is not None and len(lock.files) == 51 == len(result.report.done)
    assert lock.criteria == PROGRAM and lock.archive == client.base_url
    one = lock.files["S20170505S0030.fits"]
    assert one.role == "domeflat" and len(one.data_md5) == 32 and one.qa_state == "Pass"
    assert result.report.planned[0].record.name == "S20170505S0030.fits"  # flats first


def test_a_repetition_leaves_the_lock_as_it_is(client: ArchiveClient, workspace: Workspace) -> None:
    fetch_criteria(client, workspace, PROGRAM)
    before = workspace.lock_file.read_bytes()
    result = fetch_criteria(client, workspace, PROGRAM)
    assert workspace.lock_file.read_bytes() == before
    assert len(result.report.present) == 51 and result.differences == []


def test_a_dry_run_writes_nothing(client: ArchiveClient, workspace: Workspace) -> None:
    result = fetch_criteria(client, workspace, PROGRAM, Options(dry_run=True))
    assert len(result.report.planned) == 51 and not workspace.root.exists()


def test_without_calibrations(client: ArchiveClient, workspace: Workspace) -> None:
    assert len(fetch_criteria(client, workspace, PROGRAM, Options(calibrations=False)).report.done) == 16


def test_nothing_found_is_told(client: ArchiveClient, workspace: Workspace) -> None:
    with pytest.raises(NothingFound):
        fetch_criteria(client, workspace, Criteria(program="GS-2017A-Q-9999"))


def test_locked_versions_are_fetched_again(client: ArchiveClient, workspace: Workspace) -> None:
    fetch_criteria(client, workspace, PROGRAM)
    (workspace.playdata / "S20170505S0030.fits").unlink()
    report = fetch_locked(client, workspace).report
    assert [name for name, _ in report.done] == ["S20170505S0030.fits"]
    assert len(report.present) == 50 and report.exit_code == 0


def test_a_locked_version_that_is_gone_is_named(
    archive: PracticeArchive, client: ArchiveClient, workspace: Workspace
) -> None:
    fetch_criteria(client, workspace, PROGRAM)
    for name in ("S20170505S0095.fits", "S20170505S0096.fits"):
        change(archive, name, data_md5="0" * 32)
    (workspace.playdata / "S20170505S0095.fits").unlink()
    result = fetch_locked(client, workspace)
    assert [name for name, _ in result.report.failed] == ["S20170505S0095.fits"]
    assert "another version" in result.report.failed[0][1] and result.report.exit_code == 1
    assert dict(result.differences)["S20170505S0096.fits"].startswith("new content")


def test_locked_needs_a_lock(client: ArchiveClient, workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="lock"):
        fetch_locked(client, workspace)


def test_changes_wait_for_update(
    archive: PracticeArchive, client: ArchiveClient, workspace: Workspace
) -> None:
    fetch_criteria(client, workspace, PROGRAM)
    kept = (workspace.playdata / "S20170505S0095.fits").read_bytes()
    twin = next(h for h in archive.holdings if h.row["name"] == "S20170505S0096.fits").row
    other = {key: twin[key] for key in ("file_md5", "md5", "data_md5", "file_size", "size", "data_size")}
    change(archive, "S20170505S0095.fits", **other)
    change(archive, "S20170505S0097.fits", qa_state="Usable")
    result = fetch_criteria(client, workspace, PROGRAM)
    assert [name for name, _ in result.report.changed] == ["S20170505S0095.fits"]
    assert (workspace.playdata / "S20170505S0095.fits").read_bytes() == kept
    assert dict(result.differences).keys() == {"S20170505S0095.fits", "S20170505S0097.fits"}
    assert "QA state Pass became Usable" in dict(result.differences)["S20170505S0097.fits"]


def test_damaged_locks_are_named(tmp_path: Path) -> None:
    path = tmp_path / "goafetch.lock"
    assert Lock.read(path) is None
    for text in (
        "{",
        "[]",
        '{"archive": 1}',
        json.dumps({"archive": "x", "query": {}, "made": "", "files": [{}]}),
    ):
        path.write_text(text)
        with pytest.raises(WorkspaceError, match="damaged"):
            Lock.read(path)


def test_criteria_survive(client: ArchiveClient, tmp_path: Path) -> None:
    criteria = Criteria(program="GS-2017A-Q-29", near=Cone(201.3, -43.0, 0.1), qa="Pass")
    record = search_archive(client, PROGRAM).records[0]
    lock = Lock(client.base_url, criteria, {record.name: LockedFile.of(record, "search")})
    lock.write(tmp_path / "lock")
    read = Lock.read(tmp_path / "lock")
    assert read is not None and (read.criteria, read.files) == (criteria, lock.files)
    newer = replace(record, qa_state="Fail", data_md5="1" * 32)
    assert (
        "QA state" in lock_differences(lock, [newer])[0][1]
        and "new content" in lock_differences(lock, [newer])[0][1]
    )
    assert lock_differences(lock, []) == [(record.name, "no longer found")]
