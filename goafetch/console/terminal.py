"""The running commentary of a job on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from goafetch.console.output import as_text, console_on, is_terminal, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: Columns that the numbers behind a stage's name take at most; a terminal that is narrower than the second
#: has no bars, for numbers say more.
NUMBERS, ROOM_FOR_A_BAR = 40, 80


@dataclass
class _Stage:
    """What is known of a stage while it runs."""

    title: str
    total: int | None
    group: str = ""
    started: float = field(default_factory=time.monotonic)
    task: TaskID | None = None
    counts: dict[str, int] = field(default_factory=dict)


class Terminal:
    """Draws what the library tells (see ``goafetch.events.Notify``); use it as a context manager.

    ``verbose`` adds a line for every file made or reused and every measurement; ``quiet`` shows errors and
    refusals only. Bars are drawn on a terminal alone. May be called from several threads.
    """

    def __init__(self, *, verbose: bool = False, quiet: bool = False) -> None:
        self.verbose = verbose and not quiet
        self.quiet = quiet
        self._live = is_terminal(sys.stderr) and not quiet
        self._stages: dict[tuple[str, str], _Stage] = {}  # by group and name
        self._transfers: dict[str, _Stage] = {}
        self._lock = threading.RLock()
        self._progress: Progress | None = None

    def __enter__(self) -> Terminal:
        if self._live:
            self._progress = _bars()
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._progress is not None:
                for stage in (*self._stages.values(), *self._transfers.values()):
                    if stage.task is not None:
                        self._progress.remove_task(stage.task)
                self._progress.stop()
                self._progress = None
            self._stages.clear()
            self._transfers.clear()

    def __call__(self, event: str, /, **facts: object) -> None:
        """Take one event; events that this class does not know are shown in verbose mode."""
        with self._lock:
            show = getattr(self, f"_on_{event}", None)
            if show is not None:
                show(**facts)
            elif self.verbose:
                self._line("·", " ".join(f"{key}={as_text(value)}" for key, value in facts.items()), "dim")

    def _on_plan(self, groups: Sequence[Mapping[str, object]], **_: object) -> None:
        """What will be made of what, before anything is made."""
        for group in groups:
            becomes = f" become {as_text(group['becomes'])}" if group["becomes"] else ""
            self._line("▸", f"plan: {as_text(group['group'])}: {group['frames']} frames{becomes}", "bold")

    def _on_stage(self, name: str, total: int | None = None, group: str = "", **_: object) -> None:
        self._end(group, "")
        self._stages[group, name] = stage = _Stage(as_text(name), total, group)
        if self._progress is not None:
            count = "" if total is None else f"0/{total}"
            stage.task = self._progress.add_task(stage.title, total=total, amount="", count=count)
        elif self.verbose:
            self._line("…", name if total is None else f"{name} ({total})", "")

    def _on_step(self, name: str, total: int | None = None, group: str = "", **_: object) -> None:
        """A step of a recipe is told in the line of its stage; one without a stage has a line that it shares
        with the steps that follow."""
        if self.verbose:
            self._line("·", about(group, name if total is None else f"{name} ({total})"), "dim")
        if self._progress is None:
            return
        stage = self._stage_of(group)
        if stage is None:
            stage = self._stages[group, ""] = _Stage(as_text(group), None, group)
            stage.task = self._progress.add_task("", total=None, amount="", count="")
        assert stage.task is not None
        words = f"{stage.title}: {as_text(name)}" if stage.title else as_text(name)
        self._progress.reset(stage.task, description=words, total=total, count="", amount="")

    def _on_progress(
        self,
        name: str,
        done: float = 0,
        total: float | None = None,
        bytes: float | None = None,
        group: str = "",
        **_: object,
    ) -> None:
        stage = self._stages.get((group, name)) or self._stage_of(group)
        if self._progress is not None and stage is not None and stage.task is not None:
            changes: dict[str, Any] = {"completed": done}
            if total is not None:
                changes["total"] = total
            if bytes is not None:
                changes["amount"] = _flow(bytes, time.monotonic() - stage.started)
            changes["count"] = f"{done:g}" if total is None else f"{done:g}/{total:g}"
            self._progress.update(stage.task, **changes)

    def _stage_of(self, group: str) -> _Stage | None:
        """What is at work on a group."""
        return next((stage for stage in self._stages.values() if stage.group == group), None)

    def _end(self, group: str, name: str) -> _Stage | None:
        """Take the line of a stage away."""
        stage = self._stages.pop((group, name), None)
        if stage is not None and stage.task is not None and self._progress is not None:
            self._progress.remove_task(stage.task)
        return stage

    def _on_transfer(self, name: str, done: float, total: float, **_: object) -> None:
        """A file on its way has a bar of its own until it has arrived; off a terminal nothing is said."""
        if self._progress is None:
            return
        stage = self._transfers.setdefault(name, _Stage(as_text(name), None))
        if stage.task is None:
            stage.task = self._progress.add_task(f"  {as_text(name)}", total=total, amount="", count="")
        flow = _flow(done, time.monotonic() - stage.started)
        self._progress.update(stage.task, completed=done, amount=flow)
        if done >= total:
            self._end_transfer(name)

    def _on_wait(self, seconds: float, total: float, **_: object) -> None:
        """How long the archive wants to be left alone is counted down on a terminal."""
        if self._progress is None:
            return
        stage = self._transfers.setdefault("", _Stage("waiting as the archive asks", None))
        if stage.task is None:
            stage.task = self._progress.add_task(f"  {stage.title}", total=total, amount="", count="")
        self._progress.update(stage.task, completed=total - seconds, amount=f"{seconds:g} s left")
        if seconds <= 0:
            self._end_transfer("")

    def _end_transfer(self, name: str) -> None:
        stage = self._transfers.pop(name, None)
        if stage is not None and stage.task is not None and self._progress is not None:
            self._progress.remove_task(stage.task)

    def _on_done(self, name: str, group: str = "", **_: object) -> None:
        stage = self._end(group, name)
        if stage is None:
            return
        counts = "".join(f", {number} {word}" for word, number in stage.counts.items())
        mark, style = ("!", "yellow") if "refused" in stage.counts else ("✓", "green")
        self._line(mark, f"{as_text(name)}{counts}, {_duration(time.monotonic() - stage.started)}", style)

    def _on_decision(self, what: object, reason: object = "", group: str = "", **_: object) -> None:
        text = f"{as_text(what)}: {as_text(reason)}" if reason else as_text(what)
        self._line("→", about(group, text), "cyan")

    def _on_made(self, path: object, group: str = "", **_: object) -> None:
        self._count("made", group)
        if self.verbose:
            self._line("+", f"made {as_text(path)}", "dim")

    def _on_reused(self, path: object, group: str = "", **_: object) -> None:
        self._count("reused", group)
        if self.verbose:
            self._line("=", f"reused {as_text(path)}", "dim")

    def _on_refused(self, name: object, reason: object = "", group: str = "", **_: object) -> None:
        self._end_transfer(as_text(name))
        self._count("refused", group)
        self._line("✗", f"left out {as_text(name)}: {as_text(reason)}", "yellow", always=True)

    def _on_warning(self, text: object, group: str = "", **_: object) -> None:
        self._line("!", f"warning: {about(group, as_text(text))}", "yellow", always=True)

    def _on_info(self, text: object, **_: object) -> None:
        if self.verbose:
            self._line("·", as_text(text), "dim")

    def _count(self, word: str, group: str) -> None:
        """Add to the stage of that group; of what is about none, to the stage that began last."""
        stage = self._stage_of(group) if group else next(reversed(self._stages.values()), None)
        if stage is not None:
            stage.counts[word] = stage.counts.get(word, 0) + 1

    def _line(self, mark: str, text: str, style: str, *, always: bool = False) -> None:
        if self.quiet and not always:
            return
        if self._progress is None:
            say(text, style=style)
            return
        from rich.table import Table
        from rich.text import Text

        row = Table.grid(padding=(0, 1))
        row.add_column()
        row.add_column(overflow="fold")  # a long name is broken, never cut
        row.add_row(Text(mark, style=style), Text(text, style=style if always else ""))
        self._progress.console.print(row)


def _bars() -> Progress:
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    console = console_on(sys.stderr)
    bar = [BarColumn(bar_width=20)] if console.width >= ROOM_FOR_A_BAR else []
    words = Column(no_wrap=True, overflow="ellipsis", max_width=max(NUMBERS // 2, console.width - NUMBERS))
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=words),
        *bar,
        TextColumn("{task.fields[count]}", markup=False),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        redirect_stdout=False,  # results stay on standard output
    )


def about(group: str, text: str) -> str:
    """Stages work side by side: a sentence names its group, unless it does so itself."""
    return f"{as_text(group)}: {text}" if group and not text.startswith(group) else text


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _flow(count: float, seconds: float) -> str:
    """Bytes so far, and bytes per second once there is something to divide by."""
    return f"{_size(count)}, {_size(count / seconds)}/s" if seconds > 0.5 else _size(count)


def _size(count: float) -> str:
    """Bytes in the decimal units that archives use."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
