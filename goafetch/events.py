"""What happens while the program works: facts, and the log and record of a run."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TextIO

from goafetch.words import FACTS, say_reason, say_what, say_why


@dataclass(frozen=True)
class Event:
    """A fact, in which ``program``, and about which ``group`` of its plan: stages work side by side.

    ``kind`` names the type where facts are stored. What a step tells has the name of a ``fact`` or a reason
    of ``goafetch.words``, and the ``fields`` that the words for it need.
    """

    kind: ClassVar[str] = ""
    program: str = field(default="", kw_only=True)
    group: str = field(default="", kw_only=True)
    fact: str = field(default="", kw_only=True)
    fields: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)


@dataclass(frozen=True)
class Planned(Event):
    """The plan: a row for each of its groups, as ``Plan.table`` has them."""

    kind = "plan"
    groups: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class StageBegun(Event):
    """A stage has begun; ``total``: on how many things it works, where that is known."""

    kind = "stage"
    name: str
    total: int | None = None


@dataclass(frozen=True)
class StepBegun(Event):
    """A step of a recipe has begun, with ``total`` frames."""

    kind = "step"
    name: str
    total: int | None = None


@dataclass(frozen=True)
class Progressed(Event):
    """How far a stage is, and how many ``bytes`` it has moved."""

    kind = "progress"
    name: str
    done: float = 0
    total: float | None = None
    bytes: float | None = None


@dataclass(frozen=True)
class StageEnded(Event):
    """A stage has ended."""

    kind = "done"
    name: str


@dataclass(frozen=True)
class Decided(Event):
    """Something was decided."""

    kind = "decision"
    what: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Separation(Event):
    """How many exposures of a group are on the target, and how many off it."""

    kind = "separation"
    on_target: int
    off_target: int
    reason: str | tuple[str, ...] = ""


@dataclass(frozen=True)
class SkyChoice(Event):
    """Whether the sky's level is taken from the exposures themselves; ``frames``: of which of them.

    ``light``: electrons of objects that their medians are expected to hold, which stay in the exposures.
    ``weighed``: by the sky exposures too, each as far as it is sure. ``scale_sky``: the pattern goes with it.
    """

    kind = "sky"
    offset_sky: bool
    frames: tuple[str, ...]
    reason: str = ""
    light: float = 0.0
    weighed: bool = False
    scale_sky: bool = False


@dataclass(frozen=True)
class CalibrationChoice(Event):
    """The calibration that a group uses: ``role`` 'dark', 'flat' or 'mask', its file's name, and why."""

    kind = "calibration"
    role: str
    name: str
    reason: str = ""


@dataclass(frozen=True)
class Made(Event):
    """A file was made."""

    kind = "made"
    path: Path


@dataclass(frozen=True)
class Reused(Event):
    """A file stays as it is."""

    kind = "reused"
    path: Path


@dataclass(frozen=True)
class Refusal(Event):
    """A file, or whatever has a name, was left out."""

    kind = "refused"
    name: str
    reason: str = ""


@dataclass(frozen=True)
class Warned(Event):
    """Something that the user should know of."""

    kind = "warning"
    text: str = ""


@dataclass(frozen=True)
class Noted(Event):
    """Something for those who want to know everything."""

    kind = "info"
    text: str = ""


@dataclass(frozen=True)
class Transfer(Event):
    """Bytes of one file on its way."""

    kind = "transfer"
    name: str
    done: float
    total: float


@dataclass(frozen=True)
class Retry(Event):
    """Something is tried again: the ``attempt`` that begins."""

    kind = "retry"
    path: str
    reason: str
    attempt: int


@dataclass(frozen=True)
class Wait(Event):
    """The archive's own wish, told every second until no ``seconds`` are left."""

    kind = "wait"
    seconds: float
    total: float


@dataclass(frozen=True)
class Fault(Event):
    """An error that nobody has foreseen, with its traceback."""

    kind = "fault"
    trace: str


@dataclass(frozen=True)
class Other(Event):
    """What a user's own recipe tells under a name of its own."""

    kind = "other"
    name: str
    facts: Mapping[str, Any]


Notify = Callable[[Event], None]

#: What a report tells of a run.
LASTING = (Decided, Separation, SkyChoice, CalibrationChoice, Warned, Refusal)

TYPES: Mapping[str, type[Event]] = {each.kind: each for each in Event.__subclasses__()}


def silent(event: Event, /) -> None:
    """Tell nobody."""


def listener(notify: Notify) -> Callable[..., None]:
    """What the reducer tells its facts to, by name: ``notify`` gets them as events."""

    def tell(kind: str, /, **facts: Any) -> None:
        notify(event_of(kind, facts))

    return tell


def event_of(kind: str, facts: Mapping[str, Any]) -> Event:
    """An event from its name, or that of a fact, as told or stored; ``Other`` for a name of the user's."""
    if kind in FACTS:
        kind, facts = FACTS[kind][0], {"fact": kind, **facts}
    known: Callable[..., Event] | None = TYPES.get(kind)
    if known is None:
        return Other(kind, facts)
    own = {each.name for each in fields(Event if "fact" in facts else TYPES[kind])}
    told = {name: _plain(value) for name, value in facts.items()}
    more = {name: told.pop(name) for name in [*told] if name not in own}
    return known(**told, fields=more)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it and gives it back, but for lists, which are tuples here."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if hasattr(value, "item") else value


