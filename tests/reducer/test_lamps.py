"""Lamp frames of a flat that stayed dark, were left on, swapped, saturated or dead, and twilights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from night_exposures import ARRAYS, NORM, RESPONSE, frames, spoil, take
from raw_exposure import SIDE
from told import in_words

from reducer import dq, recipes
from reducer.errors import BadInput
from reducer.fitsio import read_chip
from reducer.frame import Context, FrameRef
from reducer.run import run_recipe

LAMP = {"OBSCLASS": "dayCal", "FRAME": "AZEL_TOPO", "EXPTIME": 15.0}


def lamps(folder: Path, on: Sequence[float], off: Sequence[float]) -> list[Path]:
    """Lamp-on and lamp-off frames of these levels, electrons in arrays 1 to 4."""
    told = [(level, "Domeflat") for level in on] + [(level, "Domeflat OFF") for level in off]
    return [
        take(folder, n, {a: np.full((SIDE, SIDE), level) for a in ARRAYS}, OBJECT=name, minutes=n, **LAMP)
        for n, (level, name) in enumerate(told)
    ]


def make_flat(paths: Sequence[Path]) -> tuple[FrameRef, list[str]]:
    told: list[str] = []

    def tell(event: str, /, **facts: Any) -> None:
        told.append(in_words(event, **facts))

    made = run_recipe(recipes.makeProcessedFlat, frames(paths), Context(paths[0].parent, notify=tell))
    return made[0], told


def test_lamps_that_stayed_dark_are_left_out_and_the_good_one_is_used(tmp_path: Path) -> None:
    made, told = make_flat(lamps(tmp_path, (2010, 1990, 22000), (2000, 2000, 2000)))
    assert made.header["FLATNON"] == 1
    assert {line[:26] for line in told if line.startswith("refused")} == {
        "refused left out S000.fits",
        "refused left out S001.fits",
    }
    chip = read_chip(made, 1)
    assert np.median((chip.data / RESPONSE[2] * NORM)[chip.mask == 0]) == pytest.approx(1, abs=2e-3)


def test_lamps_left_on_are_no_lamp_off_frames(tmp_path: Path) -> None:
    made, told = make_flat(lamps(tmp_path, (22000, 22000), (22100, 2000, 2000)))
    assert made.header["FLATNOFF"] == 2
    assert any("left out S002.fits: level 2" in line and "that of lamp-on" in line for line in told)


def test_swapped_lamps_are_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\d+ electrons with the lamp on and 2\d+ with it off") as caught:
        make_flat(lamps(tmp_path, (2000, 2000, 2000), (22000, 22000, 22000)))
    assert "swapped?" in str(caught.value)


def test_lamps_without_light_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="more light with the lamp on"):
        make_flat(lamps(tmp_path, (2010, 2000), (2000, 1990)))


def saturate(paths: Sequence[Path], arrays: Sequence[int]) -> None:
    for path in paths:
        with fits.open(path, mode="update") as units:
            for array in arrays:
                units[array].data[:] = 53000.0


def test_a_flat_that_saturated_in_most_arrays_is_refused(tmp_path: Path) -> None:
    paths = lamps(tmp_path, (22000, 22000), (2000, 2000))
    saturate(paths[:2], (1, 3, 4))
    with pytest.raises(BadInput, match=r"no usable lamp frame: S000\.fits saturated"):
        make_flat(paths)


def test_an_array_that_saturated_in_the_flat_is_said_and_marked(tmp_path: Path) -> None:
    paths = lamps(tmp_path, (22000, 22000), (2000, 2000))
    saturate(paths[:2], (3,))
    made, told = make_flat(paths)
    assert made.header["FLATLOST"] == "3"
    assert any(line.startswith("warning flat without data in 100 %") and "array 3" in line for line in told)
    assert (read_chip(made, 2).mask & dq.NO_DATA).all()
    chip = read_chip(made, 1)
    middle = np.median([RESPONSE[array] for array in (1, 2, 4)])
    assert np.median((chip.data / RESPONSE[2] * middle)[chip.mask == 0]) == pytest.approx(1, abs=2e-3)


def test_an_array_that_is_dead_in_one_lamp_frame_is_left_out_of_it(tmp_path: Path) -> None:
    paths = lamps(tmp_path, (22000, 22000), (2000, 2000))
    spoil(paths[0], 2, "dead")
    with fits.open(paths[1], mode="update") as units:
        units[4].data[:, :128] = np.nan
    made, told = make_flat(paths)
    assert any("S000.fits: array 2 not used for the flat" in line for line in told)
    for index, array in enumerate(ARRAYS):
        chip = read_chip(made, index)
        assert (chip.mask == 0).mean() > 0.99
        assert np.median((chip.data / RESPONSE[array] * NORM)[chip.mask == 0]) == pytest.approx(1, abs=3e-3)


def test_twilights_are_scaled_frame_by_frame(tmp_path: Path) -> None:
    cards = {"OBJECT": "Twilight", "OBSCLASS": "dayCal", "EXPTIME": 5.0}
    plane = np.ones((SIDE, SIDE))
    paths = [
        take(tmp_path, n, {a: (20000 - 3000 * n) * plane for a in ARRAYS}, minutes=n, **cards)
        for n in range(5)
    ]
    made = run_recipe(recipes.makeProcessedFlat, frames(paths), Context(tmp_path))
    chip = read_chip(made[0], 2)
    ratio = chip.data / (RESPONSE[3] / NORM)
    assert np.median(ratio[chip.mask == 0]) == pytest.approx(1.0, abs=2e-3)
