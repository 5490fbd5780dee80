"""Pages of HTML from their templates."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from goafetch.events import what, why

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
