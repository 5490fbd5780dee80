"""The tutorial's program, GS-2017A-Q-29 on 2017-05-04/05: 51 files of the outskirts of NGC 5128 in Kshort."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from goafetch.practice.exposure.detector import ARRAYS, relative_sensitivity
from goafetch.practice.exposure.night import Exposure, Night, Program, at_epoch
from goafetch.practice.exposure.optics import read_data
from goafetch.practice.exposure.scene import Field, Galaxy, make_field, single_star, sparse_field
from goafetch.practice.pointings import beside

F64 = NDArray[np.float64]

PROGRAM = "GS-2017A-Q-29"
TARGET = ("NGC5128", 201.357917, -43.033056)
STANDARD = ("9132", 246.808333, -24.688889)
KSHORT = "Kshort_G1105"
MASK = "bpm_20121104_gsaoi_gsaoi_11_full_4amp"
#: The tutorial's 3x3 pattern, in units of its step of 0.2 arcsec.
PATTERN = ((0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (0, 1), (0, 2), (1, 2), (2, 2))
SKY_PATTERN = ((0, 0), (8, 3), (-6, 9), (-9, -5), (5, -10), (11, 8), (-3, -12))
SKY_PLACE = (295.0, -120.0)
WRONG_WCS = frozenset({"S20170505S0105", "S20170505S0108", "S20170505S0109"})
#: Seconds from one exposure of 60 s to the next, and from the block of object exposures to the sky.
CADENCE, WAY_TO_SKY = 62.6, 420.0
#: Half the distance between two arrays' centres, arcsec.
HALF_STEP = 21.5


@dataclass(frozen=True)
class Series:
    """A run of calibration exposures: the first file's night label and number, and what they share."""

    label: str
    first: int
    count: int
    program: str
    observation: str
    filter1: str
    begin: datetime
    exptime: float

    def names(self) -> list[str]:
        """The files' names."""
        return [f"S{self.label}S{self.first + i:04d}" for i in range(self.count)]


def tutorial(night: Night) -> Program:
    """Plan the tutorial's program as a variant of its night."""
    standard = Series(
        "20170504", 114, 4, "GS-CAL20170504", "13", KSHORT, datetime(2017, 5, 4, 9, 38, 11, tzinfo=UTC), 30.0
    )
    exposures = (
        *standards(night, standard, STANDARD),
        *_flats(night),
        *_science(night),
        mask_exposure(),
    )
    kept = tuple(e for e in at_epoch(exposures, night.epoch) if not night.only or e.kind in night.only)
    fields = (_target_field(night), _sky_field(night), standard_field(night, STANDARD))
    return Program(PROGRAM, kept, {f.name: f for f in fields}, night, draw_zeropoints(night, ("Kshort",)))


def draw_zeropoints(night: Night, filters: tuple[str, ...]) -> dict[str, F64]:
    """True zeropoints of the four arrays, mag of 1 electron/s at airmass 0: the nominal ones, shifted."""
    rng = np.random.default_rng([night.seed, 4])
    table = read_data("filters")["nominal_zeropoint_mag_for_1_electron_per_s"]
    shifts = 0.05 * rng.standard_normal(len(filters))
    return {
        name: np.mean([table[name][a] for a in ARRAYS]) + shift + 2.5 * np.log10(relative_sensitivity(name))
        for name, shift in zip(filters, shifts, strict=True)
    }


def mask_exposure() -> Exposure:
    """The bad-pixel mask, valid from 2012-11-04."""
    return Exposure(
        name=MASK,
        kind="mask",
        target="BPM",
        program="GS-CAL20121104",
        observation="GS-CAL20121104-1",
        number=1,
        filter1="Clear",
        exptime=0.0,
        begin=datetime(2012, 11, 4, tzinfo=UTC),
        release="2012-11-04",
    )


def standards(night: Night, series: Series, star: tuple[str, float, float]) -> Iterator[Exposure]:
    """Four exposures of a standard star, on arrays 2, 1, 4, 3 in turn, the central 1024x1024 at most."""
    places = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    name, ra, dec = star
    for i, (file, (east, north)) in enumerate(zip(series.names(), places, strict=True)):
        place = (east * HALF_STEP, north * HALF_STEP)
        yield Exposure(
            name=file,
            kind="standard",
            target=name,
            program=series.program,
            observation=f"{series.program}-{series.observation}",
            number=i + 1,
            filter1=series.filter1,
            exptime=series.exptime,
            begin=series.begin + timedelta(seconds=(series.exptime + 41.3) * i),
            ra=ra,
            dec=dec,
            offset=place,
            field=name,
            place=place,
            size=min(1024, night.size),
            release=series.begin.strftime("%Y-%m-%d"),
        )


