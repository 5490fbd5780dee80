"""The workspace: proof that files are unchanged, whole writes, and one run at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Shell

from goafetch.config import MEANINGS, Settings, load_settings, origins, parse_size
from goafetch.errors import UsageError, WorkspaceError
from goafetch.workspace import Verified, Workspace, hold_workspace, write_atomically


def test_a_file_is_hashed_again_only_if_size_time_or_inode_changed(tmp_path: Path) -> None:
    file = tmp_path / "raw.fits"
    file.write_bytes(b"abc")
    verified = Verified(tmp_path / "verified.json")
    first = verified.md5(file)
    verified.save()
    again = Verified(tmp_path / "verified.json")
    assert again.proof(file) == first
    os.utime(file, ns=(1, 1))
    assert again.proof(file) is None
    file.write_bytes(b"abd")
    assert again.md5(file) != first


def test_a_damaged_record_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "verified.json").write_text('{"half')
    file = tmp_path / "raw.fits"
    file.write_bytes(b"abc")
    assert Verified(tmp_path / "verified.json").proof(file) is None


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "list"
    write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "\ud800")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_second_run_is_told_who_works_here(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path).make()
    code = f"""
from pathlib import Path
from goafetch.errors import WorkspaceError
from goafetch.workspace import Workspace, hold_workspace
try:
    with hold_workspace(Workspace(Path({str(tmp_path)!r}))): print("entered")
except WorkspaceError as error: print(error)
"""
    with hold_workspace(workspace):
        answer = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
    assert f"process {os.getpid()}" in answer
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert answer == "entered\n"


def test_a_workspace_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot make"):
        Workspace(tmp_path / "file" / "below").make()


def test_settings_go_by_precedence(tmp_path: Path) -> None:
    (tmp_path / "goafetch.toml").write_text('archive = "http://from.file"\nworkers = 3\n')
    environment = {"GOAFETCH_ARCHIVE": "http://from.environment"}
    settings = load_settings(tmp_path, environment, tmp_path, connections=2)
    assert (settings.archive, settings.workers, settings.connections) == ("http://from.environment", 3, 2)


def test_every_setting_says_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "goafetch.toml").write_text('workers = 3\nstore = ""\n')
    found = origins(tmp_path, {"GOAFETCH_ARCHIVE": "http://from.environment"}, tmp_path, connections=2)
    assert found["archive"] == ("http://from.environment", "GOAFETCH_ARCHIVE")
    assert found["workers"] == (3, str(tmp_path / "goafetch.toml"))
    assert found["connections"] == (2, "command line") and found["memory"] == (0, "default")
    assert set(found) == set(MEANINGS)


def test_the_file_of_settings_that_is_written_changes_nothing_and_each_line_of_it_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Shell()
    assert shell(f"config {tmp_path} --write").out.strip() == str(tmp_path / "goafetch.toml")
    text = (tmp_path / "goafetch.toml").read_text()
    assert load_settings(tmp_path, {}, tmp_path) == Settings()
    used = [line.removeprefix("# ") for line in text.splitlines() if " = " in line and "cluster" not in line]
    (tmp_path / "goafetch.toml").write_text("\n".join(used))
    assert load_settings(tmp_path, {}, tmp_path) == Settings()
    again = shell(f"config {tmp_path} --write")
    assert again.code == 2 and "is there already" in again.err
    elsewhere = shell(f"config {tmp_path}/nosuch --write")
    assert elsewhere.code == 2 and "nosuch is not a folder" in elsewhere.err
    monkeypatch.setenv("GOAFETCH_TOKEN", "secret")
    shown = shell(f"config {tmp_path} --json")
    assert {row["setting"] for row in shown.json} == set(MEANINGS) and "secret" not in shown.out


def test_an_unknown_setting_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "goafetch.toml").write_text("worker = 3\n")
    with pytest.raises(UsageError, match="workers"):
        load_settings(tmp_path, {}, tmp_path)


def test_the_token_is_never_shown() -> None:
    assert "secret" not in repr(Settings(token="secret")) + str(Settings(token="secret"))


@pytest.mark.parametrize(
    ("file", "text", "store"),
    [
        (".geminidr/rsys.cfg", "[calibs]\nstandalone = True\ndatabase_dir = ~/my data/cal/\n", "my data/cal"),
        (".dragons/dragonsrc", "[calibs]\ndatabases = ~/my data/dragons.db get store\n", "my data"),
    ],
)
def test_dragons_own_configuration_says_where_the_store_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, store: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(text)
    assert load_settings(None, {}, tmp_path).store == tmp_path / store / "calstore.json"


@pytest.mark.parametrize(("text", "size"), [("1500M", 1_500_000_000), ("2 GB", 2_000_000_000), ("17", 17)])
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="not a size"):
        parse_size("much")
