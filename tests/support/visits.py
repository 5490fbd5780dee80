"""Small nights as observers make them: some visits to fields, with skies, flats and a mask, in raw files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from goafetch.practice import simulate
from goafetch.practice.exposure.night import Exposure, Night, Program
from goafetch.practice.exposure.scene import Field, Galaxy, make_field
from goafetch.practice.pointings import Place, following
from goafetch.practice.program import (
    KSHORT,
    PROGRAM,
    SKY_PATTERN,
    SKY_PLACE,
    TARGET,
    Series,
    dome_flats,
    draw_zeropoints,
    mask_exposure,
    sky_field,
)

START = datetime(2017, 5, 5, 3, 22, 40, tzinfo=UTC)
SIZE, SEED = 256, 3
DITHER = ((0.0, 0.0), (1.2, 0.0), (1.2, 1.2), (0.0, 1.2))


def visit(
    first: int,
    steps: Sequence[tuple[float, float]] = DITHER,
    *,
    base: tuple[float, float] = (0.0, 0.0),
    **facts: Any,
) -> list[Exposure]:
    """Exposures S20170505Snnnn from a number on; ``steps``: dither, ``base``: offset, arcsec east, north."""
    begin = facts.pop("begin", START)
    plain: dict[str, Any] = {
        "kind": "science", "target": TARGET[0], "program": PROGRAM, "observation": f"{PROGRAM}-32",
        "filter1": KSHORT, "exptime": 60.0, "ra": TARGET[1], "dec": TARGET[2], "field": "T", "size": SIZE,
    }  # fmt: skip
    return [
        Exposure(
            name=f"S20170505S{first + place:04d}",
            number=first + place,
            begin=begin + timedelta(seconds=62.6 * place),
            offset=(base[0] + east, base[1] + north),
            place=(east, north),
            **(plain | facts),
        )
        for place, (east, north) in enumerate(steps)
    ]


def skies(first: int = 110, count: int = 3, **facts: Any) -> list[Exposure]:
    """Exposures of an empty field five arcmin away, from 16 minutes after the start on."""
    plain = {"kind": "sky", "field": "sky", "base": SKY_PLACE, "begin": START + timedelta(minutes=16)}
    return visit(first, SKY_PATTERN[:count], **(plain | facts))


def moving(exposures: Sequence[Exposure], rate: Place) -> list[Exposure]:
    """The exposures with the telescope following a comet of that rate, arcsec (east, north) a second."""
    return [replace(one, target="COMET") for one in following(exposures, rate, START)]


def crowd(
    stars: int = 9000,
    seed: int = 11,
    name: str = "T",
    east: float = 0.0,
    faint: float = 20.5,
    galaxy: Galaxy | None = None,
) -> Field:
    """A field of stars, ``east`` arcsec from the target."""
    ra = TARGET[1] + east / 3600 / math.cos(math.radians(TARGET[2]))
    rng = np.random.default_rng(seed)
    return make_field(name, ra, TARGET[2], rng, stars=stars, faint=faint, galaxy=galaxy)


def build(
    folder: Path, exposures: Sequence[Exposure], fields: dict[str, Field], *, noiseless: bool = False
) -> Path:
    """Write the raw files with flats and a mask to ``folder``, and the truth beside it."""
    night = Night(seed=SEED, size=SIZE, compress=False, noiseless=noiseless)
    lamps: list[Exposure] = []
    for place, (kind, first) in enumerate((("lamp-on", 30), ("lamp-off", 60))):
        begin = datetime(2017, 5, 4, 19, 34, 2, tzinfo=UTC) + timedelta(minutes=30 * place)
        series = Series("20170505", first, 3, "GS-CAL20170505", str(3 + 2 * place), KSHORT, begin, 15.0)
        lamps += dome_flats(night, series, kind)
    empty = sky_field("sky", TARGET, SKY_PLACE, np.random.default_rng([3, 6]))
    everything = (*lamps, *exposures, mask_exposure())
    program = Program(
        PROGRAM, everything, {"sky": empty, **fields}, night, draw_zeropoints(night, ("Kshort",))
    )
    simulate.PROGRAMS["visits"] = lambda _: program
    try:
        simulate.build_program(
            "visits", folder, truth=folder.with_name(f"{folder.name}_truth"), night=night, workers=1
        )
    finally:
        del simulate.PROGRAMS["visits"]
    return folder
