"""Lamp frames and darks into groups: sets that are uniform within themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TypeVar

from calstore.associate import LAMP_OFF as LAMP_OFF_KIND
from calstore.associate import PROCESSED_DARK, Calibration, Match, best, night_of
from goafetch.events import event_of
from goafetch.needs import need
from goafetch.plan.plan import DARK, FLAT, Group, LeftOut, Setup
from goafetch.plan.sort import LAMP_OFF, LAMP_ON, Frame, of_role

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

#: What the frames of a set of flats must have in common.
READ_ALIKE = "exposure time, coadds, read mode and region"
SAME = f"filter, {READ_ALIKE}"


def time_of(frame: Frame) -> datetime:
    """When it was taken; frames without a time have no role and never come here."""
    when = frame.facts.ut_datetime
    assert when is not None
    return when


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
        off, objection = _lamp_off_for(lit, dark.get((setup, gcal), []))
        if off or gcal or setup.filter in lit[0].instrument.lit_alone:
            groups.append(_flat_group(setup, lit, off))
            used.update(f.path for f in off)
        else:
            others = [other for other, _ in dark]
            why = _no_lamp_off(setup, others, objection)
            left_out += [LeftOut(f.path, why, failed=True) for f in lit]
    unused = [f for off in dark.values() for f in off if f.path not in used]
    alone = "no lamp-on frames of its setup within {:g} days to subtract it from"
    left_out += [LeftOut(f.path, alone.format(f.instrument.calibrations[LAMP_OFF_KIND].days)) for f in unused]
    return groups, left_out


def dark_groups(frames: Sequence[Frame]) -> list[Group]:
    """Sets of darks that were read alike, whatever the filter, none longer than darks serve."""
    alike = by(of_role(frames, DARK), lambda f: replace(f.setup, filter=""))
    return [
        Group(DARK, "dark", setup, time_of(darks[0]), tuple(f.path for f in darks), reasons=(
            event_of("darks_grouped", {"frames": len(darks), "same": READ_ALIKE}),))
        for setup, same in alike.items()
        for darks in _in_spans(same, same[0].instrument.calibrations[PROCESSED_DARK].days)
    ]  # fmt: skip


def _in_spans(frames: Sequence[Frame], days: float | None) -> Iterator[list[Frame]]:
    """Frames in parts, in each of which none was taken more days after the first."""
    part: list[Frame] = []
    for frame in frames:
        if part and days is not None and time_of(frame) - time_of(part[0]) > timedelta(days):
            yield part
            part = []
        part.append(frame)
    yield part


def _flat_group(setup: Setup, lit: list[Frame], off: list[Frame]) -> Group:
    if not off:
        files = tuple(f.path for f in lit)
        reason = event_of("flats_without_off", {"lit": len(lit), "same": SAME, "why": _why_alone(lit[0])})
        return Group(FLAT, "flat", setup, time_of(lit[0]), files, reasons=(reason,), lit=len(lit))
    found = {"lit": len(lit), "off": len(off), "same": SAME}
    nights = {night_of(time_of(f)) for f in (*lit, *off)}
    if len(nights) == 1:
        reason = event_of("flats_grouped", found)
    else:
        reason = event_of("flats_of_nights", found | {"days": str(max(nights) - min(nights))})
    files = tuple(f.path for f in (*lit, *off))
    return Group(FLAT, "flat", setup, time_of(lit[0]), files, reasons=(reason,), lit=len(lit))


def _why_alone(frame: Frame) -> str:
    """Why a flat is made without lamp-off frames."""
    if "LAMPOFF" in frame.facts.tags:
        return f"in {frame.setup.filter} the closed shutter is the light"
    if frame.gcal:
        return "the calibration unit's"
    return f"in {frame.setup.filter} the dome's own light adds little"


def _no_lamp_off(setup: Setup, dark: Iterable[Setup], objection: str) -> str:
    others = sorted({str(other) for other in dark})
    found = f"there are some of {', '.join(others)}" if others else "there are none at all"
    found = f"those that there are were taken {objection}" if objection else found
    return (
        f"lamp-on flat without lamp-off frames of {setup} in {setup.read_mode}: {found}. "
        "Fetch the missing ones, or make the flat on its own with `goafetch reduce -r makeProcessedFlat "
        "-p makeFlat:lamp_on_only=True`"
    )


def _lamp_off_for(lit: Sequence[Frame], dark: Sequence[Frame]) -> tuple[list[Frame], str]:
    """The lamp-off frames of the nearest night that the store's rule allows, or what it has against it."""
    nights = by(dark, lambda f: night_of(time_of(f)))
    traits = lit[0].setup.traits
    sought = need(LAMP_OFF_KIND, when=datetime.combine(night_of(time_of(lit[0])), time()), **traits)
    offered = {
        Calibration(kind=LAMP_OFF_KIND, when=datetime.combine(night, time()), path=str(night), **traits): off
        for night, off in nights.items()
    }
    answer = best(sought, offered)
    if isinstance(answer, Match):
        return offered[answer.calibration], ""
    nearest = min(answer.rejected, key=lambda lost: abs(lost.calibration.when - sought.when), default=None)
    return [], nearest.reason if nearest else ""


def by(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items of each key, in the order in which they come."""
    parts: dict[K, list[T]] = defaultdict(list)
    for item in items:
        parts[key(item)].append(item)
    return parts
