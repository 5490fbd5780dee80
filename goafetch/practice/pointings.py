"""What a planned program is changed to look at: a second field in the same visit, or a target that moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from goafetch.practice.exposure.night import Exposure, Program
from goafetch.practice.exposure.scene import Field

Place = tuple[float, float]

#: Times as long as planned that a visit lasts where two fields are exposed in turn; seconds between blocks.
STRETCH, WAY_THERE = 2.4, 120.0


def beside(target: tuple[str, float, float], place: Place) -> Place:
    """Right ascension and declination ``place`` arcsec (east, north) from a target, degrees."""
    _, ra, dec = target
    north = dec + place[1] / 3600.0
    return ra + place[0] / 3600.0 / math.cos(math.radians(north)), north


def two_pointings(program: Program, second: Field, *, interleaved: bool = False) -> Program:
    """The program with as many exposures of a second field as of its target, in the same dither.

    They are of the same target and observation, guided, their offsets those of the field's place. They come
    as a block after all others, or ``interleaved``: each after one of the target. Exposures of the visit are
    numbered anew in order of time.
    """
    visit = sorted((e for e in program.exposures if e.kind in ("science", "sky")), key=lambda e: e.begin)
    start, last = visit[0].begin, visit[-1]
    if interleaved:
        visit = [replace(e, begin=start + STRETCH * (e.begin - start)) for e in visit]
        wait = timedelta(seconds=0.5 * STRETCH * last.exptime * last.coadds)
    else:
        wait = last.begin - start + timedelta(seconds=last.exptime * last.coadds + WAY_THERE)
    there = [replace(_at(e, second), begin=e.begin + wait) for e in visit if e.kind == "science"]
    stem, first = visit[0].name[:-4], min(int(e.name[-4:]) for e in visit)
    numbered = [
        replace(e, name=f"{stem}{first + i:04d}", number=i + 1)
        for i, e in enumerate(sorted([*visit, *there], key=lambda e: e.begin))
    ]
    others = [e for e in program.exposures if e.kind not in ("science", "sky")]
    fields = program.fields | {second.name: second}
    return replace(program, exposures=(*numbered, *others), fields=fields)


def _at(exposure: Exposure, second: Field) -> Exposure:
    """The exposure at another field, by offsets from the same target."""
    east = 3600.0 * (second.ra - exposure.ra) * math.cos(math.radians(second.dec))
    north = 3600.0 * (second.dec - exposure.dec)
    return replace(
        exposure,
        field=second.name,
        offset=(east + exposure.place[0], north + exposure.place[1]),
        trouble=frozenset(),
    )


def following(exposures: Sequence[Exposure], rate: Place, start: datetime) -> list[Exposure]:
    """The exposures with the telescope following a target of that rate, arcsec (east, north) a second.

    Each looks at a field of its own, by its own name: the stars as they are, and the target where it is then
    (``with_target``).
    """
    followed = []
    for one in exposures:
        way = _way(rate, one, start)
        ra, dec = beside(("", one.ra, one.dec), way)
        place = (one.place[0] + way[0], one.place[1] + way[1])
        followed.append(replace(one, ra=ra, dec=dec, place=place, rate=rate, field=one.name))
    return followed


def with_target(
    exposures: Sequence[Exposure], stars: Field, place: Place, magnitude: float, start: datetime
) -> dict[str, Field]:
    """For each exposure its own field: the stars, and a target that is at ``place`` (arcsec) at the start."""
    found = {}
    for one in exposures:
        east, north = np.add(place, _way(one.rate, one, start))
        found[one.name] = replace(
            stars,
            name=one.name,
            x=np.append(stars.x, east),
            y=np.append(stars.y, north),
            magnitude=np.append(stars.magnitude, magnitude),
        )
    return found


def _way(rate: Place, exposure: Exposure, start: datetime) -> Place:
    seconds = (exposure.begin - start).total_seconds()
    return rate[0] * seconds, rate[1] * seconds
