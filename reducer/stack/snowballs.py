"""Heavy cosmic rays, whose wide hearts wear a ring of charge too faint to be rejected pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from reducer import dq
from reducer.astrometry import Geometry, Inverse
from reducer.frame import Context, Files, FrameRef
from reducer.sources import IS_SATURATED, RADII, TOO_SHARP
from reducer.types import F64, U16, Table

#: A heart is saturated or so wide, pixels FWHM, and stands out by so many standard deviations of a pixel.
LEAST_FWHM, STRONG = 6.0, 30.0
#: Light in the widest aperture over that in the second below which a source has no star's halo.
COMPACT = 1.1
#: Arcsec within which another exposure shows the same star, and the least part of the light it has there.
SAME, PART = 0.3, 0.1
#: Other exposures that must see the place, and how many are looked at.
FEWEST, MOST = 2, 4
#: Pixels across a ring of the profile, and their number; the last of them show the sky.
STEP, RINGS, SKY = 3.0, 24, 4
#: Standard deviations of a pixel below which a ring no longer matters, and pixels beyond it that
#: interpolation spoils.
FAINT, BESIDE = 0.2, 2.0


@dataclass(frozen=True)
class Overlap:
    """Aligned frames with the maps back to the pixels of each one's chips and all its sources.

    ``sources``: of each frame, (n, 3): arcsec on the common plane, and scaled electrons.
    """

    files: Files
    frames: Sequence[FrameRef]
    geometries: Sequence[Geometry]
    inverses: Sequence[Sequence[Inverse]]
    sources: Sequence[F64]


def find_snowballs(
    frames: Sequence[FrameRef], geometries: Sequence[Geometry], context: Context
) -> list[tuple[F64, ...]]:
    """Column, row (0-based) and radius in pixels, (n, 3), of the heavy cosmic rays on each frame's chips.

    They are bright, wide and in one exposure alone, out to where this no longer lies above the others. Where
    too few others see the place to tell, what has no star's halo is named and has a radius of 0: it stays.
    Of frames laid on a target that moves, what is alone among the stars has to be alone on the target too.
    """
    if any(not frame.sources for frame in frames):
        return [tuple(np.zeros((0, 3)) for _ in frame.chips) for frame in frames]
    found = _search(frames, geometries, context.disk)
    ways = [frame.drift or (0.0, 0.0) for frame in frames]
    if any(map(any, ways)):
        on_stars = [geometry.moved(*way) for geometry, way in zip(geometries, ways, strict=True)]
        again = _search(frames, on_stars, context.disk)
        found = [tuple(map(_in_both, *each)) for each in zip(found, again, strict=True)]
    for frame, balls in zip(frames, found, strict=True):
        _tell(frame, np.concatenate(balls)[:, 2], context)
    return found


def _search(
    frames: Sequence[FrameRef], geometries: Sequence[Geometry], files: Files
) -> list[tuple[F64, ...]]:
    """The snowballs of frames laid on one plane by some geometries, as ``find_snowballs`` gives them."""
    inverses = [[each.inverse(chip) for chip in range(len(each.regions))] for each in geometries]
    sources = [_places(frame, geometry) for frame, geometry in zip(frames, geometries, strict=True)]
    field = Overlap(files, frames, geometries, inverses, sources)
    return [
        tuple(_of_chip(field, number, chip) for chip in range(len(frame.chips)))
        for number, frame in enumerate(frames)
    ]


def _in_both(one: F64, other: F64) -> F64:
    """The snowballs (n, 3) of one search whose pixels another one names too, as far as both see them."""
    radii = {(x, y): radius for x, y, radius in other}
    kept = [(x, y, min(radius, radii[x, y])) for x, y, radius in one if (x, y) in radii]
    return np.array(kept).reshape(-1, 3)


def _tell(frame: FrameRef, radii: F64, context: Context) -> None:
    masked, left = int(np.sum(radii > 0)), int(np.sum(radii == 0))
    if masked:
        context.notify("snowballs_masked", file=frame.path.name, events=masked, radius=radii.max())
    if left:
        context.notify("snowballs_kept", file=frame.path.name, events=left, fewest=FEWEST)


def _places(frame: FrameRef, geometry: Geometry) -> F64:
    parts = [
        np.column_stack(
            [*geometry.evaluate(table["x"], table["y"], chip), table["flux"][:, -1] * frame.scale]
        )
        for chip, table in enumerate(frame.sources)
    ]
    return np.concatenate(parts)


def _of_chip(field: Overlap, number: int, chip: int) -> F64:
    """The snowballs on one chip of a frame."""
    frame = field.frames[number]
    table = _candidates(frame.sources[chip])
    u, v = field.geometries[number].evaluate(table["x"], table["y"], chip)
    light = table["flux"][:, -1] * frame.scale  # of the widest aperture: a star keeps it however blurred
    seen = np.zeros(len(table), bool)
    for other, sources in enumerate(field.sources):
        if other != number and len(table) and len(sources):
            near = cKDTree(sources[:, :2]).query_ball_point(np.column_stack([u, v]), SAME)
            pairs = zip(near, light, strict=True)
            seen |= np.array([(sources[each, 2] > PART * own).any() for each, own in pairs], bool)
    found = []
    bare = table["flux"][:, -1] < COMPACT * table["flux"][:, 1]
    for x, y, alone, *place in np.column_stack([table["x"], table["y"], bare, u, v])[~seen]:
        others = _profiles_of_others(field, number, place)
        if len(others) < FEWEST:
            found += [(x, y, 0.0)] if alone else []
        else:
            own, sigma = ring_profile(field.files, frame, chip, x, y)
            radius = radius_of(own, others, sigma)
            found += [(x, y, radius)] if radius else []
    return np.array(found).reshape(-1, 3)


def _candidates(table: Table) -> Table:
    """Bright sources that are saturated or wider than a track: by their mean light over a pixel's noise."""
    wide = ((table["flags"] & IS_SATURATED) != 0) | (table["fwhm"] > LEAST_FWHM)
    strong = table["flux"][:, 0] > STRONG * np.sqrt(np.pi) * RADII[0] * table["flux_error"][:, 0]
    kept: Table = table[wide & strong & ((table["flags"] & TOO_SHARP) == 0)]
    return kept


