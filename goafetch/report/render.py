"""Pages of HTML from the templates beside."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from goafetch.events import what, why
from goafetch.text import mark_options

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **facts: Any) -> str:
    """A page of HTML from its template; names of files that are no text are told in escapes."""
    page = _environment().get_template(template).render(**facts)
    return page.encode("utf-8", "backslashreplace").decode()


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
