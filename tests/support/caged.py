"""Limits within which every fuzzed case must end: seconds, memory, and errors of the house alone."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from goafetch.config import load_settings
from goafetch.events import Event, Fault, Notify, silent
from goafetch.pipeline.run import make_request, run_job
from goafetch.pipeline.summary import RunReport

SECONDS, MEMORY = 10, 1_500_000_000


class Here:
    """A pool whose tasks run in this process, one after the other."""

    abandoned = False

    def __init__(self, workers: int = 0) -> None:
        self.workers = 1

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        return map(function, tasks)

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(function(*args))
        except Exception as error:  # noqa: BLE001 - handed on to who asks for the result
            done.set_exception(error)
        return done

    def when_idle(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        return self.submit(function, *args)

    def in_workspace(self, _lock: Path) -> Here:
        return self

    def on_abandon(self, _: object) -> None:
        """Nobody abandons it."""

    def close(self) -> None:
        pass

    start = abandon = start_waiting = close

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def run_here(
    target: str | Path, *, archive: str | None = None, notify: Notify = silent, **choices: Any
) -> RunReport:
    """``goafetch.run`` in this process: without workers, whose start takes longer than what many tests do."""
    request = make_request(target, **choices)
    return run_job(request, load_settings(request.root, archive=archive), notify, Here())


class TooLong(BaseException):
    """A case that did not end in time; no `except Exception` can hide it."""


@contextmanager
def memory_limit(more: int = MEMORY) -> Iterator[None]:
    """No more address space than there is now and so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def time_limit(seconds: int = SECONDS) -> Iterator[None]:
    """TooLong after so many seconds of this process's own time, or many more by the clock.

    The clock alone would blame a case for what else the machine has to do.
    """

    def ring(*_: object) -> None:
        raise TooLong(f"did not end within {seconds} s")

    clocks = (
        (signal.SIGPROF, signal.ITIMER_PROF, seconds),
        (signal.SIGALRM, signal.ITIMER_REAL, 12 * seconds),
    )
    before = [(name, signal.signal(name, ring)) for name, _, _ in clocks]
    for _, clock, limit in clocks:
        signal.setitimer(clock, limit)
    try:
        yield
    finally:
        for _, clock, _ in clocks:
            signal.setitimer(clock, 0)
        for name, handler in before:
            signal.signal(name, handler)


def refuse_faults(event: Event, /) -> None:
    """A notify for which an unforeseen error, though survived, is a failure of the test."""
    if isinstance(event, Fault):
        raise Unforeseen(event.trace)


class Unforeseen(BaseException):
    """An error outside the error tree that the program survived."""
