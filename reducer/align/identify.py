"""Which source is which star: offsets found by votes, pairs by nearness, groups of exposures of one field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import pdtrc

from reducer.align.solve import Index, Observations, displacements, fit_to_stars, prior_sizes
from reducer.astrometry import Geometry
from reducer.types import F64, Reason, because

# --- two lists of stars ----------------------------------------------------------------------------

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
    reason: Reason


def find_offset(reference: StarList, stars: StarList, radius: float = SEARCH_RADIUS) -> Offset | None:
    """The offset of ``stars`` from ``reference`` within ``radius`` arcsec, or None if nothing clearly speaks
    for one."""
    return next(offsets(reference, stars, radius), None)


def offsets(
    reference: StarList,
    stars: StarList,
    radius: float = SEARCH_RADIUS,
    voters: Sequence[int] = VOTERS,
    apart: float = MAGNITUDE_TOLERANCE,
) -> Iterator[Offset]:
    """All offsets that something speaks for, the likeliest first (see ``find_offset``). ``voters``: how many
    of the brightest of each list are compared; magnitudes of a star may lie ``apart``."""
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
            return Offset(*middle, votes, because("votes", stars=votes))
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
    return Offset(du, dv, 1, because("one_star"))


def pair_up(u: F64, v: F64, stars: StarList, tolerance: float) -> NDArray[np.intp]:
    """For each position the index of its star within ``tolerance`` arcsec, -1 for none.

    A pair counts only if each is the other's nearest. ``u``, ``v``: (n,) arcsec; returns (n,).
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
    about each, its own counterpart not counted; at least by that of all over ``area``, square arcsec.

    ``u``, ``v``: (n,) arcsec.
    """
    if not len(u) or not len(stars.u):
        return 0.0
    tree, places = cKDTree(np.stack([stars.u, stars.v], axis=1)), np.stack([u, v], axis=1)
    about = tree.query_ball_point(places, AROUND, return_length=True)
    own = tree.query(places, distance_upper_bound=tolerance)[0] < tolerance
    local = float(np.sum(about - own)) * (tolerance / AROUND) ** 2
    return max(local, len(u) * len(stars.u) * np.pi * tolerance**2 / area)


# --- groups of exposures, grown one by one ---------------------------------------------------------

Notify = Callable[..., None]

#: Tolerances of matching in arcsec: after voting, after a first fit, and of pairs that count as evidence.
COARSE, FINE, SURE = 0.30, 0.12, 0.06
#: The part of the bright stars that two exposures of one field must share which they do share at least, the
#: others being masked or blended; and the part below which they show two fields, whatever chance says.
MOSTLY, HARDLY = 0.5, 0.2
#: Degrees by which an exposure may be turned against its header, and rotation left to the fit (radians).
TURNS = tuple(sign * step for step in np.arange(0.25, 1.51, 0.25) for sign in (1.0, -1.0))
LEVEL = np.radians(0.1)
#: Pairs from which such a rotation is believed.
FOR_TURN = 12
#: Where the first exposure of a group lies in it.
FOUNDER = Offset(0.0, 0.0, 3, because("shared_stars"))
#: Rotation is parameter 2 of ``displacements``: arcsec at the field's edge.
ROTATION = 2


@dataclass(frozen=True)
class Footprint:
    """Where on the common plane an exposure's chips lie, arcsec: its middle (2,), the matrix back to the
    static plane, and the chips' lower left and upper right corners there, (chips, 2)."""

    middle: F64
    back: F64
    low: F64
    high: F64

    @classmethod
    def of(cls, geometry: Geometry) -> Footprint:
        """The footprint by an exposure's nominal geometry."""
        centre = [np.array([value]) for value in geometry.field.centre]
        corners = []
        for chip, region in enumerate(geometry.regions):
            x, y = np.array([0.0, region.width - 1.0]), np.array([0.0, region.height - 1.0])
            corners.append(np.stack(geometry.static(x, y, chip), axis=1) - geometry.field.centre)
        ends = np.stack(corners)
        middle = np.concatenate(geometry.nominal(*centre))
        back = np.asarray(np.linalg.inv(geometry.linear), float)
        return cls(middle, back, ends.min(axis=1), ends.max(axis=1))

    def moved(self, offset: Offset) -> Footprint:
        """The footprint shifted by an offset."""
        return replace(self, middle=self.middle + np.array([offset.du, offset.dv]))

    def covers(self, u: F64, v: F64) -> NDArray[np.bool_]:
        """Whether places on the plane lie on a chip."""
        place = (np.stack([u, v], axis=1) - self.middle) @ self.back.T
        inside = (place[:, None] > self.low) & (place[:, None] < self.high)
        return np.asarray(np.any(np.all(inside, axis=2), axis=1), bool)