def _profiles_of_others(field: Overlap, number: int, place: Sequence[float]) -> list[F64]:
    """The profiles of other exposures around a place on the common plane, scaled to those of one."""
    profiles: list[F64] = []
    for other, frame in enumerate(field.frames):
        for chip, inverse in enumerate(field.inverses[other]):
            if other == number or len(profiles) == MOST:
                continue
            x, y = (float(each) for each in inverse.evaluate(*np.array(place)))
            if _is_on(field.geometries[other], chip, x, y, place):
                values, _ = ring_profile(field.files, frame, chip, x, y)
                if np.isfinite(values[0]):
                    profiles.append(values * frame.scale / field.frames[number].scale)
    return profiles


def _is_on(geometry: Geometry, chip: int, x: float, y: float, place: Sequence[float]) -> bool:
    """Whether a pixel is on a chip and looks at a place: far from a chip the inverse map does not hold."""
    region = geometry.regions[chip]
    if not (0 <= x <= region.width - 1 and 0 <= y <= region.height - 1):
        return False
    u, v = (float(each[0]) for each in geometry.evaluate(np.array([x]), np.array([y]), chip))
    return bool(np.hypot(u - place[0], v - place[1]) < SAME)


def ring_profile(files: Files, frame: FrameRef, chip: int, x: float, y: float) -> tuple[F64, float]:
    """Medians of the pixels in rings around a place, electrons, NaN where there are none, and the standard
    deviation of a pixel."""
    reach = int(STEP * RINGS) + 1
    height = int(frame.chips[chip]["NAXIS2"])
    rows = slice(max(round(y) - reach, 0), min(round(y) + reach + 1, height))
    columns = slice(max(round(x) - reach, 0), round(x) + reach + 1)
    cut = files.read_chip(frame, chip, rows)
    data, variance, mask = cut.data[:, columns], cut.variance[:, columns], cut.mask[:, columns]
    gy, gx = np.mgrid[rows.start : rows.start + data.shape[0], columns.start : columns.start + data.shape[1]]
    ring = (np.hypot(gx - x, gy - y) / STEP).astype(int)
    good = (mask & (dq.UNUSABLE & ~dq.SATURATED)) == 0
    parts = [data[good & (ring == number)] for number in range(RINGS)]
    values = np.array([np.median(part) if part.size else np.nan for part in parts], float)
    return values, float(np.sqrt(np.median(variance[good]))) if good.any() else np.inf


def radius_of(own: F64, others: Sequence[F64], sigma: float) -> float:
    """How far, pixels, an exposure's profile lies above the others'; 0 where it has no heart of its own.

    ``own`` and each of ``others``: (n,) electrons by distance; ``sigma``: of their noise.
    """
    usual = np.nanmedian(np.stack(others), axis=0)
    sky = np.nanmedian((own - usual)[-SKY:])
    above = own - usual - sky
    if not above[0] > max(STRONG * sigma, usual[0] / PART) or _light(usual) > PART * _light(own):
        return 0.0
    faint = ~(above > FAINT * sigma)
    ends = np.flatnonzero(faint[:-1] & faint[1:])
    return STEP * float(ends[0] if ends.size else RINGS) + BESIDE


def _light(profile: F64) -> float:
    """All light of a profile above its last rings, electrons."""
    areas = np.pi * STEP**2 * np.diff(np.arange(profile.size + 1) ** 2)
    return float(np.nansum((profile - np.nanmedian(profile[-SKY:])) * areas))


def hide_snowballs(mask: U16, ball: F64, first_row: int) -> None:
    """Flag, in place, a snowball as a cosmic ray in some rows of a chip's mask; none of radius 0.

    ``mask``: (ny, nx); ``ball``: (3,), column, row and radius in pixels.
    """
    x, y, radius = ball
    if not radius:
        return
    rows, columns = np.ogrid[first_row : first_row + mask.shape[0], : mask.shape[1]]
    mask[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] |= dq.COSMIC_RAY
