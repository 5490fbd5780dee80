"""A night's plan and its weather: what is exposed when, and all that changes from exposure to exposure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from goafetch.practice.exposure.epochs import Epoch, epoch_of
from goafetch.practice.exposure.optics import (
    Mapping,
    Pointing,
    field_centre,
    point,
    refraction_matrix,
    sky_to_instrument,
)
from goafetch.practice.exposure.psf import Profile
from goafetch.practice.exposure.scene import Field

F64 = NDArray[np.float64]

#: Sky brightness, electrons/s on 0.0197 arcsec squared, and lamp-off thermal light of the dome, per filter.
SKY_RATE = {"Z": 1.0, "J": 5.0, "H": 24.0, "Kprime": 50.0, "Kshort": 55.0, "K": 70.0}
DOME_RATE = {"Z": 2.0, "J": 3.0, "H": 12.0, "Kprime": 150.0, "Kshort": 165.0, "K": 210.0}
LAMP_RATE = 1650.0
NOMINAL_AREA = 0.0197**2


@dataclass(frozen=True)
class Night:
    """How a program's night may be varied; every amplitude defaults to what the instrument does.

    ``sky_order``: 'after' the block of object exposures, or 'interleaved'. ``dither``: arcsec between
    steps (0.2 gives the tutorial's 0.2-0.4 pattern). ``objects``, ``skies``, ``flats``: numbers of
    exposures. ``drift``: range of the sky's change in half an hour. ``size``: columns and rows read of
    each array. ``standard_seeing``: range of FWHM in arcsec. ``unsteady``: times as much as usual the
    images change from exposure to exposure. ``scenery``: 'galaxy', 'sparse' or 'crowded'. ``stars``:
    their number, None for the scenery's own. ``channels``: output channels per array, 4 or 32.
    ``position_angle`` in degrees, ``port``: the instrument's port. ``compress``: write .fits.bz2 rather
    than .fits. ``noiseless``: let the truth hold the noiseless electrons. ``only``: kinds of exposure to
    make, empty for all. ``epoch``: '2013', '2014', '2017' or '2018' moves the program to that year, whose
    headers have their habits (``epochs``); empty for the program's own.
    """

    seed: int = 1
    sky_order: str = "after"
    dither: float = 0.2
    objects: int = 9
    skies: int = 7
    flats: int = 15
    drift: tuple[float, float] = (0.05, 0.10)
    size: int = 512
    standard_seeing: tuple[float, float] = (0.5, 1.0)
    unsteady: float = 1.0
    scenery: str = "galaxy"
    stars: int | None = None
    channels: int = 4
    position_angle: float = 0.0
    port: int = 1
    compress: bool = True
    noiseless: bool = False
    only: frozenset[str] = frozenset()
    epoch: str = ""


@dataclass(frozen=True)
class Exposure:
    """One exposure as planned: degrees, seconds, offset in arcsec (east, north) from the target, its rate
    among the stars in arcsec (east, north) a second.

    ``kind``: science, sky, standard, lamp-on, lamp-off, dark, mask. ``field``: name of the field on the sky,
    or ''. ``place``: commanded pointing in that field's tangent plane, arcsec. ``trouble``: what its file
    shall suffer: 'wrong wcs', 'unknown filter' (the wheel's position tells it), 'lost filter' (nothing does),
    'missing extension', 'no offsets' (cards of them are missing), and what ``troubles`` knows. ``gcal``: a
    flat by the calibration unit instead of the dome.
    """

    name: str
    kind: str
    target: str
    program: str
    observation: str
    number: int
    filter1: str
    exptime: float
    begin: datetime
    filter2: str = "Clear"
    coadds: int = 1
    samples: int = 2
    ra: float = 0.0
    dec: float = 0.0
    offset: tuple[float, float] = (0.0, 0.0)
    rate: tuple[float, float] = (0.0, 0.0)
    field: str = ""
    place: tuple[float, float] = (0.0, 0.0)
    size: int = 2048
    position_angle: float = 0.0
    port: int = 1
    trouble: frozenset[str] = frozenset()
    release: str = ""
    coordinates_withheld: bool = False
    gcal: bool = False

    @property
    def epoch(self) -> Epoch:
        """The habits of its headers."""
        return epoch_of(self.begin)

    @property
    def at_rest(self) -> bool:
        """Whether the telescope stands still: in front of the dome's screen, or for darks."""
        return not self.field and not self.gcal

    @property
    def filter_name(self) -> str:
        """The filter as people call it."""
        wheel = self.filter2 if self.filter1 == "Clear" else self.filter1
        return wheel.rsplit("_", 1)[0]

    @property
    def julian_date(self) -> float:
        """Julian date of the middle of the exposure."""
        epoch = datetime(2000, 1, 1, 12, tzinfo=UTC)
        middle = (self.begin - epoch).total_seconds() + 0.5 * self.exptime * self.coadds
        return 2451545.0 + middle / 86400.0

    def pointing(self) -> Pointing:
        """Where the telescope points in mid-exposure (at the dome's screen 25 degrees from the zenith)."""
        if not self.field:
            return Pointing(270.0, 65.0, 1.1034, 0.0, 0.0)
        return point(self.ra, self.dec, self.julian_date)


def at_epoch(exposures: Iterable[Exposure], year: str) -> Iterator[Exposure]:
    """The exposures in a year of ``EPOCHS`` ('' for their own), standards placed as its pointing needs it."""
    for exposure in exposures:
        if year and exposure.kind != "mask":
            exposure = _in_year(exposure, int(year) - exposure.begin.year)
        if exposure.kind == "standard":
            # The observatory offsets standards so that they fall on the middles of the arrays.
            x, y = np.subtract(exposure.epoch.origin, field_centre())
            moved = [(float(a + x), float(b + y)) for a, b in (exposure.offset, exposure.place)]
            exposure = replace(exposure, offset=moved[0], place=moved[1])
        yield exposure


def _in_year(exposure: Exposure, years: int) -> Exposure:
    def later(text: str) -> str:
        """A text with its dates, yyyymmdd or yyyy-mm-dd, moved."""
        return re.sub(r"(?<!\d)(20\d\d)(?=-?\d\d-?\d\d)", lambda found: str(int(found[1]) + years), text)

    return replace(
        exposure,
        begin=exposure.begin.replace(year=exposure.begin.year + years),
        name=later(exposure.name),
        program=later(exposure.program),
        observation=later(exposure.observation),
        release=later(exposure.release),
    )


@dataclass(frozen=True)
class Program:
    """A whole program: its exposures, the fields they look at, the night's variant, and true zeropoints."""

    name: str
    exposures: tuple[Exposure, ...]
    fields: dict[str, Field]
    night: Night
    zeropoints: dict[str, F64] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditions:
    """What one exposure met: see ``docs/truth.md`` for each number's unit."""

    transparency: float
    airmass: float
    zenith_distance: float
    parallactic: float
    sky_rate: float
    sky_slope: tuple[float, float]
    lamp_rate: float
    profile: Profile
    pointing_error: tuple[float, float]
    rotation: float
    scale: float
    mapping: Mapping


@dataclass(frozen=True)
class Course:
    """How the sky's brightness runs through a night: relative change after ``seconds`` since its start."""

    start: datetime
    drift: float
    ripple: float
    period: float
    phase: float

    def at(self, moment: datetime) -> float:
        """Sky brightness relative to the start."""
        seconds = (moment - self.start).total_seconds()
        wave = math.sin(2 * math.pi * seconds / self.period + self.phase) - math.sin(self.phase)
        return 1.0 + self.drift * seconds / 1800.0 + self.ripple * wave


def draw_course(night: Night, observation: str, start: datetime) -> Course:
    """The sky during one observation: 5-10 % in half an hour, up or down, with a gentle wave."""
    rng = np.random.default_rng([night.seed, 1, *observation.encode()])
    drift = float(rng.uniform(*night.drift) * rng.choice([-1.0, 1.0]))
    return Course(start, drift, 0.004, float(rng.uniform(2400, 3600)), float(rng.uniform(0, 6.28)))


def draw_core(night: Night) -> Profile:
    """The night's adaptive-optics profile, about which the exposures scatter."""
    rng = np.random.default_rng([night.seed, 2])
    return Profile(
        float(rng.uniform(0.068, 0.080)), float(rng.uniform(0.42, 0.55)), float(rng.uniform(0.45, 0.65))
    )


def draw_conditions(exposure: Exposure, night: Night, course: Course) -> Conditions:
    """All that is drawn anew for each exposure, from the night's seed and the exposure's name alone."""
    rng = np.random.default_rng([night.seed, 3, *exposure.name.encode()])
    where = exposure.pointing()
    core = draw_core(night)
    if exposure.kind == "science":
        profile = Profile(
            core.core_fwhm * (1.0 + 0.05 * night.unsteady * _bounded(rng)),
            core.core_fraction * (1.0 + 0.06 * night.unsteady * _bounded(rng)),
            core.halo_fwhm * (1.0 + 0.10 * night.unsteady * _bounded(rng)),
        )
    else:
        profile = Profile(0.1, 0.0, float(rng.uniform(*night.standard_seeing)))
    error = 0.12 * rng.standard_normal(2)
    rotation, scale = 1.5e-4 * rng.standard_normal(), 1e-4 * rng.standard_normal()
    quadratic = 0.012 * QUADRATIC_UNIT * rng.standard_normal((2, 3))
    moment = exposure.begin
    zenith = math.radians(90.0 - where.elevation)
    matrix = (
        (1.0 + scale)
        * sky_to_instrument(math.radians(exposure.position_angle) + rotation, exposure.port)
        @ refraction_matrix(zenith, math.radians(where.parallactic))
    )
    # Target plus offset falls on the epoch's origin: the middle of the field looks beside it.
    beside = np.linalg.solve(matrix, np.subtract(field_centre(), exposure.epoch.origin))
    place = (exposure.place[0] + float(error[0] + beside[0]), exposure.place[1] + float(error[1] + beside[1]))
    level = (
        SKY_RATE.get(exposure.filter_name, 3.0) * course.at(moment) * (1.0 + 0.003 * rng.standard_normal())
    )
    thermal = DOME_RATE.get(exposure.filter_name, 5.0) * (1.0 + 0.002 * rng.standard_normal())
    lamp = LAMP_RATE * (1.0 + 0.004 * rng.standard_normal()) if exposure.kind == "lamp-on" else 0.0
    slope = 0.002 * rng.standard_normal(2)
    return Conditions(
        transparency=float(rng.uniform(0.985, 1.015)),
        airmass=where.airmass,
        zenith_distance=90.0 - where.elevation,
        parallactic=where.parallactic,
        sky_rate=float(level if exposure.field else thermal),
        sky_slope=(float(slope[0]), float(slope[1])) if exposure.field else (0.0, 0.0),
        lamp_rate=float(lamp),
        profile=profile,
        pointing_error=(float(error[0]), float(error[1])),
        rotation=float(rotation),
        scale=float(scale),
        mapping=Mapping(place, matrix, quadratic),
    )


#: Coefficients of this rms for u*u, u*v, v*v (|u|, |v| <= 1 at 45 arcsec) displace by 1 rms per axis over the
#: field after its mean is taken out: variances over the square are 4/45, 1/9, 4/45.
QUADRATIC_UNIT = 1.0 / math.sqrt(4.0 / 45.0 + 1.0 / 9.0 + 4.0 / 45.0)


def _bounded(rng: np.random.Generator) -> float:
    """A normal deviate, drawn again beyond 2.5."""
    value = rng.standard_normal()
    while abs(value) > 2.5:
        value = rng.standard_normal()
    return float(value)
