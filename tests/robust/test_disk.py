"""A disk that fills up, folders that may not be written: a sentence, nothing half-made, then finished."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from astropy.io import fits
from caged import Here
from same_products import differences, leftovers

from goafetch.config import Settings
from goafetch.errors import WorkspaceError, as_failure
from goafetch.pipeline.run import Request, run_job
from goafetch.workspace import Workspace

NOBODY = 65534


def mount(folder: Path, size: int, how: str = "") -> bool:
    """A file system in memory of so many bytes; False where this user may not."""
    command = ["mount", "-t", "tmpfs", "-o", f"{how}size={size}", "tmpfs", str(folder)]
    return shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount(folder, 1 << 20):
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def run(raw: Path, workspace: Path) -> int:
    return run_job(Request(str(raw), into=workspace), Settings(), pool=Here()).exit_code


def size_of(folder: Path) -> int:
    return sum(-(-path.lstat().st_size // 4096) * 4096 for path in folder.rglob("*"))


def fill_and_finish(raw: Path, whole: Path, disk: Path, size: int) -> None:
    """Run on a disk of that size, then with room: words, no half-made product, the same result."""
    assert mount(disk, size, "remount,")
    workspace = disk / "ws"
    try:
        assert run(raw, workspace) == 1
    except OSError as error:
        failure = as_failure(error)
        assert failure is not None
        assert "No space left" in failure.found
    for product in workspace.rglob("*.fits"):
        with fits.open(product, checksum=True) as file:
            file.verify("exception")
    assert mount(disk, 1 << 28, "remount,")
    assert run(raw, workspace) == 0
    assert differences(whole, workspace) == []
    assert leftovers(workspace) == []
    shutil.rmtree(workspace)


def test_a_disk_that_fills_up(tiny_night: Path, tiny_whole: Path, small_disk: Path) -> None:
    fill_and_finish(tiny_night, tiny_whole, small_disk, int(0.4 * size_of(tiny_whole)))


@pytest.mark.prove
def test_a_disk_that_fills_up_at_twenty_points(tiny_night: Path, tiny_whole: Path, small_disk: Path) -> None:
    for point in range(20):
        fill_and_finish(tiny_night, tiny_whole, small_disk, 16384 + int(size_of(tiny_whole) * point / 21))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root is not bound by modes, so this process is somebody else for a while."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="modes are another thing there")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_folders_that_may_not_be_written_or_read(mode: int) -> None:
    place = Path(tempfile.mkdtemp(prefix="goafetch test "))
    place.chmod(mode)
    with as_nobody(), pytest.raises(WorkspaceError) as caught:
        run(Path(tempfile.gettempdir()), place / "ws")  # which everybody may read
    place.chmod(0o755)
    assert "Permission denied" in str(caught.value)
    assert "--into" in caught.value.remedy
    assert list(place.iterdir()) == []
    place.rmdir()


def test_a_workspace_whose_products_may_not_be_written(tiny_night: Path, tmp_path: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix="goafetch-"))
    place.chmod(0o755)
    workspace = Workspace(place / "ws").make()
    workspace.playground.chmod(0o555)
    with as_nobody(), pytest.raises(OSError, match="Permission denied") as caught:
        run(tiny_night, workspace.root)
    failure = as_failure(caught.value)
    assert failure is not None
    assert "Permission denied" in failure.found
    workspace.playground.chmod(0o755)
    shutil.rmtree(place)
