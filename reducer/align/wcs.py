"""Between headers and geometry: where an exposure looks before a star is measured, and back into a WCS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.polynomial import chebyshev

from reducer.astrometry import (
    ChipRegion,
    Geometry,
    Position,
    StaticMap,
    degrees,
    fit_polynomials,
    mean_position,
    plane_to_sky,
    read_wcs,
    removal_matrix,
    sky_to_plane,
    write_tan,
)
from reducer.errors import CannotAlign
from reducer.frame import FrameRef
from reducer.headers.descriptors import Descriptors, describe
from reducer.headers.repairs import has_wcs
from reducer.keywords import region
from reducer.types import F64, Header

#: Degrees within which the CD matrices and the PA keyword say the same: the matrices' calibration differs
#: from epoch to epoch by 0.02-0.08 (headers of 2013, 2014 and 2018) and from array to array by 0.1. And what
#: the rotation by headers is good to at best.
SAME_ANGLE, ANGLE_ERROR = 0.15, 0.06


@dataclass(frozen=True)
class Layout:
    """How a header's WCS lays the static plane on the sky: a rigid body about the middle of the field.

    ``rotation`` (2, 2) takes static arcsec to east and north, parity included; ``middle`` is where the
    middle of the field, ``centre`` in the static plane, lies, degrees. ``misfit``: how far the worst array's
    middle is from its place, arcsec.
    """

    rotation: F64
    centre: Position
    middle: Position
    misfit: float

    @property
    def position_angle(self) -> float:
        """Degrees from north through east of the direction in which y grows."""
        return float(np.degrees(np.arctan2(self.rotation[0, 1], self.rotation[1, 1])))

    def departure(self, angle: float | None) -> float:
        """Degrees from a position angle to this one, -180 to 180; 0 from none."""
        return 0.0 if angle is None else (self.position_angle - angle + 180.0) % 360.0 - 180.0

    def settled(self, angle: float | None) -> Layout:
        """The layout at the position angle that a header states, where its WCS says the same but for errors
        of calibration: the rotator is set to it, while the matrices hold what was once measured of arrays."""
        turn = np.radians(self.departure(angle))
        if abs(turn) > np.radians(SAME_ANGLE):
            return self
        cosine, sine = np.cos(turn), np.sin(turn)
        return replace(self, rotation=np.array([[cosine, -sine], [sine, cosine]]) @ self.rotation)

    def to_sky(self, static: Position) -> Position:
        """Degrees at a place of the static plane, arcsec."""
        away = self.rotation @ np.subtract(static, self.centre)
        return _first(plane_to_sky(away[:1], away[1:], self.middle))


def header_layout(frame: FrameRef) -> Layout | None:
    """The layout by the headers of a frame's arrays; None where none of them has a WCS.

    Rotation and parity are those of the CD matrices against the static model, the median of the arrays: the
    reference pixels of 2013 and 2014 are turned by 0.7 degree and more. The pixels give the place alone.
    """
    field = frame.instrument.field
    usable = [
        (chip, region, field.maps[region.array - 1])
        for chip, region in zip(frame.chips, frame_regions(frame), strict=True)
        if read_wcs(chip) is not None
    ]
    if not usable:
        return None
    samples = [_sample(*each) for each in usable]
    static = np.concatenate([s[0] for s in samples]) - field.centre
    ra, dec = np.concatenate([s[1] for s in samples]), np.concatenate([s[2] for s in samples])
    about = mean_position(list(zip(ra, dec, strict=True)))
    sky = np.stack(sky_to_plane(ra, dec, about), axis=1)
    shift = _rigid(static, sky)[1]
    rotation = _rotation([_matrix(chip) @ np.linalg.inv(own.affine[1]) for chip, _, own in usable])
    left = (sky - static @ rotation.T).reshape(len(usable), -1, 2).mean(axis=1)
    misfit = np.hypot(*(left - np.median(left, axis=0)).T).max()
    return Layout(rotation, field.centre, _first(plane_to_sky(shift[:1], shift[1:], about)), float(misfit))


def nominal_geometry(frame: FrameRef, tangent: Position | None = None) -> Geometry:
    """The map by static distortion, refraction and the header's WCS alone; CannotAlign without a WCS.

    The WCS of single arrays disagree in scale: all together give place, rotation and parity (see
    ``header_layout``), the rotation with the position angle (see ``Layout.settled``). ``tangent``: see
    ``Geometry``.
    """
    regions, field = frame_regions(frame), frame.instrument.field
    plane = regions[0].plane
    if plane is not None:
        return Geometry(regions, field, np.eye(2), plane.sky, tangent or plane.sky)
    layout = header_layout(frame)
    if layout is None:
        raise CannotAlign(f"{frame.path.name} has no WCS", "CRPIX, CRVAL and CD in an image extension")
    rotation = layout.settled(_stated_angle(frame)).rotation
    linear = _refraction(frame, layout.middle) @ rotation
    return Geometry(regions, field, linear, layout.middle, tangent or layout.middle)


def rotation_error(frame: FrameRef) -> float:
    """Degrees to which a frame's headers tell its rotation: by how much two statements in them differ."""
    layout = header_layout(frame)
    return ANGLE_ERROR if layout is None else max(abs(layout.departure(_stated_angle(frame))), ANGLE_ERROR)


