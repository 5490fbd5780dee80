"""What cannot be had is named with its reason, and the exit code and the last line say that it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from quick_archive import Threads

from goafetch.archive.errors import Withheld
from goafetch.archive.job import Options
from goafetch.archive.query import Criteria
from goafetch.config import Settings
from goafetch.errors import UsageError
from goafetch.pipeline import run
from goafetch.pipeline.obtain import Obtained, obtain
from goafetch.practice.goa.faults import Fault
from goafetch.practice.server import PracticeArchive, serve
from goafetch.workspace import Workspace

PROGRAM = "GS-2017A-Q-29"


@pytest.fixture
def archive(tiny_folder: Path) -> Iterator[PracticeArchive]:
    with serve([tiny_folder]) as practice:
        yield practice


def fetch(archive: PracticeArchive, workspace: Workspace, told: list[str]) -> Obtained:
    def tell(event: str, /, **facts: Any) -> None:
        if event == "refused":
            told.append(str(facts["name"]))

    with Threads() as pool:
        settings = Settings(archive=archive.url)
        return obtain(Criteria(program=PROGRAM), workspace, settings, tell, Options(pool=pool))


def test_a_rehearsal_names_what_is_withheld_and_what_to_do(tiny_folder: Path, tmp_path: Path) -> None:
    with serve([tiny_folder], faults=[Fault("withheld", None, 3)]) as archive:
        report = run(PROGRAM, archive=archive.url, into=tmp_path / "ws", dry_run=True)
    withheld = [e for e in report.summary.exclusions if "proprietary" in e.reason]
    assert len(withheld) >= 3 and all("goafetch login" in exclusion.reason for exclusion in withheld)
    assert report.conclusion().endswith(report.missing) and withheld[0].name in report.conclusion()
    assert report.exit_code == 0  # a rehearsal has done what was asked of it


def test_a_program_of_which_no_science_is_given_out_ends_with_4_and_leaves_nothing(
    tiny_folder: Path, tmp_path: Path
) -> None:
    told: list[object] = []
    with (
        serve([tiny_folder]) as archive,
        pytest.raises(Withheld, match="withheld") as caught,
    ):
        run(
            "GS-2026A-Q-78",
            archive=archive.url,
            into=tmp_path / "a/b",
            notify=lambda event, **facts: told.append(facts["name"]) if event == "refused" else None,
        )
    assert caught.value.exit_code == 4 and "goafetch login" in caught.value.remedy
    assert told and list(tmp_path.iterdir()) == []


def test_a_file_judged_fail_since_the_last_run_is_set_aside_and_one_that_is_gone_is_missing(
    archive: PracticeArchive, tmp_path: Path
) -> None:
    workspace, told = Workspace(tmp_path / "ws").make(), []
    assert fetch(archive, workspace, told).left_out == ()
    rows = {str(holding.row["name"]).removesuffix(".bz2"): holding.row for holding in archive.holdings}
    science = sorted(name for name, row in rows.items() if row["observation_class"] == "science")
    failed, gone = [name for name in science if (workspace.playdata / name).exists()][:2]
    rows[failed]["qa_state"], rows[gone]["present"] = "Fail", False
    left_out = {left.path.name: left for left in fetch(archive, workspace, told).left_out}
    assert not left_out[failed].failed and "judged Fail" in left_out[failed].reason
    assert left_out[gone].failed and "no longer" in left_out[gone].reason
    assert told == [gone]


def test_files_of_a_folder_that_cannot_be_had_are_missing(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "S20170505S0001.fits.bz2").write_bytes(b"BZh9 cut")
    (raw / "S20170505S0002.fits").symlink_to("nowhere")
    report = run(str(raw), into=tmp_path / "ws", workers=1)
    assert report.exit_code == 1
    assert {e.name for e in report.summary.exclusions} == {"S20170505S0001.fits", "S20170505S0002.fits"}
    assert all(name in report.conclusion() for name in ("S20170505S0001", "S20170505S0002"))


@pytest.mark.parametrize("into", ["ws", "a/b/ws"])
def test_a_run_that_is_refused_leaves_no_folder(into: str, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(Exception, match=r"no \.fits"):
        run(str(tmp_path / "raw"), into=tmp_path / into)
    with pytest.raises(UsageError):
        run(str(tmp_path / "nosuch"), into=tmp_path / into)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
