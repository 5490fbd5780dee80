"""A demo-size run against an archive with faults, killed (-9) again and again: nothing lost, nobody left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from same_products import differences, leftovers

from goafetch.practice.archive import prepare
from goafetch.practice.server import Fault, serve

GOAFETCH = Path(sys.executable).with_name("goafetch")
FAULTS = (
    Fault("unavailable", 6),
    Fault("reset", 2, 9),
    Fault("wrong-bytes", 1, 5),
    Fault("trailing-json", 9),
)
KILLS = 30


def start(url: str, workspace: Path, mark: str) -> subprocess.Popen[bytes]:
    """The main job in a process of its own, its workers known by a mark in the environment."""
    command = [str(GOAFETCH), "run", "GS-2017A-Q-29", "--date", "20170504-20170505", "--quiet"]
    return subprocess.Popen(
        [*command, "--archive", url, "--into", str(workspace)],
        env={**os.environ, "GOAFETCH_MARK": mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def alive(mark: str) -> list[int]:
    """Processes that carry the mark, workers of workers included."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"GOAFETCH_MARK={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if b"\nState:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()]


def ended_within(mark: str, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while alive(mark):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.prove
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="counts processes in /proc")
def test_thirty_kills_lose_nothing(tmp_path: Path) -> None:
    draw, killed = random.Random(29), 0
    with serve(prepare()) as archive:
        whole = start(archive.url, tmp_path / "whole", "whole")
        said = whole.communicate()[1]
        assert whole.returncode == 0, said
    workspace = tmp_path / "again"  # names of one length: products name files of their workspace
    with serve(prepare(), faults=FAULTS) as archive:
        while killed < KILLS:
            mark = uuid4().hex
            process = start(archive.url, workspace, mark)
            time.sleep(draw.uniform(2.0, 12.0 + 2 * killed))
            ended = process.poll()
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert ended_within(mark, 3.0), "processes of ours are left"
            if ended is None:
                killed += 1
            elif ended == 0:  # all was done already: begin anew, so that every kill meets work
                assert differences(tmp_path / "whole", workspace) == []
                workspace = tmp_path / f"agn{killed:02d}"
        last = start(archive.url, workspace, "last")
        said = last.communicate()[1]
        assert last.returncode == 0, said
    assert differences(tmp_path / "whole", workspace) == []
    assert leftovers(workspace) == []
    assert alive("last") == []


@pytest.mark.prove
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="counts processes in /proc")
def test_ctrl_c_at_any_moment_ends_it_soon_and_loses_nothing(tmp_path: Path) -> None:
    """As on a terminal, which sends it to the workers too; one run after the other goes on from there."""
    workspace, took = tmp_path / "again", []
    with serve(prepare()) as archive:
        whole = start(archive.url, tmp_path / "whole", "whole")
        said = whole.communicate()[1]
        assert whole.returncode == 0, said
        for moment in (0.0, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0):
            mark = uuid4().hex
            process = start(archive.url, workspace, mark)
            while process.poll() is None and not (workspace / "playground/.run.json").exists():
                time.sleep(0.01)
            time.sleep(moment)
            begun = time.monotonic()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            said = process.communicate()[1].decode()
            if process.returncode == 0:
                break
            took.append((time.monotonic() - begun) / max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0))
            assert process.returncode == 130
            assert "the same command goes on from there" in said and "Traceback" not in said
            assert ended_within(mark, 1.0), "processes of ours are left"
        last = start(archive.url, workspace, "last")
        said = last.communicate()[1]
        assert last.returncode == 0, said
    assert max(took) < 2, took
    assert differences(tmp_path / "whole", workspace) == []
    assert leftovers(workspace) == []