def _stated_angle(frame: FrameRef) -> float | None:
    return describe(frame.header, frame.chips, frame.path.name).position_angle


def is_stack(frame: FrameRef) -> bool:
    """Whether a frame is a stack or was resampled for one: one image on a tangent plane, not the arrays."""
    return ("STACKFRM" in frame.header or "ALIGN" in frame.header) and len(frame.chips) == 1


def frame_regions(frame: FrameRef) -> tuple[ChipRegion, ...]:
    """What part of which array each chip of a repaired frame is; BadInput if the headers contradict it."""
    if is_stack(frame):
        chip = frame.chips[0]
        return (ChipRegion(1, 0, 0, int(chip["NAXIS1"]), int(chip["NAXIS2"]), read_wcs(chip)),)
    parts = [region(chip) for chip in frame.chips]
    return tuple(
        ChipRegion(int(chip["EXTVER"]), part.x1, part.y1, part.x2 - part.x1, part.y2 - part.y1)
        for chip, part in zip(frame.chips, parts, strict=True)
    )


def _sample(chip: Header, region: ChipRegion, static: StaticMap) -> tuple[F64, F64, F64]:
    """Four points of an array: static arcsec (4, 2), and by the header's WCS degrees of ra and dec.

    The header's WCS is linear and stands for the whole array: so does what it is compared with.
    """
    wcs = read_wcs(chip)
    assert wcs is not None
    x, y = np.meshgrid(np.array([0.25, 0.75]) * region.width, np.array([0.25, 0.75]) * region.height)
    x, y = x.ravel() + 1.0, y.ravel() + 1.0
    start, matrix = static.affine
    return start + np.stack([x + region.x, y + region.y], axis=1) @ matrix.T, *wcs.to_sky(x, y)


def _matrix(chip: Header) -> F64:
    wcs = read_wcs(chip)
    assert wcs is not None
    return np.reshape(wcs.matrix, (2, 2)) * 3600.0


def _rotation(matrices: Sequence[F64]) -> F64:
    """The orthogonal matrix nearest to several: the parity of most of them, the median of their angles."""
    mirror = np.diag([np.sign(sum(np.sign(np.linalg.det(m)) for m in matrices)) or 1.0, 1.0])
    turned = [m @ mirror for m in matrices]
    angles = np.array([np.arctan2(m[1, 0] - m[0, 1], m[0, 0] + m[1, 1]) for m in turned])
    first = angles[0]
    angle = first + np.median((angles - first + np.pi) % (2 * np.pi) - np.pi)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]]) @ mirror


def _rigid(source: F64, target: F64) -> tuple[F64, F64]:
    """Rotation, of the better parity, and shift that lay ``source`` on ``target``, both (n, 2)."""
    s0, t0 = np.mean(source, axis=0), np.mean(target, axis=0)
    left, _, right = np.linalg.svd((target - t0).T @ (source - s0))
    rotation = left @ right
    return rotation, t0 - rotation @ s0


def _refraction(frame: FrameRef, pointing: Position) -> F64:
    start = describe(frame.header, frame.chips, frame.path.name).ut_datetime
    if not isinstance(start, datetime):
        return np.eye(2)
    middle = start + timedelta(seconds=frame.exposure_time * frame.coadds / 2)
    return removal_matrix(*pointing, middle, frame.instrument.site)


def _first(pair: tuple[F64, F64]) -> Position:
    return float(pair[0][0]), float(pair[1][0])


# --- into headers: all that is known of where an aligned exposure's pixels lie ----------------------

#: Degree of the SIP polynomials: good to 1e-3 mas over an array.
SIP_DEGREE = 6
#: What the polynomials' coordinates are divided by while they are fitted, pixels.
UNIT = 1024.0


