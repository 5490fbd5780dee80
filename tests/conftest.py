"""What all tests share: the helpers of this folder can be imported, and the tiny archive is built once."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

# As for a run: threads of the linear algebra would take the cores of other processes.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny archive with all its programs; tests only read it."""
    from tiny_archive import PROGRAMS, build_tiny_archive

    folder = tmp_path_factory.mktemp("tiny")
    build_tiny_archive(folder, tuple(PROGRAMS))
    return folder


@pytest.fixture
def astrodata() -> Iterator[ModuleType]:
    """The module, which closes no file: they go here, before the next test is blamed for them."""
    yield pytest.importorskip("astrodata")
    gc.collect()
