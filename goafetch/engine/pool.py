"""A pool of local worker processes: they never import the user's script, and lost ones are replaced."""

from __future__ import annotations

import importlib
import logging
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from goafetch.errors import GoafetchError
from goafetch.events import Notify, Retry, Warned, silent
from goafetch.system import collect_rarely, environment, trim_memory
from goafetch.workspace import share_lock

#: Seconds between looks at the parent.
POLL = 0.25
#: The workspaces that this process has said it works in; the lock lasts as long as the open file.
_shared: dict[str, Any] = {}
#: Process numbers of whom this process is a worker: a task may also be done where the user began.
_parents: list[int] = []


def start_worker(parent: int, modules: Sequence[str]) -> None:
    """Make this process a worker of ``parent``; ``modules`` are imported before the first task comes."""
    end_with_parent(parent)
    _parents.append(parent)
    collect_rarely()
    for module in modules:
        importlib.import_module(module)


def end_with_parent(parent: int) -> None:
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
        return work_in_once(lock, function, *args)
    if lock not in _shared:
        _shared[lock] = share_lock(Path(lock))
    try:
        return function(*args)
    finally:
        trim_memory()


def work_in_once(lock: str, function: Callable[..., Any], *args: Any) -> Any:
    """Do a task in a workspace and share its lock meanwhile: for workers that outlive a run."""
    with share_lock(Path(lock)):
        try:
            return function(*args)
        finally:
            trim_memory()


#: What workers are started with. Nothing is imported from the folder that one works in: a random.py of the
#: user's there would be taken for Python's. Threads inside a worker would compete with the others. Memory
#: given back to the system with every array costs as much time as the arithmetic: glibc keeps 256 MB, until
#: a task has ended (see process.py). What a worker keeps on purpose (calibrations, kernels) is no leak for
#: which loky has to replace it.
ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    **dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**28)),
    "MALLOC_ARENA_MAX": "1",  # for the threads in which dask's workers do their tasks, too
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e12",
}
#: How often lost workers are replaced before the run gives up.
REPLACEMENTS = 3
#: Tasks of one ``map`` that are under way or waiting, for each worker.
AHEAD = 3


class WorkersLost(GoafetchError):
    """Worker processes ended again and again without the program's doing."""


