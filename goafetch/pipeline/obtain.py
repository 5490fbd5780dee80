"""Raw files from the archive: search, associate, fetch what is missing, and write down exact versions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from goafetch.config import Settings
from goafetch.events import Notify
from goafetch.workspace import Verified, Workspace

if TYPE_CHECKING:
    from goafetch.archive.associate import Association
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
        return [name for name, _ in (*self.report.withheld, *self.report.failed)]


def obtain(
    criteria: Criteria,
    workspace: Workspace,
    settings: Settings,
    verified: Verified,
    notify: Notify,
    *,
    dry_run: bool = False,
) -> Obtained:
    """Search the archive, associate calibrations, and fetch what is not in playdata/ yet."""
    from goafetch.archive.associate import associate
    from goafetch.archive.client import ArchiveClient
    from goafetch.archive.download import fetch
    from goafetch.archive.query import build_query
    from goafetch.archive.search import nothing_found, search

    client = ArchiveClient(settings.archive, settings.token, notify)
    found = search(client, criteria)
    if not found.records:
        raise nothing_found(client, build_query(criteria))
    query = "/".join(found.query.words)
    notify(
        "decision", what=f"{len(found.records)} files of {criteria.program}", reason=f"archive query {query}"
    )
    calibrations = associate(client, found.records)
    _tell(calibrations, [*found.warnings, *calibrations.warnings], notify)
    records = [*found.records, *calibrations.files]
    report = fetch(
        client,
        records,
        workspace.playdata,
        dry_run=dry_run,
        connections=settings.connections,
        workers=settings.workers,
        verified=verified,
        notify=notify,
    )
    files = (workspace.playdata / record.name for record in records)
    return Obtained(settings.archive, query, tuple(f for f in files if f.exists()), report)


def _tell(calibrations: Association, warnings: Iterable[str], notify: Notify) -> None:
    """Say how many calibrations of each kind were taken and why, and what was not."""
    for kind in dict.fromkeys(calibrations.kinds.values()):
        names = [name for name, its_kind in calibrations.kinds.items() if its_kind == kind]
        why = dict.fromkeys(calibrations.reasons.get(name, "") for name in names)
        notify("decision", what=f"{len(names)} files of kind {kind}", reason="; ".join(filter(None, why)))
    for record, reason in calibrations.rejected:
        notify("info", text=f"not fetched {record.name}: {reason}")
    for text in warnings:
        notify("warning", text=text)
