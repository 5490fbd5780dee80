"""The running commentary of a job in a notebook: bars that move, and decisions with their reasons."""

from __future__ import annotations

import html
import importlib
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from goafetch.console.output import as_text
from goafetch.console.terminal import Terminal, about
from goafetch.events import Notify

#: Seconds between two pictures of the same cell: a browser need not draw every block of rows.
EVERY = 0.2


def watch(*, verbose: bool = False) -> Notify:
    """What to pass as ``notify``: bars in a notebook's cell, plain lines on standard error elsewhere.

    >>> run("GS-2017A-Q-29", date="20170504-20170505", notify=watch())  # doctest: +SKIP
    """
    return Cell(verbose=verbose) if in_notebook() else Terminal(verbose=verbose)


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this: IPython is there, and it has a front end."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


@dataclass
class Cell:
    """One cell of a notebook: a line for each decision, warning and finished stage, a bar for what runs."""

    verbose: bool = False
    lines: list[str] = field(default_factory=list)
    bars: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    _shown: Any = None
    _last: float = 0.0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __call__(self, event: str, /, **facts: object) -> None:
        """Take one event, and draw the cell again if it is time."""
        with self._lock:
            self._take(event, facts)
            now = time.monotonic()
            if event == "done" or now - self._last > EVERY:
                self._last = now
                self._draw()

    def _take(self, event: str, facts: dict[str, Any]) -> None:
        name, group = as_text(facts.get("name")), as_text(facts.get("group"))
        if event == "stage":
            self.bars[name] = (0, facts.get("total"))
        elif event == "step":
            self.steps[group] = about(group, name)
        elif event == "progress" and name in self.bars:
            self.bars[name] = (facts.get("done", 0), facts.get("total") or self.bars[name][1])
        elif event == "done" and name in self.bars:
            del self.bars[name]
            self.steps.pop(group, None)
            self._say("✓", name)
        elif event == "decision":
            reason = facts.get("reason")
            self._say("→", about(group, as_text(facts["what"]) + (f": {as_text(reason)}" if reason else "")))
        elif event == "warning":
            self._say("!", f"warning: {about(group, as_text(facts['text']))}")
        elif event == "refused":
            self._say("✗", f"left out {name}: {as_text(facts.get('reason'))}")
        elif event in ("made", "reused") and self.verbose:
            self._say("·", f"{event} {as_text(facts['path'])}")

    def _say(self, mark: str, text: str) -> None:
        self.lines.append(f"{mark} {text}")

    def as_html(self) -> str:
        """The cell as it stands."""
        bars = "".join(_bar(name, done, total) for name, (done, total) in self.bars.items())
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in self.lines)
        steps = "".join(f"<div>· {html.escape(step)}</div>" for step in self.steps.values())
        return f"<div>{lines}{bars}{steps}</div>"

    def _draw(self) -> None:
        display = importlib.import_module("IPython.display")
        page = display.HTML(self.as_html())
        if self._shown is None:
            self._shown = display.display(page, display_id=True)
        else:
            self._shown.update(page)


def _bar(name: str, done: float, total: float | None) -> str:
    """A bar as browsers draw it; one without a known end says only that something runs."""
    if total is None:
        return f"<div><progress></progress> {html.escape(name)}</div>"
    words = f"{html.escape(name)} {done:g}/{total:g}"
    return f'<div><progress value="{done:g}" max="{total:g}"></progress> {words}</div>'
