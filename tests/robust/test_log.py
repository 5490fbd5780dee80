"""reduce.log for people, events.jsonl for machines, and errors without tracebacks unless asked for."""

from __future__ import annotations

import json
import re
import shutil
import threading
from datetime import datetime
from pathlib import Path

import pytest
from caged import Here
from shell import Shell

from goafetch.config import Settings
from goafetch.console.output import DEBUG
from goafetch.errors import Failure, as_failure
from goafetch.events import (
    CalibrationChoice,
    Decided,
    Noted,
    Progressed,
    Separation,
    SkyChoice,
    Transfer,
    logged,
    silent,
)
from goafetch.pipeline.run import Request, run_job
from goafetch.report.run_summary import read_summary

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO   |WARNING|ERROR  ) \S.*")


def test_a_run_leaves_a_log_for_people_and_one_for_machines(tiny_whole: Path) -> None:
    lines = (tiny_whole / "playground/reduce.log").read_text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    said = [line.partition("INFO    ")[2] for line in lines]
    begun = [text.removeprefix("begin ") for text in said if text.startswith("begin ")]
    assert [text.removeprefix("done ") for text in said if text.startswith("done ")] == begun
    events = [json.loads(line) for line in (tiny_whole / "playground/events.jsonl").read_text().splitlines()]
    assert all(datetime.fromisoformat(event["time"]).utcoffset() is not None for event in events)
    kinds = {event["event"] for event in events}
    decided = {"decision", "separation", "sky", "calibration"}
    assert kinds == {"plan", "stage", "step", "done", "progress", "made", "warning", "info"} | decided
    page = (Path(__file__).parents[2] / "docs/howto/logs.md").read_text(encoding="utf-8")
    assert all(re.search(rf"^\|.*`{kind}`.*\|.*\|$", page, re.MULTILINE) for kind in kinds)
    made = {Path(event["path"]).name for event in events if event["event"] == "made"}
    assert made >= {path.name for path in (tiny_whole / "playground").glob("*_skyCorrected.fits")}


def test_a_run_that_reuses_all_tells_the_same_facts(
    tiny_night: Path, tiny_whole: Path, tmp_path: Path
) -> None:
    """Though the summary of the run that made it is gone: facts are kept with what they are about."""
    first = read_summary(tiny_whole)
    assert {type(event) for event in first.decisions} == {Decided, Separation, SkyChoice, CalibrationChoice}
    assert any(event.group for event in first.warnings)
    shutil.copytree(tiny_whole, tmp_path / "ws", symlinks=True)
    (tmp_path / "ws/playground/run.json").unlink()
    for path in (tmp_path / "ws/playdata").iterdir():
        path.unlink()
    report = run_job(Request(str(tiny_night), into=tmp_path / "ws"), Settings(), pool=Here())
    assert report.redone == 0
    again = read_summary(tmp_path / "ws")
    for told in ("decisions", "warnings", "exposures", "exclusions"):
        assert getattr(again, told) == getattr(first, told)


def test_lines_are_whole_flushed_and_appended_from_several_threads(tmp_path: Path) -> None:
    log, events = tmp_path / "reduce.log", tmp_path / "events.jsonl"
    for _ in range(2):
        with logged(silent, log, events) as tell:
            threads = [
                threading.Thread(target=lambda: [tell(Noted("Grüße\n" * 50)) for _ in range(50)])
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            tell(Transfer("a", 1, 2))
            tell(Progressed("a", 1, 2))
            last = json.loads(events.read_text(encoding="utf-8").splitlines()[-1])  # before it is closed
            assert last["event"] == "progress"
    assert len(log.read_text(encoding="utf-8").splitlines()) == 400
    assert len(events.read_text(encoding="utf-8").splitlines()) == 402


def test_every_command_can_show_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DEBUG, "")
    assert "Traceback" not in Shell()("showd nothing.fits -d object").err
    monkeypatch.setenv(DEBUG, "")
    shown = Shell()("showd nothing.fits -d object --debug").err
    assert "Traceback" in shown
    assert "error: " in shown


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OSError(28, "No space left on device", "/a"), "No space left on device: /a"),
        (PermissionError(13, "Permission denied", "/a"), "Permission denied: /a"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_refusals_of_the_system_are_nobodys_bug(error: Exception, word: str) -> None:
    failure = as_failure(error)
    assert isinstance(failure, Failure)
    assert word in failure.found
    assert "run the same command again" in failure.remedy
