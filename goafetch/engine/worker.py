"""What a worker process does besides its tasks: it watches its parent and says where it works."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from goafetch.engine.memory import give_back, look_seldom
from goafetch.workspace import share

#: Seconds between looks at the parent.
POLL = 0.25
#: The workspaces that this process has said it works in; the lock lasts as long as the open file.
_shared: dict[str, Any] = {}
#: Process numbers of whom this process is a worker: a task may also be done where the user began.
_parents: list[int] = []


def begin(parent: int, modules: Sequence[str]) -> None:
    """Make this process a worker of ``parent``; ``modules`` are imported before the first task comes."""
    watch(parent)
    _parents.append(parent)
    look_seldom()
    for module in modules:
        importlib.import_module(module)


def watch(parent: int) -> None:
    """End at once when the parent is gone, even in the middle of a task; never rename a file after it."""

    def stop(event: str, _: tuple[Any, ...]) -> None:
        if event == "os.rename" and os.getppid() != parent:
            os._exit(1)

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(POLL)
        os._exit(1)

    sys.addaudithook(stop)
    threading.Thread(target=look, daemon=True).start()


def work_in(lock: str, function: Callable[..., Any], *args: Any) -> Any:
    """Do a task in a workspace, whose lock this process shares, if it is a worker, as long as it lives."""
    if not _parents:
        return visit(lock, function, *args)
    if lock not in _shared:
        _shared[lock] = share(Path(lock))
    try:
        return function(*args)
    finally:
        give_back()


def visit(lock: str, function: Callable[..., Any], *args: Any) -> Any:
    """Do a task in a workspace and share its lock meanwhile: for workers that outlive a run."""
    with share(Path(lock)):
        try:
            return function(*args)
        finally:
            give_back()
