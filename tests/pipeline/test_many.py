"""Many programs in one command, rehearsals that say why, the memory's bounds, and flats that begin early."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_program import ON_TARGET, name_of, write_program
from told import Told

from goafetch.config import Settings
from goafetch.errors import UsageError
from goafetch.pipeline import Failed, RunReport, read_targets, run, run_many
from goafetch.pipeline.places import open_pool, share_of, smallest


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_program(folder)
    return folder


@pytest.fixture(scope="module")
def first(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    return run(raw, into=tmp_path_factory.mktemp("space") / "ws", workers=1, catalog="none")


def forecast(report: RunReport) -> dict[str, tuple[str, str]]:
    return {row["kind"]: (row["status"], row["why"]) for row in report.table()}


def test_one_failing_program_does_not_stop_the_others(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text(f"# tonight\n{raw}\n\n{tmp_path / 'empty'}  # nothing in it\n")
    done, failed = run_many([f"@{tmp_path / 'list.txt'}"], into=tmp_path / "all", workers=2, catalog="none")
    assert isinstance(done, RunReport) and done.exit_code == 0
    assert done.workspace.root.parent == tmp_path / "all"
    assert isinstance(failed, Failed) and failed.exit_code == 3
    page = (tmp_path / "all/report/index.html").read_text()
    assert f"../{done.workspace.root.name}/report/index.html" in page
    assert failed.failure.found in page
    assert json.dumps(failed.as_document())


def test_lists_of_programs_are_read_and_each_is_done_once(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("GS-2017A-Q-29\n# GS-2018A-Q-1\nGS-2014A-Q-8 # cluster\n")
    assert read_targets([f"@{tmp_path / 'list'}", "GS-2017A-Q-29"]) == ["GS-2017A-Q-29", "GS-2014A-Q-8"]
    with pytest.raises(UsageError, match="cannot be read"):
        read_targets(["@nowhere.txt"])


def test_a_rehearsal_says_what_a_parameter_would_change(raw: Path, first: RunReport) -> None:
    again = run(raw, into=first.workspace.root, dry_run=True, catalog="none")
    assert {status for status, _ in forecast(again).values()} == {"current"}
    changed = run(
        raw,
        into=first.workspace.root,
        dry_run=True,
        catalog="none",
        parameters=["stackFrames:hsigma=6", "skyCorrect:level=first"],
    )
    rows = [(row["status"], row["why"]) for row in changed.table()]
    assert rows[0] == ("current", "")
    assert rows[1] == ("to be made", "skyCorrect:level was not set, is first")
    assert rows[2] == ("to be made", "its frames are to be made")
    stack = run(
        raw, into=first.workspace.root, dry_run=True, catalog="none", parameters=["stackFrames:hsigma=6"]
    )
    assert [row["status"] for row in stack.table()] == ["current", "current", "to be made"]
    assert "stackFrames:hsigma was not set, is 6" in stack.table()[2]["why"]


def test_a_rehearsal_names_a_frame_that_was_added(raw: Path, tmp_path: Path) -> None:
    fewer, last = tmp_path / "fewer", name_of(ON_TARGET[-1])
    shutil.copytree(raw, fewer)
    (fewer / last).unlink()
    space = run(fewer, into=tmp_path / "ws", workers=1, catalog="none").workspace.root
    shutil.copyfile(raw / last, fewer / last)
    rows = run(fewer, into=space, dry_run=True, catalog="none").table()
    assert rows[0]["status"] == "current"
    assert f"{last} is new" in rows[1]["why"] and "1 of 6 are not there" in rows[1]["why"]
    assert not (space / "playdata" / last).exists()


def test_memory_that_is_too_small_is_refused_with_the_smallest_that_works() -> None:
    least = smallest(2)
    assert share_of(Settings(workers=2, memory=least), 2) > 0
    with pytest.raises(UsageError, match=f"at least {least / 1e6:.0f}M, or {smallest(1) / 1e6:.0f}M with"):
        open_pool(Settings(workers=2, memory=least - 10**6), Told())


def test_memory_and_workers_change_no_bit(raw: Path, first: RunReport, tmp_path: Path) -> None:
    from same_products import differences

    little = run(raw, into=tmp_path / "ws", workers=2, memory=smallest(2), catalog="none")
    assert differences(first.workspace.root, little.workspace.root) == []
