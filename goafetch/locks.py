"""Locks on files, between processes of one machine, or of several that share a disk which has locks."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

#: Seconds between two attempts, and how often a lock is sought anew whose file was removed meanwhile.
PAUSE, ATTEMPTS = 0.1, 5
#: What file systems without locks answer: Lustre without -o flock, NFS without its lock service, FUSE.
MISSING = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
#: What a lock that another process has is answered with.
TAKEN = (errno.EAGAIN, errno.EACCES)


class _Removed(Exception):
    """The lock's file is no longer where it was: its last holder, perhaps of another machine, removed it."""


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
        stream = take(path, seconds=seconds)
    except NoLocks:
        yield False
        return
    with stream:
        yield True


def take(path: Path, *, shared: bool = False, seconds: float = 0.0) -> IO[bytes]:
    """The lock's file, which holds it until it is closed; raises Busy and NoLocks.

    It can be read and written: over NFS a shared lock wants the one, an exclusive lock the other.
    """
    until = time.monotonic() + seconds
    for _ in range(ATTEMPTS):
        stream = path.open("a+b")
        try:
            with _stale_is_removed():
                _wait(stream, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, until)
                _check_is_there(stream, path)
            return stream
        except _Removed:
            stream.close()
        except BaseException:
            stream.close()
            raise
    raise Busy(f"{path} is made and removed again and again")


def _wait(stream: IO[bytes], kind: int, until: float) -> None:
    while True:
        try:
            fcntl.flock(stream, kind | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in MISSING:
                raise NoLocks(f"{stream.name}: {error.strerror}") from error
            if error.errno not in TAKEN:
                raise
            if time.monotonic() > until:
                raise Busy(str(stream.name)) from error
        time.sleep(PAUSE)


def _check_is_there(stream: IO[bytes], path: Path) -> None:
    try:
        same = os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        same = False
    if not same:
        raise _Removed


@contextmanager
def _stale_is_removed() -> Iterator[None]:
    """Over NFS an open file that another machine has removed is answered with ESTALE, whatever is asked."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ESTALE:
            raise _Removed from error
        raise
