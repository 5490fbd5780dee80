"""Raw files from the archive for a run, with every choice told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from goafetch.config import Settings
from goafetch.events import Notify
from goafetch.workspace import Workspace

if TYPE_CHECKING:
    from goafetch.archive.associate import Association
    from goafetch.archive.download import FetchReport
    from goafetch.archive.job import Options
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
    criteria: Criteria, workspace: Workspace, settings: Settings, notify: Notify, options: Options
) -> Obtained:
    """Search the archive, associate calibrations, fetch what is not in playdata/ yet, renew the lock."""
    from goafetch.archive.job import SOUGHT, bring, connect

    client = connect(settings, notify)
    options = replace(options, connections=settings.connections, workers=settings.workers)
    brought = bring(client, workspace, criteria, options, notify)
    gathered = brought.gathered
    found = sum(role == SOUGHT for role in gathered.roles.values())
    notify("decision", what=f"{found} files of {criteria.program}", reason=f"archive query {gathered.query}")
    _tell(gathered.association, notify)
    files = (workspace.playdata / record.name for record in gathered.records)
    return Obtained(settings.archive, gathered.query, tuple(f for f in files if f.exists()), brought.report)


def _tell(calibrations: Association, notify: Notify) -> None:
    """Say how many calibrations of each kind were taken and why, and what was not."""
    for kind in dict.fromkeys(calibrations.kinds.values()):
        names = [name for name, its_kind in calibrations.kinds.items() if its_kind == kind]
        why = dict.fromkeys(calibrations.reasons.get(name, "") for name in names)
        files = "1 file" if len(names) == 1 else f"{len(names)} files"
        notify("decision", what=f"{files} of kind {kind}", reason="; ".join(filter(None, why)))
    for record, reason in calibrations.rejected:
        notify("info", text=f"not fetched {record.name}: {reason}")
