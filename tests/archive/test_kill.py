"""A fetch killed at any moment goes on where it was: nothing whole comes twice, nothing wrong is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from quick_archive import QUICK, Threads, wrong_files

from goafetch.archive.client import ArchiveClient
from goafetch.archive.download import Options, fetch_files
from goafetch.archive.query import Criteria
from goafetch.archive.search import search_archive
from goafetch.practice.server import Fault, PracticeArchive, serve

FETCH = """
import sys
from pathlib import Path
from goafetch.archive.client import ArchiveClient
from goafetch.archive.download import Options, fetch_files
from goafetch.archive.query import Criteria
from goafetch.archive.search import search_archive
client = ArchiveClient(sys.argv[1])
records = search_archive(client, Criteria(date="20170504-20170505")).records
print("begun", flush=True)
tell = lambda path: print(path.name, flush=True)
fetch_files(client, records, Path(sys.argv[2]), Options(workers=1, on_file=tell))
"""


def kill_after(archive: PracticeArchive, folder: Path, seconds: float) -> None:
    """Begin a fetch in a process and kill it (-9) some time after its first request for a file."""
    with subprocess.Popen(
        [sys.executable, "-c", FETCH, archive.url, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("programs", [("GS-2017A-Q-29",), ("GS-2017A-Q-29", "GS-2017A-Q-29-5")])
def test_ctrl_c_does_not_wait_for_a_silent_archive(
    tiny_folder: Path, tmp_path: Path, programs: tuple[str, ...]
) -> None:
    silence = Fault("slow-drip", times=None, files=None, pause=30.0)
    with serve(tiny_folder, faults=[silence]) as archive:
        command = [
            str(Path(sys.executable).with_name("goafetch")),
            "run",
            *programs,
            "--archive",
            archive.url,
        ]
        process = subprocess.Popen(
            [*command, "--into", str(tmp_path / "ws")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while process.poll() is None and not any("/file/" in request.path for request in archive.requests):
            time.sleep(0.02)
        begun = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        assert time.monotonic() - begun < 2 * max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)
    assert process.returncode == 130, said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said and "left out GS-2017A-Q-29:" not in said


def prove(
    moments: list[float], tiny_folder: Path, folder: Path, pool: Threads, truth: dict[str, str]
) -> None:
    """Kill at each moment in turn, checking the folder; then let it end and count what was sent."""
    drip = Fault("slow-drip", times=None, files=None, pause=0.004)
    with serve(tiny_folder, faults=[drip]) as archive:
        verified: set[str] = set()
        for seconds in moments:
            kill_after(archive, folder, seconds)
            assert wrong_files(folder, truth) == []
            here = {path.name for path in folder.iterdir() if path.is_file()} if folder.exists() else set()
            assert verified <= here
            verified = here
        time.sleep(1.0)  # by then the workers of the killed process have ended too
        before = len(archive.requests)
        client = ArchiveClient(archive.url, policy=QUICK)
        records = search_archive(client, Criteria(date="20170504-20170505")).records
        report = fetch_files(client, records, folder, Options(pool=pool))
        assert report.exit_code == 0 and len(report.done) + len(report.present) == 50
        assert wrong_files(folder, truth) == []
        assert {path.name for path in folder.iterdir()} == {record.name for record in records}
        asked = [r.path.rsplit("/", 1)[1] for r in archive.requests[before:] if "/file/" in r.path]
        again = {name.removesuffix(".bz2") for name in asked}
        assert not again & verified


def test_killed_a_few_times(tiny_folder: Path, tmp_path: Path, pool: Threads, truth: dict[str, str]) -> None:
    prove([0.05, 0.9], tiny_folder, tmp_path / "w" / "playdata", pool, truth)


@pytest.mark.prove
def test_killed_at_thirty_random_moments(
    tiny_folder: Path, tmp_path: Path, pool: Threads, truth: dict[str, str]
) -> None:
    draw = random.Random(17)
    for number in range(10):
        moments = [draw.uniform(0.0, 2.5) for _ in range(3)]
        prove(moments, tiny_folder, tmp_path / str(number) / "playdata", pool, truth)
