"""What a plan is: groups of frames, what each becomes, with which calibrations, and every reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from calstore.associate import PROCESSED_DARK, PROCESSED_FLAT
from goafetch.events import Event, words
from goafetch.text import table_html
from reducer.headers.descriptors import Region
from reducer.products import exposure_name

DARK, FLAT, STANDARD, SCIENCE = "dark", "flat", "standard", "science"
#: Groups that become calibrations, and of which kind.
MASTERS: Mapping[str, str] = {DARK: PROCESSED_DARK, FLAT: PROCESSED_FLAT}
#: The step and the parameter by which the user names the file of a master, and the role that it has.
GIVEN: Mapping[str, tuple[str, str, str]] = {
    PROCESSED_DARK: ("darkCorrect", "dark", DARK),
    PROCESSED_FLAT: ("flatCorrect", "flat", FLAT),
}


def masters_given(parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Path]:
    """The masters that the user's parameters name, by kind."""
    named = {kind: parameters.get(step, {}).get(name) for kind, (step, name, _) in GIVEN.items()}
    return {kind: Path(path).absolute() for kind, path in named.items() if path}


@dataclass(frozen=True)
class Setup:
    """What frames that are reduced together have in common."""

    instrument: str
    filter: str
    exposure_time: float
    coadds: int
    read_mode: str
    regions: tuple[Region, ...]

    @property
    def traits(self) -> dict[str, Any]:
        """What the store's rules look at."""
        return {
            "instrument": self.instrument,
            "filter_name": self.filter,
            "region": self.regions,
            "exposure_time": self.exposure_time,
            "coadds": self.coadds,
            "read_mode": self.read_mode,
        }

    def __str__(self) -> str:
        coadds = f" x {self.coadds}" if self.coadds > 1 else ""
        return f"{self.filter} {self.exposure_time:g} s{coadds}".strip()


@dataclass(frozen=True)
class Group:
    """Frames that one recipe takes together.

    ``kind``: 'dark', 'flat', 'standard' or 'science'. ``frames``: raw files in order of time; of a flat the
    ``lit`` ones, with the lamp on, come first. ``dark``, ``flat`` and ``bpm``: the calibrations, some perhaps
    not yet made. ``reasons``: why these frames, why these calibrations. ``lent``: sky exposures of another
    group, which serve this one too. ``apart``: setups of the skies that differ from the group's.
    """

    kind: str
    target: str
    setup: Setup
    when: datetime
    frames: tuple[Path, ...]
    dark: Path | None = None
    flat: Path | None = None
    bpm: Path | None = None
    reasons: tuple[Event, ...] = ()
    visit: int = 1
    program: str = ""
    lit: int = 0
    lent: tuple[Path, ...] = ()
    apart: tuple[tuple[Path, Setup], ...] = ()

    @property
    def inputs(self) -> tuple[Path, ...]:
        """All that its recipe takes: its own frames and those that another group lends it."""
        return (*self.frames, *self.lent)

    @property
    def name(self) -> str:
        """A name for people: 'NGC5128 Kshort 60 s'."""
        visit = f", visit {self.visit}" if self.visit > 1 else ""
        return f"{self.target} {self.setup}{visit}"

    @property
    def stack(self) -> str:
        """The name of the stack that its frames go into; '' of a flat or dark."""
        return "" if self.kind in MASTERS else f"{self.target} {self.setup}"

    @property
    def product(self) -> str:
        """Name of the master flat or dark, or of the stack, by the first input."""
        return f"{exposure_name(self.frames[0])}_{self.kind if self.kind in MASTERS else 'image'}.fits"


@dataclass(frozen=True)
class Stack:
    """What the visits to one target with one setup become."""

    kind: str
    target: str
    setup: Setup
    groups: tuple[Group, ...]

    @property
    def name(self) -> str:
        """A name for people, that of its first visit."""
        return f"{self.target} {self.setup}"


@dataclass(frozen=True)
class LeftOut:
    """A file, or a kind of files, that no group takes, and why; ``failed`` where it should be there."""

    path: Path
    reason: str
    failed: bool = False


@dataclass(frozen=True)
class Plan:
    """All groups in the order of work, the stacks, and what is left out."""

    flats: tuple[Group, ...] = ()
    visits: tuple[Group, ...] = ()
    stacks: tuple[Stack, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    darks: tuple[Group, ...] = ()

    @property
    def masters(self) -> tuple[Group, ...]:
        """What becomes calibrations of the others, those first that serve others of them."""
        return (*self.darks, *self.flats)

    def groups(self) -> Iterator[Group]:
        """Darks and flats first, then standards and science."""
        yield from self.masters
        yield from self.visits

    def items(self) -> Iterator[Group | Stack]:
        """The groups, and the stacks that are made of them."""
        yield from self.groups()
        yield from self.stacks

    def table(self) -> list[dict[str, Any]]:
        """A row for each group: its frames, its calibrations, and what it becomes."""
        has_dark = any(group.dark for group in self.groups())
        return [
            {
                "group": group.name,
                "kind": group.kind,
                "frames": len(group.frames),
                "first": group.frames[0].name,
                **({"dark": group.dark.name if group.dark else ""} if has_dark else {}),
                "flat": group.flat.name if group.flat else "",
                "mask": group.bpm.name if group.bpm else "",
                "becomes": group.product if group.visit == 1 else "",
            }
            for group in self.groups()
        ]

    def __repr__(self) -> str:
        parts = {"dark": self.darks, "flat": self.flats, "visit": self.visits, "stack": self.stacks}
        counts = [f"{len(each)} {name}{'s' * (len(each) > 1)}" for name, each in parts.items() if each]
        counts += [f"{len(self.left_out)} left out"] if self.left_out else []
        return f"<Plan: {', '.join(counts) or 'nothing'}>"

    def _repr_html_(self) -> str:
        why = [
            {**row, "why": "; ".join(map(words, group.reasons))}
            for row, group in zip(self.table(), self.groups(), strict=True)
        ]
        left_out = [{"file": left.path.name, "reason": left.reason} for left in self.left_out]
        return table_html(why, "plan") + (table_html(left_out, "left out") if left_out else "")