def as_document(event: Event) -> dict[str, Any]:
    """An event as it is stored: its name as ``event``, and those of its facts that say something."""
    if isinstance(event, Other):
        return {"event": event.name, **event.facts}
    facts = {each.name: getattr(event, each.name) for each in fields(event) if each.name != "fields"}
    known = {name: value for name, value in facts.items() if value is not None and value != ""}
    return {"event": event.kind, **known, **event.fields}


def from_document(document: Mapping[str, Any]) -> Event:
    """The event that was stored as a document."""
    return event_of(document["event"], {key: value for key, value in document.items() if key != "event"})


def about(event: Event) -> str:
    """The program and the group that an event is about, as what is said of it begins; '' for none."""
    return ": ".join(filter(None, (event.program, event.group)))


def what(event: Event) -> str:
    """An event in words, without the reason."""
    if event.fact:
        return (
            say_what(event.fact, event.fields) if event.fact in FACTS else _as_told(event.fact, event.fields)
        )
    write = _WORDS.get(type(event))
    return write(event) if write else event.kind


def why(event: Event) -> str:
    """The reason of an event in words; '' where it has none."""
    if event.fact in FACTS:
        return say_why(event.fact, event.fields)
    reason = say_reason({**event.fields, "reason": getattr(event, "reason", "")})
    return f"{_of_frames(event.frames)}: {reason}" if isinstance(event, SkyChoice) else reason


def why_in_full(event: Event) -> str:
    """The reason of an event in words, and what can be done."""
    return "; ".join(filter(None, (why(event), event.fields.get("remedy", ""))))


def words(event: Event) -> str:
    """An event in words, with the reason where there is one."""
    return ": ".join(filter(None, (what(event), why(event))))


def as_row(group: Mapping[str, Any]) -> str:
    """A group of the plan: how many exposures it has, sky included, and what is made of them."""
    becomes = f" for {group['becomes']}" if group["becomes"] else ""
    return f"plan: {group['group']}: {group['frames']} exposures{becomes}"


def _of_sky(choice: SkyChoice) -> str:
    if choice.scale_sky:
        return "scale_sky=True"
    if not (choice.weighed or choice.light):
        return f"offset_sky={choice.offset_sky}"
    skies = ", weighted with the sky exposures" if choice.weighed else ""
    return f"sky level from own medians less {choice.light:g} e- from objects{skies}"


def _of_frames(frames: tuple[str, ...]) -> str:
    names = [name.removesuffix(".fits") for name in (frames[0], frames[-1])]
    return names[0] if len(frames) == 1 else " to ".join(names)


def _as_told(name: str, facts: Mapping[str, Any]) -> str:
    """What has no words: a user's own fact, or one that another version told."""
    return " ".join([name, *(f"{key}={value}" for key, value in facts.items())])


_WORDS: Mapping[type[Event], Callable[[Any], str]] = {
    Planned: lambda e: "plan: " + "; ".join(f"{row['group']}, {row['frames']} frames" for row in e.groups),
    StageBegun: lambda e: f"begin {e.name}",
    StepBegun: lambda e: f"begin {e.name}",
    StageEnded: lambda e: f"done {e.name}",
    Decided: lambda e: e.what,
    Separation: lambda e: f"{e.on_target} on target, {e.off_target} off target",
    SkyChoice: lambda e: _of_sky(e),
    CalibrationChoice: lambda e: f"{e.role} {e.name}",
    Made: lambda e: f"made {e.path}",
    Reused: lambda e: f"reused {e.path}",
    Refusal: lambda e: "left out " + ": ".join(dict.fromkeys(filter(None, (e.program, e.name)))),
    Warned: lambda e: e.text,
    Noted: lambda e: e.text,
    Retry: lambda e: f"attempt {e.attempt} of {e.path}",
    Fault: lambda e: e.trace,
    Other: lambda e: _as_told(e.name, e.facts),
}


LEVELS = {Warned: "WARNING", Refusal: "WARNING", Retry: "WARNING", Fault: "ERROR"}
#: Events that come many times: no line of reduce.log; bytes on their way and seconds of waiting no event.
FREQUENT, TOO_FREQUENT = (Progressed, Transfer, Wait), (Transfer, Wait)


@contextmanager
def logged(notify: Notify, path: Path, events: Path | None = None) -> Iterator[Notify]:
    """A notify that also appends to a log file and, as JSON, to ``events``; each line is written at once.

    A file is made with its first line: where nothing was done there is none. May be called from several
    threads.
    """
    lock, files = threading.Lock(), dict[Path, TextIO]()

    with ExitStack() as stack:

        def append(path: Path, line: str) -> None:
            if path not in files:
                file = path.open("a", encoding="utf-8", errors="backslashreplace")
                files[path] = stack.enter_context(file)
            files[path].write(f"{line}\n")
            files[path].flush()

        def tell(event: Event, /) -> None:
            now = datetime.now(UTC)
            with lock:
                if not isinstance(event, FREQUENT):
                    level = LEVELS.get(type(event), "INFO")
                    append(path, f"{now:%Y-%m-%d %H:%M:%S} {level:7} {_line(event)}")
                if events and not isinstance(event, TOO_FREQUENT):
                    document = {"time": now.isoformat(timespec="milliseconds"), **as_document(event)}
                    append(events, json.dumps(document, default=str))
            notify(event)

        yield tell


def _line(event: Event) -> str:
    """An event in words, on one line, after the group that it is about; a traceback as it is."""
    if isinstance(event, Fault):
        return words(event)
    named = isinstance(event, StageBegun | StageEnded) or not about(event)
    return " ".join((words(event) if named else f"[{about(event)}] {words(event)}").split())
