"""A local pool of worker processes that never import the user's script and end when their parent does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

#: Threads inside a worker would compete with the other workers.
ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
}


class Pool:
    """Worker processes behind ``submit`` and an ordered ``map``; started when first used.

    ``workers``: number of processes, 0 for one per core that this process may use.
    """

    def __init__(self, workers: int = 0) -> None:
        self.workers = workers or available_cores()
        self._executor: Executor | None = None

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run ``function(*args)`` in a worker."""
        return self._start().submit(function, *args)

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """Results of ``function(task)`` in the order of the tasks."""
        futures = [self.submit(function, task) for task in tasks]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """End the workers."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> Executor:
        if self._executor is None:
            from loky import ProcessPoolExecutor

            self._executor = ProcessPoolExecutor(
                max_workers=self.workers,
                context=_context(),
                env=ONE_THREAD,
                initializer=watch,
                initargs=(os.getpid(),),
            )
        return self._executor


def available_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def watch(parent: int) -> None:
    """In a worker: end at once when the parent is gone, even in the middle of a task."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.25)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _context() -> Any:
    from loky.backend import get_context

    return get_context("loky")
