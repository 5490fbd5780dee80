"""Make raw frames ready: headers repaired, pointings checked against target and offsets, misfits refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reducer import parameters
from reducer.align.sky import Position, plane_to_sky, sky_to_plane
from reducer.errors import BadInput, ReducerError
from reducer.frame import Context, FrameRef, Header
from reducer.headers.descriptors import Descriptors
from reducer.headers.gsaoi import has_wcs, region, repair
from reducer.headers.keywords import scale
from reducer.provenance import file_md5

#: Arcsec by which a WCS may be away from target plus offset (DRAGONS, standardizeWCS of GSAOI).
ABSOLUTE_LIMIT = 30.0
#: Arcsec by which it may differ from what the other frames of the same target show.
RELATIVE_LIMIT = 5.0
#: Relative departure of the CD matrix's scale from the arrays' that no true WCS has.
SCALE_LIMIT = 0.1
#: Degrees between the CD matrix and that of the other frames that no true WCS has.
ANGLE_LIMIT = 2.0
UNREADABLE = "its WCS cannot be read"


def prepare(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Repair headers, refuse frames that do not belong, and check and repair the WCS of the others."""
    repaired = accept(frames, context, lambda frame: repair(_raw(frame)))
    darks = [frame for frame in repaired if "DARK" in describe(frame).tags]
    same = [*like_most([f for f in repaired if f not in darks], context), *like_most(darks, context)]
    hashes = _hashes(same, context)
    frames = [frame.with_(md5=md5) for frame, md5 in zip(same, hashes, strict=True)]
    return check_pointings(frames, context, parameters.value(context, "prepare", "bad_wcs"))


