"""The page that leads from many programs to the report of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from goafetch import __version__
from goafetch.report.model import RunSummary
from goafetch.report.page import render
from goafetch.workspace import write_atomically


@dataclass(frozen=True)
class Entry:
    """A program on the index: its name, its report (None: there is none), and what became of it."""

    program: str
    page: Path | None
    told: str
    failed: bool


def make_index(folder: Path, entries: Sequence[Entry]) -> Path:
    """Write report/index.html below ``folder``, with a link to each program's own report."""
    place = folder / "report"
    place.mkdir(parents=True, exist_ok=True)
    links = [(entry, os.path.relpath(entry.page, place) if entry.page else "") for entry in entries]
    page = place / "index.html"
    write_atomically(page, render("programs.html", links=links, summary=RunSummary("", version=__version__)))
    return page
