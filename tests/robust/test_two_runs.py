"""Two runs in one workspace do not meet; Ctrl-C keeps what is finished; eight runs share a store."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from same_products import leftovers

from calstore.store import CalStore
from goafetch.errors import WorkspaceError
from goafetch.workspace import Workspace, hold_workspace

GOAFETCH = Path(sys.executable).with_name("goafetch")


def start(raw: Path, workspace: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(GOAFETCH), "run", str(raw), "--into", str(workspace), "--workers", "1"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_it_says(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    said = ""
    while word not in said:
        line = process.stderr.readline()
        assert line, said
        said += line


def interrupted(process: subprocess.Popen[str]) -> tuple[float, str]:
    """Seconds that Ctrl-C takes, and what was said until then."""
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    return time.monotonic() - begun, said


def test_a_second_run_is_told_who_works_there_and_ctrl_c_ends_the_first(
    tiny_night: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "ws"
    with start(tiny_night, workspace) as first:
        until_it_says(first, "without a static bad-pixel mask")
        with start(tiny_night, workspace) as second:
            told = second.communicate(timeout=120)[1]
        seconds, said = interrupted(first)
    assert second.returncode == 1
    assert re.search(rf"process {first.pid} on {re.escape(platform.node())} since \d{{4}}-\d\d-\d\d", told)
    assert "Traceback" not in told
    assert first.returncode == 130
    assert "the same command goes on from there" in said
    assert "Traceback" not in said and "could not be made" not in said
    assert seconds < 2 * max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)
    with hold_workspace(Workspace(workspace)):
        assert leftovers(workspace) == []


def test_a_lock_of_a_dead_run_is_none(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path).make()
    (workspace.playground / ".run.lock").write_text("")
    (workspace.playground / ".run.json").write_text('{"host": "elsewhere", "pid": 1, "started": "long ago"}')
    with (
        hold_workspace(workspace),
        pytest.raises(WorkspaceError, match="another run works"),
        hold_workspace(workspace),
    ):
        pass


@pytest.mark.prove
def test_eight_runs_share_one_store_and_lose_nothing(tiny_night: Path, tmp_path: Path) -> None:
    store = tmp_path / "shared" / "calstore.json"
    running = []
    for number in range(8):
        raw = tmp_path / f"raw{number}"
        shutil.copytree(tiny_night, raw)
        running.append(start(raw, tmp_path / f"ws{number}", GOAFETCH_STORE=str(store)))
    for process in running:
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
    held_flats = {Path(known.path) for known in CalStore(store).all()}
    assert {path for path in held_flats if path.is_file()} == held_flats
    made = {path.resolve() for path in tmp_path.glob("ws*/playground/calibrations/processed_flat/*.fits")}
    assert held_flats == made
