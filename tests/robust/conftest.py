"""The tiny program and what a run makes of it, once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from caged import Here
from tiny_program import write_program

from goafetch.config import Settings
from goafetch.pipeline.run import Request, run_job


@pytest.fixture(scope="session")
def tiny_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eleven raw files of 64x64 arrays; tests only read it."""
    folder = tmp_path_factory.mktemp("raw") / "tiny"
    write_program(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_whole(tiny_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with all that an undisturbed run makes of it; tests only read it."""
    workspace = tmp_path_factory.mktemp("whole") / "ws"
    assert run_job(Request(str(tiny_night), into=workspace), Settings(), pool=Here()).exit_code == 0
    return workspace
