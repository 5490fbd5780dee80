"""The running commentary of a job: bars and lines on a terminal, and in a notebook's cell."""

from __future__ import annotations

import html
import importlib
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from goafetch import events
from goafetch.console.output import as_text, console_on, is_terminal, say
from goafetch.events import about, as_row, what, words
from goafetch.words import DETAILS, OF_A_GROUP

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
MARKS: Mapping[type[events.Event], tuple[str, str, bool, bool]] = {
    **dict.fromkeys((events.Decided, events.Separation, events.SkyChoice), ("→", "cyan", False, False)),
    events.CalibrationChoice: ("→", "cyan", False, True),
    events.Made: ("+", "dim", False, True),
    events.Reused: ("=", "dim", False, True),
    events.Refusal: ("✗", "yellow", True, False),
    events.Warned: ("!", "yellow", True, False),
}


class Terminal:
    """Draws what the library tells (see ``goafetch.events``); use it as a context manager.

    ``verbose`` adds a line for every file made or reused, every calibration chosen and every measurement, and
    every reason; without it what is decided alike of several exposures is told once, as their stage ends.
    ``quiet`` shows errors, refusals and warnings only. Bars are drawn on a terminal alone. May be called from
    several threads.
    """

    def __init__(self, *, verbose: bool = False, quiet: bool = False) -> None:
        self.verbose = verbose and not quiet
        self.quiet = quiet
        self._live = is_terminal(sys.stderr) and not quiet
        self._stages: dict[tuple[str, str], _Stage] = {}  # by group and name
        self._transfers: dict[str, _Stage] = {}
        self._alike: dict[tuple[str, str], list[events.Event]] = {}  # by group and what is said
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
            self._tell_alike()
            if self._progress is not None:
                for stage in (*self._stages.values(), *self._transfers.values()):
                    self._remove(stage)
                self._progress.stop()
                self._progress = None
            self._stages.clear()
            self._transfers.clear()

    def __call__(self, event: events.Event, /) -> None:
        """Take one event."""
        with self._lock:
            match event:
                case events.Planned():
                    for group in event.groups:
                        row = {**group, "group": _of(event.program, group["group"])}
                        self._line("▸", as_row(row), "bold")
                case events.StageBegun():
                    self._begin(event)
                case events.StepBegun():
                    self._begin_step(event)
                case events.Progressed():
                    self._move(event)
                case events.StageEnded():
                    self._close(event)
                case events.Transfer():
                    self._show_transfer(event.name, as_text(event.name), event.done, event.total)
                case events.Wait():
                    title, left = "waiting as the archive asks", f"{event.seconds:g} s left"
                    self._show_transfer("", title, event.total - event.seconds, event.total, left)
                case _:
                    self._say(event)

    def _say(self, event: events.Event) -> None:
        """What has no bar: a line, where it is to be shown, and its place among the counts of its stage."""
        if isinstance(event, events.Made | events.Reused | events.Refusal):
            self._count(event)
        if isinstance(event, events.Refusal):
            self._remove(self._transfers.pop(event.name, None))
        if not self.verbose and _is_of_exposures(event):
            self._alike.setdefault((_of(event.program, event.group), event.fact or what(event)), []).append(
                event
            )
        elif self.verbose or not is_detail(event):
            self._tell(event)

    def _tell_alike(self, group: str | None = None) -> None:
        """Tell what was decided of the exposures of a group, or of all groups."""
        for key in [key for key in self._alike if group in (None, key[0])]:
            self._tell(as_one(self._alike.pop(key)))

    def _tell(self, event: events.Event) -> None:
        """A line; one of a decision that does not fit a terminal is shown without the reason."""
        (mark, style, always, _), text = _mark(event), sentence(event)
        if (
            self._progress is not None
            and not self.verbose
            and isinstance(event, events.LASTING)
            and not always
        ):
            fits = len(text) + 2 <= self._progress.console.width
            text = text if fits else _of(about(event), as_text(what(event)))
        self._line(mark, text, style, always=always)

    def _begin(self, event: events.StageBegun) -> None:
        name, total = _of(event.program, event.name), event.total
        stage = _Stage(as_text(name), total, _of(event.program, event.group))
        if self._progress is not None:
            self._end(stage.group, "")
            self._open(stage, stage.title, total, "" if total is None else f"0/{total}")
        elif self.verbose:
            self._line("…", name if total is None else f"{name} ({total})", "")
        self._stages[stage.group, event.name] = stage

    def _begin_step(self, event: events.StepBegun) -> None:
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
            self._open(stage, "", None)
        assert stage.task is not None
        words = f"{stage.title}: {as_text(name)}" if stage.title else as_text(name)
        self._progress.reset(stage.task, description=words, total=total, count="", amount="")

    def _move(self, event: events.Progressed) -> None:
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
        self._remove(stage)
        return stage

    def _open(self, stage: _Stage, title: str, total: float | None, count: str = "") -> None:
        """Give a stage a bar, where there are any."""
        if self._progress is not None:
            stage.task = self._progress.add_task(title, total=total, amount="", count=count)

    def _remove(self, stage: _Stage | None) -> None:
        """Take the bar of a stage away."""
        if stage is not None and stage.task is not None and self._progress is not None:
            self._progress.remove_task(stage.task)

    def _show_transfer(self, name: str, title: str, done: float, total: float, amount: str = "") -> None:
        """A file on its way, or a wait, has a bar of its own until it ends; elsewhere nothing is said."""
        if self._progress is None:
            return
        stage = self._transfers.setdefault(name, _Stage(title, None))
        if stage.task is None:
            self._open(stage, f"  {title}", total)
        assert stage.task is not None
        amount = amount or _flow(done, time.monotonic() - stage.started)
        self._progress.update(stage.task, completed=done, amount=amount)
        if done >= total:
            self._remove(self._transfers.pop(name, None))

    def _close(self, event: events.StageEnded) -> None:
        stage = self._end(_of(event.program, event.group), event.name)
        if stage is None:
            return
        self._tell_alike(stage.group)
        mark, style = ("!", "yellow") if events.Refusal.kind in stage.counts else ("✓", "green")
        self._line(mark, _ended(stage, event.name, time.monotonic() - stage.started), style)

    def _count(self, event: events.Event) -> None:
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


