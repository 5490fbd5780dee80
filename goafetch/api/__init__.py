"""The names of the GSAOI tutorial's Python chapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goafetch.api.reduce import Reduce

__all__ = ["Reduce", "cal_service", "dataselect", "disco", "disco_pars", "logutils"]


def __getattr__(name: str) -> Any:
    """Import each name when it is first asked for, so that importing this package costs nothing."""
    from importlib import import_module

    if name == "Reduce":
        return import_module("goafetch.api.reduce").Reduce
    if name in __all__:
        return import_module(f"goafetch.api.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
