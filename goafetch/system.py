"""What a process has of its system: the user's folders, the environment, Ctrl-C, memory."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from types import FrameType

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


# --- Ctrl-C and memory ---------------------------------------------------------------------------------

#: What a shell gets; this module is the first to be imported, and imports nothing that takes time.
CODE = 130


def leave_at_once() -> None:
    """Let Ctrl-C end this process from now on, unless it was begun deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def raise_errors() -> None:
    """Let Ctrl-C be an error that a command tells in words from now on."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"\ninterrupted\n")
    os._exit(CODE)


#: Bytes that a process may have before what it freed is given back: to get them anew costs time.
KEPT = 340_000_000
#: Objects between looks for those that only refer to each other, and how many looks make a thorough one: all
#: else is freed as soon as nobody has it. Python's own (700, 10, 10) cost each process of a run 0.6-0.9 s.
LOOKS = (5000, 20, 10)


def collect_rarely() -> None:
    """Look for objects that only refer to each other less often, and not at all as the process ends."""
    gc.set_threshold(*LOOKS)
    atexit.register(gc.freeze)


def trim_memory() -> None:
    """Give back what was freed, if the process has become large."""
    if resident() > KEPT and (trim := _trim()) is not None:
        trim(0)


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@lru_cache(maxsize=1)
def _trim() -> Callable[[int], int] | None:
    """``malloc_trim`` of glibc; None where the C library is another."""
    import ctypes

    return getattr(ctypes.CDLL(None), "malloc_trim", None)
