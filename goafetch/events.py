"""What happens while the program works, as facts; whoever shows them makes the words (``goafetch.words``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """A fact, in which ``program``, and about which ``group`` of its plan: stages work side by side.

    ``kind`` names the type where facts are stored.
    """

    kind: ClassVar[str] = ""
    program: str = field(default="", kw_only=True)
    group: str = field(default="", kw_only=True)


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
    what: str
    reason: str = ""


@dataclass(frozen=True)
class Separation(Event):
    """How many exposures of a group are on the target, and how many off it."""

    kind = "separation"
    on_target: int
    off_target: int
    reason: str = ""


@dataclass(frozen=True)
class SkyChoice(Event):
    """Whether the sky's level is taken from the exposures themselves; ``frames``: of which of them."""

    kind = "sky"
    offset_sky: bool
    frames: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class CalibrationChoice(Event):
    """The calibration that a group uses: ``role`` 'flat' or 'mask', the file's ``name``, and why this one."""

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
    text: str


@dataclass(frozen=True)
class Noted(Event):
    """Something for those who want to know everything."""

    kind = "info"
    text: str


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
    """An event from its name and facts, as they were told or stored; ``Other`` for a name of the user's."""
    known: Callable[..., Event] | None = TYPES.get(kind)
    if known is None:
        return Other(kind, facts)
    return known(**{key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()})


def as_document(event: Event) -> dict[str, Any]:
    """An event as it is stored: its name as ``event``, and those of its facts that say something."""
    if isinstance(event, Other):
        return {"event": event.name, **event.facts}
    facts = {each.name: getattr(event, each.name) for each in fields(event)}
    known = {name: value for name, value in facts.items() if value is not None and value != ""}
    return {"event": event.kind, **known}


def from_document(document: Mapping[str, Any]) -> Event:
    """The event that was stored as a document."""
    return event_of(document["event"], {key: value for key, value in document.items() if key != "event"})