def _mark(event: events.Event) -> tuple[str, str, bool, bool]:
    return MARKS.get(type(event), ("·", "dim", False, True))


def is_detail(event: events.Event) -> bool:
    """Whether an event is shown only where all is asked for; a command that works on no plan tells more."""
    in_run = event.fact in OF_A_GROUP and bool(event.group)
    return in_run or event.fact in DETAILS or _mark(event)[3]


def _is_of_exposures(event: events.Event) -> bool:
    """Whether something was decided of one exposure of a group, and is no detail."""
    decided = isinstance(event, events.Decided) and isinstance(event.fields.get("file"), str)
    is_sky = isinstance(event, events.SkyChoice)
    return bool(event.group) and (decided or is_sky) and not is_detail(event)


def as_one(alike: Sequence[events.Event]) -> events.Event:
    """What was decided alike of several exposures, as one event that names the first and counts the others.

    The figures of its reason are those of one exposure, so that of several it is left to --verbose.
    """
    first = alike[0]
    if len(alike) == 1:
        return first
    named = f"{first.fields.get('file')} and {len(alike) - 1} more"
    text = what(replace(first, fields={**first.fields, "file": named}))
    return events.Decided(text, program=first.program, group=first.group)


def sentence(event: events.Event) -> str:
    """An event as a line shows it: a file has its own name, anything else that of its group before it."""
    text = as_text(words(event))
    if not isinstance(event, events.Made | events.Reused | events.Refusal):
        text = _of(about(event), text)
    return f"warning: {text}" if isinstance(event, events.Warned) else text


#: What was done with the files that a stage made, and what became of others.
DONE = {"fetch": "fetched", "unpack": "unpacked"}
COUNTED = {events.Made.kind: "made", events.Reused.kind: "unchanged", events.Refusal.kind: "left out"}


#: Seconds of a stage that had nothing left to do: its products were made before its turn.
MADE_AHEAD = 0.05


def _ended(stage: _Stage, name: str, seconds: float) -> str:
    """A stage that has ended: 'fetched 51 files in 3.9 s', 'frames of T: 9 made, 1 left out in 4.1 s'."""
    counts = dict(stage.counts)
    title = f"{stage.title}:"
    if name in DONE:
        made = counts.pop(events.Made.kind, 0)
        title = stage.title.replace(name, f"{DONE[name]} {made} file{'' if made == 1 else 's'}")
        title += "," if counts else ""
    told = ", ".join(f"{number} {COUNTED[kind]}" for kind, number in counts.items())
    title = title if told or name in DONE else stage.title
    took = f"in {_duration(seconds)}" if seconds >= MADE_AHEAD else ""
    return " ".join(filter(None, (title, told, took)))


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


#: Seconds between two pictures of the same cell: a browser need not draw every block of rows.
EVERY = 0.2


def watch(*, verbose: bool = False) -> events.Notify:
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

    def __call__(self, event: events.Event, /) -> None:
        """Take one event, and draw the cell again if it is time."""
        with self._lock:
            self._take(event)
            now = time.monotonic()
            if isinstance(event, events.StageEnded) or now - self._last > EVERY:
                self._last = now
                self._draw()

    def _take(self, event: events.Event) -> None:
        match event:
            case events.StageBegun():
                self.bars[_name(event)] = (0, event.total)
            case events.StepBegun():
                self.steps[about(event)] = ": ".join(filter(None, (as_text(about(event)), event.name)))
            case events.Progressed() if _name(event) in self.bars:
                self.bars[_name(event)] = (event.done, event.total or self.bars[_name(event)][1])
            case events.StageEnded() if _name(event) in self.bars:
                del self.bars[_name(event)]
                self.steps.pop(about(event), None)
                self._say("✓", _name(event))
            case _:
                if not is_detail(event) or (self.verbose and isinstance(event, events.Made | events.Reused)):
                    self._say(_mark(event)[0], sentence(event))

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


def _name(event: events.StageBegun | events.Progressed | events.StageEnded) -> str:
    return ": ".join(filter(None, (event.program, as_text(event.name))))


def _bar(name: str, done: float, total: float | None) -> str:
    """A bar as browsers draw it; one without a known end says only that something runs."""
    if total is None:
        return f"<div><progress></progress> {html.escape(name)}</div>"
    words = f"{html.escape(name)} {done:g}/{total:g}"
    return f'<div><progress value="{done:g}" max="{total:g}"></progress> {words}</div>'
