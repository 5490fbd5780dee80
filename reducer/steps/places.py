"""Where exposures look: by their target and offsets, else by the WCS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reducer.align.wcs import header_layout
from reducer.astrometry import Position, plane_to_sky, sky_to_plane
from reducer.frame import FrameRef
from reducer.headers.descriptors import Descriptors
from reducer.headers.repairs import has_wcs
from reducer.types import F64

#: The point of the static plane, arcsec, on which the telescope puts target plus offset.
ORIGIN = (0.0, 0.0)


def describe(frame: FrameRef) -> Descriptors:
    """The descriptors of a frame, from its headers as they are now."""
    return Descriptors(frame.header, frame.chips, frame.path.name)


def by_keywords(described: Descriptors) -> Position | None:
    """Target plus offset, degrees; None where one of them is missing."""
    ra, dec, offset = described.target_ra, described.target_dec, described.sky_offset
    return None if ra is None or dec is None or offset is None else moved((ra, dec), np.array(offset))


def commanded(frame: FrameRef) -> Position | None:
    """Where a frame looked, degrees: by target and offsets, else by its WCS; None if neither tells."""
    known = by_keywords(describe(frame))
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
