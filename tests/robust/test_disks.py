"""Disks that lack locks, links or modes, homes that are not there, leftovers of other systems."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from caged import Here

from goafetch.archive.unpack import partial_files
from goafetch.config import load_settings
from goafetch.errors import NothingFound, WorkspaceError
from goafetch.events import what, words
from goafetch.pipeline.raw_files import take_folder
from goafetch.workspace import (
    Busy,
    Workspace,
    exclusive,
    fits_name,
    hold_workspace,
    prepare_workspace,
    take_lock,
    write_atomically,
)


def test_a_lock_is_taken_on_a_file_that_can_be_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over NFS flock is a lock on the bytes, which wants a readable file to share, a writable one to hold."""
    flock = fcntl.flock

    def over_nfs(stream: object, kind: int) -> None:
        mode = fcntl.fcntl(stream, fcntl.F_GETFL) & os.O_ACCMODE  # type: ignore[call-overload]
        if mode != os.O_RDWR:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(stream, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", over_nfs)
    lock = tmp_path / "lock"
    with take_lock(lock, shared=True), take_lock(lock, shared=True), pytest.raises(Busy), exclusive(lock):
        pass
    with exclusive(tmp_path / "lock") as has_locks:
        assert has_locks


def test_a_lock_whose_file_its_last_holder_removed_is_taken_anew(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock"):
        (tmp_path / "lock").unlink()
        with exclusive(tmp_path / "lock"):
            assert (tmp_path / "lock").exists()


def test_a_lock_whose_file_another_machine_removed_over_nfs_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked of such an open file is answered with ESTALE."""
    stale, state, flock = [], os.fstat, fcntl.flock

    def forget(error: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*given: Any) -> Any:
            if error not in stale:
                stale.append(error)
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return function(*given)

        return ask

    monkeypatch.setattr(fcntl, "flock", forget("when it is locked", flock))
    monkeypatch.setattr(os, "fstat", forget("when it is looked at", state))
    with exclusive(tmp_path / "lock") as has_locks:
        assert has_locks and len(stale) == 2


def test_what_a_network_disk_keeps_of_a_new_folder_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with a removed file that is open cannot be removed."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(NothingFound), prepare_workspace(Workspace(tmp_path / "new")):
        raise NothingFound("nothing", "something", "ask again")


def test_the_hidden_folder_goes_only_when_its_lock_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network disk keeps a removed file that is open as .nfs..., and the folder is not empty until then."""
    unlink = Path.unlink

    def to_nfs(path: Path, missing_ok: bool = False) -> None:
        path.rename(path.with_name(".nfs0001")) if path.name == "lock" else unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", to_nfs)
    with partial_files(tmp_path):
        pass
    assert [path.name for path in (tmp_path / ".incoming").iterdir()] == [".nfs0001"]  # the disk removes it
    with partial_files(tmp_path) as place:
        assert place.is_dir()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_without_locks_a_run_warns_and_knows_its_own_machine_s_runs(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", none)
    workspace, told = Workspace(tmp_path).make(), []
    with hold_workspace(workspace, lambda event: told.append(words(event))):
        assert len(told) == 1 and "no file locks" in told[0]
        with pytest.raises(WorkspaceError, match="another run works"), hold_workspace(workspace):
            pass


def test_what_is_written_obeys_the_umask_and_sets_no_modes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "private", "x")
    finally:
        os.umask(before)
    write_atomically(tmp_path / "public", "x", 0o777)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("private", "public")]
    assert modes == [0o600, 0o777 & ~before]


def test_without_symbolic_links_raw_files_are_copied_once(
    tiny_night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    workspace, told = Workspace(tmp_path / "ws").make(), []
    for _ in range(2):
        files, _ = take_folder(tiny_night, workspace, lambda event: told.append(what(event)), Here())
        assert len(files) == len(list(tiny_night.iterdir())) and not any(path.is_symlink() for path in files)
    assert [text.split(" were ")[0] for text in told] == [f"{len(files)} raw files"]


def test_a_folder_is_looked_into_but_not_its_environments_hidden_parts_and_workspaces(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for place in ("", "night", ".Trash", "venv/data", "other/playdata", "other/playground"):
        (raw / place).mkdir(parents=True, exist_ok=True)
        (raw / place / f"S{place.replace('/', '_')}.fits").write_text("")
    (raw / "venv/pyvenv.cfg").write_text("")
    (raw / "night/._S1.fits").write_text("")
    told: list[object] = []
    files, _ = take_folder(
        raw, Workspace(tmp_path / "ws").make(), lambda event: told.append(what(event)), Here()
    )
    assert [path.name for path in files] == ["S.fits", "Snight.fits"]
    assert told == [f"passed over {raw / 'other'}"]


@pytest.mark.parametrize(
    ("name", "is_called"),
    [
        ("S1.fits", "S1.fits"),
        ("S1.fits.bz2", "S1.fits"),
        ("S1.fits (1).bz2", "S1 (1).fits"),
        ("S1.fits(2).bz2", "S1(2).fits"),
        ("S1 (1).fits.bz2", "S1 (1).fits"),
        ("._S1.fits", None),
        ("S1.fits.bz2.part", None),
        ("readme.txt", None),
    ],
)
def test_what_files_of_fits_are_called(name: str, is_called: str | None) -> None:
    assert fits_name(name) == is_called


HOMELESS = """
import os, pwd
os.environ.pop("HOME", None)
def nobody(uid): raise KeyError(uid)
pwd.getpwuid = nobody  # a user number that no passwd knows
from goafetch.archive.client import find_token
from goafetch.config import load_settings
from goafetch.system import scratch
print(load_settings().archive, find_token("https://a.b"), scratch().is_absolute())
"""


def test_without_a_home_there_are_no_settings_and_a_folder_for_temporary_files(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")}
    done = subprocess.run(
        [sys.executable, "-c", HOMELESS],
        cwd=tmp_path,
        env={**environment, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "https://archive.gemini.edu None True\n"
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o700]


def test_marks_and_encodings_of_configuration_files(tmp_path: Path) -> None:
    (tmp_path / "goafetch.toml").write_bytes(b"\xef\xbb\xbfworkers = 3\r\n")
    assert load_settings(tmp_path, {}, tmp_path).workers == 3
    (tmp_path / "goafetch.toml").write_bytes("workers = 3".encode("utf-16"))
    with pytest.raises(Exception, match="UTF-16"):
        load_settings(tmp_path, {}, tmp_path)
    (tmp_path / "goafetch.toml").unlink()
    (tmp_path / ".geminidr").mkdir()
    (tmp_path / ".geminidr/rsys.cfg").write_bytes(b"\xef\xbb\xbf[calibs]\r\ndatabase_dir = /db\r\n")
    assert load_settings(tmp_path, {}, tmp_path).store == Path("/db/calstore.json")
