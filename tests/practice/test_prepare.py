"""The cache of simulated programs: made once, never half, and what `goafetch practice` serves from it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from goafetch.errors import UsageError
from goafetch.practice import archive, simulate


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> list[str]:
    """Tiny files in place of simulated ones, and the names of the programs that were made."""
    made: list[str] = []

    def build(name: str, folder: Path, *, truth: Path | None = None, **_: object) -> None:
        made.append(name)
        if truth is not None:
            truth.mkdir(parents=True)
        shutil.copytree(tiny_folder, folder)

    monkeypatch.setattr(simulate, "build_program", build)
    return made


def test_a_program_is_made_once_for_its_seed_and_size(builds: list[str], tmp_path: Path) -> None:
    [first] = archive.prepare(folder=tmp_path)
    assert archive.prepare(folder=tmp_path) == [first]
    assert builds == ["tutorial"]
    assert (first / "holdings.json").exists()
    others = [
        archive.prepare(folder=tmp_path, seed=2)[0],
        archive.prepare(full_size=True, folder=tmp_path)[0],
    ]
    assert len({first, *others}) == 3 and len(builds) == 3


def test_the_cache_knows_every_program_of_the_simulator() -> None:
    assert (*simulate.PROGRAMS, "f2") == archive.PROGRAMS  # which has a simulator of its own


def test_the_truth_is_written_only_where_asked(builds: list[str], tmp_path: Path) -> None:
    archive.prepare(folder=tmp_path / "cache")
    archive.prepare(folder=tmp_path / "cache", truth=tmp_path / "truth")
    assert [path.name for path in (tmp_path / "truth").iterdir()] == ["tutorial"]
    assert builds == ["tutorial", "tutorial"]
    assert not list((tmp_path / "cache").glob("*/*.partial"))


def test_a_half_built_program_never_counts(
    builds: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(name: str, folder: Path, **_: object) -> None:
        folder.mkdir()
        (folder / "S20170505S0030.fits.bz2").write_bytes(b"half")
        raise KeyboardInterrupt

    whole = simulate.build_program
    monkeypatch.setattr(simulate, "build_program", die)
    with pytest.raises(KeyboardInterrupt):
        archive.prepare(folder=tmp_path)
    monkeypatch.setattr(simulate, "build_program", whole)
    [folder] = archive.prepare(folder=tmp_path)
    assert builds == ["tutorial"]
    assert (folder / "S20170505S0030.fits.bz2").stat().st_size > 4


def test_an_unknown_program_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tutorial"):
        archive.prepare(programs=["toast"], folder=tmp_path)


def test_the_command_serves_what_is_in_the_cache_until_stopped(builds: list[str], tmp_path: Path) -> None:
    archive.prepare(programs=None, folder=tmp_path)
    command = [
        sys.executable,
        "-c",
        "from goafetch.cli import practice as p, app; app.command('practice')(p.practice); app()",
        "practice",
        "--port",
        "0",
        "--json",
        "--fault",
        "robot-page",
        "--folder",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "}\n")
        told = json.loads("".join(lines) + "}")
        assert "GS-2017A-Q-29" in told["programs"]
        url = f"{told['url']}/jsonsummary/GS-2017A-Q-29"
        assert requests.get(url, timeout=10).status_code == 403
        cookies = {"gemini_archive_session": told["token"]}
        assert len(requests.get(url, cookies=cookies, timeout=10).json()) >= 16
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
