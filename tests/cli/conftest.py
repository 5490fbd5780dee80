"""What tests of the command line share: a night of small files, and a way to type a command."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner


@dataclass(frozen=True)
class Typed:
    """What a command did: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Types `goafetch ...` in the present folder."""

    def __call__(self, command: str, stdin: str | None = None) -> Typed:
        from goafetch.cli import app

        result = CliRunner().invoke(app, shlex.split(command), input=stdin)
        return Typed(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def goafetch() -> Shell:
    """Type a command: ``goafetch("dataselect ... ")``."""
    return Shell()


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the tutorial's 51 files, headers only; tests only read it."""
    from small_night import write_night

    return write_night(tmp_path_factory.mktemp("night") / "playdata")


@pytest.fixture
def playground(night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty playground beside the night's playdata, as the present folder, with no configuration."""
    (tmp_path / "playdata").symlink_to(night)
    folder = tmp_path / "playground"
    folder.mkdir()
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.delenv("GOAFETCH_STORE", raising=False)
    monkeypatch.chdir(folder)
    return folder