class Pool:
    """Worker processes behind ``submit`` and an ordered ``map``; started when first used.

    ``workers``: number of processes, 0 for one per core that this process may use. ``notify`` is told of
    tasks that are begun again because their worker was lost. ``modules``: imported by each worker as it
    starts. ``cold``: the kernels are not compiled yet; the first task of each kind is then done alone, so
    that one worker compiles what all others read. ``abandoned``: whether all work was ended at once; what
    fails from then on is no finding.
    """

    def __init__(
        self, workers: int = 0, notify: Notify = silent, modules: tuple[str, ...] = (), cold: bool = False
    ) -> None:
        self.workers = workers or available_cores()
        self.notify = notify
        self._modules = modules
        self._tried: set[Callable[..., Any]] | None = set() if cold else None
        self._executor: Any = None  # an Executor whose shutdown can kill its workers
        self._recovery = ThreadPoolExecutor(1)
        self._lost = 0
        self._to_end: list[Callable[[], None]] = []
        self._closed = self.abandoned = False
        self._lock = threading.RLock()

    def start(self) -> None:
        """Start the workers ahead of the first task."""
        self.submit(os.getpid)

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run ``function(*args)`` in a worker; in a new one if that worker is lost."""
        outer: Future[Any] = Future()
        self._send(outer, function, args)
        return outer

    def map(
        self,
        function: Callable[[Any], Any],
        tasks: Iterable[Any],
        submit: Callable[..., Future[Any]] | None = None,
    ) -> Iterator[Any]:
        """Results of ``function(task)`` in the order of the tasks; ``submit`` may add something to each."""
        waiting: deque[Future[Any]] = deque()
        try:
            for task in tasks:
                waiting.append((submit or self.submit)(function, task))
                if self._is_first(function):
                    waiting[-1].exception()
                while len(waiting) >= AHEAD * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def in_workspace(self, lock: Path) -> WorkspacePool:
        """The same pool for work in one workspace, whose lock the workers then share."""
        return WorkspacePool(self, lock)

    def close(self, *, at_once: bool = False) -> None:
        """End the workers, ``at_once`` in the middle of their tasks."""
        with self._lock:
            executor, self._executor, self._closed = self._executor, None, True
        if executor is not None:
            with _no_word_of_a_killed_pool() if at_once else nullcontext():
                executor.shutdown(wait=True, kill_workers=at_once)
        self._recovery.shutdown()

    def abandon(self) -> None:
        """End all work at once: whoever waits for a task is told."""
        self.abandoned = True
        for end in self._to_end:
            end()
        self.close(at_once=True)

    def on_abandon(self, end: Callable[[], None]) -> None:
        """Have something else ended when all work is; at once where it was already."""
        self._to_end.append(end)
        if self.abandoned:
            end()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(at_once=kind is not None)

    def _is_first(self, function: Callable[..., Any]) -> bool:
        """Whether a task of this kind was never done and its kernels are still to be compiled."""
        with self._lock:
            if self._tried is None or function in self._tried:
                return False
            self._tried.add(function)
            return True

    def _send(self, outer: Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        executor = self._start()
        try:
            with _deaf_to_ctrl_c():
                inner = executor.submit(function, *args)
        except BrokenProcessPool as error:
            self._again(executor, error, outer, function, args)
            return
        outer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
        inner.add_done_callback(lambda done: self._settle(executor, done, outer, function, args))

    def _settle(
        self,
        executor: Executor,
        inner: Future[Any],
        outer: Future[Any],
        function: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        """Pass on what became of a task; one whose worker was lost begins again."""
        if inner.cancelled():
            outer.cancel()
            return
        error = inner.exception()
        if isinstance(error, BrokenProcessPool) and not self._closed:
            # Not in this thread: it belongs to the broken executor, which must end first, so that no two
            # processes ever do the same task.
            self._recovery.submit(self._again, executor, error, outer, function, args)
        elif outer.set_running_or_notify_cancel():
            _pass_on(outer, inner)

    def _again(
        self,
        executor: Executor,
        error: BrokenProcessPool,
        outer: Future[Any],
        function: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        """Begin a task again in new workers."""
        try:
            self._replace(executor, error)
            self.notify(Retry(name_task(function, args), "its worker was lost", 2))
            self._send(outer, function, args)
        except Exception as failure:  # noqa: BLE001 - whoever waits for the task is told
            if outer.set_running_or_notify_cancel():
                outer.set_exception(failure)

    def _replace(self, executor: Executor, error: BrokenProcessPool) -> None:
        """Put new workers in the place of a broken executor, once for all its tasks."""
        with self._lock:
            if self._executor is executor:
                executor.shutdown(wait=True)
                self._executor = None
                self._lost += 1
                if self._lost <= REPLACEMENTS:
                    times = f"replaced {self._lost} of at most {REPLACEMENTS} times"
                    self.notify(Warned(f"a worker process was lost ({_why(error)}), {times}"))
            if self._lost > REPLACEMENTS:
                raise WorkersLost(
                    f"worker processes were lost {self._lost} times ({_why(error)})",
                    "workers that live until they are told to end",
                    "the system may have run out of memory: try --memory with less, or --workers 1",
                )

    def _start(self) -> Any:
        with self._lock:
            if self._closed:
                raise WorkersLost("the pool of workers is closed")
            if self._executor is None:
                self._executor = self._open()
            return self._executor

    def _open(self) -> Any:
        """Processes; where the system has no semaphores for them, a thread of this one, which is said."""
        from multiprocessing import resource_tracker

        from loky import ProcessPoolExecutor
        from loky.backend import get_context
        from loky.backend import resource_tracker as loky_tracker

        with environment(PYTHONSAFEPATH="1"):
            resource_tracker.ensure_running()  # it lifts the block of Ctrl-C where it is begun later
            loky_tracker.ensure_running()
        try:
            return ProcessPoolExecutor(
                max_workers=self.workers,
                context=get_context("loky"),
                env=ENVIRONMENT,
                initializer=start_worker,
                initargs=(os.getpid(), self._modules),
            )
        except OSError as error:
            reason = f"{error.strerror or error} where semaphores are made (/dev/shm)"
            self.notify(Warned(f"all work is done in one process: {reason}; it takes longer"))
            self.workers = 1
            return _OneThread(1)


class WorkspacePool:
    """A pool at work in one workspace: ``submit`` and ``map`` of the pool, under the workspace's lock."""

    def __init__(self, pool: Pool, lock: Path, wrapper: Callable[..., Any] = work_in) -> None:
        self.pool, self.lock, self.workers, self._wrapper = pool, str(lock), pool.workers, wrapper
        self._under_way = 0
        self._spare: deque[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._counting = threading.Lock()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run ``function(*args)`` in a worker."""
        with self._counting:
            self._under_way += 1
        future = self.pool.submit(self._wrapper, self.lock, function, *args)
        future.add_done_callback(self._end_one)
        return future

    def when_idle(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run ``function(*args)`` once a worker has nothing else to do, or at ``start_waiting``."""
        outer: Future[Any] = Future()
        self._spare.append((outer, function, args))
        return outer

    def start_waiting(self) -> None:
        """Begin all that waits for idle workers: it is needed now."""
        self._start_some(len(self._spare))

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """Results of ``function(task)`` in the order of the tasks."""
        return self.pool.map(function, tasks, self.submit)

    @property
    def abandoned(self) -> bool:
        """Whether all work of the pool was ended at once."""
        return self.pool.abandoned

    def abandon(self) -> None:
        """End all work of the pool at once: whoever waits for a task is told."""
        self.pool.abandon()

    def on_abandon(self, end: Callable[[], None]) -> None:
        """Have something else ended when all work of the pool is."""
        self.pool.on_abandon(end)

    def _end_one(self, _: Future[Any]) -> None:
        with self._counting:
            self._under_way -= 1
            idle = self.workers - self._under_way
        self._start_some(idle)

    def _start_some(self, most: int) -> None:
        """Begin some of what waits for idle workers."""
        while most > 0 and not self.pool.abandoned:
            with self._counting:
                if not self._spare:
                    return
                outer, function, args = self._spare.popleft()
            if outer.set_running_or_notify_cancel():
                most -= 1
                try:
                    self.submit(function, *args).add_done_callback(partial(_pass_on, outer))
                except WorkersLost as error:  # the pool was closed meanwhile
                    outer.set_exception(error)


class _OneThread(ThreadPoolExecutor):
    """Tasks one after the other in this process, with the ways of a pool of processes."""

    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False, kill_workers: bool = False
    ) -> None:
        """End; a task that has begun is waited for."""
        super().shutdown(wait, cancel_futures=cancel_futures or kill_workers)


