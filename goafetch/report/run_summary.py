"""The story of a run as plain data: what the pipeline saves and the report tells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from goafetch.errors import UsageError, WorkspaceError
from goafetch.events import CalibrationChoice, Event, Warned, as_document, from_document
from goafetch.workspace import write_atomically

FILE = "playground/run.json"


@dataclass(frozen=True)
class Exclusion:
    """A file that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ExposureRow:
    """A raw file: its ``role`` ('on target', 'off target', 'standard', 'lamp on', 'lamp off', 'mask', ...).

    ``group`` is the name of the group that uses it, such as 'NGC5128 Kshort 60 s, visit 2', and ``stack``
    that of the stack which it goes into; ``reason`` why it has this role; ``detail`` what a reader wants to
    see of it (object, filter, exposure time).
    """

    name: str
    role: str
    group: str = ""
    reason: str = ""
    detail: str = ""
    stack: str = ""


@dataclass(frozen=True)
class Product:
    """A file that was made: ``kind`` is 'stack', 'dark', 'flat', 'standard', 'on target', 'off target' or
    'mask'.

    ``path`` is relative to the workspace, with forward slashes; ``stack`` the name of the stack that it is,
    or goes into. What stands in the product itself is read from there.
    """

    path: str
    kind: str
    group: str = ""
    stack: str = ""
    reused: bool = False


@dataclass(frozen=True)
class Timing:
    """How long a stage took, in seconds, and on how many items it worked."""

    stage: str
    seconds: float
    items: int = 0


@dataclass(frozen=True)
class RunSummary:
    """All of a run that does not stand in its products.

    ``command`` repeats the run; ``parameters``: those that the user set. ``archive`` and ``query`` say where
    the files came from (empty for a folder of files); ``fetched`` and ``fetched_bytes`` count what was
    downloaded, ``started`` is UTC in ISO 8601.
    ``recipes``: by stage ('flats', 'frames', 'stacks') the user's own, a name or FILE.py:NAME.
    ``refusals``: the frames that a recipe refused, as they were told. ``lost``: by target and filter, how
    many exposures were left out, and of how many.
    """

    program: str
    command: str = ""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recipes: Mapping[str, str] = field(default_factory=dict)
    archive: str = ""
    query: str = ""
    started: str = ""
    seconds: float = 0.0
    version: str = ""
    fetched: int = 0
    fetched_bytes: int = 0
    exposures: tuple[ExposureRow, ...] = ()
    decisions: tuple[Event, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    products: tuple[Product, ...] = ()
    timings: tuple[Timing, ...] = ()
    warnings: tuple[Warned, ...] = ()
    refusals: tuple[Event, ...] = ()
    lost: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def calibrations(self) -> tuple[CalibrationChoice, ...]:
        """Which calibrations the groups use, and why."""
        return tuple(event for event in self.decisions if isinstance(event, CalibrationChoice))

    @property
    def left_out(self) -> str:
        """What was left out: '9 of 9 exposures of NGC5128 H'; '' where nothing was."""
        return ", ".join(
            f"{lost} of {total} exposures of {name}" for name, (lost, total) in self.lost.items()
        )

    def as_document(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self) | {key: [as_document(event) for event in getattr(self, key)] for key in _EVENTS}


_EVENTS = ("decisions", "warnings", "refusals")
_LISTS: Mapping[str, type[Any]] = {
    "exposures": ExposureRow,
    "exclusions": Exclusion,
    "products": Product,
    "timings": Timing,
}


def write_summary(folder: Path, summary: RunSummary) -> Path:
    """Save a run's story in its workspace; returns the file."""
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(summary.as_document(), indent=1))
    return path


def read_summary(folder: Path) -> RunSummary:
    """Read a run's story from its workspace; raises WorkspaceError where there is none to read."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", "a workspace that `goafetch run` made")
    path = folder / FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        lists = {key: tuple(_make(kind, item) for item in document[key]) for key, kind in _LISTS.items()}
        told = {key: tuple(map(from_document, document.get(key, ()))) for key in _EVENTS}
        summary: RunSummary = _make(RunSummary, document | lists | told)
    except FileNotFoundError as error:
        raise WorkspaceError(
            f"{path} is missing",
            "a workspace in which `goafetch run` has finished",
            f"run `goafetch run {folder}` first",
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WorkspaceError(
            f"{path} is not the story of a run: {error}",
            remedy="repeat the run: it remakes this file, and nothing else that is not missing",
        ) from error
    return summary


def _make(kind: type[Any], item: Mapping[str, Any]) -> Any:
    """An instance from its JSON object; keys of another version of this program are passed over."""
    known = {item.name for item in fields(kind)}
    return kind(**{key: value for key, value in item.items() if key in known})
