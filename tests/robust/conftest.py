"""The tiny program and what a run makes of it, once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_program import write_program


@pytest.fixture(scope="session")
def tiny_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eleven raw files of 64x64 arrays; tests only read it."""
    folder = tmp_path_factory.mktemp("raw") / "tiny"
    write_program(folder)
    return folder
