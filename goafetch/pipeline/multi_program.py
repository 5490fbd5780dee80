"""Many programs in one command: each in a workspace of its own, all in the same workers, one index."""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from goafetch.config import INSTRUMENT, Settings, load_settings, parse_size
from goafetch.errors import FAILED, Failure, UsageError, as_failure
from goafetch.events import Fault, Notify, Refusal, silent
from goafetch.pipeline.resources import open_pool
from goafetch.pipeline.run import Request, make_request, run_job
from goafetch.pipeline.summary import RunReport
from goafetch.text import read_names

#: Programs at work at a time here, and workers of a cluster for each program more.
AT_ONCE, WORKERS_EACH = 2, 8
#: Seconds between looks at whether the run is to end.
LOOK_UP = 0.25


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


def run_many(
    targets: Iterable[str | Path],
    *,
    date: str | None = None,
    night: str | None = None,
    object: str | None = None,
    filter: str | None = None,
    instrument: str = INSTRUMENT,
    into: str | Path | None = None,
    parameters: Iterable[str] | Mapping[str, Any] = (),
    keep: Iterable[str] = (),
    recipe: str | Sequence[str] = (),
    catalog: str | Path = "auto",
    phot_catalog: str | Path = "auto",
    standards: str | Path | None = None,
    name: str = "",
    dry_run: bool = False,
    verify: bool = False,
    archive: str | None = None,
    workers: int | None = None,
    memory: str | int | None = None,
    cluster: str | None = None,
    notify: Notify = silent,
    command: str = "",
) -> list[RunReport | Failed]:
    """Reduce many programs in the same workers, each below ``into``, with one index for all reports.

    ``targets``: program IDs, folders, or '@FILE' for a list of them; the rest as for ``run``. A program that
    fails does not stop the others: a Failed stands in its place.
    """
    requests = many_requests(
        read_targets(targets),
        into,
        date=date,
        night=night,
        object=object,
        filter=filter,
        instrument=instrument,
        parameters=parameters,
        keep=keep,
        recipe=recipe,
        catalog=catalog,
        phot_catalog=phot_catalog,
        standards=standards,
        name=name,
        dry_run=dry_run,
        verify=verify,
        command=command,
    )
    size = parse_size(memory) if isinstance(memory, str) else memory
    root = Path(into) if into else None
    settings = load_settings(root, archive=archive, workers=workers, memory=size, cluster=cluster)
    reports = run_all(requests, settings, notify)
    if not requests[0].dry_run and not all(isinstance(report, Failed) for report in reports):
        write_index(Path(into or "."), requests, reports)
    return reports


def many_requests(targets: Iterable[str], into: str | Path | None, **choices: Any) -> list[Request]:
    """A request for each target, each once; with ``into`` each has a folder of its own name there."""
    requests = [make_request(target, **choices) for target in targets]
    if into is not None:
        requests = [replace(one, into=Path(into) / one.root.name) for one in requests]
    return each_apart(requests)


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
                        _run_one, request, settings, by_name(request.target, notify), pool, fetching
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


def write_index(folder: Path, requests: Sequence[Request], reports: Sequence[RunReport | Failed]) -> Path:
    """One page that leads to the report of every program."""
    from goafetch.report.page import ProgramEntry, make_index

    entries = []
    for request, report in zip(requests, reports, strict=True):
        if isinstance(report, Failed):
            entries.append(ProgramEntry(request.target, None, report.failure.found, True))
        else:
            entries.append(ProgramEntry(request.target, report.report, report.done, report.exit_code != 0))
    return make_index(folder, entries)


def _run_one(
    request: Request, settings: Settings, notify: Notify, pool: Any, fetching: threading.Lock
) -> RunReport | Failed:
    try:
        return run_job(request, settings, notify, pool, fetching)
    except Exception as error:  # told, listed, and ends with the exit code that it deserves
        if pool.abandoned:
            raise
        failure = as_failure(error)
        if failure is None:
            notify(Fault(traceback.format_exc()))
            failure = Failure(FAILED, f"unforeseen {type(error).__name__}: {error}")
        notify(Refusal(request.target, failure.found))
        return Failed(request.target, failure)


def by_name(program: str, notify: Notify) -> Notify:
    """A notify that says of which program an event is: programs may have groups and files of one name."""
    return lambda event: notify(replace(event, program=program))


def each_apart(requests: Sequence[Request]) -> list[Request]:
    """The requests, each once and each with a workspace of its own.

    Folders of one name take into that of their workspace as many of the folders above as tell them apart.
    """
    once: dict[str, Request] = {}
    for request in requests:
        once.setdefault(_target_of(request), request)
    plain = found = list(once.values())
    for depth in range(1, 1 + max(len(Path(request.target).resolve().parts) for request in plain)):
        places = Counter(map(_place, found))
        found = [
            _deeper(first, depth) if places[_place(now)] > 1 else now
            for first, now in zip(plain, found, strict=True)
        ]
    return found


def _target_of(request: Request) -> str:
    return request.target.upper() if request.is_program else str(Path(request.target).resolve())


def _place(request: Request) -> str:
    return str(request.root.resolve()).casefold()


def _deeper(request: Request, depth: int) -> Request:
    """The request of a folder with the names of some folders above it in that of its workspace."""
    root, folder = request.root, Path(request.target).resolve()
    if request.is_program or root.resolve() == folder:
        return request
    return replace(request, into=root.with_name("-".join([*folder.parts[1:-1][-depth:], root.name])))


def _read_list(path: Path) -> list[str]:
    try:
        return read_names(path.read_bytes(), f"the list {path}")
    except OSError as error:
        raise UsageError(f"the list {path} cannot be read: {error}", "one program ID a line") from error
