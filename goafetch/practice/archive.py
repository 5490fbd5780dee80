"""Keeps the practice archive's simulated programs in the user's cache, each made once and never half."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from goafetch import __version__
from goafetch.errors import UsageError
from goafetch.events import Notify, silent
from goafetch.system import scratch
from goafetch.workspace import exclusive

#: What can be simulated; known here too, so that a start from the cache loads nothing heavy.
PROGRAMS = ("tutorial", "harder", "f2")
#: Seconds that one process waits for another that makes the same program.
LONGEST = 3600.0


def prepare(
    full_size: bool = False,
    seed: int = 1,
    truth: Path | None = None,
    programs: Iterable[str] | None = ("tutorial",),
    *,
    folder: Path | None = None,
    notify: Notify = silent,
) -> list[Path]:
    """Give the folders with the programs' stored files and ``holdings.json``, making those that are missing.

    Args:
        full_size: read-outs of whole arrays (2048x2048) rather than their central region.
        seed: draws everything that is random.
        truth: where the truth is written, a folder a program; the programs are then simulated anew.
        programs: names of programs; None means all there are.
        folder: where the programs are kept; None is the user's cache folder.
        notify: told how the simulation goes.

    Raises:
        UsageError: there is no program of a name.
        OSError: the folder cannot be written to.
    """
    names = PROGRAMS if programs is None else tuple(programs)
    if unknown := [name for name in names if name not in PROGRAMS]:
        raise UsageError(f"no practice program {unknown[0]!r}", f"one of {', '.join(PROGRAMS)}")
    size = "full" if full_size else "region"
    root = folder or scratch() / "practice"
    store = root / f"{__version__}-{_fingerprint()}-seed{seed}-{size}"
    return [
        _prepare_one(name, store / name, full_size, seed, truth / name if truth else None, notify)
        for name in names
    ]


def _prepare_one(
    name: str, target: Path, full_size: bool, seed: int, truth: Path | None, notify: Notify
) -> Path:
    """Make one program beside its final place and move it there whole; one process at a time."""
    from goafetch.practice import flamingos2, simulate

    if target.exists() and truth is None:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with exclusive(target.with_suffix(".lock"), LONGEST):
        if target.exists() and truth is None:
            return target
        shutil.rmtree(partial, ignore_errors=True)
        how: dict[str, Any] = {"seed": seed, "full_size": full_size, "truth": truth, "notify": notify}
        if name == "f2":
            flamingos2.build_program(partial, **how)
        else:
            simulate.build_program(name, partial, **how)
        if target.exists():
            # Same seed, same bytes: what is there stays, and another server may be reading it.
            shutil.rmtree(partial)
        else:
            partial.rename(target)
    return target


def _fingerprint() -> str:
    """Tell simulators apart: files made by other code than this are not reused."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for source in sorted(here.rglob("*.py")):
        # What serves the files does not make them.
        if source.parent.name != "goa" and source.name not in {"archive.py", "server.py"}:
            digest.update(source.read_bytes())
    return digest.hexdigest()[:8]
