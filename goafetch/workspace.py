"""Where things live in a workspace, what of it is proven unchanged, and who works in it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from goafetch.errors import GoafetchError, WorkspaceError
from goafetch.events import Notify, Warned, silent

#: Seconds between two attempts, and how often a lock is sought anew whose file was removed meanwhile.
PAUSE, ATTEMPTS = 0.1, 5
#: What file systems without locks answer: Lustre without -o flock, NFS without its lock service, FUSE.
MISSING = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
#: What a lock that another process has is answered with.
TAKEN = (errno.EAGAIN, errno.EACCES)
#: That the lock's file is no longer where it was: its last holder, perhaps of another machine, removed it.
REMOVED = (errno.ENOENT, errno.ESTALE)


class Busy(Exception):
    """Another process holds the lock."""


class NoLocks(Exception):
    """The file system has no locks."""


@contextmanager
def exclusive(path: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Hold a lock alone; Busy where another process keeps it for so long.

    Gives False where the file system has no locks, and the caller is on its own.
    """
    try:
        stream = take_lock(path, seconds=seconds)
    except NoLocks:
        yield False
        return
    with stream:
        yield True


def take_lock(path: Path, *, shared: bool = False, seconds: float = 0.0) -> IO[bytes]:
    """The lock's file, which holds it until it is closed; raises Busy and NoLocks.

    It can be read and written: over NFS a shared lock wants the one, an exclusive lock the other.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    until, removed = time.monotonic() + seconds, 0
    while removed < ATTEMPTS:
        with ExitStack() as failed:
            stream = failed.enter_context(path.open("a+b"))
            try:
                fcntl.flock(stream, kind | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                    failed.pop_all()
                    return stream
                removed += 1
            except OSError as error:
                if error.errno in REMOVED:
                    removed += 1
                elif error.errno in MISSING:
                    raise NoLocks(f"{path}: {error.strerror}") from error
                elif error.errno not in TAKEN:
                    raise
                elif time.monotonic() > until:
                    raise Busy(str(path)) from error
                else:
                    time.sleep(PAUSE)
    raise Busy(f"{path} is made and removed again and again")


#: Seconds that a new run waits for the workers of one that was killed.
PATIENCE = 3.0


def write_atomically(path: Path, content: str | bytes, mode: int = 0o666) -> None:
    """Write a file whole or not at all; of its ``mode`` the user's umask leaves what it allows."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """The same content under another name: a second name of the file where the file system has such."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _is_link(path: Path) -> bool:
    """Whether it is a symbolic link, as far as may be seen."""
    with suppress(OSError):
        return path.is_symlink()
    return False


class Workspace:
    """The folders and files below ``root``; INTERFACE's layout in one place.

    ``base``: the workspace in whose folder this one is, for other products of the same raw files. Its
    playdata/ is a link to the base's, by which it is known again.
    """

    def __init__(self, root: Path, base: Path | None = None) -> None:
        self.root = root
        self.base = Workspace(base or root.parent) if base or _is_link(root / "playdata") else None
        shared = self.base.root if self.base else root
        #: Raw frames and static masks; nothing is written here after unpacking.
        self.playdata = shared / "playdata"
        #: Products, lists and logs.
        self.playground = root / "playground"
        #: Processed calibrations and the store that knows them.
        self.calibrations = self.playground / "calibrations"
        #: Exact versions of everything fetched.
        self.lock_file = shared / "goafetch.lock"
        #: What the runs said, for people, and for machines: a JSON object a line.
        self.log, self.events = self.playground / "reduce.log", self.playground / "events.jsonl"
        #: What the keys of products stand for, and what is known of the files' content (see ``Verified``).
        self.ledger, self.verified = self.playground / "keys.json", self.playground / "verified.json"
        #: Shared by every worker process that works here (see ``share_lock``).
        self.workers_lock = self.playground / ".workers.lock"
        #: The HTML report's folder.
        self.report = root / "report"

    def make(self) -> Workspace:
        """Create the folders that are missing."""
        try:
            for folder in (self.playdata, self.playground, self.calibrations):
                folder.mkdir(parents=True, exist_ok=True)
            if self.base and not (self.root / "playdata").is_symlink():
                (self.root / "playdata").symlink_to(Path("..", "playdata"), target_is_directory=True)
        except OSError as error:
            raise WorkspaceError(
                f"cannot make {error.filename}: {error.strerror}",
                "a folder that may be written to",
                "choose another with --into DIR",
            ) from error
        return self


#: A file of FITS, packed or not; browsers put the number of a second copy before the last ending.
_FITS = re.compile(r"([^.].*?)\.fits( ?\(\d+\))?(\.bz2( ?\(\d+\))?)?")


def fits_name(name: str) -> str | None:
    """What a FITS file is called here: 'S1.fits' for 'S1.fits.bz2', 'S1 (1).fits' for 'S1.fits (1).bz2'.

    None for what is no FITS file by its name, and for hidden files, such as macOS's notes '._S1.fits'.
    """
    match = _FITS.fullmatch(name)
    return f"{match[1]}{match[2] or match[4] or ''}.fits" if match else None


