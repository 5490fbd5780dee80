"""The HTML report of a run and its pictures."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goafetch.report.notebook import view
    from goafetch.report.page import make_report

__all__ = ["make_report", "view"]

_PLACES = {"make_report": "goafetch.report.page", "view": "goafetch.report.notebook"}


def __getattr__(name: str) -> Any:
    """Import what draws only when it is asked for."""
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
