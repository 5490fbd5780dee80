"""The user's own folders, what stands for them where there are none, and the environment's variables."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

#: Where numba keeps compiled kernels, beside their modules by default.
KERNELS = "NUMBA_CACHE_DIR"


def configuration() -> Path | None:
    """The folder of the user's settings; None without a home (no HOME, and no entry in passwd)."""
    import platformdirs

    return _found(platformdirs.user_config_dir)


def home() -> Path | None:
    """The user's home; None where there is none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _found(place: Callable[[str], str]) -> Path | None:
    """One of the user's own folders; without a home some versions raise, others leave the ~ as it is."""
    try:
        folder = Path(place("goafetch"))
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None


def is_file(path: Path) -> bool:
    """Whether there is a file; not where one may not even look, as in another user's home."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises there


@cache
def scratch() -> Path:
    """The user's cache folder, or where that cannot be written to a private one for temporary files."""
    import tempfile

    import platformdirs

    usual = _found(platformdirs.user_cache_dir)
    if usual is not None:
        with suppress(OSError):
            usual.mkdir(parents=True, exist_ok=True)
        if os.access(usual, os.W_OK | os.X_OK):
            return usual
    folder = Path(tempfile.gettempdir()) / f"goafetch-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix="goafetch-"))  # somebody else has taken the name


def place_kernels() -> None:
    """Choose where compiled kernels are kept, if they cannot be kept beside their modules."""
    package = Path(__file__).parent
    beside = package / "__pycache__"
    place = beside if beside.is_dir() else package
    if KERNELS not in os.environ and not os.access(place, os.W_OK):
        os.environ[KERNELS] = str(scratch() / "numba")


def kernels_note() -> str:
    """Where compiled kernels are kept, if that is a folder for temporary files; else nothing."""
    import tempfile

    place = os.environ.get(KERNELS, "")
    return place if Path(tempfile.gettempdir()) in Path(place).parents else ""


@contextmanager
def environment(**changes: str | None) -> Iterator[None]:
    """Variables of the environment as given, None for none, until the end."""
    before = {name: os.environ.get(name) for name in changes}
    set_environment(changes)
    try:
        yield
    finally:
        set_environment(before)


def set_environment(values: Mapping[str, str | None]) -> None:
    """Set variables of this process's environment; remove those that are None."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
