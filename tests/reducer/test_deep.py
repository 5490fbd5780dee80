"""The third pass: objects that only the stack shows are masked in every exposure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_exposure import SIDE, expose, primary_header, write_raw

from reducer import recipes
from reducer.fitsio import open_frame
from reducer.frame import Context
from reducer.run import run_recipe

Y, X = np.mgrid[0:SIDE, 0:SIDE].astype(float)


def field(seed: int, east: float, north: float) -> np.ndarray:
    """Electrons of 60 stars and a sky of 1000."""
    rng = np.random.default_rng(seed)
    light = np.full((SIDE, SIDE), 1000.0)
    for x, y, flux in rng.uniform((8, 8, 0), (SIDE - 8, SIDE - 8, 1), (60, 3)):
        r2 = (X - x + east / 0.0197) ** 2 + (Y - y + north / 0.0197) ** 2
        light += 10 ** (3.3 + 1.8 * flux) / (2 * np.pi * 3) * np.exp(-r2 / 6)
    return light


@pytest.mark.prove
@pytest.mark.parametrize("skies", [0, 3])
def test_ultradeep_works_with_and_without_sky_exposures(tmp_path: Path, skies: int) -> None:
    plan = [(0, 0), (0.4, 0), (0, 0.4), (3.5, 3.5), *[(-300 - 3 * n, 0) for n in range(skies)]]
    paths = []
    for number, (east, north) in enumerate(plan):
        rng, on_target, dark = np.random.default_rng(number), east > -100, np.full(X.shape, 1000.0)
        images = {
            array: expose(field(array, east, north) if on_target else dark, array, rng)
            for array in (1, 2, 3, 4)
        }
        header = primary_header(minutes=2 * number, RAOFFSET=float(east), DECOFFSE=float(north))
        paths.append(write_raw(tmp_path / f"S{number:03d}.fits", header, images))
    told: list[str] = []

    def tell(event: str, /, **facts: Any) -> None:
        told.append(f"{event} {facts.get('what', '')}")

    parameters = {"flatCorrect": {"do_flat": False}, "associateSky": {"distance": 0.3}}
    made = run_recipe(
        recipes.ultradeep, [open_frame(path) for path in paths], Context(tmp_path, parameters, notify=tell)
    )
    assert [frame.path.name for frame in made] == ["S000_image.fits"]
    assert "objects_masked " in told
    assert not list(tmp_path.glob(".scratch*"))
