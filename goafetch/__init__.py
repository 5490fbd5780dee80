"""From a Gemini program ID to a stacked, calibrated GSAOI image with one command."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PLACES = {"run": "goafetch.pipeline", "view": "goafetch.report"}


def __getattr__(name: str) -> Any:
    """``run`` does the main job, ``view`` shows a product; what is heavy is imported when it is asked for."""
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