@dataclass(eq=False)
class LinkedExposures:
    """Exposures that show the same stars: their list, which of it are ``strong``, which of it each member's
    sources are, where the members lie, and by what offset and turn (radians) each was laid on the first."""

    stars: StarList
    strong: NDArray[np.bool_]
    star: dict[int, Index]
    footprints: list[Footprint]
    placed: dict[int, tuple[Offset, float]] = field(default_factory=dict)

    @classmethod
    def begin(cls, number: int, own: Observations, footprint: Footprint) -> LinkedExposures:
        """A group of one exposure."""
        stars = StarList(own.u, own.v, own.magnitude)
        return cls(stars, own.strong, {number: np.arange(len(own.u))}, [footprint])

    def covers(self, u: F64, v: F64) -> NDArray[np.bool_]:
        """Whether any member has a chip at some places."""
        return np.asarray(np.any([footprint.covers(u, v) for footprint in self.footprints], axis=0), bool)

    def owed(self, footprint: Footprint) -> NDArray[np.bool_]:
        """Which stars an exposure of such a footprint must show."""
        return self.strong & footprint.covers(self.stars.u, self.stars.v)


@dataclass(frozen=True)
class Identified:
    """Which star each observation is of (-1: none), how far each exposure is turned against its header
    (radians), and why an exposure is not among those that agree (empty: it is)."""

    star: Index
    turns: F64
    reasons: tuple[Reason, ...]


def identify(
    observations: Observations,
    nominal: Sequence[Geometry],
    names: Sequence[str],
    notify: Notify,
    radius: float,
) -> Identified:
    """Find the largest group of exposures that show the same stars.

    Each exposure joins the first group whose stars it shows, beginning with the richest in sources; an
    exposure of another field, however rich, so stays in a group of its own.
    """
    count = len(names)
    owns = [observations.select(observations.frame == number) for number in range(count)]
    footprints = [Footprint.of(geometry) for geometry in nominal]
    groups = _gather(owns, footprints, radius)
    star, turns = np.full(len(observations.frame), -1, np.intp), np.zeros(count)
    reasons: list[Reason] = [{}] * count
    if not groups:
        return Identified(star, turns, tuple(reasons))
    best = max(groups, key=lambda group: (len(group.star), -min(group.star)))
    if len(best.star) < 2:
        return Identified(star, turns, tuple(_strangers(owns, footprints, names, radius)))
    for number, index in best.star.items():
        star[observations.frame == number] = index
        turns[number] = best.placed[number][1] if number in best.placed else 0.0
    members = list(best.star)
    turns[members] -= np.median(turns[members])
    turns[np.abs(turns) < LEVEL] = 0.0
    _tell_places(best, names, turns, notify)
    rivals = sum(len(group.star) == len(best.star) for group in groups) > 1
    for number, own in enumerate(owns):
        if number not in best.star:
            reasons[number] = _why_not(own, footprints[number], best, radius, rivals)
    return Identified(star, turns, tuple(reasons))


