"""From a Gemini program ID to a stacked, calibrated GSAOI image with one command."""

import sys

_name = (sys.argv or [""])[0]
_called_by_m = _name == "-m" and "goafetch" in sys.orig_argv
if _called_by_m and not sys.flags.safe_path:
    del sys.path[0]  # `python -m goafetch` imports nothing from the folder that one works in
if _called_by_m or _name.endswith(("/goafetch", "/goafetch/__main__.py")):
    from goafetch.system import leave_at_once

    leave_at_once()

import importlib  # noqa: E402 - what is above comes first
from typing import Any  # noqa: E402

from goafetch.system import place_kernels  # noqa: E402

__version__ = "0.2.0.dev0"

place_kernels()

_PLACES = {
    "run": "goafetch.pipeline.run",
    "search": "goafetch.archive.job",
    "fetch": "goafetch.archive.job",
    "view": "goafetch.report.pictures",
    "watch": "goafetch.console.terminal",
}


def __getattr__(name: str) -> Any:
    """``run``, ``search``, ``fetch`` do the jobs of the commands, ``view`` shows a product, ``watch`` a run.

    What is heavy is imported when it is asked for.
    """
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What a user calls, for completion in notebooks."""
    return sorted([*_PLACES, "__version__"])
