"""What tests of the command line share: a night of small files, and a way to type a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from shell import Shell


@pytest.fixture
def goafetch() -> Shell:
    """Type a command: ``goafetch("dataselect ... ")``."""
    from shell import Shell

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
