"""Lamp frames into groups: sets of flats that are uniform within themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from goafetch.plan.model import FLAT, Group, LeftOut, Setup
from goafetch.plan.sort import LAMP_OFF, LAMP_ON, Frame, of_role
from reducer.instruments import KNOWN

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

#: What the frames of a set of flats must have in common.
SAME = "filter, exposure, coadds, read mode and region"
#: Nights at Gemini South are labelled by the UT date at their end; they begin at 18:00 UT.
NIGHT_BEGINS = timedelta(hours=6)


def time_of(frame: Frame) -> datetime:
    """When it was taken; frames without a time have no role and never come here."""
    when = frame.facts.ut_datetime
    assert when is not None
    return when


def night_of(when: datetime) -> date:
    """The night's label: D covers D-1 18:00 to D 18:00 UT."""
    return (when + NIGHT_BEGINS).date()


def flat_groups(frames: Sequence[Frame]) -> tuple[list[Group], list[LeftOut]]:
    """Sets of lamp-on frames of one night and setup, each with the lamp-off frames that match it.

    Where there are dome flats of a filter, those of the calibration unit are left out. A set without lamp-off
    frames is left out too, with the reason, but in filters where that is the custom.
    """
    domes = {f.setup.filter for f in of_role(frames, LAMP_ON) if not f.gcal}
    sorted_out = by(of_role(frames, LAMP_ON, LAMP_OFF), lambda f: f.gcal and f.setup.filter in domes)
    lamps, spare = sorted_out[False], sorted_out[True]
    dark = by(of_role(lamps, LAMP_OFF), lambda f: (f.setup, f.gcal))
    groups: list[Group] = []
    used: set[Path] = set()
    left_out = [LeftOut(f.path, f"a GCAL flat: there are dome flats of {f.setup.filter}") for f in spare]
    sets = by(of_role(lamps, LAMP_ON), lambda f: (f.setup, f.gcal, night_of(time_of(f))))
    for (setup, gcal, _), lit in sets.items():
        off = _nearest_night(dark.get((setup, gcal), []), time_of(lit[0]))
        if off or gcal or setup.filter in KNOWN[setup.instrument].lit_alone:
            groups.append(_flat_group(setup, lit, off))
            used.update(f.path for f in off)
        else:
            others = [other for other, _ in dark]
            left_out += [LeftOut(f.path, _no_lamp_off(setup, others), failed=True) for f in lit]
    unused = [f for off in dark.values() for f in off if f.path not in used]
    left_out += [LeftOut(f.path, "no lamp-on frames of its setup to subtract it from") for f in unused]
    return groups, left_out


def _flat_group(setup: Setup, lit: list[Frame], off: list[Frame]) -> Group:
    if not off:
        why = (
            "the calibration unit's" if lit[0].gcal else f"in {setup.filter} the dome's own light adds little"
        )
        files = tuple(f.path for f in lit)
        reason = f"{len(lit)} lamp-on frames that agree in {SAME}, no lamp-off frames: {why}"
        return Group(FLAT, "flat", setup, time_of(lit[0]), files, reasons=(reason,), lit=len(lit))
    reason = f"{len(lit)} lamp-on and {len(off)} lamp-off frames that agree in {SAME}"
    nights = {night_of(time_of(f)) for f in (*lit, *off)}
    apart = "" if len(nights) == 1 else f"; lamp-off frames are {max(nights) - min(nights)} away"
    files = tuple(f.path for f in (*lit, *off))
    return Group(FLAT, "flat", setup, time_of(lit[0]), files, reasons=(reason + apart,), lit=len(lit))


def _no_lamp_off(setup: Setup, dark: Iterable[Setup]) -> str:
    others = sorted({str(other) for other in dark})
    found = f"there are some of {', '.join(others)}" if others else "there are none at all"
    return (
        f"lamp-on flat without lamp-off frames of {setup} in {setup.read_mode}: {found}. "
        "Fetch the missing ones, or make the flat on its own with `goafetch reduce -r makeProcessedFlat "
        "-p makeFlat:lamp_on_only=True`"
    )


def _nearest_night(frames: Sequence[Frame], when: datetime) -> list[Frame]:
    nights = by(frames, lambda f: night_of(time_of(f)))
    nearest = min(nights, key=lambda night: abs(night - night_of(when)), default=None)
    return nights[nearest] if nearest is not None else []


def by(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items of each key, in the order in which they come."""
    parts: dict[K, list[T]] = defaultdict(list)
    for item in items:
        parts[key(item)].append(item)
    return parts
