"""Nothing is imported from the folder that one works in, and a machine without semaphores still works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from goafetch.engine.pool import Pool
from goafetch.events import words

#: A file of such a name in the working folder must never be taken for the module.
NAMES = (
    "random",
    "select",
    "queue",
    "copy",
    "signal",
    "token",
    "socket",
    "struct",
    "numpy",
    "loky",
    "argparse",
)
SHADOW = (
    "from pathlib import Path\nPath(__file__).with_name('executed').touch()\nraise SystemExit('shadow')\n"
)
TASKS = """
import os, sys
from pathlib import Path
from goafetch.engine.cluster import Cluster
from goafetch.engine.pool import Pool
if __name__ == "__main__":
    before = dict(os.environ)
    with (Cluster("local", 1) if sys.argv[1] == "cluster" else Pool(1)) as pool:
        print(pool.submit(os.path.basename, "a/b").result(100))
    assert os.environ == before
"""


@pytest.fixture
def shadows(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(SHADOW)
    return folder


@pytest.mark.parametrize("kind", ["pool", "cluster"])
def test_workers_and_their_trackers_import_nothing_from_the_working_folder(
    kind: str, shadows: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(TASKS)
    done = subprocess.run(
        [sys.executable, str(script), kind], cwd=shadows, capture_output=True, text=True, timeout=200
    )
    assert done.stdout == "b\n", done.stderr
    assert not (shadows / "executed").exists()


def test_python_m_is_the_command_and_imports_nothing_from_the_working_folder(shadows: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "goafetch", "showd"], cwd=shadows, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0 and "exposure_time" in done.stdout, done.stderr
    assert not (shadows / "executed").exists()


def test_without_semaphores_tasks_are_done_in_this_process_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import loky

    def no_semaphores(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(loky, "ProcessPoolExecutor", no_semaphores)
    told: list[str] = []
    with Pool(2, lambda event: told.append(words(event))) as pool:
        assert pool.submit(os.getpid).result() == os.getpid()
        assert pool.workers == 1
    assert len(told) == 1 and "/dev/shm" in told[0]
