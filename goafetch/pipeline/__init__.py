"""Where archive, store and reducer meet: a program ID or a folder in, products and a report out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from goafetch.config import load_settings
from goafetch.events import Notify, silent
from goafetch.pipeline.job import Request, run_job
from goafetch.pipeline.result import RunReport

__all__ = ["Request", "RunReport", "run", "run_job"]


def run(
    target: str | Path,
    *,
    date: str | None = None,
    night: str | None = None,
    object: str | None = None,
    filter: str | None = None,
    into: str | Path | None = None,
    archive: str | None = None,
    dry_run: bool = False,
    parameters: Iterable[str] | Mapping[str, Any] = (),
    verify: bool = False,
    keep: Iterable[str] = (),
    workers: int | None = None,
    notify: Notify = silent,
    command: str = "",
) -> RunReport:
    """Reduce a program (fetched from the archive) or a folder of raw files to stacked images.

    ``date``: UTC 'YYYYMMDD' or 'YYYYMMDD-YYYYMMDD'; ``night``: the date in file names. ``parameters``:
    'step:name=value' texts, or a mapping of 'step:name' to values. ``keep``: steps whose frames stay.
    Raises GoafetchError (or an error of the reducer or store) where nothing could be done; what was
    refused is in the report.
    """
    from reducer.parameters import parse

    pairs = parameters.items() if isinstance(parameters, Mapping) else map(_split, parameters)
    chosen = parse([*pairs, *((f"{step}:write_outputs", True) for step in keep)])
    request = Request(
        str(target),
        date,
        night,
        object,
        filter,
        Path(into) if into else None,
        chosen,
        dry_run,
        verify,
        command,
    )
    settings = load_settings(request.workspace.root, archive=archive, workers=workers)
    return run_job(request, settings, notify)


def _split(text: str) -> tuple[str, str]:
    from goafetch.errors import UsageError

    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} sets nothing", "STEP:PARAM=VALUE, such as skyCorrect:offset_sky=False")
    return name, value