def md5_of(path: Path) -> str:
    """The md5 of a file's content, read in blocks of 1 MiB."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class Verified:
    """Remembers each file's md5 together with the size, mtime and inode that it had when it was computed.

    A file whose size, mtime and inode are as remembered counts as unchanged; any other is hashed again.
    ``before``: what is remembered elsewhere of the same files.
    """

    def __init__(self, path: Path, before: Path | None = None) -> None:
        self.path = path
        self._known: dict[str, list[int | str]] = (read_json(before) if before else {}) | read_json(path)
        self._changed = False
        self._lock = threading.RLock()

    def proof(self, path: Path) -> str | None:
        """The remembered md5, or None where the file is not as it was."""
        entry = self._known.get(path.name)
        if entry is None or not path.exists() or entry[:3] != _marks(path):
            return None
        return str(entry[3])

    def remember(self, path: Path, md5: str) -> None:
        """Note that the file, as it stands, has this md5."""
        with self._lock:
            self._known[path.name] = [*_marks(path), md5]
            self._changed = True

    def md5(self, path: Path) -> str:
        """The file's md5: remembered where that is proof, else computed and remembered."""
        known = self.proof(path)
        if known is None:
            known = md5_of(path)
            self.remember(path, known)
        return known

    def forget(self) -> None:
        """Trust nothing: every file will be hashed again."""
        self._known = {}
        self._changed = True

    def save(self) -> None:
        """Write what was learnt, if anything."""
        with self._lock:
            if self._changed and self.path.parent.is_dir():
                write_atomically(self.path, json.dumps(self._known, indent=0, sort_keys=True))
                self._changed = False


def _marks(path: Path) -> list[int | str]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def read_json(path: Path) -> dict[str, Any]:
    """A record of earlier runs; a damaged one proves nothing and is begun anew."""
    try:
        known = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


@contextmanager
def prepare_workspace(workspace: Workspace) -> Iterator[None]:
    """Make a workspace's folders; where nothing came into new ones before an error, none are left."""
    root = workspace.root.absolute()
    new = [folder for folder in (root, *root.parents) if not os.access(folder, os.F_OK)]
    workspace.make()
    try:
        yield
    except GoafetchError:
        if new and not any(workspace.playdata.iterdir()):
            shutil.rmtree(root, ignore_errors=True)  # a network disk may keep what is still open
            for folder in new[1:]:
                with suppress(OSError):  # something else came into it
                    folder.rmdir()
        raise


@contextmanager
def hold_workspace(workspace: Workspace, notify: Notify = silent) -> Iterator[None]:
    """Hold the workspace for one run; a second run is told who holds it."""
    holder = workspace.playground / ".run.json"
    try:
        with exclusive(workspace.playground / ".run.lock") as has_locks:
            if not has_locks:
                _trust(workspace, holder, notify)
            try:
                with exclusive(workspace.workers_lock, PATIENCE):
                    pass  # no worker of an earlier run lives: they end within a second of their parent
            except Busy as error:
                raise WorkspaceError(
                    f"worker processes of an earlier run still work in {workspace.root}",
                    "one run at a time in a workspace",
                    "wait for them to end, or end them; then repeat the command",
                ) from error
            remove_leftovers(workspace)
            started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            facts = {"host": platform.node(), "pid": os.getpid(), "started": started}
            write_atomically(holder, json.dumps(facts))
            try:
                yield
            finally:
                holder.unlink(missing_ok=True)
    except Busy as error:
        raise _occupied(workspace, holder) from error


def _occupied(workspace: Workspace, holder: Path) -> WorkspaceError:
    return WorkspaceError(
        f"another run works in {workspace.root}: {_read_holder(holder)}",
        "one run at a time in a workspace",
        "wait for it to end, or choose another folder with --into DIR",
    )


def _trust(workspace: Workspace, holder: Path, notify: Notify) -> None:
    """Without locks: refuse where a run of this machine says that it works here, else warn the user."""
    facts = read_json(holder)
    if facts.get("host") == platform.node() and _is_alive(int(facts.get("pid", 0))):
        raise _occupied(workspace, holder)
    notify(
        Warned(
            f"the file system of {workspace.root} has no file locks, so runs cannot keep each other out: "
            "start no second one there, or choose a folder on another disk with --into DIR"
        )
    )


#: What a process that was killed leaves behind, with its number: half-made files and scratch folders.
_LEFTOVER = re.compile(
    r"\..+?\.(?P<writer>\d+)(\.\w+)?\.part|\.scratch-(?P<runner>\d+)(-\w+)?|\..+\.fits\.new"
)


def remove_leftovers(workspace: Workspace) -> None:
    """Remove what earlier runs that were killed have left half-made; the caller holds the workspace."""
    folders = (
        workspace.root,
        workspace.playdata,
        workspace.playground,
        *(Path(found) for found, _, _ in os.walk(workspace.calibrations)),
        workspace.report,
    )
    for folder in filter(Path.is_dir, folders):
        for path in folder.iterdir():
            match = _LEFTOVER.fullmatch(path.name)
            if match and not _is_alive(int(match["writer"] or match["runner"] or 0)):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def _is_alive(pid: int) -> bool:
    """Whether a process of that number runs here; only then can what bears its number be in use."""
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def share_lock(lock: Path) -> IO[bytes]:
    """Share a lock with other workers until the file is closed, or this process ends however it ends."""
    try:
        return take_lock(lock, shared=True, seconds=PATIENCE)
    except NoLocks:
        return lock.open("a+b")


def _read_holder(path: Path) -> str:
    try:
        facts = json.loads(path.read_text())
        return f"process {facts['pid']} on {facts['host']} since {facts['started']}"
    except (OSError, ValueError, KeyError):
        return "a process that has not said who it is"
