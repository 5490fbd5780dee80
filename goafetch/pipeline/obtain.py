"""Raw files from the archive: search, associate, fetch what is missing, and write down exact versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from goafetch.config import Settings
from goafetch.errors import NothingFound
from goafetch.events import Notify
from goafetch.workspace import Workspace

if TYPE_CHECKING:
    from goafetch.archive.download import FetchReport
    from goafetch.archive.query import Criteria


@dataclass(frozen=True)
class Obtained:
    """What a program brought: raw files in playdata/, the query that found them, what could not be had."""

    archive: str
    query: str
    files: tuple[Path, ...]
    report: FetchReport

    @property
    def missing(self) -> list[str]:
        """Names of files that were sought and could not be had."""
        return [*self.report.withheld, *self.report.failed]


def obtain(
    criteria: Criteria, workspace: Workspace, settings: Settings, notify: Notify, *, dry_run: bool = False
) -> Obtained:
    """Search the archive, associate calibrations, and fetch what is not in playdata/ yet."""
    from goafetch.archive.associate import associate
    from goafetch.archive.client import ArchiveClient
    from goafetch.archive.download import fetch
    from goafetch.archive.search import search

    client = ArchiveClient(settings.archive, settings.token, notify)
    found = search(client, criteria)
    if not found.records:
        raise _nothing(criteria, settings.archive)
    notify("decision", what=f"{len(found.records)} files of {criteria.program}", reason=found.query)
    calibrations = associate(client, found.records)
    records = [*found.records, *calibrations.files]
    report = fetch(
        client, records, workspace.playdata, dry_run=dry_run, connections=settings.connections, notify=notify
    )
    files = tuple(workspace.playdata / record.name for record in records)
    return Obtained(settings.archive, found.query, tuple(f for f in files if f.exists()), report)


def _nothing(criteria: Criteria, archive: str) -> NothingFound:
    when = (
        f" on {criteria.date}"
        if criteria.date
        else f" in the night {criteria.night}"
        if criteria.night
        else ""
    )
    return NothingFound(
        f"the archive at {archive} has no GSAOI files of {criteria.program}{when}",
        "a program that has taken data with GSAOI, and dates on which it did (UTC)",
        f"look what there is: goafetch search {criteria.program}",
    )
