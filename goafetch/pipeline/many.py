"""Many programs in one command: each in a workspace of its own, all in the same workers, one index."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from goafetch.config import Settings
from goafetch.errors import FAILED, Failure, UsageError, describe
from goafetch.events import Notify
from goafetch.pipeline.job import Request, run_job
from goafetch.pipeline.places import open_pool
from goafetch.pipeline.result import RunReport
from goafetch.text import read_names

#: Programs at work at a time here, and workers of a cluster for each program more.
AT_ONCE, WORKERS_EACH = 2, 8
#: Seconds between looks at whether the run is to end.
LOOK_UP = 0.25
#: Events whose names are told together with the program's.
NAMED = ("stage", "progress", "done")


@dataclass(frozen=True)
class Failed:
    """A program that could not be run at all, and why."""

    program: str
    failure: Failure

    @property
    def exit_code(self) -> int:
        """What a shell gets."""
        return self.failure.exit_code

    def as_document(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"program": self.program, "error": asdict(self.failure)}


def read_targets(words: Iterable[str | Path]) -> list[str]:
    """Programs and folders as typed, '@FILE' replaced by what it lists, each once.

    A list has one a line; '#' begins a comment. Raises UsageError where it cannot be read.
    """
    found: dict[str, None] = {}
    for word in map(str, words):
        if word.startswith("@"):
            found |= dict.fromkeys(_read_list(Path(word[1:])))
        else:
            found[word] = None
    if not found:
        raise UsageError("no program is named", "at least one program ID, or a folder")
    return list(found)


def run_all(requests: Sequence[Request], settings: Settings, notify: Notify) -> list[RunReport | Failed]:
    """Run every request; one that fails does not stop the others."""
    fetching = threading.Lock()
    with open_pool(settings, notify) as pool:
        at_once = max(AT_ONCE, pool.workers // WORKERS_EACH)
        with ThreadPoolExecutor(at_once) as threads:
            try:
                runs = [
                    threads.submit(
                        _run_one, request, settings, _by_name(request.target, notify), pool, fetching
                    )
                    for request in requests
                ]
                # A Ctrl-C that the system gave to another thread is seen when this one looks up.
                while wait(runs, LOOK_UP).not_done:
                    pass
                return [each.result() for each in runs]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                pool.abandon()
                raise


def index_of(folder: Path, requests: Sequence[Request], reports: Sequence[RunReport | Failed]) -> Path:
    """One page that leads to the report of every program."""
    from goafetch.report.programs import Entry, make_index

    entries = []
    for request, report in zip(requests, reports, strict=True):
        if isinstance(report, Failed):
            entries.append(Entry(request.target, None, report.failure.found, True))
        else:
            told = report.conclusion().partition(" Report:")[0]
            entries.append(Entry(request.target, report.report, told, report.exit_code != 0))
    return make_index(folder, entries)


def _run_one(
    request: Request, settings: Settings, notify: Notify, pool: Any, fetching: threading.Lock
) -> RunReport | Failed:
    try:
        return run_job(request, settings, notify, pool, fetching)
    except Exception as error:  # told, listed, and ends with the exit code that it deserves
        if pool.abandoned:
            raise
        failure = describe(error)
        if failure is None:
            notify("fault", trace=traceback.format_exc())
            failure = Failure(FAILED, f"unforeseen {type(error).__name__}: {error}")
        notify("refused", name=request.target, reason=failure.found)
        return Failed(request.target, failure)


def _by_name(program: str, notify: Notify) -> Notify:
    """A notify that says of which program a stage is."""

    def tell(event: str, /, **facts: object) -> None:
        if event in NAMED:
            facts["name"] = f"{program}: {facts['name']}"
        notify(event, **facts)

    return tell


def _read_list(path: Path) -> list[str]:
    try:
        return read_names(path.read_bytes(), f"the list {path}")
    except OSError as error:
        raise UsageError(f"the list {path} cannot be read: {error}", "one program ID a line") from error
