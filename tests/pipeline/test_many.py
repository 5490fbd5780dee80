"""Many programs in one command, rehearsals that say why, the memory's bounds, and flats that begin early."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from tiny_program import ON_TARGET, name_of, write_program
from told import Told

from goafetch.config import Settings
from goafetch.console import Terminal
from goafetch.errors import UsageError
from goafetch.events import Made, Refusal, Separation, StageBegun, StageEnded, Warned
from goafetch.pipeline.multi_program import Failed, by_name, many_requests, read_targets, run_many
from goafetch.pipeline.resources import open_pool, share_of, smallest
from goafetch.pipeline.run import run
from goafetch.pipeline.summary import RunReport


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


def test_lists_of_programs_are_read_and_each_is_done_once(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("GS-2017A-Q-29\n# GS-2018A-Q-1\nGS-2014A-Q-8 # cluster\n")
    assert read_targets([f"@{tmp_path / 'list'}", "GS-2017A-Q-29"]) == ["GS-2017A-Q-29", "GS-2014A-Q-8"]
    with pytest.raises(UsageError, match="cannot be read"):
        read_targets(["@nowhere.txt"])


def roots(targets: list[Path | str], **given: Any) -> list[str]:
    return [one.workspace.root.as_posix() for one in many_requests(map(str, targets), **given)]


def test_folders_of_one_name_have_workspaces_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders named raw were reduced in one workspace."""
    monkeypatch.chdir(tmp_path)
    folders = [tmp_path / name for name in ("n1/a/raw", "n2/a/raw", "n2/b/raw", "n2/b/other")]
    for folder in folders:
        folder.mkdir(parents=True)
    names = ["n1-a-raw-reduced", "n2-a-raw-reduced", "b-raw-reduced", "other-reduced"]
    assert roots([*folders, "n1/a/raw"], into=None) == names
    assert roots([*folders, "n1/a/../a/raw"], into="all") == [f"all/{name}" for name in names]
    assert roots(["gs-2017a-q-29", "GS-2017A-Q-29"], into=None) == ["GS-2017A-Q-29"]
    for name in ("x/ws/playdata", "y/ws/playdata"):
        (tmp_path / name).mkdir(parents=True)
    assert roots(["x/ws", "y/ws"], into=None) == ["x/ws", "y/ws"]
    assert roots(["x/ws", "y/ws"], into="all") == ["all/x-ws", "all/y-ws"]


def test_one_failing_program_stops_no_other_and_no_line_of_one_stands_under_the_name_of_another(
    raw: Path, tmp_path: Path
) -> None:
    """Groups and files of two have the same names; one lacks an exposure, and has one that is damaged."""
    for night in "ab":
        shutil.copytree(raw, tmp_path / night / "raw")
    (tmp_path / "b/raw" / name_of(ON_TARGET[-1])).write_bytes(b"damaged")
    (tmp_path / "empty").mkdir()
    targets = [str(tmp_path / night) for night in ("a/raw", "b/raw", "empty")]
    (tmp_path / "list.txt").write_text("# tonight\n{}\n\n{}\n{}  # nothing in it\n".format(*targets))
    told = Told()
    a, b, failed = run_many(
        [f"@{tmp_path / 'list.txt'}"], into=tmp_path / "all", workers=2, catalog="none", notify=told
    )
    assert isinstance(a, RunReport) and isinstance(b, RunReport) and isinstance(failed, Failed)
    assert [a.exit_code, b.exit_code, failed.exit_code] == [0, 1, 3]
    assert len(a.products) == len(b.products) + 1
    assert a.workspace.root.parent == tmp_path / "all"
    of = {target: [event for event in told if event.program == target] for target in targets}
    names = {(targets[1], name_of(ON_TARGET[-1])), (targets[2], targets[2])}
    shared = [event.kind for event in told if not event.program]  # of the workers of both
    assert sum(map(len, of.values())) + len(shared) == len(told)
    assert not {"made", "reused", "stage", "done", "plan", "warning"} & set(shared)
    counts = [
        [sum(isinstance(e, kind) for e in of[target]) for kind in (Made, Refusal)] for target in targets
    ]
    assert counts[:2] == [[len(a.products), 0], [len(b.products), 1]] and counts[2][0] == 0
    assert {(event.program, event.name) for event in told.of(Refusal)} == names
    page = (tmp_path / "all/report/index.html").read_text()
    for target, report in zip(targets, (a, b), strict=False):
        assert f'<a href="../{report.workspace.root.name}/report/index.html">{target}</a>' in page
    assert failed.failure.found in page
    assert json.dumps(failed.as_document())


def test_counts_of_programs_at_work_side_by_side_are_each_their_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = Terminal()
    tell = {name: by_name(name, terminal) for name in ("a/raw", "b/raw")}
    for notify in tell.values():
        notify(StageBegun("frames of T", group="T"))
    tell["a/raw"](Made(Path("x.fits"), group="T"))
    tell["a/raw"](Refusal("y.fits", "it is damaged", group="T"))
    tell["a/raw"](Separation(9, 7, "guided", group="T"))
    tell["b/raw"](Warned("no standard was observed", group="T"))
    tell["b/raw"](Refusal("b/raw", "no FITS file"))
    for notify in tell.values():
        notify(StageEnded("frames of T", group="T"))
    lines = [line.partition(" in 0.")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "left out a/raw: y.fits: it is damaged",
        "a/raw: T: 9 on target, 7 off target: the guided pointings are on target",
        "warning: b/raw: T: no standard was observed",
        "left out b/raw: no FITS file",
        "a/raw: frames of T: 1 made, 1 left out",
        "b/raw: frames of T",
    ]


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


def test_a_rehearsal_names_a_frame_that_was_added(raw: Path, first: RunReport, tmp_path: Path) -> None:
    more, new = shutil.copytree(raw, tmp_path / "more"), name_of(20)
    shutil.copyfile(raw / name_of(ON_TARGET[-1]), more / new)
    with fits.open(more / new, mode="update") as units:
        units[0].header["DATALAB"], units[0].header["UT"] = "GS-2017A-Q-29-6-020", "03:41:00.0"
    rows = run(more, into=first.workspace.root, dry_run=True, catalog="none").table()
    assert rows[0]["status"] == "current"
    assert f"{new} is new" in rows[1]["why"] and "1 of 7 are not there" in rows[1]["why"]
    assert not (first.workspace.playdata / new).exists()


def test_memory_that_is_too_small_is_refused_with_the_smallest_that_works() -> None:
    least = smallest(2)
    assert share_of(Settings(workers=2, memory=least), 2) > 0
    with pytest.raises(UsageError, match=f"at least {least / 1e6:.0f}M, or {smallest(1) / 1e6:.0f}M with"):
        open_pool(Settings(workers=2, memory=least - 10**6), Told())


def test_memory_and_workers_change_no_bit(raw: Path, first: RunReport, tmp_path: Path) -> None:
    from same_products import differences

    little = run(raw, into=tmp_path / "ws", workers=2, memory=smallest(2), catalog="none")
    assert differences(first.workspace.root, little.workspace.root) == []


def test_many_programs_are_asked_for_as_one_is() -> None:
    """A choice that `run` had and `run_many` had not ended every command that named two programs."""
    one, many = (dict(inspect.signature(each).parameters) for each in (run, run_many))
    assert one.pop("target") and many.pop("targets")
    assert {name: each.default for name, each in one.items()} == {
        name: each.default for name, each in many.items()
    }
