"""The tutorial's program, GS-2017A-Q-29 on 2017-05-04/05: 51 files of the outskirts of NGC 5128 in Kshort."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from goafetch.practice.detector import ARRAYS, relative_sensitivity
from goafetch.practice.night import Exposure, Night, Program
from goafetch.practice.optics import read_data
from goafetch.practice.scene import Field, Galaxy, make_field, single_star

PROGRAM = "GS-2017A-Q-29"
TARGET = ("NGC5128", 201.357917, -43.033056)
STANDARD = ("9132", 246.808333, -24.688889)
FILTER = "Kshort_G1105"
MASK = "bpm_20121104_gsaoi_gsaoi_11_full_4amp"
#: The tutorial's 3x3 pattern, in units of its step of 0.2 arcsec.
PATTERN = ((0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (0, 1), (0, 2), (1, 2), (2, 2))
SKY_PATTERN = ((0, 0), (8, 3), (-6, 9), (-9, -5), (5, -10), (11, 8), (-3, -12))
SKY_PLACE = (295.0, -120.0)
INTERLEAVED = "SOSOOSOSOOSOSOOS"
WRONG_WCS = frozenset({"S20170505S0105", "S20170505S0108", "S20170505S0109"})
CADENCE = 62.6


def tutorial(night: Night) -> Program:
    """Plan the tutorial's program as a variant of its night."""
    exposures = (*_standards(night), *_flats(night), *_science(night), mask_exposure())
    kept = tuple(e for e in exposures if not night.only or e.kind in night.only)
    fields = (_target_field(night), _sky_field(night), _standard_field(night))
    return Program(PROGRAM, kept, {f.name: f for f in fields}, night, draw_zeropoints(night, ("Kshort",)))


def draw_zeropoints(night: Night, filters: tuple[str, ...]) -> dict[str, np.ndarray]:
    """True zeropoints of the four arrays (mag of 1 electron/s at airmass 0): nominal ones, shifted for the night."""
    rng = np.random.default_rng([night.seed, 4])
    table = read_data("gsaoi")["nominal_zeropoint_mag_for_1_electron_per_s"]
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


def _target_field(night: Night) -> Field:
    rng = np.random.default_rng([night.seed, 5])
    name, ra, dec = TARGET
    galaxy = Galaxy(centre=(48.0, 46.0), brightness=62000.0, radius=24.0, index=1.4)
    if night.scenery == "sparse":
        return make_field(name, ra, dec, rng, stars=night.stars or 14, faint=19.0, bright=14.0, slope=0.3)
    stars = night.stars or {"galaxy": 62000, "crowded": 180000}[night.scenery]
    return make_field(name, ra, dec, rng, stars=stars, faint=23.2, galaxy=galaxy)


def _sky_field(night: Night) -> Field:
    rng = np.random.default_rng([night.seed, 6])
    _, ra, dec = TARGET
    cosine = np.cos(np.radians(dec))
    return make_field(
        "sky",
        ra + SKY_PLACE[0] / 3600.0 / cosine,
        dec + SKY_PLACE[1] / 3600.0,
        rng,
        stars=60,
        faint=20.0,
        bright=14.0,
        slope=0.25,
        half=75.0,
    )


def _standard_field(night: Night) -> Field:
    rng = np.random.default_rng([night.seed, 7])
    name, ra, dec = STANDARD
    return single_star(name, ra, dec, float(rng.uniform(11.0, 13.0)), rng)


def _standards(night: Night) -> Iterator[Exposure]:
    """Four exposures at the end of the night before, the star on arrays 2, 1, 4, 3 in turn."""
    begin = datetime(2017, 5, 4, 9, 38, 11, tzinfo=UTC)
    half = 21.5
    places = ((half, half), (-half, half), (-half, -half), (half, -half))
    name, ra, dec = STANDARD
    for i, place in enumerate(places):
        yield Exposure(
            name=f"S20170504S{114 + i:04d}",
            kind="standard",
            target=name,
            program="GS-CAL20170504",
            observation="GS-CAL20170504-13",
            number=i + 1,
            filter1=FILTER,
            exptime=30.0,
            begin=begin + timedelta(seconds=71.3 * i),
            ra=ra,
            dec=dec,
            offset=place,
            field=name,
            place=place,
            size=min(1024, night.size),
            release="2017-05-04",
        )


def _flats(night: Night) -> Iterator[Exposure]:
    """Dome flats of the afternoon: lamp on from 0030, lamp off from 0060."""
    for kind, target, first, observation, begin in (
        ("lamp-on", "Domeflat", 30, "GS-CAL20170505-3", datetime(2017, 5, 4, 19, 34, 2, tzinfo=UTC)),
        ("lamp-off", "Domeflat OFF", 60, "GS-CAL20170505-5", datetime(2017, 5, 4, 20, 3, 40, tzinfo=UTC)),
    ):
        for i in range(night.flats):
            yield Exposure(
                name=f"S20170505S{first + i:04d}",
                kind=kind,
                target=target,
                program="GS-CAL20170505",
                observation=observation,
                number=i + 1,
                filter1=FILTER,
                exptime=15.0,
                begin=begin + timedelta(seconds=27.4 * i),
                size=night.size,
                release="2017-05-05",
            )


def _science(night: Night) -> Iterator[Exposure]:
    """On and off target from 0095 on, in the night's order; after a block, seven minutes pass to the sky."""
    order = INTERLEAVED if night.sky_order == "interleaved" else "O" * night.objects + "S" * night.skies
    begin = datetime(2017, 5, 5, 3, 22, 40, tzinfo=UTC)
    objects = skies = 0
    for i, letter in enumerate(order):
        name = f"S20170505S{95 + i:04d}"
        if letter == "O":
            step = PATTERN[objects % len(PATTERN)]
            offset = place = (step[0] * night.dither, step[1] * night.dither)
            objects += 1
        else:
            place = SKY_PATTERN[skies % len(SKY_PATTERN)]
            offset = (SKY_PLACE[0] + place[0], SKY_PLACE[1] + place[1])
            skies += 1
        late = 420.0 if night.sky_order == "after" and letter == "S" else 0.0
        yield Exposure(
            name=name,
            kind="science" if letter == "O" else "sky",
            target=TARGET[0],
            program=PROGRAM,
            observation=f"{PROGRAM}-32",
            number=i + 1,
            filter1=FILTER,
            exptime=60.0,
            begin=begin + timedelta(seconds=CADENCE * i + late),
            ra=TARGET[1],
            dec=TARGET[2],
            offset=offset,
            field=TARGET[0] if letter == "O" else "sky",
            place=place,
            size=night.size,
            position_angle=night.position_angle,
            port=night.port,
            trouble=frozenset({"wrong wcs"}) if name in WRONG_WCS else frozenset(),
            release="2017-11-05",
        )
