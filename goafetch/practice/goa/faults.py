"""The troubles that the practice archive can be told to have: seeded, counted and mostly passing."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from goafetch.practice.goa.holdings import Holding

NAMES = (
    "unavailable",
    "reset",
    "short-tar",
    "wrong-bytes",
    "slow-drip",
    "robot-page",
    "trailing-json",
    "withheld",
    "limits",
    "association-error",
    "retry-after",
    "captive-portal",
    "re-ingest",
    "clock",
    "older-software",
)
# How often each strikes unless told otherwise; None: always.
_TIMES: dict[str, int | None] = {
    **dict.fromkeys(("unavailable", "trailing-json"), 2),
    "retry-after": 3,
    **dict.fromkeys(("robot-page", "withheld", "limits", "association-error", "captive-portal"), None),
    **dict.fromkeys(("clock", "older-software"), None),
}
# Those whose victims are files; the victims of `association-error` are types of calibrations.
_OF_FILES = frozenset({"reset", "wrong-bytes", "slow-drip", "re-ingest", "withheld", "clock"})
_PAUSES = 12
#: How far the archive's clock is ahead with `clock`.
AHEAD = timedelta(days=3)


class ConnectionBroken(Exception):
    """The fault `reset`: the connection is to be reset here."""


@dataclass(frozen=True)
class Fault:
    """A trouble by name.

    ``times`` is how often it strikes in all, or per file for `reset`, `wrong-bytes`, `slow-drip` and
    `re-ingest`, per type of calibrations for `association-error`; None: always. ``files`` is how many files
    of each program these four, `withheld` and `clock` touch, or which share of them (0.33), drawn by the
    seed; None: all.
    ``pause`` (seconds) is what `slow-drip` waits between its drops, and `retry-after` asks for, at least one.
    """

    name: str
    times: int | None = 1
    files: int | float | None = 3
    pause: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a name that is no fault."""
        if self.name not in NAMES:
            raise ValueError(f"no fault {self.name!r}; there are {', '.join(NAMES)}")


def as_fault(fault: str | Fault) -> Fault:
    """Give a fault its usual measure when only its name is known.

    Raises:
        ValueError: the name is none of NAMES.
    """
    return fault if isinstance(fault, Fault) else Fault(fault, times=_TIMES.get(fault, 1))


def choose(holdings: Iterable[Holding], how_many: int | float | None, key: str) -> frozenset[str]:
    """Draw the stored names of so many files of each program, or of such a share of them.

    They are always the same ones for the same key.
    """

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{key}:{name}".encode()).digest()

    programs: dict[str, set[str]] = defaultdict(set)
    for holding in holdings:
        programs[str(holding.row["program_id"])].add(holding.stored_name)

    def drawn(names: set[str]) -> list[str]:
        number = round(how_many * len(names)) if isinstance(how_many, float) else how_many
        return sorted(names, key=rank)[:number]

    return frozenset(name for names in programs.values() for name in drawn(names))


class Faults:
    """Which fault strikes whom, and how often it has done so; safe to ask from several threads."""

    def __init__(self, faults: Iterable[str | Fault], holdings: Sequence[Holding], seed: int) -> None:
        self._faults = {fault.name: fault for fault in map(as_fault, faults)}
        present = [holding for holding in holdings if holding.row["present"]]
        self._victims = {
            name: choose(present, fault.files, f"{seed}:{name}") for name, fault in self._faults.items()
        }
        self._struck: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def strikes(self, name: str, victim: str = "") -> bool:
        """Say whether a fault strikes now (a file, or the request as a whole), and count it if so."""
        fault = self._faults.get(name)
        if fault is None or (name in _OF_FILES and victim and victim not in self._victims[name]):
            return False
        with self._lock:
            if fault.times is not None and self._struck[name, victim] >= fault.times:
                return False
            self._struck[name, victim] += 1
            return True

    def pause(self, name: str) -> float:
        """Give the seconds that belong to a fault in force."""
        return self._faults[name].pause

    def count(self, name: str) -> int:
        """Say how often a fault has struck."""
        with self._lock:
            return sum(times for (struck, _), times in self._struck.items() if struck == name)

    def disturb(self, blocks: Iterator[bytes], holding: Holding) -> Iterator[bytes]:
        """Pass on a file's bytes with whatever faults strike this delivery of it."""
        name = holding.stored_name
        if self.strikes("wrong-bytes", name):
            blocks = _spoil(blocks)
        if self.strikes("slow-drip", name):
            blocks = _drip(blocks, self._faults["slow-drip"].pause)
        if self.strikes("reset", name):
            blocks = _break_off(blocks)
        return blocks


def _spoil(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Turn over the bits of one byte in the middle of every block."""
    for block in blocks:
        middle = len(block) // 2
        yield block[:middle] + bytes(byte ^ 0xFF for byte in block[middle : middle + 1]) + block[middle + 1 :]


def _drip(blocks: Iterator[bytes], pause: float) -> Iterator[bytes]:
    """Send the first block in drops, waiting between them."""
    first = next(blocks, b"")
    step = max(1, len(first) // _PAUSES)
    for start in range(0, len(first), step):
        time.sleep(pause)
        yield first[start : start + step]
    yield from blocks


def _break_off(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Send half of the first block, then break the connection."""
    first = next(blocks, b"")
    yield first[: len(first) // 2]
    raise ConnectionBroken


def withhold(
    holdings: Sequence[Holding], faults: Iterable[str | Fault], seed: int, now: datetime
) -> list[Holding]:
    """Give the holdings with other dates of release.

    With `withheld` some science files are not released for a year; with `clock` some have been for a day.
    """
    found = {fault.name: fault for fault in map(as_fault, faults)}
    science = [holding for holding in holdings if holding.row["observation_class"] == "science"]
    dates: dict[str, str] = {}
    for name, delay in (("clock", timedelta(days=-1)), ("withheld", timedelta(days=365))):
        if name in found:
            victims = choose(science, found[name].files, f"{seed}:{name}")
            dates.update(dict.fromkeys(victims, (now + delay).date().isoformat()))
    return [
        replace(holding, row={**holding.row, "release": dates[holding.stored_name]})
        if holding.stored_name in dates
        else holding
        for holding in holdings
    ]
