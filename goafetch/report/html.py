"""Pages of HTML from their templates, and the one that leads from many programs to the report of each."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goafetch import __version__
from goafetch.report.model import RunSummary
from goafetch.words import what, why
from goafetch.workspace import write_atomically

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

#: An option of a command in a sentence.
OPTION = re.compile(r"--[a-z]+(-[a-z]+)*( FILE)?")


def render(template: str, **facts: Any) -> str:
    """A page of HTML from its template; names of files that are no text are told in escapes."""
    page = _environment().get_template(template).render(**facts)
    return page.encode("utf-8", "backslashreplace").decode()


def mark_options(text: str) -> Markup:
    """Text as HTML in which options of commands, with the file they take, are never broken."""
    from markupsafe import Markup, escape

    return Markup(OPTION.sub(r'<code class="option">\g<0></code>', str(escape(text))))  # noqa: S704 - escaped


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("goafetch.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"options": mark_options, "what": what, "why": why}
    files = resources.files("goafetch.report") / "templates"
    for name in ("style.css", "viewer.js"):
        key = name.replace(".", "_")
        environment.globals[key] = (files / name).read_text(encoding="utf-8")
    return environment


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
