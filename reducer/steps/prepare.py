"""Make raw frames ready: headers repaired, pointings checked against target and offsets, misfits refused."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from reducer.align.wcs import (
    ORIGIN,
    Layout,
    by_keywords,
    descriptors_of,
    frame_regions,
    header_layout,
    moved,
    positions,
)
from reducer.astrometry import Position, sky_to_plane
from reducer.errors import BadInput, ReducerError
from reducer.frame import Context, FrameRef
from reducer.headers.repairs import has_wcs, repair, why_stopped
from reducer.headers.targets import link
from reducer.keywords import region, scale
from reducer.products import PROCESSED_DARK
from reducer.provenance import file_md5, steps_done
from reducer.step import step
from reducer.types import F64, Reason, because

#: Arcsec by which a WCS may be away from target plus offset (1.1 was seen).
ABSOLUTE_LIMIT = 15.0
#: Arcsec by which it may differ from what the other frames of the same target show.
RELATIVE_LIMIT = 5.0
#: Arcsec by which an array of a true WCS may be off its place in the focal plane (1.1 was seen).
LAYOUT_LIMIT = 3.0
#: Relative departure of the CD matrix's scale from the arrays' that no true WCS has.
SCALE_LIMIT = 0.1
#: Degrees between the CD matrix and that of the other frames that no true WCS has.
ANGLE_LIMIT = 2.0
#: What frames that are reduced together must share, and those of one place besides.
EVERYWHERE, AT_ONE_PLACE = ("filter", "read mode", "region"), ("exposure time", "coadds")
UNREADABLE = because("wcs_unreadable")


@step(suffix="_prepared", cannot_skip="every other step reads the headers that it puts right")
def prepare(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    bad_wcs: Annotated[Literal["fix", "exit", "new", "ignore"], "for a WCS against its offsets"] = "fix",
) -> list[FrameRef]:
    """Repair headers, refuse frames that do not belong, and check and repair the WCS of the others."""
    repaired = accept(_whole(frames, context), context, lambda frame: _made_ready(frame, context))
    darks = [frame for frame in repaired if "DARK" in descriptors_of(frame).tags]
    same = [*like_most([f for f in repaired if f not in darks], context), *like_most(darks, context)]
    unknown = [frame.path for frame in same if frame.path.name not in context.raw_md5]
    made = dict(zip(unknown, context.map(file_md5, unknown), strict=True))
    frames = [f.with_(md5=context.raw_md5.get(f.path.name) or made[f.path]) for f in same]
    return check_pointings(frames, context, bad_wcs)


@step(suffix="_pointingsChecked")
def checkPointings(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Say for each frame whether its WCS agrees with its target and offsets; changes nothing."""
    repaired = accept(frames, context, lambda frame: right_windows(repair(frame)))
    reasons = what_is_wrong(repaired, [pointing(frame) for frame in repaired])
    for frame, reason in zip(repaired, reasons, strict=True):
        context.notify("wcs_wrong" if reason else "wcs_agrees", file=frame.path.name, **reason)
    return list(frames)