def _gather(
    owns: Sequence[Observations], footprints: Sequence[Footprint], radius: float
) -> list[LinkedExposures]:
    """All exposures with sources in groups: first as the stars tell beyond chance, then those that are alone
    by what speaks for a place, where so few stars cannot tell more. They are tried again as groups grow."""
    groups: list[LinkedExposures] = []
    for number in sorted(range(len(owns)), key=lambda n: -len(owns[n].u)):
        own = owns[number]
        if len(own.u) and not _join_any(groups, number, own, footprints[number], radius, certain=True):
            groups.append(LinkedExposures.begin(number, own, footprints[number]))
    for certain in (True, False):
        grown = True
        while grown:
            grown = False
            for alone in [group for group in groups if len(group.star) == 1]:
                number = next(iter(alone.star))
                others = [group for group in groups if group is not alone]
                if len(alone.star) == 1 and _join_any(
                    others, number, owns[number], footprints[number], radius, certain=certain
                ):
                    groups.remove(alone)
                    grown = True
    return groups


def _join_any(
    groups: Sequence[LinkedExposures],
    number: int,
    own: Observations,
    footprint: Footprint,
    radius: float,
    *,
    certain: bool,
) -> bool:
    """Let an exposure join the first group whose stars it shows, the largest first."""
    for group in sorted(groups, key=lambda group: -len(group.star)):
        for offset, turn in _candidates(group.stars, own, footprint, radius, certain):
            if _join(group, number, own, footprint, offset, turn, certain, radius):
                return True
    return False


def _candidates(
    stars: StarList, own: Observations, footprint: Footprint, radius: float, certain: bool
) -> Iterator[tuple[Offset, float]]:
    """Offsets and turns (radians) that may lay an exposure on some stars; turned ones and those of another
    brightness only where they have to be ``certain``."""
    listed = StarList(own.u, own.v, own.magnitude)
    yield from ((offset, 0.0) for offset in offsets(stars, listed, radius))
    if not certain:
        return
    yield from ((offset, 0.0) for offset in offsets(stars, listed, radius, (150,), np.inf))
    for turn in np.radians(TURNS):
        turned = _turned(own, footprint, turn)
        listed = StarList(turned.u, turned.v, own.magnitude)
        yield from ((offset, float(turn)) for offset in offsets(stars, listed, radius, (40, 150)))


def _turned(own: Observations, footprint: Footprint, angle: float) -> Observations:
    """An exposure turned about its middle, radians from east to north."""
    if not angle:
        return own
    du, dv = own.u - footprint.middle[0], own.v - footprint.middle[1]
    c, s = np.cos(angle), np.sin(angle)
    return replace(own, u=footprint.middle[0] + c * du - s * dv, v=footprint.middle[1] + s * du + c * dv)


def _join(
    group: LinkedExposures, number: int, own: Observations, footprint: Footprint, offset: Offset, turn: float,
    certain: bool, radius: float,
) -> bool:  # fmt: skip
    """Match an exposure to a group after a fit of its own; if they show the same stars, it joins them, and
    its unmatched sources the list."""
    turned = _turned(own, footprint, turn)
    placed = _lay(turned, group.stars, offset)
    if placed is None:
        return False
    u, v, rotation = placed
    if not _is_believed(own, u, v, group, footprint.moved(offset), certain, radius):
        return False
    index = pair_up(u, v, group.stars, FINE)
    group.placed[number] = offset, turn + (rotation if np.sum(index >= 0) >= FOR_TURN else 0.0)
    new = np.flatnonzero(index < 0)
    index[new] = len(group.stars.u) + np.arange(len(new))
    group.stars = StarList(
        np.concatenate([group.stars.u, u[new]]),
        np.concatenate([group.stars.v, v[new]]),
        np.concatenate([group.stars.magnitude, own.magnitude[new]]),
    )
    group.star[number] = index
    group.strong = np.concatenate([group.strong, own.strong[new]])
    group.footprints.append(footprint.moved(offset))
    return True


def _lay(own: Observations, stars: StarList, offset: Offset) -> tuple[F64, F64, float] | None:
    """Places of an exposure's sources after a fit to a list, and the rotation that it took, radians."""
    priors = prior_sizes(own.field)
    u, v, parameters = own.u + offset.du, own.v + offset.dv, np.zeros(len(priors))
    for tolerance in (COARSE, FINE):
        index = pair_up(u, v, stars, tolerance)
        found = index >= 0
        if not found.any():
            return None
        place = np.stack([stars.u[index[found]], stars.v[index[found]]], axis=1)
        parameters, _ = fit_to_stars(own.select(found), place, priors)
        moved = displacements(own.xs, own.ys, own.array, own.field) @ parameters
        u, v = own.u + moved[:, 0], own.v + moved[:, 1]
    return u, v, float(parameters[ROTATION] / own.field.half_width)


