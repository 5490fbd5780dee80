"""Random small nights: everything that a night can be, drawn from a seed, and what goes wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits

from goafetch.practice import simulate
from goafetch.practice.exposure.night import Exposure, Night, Program
from goafetch.practice.exposure.optics import sky_to_instrument, static_extent
from goafetch.practice.exposure.scene import Galaxy, make_field, sparse_field
from goafetch.practice.pointings import beside, following, two_pointings, with_target
from goafetch.practice.program import KSHORT, SKY_PLACE, TARGET, draw_zeropoints, sky_field, tutorial

#: What is exposed, and how often.
SCENERIES = {
    "stars": 0.22,
    "crowded": 0.13,
    "sparse": 0.10,
    "galaxy": 0.20,
    "nebula": 0.15,
    "moving": 0.08,
    "pointings": 0.12,
}
FILTERS = {KSHORT: 0.6, "J_G1102": 0.2, "H_G1103": 0.2}
#: Where dome flats without lamp-off frames are used; in the other filters the dome's own light is too much.
LIT_ALONE = frozenset({"J_G1102"})
EPOCHS = {"": 0.4, "2013": 0.2, "2014": 0.2, "2018": 0.2}
#: Magnitude of a moving target.
MOVING = 14.5

#: What can go wrong with one exposure that belongs to the target all the same, and must be used.
HARMLESS = (
    "dead array",
    "half dead array",
    "half nan array",
    "row noise",
    "reset ramp",
    "snowballs",
)
#: What may be used, weighted down, or left out by name.
DOUBTFUL = ("glitched array", "stopped", "doubled", "trailed", "loop opened")
#: What befalls a flat, a sky, or the whole night.
OTHERS = (
    "lamp too bright",
    "lamp dead",
    "lit cloud",
    "dirty sky",
    "short sky",
    "named sky",
    "no offsets",
    "names",
    "copies",
    "darks",
    "calibration unit",
    "no lamp-off",
    "stray",
    "two strays",
)
NUMBERED = tuple(name for name in (*HARMLESS, *DOUBTFUL) if name.endswith("array"))


@dataclass(frozen=True)
class RandomNight:
    """A drawn night: what is simulated, what goes wrong, and what a stack must and must not hold.

    ``must``: science exposures that belong and are good; ``may``: those that a careful observer might leave
    out; every other exposure is a stranger. ``copies``: files written twice, by name.
    """

    seed: int
    scenery: str
    troubles: tuple[str, ...]
    program: Program
    must: frozenset[str]
    may: frozenset[str]
    copies: tuple[str, ...] = ()

    def told(self) -> str:
        """The night in a line."""
        night = self.program.night
        kinds = [e.kind for e in self.program.exposures]
        band = next(e.filter_name for e in self.program.exposures if e.kind == "science")
        return (
            f"{self.scenery}, {night.epoch or 'own epoch'}, port {night.port}, {band}, "
            f"{kinds.count('science')} objects, {kinds.count('sky')} skies {night.sky_order}, "
            f"dither {night.dither:.1f}, PA {night.position_angle:.0f}: {', '.join(self.troubles) or 'good'}"
        )

    @property
    def targets(self) -> int:
        """How many stacks it gives."""
        return 2 if self.scenery == "pointings" else 1


def draw(seed: int, size: int = 512) -> RandomNight:
    """The night of a seed, with ``size`` pixels a side of an array; three in ten have no trouble, four one,
    three two."""
    rng = np.random.default_rng([20261130, seed])
    scenery = _choose(rng, SCENERIES)
    night = _night(seed, scenery, rng)
    program = _in_filter(tutorial(replace(night, size=size)), _choose(rng, FILTERS))
    program = _look(replace(program, fields=_fields(night, scenery, rng)), scenery, rng)
    science = frozenset(e.name for e in program.exposures if e.kind == "science")
    drawn = RandomNight(seed, scenery, (), program, science, frozenset())
    possible = [t for t in (*HARMLESS, *DOUBTFUL, *OTHERS) if _can_suffer(drawn, t)]
    count = int(rng.choice([0, 1, 2], p=[0.3, 0.4, 0.3]))
    for trouble in rng.choice(possible, count, replace=False):
        drawn = _suffer(drawn, str(trouble), rng)
    return _asked(drawn)


def _asked(night: RandomNight) -> RandomNight:
    """The night, whose science may be left out by name where no flat serves its filter: dome flats alone."""
    band = next(e.filter1 for e in night.program.exposures if e.kind == "science")
    lit = [e for e in night.program.exposures if e.kind == "lamp-on"]
    dark = any(e.kind == "lamp-off" for e in night.program.exposures)
    if dark or all(e.gcal for e in lit) or band in LIT_ALONE:
        return night
    return replace(night, must=frozenset(), may=night.must | night.may)


def _choose(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))


def _night(seed: int, scenery: str, rng: np.random.Generator) -> Night:
    extended = scenery in ("galaxy", "nebula", "moving")
    skies = int(rng.integers(3, 6)) if extended or rng.random() < 0.4 else 0
    return Night(
        seed=seed,
        sky_order=str(rng.choice(["after", "interleaved"])),
        dither=float(rng.uniform(0.2, 1.2) if skies else rng.uniform(1.5, 3.0)),
        objects=int(rng.integers(4, 8 if scenery != "pointings" else 6)),
        skies=skies,
        flats=3,
        size=512,
        stars=1,  # in the tutorial's own field, at which no exposure looks
        position_angle=float(rng.choice([0.0, 90.0, 180.0, rng.uniform(0.0, 360.0)])),
        port=int(rng.choice([1, 5], p=[0.7, 0.3])),
        epoch=_choose(rng, EPOCHS),
        compress=False,
        noiseless=True,
        only=frozenset({"science", "sky", "lamp-on", "lamp-off", "mask"}),
    )


def _in_filter(program: Program, wheel: str) -> Program:
    """The program through another filter, nothing wrong with any exposure."""
    exposures = tuple(
        replace(e, trouble=frozenset(), filter1=e.filter1 if e.kind == "mask" else wheel)
        for e in program.exposures
    )
    zeropoints = draw_zeropoints(program.night, (wheel.rsplit("_", 1)[0],))
    return replace(program, exposures=exposures, zeropoints=zeropoints)


def _look(program: Program, scenery: str, rng: np.random.Generator) -> Program:
    """The program with a second pointing, or with a target that moves among the stars."""
    if scenery == "pointings":
        place = rng.uniform(90.0, 300.0, 2) * rng.choice([-1.0, 1.0], 2)
        where = beside(TARGET, (float(place[0]), float(place[1])))
        stars = int(rng.integers(4000, 20000))
        second = make_field("second", *where, rng, stars=stars, faint=21.4)
        return two_pointings(program, second, interleaved=bool(rng.random() < 0.5))
    if scenery != "moving":
        return program
    speed, angle = rng.uniform(3.0, 20.0) / 3600.0, rng.uniform(0.0, 2 * np.pi)
    rate = (float(speed * np.cos(angle)), float(speed * np.sin(angle)))
    science = [e for e in program.exposures if e.kind == "science"]
    start = science[0].begin
    followed = following(science, rate, start)
    fields = with_target(followed, program.fields[TARGET[0]], _on_array(science[0], rng), MOVING, start)
    others = [e for e in program.exposures if e.kind != "science"]
    return replace(program, exposures=(*followed, *others), fields=program.fields | fields)


def _on_array(exposure: Exposure, rng: np.random.Generator) -> tuple[float, float]:
    """Where the middle of an array falls on the sky, arcsec (east, north) from the target."""
    middle = np.mean(static_extent(int(rng.integers(4))), axis=1) - exposure.epoch.origin
    turn = sky_to_instrument(np.radians(exposure.position_angle), exposure.port)
    east, north = np.linalg.solve(turn, middle)
    return float(east), float(north)


#: Troubles of sky exposures, which not every night has; and of stars, which show where an exposure looks.
NEED_SKIES = ("lit cloud", "dirty sky", "short sky", "named sky")
NEED_STARS = ("stray", "two strays", "no offsets")


def _can_suffer(night: RandomNight, trouble: str) -> bool:
    """Whether a trouble can befall this night and leave what is asked of it possible."""
    science = next(e for e in night.program.exposures if e.kind == "science")
    if trouble in NEED_SKIES:
        return night.program.night.skies > 0
    if trouble in NEED_STARS:
        return night.scenery != "moving"
    return trouble != "no lamp-off" or science.filter1 != KSHORT


def _fields(night: Night, scenery: str, rng: np.random.Generator) -> dict:
    """The target's field, another one for strays, and the sky's."""
    name, ra, dec = TARGET
    galaxy = None
    if scenery == "galaxy":
        galaxy = Galaxy((35.0, 90.0), 170000.0, 36.7, 1.0)
    if scenery == "nebula":
        brightness = float(rng.uniform(5e3, 5e4))
        galaxy = Galaxy(tuple(rng.uniform(-25.0, 25.0, 2)), brightness, float(rng.uniform(10.0, 30.0)), 1.0)
    stars = {
        "crowded": 60000,
        "moving": int(rng.integers(1500, 6000)),
    }.get(scenery, int(np.exp(rng.uniform(np.log(2500.0), np.log(20000.0)))))
    if scenery == "sparse":
        target = sparse_field(name, ra, dec, rng, int(rng.integers(5, 9)))
    else:
        target = make_field(name, ra, dec, rng, stars=stars, faint=21.4, galaxy=galaxy)
    many = int(np.exp(rng.uniform(np.log(1000.0), np.log(30000.0))))
    elsewhere = make_field("elsewhere", ra, dec, rng, stars=many, faint=21.4)
    sky = sky_field("sky", TARGET, SKY_PLACE, np.random.default_rng([night.seed, 6]))
    return {field.name: field for field in (target, elsewhere, sky)}


def _suffer(night: RandomNight, trouble: str, rng: np.random.Generator) -> RandomNight:
    """The night with one trouble more."""
    night = replace(night, troubles=(*night.troubles, trouble))
    if trouble in WHOLE:
        return WHOLE[trouble](night, rng)
    kind = {"lit cloud": "sky", "lamp too bright": "lamp-on", "lamp dead": "lamp-on"}.get(trouble, "science")
    if kind == "science" and trouble in HARMLESS and rng.random() < 0.3:
        kind = "sky"
    names = [
        e.name for e in night.program.exposures if e.kind == kind and not e.trouble and e.field != "elsewhere"
    ]
    if not names:
        return night
    name = str(rng.choice(names))
    word = f"{trouble} {rng.integers(1, 5)}" if trouble in NUMBERED else trouble
    night = _change(night, lambda e: replace(e, trouble=e.trouble | {word}) if e.name == name else e)
    if trouble in DOUBTFUL and kind == "science":
        return replace(night, must=night.must - {name}, may=night.may | {name})
    return night


def _change(night: RandomNight, change: Callable[[Exposure], Exposure]) -> RandomNight:
    exposures = tuple(map(change, night.program.exposures))
    return replace(night, program=replace(night.program, exposures=exposures))


def _strays(count: int) -> Callable[[RandomNight, np.random.Generator], RandomNight]:
    """Exposures of another field under the same headers, fewer than half."""

    def stray(night: RandomNight, rng: np.random.Generator) -> RandomNight:
        names = sorted(night.must)
        lost = rng.choice(names, min(count, (len(names) // night.targets - 1) // 2), replace=False)
        night = _change(night, lambda e: replace(e, field="elsewhere") if e.name in lost else e)
        return replace(night, must=night.must - frozenset(map(str, lost)))

    return stray


def _dirty(night: RandomNight, rng: np.random.Generator) -> RandomNight:
    """A sky field with a bright star and a nebula that half an arcsecond of dither does not move out."""
    sky = night.program.fields["sky"]
    nebula = Galaxy(tuple(rng.uniform(-20.0, 20.0, 2)), 2e4, 4.0, 1.0)
    x, y, magnitude = sky.x.copy(), sky.y.copy(), sky.magnitude.copy()
    x[0], y[0], magnitude[0] = *rng.uniform(-22.0, 22.0, 2), 9.5
    fields = night.program.fields | {"sky": replace(sky, x=x, y=y, magnitude=magnitude, galaxy=nebula)}
    night = replace(night, program=replace(night.program, fields=fields))

    def near(e: Exposure) -> Exposure:
        if e.kind != "sky":
            return e
        place = (e.place[0] / 20.0, e.place[1] / 20.0)
        base = (e.offset[0] - e.place[0], e.offset[1] - e.place[1])
        return replace(e, place=place, offset=(base[0] + place[0], base[1] + place[1]))

    return _change(night, near)


def _short(night: RandomNight, rng: np.random.Generator) -> RandomNight:
    return _change(night, lambda e: replace(e, exptime=30.0) if e.kind == "sky" else e)


def _named(night: RandomNight, rng: np.random.Generator) -> RandomNight:
    """Skies under a name and an observation of their own, as targets at their own coordinates."""

    def named(e: Exposure) -> Exposure:
        if e.kind != "sky":
            return e
        sky = night.program.fields["sky"]
        return replace(e, target="Sky", observation=f"{e.program}-33", ra=sky.ra, dec=sky.dec, offset=e.place)

    return _change(night, named)


def _no_offsets(night: RandomNight, rng: np.random.Generator) -> RandomNight:
    return _change(night, lambda e: replace(e, trouble=e.trouble | {"no offsets"}))


def _names(night: RandomNight, rng: np.random.Generator) -> RandomNight:
    ways = ("NGC5128", "NGC 5128", "ngc5128")
    return _change(night, lambda e: replace(e, target=str(rng.choice(ways))) if e.kind == "science" else e)


def _copies(night: RandomNight, rng: np.random.Generator) -> RandomNight:
    kinds = ("science", "sky", "lamp-on")
    names = [e.name for e in night.program.exposures if e.kind in kinds]
    return replace(night, copies=tuple(map(str, rng.choice(names, 2, replace=False))))


def _darks(night: RandomNight, rng: np.random.Generator) -> RandomNight:
    """Dark frames of the night beside the rest."""
    lit = [e for e in night.program.exposures if e.kind == "lamp-on"]
    facts = {"kind": "dark", "target": "Dark", "filter1": "Blocked", "exptime": 60.0, "trouble": frozenset()}
    darks = [
        replace(e, name=f"{e.name[:-4]}{300 + i:04d}", begin=e.begin + timedelta(hours=1), **facts)
        for i, e in enumerate(lit)
    ]
    exposures = (*night.program.exposures, *darks)
    return replace(night, program=replace(night.program, exposures=exposures))


def _calibration_unit(night: RandomNight, rng: np.random.Generator) -> RandomNight:
    """Flats by the calibration unit, whose lamp-off frames nobody takes."""
    return _change(
        _no_lamp_off(night, rng),
        lambda e: replace(e, gcal=True, target="GCALflat") if e.kind == "lamp-on" else e,
    )


def _no_lamp_off(night: RandomNight, rng: np.random.Generator) -> RandomNight:
    exposures = tuple(e for e in night.program.exposures if e.kind != "lamp-off")
    return replace(night, program=replace(night.program, exposures=exposures))


WHOLE = {
    "darks": _darks,
    "calibration unit": _calibration_unit,
    "no lamp-off": _no_lamp_off,
    "stray": _strays(1),
    "two strays": _strays(2),
    "dirty sky": _dirty,
    "short sky": _short,
    "named sky": _named,
    "no offsets": _no_offsets,
    "names": _names,
    "copies": _copies,
}


def write(night: RandomNight, folder: Path) -> tuple[Path, Path]:
    """Simulate the night below ``folder``; the folders of its raw files and of its truth."""
    raw, truth = folder / "raw", folder / "truth"
    shutil.rmtree(folder, ignore_errors=True)
    simulate.PROGRAMS["random"] = lambda _: night.program
    simulate.build_program("random", raw, night=night.program.night, truth=truth, workers=1)
    shutil.rmtree(raw / "headers")
    (raw / "holdings.json").unlink()
    for number, name in enumerate(night.copies):
        other = (f"{name} (1).fits", f"copy of {name}.fits")[number]
        shutil.copy(raw / f"{name}.fits", raw / other)
    return raw, truth


def members(stack: Path) -> list[str]:
    """Names of the exposures of a stack, the reference first."""
    with fits.open(stack) as units:
        reference = str(units[0].header["REFFRAME"]).split("_")[0].removesuffix(".fits")
        names = [
            str(name).split("_")[0].removesuffix(".fits") for name in units["EXPOSURES"].data["filename"]
        ]
    return sorted(names, key=lambda name: name != reference)
