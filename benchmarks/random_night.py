"""Random small nights: everything that a night can be, drawn from a seed, and what goes wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from goafetch.practice import simulate
from goafetch.practice.exposure.night import Exposure, Night, Program
from goafetch.practice.exposure.scene import Galaxy, make_field, sparse_field
from goafetch.practice.program import SKY_PLACE, TARGET, sky_field, tutorial

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
        skies = f"{kinds.count('sky')} skies {night.sky_order}"
        return (
            f"{self.scenery}, {kinds.count('science')} objects, {skies}, "
            f"dither {night.dither:.1f}, PA {night.position_angle:.0f}: {', '.join(self.troubles) or 'good'}"
        )


def draw(seed: int) -> RandomNight:
    """The night of a seed; three in ten have no trouble, four one, three two."""
    rng = np.random.default_rng([20261130, seed])
    scenery = str(
        rng.choice(["stars", "crowded", "sparse", "galaxy", "nebula"], p=[0.3, 0.15, 0.1, 0.25, 0.2])
    )
    extended = scenery in ("galaxy", "nebula")
    skies = int(rng.integers(3, 6)) if extended or rng.random() < 0.4 else 0
    night = Night(
        seed=seed,
        sky_order=str(rng.choice(["after", "interleaved"])),
        dither=float(rng.uniform(0.2, 1.5) if skies else rng.uniform(1.5, 3.0)),
        objects=int(rng.integers(4, 8)),
        skies=skies,
        flats=3,
        size=512,
        position_angle=float(rng.choice([0.0, 90.0, 180.0, rng.uniform(0.0, 360.0)])),
        compress=False,
        noiseless=True,
        only=frozenset({"science", "sky", "lamp-on", "lamp-off", "mask"}),
    )
    program = replace(tutorial(night), fields=_fields(night, scenery, rng))
    clean = tuple(replace(e, trouble=frozenset()) for e in program.exposures)
    science = frozenset(e.name for e in clean if e.kind == "science")
    drawn = RandomNight(seed, scenery, (), replace(program, exposures=clean), science, frozenset())
    possible = [t for t in (*HARMLESS, *DOUBTFUL, *OTHERS) if skies or t not in NEED_SKIES]
    count = int(rng.choice([0, 1, 2], p=[0.3, 0.4, 0.3]))
    for trouble in rng.choice(possible, count, replace=False):
        drawn = _suffer(drawn, str(trouble), rng)
    return drawn


#: Troubles of sky exposures, which not every night has.
NEED_SKIES = ("lit cloud", "dirty sky", "short sky", "named sky")


def _fields(night: Night, scenery: str, rng: np.random.Generator) -> dict:
    """The target's field, another one for strays, and the sky's."""
    name, ra, dec = TARGET
    galaxy = None
    if scenery == "galaxy":
        galaxy = Galaxy((35.0, 90.0), 170000.0, 36.7, 1.0)
    if scenery == "nebula":
        brightness = float(rng.uniform(5e3, 5e4))
        galaxy = Galaxy(tuple(rng.uniform(-25.0, 25.0, 2)), brightness, float(rng.uniform(10.0, 30.0)), 1.0)
    stars = int(np.exp(rng.uniform(np.log(2500.0), np.log(20000.0))))
    if scenery == "crowded":
        stars = 60000
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
        lost = rng.choice(names, min(count, (len(names) - 1) // 2), replace=False)
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


WHOLE = {
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
