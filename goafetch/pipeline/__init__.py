"""Where archive, store and reducer meet: a program ID or a folder in, products and a report out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from goafetch.config import Settings, load_settings, parse_size
from goafetch.events import Notify, silent
from goafetch.pipeline.job import Request, run_job
from goafetch.pipeline.many import Failed, each_apart, index_of, read_targets, run_all
from goafetch.pipeline.result import RunReport

__all__ = ["Failed", "Request", "RunReport", "read_targets", "run", "run_job", "run_many"]


def run(
    target: str | Path,
    *,
    into: str | Path | None = None,
    archive: str | None = None,
    workers: int | None = None,
    memory: str | int | None = None,
    cluster: str | None = None,
    notify: Notify = silent,
    **choices: Any,
) -> RunReport:
    """Reduce a program (fetched from the archive) or a folder of raw files to stacked images.

    ``date``: UTC 'YYYYMMDD' or 'YYYYMMDD-YYYYMMDD'; ``night``: the date in file names; ``object``,
    ``filter``: only these. ``parameters``: 'step:name=value' texts, or a mapping of 'step:name' to values.
    ``keep``: steps whose frames stay. ``dry_run``: only say what would be done; ``verify``: hash every file
    again.
    ``memory``: bytes, or a text such as '1500M'. ``cluster``: address of a dask scheduler, or 'local' (from
    a script of your own, below ``if __name__ == "__main__":``).
    ``catalog``: what positions are tied to, 'auto' (Gaia, else 2MASS), 'gaia', '2mass', 'none' or a file;
    ``phot_catalog``: magnitudes of stars in the field, 'auto', '2mass', 'none' or a file; ``standards``: a
    file with magnitudes of standard stars.
    Raises GoafetchError (or an error of the reducer or store) where nothing could be done; what was
    refused is in the report.
    """
    request = make_request(target, into=into, **choices)
    settings = _settings(request.workspace.root, archive, workers, memory, cluster)
    return run_job(request, settings, notify)


def run_many(
    targets: Iterable[str | Path],
    *,
    into: str | Path | None = None,
    archive: str | None = None,
    workers: int | None = None,
    memory: str | int | None = None,
    cluster: str | None = None,
    notify: Notify = silent,
    **choices: Any,
) -> list[RunReport | Failed]:
    """Reduce many programs in the same workers, each below ``into``, with one index for all reports.

    ``targets``: program IDs, folders, or '@FILE' for a list of them; the rest as for ``run``. A program that
    fails does not stop the others: a Failed stands in its place.
    """
    requests = many_requests(read_targets(targets), into, **choices)
    settings = _settings(Path(into) if into else None, archive, workers, memory, cluster)
    reports = run_all(requests, settings, notify)
    if not requests[0].dry_run and not all(isinstance(report, Failed) for report in reports):
        index_of(Path(into or "."), requests, reports)
    return reports


def make_request(
    target: str | Path,
    *,
    into: str | Path | None = None,
    parameters: Iterable[str] | Mapping[str, Any] = (),
    keep: Iterable[str] = (),
    **choices: Any,
) -> Request:
    """A request from what a user gives; ``choices`` are the other fields of Request."""
    from reducer.parameters import parse

    pairs = parameters.items() if isinstance(parameters, Mapping) else map(_split, parameters)
    chosen = parse([*pairs, *((f"{step}:write_outputs", True) for step in keep)])
    return Request(str(target), into=Path(into) if into else None, parameters=chosen, **choices)


def many_requests(targets: Iterable[str], into: str | Path | None, **choices: Any) -> list[Request]:
    """A request for each target, each once; with ``into`` each has a folder of its own name there."""
    requests = [make_request(target, **choices) for target in targets]
    if into is not None:
        requests = [replace(one, into=Path(into) / one.workspace.root.name) for one in requests]
    return each_apart(requests)


def _settings(
    workspace: Path | None,
    archive: str | None,
    workers: int | None,
    memory: str | int | None,
    cluster: str | None,
) -> Settings:
    size = parse_size(memory) if isinstance(memory, str) else memory
    return load_settings(workspace, archive=archive, workers=workers, memory=size, cluster=cluster)


def _split(text: str) -> tuple[str, str]:
    from goafetch.errors import UsageError

    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} sets nothing", "STEP:PARAM=VALUE, such as skyCorrect:offset_sky=False")
    return name, value
