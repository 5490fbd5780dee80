"""Which source is which star: by voting for the offset between two lists, then by nearness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import pdtrc

from reducer.types import F64

#: How far the header's pointing may be off, arcsec (5 and what two exposures' errors add).
SEARCH_RADIUS = 5.5
#: Width of a voting cell in arcsec: wider than a tenth of a degree of rotation moves a star at the corner.
CELL = 0.15
#: The most that one star's magnitude may differ between two exposures.
MAGNITUDE_TOLERANCE = 0.75
#: How many of the brightest sources vote, few at first: what is faint in a sparse field is mostly no star
#: that others see. How improbable a chance agreement must be, and within how many arcsec of the header's
#: pointing it is looked for by itself.
VOTERS = (12, 40, 150)
CHANCE = 0.01
LIKELY = 0.6
#: Arcsec about a star within which others tell how often chance brings one as near as a counterpart; and
#: chance beyond which pairs are not believed.
AROUND, UNBELIEVED = 1.0, 1e-3
#: Directions in which a search for the best offset and shape can help chance, a factor on the places tried.
FREEDOM = 10.0


@dataclass(frozen=True)
class StarList:
    """Positions on the common plane in arcsec, magnitudes on any scale."""

    u: F64
    v: F64
    magnitude: F64

    def select(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> StarList:
        """Some of the stars."""
        return StarList(self.u[index], self.v[index], self.magnitude[index])

    def brightest(self, count: int) -> StarList:
        """The brightest few, brightest first."""
        return self.select(np.argsort(self.magnitude, kind="stable")[:count])

    def near(self, other: StarList, margin: float) -> StarList:
        """The stars within the rectangle that ``other`` covers, ``margin`` arcsec wider."""
        inside = (np.abs(self.u - (other.u.max() + other.u.min()) / 2) < np.ptp(other.u) / 2 + margin) & (
            np.abs(self.v - (other.v.max() + other.v.min()) / 2) < np.ptp(other.v) / 2 + margin
        )
        return self.select(inside)


@dataclass(frozen=True)
class Offset:
    """What must be added to a list's (u, v) in arcsec to lie on the reference, and what speaks for it."""

    du: float
    dv: float
    votes: int
    reason: str


def find_offset(
    reference: StarList, stars: StarList, radius: float = SEARCH_RADIUS, voters: Sequence[int] = VOTERS
) -> Offset | None:
    """The offset of ``stars`` from ``reference`` within ``radius`` arcsec, or None if nothing clearly speaks
    for one. ``voters``: how many of the brightest of each list are compared."""
    return next(offsets(reference, stars, radius, voters), None)


def offsets(
    reference: StarList,
    stars: StarList,
    radius: float = SEARCH_RADIUS,
    voters: Sequence[int] = VOTERS,
    apart: float = MAGNITUDE_TOLERANCE,
) -> Iterator[Offset]:
    """All offsets that something speaks for, the likeliest first (see ``find_offset``); magnitudes of a star
    may lie ``apart``."""
    if not len(stars.u) or not len(reference.u):
        return
    nearby = reference.near(stars, radius)
    votes = (_vote(nearby, stars, radius, count, apart) for count in voters)
    yield from (offset for offset in votes if offset is not None)
    alone = _by_brightest(nearby, stars, radius, apart)
    if alone is not None:
        yield alone


def _vote(reference: StarList, stars: StarList, radius: float, voters: int, apart: float) -> Offset | None:
    """The most voted-for cell of the brightest stars' pair differences, if chance hardly ever fills it so."""
    first, second = reference.brightest(voters), stars.brightest(voters)
    if not len(first.u):
        return None
    near = cKDTree(np.stack([first.u, first.v], axis=1)).query_ball_point(
        np.stack([second.u, second.v], axis=1), radius, return_sorted=True
    )
    there = np.concatenate(near).astype(np.intp)
    here = np.repeat(np.arange(len(near)), [len(each) for each in near])
    close = np.abs(first.magnitude[there] - second.magnitude[here]) < apart
    here, there = here[close], there[close]
    du, dv = first.u[there] - second.u[here], first.v[there] - second.v[here]
    if len(du) < 2:
        return None
    tree = cKDTree(np.stack([du, dv], axis=1))
    counts = tree.query_ball_point(tree.data, CELL, return_length=True)
    likely = np.hypot(du, dv) < LIKELY
    for among in (np.ones(len(du), bool), likely):
        best = int(np.argmax(np.where(among, counts, 0)))
        votes = int(counts[best])
        expected = (len(du) - votes) * (CELL / radius) ** 2
        # A pair itself stands in the middle of its cell, so chance has to bring one vote fewer.
        chance = float(pdtrc(max(votes - 2, 0), expected)) * (among.sum() - votes + 1)
        if votes >= 2 and chance < CHANCE:
            inside = tree.query_ball_point(tree.data[best], CELL)
            middle = float(np.median(du[inside])), float(np.median(dv[inside]))
            return Offset(*middle, votes, f"{votes} stars agree")
    return None


def _by_brightest(reference: StarList, stars: StarList, radius: float, apart: float) -> Offset | None:
    """The offset of the one bright star, if in both lists it is a magnitude brighter than all others near."""
    first, second = reference.brightest(2), stars.brightest(2)
    if not len(first.u):
        return None
    alone = all(len(pair.u) < 2 or pair.magnitude[1] - pair.magnitude[0] > 1.0 for pair in (first, second))
    du, dv = float(first.u[0] - second.u[0]), float(first.v[0] - second.v[0])
    same = abs(first.magnitude[0] - second.magnitude[0]) < apart
    if not (alone and same and np.hypot(du, dv) < radius):
        return None
    return Offset(du, dv, 1, "the one bright star agrees")


def pair_up(u: F64, v: F64, stars: StarList, tolerance: float) -> NDArray[np.intp]:
    """For each position the index of its star within ``tolerance`` arcsec, -1 for none.

    A pair counts only if each is the other's nearest.
    """
    if not len(stars.u) or not len(u):
        return np.full(len(u), -1, np.intp)
    here, there = np.stack([u, v], axis=1), np.stack([stars.u, stars.v], axis=1)
    distance, index = cKDTree(there).query(here)
    _, back = cKDTree(here).query(there)
    mutual = (distance < tolerance) & (back[index] == np.arange(len(u)))
    return np.where(mutual, index, -1)


def is_beyond_chance(pairs: int, expected: float, radius: float, tolerance: float) -> bool:
    """Whether so many stars within ``tolerance`` of their counterparts cannot be by chance, which brings
    ``expected`` at a place and had every place within ``radius`` (arcsec) to do it at.

    One pair fewer counts: the first defines the place.
    """
    places = FREEDOM * (radius / tolerance) ** 2
    return pairs > 1 and float(pdtrc(pairs - 2, expected)) * places < UNBELIEVED


def chance_pairs(u: F64, v: F64, stars: StarList, tolerance: float, area: float) -> float:
    """How many of some positions have a star within ``tolerance`` arcsec by chance: by the density of stars
    about each, its own counterpart not counted; at least by that of all over ``area``, square arcsec."""
    if not len(u) or not len(stars.u):
        return 0.0
    tree, places = cKDTree(np.stack([stars.u, stars.v], axis=1)), np.stack([u, v], axis=1)
    about = tree.query_ball_point(places, AROUND, return_length=True)
    own = tree.query(places, distance_upper_bound=tolerance)[0] < tolerance
    local = float(np.sum(about - own)) * (tolerance / AROUND) ** 2
    return max(local, len(u) * len(stars.u) * np.pi * tolerance**2 / area)