def write_sip(header: Header, geometry: Geometry, chip: int) -> None:
    """Put a chip's whole geometry into a header as a TAN-SIP WCS, in place of the one that it holds.

    Source: Shupe et al. 2005, ASP Conf. Ser. 347, 491 (the SIP convention).
    """
    region = geometry.regions[chip]
    middle = (region.width - 1) / 2, (region.height - 1) / 2
    sky = _sky(geometry, np.array([middle[0]]), np.array([middle[1]]), chip)
    place = float(sky[0][0]), float(sky[1][0])
    linear, forward, backward = fit_sip(geometry, chip, middle, place)
    write_tan(header, "-SIP", (middle[0] + 1.0, middle[1] + 1.0), place, linear)
    for name, table in {"A": forward[0], "B": forward[1], "AP": backward[0], "BP": backward[1]}.items():
        header[f"{name}_ORDER"] = SIP_DEGREE
        for i, j in degrees(SIP_DEGREE):
            if i + j >= (1 if "P" in name else 2):
                header[f"{name}_{i}_{j}"] = float(table[i, j])


def fit_sip(geometry: Geometry, chip: int, middle: Position, place: Position) -> tuple[F64, F64, F64]:
    """A chip's map as SIP has it: CD matrix (2, 2) in degrees per pixel about ``middle`` (0-based pixel) at
    ``place`` (degrees), what is added to pixel offsets before it, and to what its inverse gives: each
    (2, SIP_DEGREE + 1, SIP_DEGREE + 1), [axis, i, j] of u**i * v**j in pixels.
    """
    region = geometry.regions[chip]
    nodes = (chebyshev.chebpts1(24) * 0.5 + 0.5) * 1.01 - 0.005
    x, y = (g.ravel() for g in np.meshgrid(nodes * region.width - 0.5, nodes * region.height - 0.5))
    plane = np.stack(sky_to_plane(*_sky(geometry, x, y, chip), place), axis=1) / 3600.0
    offsets = np.stack([x - middle[0], y - middle[1]], axis=1)
    # The constant is nought where the tangent point stands at the middle.
    whole = _fit_polynomials(offsets, plane)
    linear = np.stack([whole[:, 1, 0], whole[:, 0, 1]], axis=1)
    forward = np.einsum("ab,bij->aij", np.linalg.inv(linear), whole)
    forward[:, 0, 0] = forward[:, 1, 0] = forward[:, 0, 1] = 0.0
    bent = plane @ np.linalg.inv(linear).T
    return linear, forward, _fit_polynomials(bent, offsets - bent)


def _fit_polynomials(places: F64, values: F64) -> F64:
    """Polynomials of two coordinates for each column of values, [column, i, j]."""
    units = np.array([UNIT**power for power in range(SIP_DEGREE + 1)])
    u, v = (places / UNIT).T
    return fit_polynomials(u, v, values, SIP_DEGREE) / np.outer(units, units)


def _sky(geometry: Geometry, x: F64, y: F64, chip: int) -> tuple[F64, F64]:
    return plane_to_sky(*geometry.evaluate(x, y, chip), geometry.tangent)


#: The point of the static plane, arcsec, on which the telescope puts target plus offset.
ORIGIN = (0.0, 0.0)


def descriptors_of(frame: FrameRef) -> Descriptors:
    """The descriptors of a frame, from its headers as they are now."""
    return Descriptors(frame.header, frame.chips, frame.path.name)


def by_keywords(described: Descriptors) -> Position | None:
    """Target plus offset, degrees; None where one of them is missing."""
    ra, dec, offset = described.target_ra, described.target_dec, described.sky_offset
    return None if ra is None or dec is None or offset is None else moved((ra, dec), np.array(offset))


def commanded(frame: FrameRef) -> Position | None:
    """Where a frame looked, degrees: by target and offsets, else by its WCS; None if neither tells."""
    known = by_keywords(descriptors_of(frame))
    if known is None and has_wcs(frame):
        layout = header_layout(frame)
        return layout.to_sky(ORIGIN) if layout else None
    return known


def moved(place: Position, away: F64) -> Position:
    """The place ``away`` (east, north) arcsec from another."""
    ra, dec = plane_to_sky(away[:1], away[1:], place)
    return float(ra[0]), float(dec[0])


def positions(frames: Sequence[FrameRef]) -> tuple[F64, F64]:
    """Where frames look, arcsec east and north of the first one: by target and offsets, else by the WCS.

    One of which neither tells is taken to be with the first.
    """
    places = [commanded(frame) for frame in frames]
    first = next((place for place in places if place), (0.0, 0.0))
    ra, dec = np.array([place or first for place in places]).T
    return sky_to_plane(ra, dec, first)


def seconds(frame: FrameRef) -> float:
    """The middle of an exposure, seconds since 1970."""
    described = descriptors_of(frame)
    start = described.ut_datetime
    half = 0.5 * (described.exposure_time or 0.0) * described.coadds
    return (start - start.min.replace(1970)).total_seconds() + half if start else half
