"""The running commentary of a job on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from goafetch.console.output import as_text, console_on, is_terminal, say
from goafetch.events import (
    CalibrationChoice,
    Decided,
    Event,
    Made,
    Planned,
    Progressed,
    Refusal,
    Reused,
    Separation,
    SkyChoice,
    StageBegun,
    StageEnded,
    StepBegun,
    Transfer,
    Wait,
    Warned,
)
from goafetch.words import about, as_row, words

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


#: How events that have no bar are shown: the mark, its colour, whether with --quiet too, whether with
#: --verbose alone.
MARKS: Mapping[type[Event], tuple[str, str, bool, bool]] = {
    **dict.fromkeys((Decided, Separation, SkyChoice, CalibrationChoice), ("→", "cyan", False, False)),
    Made: ("+", "dim", False, True),
    Reused: ("=", "dim", False, True),
    Refusal: ("✗", "yellow", True, False),
    Warned: ("!", "yellow", True, False),
}


class Terminal:
    """Draws what the library tells (see ``goafetch.events``); use it as a context manager.

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

    def __call__(self, event: Event, /) -> None:
        """Take one event."""
        with self._lock:
            match event:
                case Planned():
                    for group in event.groups:
                        self._line(
                            "▸", as_row({**group, "group": _of(event.program, group["group"])}), "bold"
                        )
                case StageBegun():
                    self._begin(event)
                case StepBegun():
                    self._begin_step(event)
                case Progressed():
                    self._move(event)
                case StageEnded():
                    self._close(event)
                case Transfer():
                    self._show_transfer(event)
                case Wait():
                    self._show_wait(event)
                case _:
                    self._say(event)

    def _say(self, event: Event) -> None:
        """What has no bar: a line, where it is to be shown, and its place among the counts of its stage."""
        if isinstance(event, Made | Reused | Refusal):
            self._count(event)
        if isinstance(event, Refusal):
            self._end_transfer(event.name)
        mark, style, always, verbose = MARKS.get(type(event), ("·", "dim", False, True))
        if self.verbose or not verbose:
            self._line(mark, sentence(event), style, always=always)

    def _begin(self, event: StageBegun) -> None:
        self._end(_of(event.program, event.group), "")
        name, total = _of(event.program, event.name), event.total
        stage = _Stage(as_text(name), total, _of(event.program, event.group))
        self._stages[stage.group, event.name] = stage
        if self._progress is not None:
            count = "" if total is None else f"0/{total}"
            stage.task = self._progress.add_task(stage.title, total=total, amount="", count=count)
        elif self.verbose:
            self._line("…", name if total is None else f"{name} ({total})", "")

    def _begin_step(self, event: StepBegun) -> None:
        """A step of a recipe is told in the line of its stage; one without a stage has a line that it shares
        with the steps that follow."""
        group, name, total = _of(event.program, event.group), event.name, event.total
        if self.verbose:
            self._line("·", _of(group, name if total is None else f"{name} ({total})"), "dim")
        if self._progress is None:
            return
        stage = self._stage_of(group)
        if stage is None:
            stage = self._stages[group, ""] = _Stage(as_text(group), None, group)
            stage.task = self._progress.add_task("", total=None, amount="", count="")
        assert stage.task is not None
        words = f"{stage.title}: {as_text(name)}" if stage.title else as_text(name)
        self._progress.reset(stage.task, description=words, total=total, count="", amount="")

    def _move(self, event: Progressed) -> None:
        group, done, total = _of(event.program, event.group), event.done, event.total
        stage = self._stages.get((group, event.name)) or self._stage_of(group)
        if self._progress is not None and stage is not None and stage.task is not None:
            changes: dict[str, Any] = {"completed": done}
            if total is not None:
                changes["total"] = total
            if event.bytes is not None:
                changes["amount"] = _flow(event.bytes, time.monotonic() - stage.started)
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

    def _show_transfer(self, event: Transfer) -> None:
        """A file on its way has a bar of its own until it has arrived; off a terminal nothing is said."""
        if self._progress is None:
            return
        stage = self._transfers.setdefault(event.name, _Stage(as_text(event.name), None))
        if stage.task is None:
            title = f"  {stage.title}"
            stage.task = self._progress.add_task(title, total=event.total, amount="", count="")
        flow = _flow(event.done, time.monotonic() - stage.started)
        self._progress.update(stage.task, completed=event.done, amount=flow)
        if event.done >= event.total:
            self._end_transfer(event.name)

    def _show_wait(self, event: Wait) -> None:
        """How long the archive wants to be left alone is counted down on a terminal."""
        if self._progress is None:
            return
        stage = self._transfers.setdefault("", _Stage("waiting as the archive asks", None))
        if stage.task is None:
            title = f"  {stage.title}"
            stage.task = self._progress.add_task(title, total=event.total, amount="", count="")
        left = f"{event.seconds:g} s left"
        self._progress.update(stage.task, completed=event.total - event.seconds, amount=left)
        if event.seconds <= 0:
            self._end_transfer("")

    def _end_transfer(self, name: str) -> None:
        stage = self._transfers.pop(name, None)
        if stage is not None and stage.task is not None and self._progress is not None:
            self._progress.remove_task(stage.task)

    def _close(self, event: StageEnded) -> None:
        stage = self._end(_of(event.program, event.group), event.name)
        if stage is None:
            return
        counts = "".join(f", {number} {word}" for word, number in stage.counts.items())
        mark, style = ("!", "yellow") if Refusal.kind in stage.counts else ("✓", "green")
        self._line(mark, f"{stage.title}{counts}, {_duration(time.monotonic() - stage.started)}", style)

    def _count(self, event: Event) -> None:
        """Add to the stage of that group; of what is about none, to the stage that began last."""
        group = _of(event.program, event.group)
        stage = self._stage_of(group) if group else next(reversed(self._stages.values()), None)
        if stage is not None:
            stage.counts[event.kind] = stage.counts.get(event.kind, 0) + 1

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


def sentence(event: Event) -> str:
    """An event as a line shows it: a file has its own name, anything else that of its group before it."""
    text = as_text(words(event))
    if not isinstance(event, Made | Reused | Refusal):
        text = _of(about(event), text)
    return f"warning: {text}" if isinstance(event, Warned) else text


def _of(name: str, text: str) -> str:
    """A text after the name of what it is about."""
    return f"{as_text(name)}: {text}" if name else text


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
