"""The commands as a user types them, their functions for notebooks, and a token that stays secret."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from quick_archive import QUICK
from typer.testing import CliRunner, Result

import goafetch
from goafetch.archive.client import ArchiveClient, find_token, forget_token, store_token, token_file
from goafetch.archive.download import Options
from goafetch.cli import archive as commands
from goafetch.errors import UsageError, WorkspaceError
from goafetch.practice.server import PracticeArchive, serve

TOKEN = "c2VjcmV0LXRva2Vu"

Run = Callable[..., Result]


@pytest.fixture
def run(archive: PracticeArchive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("GOAFETCH_ARCHIVE", archive.url)
    return _runner(monkeypatch, tmp_path)


def _runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("GOAFETCH_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    for name, command in (
        ("search", commands.search),
        ("fetch", commands.fetch),
        ("unpack", commands.unpack),
        ("login", commands.login),
        ("logout", commands.logout),
        ("whoami", commands.whoami),
    ):
        app.command(name)(command)
    return lambda *words, **more: CliRunner().invoke(app, list(words), **more)


def test_a_search_is_one_record_a_line(run: Run) -> None:
    lines = run("search", "GS-2017A-Q-29", "--class", "science").stdout.splitlines()
    assert len(lines) == 16 and lines[0].split("\t")[0] == "S20170505S0095.fits"


def test_formats(run: Run) -> None:
    names = run("search", "GS-2017A-Q-29", "--format", "names").stdout.split()
    rows = json.loads(run("search", "GS-2017A-Q-29", "--json").stdout)
    assert json.loads(run("search", "GS-2017A-Q-29", "--format", "json").stdout) == rows
    assert names == [row["name"] for row in rows] and rows[0]["exposure_time"] == 60.0
    sheet = run("search", "GS-2017A-Q-29", "--format", "csv").stdout.splitlines()
    assert len(sheet) == 17 and sheet[0].startswith("name,filename,")


def test_calibrations_are_listed_with_reasons(run: Run) -> None:
    rows = json.loads(run("search", "GS-2017A-Q-29", "--calibrations", "--json").stdout)
    assert len(rows) == 35 and {row["type"] for row in rows} == {
        "domeflat",
        "lampoff_domeflat",
        "photometric_standard",
        "processed_bpm",
    }
    assert all(row["reason"] for row in rows)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["search"], 2, "nothing was asked for"),
        (["search", ""], 2, "no program"),
        (["search", "GS2017AQ29"], 2, "did you mean GS-2017A-Q-29?"),
        (["search", "GS-2017A-Q-29", "--date", "20170532"], 2, "no day"),
        (["search", "GS-2017A-Q-29", "--date", "20170505-20170504"], 2, "did you mean"),
        (["search", "GS-2017A-Q-9999"], 3, "nothing of GS-2017A-Q-9999"),
        (["search", "GS-2017A-Q-29", "--date", "20180101"], 3, "16 files"),
        (["fetch", "GS-2017A-Q-9999"], 3, "nothing of"),
        (["fetch", "GS-2017A-Q-29", "--locked", "--update"], 2, "contradict"),
        (["fetch", "--locked"], 2, "lock"),
        (["search", "GS-2017A-Q-29", "--archive", "http://127.0.0.1:x"], 2, "not the address"),
        (["unpack", "missing.tar"], 2, "is not there"),
    ],
)
def test_errors_are_sentences_with_an_exit_code(run: Run, words: list[str], code: int, says: str) -> None:
    result = run(*words)
    assert result.exit_code == code and says in result.stderr and "Traceback" not in result.stderr


def test_the_robot_page_ends_with_4(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serve(tiny_folder, faults=["robot-page"]) as archive:
        run = _runner(monkeypatch, tmp_path)
        result = run("search", "GS-2017A-Q-29", "--archive", archive.url)
    assert result.exit_code == 4 and "Login Required" in result.stderr


def test_fetch_in_processes_of_its_own(run: Run, tmp_path: Path) -> None:
    dry = run("fetch", "GS-2017A-Q-29-32-001", "--into", "w", "--no-calibrations", "--dry-run")
    assert dry.exit_code == 0 and not (tmp_path / "w").exists()
    assert dry.stdout.split("\t")[:2] == ["S20170505S0095.fits", "fetch"]
    result = run("fetch", "GS-2017A-Q-29-32-001", "--into", "w", "--no-calibrations", "--workers", "1")
    assert result.exit_code == 0, result.stderr
    assert [p.name for p in (tmp_path / "w" / "playdata").iterdir()] == ["S20170505S0095.fits"]
    assert (tmp_path / "w" / "playground").is_dir() and (tmp_path / "w" / "goafetch.lock").is_file()
    again = json.loads(run("fetch", "--into", "w", "--update", "--json", "--no-calibrations").stdout)
    assert [row["status"] for row in again["files"]] == ["present"] and again["bytes"] == 0


def test_the_closing_line_of_a_fetch_names_calibrations_that_a_look_up_lost(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(ArchiveClient.__init__.__kwdefaults__, "patience", QUICK)
    with serve(tiny_folder, faults=["association-error"]) as archive:
        archive.holdings[:] = [h for h in archive.holdings if h.row["object"] != "Domeflat OFF"]
        run = _runner(monkeypatch, tmp_path)
        result = run("fetch", "GS-2017A-Q-29", "--dry-run", "--archive", archive.url)
    assert result.exit_code == 1
    closing = result.stderr.splitlines()[-1]
    assert "; missing lamp-off flats: the archive's look-up failed for S20170505S0095.fits" in closing


@pytest.mark.parametrize(("faults", "code"), [((), 0), (("withheld",), 1)])
def test_a_rehearsed_fetch_ends_with_1_where_a_file_is_withheld(
    faults: tuple[str, ...], code: int, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serve(tiny_folder, faults=faults) as archive:
        run = _runner(monkeypatch, tmp_path)
        assert run("fetch", "GS-2017A-Q-29", "--dry-run", "--archive", archive.url).exit_code == code
    assert not (tmp_path / "GS-2017A-Q-29").exists()


def test_login_keeps_the_token_secret(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serve(tiny_folder, token=TOKEN) as archive:
        monkeypatch.setenv("GOAFETCH_ARCHIVE", archive.url)
        run = _runner(monkeypatch, tmp_path)
        said = [run("login", input=f"{TOKEN}\n"), run("whoami"), run("search", "GS-2026A-Q-78")]
        said.append(run("fetch", "GS-2026A-Q-78", "--into", "w", "--workers", "1", "-v"))
        assert [r.exit_code for r in said] == [0, 0, 0, 0]
        assert "observer" in said[0].stdout and "observer" in said[1].stdout
        assert stat.S_IMODE(token_file().stat().st_mode) == 0o600
        said += [run("logout"), run("whoami")]
        assert "no token" in said[-1].stdout
        assert all(TOKEN not in r.stdout + r.stderr for r in said)
        kept = [p for p in (tmp_path / "w").rglob("*") if p.is_file() and p.suffix != ".fits"]
        assert kept and all(TOKEN not in p.read_text() for p in kept)


def test_a_token_that_is_not_accepted_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("login", input="wrong-token-123\n").exit_code == 2
    monkeypatch.setenv("GOAFETCH_TOKEN", "wrong-token-123")
    result = run("whoami")
    assert result.exit_code == 1 and "does not accept" in result.stdout


def test_a_token_belongs_to_one_archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("GOAFETCH_TOKEN", raising=False)
    store_token("https://archive.gemini.edu", TOKEN)
    assert find_token("https://archive.gemini.edu") == TOKEN
    assert find_token("https://archive.gemini.edu.evil.org") is None
    assert find_token("http://archive.gemini.edu") is None
    token_file().chmod(0o644)
    with pytest.raises(WorkspaceError, match="0600"):
        find_token("https://archive.gemini.edu")
    token_file().chmod(0o600)
    assert forget_token("https://archive.gemini.edu") and not token_file().exists()
    assert not forget_token("https://archive.gemini.edu")


def test_the_same_jobs_from_python(archive: PracticeArchive, tmp_path: Path) -> None:
    import goafetch

    found = goafetch.search("GS-2017A-Q-29", date="20170505", archive=archive.url)
    assert len(found.to_table()) == 16
    assert len(goafetch.search(near=("201.36 -43.03", "0.1d"), archive=archive.url).records) == 30
    one = {"into": tmp_path / "w", "archive": archive.url, "workers": 1}
    result = goafetch.fetch("GS-2017A-Q-29-32-001", options=Options(calibrations=False), **one)
    assert [name for name, _ in result.report.done] == ["S20170505S0095.fits"]
    assert goafetch.fetch(locked=True, **one).report.exit_code == 0
    with pytest.raises(UsageError, match="nothing was asked for"):
        goafetch.fetch(into=tmp_path / "empty", archive=archive.url)


def test_importing_the_commands_is_light() -> None:
    code = (
        "import sys; from goafetch.cli import commands\n"
        "print([m for m in ('numpy', 'requests', 'astropy', 'rapidgzip', 'tarfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_search_and_fetch_are_the_commands_as_functions(tiny_folder: Path, tmp_path: Path) -> None:
    with serve(tiny_folder) as archive:
        found = goafetch.search("GS-2017A-Q-29", date="20170504-20170505", archive=archive.url)
        assert len(found.records) == 16
        result = goafetch.fetch("GS-2017A-Q-29", date="20170504-20170505", into=tmp_path, archive=archive.url)
    assert result.report.exit_code == 0
    assert len(list((tmp_path / "playdata").glob("*.fits"))) == 51
    assert (tmp_path / "goafetch.lock").exists()
