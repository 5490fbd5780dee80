"""Events in words: the only place where a fact becomes the sentence that people read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from goafetch.events import (
    CalibrationChoice,
    Decided,
    Event,
    Fault,
    Made,
    Noted,
    Other,
    Planned,
    Refusal,
    Retry,
    Reused,
    Separation,
    SkyChoice,
    StageBegun,
    StageEnded,
    StepBegun,
    Warned,
)


def about(event: Event) -> str:
    """The program and the group that an event is about, as what is said of it begins; '' for none."""
    return ": ".join(filter(None, (event.program, event.group)))


def what(event: Event) -> str:
    """An event in words, without the reason."""
    say = _WORDS.get(type(event))
    return say(event) if say else event.kind


def why(event: Event) -> str:
    """The reason of an event in words; '' where it has none."""
    reason: str = getattr(event, "reason", "")
    return f"{_of_frames(event.frames)}: {reason}" if isinstance(event, SkyChoice) else reason


def words(event: Event) -> str:
    """An event in words, with the reason where there is one."""
    return ": ".join(filter(None, (what(event), why(event))))


def as_row(group: Mapping[str, Any]) -> str:
    """A group of the plan: what its frames become."""
    becomes = f" become {group['becomes']}" if group["becomes"] else ""
    return f"plan: {group['group']}: {group['frames']} frames{becomes}"


def _of_frames(frames: tuple[str, ...]) -> str:
    names = [name.removesuffix(".fits") for name in (frames[0], frames[-1])]
    return names[0] if len(frames) == 1 else " to ".join(names)


_WORDS: Mapping[type[Event], Callable[[Any], str]] = {
    Planned: lambda e: "plan: " + "; ".join(f"{row['group']}, {row['frames']} frames" for row in e.groups),
    StageBegun: lambda e: f"begin {e.name}",
    StepBegun: lambda e: f"begin {e.name}",
    StageEnded: lambda e: f"done {e.name}",
    Decided: lambda e: e.what,
    Separation: lambda e: f"{e.on_target} on target, {e.off_target} off target",
    SkyChoice: lambda e: f"offset_sky={e.offset_sky}",
    CalibrationChoice: lambda e: f"{e.role} {e.name}",
    Made: lambda e: f"made {e.path}",
    Reused: lambda e: f"reused {e.path}",
    Refusal: lambda e: "left out " + ": ".join(dict.fromkeys(filter(None, (e.program, e.name)))),
    Warned: lambda e: e.text,
    Noted: lambda e: e.text,
    Retry: lambda e: f"attempt {e.attempt} of {e.path}",
    Fault: lambda e: e.trace,
    Other: lambda e: " ".join([e.name, *(f"{key}={value}" for key, value in e.facts.items())]),
}