def checkPointings(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Say for each frame whether its WCS agrees with its target and offsets; changes nothing."""
    repaired = accept(frames, context, repair)
    reasons = what_is_wrong(repaired, [pointing(frame) for frame in repaired])
    for frame, reason in zip(repaired, reasons, strict=True):
        context.notify("decision", what=frame.path.name, reason=reason or "the WCS agrees with the offsets")
    return list(frames)


def _raw(frame: FrameRef) -> FrameRef:
    if "PREPARE" in frame.header:
        raise BadInput("already reduced", "a raw frame", "give the file of the archive")
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
            context.notify("refused", name=frame.path.name, reason=str(error))
    if not kept:
        raise BadInput(
            "; ".join(reasons) or "the list of frames is empty",
            "at least one usable frame",
            "give other files",
        )
    return kept


# --- what belongs together ---------------------------------------------------------------------------


def setting(frame: FrameRef) -> dict[str, Any]:
    """What must agree between frames that are reduced together."""
    described = describe(frame)
    return {
        "filter": described.filter,
        "exposure time": described.exposure_time,
        "coadds": described.coadds,
        "read mode": described.read_speed_setting,
        "region": tuple((int(chip["EXTVER"]), region(chip)) for chip in frame.chips),
    }


def describe(frame: FrameRef) -> Descriptors:
    """The descriptors of a frame, from its headers as they are now."""
    return Descriptors(frame.header, frame.chips, frame.path.name)


def like_most(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Keep the frames whose setting most of them share; refuse each other one with what differs.

    A frame that misses an array agrees if the arrays it has agree; what it lacks is told.
    """
    if not frames:
        return []
    settings = [setting(frame) for frame in frames]
    common = {name: _most_common([found[name] for found in settings]) for name in settings[0]}

    def check(pair: tuple[FrameRef, dict[str, Any]]) -> str:
        differing = [name for name in common if not _agrees(name, pair[1][name], common[name])]
        return ", ".join(f"{name} {pair[1][name]} where most have {common[name]}" for name in differing)

    kept = []
    for frame, found in zip(frames, settings, strict=True):
        reason = check((frame, found))
        if reason:
            context.notify("refused", name=frame.path.name, reason=reason)
            continue
        if len(frame.chips) < 4:
            missing = {1, 2, 3, 4} - {int(chip["EXTVER"]) for chip in frame.chips}
            context.notify("warning", text=f"{frame.path.name} has no array {missing}: reduced without")
        kept.append(frame)
    return kept


def _most_common(values: Sequence[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def _agrees(name: str, found: Any, common: Any) -> bool:
    return set(found) <= set(common) or set(common) <= set(found) if name == "region" else found == common


def _hashes(frames: Sequence[FrameRef], context: Context) -> list[str]:
    unknown = [frame.path for frame in frames if frame.path.name not in context.raw_md5]
    made = dict(zip(unknown, context.map(_hash, unknown), strict=True))
    return [context.raw_md5.get(frame.path.name) or made[frame.path] for frame in frames]


def _hash(path: Path) -> str:
    return file_md5(path)


# --- pointing ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pointing:
    """Where a frame's headers say it looked: arcsec east and north of its target.

    ``offset``: by the offset keywords. ``by_wcs``: by the reference point of each array's WCS; empty if it
    cannot be read.
    """

    target: Position
    offset: tuple[float, float]
    by_wcs: tuple[tuple[float, float], ...]

    def excess(self) -> tuple[float, float]:
        """WCS minus offset keywords, the mean of the arrays, arcsec."""
        mean = np.mean(self.by_wcs, axis=0)
        return float(mean[0] - self.offset[0]), float(mean[1] - self.offset[1])


def pointing(frame: FrameRef) -> Pointing | None:
    """The pointing of a frame on the sky; None if it has no target (a flat, a dark).

    BadInput where the headers leave open where an exposure of the sky looked.
    """
    described = describe(frame)
    if described.tags & {"FLAT", "DARK", "BPM"} and "TWILIGHT" not in described.tags:
        return None
    ra, dec, offset = described.target_ra, described.target_dec, header_offset(frame)
    readable = all(has_wcs(chip) for chip in frame.chips)
    if not readable and (ra is None or dec is None or offset is None):
        raise BadInput(
            "neither its WCS nor its target and offsets can be read", "one of them", "leave it out"
        )
    if ra is None or dec is None:
        return None
    if not readable and offset is not None:
        return Pointing((ra, dec), offset, ())
    values = [(chip["CRVAL1"], chip["CRVAL2"]) for chip in frame.chips]
    east, north = sky_to_plane(np.array([x for x, _ in values]), np.array([y for _, y in values]), (ra, dec))
    by_wcs = tuple((float(e), float(n)) for e, n in zip(east, north, strict=True))
    return Pointing((ra, dec), offset if offset is not None else by_wcs[0], by_wcs)


def header_offset(frame: FrameRef) -> tuple[float, float] | None:
    """The offset from the target, arcsec east and north: RAOFFSET and DECOFFSE, else P and Q turned by PA."""
    described = describe(frame)
    if described.ra_offset is not None and described.dec_offset is not None:
        return described.ra_offset, described.dec_offset
    p, q = described.p_offset, described.q_offset
    if p is None or q is None:
        return None
    angle = np.radians(described.position_angle or 0.0)
    return (
        float(p * np.cos(angle) + q * np.sin(angle)),
        float(q * np.cos(angle) - p * np.sin(angle)),
    )


def check_pointings(frames: list[FrameRef], context: Context, bad_wcs: str) -> list[FrameRef]:
    """Check each WCS against target plus offset and against the other frames; repair or refuse as told."""
    frames = accept(frames, context, _locatable)
    pointings = [pointing(frame) for frame in frames]
    wrong = {place: why for place, why in enumerate(what_is_wrong(frames, pointings)) if why}
    if bad_wcs == "ignore":
        wrong = {place: UNREADABLE for place, found in enumerate(pointings) if found and not found.by_wcs}
    if bad_wcs == "new":
        wrong = {place: "a new WCS was asked for" for place, found in enumerate(pointings) if found}
    if wrong and bad_wcs == "exit":
        names = ", ".join(frames[place].path.name for place in wrong)
        raise BadInput(f"the WCS of {names} contradicts the offsets", "", "set prepare:bad_wcs=fix")
    good = [place for place, found in enumerate(pointings) if found and place not in wrong]

    places = {frame.path: place for place, frame in enumerate(frames)}

    def put_right(frame: FrameRef) -> FrameRef:
        place = places[frame.path]
        if place not in wrong:
            return frame
        like = min(good, key=lambda other: abs(other - place), default=None)
        rebuilt = rebuild_wcs(
            frame, pointings[place], None if like is None else (frames[like], pointings[like])
        )
        context.notify("decision", what=f"WCS of {frame.path.name} rebuilt", reason=wrong[place])
        return rebuilt

    return accept(frames, context, put_right)


def _locatable(frame: FrameRef) -> FrameRef:
    pointing(frame)
    return frame


def what_is_wrong(frames: Sequence[FrameRef], pointings: Sequence[Pointing | None]) -> list[str]:
    """For each frame, why its WCS cannot be right; '' where it can."""
    known = [found for found in pointings if found and found.by_wcs]
    excesses = np.array([found.excess() for found in known]).reshape(-1, 2)
    near = np.hypot(*excesses.T) < ABSOLUTE_LIMIT
    several = bool(near.sum() >= 3)
    usual = np.median(excesses[near], axis=0) if several else np.zeros(2)
    limit = RELATIVE_LIMIT if several else ABSOLUTE_LIMIT
    angles = [_angle(frame.chips[0]) - (describe(frame).position_angle or 0.0) for frame in frames]
    turn = _circular_median(angles)
    reasons = []
    for frame, found, angle in zip(frames, pointings, angles, strict=True):
        reasons.append(_why_wrong(frame, found, usual, limit, _turned(angle - turn)) if found else "")
    return reasons


def _why_wrong(frame: FrameRef, found: Pointing, usual: Any, limit: float, turned: float) -> str:
    if not found.by_wcs:
        return UNREADABLE
    away = float(np.hypot(*np.subtract(found.excess(), usual)))
    if away > limit:
        return f"it is {away:.1f} arcsec from target plus offset"
    spread = float(np.ptp(np.array(found.by_wcs), axis=0).max())
    if spread > ABSOLUTE_LIMIT:
        return f"its arrays point {spread:.0f} arcsec apart"
    for chip in frame.chips:
        found_scale = scale(chip)
        if found_scale is None or abs(found_scale / 0.0197 - 1) > SCALE_LIMIT:
            return f"array {chip['EXTVER']} has a scale of {found_scale} arcsec per pixel"
    return f"it is turned by {turned:.1f} degrees against the others" if abs(turned) > ANGLE_LIMIT else ""


def _angle(chip: Header) -> float:
    return float(np.degrees(np.arctan2(-float(chip.get("CD2_1", 0.0)), float(chip.get("CD1_1", 1.0)))))


def _turned(angle: float) -> float:
    return (angle + 180.0) % 360.0 - 180.0


def _circular_median(angles: Sequence[float]) -> float:
    first = angles[0]
    return first + float(np.median([_turned(angle - first) for angle in angles]))


def rebuild_wcs(
    frame: FrameRef, found: Pointing | None, like: tuple[FrameRef, Pointing | None] | None
) -> FrameRef:
    """The frame with its WCS at target plus offset, and all else as a good frame of the set has it."""
    assert found is not None
    chips = tuple(chip.copy() for chip in frame.chips)
    turned = like is None or _turned(
        (describe(like[0]).position_angle or 0.0) - (describe(frame).position_angle or 0.0)
    )
    for chip in chips:
        east, north = found.offset
        source = _same_array(like[0], chip) if like else None
        if like and like[1] and source:
            away = np.subtract(like[1].by_wcs[like[0].chips.index(source)], like[1].offset)
            east, north = east + float(away[0]), north + float(away[1])
            keys = ("CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
            for key in keys if not turned else keys[:2]:
                chip[key] = source[key]
        ra, dec = plane_to_sky(np.array([east]), np.array([north]), found.target)
        chip["CRVAL1"], chip["CRVAL2"] = float(ra[0]), float(dec[0])
        chip["CTYPE1"], chip["CTYPE2"] = "RA---TAN", "DEC--TAN"
    if not all(has_wcs(chip) for chip in chips):
        raise BadInput(UNREADABLE, "a frame of the same pointing angle to take it from", "leave it out")
    said = "WCS rebuilt from target and offsets"
    return frame.with_(chips=chips, repairs=(*frame.repairs, said))


def _same_array(frame: FrameRef, chip: Header) -> Header | None:
    return next((other for other in frame.chips if other["EXTVER"] == chip["EXTVER"]), None)
