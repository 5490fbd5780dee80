"""What the archive client's tests share: a practice archive, an impatient client, a pool of threads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from quick_archive import QUICK, Threads

from goafetch.archive.client import ArchiveClient
from goafetch.practice.server import PracticeArchive, serve


@pytest.fixture(scope="session")
def pool() -> Iterator[Threads]:
    with Threads(2) as threads:
        yield threads


@pytest.fixture(scope="session")
def truth(tiny_folder: Path) -> dict[str, str]:
    """The right md5 of every FITS file of the tiny archive."""
    rows = json.loads((tiny_folder / "holdings.json").read_text())
    return {row["name"]: row["data_md5"] for row in rows if row["present"] and row["canonical"]}


@pytest.fixture
def archive(tiny_folder: Path) -> Iterator[PracticeArchive]:
    with serve(tiny_folder) as running:
        yield running


@pytest.fixture
def client(archive: PracticeArchive) -> ArchiveClient:
    return ArchiveClient(archive.url, policy=QUICK)


@pytest.fixture
def troubled(tiny_folder: Path) -> Callable[..., object]:
    """A practice archive with faults, and a client for it."""

    @contextmanager
    def start(*faults: object, **options: object) -> Iterator[tuple[PracticeArchive, ArchiveClient]]:
        with serve(tiny_folder, faults=faults, **options) as running:
            yield running, ArchiveClient(running.url, policy=QUICK)

    return start
