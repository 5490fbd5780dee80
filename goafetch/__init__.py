"""From a Gemini program ID to a stacked, calibrated GSAOI image with one command."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "run": "goafetch.pipeline",
    "search": "goafetch.archive.job",
    "fetch": "goafetch.archive.job",
    "view": "goafetch.report",
    "watch": "goafetch.console.notebook",
}


def __getattr__(name: str) -> Any:
    """``run``, ``search``, ``fetch`` do the jobs of the commands, ``view`` shows a product, ``watch`` a run.

    What is heavy is imported when it is asked for.
    """
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
