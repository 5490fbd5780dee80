"""What an exposure looked at: target or empty sky by its name, which field, and whether the target moves."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reducer.headers.descriptors import Descriptors
from reducer.keywords import read

# --- the target's name -----------------------------------------------------------------------------

#: Words at the end of an object's name that say "the empty sky beside it", with a number or none.
SKY_WORDS = re.compile(
    r"(^|[ _-]|(?<=\d))((blank|empty|off(set)?)[ _-]*)?(sky|blank|off(set)?[ _-]*target)"
    r"([ _-]*(field|pos(ition)?))?[ _-]*\d*[ _-]*$",
    re.IGNORECASE,
)


def is_sky_name(name: str) -> bool:
    """Whether a name says that the exposure is of empty sky: 'Sky', 'blank sky 2', 'NGC5128 sky'."""
    return SKY_WORDS.search(name.strip()) is not None


def target_of(name: str) -> str:
    """The target's name without the words that mark a sky pointing; '' where nothing else is in it."""
    return SKY_WORDS.sub("", name.strip()).strip(" _-")


def plain(name: str) -> str:
    """A name without case, blanks and hyphens: the same for 'NGC5128', 'NGC 5128' and 'ngc-5128'."""
    return re.sub(r"[\s_-]+", "", name).casefold()


# --- fields ----------------------------------------------------------------------------------------

#: Part of an exposure's time that its sky must have at least: below, the sky's noise, scaled, would prevail.
SHORTEST = 0.25
#: Part of the field by which pointings that belong together are apart at most.
SEPARATE = 0.9


def link(east: NDArray[np.float64], north: NDArray[np.float64], distance: float) -> NDArray[np.integer[Any]]:
    """Number the groups in which each pointing is within a distance of another one, from 0.

    ``east``, ``north``: (n,), of one unit with ``distance``; returns (n,).
    """
    groups = np.arange(east.size)
    near = np.hypot(east[:, None] - east, north[:, None] - north) < distance
    for _ in range(east.size):
        groups = np.array([groups[near[place]].min() for place in range(east.size)])
    return np.unique(groups, return_inverse=True)[1]


# --- targets that move among the stars -------------------------------------------------------------

#: Coordinate systems in which a target is on the sky; in others, AZEL_TOPO, the rates are the Earth's own.
ON_THE_SKY = ("FK5", "APPT")
#: Arcsec a second beyond which a rate is no target's: the sky's own (15.04), or -9999 for a missing one.
FASTEST = 1.0
#: The part of a star's FWHM below which a motion is none.
LEAST_MOTION = 0.1
#: Part of the motion by which rates and positions may differ.
AGREEMENT = 0.2
#: Arcsec a second below which coordinates drift by proper motion alone, and the fewest exposures whose
#: coordinates show a steady drift.
SLOWEST, FEWEST = 1e-5, 3

Place = tuple[float, float]


@dataclass(frozen=True)
class Motion:
    """How a target moved through some exposures.

    ``path``: arcsec (east, north) at the middle of each exposure, since the middle of the first; by its
    positions where these agree with its rates, else by the rates. ``moves``: whether it did; None where
    rates and positions contradict each other. ``by_rates``, ``by_positions``: how far by each, arcsec.
    ``rated``: whether rates tell of it.
    """

    path: tuple[Place, ...]
    moves: bool | None
    by_rates: float
    by_positions: float
    rated: bool = True


def tracking_rate(facts: Descriptors) -> Place | None:
    """Rate of a target among the stars, arcsec (east, north) a second; None where the headers do not tell.

    RATRACK is in seconds of time a second, DECTRACK in arcsec a second. They count for targets on the sky
    alone: of a telescope at rest they hold the sidereal rate.
    """
    if str(facts.primary.get("FRAME") or "").strip().upper() not in ON_THE_SKY:
        return None
    ra, dec = (read(facts.primary, key, float) for key in ("RATRACK", "DECTRACK"))
    if ra is None or dec is None:
        return None
    rate = 15.0 * ra * math.cos(math.radians(facts.target_dec or 0.0)), dec
    return rate if math.hypot(*rate) < FASTEST else None