def standard_field(night: Night, star: tuple[str, float, float]) -> Field:
    """A standard of 11-13 mag."""
    name, ra, dec = star
    rng = np.random.default_rng([night.seed, 7, *name.encode()])
    return single_star(name, ra, dec, float(rng.uniform(11.0, 13.0)), rng)


def dome_flats(night: Night, series: Series, kind: str) -> Iterator[Exposure]:
    """Dome flats; ``kind`` is lamp-on or lamp-off. Their OBSTYPE is OBJECT, as for everything."""
    for i, file in enumerate(series.names()):
        yield Exposure(
            name=file,
            kind=kind,
            target="Domeflat" if kind == "lamp-on" else "Domeflat OFF",
            program=series.program,
            observation=f"{series.program}-{series.observation}",
            number=i + 1,
            filter1=series.filter1,
            exptime=series.exptime,
            begin=series.begin + timedelta(seconds=(series.exptime + 12.4) * i),
            size=night.size,
            release=series.begin.strftime("%Y-%m-%d"),
        )


def _flats(night: Night) -> Iterator[Exposure]:
    """Dome flats of the afternoon: lamp on from 0030, lamp off from 0060."""
    for kind, first, observation, begin in (
        ("lamp-on", 30, "3", datetime(2017, 5, 4, 19, 34, 2, tzinfo=UTC)),
        ("lamp-off", 60, "5", datetime(2017, 5, 4, 20, 3, 40, tzinfo=UTC)),
    ):
        series = Series("20170505", first, night.flats, "GS-CAL20170505", observation, KSHORT, begin, 15.0)
        yield from dome_flats(night, series, kind)


def _target_field(night: Night) -> Field:
    rng = np.random.default_rng([night.seed, 5])
    name, ra, dec = TARGET
    if night.scenery == "sparse":
        return sparse_field(name, ra, dec, rng, night.stars or int(rng.integers(5, 9)))
    galaxy = Galaxy(centre=(35.0, 90.0), brightness=170000.0, radius=36.7, index=1.0)
    stars = night.stars or {"galaxy": 36000, "crowded": 100000}[night.scenery]
    return make_field(name, ra, dec, rng, stars=stars, faint=21.6, galaxy=galaxy)


def _sky_field(night: Night) -> Field:
    return sky_field("sky", TARGET, SKY_PLACE, np.random.default_rng([night.seed, 6]))


def sky_field(
    name: str, target: tuple[str, float, float], place: tuple[float, float], rng: np.random.Generator
) -> Field:
    """An empty piece of sky ``place`` arcsec (east, north) from a target, with a few dozen stars."""
    ra, dec = beside(target, place)
    return make_field(name, ra, dec, rng, stars=60, faint=20.0, bright=14.0, slope=0.25, half=75.0)


def sequence(night: Night) -> str:
    """The order of object (O) and sky (S) exposures."""
    if night.sky_order == "after" or night.skies < 2:
        return "O" * night.objects + "S" * night.skies
    times = [((i + 0.5) / night.objects, "O") for i in range(night.objects)]
    times += [(i / (night.skies - 1), "S") for i in range(night.skies)]
    return "".join(letter for _, letter in sorted(times))


def _science(night: Night) -> Iterator[Exposure]:
    """On and off target from 0095 on, in the night's order; after a block, seven minutes pass to the sky."""
    begin = datetime(2017, 5, 5, 3, 22, 40, tzinfo=UTC)
    order = sequence(night)
    for i, letter in enumerate(order):
        name = f"S20170505S{95 + i:04d}"
        on_target = letter == "O"
        before = order[:i].count(letter)
        late = 0.0 if on_target or night.sky_order != "after" else WAY_TO_SKY
        east, north = _step(night, before) if on_target else SKY_PATTERN[before % len(SKY_PATTERN)]
        base = (0.0, 0.0) if on_target else SKY_PLACE
        yield Exposure(
            name=name,
            kind="science" if on_target else "sky",
            target=TARGET[0],
            program=PROGRAM,
            observation=f"{PROGRAM}-32",
            number=i + 1,
            filter1=KSHORT,
            exptime=60.0,
            begin=begin + timedelta(seconds=CADENCE * i + late),
            ra=TARGET[1],
            dec=TARGET[2],
            offset=(base[0] + east, base[1] + north),
            field=TARGET[0] if on_target else "sky",
            place=(float(east), float(north)),
            size=night.size,
            position_angle=night.position_angle,
            port=night.port,
            trouble=frozenset({"wrong wcs"}) if name in WRONG_WCS else frozenset(),
            release="2017-11-05",
        )


def _step(night: Night, index: int) -> tuple[float, float]:
    """Dither offset of an object exposure, arcsec."""
    x, y = PATTERN[index % len(PATTERN)]
    return x * night.dither, y * night.dither
