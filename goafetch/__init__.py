"""From a Gemini program ID to a stacked, calibrated GSAOI image with one command."""

import sys

if sys.argv[0] == "-m" and "goafetch" in sys.orig_argv and not sys.flags.safe_path:
    del sys.path[0]  # `python -m goafetch` imports nothing from the folder that one works in

import importlib
from typing import Any

from goafetch.folders import place_kernels

__version__ = "0.1.0"

place_kernels()

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
