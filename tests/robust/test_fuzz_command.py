"""Damaged files on the command line: `goafetch run` ends with a code and a sentence that users know."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from caged import Here, time_limit
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mutants import changed_headers, damaged_files, header_changes
from shell import Shell
from tiny_program import LAMPS_OFF, LAMPS_ON, ON_SKY, ON_TARGET, SIDE, name_of

#: Two of each kind are damaged, and one is sound: eight damaged files a run.
TARGETS = tuple(name_of(kind[at]) for kind in (ON_TARGET, LAMPS_ON, LAMPS_OFF, ON_SKY) for at in (0, 1))
SIZES = (0, *[SIDE * SIDE * 4] * 4)
RUNS, SECONDS = 25, 60


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run in this process, so that a case costs no new ones."""
    monkeypatch.setattr("goafetch.pipeline.run.open_pool", lambda *_: Here())


def type_run(raw: Path, changed: dict[str, bytes], folder: Path) -> None:
    """Run a copy of the program with some files changed; fails on what was not foreseen."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "raw").mkdir(parents=True)
    for path in raw.iterdir():
        if path.name in changed:
            (folder / "raw" / path.name).write_bytes(changed[path.name])
        else:
            os.link(path, folder / "raw" / path.name)
    with time_limit(SECONDS):
        ended = Shell()(f"run {folder / 'raw'} --into {folder / 'ws'}")
    assert ended.code in (0, 1), ended.err
    assert "not foreseen" not in ended.err
    assert "Traceback" not in ended.out + ended.err
    events = folder / "ws" / "playground" / "events.jsonl"
    assert '"fault"' not in (events.read_text() if events.exists() else "")
    assert ended.code == 0 or ended.err.strip()


def fuzz(changes: st.SearchStrategy[dict[str, bytes]], check: Callable[[dict[str, bytes]], None]) -> None:
    """So many runs, the same ones each time."""
    chosen = settings(
        max_examples=RUNS,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    seed(5)(chosen(given(changes)(check)))()


@pytest.mark.prove
def test_two_hundred_damaged_headers_on_the_command_line(tiny_night: Path, tmp_path: Path) -> None:
    changed = {
        name: st.builds(changed_headers, st.just((tiny_night / name).read_bytes()), st.just(SIZES), own)
        for name, own in zip(TARGETS, [header_changes()] * len(TARGETS), strict=True)
    }
    fuzz(st.fixed_dictionaries(changed), lambda files: type_run(tiny_night, files, tmp_path / "case"))


@pytest.mark.prove
def test_two_hundred_damaged_files_on_the_command_line(tiny_night: Path, tmp_path: Path) -> None:
    changed = {name: damaged_files((tiny_night / name).read_bytes()) for name in TARGETS}
    fuzz(st.fixed_dictionaries(changed), lambda files: type_run(tiny_night, files, tmp_path / "case"))
