"""A run that ends at its N-th change of a file, whichever, is finished by the same command, nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from caged import Here
from crashing.sitecustomize import arm
from same_products import differences, entries, leftovers

from goafetch.config import Settings
from goafetch.pipeline.run import Request, run_job

GOAFETCH = Path(sys.executable).with_name("goafetch")
STARTUP = Path(__file__).resolve().parents[1] / "support" / "crashing"


def run_in_child(raw: Path, workspace: Path, crash_at: int, count: Path) -> int:
    """The run in a forked process without workers; its exit code, 137 where it crashed."""
    count.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.environ["PYTHONWARNINGS"] = "ignore"
            arm(str(workspace), crash_at, str(count))
            code = run_job(Request(str(raw), into=workspace), Settings(), pool=Here()).exit_code
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_crashing_again_and_again_loses_nothing(tiny_night: Path, tiny_whole: Path, tmp_path: Path) -> None:
    workspace, crashes = tmp_path / "ws", 0
    while (code := run_in_child(tiny_night, workspace, 15 * (crashes + 1), tmp_path / "count")) == 137:
        crashes += 1
    assert code == 0
    assert crashes >= 3
    assert differences(tiny_whole, workspace) == []
    assert leftovers(workspace) == []


def test_a_flat_that_a_killed_run_did_not_enter_is_entered_by_the_next(
    tiny_night: Path, tiny_whole: Path, tmp_path: Path
) -> None:
    """Nothing is made then, but the store does not know what there is."""
    workspace = shutil.copytree(tiny_whole, tmp_path / "ws")
    store = workspace / "playground/calibrations/calstore.json"
    store.unlink()
    (store.parent / ".calstore.json.abcd.part").write_text("half of it")
    assert run_in_child(tiny_night, workspace, 0, tmp_path / "count") == 0
    assert entries(workspace) == entries(tiny_whole) != set()
    assert leftovers(workspace) == []


def test_pages_that_a_killed_run_did_not_renew_are_made_by_the_next(
    tiny_night: Path, tiny_whole: Path, tmp_path: Path
) -> None:
    """Nothing is redone then, but the pages tell of products that are no more."""
    workspace = shutil.copytree(tiny_whole, tmp_path / "ws")
    page = workspace / "report/index.html"
    os.utime(page, (0, 0))
    assert run_in_child(tiny_night, workspace, 0, tmp_path / "count") == 0
    renewed = page.stat().st_mtime_ns
    assert renewed > 0
    assert run_in_child(tiny_night, workspace, 0, tmp_path / "count") == 0
    assert page.stat().st_mtime_ns == renewed


@pytest.fixture
def plain_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty pictures: drawing takes half of a tiny run and changes no file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from PIL import Image

    svg = '<svg width="1pt" height="1pt"></svg>'
    monkeypatch.setattr(FigureCanvasSVG, "print_svg", lambda _, page, **__: page.write(svg))
    dot = Image.new("RGB", (1, 1))
    monkeypatch.setattr(FigureCanvasAgg, "print_png", lambda _, page, **__: dot.save(page, "PNG"))


@pytest.mark.prove
@pytest.mark.parametrize("first", [1, 2])
def test_crashing_at_every_change_of_a_file_loses_nothing(
    tiny_night: Path, tiny_whole: Path, tmp_path: Path, plain_pictures: None, first: int
) -> None:
    """At each odd change, and at each even one."""
    for number in range(first, 10_000, 2):
        workspace = tmp_path / str(number)
        code = run_in_child(tiny_night, workspace, number, tmp_path / "count")
        if code == 0:
            assert number > 50
            return
        assert code == 137
        assert run_in_child(tiny_night, workspace, 0, tmp_path / "count") == 0
        assert differences(tiny_whole, workspace) == [], number
        assert leftovers(workspace) == [], number
        shutil.rmtree(workspace)


@pytest.mark.prove
def test_crashing_of_workers_and_their_parent_loses_nothing(
    tiny_night: Path, tiny_whole: Path, tmp_path: Path
) -> None:
    """Every tenth change, in real processes with a worker: either of them ends."""
    command = [str(GOAFETCH), "run", str(tiny_night), "--workers", "1", "--quiet", "--into"]
    for number in range(5, 10_000, 10):
        workspace, count = tmp_path / str(number), tmp_path / f"count{number}"
        environment = {
            **os.environ,
            "PYTHONPATH": str(STARTUP),
            "CRASH_BELOW": str(workspace),
            "CRASH_AT": str(number),
            "CRASH_COUNT": str(count),
        }
        subprocess.run([*command, str(workspace)], env=environment, capture_output=True, timeout=300)
        again = subprocess.run([*command, str(workspace)], capture_output=True, text=True, timeout=300)
        assert again.returncode == 0, again.stderr
        assert differences(tiny_whole, workspace) == [], number
        assert leftovers(workspace) == [], number
        if count.stat().st_size < number:
            return
