"""Names with spaces, newlines and Unicode, links, names that differ in case alone, and clocks that jump."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from caged import Here
from same_products import differences

from goafetch.config import Settings
from goafetch.errors import UsageError
from goafetch.pipeline.raw_files import take_folder
from goafetch.pipeline.run import Request, run_job
from goafetch.workspace import Verified, Workspace, hold_workspace


def run(raw: Path, workspace: Path) -> list[str]:
    """Plan, reduce and stack; the names of products made."""
    report = run_job(Request(str(raw), into=workspace), Settings(), pool=Here())
    assert report.exit_code == 0, report.conclusion()
    return [path.name for outcome in report.outcomes if outcome.redone for path in outcome.products]


def test_any_name_of_a_folder_will_do_and_may_change(tiny_night: Path, tmp_path: Path) -> None:
    """Raw files with odd names in an odd folder, by links; the whole moves and nothing is made again."""
    place = tmp_path / os.fsdecode("a b\nGrüße [*] 世界 -rf ".encode() + b"\xe9")  # the last is not UTF-8
    raw = place / "raw"
    raw.mkdir(parents=True)
    for number, path in enumerate(sorted(tiny_night.iterdir())):
        odd = f"{path.stem} é{number}.fits" if number % 3 == 0 else path.name
        (raw / odd).symlink_to(path) if number % 2 else shutil.copyfile(path, raw / odd)
    assert run(raw, place / "ws")
    moved = place.rename(tmp_path / "moved ü")
    assert run(moved / "raw", moved / "ws") == []


def test_a_folder_that_is_not_there_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="nosuch is neither a folder nor a program"):
        run_job(Request("nosuch"), Settings(), pool=Here())
    with pytest.raises(UsageError, match="did you mean GS-2017A-Q-29"):
        run_job(Request("GS2017A-Q-29"), Settings(), pool=Here())
    assert list(tmp_path.iterdir()) == []


def test_names_that_differ_in_case_alone_do_not_meet_and_broken_links_are_told(
    tiny_night: Path, tmp_path: Path
) -> None:
    """On a file system that knows no case the later file would take the earlier one's products."""
    raw, told = tmp_path / "raw", []
    (raw / "below").mkdir(parents=True)
    for path in tiny_night.iterdir():
        (raw / path.name).symlink_to(path)
    shutil.copyfile(tiny_night / "S20170505S0012.fits", raw / "below" / "s20170505s0011.fits")
    (raw / "S20170505S0099.fits").symlink_to("nowhere.fits")
    workspace = Workspace(tmp_path / "ws").make()
    files, _ = take_folder(raw, workspace, told.append, Here())
    assert [path.name for path in files] == sorted(path.name for path in tiny_night.iterdir())
    assert [event.kind for event in told] == ["refused", "warning"]


def test_clocks_that_jump_change_nothing(
    tiny_night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(tiny_night, raw)
    future = time.time() + 10 * 365 * 86400
    for path in raw.iterdir():
        os.utime(path, (future, future))
    assert run(raw, tmp_path / "ws")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert run(raw, tmp_path / "ws") == []
    for product in (tmp_path / "ws/playground").glob("*.fits"):
        os.utime(product, (0, 0))
    assert run(raw, tmp_path / "ws") == []  # not remembered by that time, but whole by its checksums
    assert differences(tmp_path / "ws", tmp_path / "ws") == []


def test_a_file_changed_within_one_tick_of_the_clock_is_noticed_by_its_inode(tmp_path: Path) -> None:
    file = tmp_path / "raw.fits"
    file.write_bytes(b"abc")
    verified = Verified(tmp_path / "verified.json")
    first, state = verified.md5(file), file.stat()
    (tmp_path / "other").write_bytes(b"abd")
    (tmp_path / "other").replace(file)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert verified.md5(file) != first


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path).make()
    dead = [".S1_flat.fits.4194305.part", ".run.json.4194305.k3x_9.part", ".S1_flat.fits.new"]
    mine = f".S2_flat.fits.{os.getpid()}.part"
    for name in (*dead, mine):
        (workspace.playground / name).write_text("")
    (workspace.playground / ".scratch-4194305-abc").mkdir()
    with hold_workspace(workspace):
        left = {path.name for path in workspace.playground.iterdir()}
    assert not left & {*dead, ".scratch-4194305-abc"}
    assert mine in left
