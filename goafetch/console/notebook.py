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
from goafetch.console.terminal import MARKS, Terminal, sentence
from goafetch.events import Event, Made, Notify, Progressed, Reused, StageBegun, StageEnded, StepBegun
from goafetch.words import about

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

    def __call__(self, event: Event, /) -> None:
        """Take one event, and draw the cell again if it is time."""
        with self._lock:
            self._take(event)
            now = time.monotonic()
            if isinstance(event, StageEnded) or now - self._last > EVERY:
                self._last = now
                self._draw()

    def _take(self, event: Event) -> None:
        match event:
            case StageBegun():
                self.bars[_name(event)] = (0, event.total)
            case StepBegun():
                self.steps[about(event)] = ": ".join(filter(None, (as_text(about(event)), event.name)))
            case Progressed() if _name(event) in self.bars:
                self.bars[_name(event)] = (event.done, event.total or self.bars[_name(event)][1])
            case StageEnded() if _name(event) in self.bars:
                del self.bars[_name(event)]
                self.steps.pop(about(event), None)
                self._say("✓", _name(event))
            case _:
                mark, _, _, verbose = MARKS.get(type(event), ("·", "", False, True))
                if not verbose or (self.verbose and isinstance(event, Made | Reused)):
                    self._say(mark, sentence(event))

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


def _name(event: StageBegun | Progressed | StageEnded) -> str:
    return ": ".join(filter(None, (event.program, as_text(event.name))))


def _bar(name: str, done: float, total: float | None) -> str:
    """A bar as browsers draw it; one without a known end says only that something runs."""
    if total is None:
        return f"<div><progress></progress> {html.escape(name)}</div>"
    words = f"{html.escape(name)} {done:g}/{total:g}"
    return f'<div><progress value="{done:g}" max="{total:g}"></progress> {words}</div>'
