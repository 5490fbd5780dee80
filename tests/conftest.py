"""What all tests share: the helpers of this folder can be imported, and the tiny archive is built once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny archive with all its programs; tests only read it."""
    from tiny_archive import PROGRAMS, build_tiny_archive

    folder = tmp_path_factory.mktemp("tiny")
    build_tiny_archive(folder, tuple(PROGRAMS))
    return folder