@contextmanager
def _no_word_of_a_killed_pool() -> Iterator[None]:
    """Leave out of the log what loky's thread says when its queues close while it hands out work."""
    logger = logging.getLogger("concurrent.futures")

    def keep(record: logging.LogRecord) -> bool:
        return "executor manager thread" not in str(record.msg)

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes begun meanwhile never hear of Ctrl-C: it concerns their parent, which then ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pass_on(outer: Future[Any], inner: Future[Any]) -> None:
    """Give a future what became of another."""
    error = CancelledError() if inner.cancelled() else inner.exception()
    if error is None:
        outer.set_result(inner.result())
    else:
        outer.set_exception(error)


def available_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def name_task(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """What to call a task: its function, and the file that it is about where one is named."""
    if function in (work_in, work_in_once):  # a task in a workspace: its lock, then the task itself
        _, function, *rest = args
        args = tuple(rest)
    parts = [part for arg in args for part in (arg if isinstance(arg, tuple) else (arg,))]
    about = [getattr(part, "frame", part) for part in parts]
    names = [Path(getattr(part, "path", part)).name for part in about if _has_path(part)]
    return f"{function.__name__}({names[0]})" if names else function.__name__


def _has_path(part: Any) -> bool:
    return isinstance(getattr(part, "path", part), str | Path)


def _why(error: BaseException) -> str:
    """How a worker ended: its signal or exit code, where the message has it."""
    codes = re.findall(r"SIG\w+\(-\d+\)|EXIT\(\d+\)", str(error))
    return ", ".join(codes) or type(error).__name__
