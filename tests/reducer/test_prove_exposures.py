"""Exposures of nights never seen before: level, noise, saturation and VAR against what was simulated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from goafetch.practice import simulate
from goafetch.practice.exposure.night import Night, Program
from goafetch.practice.program import tutorial
from reducer import dq, recipes
from reducer.fitsio import open_frame, read_chip
from reducer.frame import Chip, Context, FrameRef
from reducer.run import open_frames, run_recipe

pytestmark = pytest.mark.prove

SIZE = 512


def scatter(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def reduce_night(folder: Path, night: Night) -> tuple[Path, Path, list[FrameRef]]:
    """Simulate a night, make its flat, reduce its science; truth folder, flat and products."""
    raw, truth, made = folder / "raw", folder / "truth", folder / "made"
    made.mkdir()
    simulate.build_program("tutorial", raw, truth=truth, workers=1, night=night)
    kinds = {each["name"]: each["kind"] for each in json.loads((truth / "exposures.json").read_text())}

    def of(*wanted: str) -> list[FrameRef]:
        return open_frames([path for path in sorted(raw.glob("S*.fits")) if kinds[path.stem] in wanted])

    bpm = next(raw.glob("bpm*.fits"))
    (flat,) = run_recipe(recipes.makeProcessedFlat, of("lamp-on", "lamp-off"), Context(made, bpm=bpm))
    context = Context(made, flat=flat.path, bpm=bpm)
    return truth, flat.path, run_recipe(recipes.reduce_nostack, of("science", "sky"), context)


def odd_pixels(truth: Path, name: str, array: int) -> np.ndarray:
    """What the truth knows to be hot, dim or struck, in the region that is read."""
    corner = (2048 - SIZE) // 2
    part = (array - 1, slice(corner, corner + SIZE), slice(corner, corner + SIZE))
    detector = np.load(truth / "detector.npz")
    odd = (detector["dark"][part] > 0.1) | (detector["response"][part] < 0.5) | detector["tree"][part]
    hits = np.load(truth / "cosmic_rays" / f"{name}.npy")
    hits = hits[hits["array"] == array]
    odd[hits["y"] - 1 - corner, hits["x"] - 1 - corner] = True
    return np.asarray(odd)


def error_of(chip: Chip, light: np.ndarray, flat: Chip) -> np.ndarray:
    return np.asarray(chip.data - light / np.where(flat.data > 0, flat.data, 1.0))


@pytest.mark.parametrize(
    ("seed", "scenery", "channels", "seconds"),
    [(31, "galaxy", 4, 60.0), (32, "sparse", 32, 60.0), (33, "crowded", 4, 60.0), (34, "galaxy", 4, 30.0)],
)
def test_an_unseen_night_is_reduced_to_its_noise(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    scenery: str,
    channels: int,
    seconds: float,
) -> None:
    """Level and noise, also where sky exposures last ``seconds``, half of the objects' time."""

    def plan(night: Night) -> Program:
        program = tutorial(night)
        exposures = (replace(e, exptime=seconds) if e.kind == "sky" else e for e in program.exposures)
        return replace(program, exposures=tuple(exposures))

    monkeypatch.setitem(simulate.PROGRAMS, "tutorial", plan)
    night = Night(
        seed=seed, sky_order="interleaved", dither=2.0, size=SIZE, scenery=scenery, channels=channels,
        flats=8, compress=False, noiseless=True,
    )  # fmt: skip
    truth, flat_path, products = reduce_night(tmp_path, night)
    sky = {each["name"]: each["sky_electrons"] for each in json.loads((truth / "exposures.json").read_text())}
    flat = [read_chip(open_frame(flat_path), index) for index in range(4)]
    ratios, levels, steps = [], [], []
    for product in products:
        name = product.path.name[:14]
        light = np.load(truth / "noiseless" / f"{name}.npy")
        for index in range(4):
            chip = read_chip(open_frame(product.path), index)
            good = (chip.mask == 0) & ~odd_pixels(truth, name, index + 1)
            assert (chip.variance[chip.mask & dq.UNUSABLE == 0] > 0).all()
            error = error_of(chip, light[index], flat[index])
            blank = good & (light[index] < 1.1 * np.median(light[index]))
            tiles = np.where(blank, error, np.nan).reshape(8, 64, 8, 64)
            error = error - np.kron(np.nanmedian(tiles, axis=(1, 3)), np.ones((64, 64)))
            ratios.append(scatter((error / np.sqrt(chip.variance))[blank]))
            steps.append(np.nanmedian(tiles, axis=(1, 3)))
        if product.path.stem.endswith("_skyCorrected"):
            levels.append(-float(np.nanmedian(steps[-4:])) / sky[name])
    assert np.abs(np.array(ratios) - 1).max() < 0.02
    # All levels share one error, that of the sky's own jitter between few exposures.
    assert np.std(levels) * np.mean(list(sky.values())) < 6.0
