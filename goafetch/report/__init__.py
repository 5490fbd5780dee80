"""The HTML report of a run and its pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goafetch.report.page import make_report

__all__ = ["make_report"]


def __getattr__(name: str) -> Any:
    """Import what draws only when it is asked for."""
    if name in __all__:
        from goafetch.report import page

        return getattr(page, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