def _is_believed(
    own: Observations,
    u: F64,
    v: F64,
    group: LinkedExposures,
    footprint: Footprint,
    certain: bool,
    radius: float,
) -> bool:
    """Whether sources at some places are a group's stars: more than by chance, and a part of those that must
    be. Where so few must be that it cannot be told, what led there is enough, unless it is to be ``certain``.
    """
    index = pair_up(u, v, group.stars, SURE)
    found = np.isin(np.arange(len(group.stars.u)), index)
    mine, others = group.covers(u, v), group.owed(footprint)
    shared = max((float(part.mean()) for part in ((index >= 0)[mine], found[others]) if len(part)), default=0)
    expected = chance_pairs(u, v, group.stars, SURE, own.field.area)
    if shared > HARDLY and is_beyond_chance(int(np.sum(index >= 0)), expected, radius, SURE):
        return True
    return not certain and not _can_be_told(own, u, v, group, footprint, radius)


def _can_be_told(
    own: Observations, u: F64, v: F64, group: LinkedExposures, footprint: Footprint, radius: float
) -> bool:
    """Whether half of the bright stars where both look would show beyond chance that they are the same."""
    must, owed = own.strong & group.covers(u, v), group.owed(footprint)
    sides = (
        (u[must], v[must], group.stars),
        (group.stars.u[owed], group.stars.v[owed], StarList(u, v, own.magnitude)),
    )
    return any(
        is_beyond_chance(int(MOSTLY * len(x)), chance_pairs(x, y, stars, SURE, own.field.area), radius, SURE)
        for x, y, stars in sides
    )


def _why_not(
    own: Observations, footprint: Footprint, best: LinkedExposures, radius: float, rivals: bool
) -> Reason:
    told = _can_be_told(own, own.u, own.v, best, footprint, radius)
    if not len(own.u):
        return because("no_shared_stars", exposures=len(best.star)) if told else {}
    if not told:
        return because("unmatched")
    return because("other_field_of_two" if rivals else "other_field", exposures=len(best.star))


def _strangers(
    owns: Sequence[Observations], footprints: Sequence[Footprint], names: Sequence[str], radius: float
) -> list[Reason]:
    """Reasons to leave out exposures of which no two show the same stars, until none that are left differ.

    Two differ where one has bright stars that the other must show; those with fewer stars may well agree.
    """
    count = len(owns)
    differ = np.zeros((count, count), bool)
    for n, own in enumerate(owns):
        for m in range(n):
            other = LinkedExposures.begin(m, owns[m], footprints[m])
            differ[n, m] = differ[m, n] = _can_be_told(own, own.u, own.v, other, footprints[n], radius)
    found: list[Reason] = [{}] * count
    while differ.any():
        # The later of two that differ from as many.
        odd = count - 1 - int(np.argmax(differ.sum(axis=1)[::-1]))
        others = [name for name, other in zip(names, differ[odd], strict=True) if other]
        found[odd] = because("unlike", files=others)
        differ[odd] = differ[:, odd] = False
    return found


def _tell_places(group: LinkedExposures, names: Sequence[str], turns: F64, notify: Notify) -> None:
    """Say which members lie elsewhere or turned, against most of them."""
    shifts = np.array([(offset.du, offset.dv) for offset, _ in group.placed.values()])
    middle = np.median(np.vstack([np.zeros((len(group.star) - len(shifts), 2)), shifts]), axis=0)
    for number in sorted(group.star):
        offset, _ = group.placed.get(number, (FOUNDER, 0.0))
        du, dv = offset.du - middle[0], offset.dv - middle[1]
        if np.hypot(du, dv) > 1.0 or offset.votes < 3:
            notify("shifted", file=names[number], east=du, north=dv, **offset.reason)
        if turns[number]:
            notify("rotated", file=names[number], angle=np.degrees(turns[number]))
