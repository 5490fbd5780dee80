"""A cluster of dask workers in the place of the local pool: the same tasks over a shared folder."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from goafetch.engine.pool import (
    ENVIRONMENT,
    Pool,
    WorkersLost,
    WorkspacePool,
    name_task,
    start_worker,
    work_in,
    work_in_once,
)
from goafetch.errors import GoafetchError, UsageError
from goafetch.events import Notify, Retry, Warned, silent
from goafetch.system import environment, set_environment

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

#: The address that stands for a cluster of our own on this machine.
LOCAL = "local"
#: Seconds within which a scheduler must answer, and its first worker must be there.
ANSWER, FIRST_WORKER = 5, 120


class ClusterError(GoafetchError):
    """A cluster cannot be reached or used."""


class Cluster(Pool):
    """Dask workers behind the pool's ``submit`` and ``map``; the scheduler redoes what a lost worker held.

    ``address``: of a scheduler ('tcp://host:8786'), or 'local' for one on this machine with ``workers``
    processes of one thread each. Raises ClusterError where it cannot be reached or has no workers.
    """

    def __init__(
        self, address: str, workers: int = 0, notify: Notify = silent, modules: tuple[str, ...] = ()
    ) -> None:
        super().__init__(workers, notify, modules)
        self.address = address
        self._before = {name: os.environ.get(name) for name in ENVIRONMENT}  # dask sets them here too
        self._cluster = _start_local(self.workers) if address == LOCAL else None
        self._client = _connect(self._cluster or address, address, self.workers if self._cluster else 1)
        self._client.subscribe_topic("all", self._on_event)
        if self._cluster is not None:
            self._client.register_plugin(_own_worker(os.getpid(), modules))
        self.workers = max(sum(self._client.nthreads().values()), 1)

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run ``function(*args)`` in a worker; the scheduler gives it to another if that one is lost."""
        key = f"{name_task(function, args)}-{uuid4().hex}"
        outer: Future[Any] = Future()
        inner = self._client.submit(function, *args, key=key, pure=False)
        outer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
        inner.add_done_callback(lambda done: _pass_on(done, outer))
        return outer

    def in_workspace(self, lock: Path) -> WorkspacePool:
        """The cluster for work in one workspace; workers that outlive the run hold its lock by the task."""
        return WorkspacePool(self, lock.absolute(), work_in if self._cluster is not None else work_in_once)

    def run_on_workers(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """What ``function(*args)`` gives on each worker, by the worker's address."""
        answers: dict[str, Any] = self._client.run(function, *args)
        return answers

    def close(self, *, at_once: bool = False) -> None:
        """Leave the cluster; end it if it is our own."""
        if self._closed:
            return
        self._closed = True
        self._client.unsubscribe_topic("all")
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()
            set_environment(self._before)

    def _on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        """Tell which tasks begin again when the scheduler has lost a worker."""
        facts = event[1]
        if facts.get("action") != "remove-worker" or facts.get("expected") or self._closed:
            return
        lost = [*facts.get("processing-tasks", ()), *facts.get("lost-computed-tasks", ())]
        self.notify(Warned(f"the worker {facts['worker']} was lost; others do its {len(lost)} tasks"))
        for key in lost:
            name = str(key).rpartition("-")[0]
            self.notify(Retry(name, f"its worker {facts['worker']} was lost", 2))


def _start_local(workers: int) -> LocalCluster:
    _need_distributed()
    import dask
    from distributed import LocalCluster

    try:
        with environment(PYTHONSAFEPATH="1"):
            multiprocessing.get_context("spawn").Lock()
    except OSError as error:
        raise ClusterError(
            f"{error.strerror} where semaphores are made (/dev/shm)",
            "a place for them",
            "leave --cluster out",
        ) from error
    # Dask's own choice gives memory back with every array.
    dask.config.set({"distributed.nanny.pre-spawn-environ": ENVIRONMENT})
    # Begun without workers: on a busy machine they may be slow, and those who wait for them set a limit.
    cluster = LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        processes=True,
        memory_limit=None,  # tasks are cut to the memory that the user allows
        dashboard_address=None,
        scheduler_kwargs={
            "dashboard_address": "127.0.0.1:0"
        },  # its health page: any port, nobody from outside
        silence_logs=logging.CRITICAL,
    )
    cluster.scale(workers)
    return cluster


def _connect(place: Any, address: str, workers: int) -> Client:
    """A client of the scheduler, once it has so many workers."""
    _need_distributed()
    import dask
    from distributed import Client

    # Tasks with pixels in them are meant: a strip of a stack is looked through where there is a core free.
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"})
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what concerns the user is told in our words
    try:
        if place == address:
            asyncio.run(_check_answers(address))
        client = Client(place, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no dask scheduler answers at {address}",
            "the address that `dask scheduler` prints, such as tcp://host:8786, or 'local'",
            "see whether it runs, and whether this machine may reach it",
        ) from error
    try:
        client.wait_for_workers(workers, timeout=FIRST_WORKER)
    except TimeoutError as error:
        client.close()
        raise ClusterError(
            f"the scheduler at {address} lacked workers for {FIRST_WORKER} s",
            f"at least {workers}",
            "start workers, or wait until the queue of the cluster has started them",
        ) from error
    return client


async def _check_answers(address: str) -> None:
    """See whether anybody answers: a client that finds nobody would go on trying when it is thrown away."""
    from distributed.comm import connect

    comm = await connect(address, timeout=ANSWER)
    await comm.close()


def _need_distributed() -> None:
    try:
        import distributed  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise UsageError(
            "--cluster needs the package distributed",
            "the extra packages for clusters",
            "pip install 'goafetch[cluster]'",
        ) from error


def _own_worker(parent: int, modules: tuple[str, ...]) -> Any:
    """What makes the workers of our own cluster, later ones too, watch this process."""
    from distributed import WorkerPlugin

    class OwnWorker(WorkerPlugin):  # type: ignore[misc]
        name = "goafetch"

        def setup(self, worker: Any) -> None:
            start_worker(parent, modules)

    return OwnWorker()


def _pass_on(inner: Any, outer: Future[Any]) -> None:
    """Fetch what became of a task, and let the cluster forget it."""
    from distributed import KilledWorker

    if not outer.set_running_or_notify_cancel():
        return
    try:
        outer.set_result(inner.result())
    except KilledWorker as error:
        outer.set_exception(_lost(f"every worker that had {error.task} was lost"))
    except CancelledError:
        outer.set_exception(_lost("the scheduler gave a task up, or is gone"))
    except Exception as error:  # noqa: BLE001 - whoever waits for the task gets it
        outer.set_exception(error)
    finally:
        inner.release()


def _lost(found: str) -> WorkersLost:
    return WorkersLost(
        found,
        "a scheduler and workers that live as long as the run",
        "repeat the command: it goes on from what is finished",
    )