def _whole(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Leave out, by name, exposures that were stopped; none where that is said of half of them or more, for
    then their cards mean another thing."""
    reasons = [why_stopped(frame.header) for frame in frames]
    stopped = sum(bool(reason) for reason in reasons)
    if 2 * stopped >= len(frames):
        for frame, reason in zip(frames, reasons, strict=True):
            if reason:
                context.notify("stopped_kept", file=frame.path.name, **reason)
        return list(frames)
    for frame, reason in zip(frames, reasons, strict=True):
        if reason:
            context.notify("refused", name=frame.path.name, **reason)
    return [frame for frame, reason in zip(frames, reasons, strict=True) if not reason]


def _made_ready(frame: FrameRef, context: Context) -> FrameRef:
    """A raw frame with its headers put right, or what this step wrote of one, as it is."""
    if "PREPARE" not in frame.header:
        return right_windows(repair(frame))
    if steps_done(context, frame) != [prepare.name]:
        raise BadInput("already reduced", "a raw or prepared frame", "give the file of the archive")
    return frame


def accept(
    frames: Sequence[FrameRef], context: Context, function: Callable[[FrameRef], FrameRef]
) -> list[FrameRef]:
    """Apply a function to each frame; frames it refuses are named and left out, the others go on."""
    kept, reasons = [], []
    for frame in frames:
        try:
            kept.append(function(frame))
        except ReducerError as error:
            reasons.append(f"{frame.path.name}: {error}")
            context.notify("refused", name=frame.path.name, **error.reason)
    if not kept:
        raise BadInput(
            "; ".join(reasons) or "the list of frames is empty",
            "at least one usable frame",
            "give other files",
        )
    return kept


# --- what belongs together ---------------------------------------------------------------------------


#: What may have to agree between frames that are reduced together.
SETTINGS: Mapping[str, Callable[[FrameRef], Any]] = {
    "filter": lambda frame: descriptors_of(frame).filter,
    "exposure time": lambda frame: descriptors_of(frame).exposure_time,
    "coadds": lambda frame: descriptors_of(frame).coadds,
    "read mode": lambda frame: descriptors_of(frame).read_speed_setting,
    "region": lambda frame: tuple((int(chip["EXTVER"]), region(chip)) for chip in frame.chips),
}


def like_most(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Keep the frames whose setting most of them share; refuse each other one with what differs.

    Exposures of different places may differ in their time and coadds: a sky is scaled. A frame that misses an
    array agrees if the arrays it has agree; what it lacks is told.
    """
    lit = [frame for frame in frames if descriptors_of(frame).tags & {"FLAT", "DARK"}]
    sky = same_settings([frame for frame in frames if frame not in lit], EVERYWHERE, context)
    groups = link(*positions(sky), sky[0].instrument.field.side / 2) if sky else np.array([])
    all_dark = all("DARK" in descriptors_of(frame).tags for frame in lit)
    light = {"filter"} if all_dark else set()  # what makes no difference where there is none
    kept = same_settings(lit, [n for n in (*EVERYWHERE, *AT_ONE_PLACE) if n not in light], context)
    for wanted in np.unique(groups):
        here = [frame for frame, group in zip(sky, groups, strict=True) if group == wanted]
        kept += same_settings(here, AT_ONE_PLACE, context)
    for frame in kept:
        missing = {array.number for array in frame.instrument.arrays} - {
            int(c["EXTVER"]) for c in frame.chips
        }
        if missing:
            context.notify("array_missing", file=frame.path.name, arrays=sorted(missing))
    return [frame for frame in frames if frame in kept]


def same_settings(frames: Sequence[FrameRef], names: Sequence[str], context: Context) -> list[FrameRef]:
    """The frames that agree with most in some of their settings; the others are refused by name."""
    settings = [{name: SETTINGS[name](frame) for name in names} for frame in frames]
    common = {
        name: Counter(found[name] for found in settings).most_common(1)[0][0] for name in names if settings
    }
    kept = []
    for frame, found in zip(frames, settings, strict=True):
        differing = [name for name in common if not _agrees(name, found[name], common[name])]
        if differing:
            own, usual = ({name: some[name] for name in differing} for some in (found, common))
            context.notify("refused", name=frame.path.name, **because("settings", settings=own, usual=usual))
        else:
            kept.append(frame)
    return kept


def like_dark(frames: Sequence[FrameRef], dark: Path, context: Context) -> list[FrameRef]:
    """Keep the frames that a dark fits by what their instrument says it must agree in; refuse the others."""
    master = context.disk.open_frame(dark)
    rule = frames[0].instrument.calibrations.get(PROCESSED_DARK)
    names = [name.replace("_", " ") for name in (rule.same if rule else ())]
    wanted = {name: SETTINGS[name](master) for name in names if name in (*AT_ONE_PLACE, "read mode")}

    def fits(frame: FrameRef) -> FrameRef:
        found = {name: SETTINGS[name](frame) for name in wanted}
        differing = [name for name in wanted if not _is_same(found[name], wanted[name])]
        if differing:
            raise BadInput(
                ", ".join(f"{name} {found[name]}" for name in differing),
                f"what {dark.name} has: {', '.join(str(wanted[name]) for name in differing)}",
                "take a dark that fits, or set darkCorrect:do_cal=skip",
            )
        return frame

    return accept(frames, context, fits)


def _is_same(one: Any, other: Any) -> bool:
    """Whether two settings agree; exposure times, as headers round them, to a part in 100."""
    return math.isclose(one, other, rel_tol=0.01) if isinstance(one, float) else bool(one == other)


def _agrees(name: str, found: Any, common: Any) -> bool:
    return set(found) <= set(common) or set(common) <= set(found) if name == "region" else found == common


# --- pointing ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pointing:
    """Where a frame's headers say it looked.

    ``commanded``: target plus offset keywords, degrees; the telescope puts it on ``ORIGIN``. ``angle``: the
    position angle by its keyword, degrees. ``parity``: -1 where the port mirrors the sky. ``layout``: by the
    WCS of the arrays, None if that cannot be read.
    """

    commanded: Position
    angle: float
    parity: float
    layout: Layout | None

    def excess(self) -> F64:
        """WCS minus keywords on the static plane, (2,) arcsec; there an error of the pointing stays the same
        when the field is turned."""
        assert self.layout is not None
        found = self.layout.to_sky(ORIGIN)
        east, north = sky_to_plane(np.array(found[:1]), np.array(found[1:]), self.commanded)
        return np.asarray(self.layout.rotation.T @ [east[0], north[0]])

    def turn(self) -> float:
        """Degrees by which the WCS is turned against the keyword, -180 to 180."""
        assert self.layout is not None
        return self.layout.departure(self.angle)


def pointing(frame: FrameRef) -> Pointing | None:
    """The pointing of a frame on the sky; None if it has no target (a flat, a dark).

    BadInput where the headers leave open where an exposure of the sky looked.
    """
    if not _is_of_sky(frame):
        return None
    described, readable = descriptors_of(frame), has_wcs(frame)
    layout = header_layout(frame) if readable else None
    place = by_keywords(described) or (layout.to_sky(ORIGIN) if layout else None)
    if place is None:
        raise BadInput(
            "neither its WCS nor its target and offsets can be read", "one of them", "leave it out"
        )
    parity = np.linalg.det(layout.rotation) if layout else frame.instrument.parity(frame.header)
    return Pointing(place, described.position_angle or 0.0, float(np.sign(parity)), layout)


def _is_of_sky(frame: FrameRef) -> bool:
    tags = descriptors_of(frame).tags
    return not tags & {"FLAT", "DARK", "BPM"} or "TWILIGHT" in tags


def right_windows(frame: FrameRef) -> FrameRef:
    """The frame with CRPIX of windows put right where it was reduced by DETSEC's origin, not CCDSEC's.

    In 2018 the central windows of GSAOI's standards have it so. The arrays tell: as they stand they do not
    fit the focal plane, and with that origin given back they do. Of a lamp's light nobody asks where it is.
    """
    layout = header_layout(frame) if _is_of_sky(frame) else None
    if layout is None or layout.misfit < LAYOUT_LIMIT:
        return frame
    chips = tuple(chip.copy() for chip in frame.chips)
    for index, chip in enumerate(chips):
        for key, origin in zip(("CRPIX1", "CRPIX2"), frame.array(index).origin, strict=True):
            if key in chip:
                chip[key] += origin
    tried = frame.with_(chips=chips)
    mended, found = header_layout(tried), pointing(tried)
    if mended is None or mended.misfit > LAYOUT_LIMIT:
        return frame
    if found and _length(found.excess()) > ABSOLUTE_LIMIT:
        return frame  # what fits the focal plane then would not fit the sky
    said = (
        f"CRPIX was reduced by the origin of DETSEC: with that of CCDSEC the arrays lie within "
        f"{mended.misfit:.1f} arcsec of their places ({layout.misfit:.0f} before)"
    )
    return frame.with_(chips=chips, repairs=(*frame.repairs, said))


def check_pointings(frames: list[FrameRef], context: Context, bad_wcs: str) -> list[FrameRef]:
    """Check each WCS against target plus offset and against the other frames; repair or refuse as told."""
    frames = accept(frames, context, _locatable)
    pointings = [pointing(frame) for frame in frames]
    if not any(pointings):
        return frames
    wrong = {place: why for place, why in enumerate(what_is_wrong(frames, pointings)) if why}
    if bad_wcs == "ignore":
        wrong = {place: UNREADABLE for place, found in enumerate(pointings) if found and not found.layout}
    if bad_wcs == "new":
        wrong = {place: because("wcs_new") for place, found in enumerate(pointings) if found}
    if wrong and bad_wcs == "exit":
        names = ", ".join(frames[place].path.name for place in wrong)
        raise BadInput(f"the WCS of {names} contradicts the offsets", "", "set prepare:bad_wcs=fix")
    good = [found for place, found in enumerate(pointings) if found and place not in wrong]
    excess = _usual_excess(good or [found for found in pointings if found and found.layout])
    turn = _circular_median([found.turn() for found in good]) if good else 0.0
    rebuilt = []
    for place, (frame, found) in enumerate(zip(frames, pointings, strict=True)):
        if found and place in wrong:
            frame = rebuild_wcs(frame, found, excess, turn)
            context.notify("wcs_rebuilt", file=frame.path.name, **wrong[place])
        rebuilt.append(frame)
    return rebuilt


def _locatable(frame: FrameRef) -> FrameRef:
    pointing(frame)
    return frame


def what_is_wrong(frames: Sequence[FrameRef], pointings: Sequence[Pointing | None]) -> list[Reason]:
    """For each frame, why its WCS cannot be right; nothing where it can."""
    known = [found for found in pointings if found and found.layout]
    excesses = np.array([found.excess() for found in known]).reshape(-1, 2)
    near = np.hypot(*excesses.T) < ABSOLUTE_LIMIT
    several = bool(near.sum() >= 3)
    usual = np.median(excesses[near], axis=0) if several else np.zeros(2)
    limit = RELATIVE_LIMIT if several else ABSOLUTE_LIMIT
    turn = _circular_median([found.turn() for found in known]) if known else 0.0
    return [
        _why_wrong(frame, found, usual, limit, turn) if found else {}
        for frame, found in zip(frames, pointings, strict=True)
    ]


def _why_wrong(frame: FrameRef, found: Pointing, usual: F64, limit: float, turn: float) -> Reason:
    if not found.layout:
        return UNREADABLE
    away = _length(found.excess() - usual)
    if away > limit:
        return because("wcs_offset", distance=away)
    if found.layout.misfit > LAYOUT_LIMIT:
        return because("wcs_layout", distance=found.layout.misfit)
    for chip in frame.chips:
        found_scale = scale(chip)
        if found_scale is None or abs(found_scale / frame.instrument.field.reference_scale - 1) > SCALE_LIMIT:
            return because("wcs_scale", array=chip["EXTVER"], scale=found_scale)
    turned = _circular(found.turn() - turn)
    return because("wcs_rotation", angle=turned) if abs(turned) > ANGLE_LIMIT else {}


def _usual_excess(pointings: Sequence[Pointing]) -> F64:
    """The median of those that can be; arrays out of place may still lie around the right one."""
    excesses = [found.excess() for found in pointings]
    near = [excess for excess in excesses if _length(excess) < ABSOLUTE_LIMIT]
    return np.asarray(np.median(near, axis=0)) if near else np.zeros(2)


def _length(vector: F64) -> float:
    return float(np.hypot(*vector))


def _circular(angle: float) -> float:
    return (angle + 180.0) % 360.0 - 180.0


def _circular_median(angles: Sequence[float]) -> float:
    first = angles[0]
    return first + float(np.median([_circular(angle - first) for angle in angles]))


def rebuild_wcs(frame: FrameRef, found: Pointing, excess: F64, turn: float) -> FrameRef:
    """The frame with a WCS by the static model at target plus offset.

    ``excess`` (arcsec on the static plane) and ``turn`` (degrees): what the good frames of the set usually
    have against their keywords. ``excess``: (2,).
    """
    angle = np.radians(found.angle + turn)
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([[found.parity * cosine, sine], [-found.parity * sine, cosine]])
    chips = tuple(chip.copy() for chip in frame.chips)
    for chip, part in zip(chips, frame_regions(frame), strict=True):
        start, matrix = frame.instrument.field.maps[part.array - 1].affine
        pixel = np.linalg.solve(matrix, ORIGIN - start) - (part.x, part.y)
        cd = rotation @ matrix / 3600.0
        values = (*pixel, *moved(found.commanded, rotation @ excess), *cd.ravel())
        keys = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
        for key, value in zip(keys, values, strict=True):
            chip[key] = float(value)
        chip["CTYPE1"], chip["CTYPE2"] = "RA---TAN", "DEC--TAN"
    return frame.with_(chips=chips, repairs=(*frame.repairs, "WCS rebuilt from target and offsets"))
