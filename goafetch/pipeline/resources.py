"""Where a run's tasks are done, and how much memory each of them may take."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from goafetch.config import Settings
from goafetch.engine.cluster import Cluster, ClusterError
from goafetch.engine.pool import Pool, WorkspacePool, available_cores
from goafetch.errors import UsageError
from goafetch.events import Decided, Notify
from goafetch.pipeline.cache import code_version
from goafetch.system import kernels_note, scratch
from goafetch.workspace import Workspace

#: What workers import as they start, beside the planning.
MODULES = ("reducer.recipes",)
#: Bytes of the process that the user started, of each worker besides the pixels of its task (libraries, a
#: flat of four arrays, buffers), and of the pixels of the smallest task; measured on whole arrays.
PARENT, WORKER, SMALLEST_TASK = 300_000_000, 320_000_000, 120_000_000
#: Without --memory: a part of the machine's memory, and no more than so much.
PART, MOST = 4, 2_000_000_000
#: More than this does not make a task faster.
LARGEST_TASK = 300_000_000


class InThisProcess(WorkspacePool):
    """A desk without workers: each task is done when its result is asked for."""

    abandoned = False

    def __init__(self) -> None:
        self.workers = 1

    def on_abandon(self, end: Callable[[], None]) -> None:
        """Nothing: nobody ends work here but by an error."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Do the task now."""
        done: Future[Any] = Future()
        done.set_result(function(*args))
        return done

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """Results of ``function(task)`` in the order of the tasks."""
        return map(function, tasks)


def open_pool(settings: Settings, notify: Notify) -> Pool:
    """The workers that the settings ask for: local processes, or those of a cluster."""
    if settings.cluster:
        return Cluster(settings.cluster, settings.workers, notify, MODULES)
    if place := kernels_note():
        why = "neither this program's folder nor your cache can be written to"
        notify(Decided(f"compiled kernels are kept in {place}", why))
    return Pool(workers_of(settings), notify, MODULES, cold=not _mark().exists())


def workers_of(settings: Settings) -> int:
    """How many processes work here; UsageError where the memory is too small for those that are asked for."""
    workers = settings.workers or affordable(memory_of(settings))
    share_of(settings, workers)
    return workers


def note_compiled() -> None:
    """Remember that the kernels have been compiled: the next run need not begin one task of a kind alone."""
    with suppress(OSError):  # without a cache folder every run begins carefully
        _mark().parent.mkdir(parents=True, exist_ok=True)
        _mark().touch()


def _mark() -> Path:
    """A file that stands for compiled kernels of this code, these libraries and this Python."""
    name = f"{code_version()}-{platform.python_version()}-{platform.machine()}"
    return scratch() / "kernels" / name


def memory_of(settings: Settings) -> int:
    """Bytes that a run may take; the machine's memory is taken for 8 GB where the system does not tell."""
    if settings.memory:
        return settings.memory
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        whole = 8 * 10**9
    return min(whole // PART, MOST)


def affordable(memory: int) -> int:
    """As many workers as there are cores, and at least one, but no more than the memory holds."""
    return max(1, min(available_cores(), (memory - PARENT) // (WORKER + SMALLEST_TASK)))


def share_of(settings: Settings, workers: int) -> int:
    """Bytes for the pixels of one task; UsageError where the memory is too small for so many workers."""
    if settings.cluster and not settings.memory:
        return LARGEST_TASK  # other machines have memory of their own
    share = (memory_of(settings) - PARENT) // workers - WORKER
    if share < SMALLEST_TASK and settings.memory:
        count = "one worker" if workers == 1 else f"{workers} workers"
        fewer = f", or {smallest(1) / 1e6:.0f}M with --workers 1" if workers > 1 else ""
        raise UsageError(
            f"--memory {settings.memory / 1e6:.0f}M is too small for {count}",
            f"at least {smallest(workers) / 1e6:.0f}M{fewer}",
        )
    return max(min(share, LARGEST_TASK), SMALLEST_TASK)


def smallest(workers: int) -> int:
    """The smallest memory, bytes, with which so many workers can work."""
    return PARENT + workers * (WORKER + SMALLEST_TASK)


def check_cluster(pool: Cluster, workspace: Workspace) -> None:
    """See that every worker of a cluster has this program and shares this folder; else ClusterError."""
    probe = workspace.playground / f".shared-{uuid4().hex}"
    probe.write_text(probe.name)
    try:
        here = answer_for(str(probe))
        answers = pool.run_on_workers(answer_for, str(probe))
    finally:
        probe.unlink()
    for address, there in answers.items():
        for name, value in here.items():
            if there[name] != value:
                raise ClusterError(
                    f"{name} at the worker {address}: {there[name]}; here: {value}",
                    "workers with the same versions, and a folder that all of them share",
                    "install the same environment for them; put --into DIR on a shared disk",
                )


def answer_for(probe: str) -> dict[str, str]:
    """What must be the same on all machines: Python, this program with its libraries, and the folder."""
    place = Path(probe)
    seen = place.read_text() if place.exists() else "not there"
    return {"Python": platform.python_version(), "program": code_version(), str(place.parent): seen}
