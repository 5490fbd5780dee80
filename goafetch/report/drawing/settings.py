"""matplotlib as it is delivered: no setting of the user's, file or notebook, reaches a report."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from contextlib import chdir, nullcontext
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from goafetch.folders import environment, scratch

P = ParamSpec("P")
R = TypeVar("R")
_once = threading.Lock()


def drawn_plainly(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw with matplotlib's own settings; those that it found are back afterwards."""

    @functools.wraps(function)
    def draw(*args: P.args, **named: P.kwargs) -> R:
        matplotlib = _import()
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            return function(*args, **named)

    return draw


def _import() -> Any:
    """matplotlib; imported here, it reads no file of the user's and keeps its list of fonts in our cache."""
    with _once:
        if "matplotlib.font_manager" not in sys.modules:
            own = scratch() / "matplotlib"
            away = chdir(scratch()) if Path("matplotlibrc").exists() else nullcontext()
            with environment(MPLBACKEND="agg", MPLCONFIGDIR=str(own), MATPLOTLIBRC=None), away:
                import matplotlib.font_manager
        import matplotlib
    return matplotlib