def are_tracked(frames: Sequence[Descriptors], fwhm: float) -> list[bool | None]:
    """Whether each exposure follows a target whose motion matters over all of them; None where untold.

    ``fwhm``: of their stars, arcsec.
    """
    times = [time for time in map(_middle, frames) if time is not None]
    longest = max(((facts.exposure_time or 0.0) * facts.coadds for facts in frames), default=0.0)
    span = (max(times) - min(times)).total_seconds() if len(times) > 1 else longest
    rates = [tracking_rate(facts) for facts in frames]
    return [None if rate is None else math.hypot(*rate) * span > LEAST_MOTION * fwhm for rate in rates]


def target_motion(frames: Sequence[Descriptors], fwhm: float) -> Motion:
    """How the target moved through exposures; ``fwhm``: of their stars, arcsec."""
    by_rates, by_positions = _by_rates(frames), _by_positions(frames)
    rated, placed = _length(by_rates), _length(by_positions)
    if rated <= LEAST_MOTION * fwhm:
        if placed > LEAST_MOTION * fwhm and _is_steady(frames, by_positions):
            return Motion(by_positions, None, rated, placed, rated=False)
        return Motion(by_rates, False, rated, placed)
    ways = zip(by_rates, by_positions, strict=False)
    apart = max((math.dist(rate, place) for rate, place in ways), default=math.inf)
    if apart <= max(AGREEMENT * rated, LEAST_MOTION * fwhm):
        return Motion(by_positions, True, rated, placed)
    return Motion(by_rates, None, rated, placed)


def _is_steady(frames: Sequence[Descriptors], path: Sequence[Place]) -> bool:
    """Whether positions drift evenly in time, as a target does, and not from one pointing to another."""
    middles = [middle for middle in map(_middle, frames) if middle is not None]
    if not len(path) == len(middles) == len(frames) >= FEWEST:
        return False
    times = np.array([(middle - middles[0]).total_seconds() for middle in middles])
    terms = np.stack([np.ones_like(times), times], axis=1)
    fit = np.linalg.lstsq(terms, np.array(path), rcond=None)[0]
    away = np.hypot(*(np.array(path) - terms @ fit).T)
    return bool(away.max() < AGREEMENT * _length(path) and SLOWEST < math.hypot(*fit[1]) < FASTEST)


def _length(path: Sequence[Place]) -> float:
    """The longest way between the first place and another one, arcsec."""
    return max((math.hypot(*place) for place in path), default=0.0)


def _middle(facts: Descriptors) -> datetime | None:
    start, seconds = facts.ut_datetime, (facts.exposure_time or 0.0) * facts.coadds
    return None if start is None else start + timedelta(seconds=0.5 * seconds)


def _by_rates(frames: Sequence[Descriptors]) -> tuple[Place, ...]:
    """The rates added up from exposure to exposure; one that is missing is the exposure's before."""
    known = [rate for rate in map(tracking_rate, frames) if rate]
    times = [_middle(facts) for facts in frames]
    if not known or None in times:
        return ()
    rate, path = known[0], [(0.0, 0.0)]
    for facts, begun, ended in zip(frames[1:], times, times[1:], strict=False):
        now = tracking_rate(facts) or rate
        assert begun is not None and ended is not None
        seconds, (east, north) = (ended - begun).total_seconds(), path[-1]
        path.append((east + 0.5 * (rate[0] + now[0]) * seconds, north + 0.5 * (rate[1] + now[1]) * seconds))
        rate = now
    return tuple(path)


def _by_positions(frames: Sequence[Descriptors]) -> tuple[Place, ...]:
    """The target's own coordinates, without offsets, against those of the first exposure."""
    path = []
    ra0, dec0 = frames[0].target_ra, frames[0].target_dec
    for facts in frames:
        ra, dec = facts.target_ra, facts.target_dec
        if ra is None or dec is None or ra0 is None or dec0 is None:
            return ()
        east = (ra - ra0 + 180.0) % 360.0 - 180.0
        path.append((3600.0 * east * math.cos(math.radians(dec)), 3600.0 * (dec - dec0)))
    return tuple(path)
