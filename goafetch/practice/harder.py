"""A harder program: two targets, three filters, mixed exposures and read modes, files with troubles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from goafetch.practice.exposure.night import Exposure, Night, Program, at_epoch
from goafetch.practice.exposure.scene import make_field, sparse_field
from goafetch.practice.program import (
    KSHORT,
    Series,
    dome_flats,
    draw_zeropoints,
    mask_exposure,
    sky_field,
    standard_field,
    standards,
)

PROGRAM = "GS-2017B-Q-33"
LABEL = "20180112"
CLUSTER = ("NGC1851", 78.528162, -40.046555)
QUASAR = ("HE0515-4414", 79.281667, -44.181944)
STANDARD = ("9116", 80.100000, -47.033333)
J, H = "J_G1102", "H_G1103"
SKY_PLACE = (-240.0, 180.0)
#: Five points of a wide dither pattern, arcsec.
WIDE = ((0.0, 0.0), (4.0, 4.0), (-4.0, 4.0), (-4.0, -4.0), (4.0, -4.0))
PROPRIETARY = "2099-12-31"


@dataclass(frozen=True)
class Visit:
    """One observation: number, target, filter, seconds, coadds, Fowler samples, object and sky exposures."""

    number: int
    target: tuple[str, float, float]
    filter1: str
    exptime: float
    coadds: int
    samples: int
    objects: int
    skies: int
    first: int
    begin: datetime
    release: str = "2018-07-12"
    withheld: bool = False


VISITS = (
    Visit(11, CLUSTER, KSHORT, 30.0, 2, 8, 5, 3, 50, datetime(2018, 1, 12, 2, 5, 10, tzinfo=UTC)),
    Visit(12, CLUSTER, J, 60.0, 1, 16, 5, 0, 60, datetime(2018, 1, 12, 2, 24, 30, tzinfo=UTC)),
    Visit(21, QUASAR, H, 15.0, 4, 2, 5, 0, 70, datetime(2018, 1, 12, 3, 11, 55, tzinfo=UTC)),
    Visit(22, QUASAR, KSHORT, 20.0, 3, 8, 5, 0, 80, datetime(2018, 1, 12, 3, 30, 20, tzinfo=UTC)),
    Visit(
        13, CLUSTER, H, 60.0, 1, 8, 4, 0, 90, datetime(2018, 1, 12, 4, 2, 0, tzinfo=UTC), PROPRIETARY, True
    ),
)
#: What befalls which file.
TROUBLES = {
    "S20180112S0052": "wrong wcs",
    "S20180112S0064": "lost filter",
    "S20180112S0072": "unknown filter",
    "S20180112S0083": "missing extension",
}


def harder(night: Night) -> Program:
    """Plan the harder program; its arrays are read through 32 output channels."""
    night = replace(night, channels=32)
    exposures = (
        *_flats(night),
        *_standards(night),
        *(e for visit in VISITS for e in _observe(night, visit)),
        mask_exposure(),
    )
    kept = tuple(e for e in at_epoch(exposures, night.epoch) if not night.only or e.kind in night.only)
    rng = np.random.default_rng([night.seed, 11])
    fields = (
        make_field(*CLUSTER, rng, stars=night.stars or 30000, faint=21.2),
        sparse_field(*QUASAR, rng, 7),
        sky_field("sky", CLUSTER, SKY_PLACE, rng),
        standard_field(night, STANDARD),
    )
    zeropoints = draw_zeropoints(night, ("J", "H", "Kshort"))
    return Program(PROGRAM, kept, {f.name: f for f in fields}, night, zeropoints)


def _flats(night: Night) -> Iterator[Exposure]:
    """Lamp on and off in J and Kshort; in H the lamp-off set was never taken."""
    afternoon = datetime(2018, 1, 11, 20, 10, 0, tzinfo=UTC)
    count = min(night.flats, 5)
    sets = (("lamp-on", J), ("lamp-off", J), ("lamp-on", H), ("lamp-on", KSHORT), ("lamp-off", KSHORT))
    for i, (kind, filter1) in enumerate(sets):
        begin = afternoon + timedelta(minutes=8 * i)
        series = Series(LABEL, 1 + 5 * i, count, f"GS-CAL{LABEL}", str(3 + i), filter1, begin, 15.0)
        yield from dome_flats(night, series, kind)


def _standards(night: Night) -> Iterator[Exposure]:
    """The standard in each filter, at dusk."""
    dusk = datetime(2018, 1, 12, 0, 48, 0, tzinfo=UTC)
    for i, filter1 in enumerate((J, H, KSHORT)):
        begin = dusk + timedelta(minutes=6 * i)
        series = Series(LABEL, 30 + 4 * i, 4, f"GS-CAL{LABEL}", str(20 + i), filter1, begin, 20.0)
        yield from standards(night, series, STANDARD)


def _observe(night: Night, visit: Visit) -> Iterator[Exposure]:
    """The exposures of one observation, skies after the objects."""
    target, ra, dec = visit.target
    step = visit.exptime * visit.coadds + 6.0
    for i in range(visit.objects + visit.skies):
        name = f"S{LABEL}S{visit.first + i:04d}"
        on_target = i < visit.objects
        place = WIDE[i % visit.objects]
        base = (0.0, 0.0) if on_target else SKY_PLACE
        yield Exposure(
            name=name,
            kind="science" if on_target else "sky",
            target=target,
            program=PROGRAM,
            observation=f"{PROGRAM}-{visit.number}",
            number=i + 1,
            filter1=visit.filter1,
            exptime=visit.exptime,
            begin=visit.begin + timedelta(seconds=step * i + (0.0 if on_target else 90.0)),
            coadds=visit.coadds,
            samples=visit.samples,
            ra=ra,
            dec=dec,
            offset=(base[0] + place[0], base[1] + place[1]),
            field=target if on_target else "sky",
            place=place,
            size=night.size,
            position_angle=night.position_angle,
            port=night.port,
            trouble=frozenset({TROUBLES[name]} if name in TROUBLES else ()),
            release=visit.release,
            coordinates_withheld=visit.withheld,
        )
