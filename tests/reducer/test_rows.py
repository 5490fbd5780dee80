"""Offsets of rows and ramps after a reset are found; light, gradients and good exposures are left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from true_night import make_night

from goafetch.practice import simulate
from goafetch.practice.exposure import troubles
from goafetch.practice.exposure.night import Night, Program
from goafetch.practice.program import tutorial
from reducer import recipes
from reducer.fitsio import read_chip
from reducer.frame import Context, FrameRef
from reducer.instruments import KNOWN
from reducer.keywords import Region
from reducer.sky.readout_offsets import strips_of
from reducer.sky.row_offsets import Ramp, find_ramps, row_offsets
from reducer.steps.sky import _tell_ramps
from reducer.steps.skyframes import ArraySky, without_ramps

SIZE, NOISE = 512, 50.0
Y, X = np.mgrid[:SIZE, :SIZE].astype(float)


def array(seed: int, rows: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A sky-subtracted array, its mask and objects in blocks (a tenth is hidden), and its true offsets."""
    rng = np.random.default_rng(seed)
    true = rows * rng.standard_normal(SIZE)
    data = NOISE * rng.standard_normal((SIZE, SIZE)) + true[:, None]
    return data, np.zeros((SIZE, SIZE), np.uint16), rng.random((SIZE // 4, SIZE // 4)) < 0.1, true


def test_row_offsets_are_found_to_the_noise_of_a_rows_mean() -> None:
    data, mask, objects, true = array(1, rows=20.0)
    data[np.repeat(np.repeat(objects, 4, axis=0), 4, axis=1)] += 500.0
    found = row_offsets(data.astype(np.float32), mask, objects)
    left = true - found.offsets
    assert np.std(np.diff(left)) / np.sqrt(2) < 1.3 * NOISE / np.sqrt(0.9 * SIZE)
    assert np.std(left) < 5.0
    assert found.unknown == 0


def test_rows_of_good_exposures_are_not_touched() -> None:
    """Noise, faint stars that no mask holds, and a galaxy's bright middle between the halves of the rows."""
    for seed in range(20):
        data, mask, objects, _ = array(seed)
        rng = np.random.default_rng(100 + seed)
        for x, y in rng.uniform(0, SIZE, (300, 2)):
            data += 60.0 * np.exp(-((X - x) ** 2 + (Y - y) ** 2) / 8) if seed < 3 else 0.0
        data += 300.0 * np.exp(-np.hypot(X - 256, Y - 200) / 40.0)
        assert not row_offsets(data.astype(np.float32), mask, objects).offsets.any()


def test_a_galaxys_light_is_not_taken_for_row_offsets() -> None:
    data, mask, objects, true = array(2, rows=20.0)
    data += 300.0 * np.exp(-np.hypot(X - 256, Y - 200) / 40.0)
    taken = row_offsets(data.astype(np.float32), mask, objects).offsets - true
    smooth = np.convolve(taken, np.ones(24) / 24, "valid")
    light = np.convolve(
        (300.0 * np.exp(-np.hypot(X - 256, Y - 200) / 40.0)).mean(axis=1), np.ones(24) / 24, "valid"
    )
    assert np.ptp(light) > 40.0
    assert abs(smooth[170:210].mean() - smooth.mean()) < 0.2 * np.ptp(light)
    assert np.std(np.diff(taken)) / np.sqrt(2) < 6.0


def test_rows_with_too_few_free_pixels_are_counted_and_kept() -> None:
    data, mask, objects, _ = array(3, rows=20.0)
    objects[50:75] = True
    found = row_offsets(data.astype(np.float32), mask, objects)
    assert found.unknown == 100
    assert not found.offsets[200:300].any()
    assert found.offsets[:200].std() > 15.0
    objects[:] = True
    assert row_offsets(data.astype(np.float32), mask, objects).unknown == SIZE


def strips(
    seed: int, rows: int, depth: float = 0.0, light: float = 0.0, bend: float = 0.0, fall: float = 120.0
):  # type: ignore[no-untyped-def]
    """Cells of an array: a ramp over ``fall`` rows, a galaxy that the dither moves, a bent sky."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : rows // 4, 0:64] * 4.0 + 2.0
    means = 12.0 * rng.standard_normal(y.shape) - depth * np.exp(-y / fall)
    means += 10.0 * rng.uniform(-1, 1) * y / rows + bend * (y / rows) ** 2
    move = rng.uniform(-20, 20, 2)
    means += light * np.exp(-np.hypot(x - 100 + move[0], y - 300 + move[1]) / 80.0)
    where, array = Region(0, 256, 0, rows), KNOWN["GSAOI"].arrays[1]
    return strips_of(means.astype(np.float32), rng.random(y.shape) > 0.2, where, array)


@pytest.mark.parametrize("rows", [512, 2048])
def test_the_ramp_of_one_exposure_is_told_from_the_others(rows: int) -> None:
    for light in (0.0, 100.0):
        exposures = [{2: strips(n, rows, depth=150.0 * (n == 0), light=light)} for n in range(5)]
        first, *others = find_ramps(exposures)
        assert others == [{}, {}, {}, {}]
        true = 150.0 * np.exp(-np.arange(rows) / 120.0)
        left = true + first[2].over(rows)
        assert np.ptp(left) < 15.0


def test_gradients_and_bent_skies_are_no_ramps() -> None:
    for seed in range(20):
        bent = [{1: strips(10 * seed + n, 2048, light=400.0, bend=20.0 * (n == 0))} for n in range(5)]
        assert find_ramps(bent) == [{}] * 5


def test_a_ramp_that_is_not_sure_is_named_and_stays() -> None:
    """Of two exposures, and where a parabola would do nearly as well."""
    first, second = find_ramps([{1: strips(n, 2048, depth=150.0 * (n == 0))} for n in range(2)])
    assert second == {} and not first[1].sure and first[1].depth == pytest.approx(150.0, rel=0.1)
    assert not first[1].over(2048).any()
    found = find_ramps([{1: strips(n, 512, depth=60.0 * (n == 0), fall=300.0)} for n in range(5)])
    assert found[1:] == [{}] * 4 and not found[0][1].sure


def corrected(folder: Path, patch: pytest.MonkeyPatch, *all_of_them: str, first: str = "", size: int = 512):  # type: ignore[no-untyped-def]
    """Sky-subtracted exposures of a small night with troubles, and what was told."""

    def plan(night: Night) -> Program:
        program = tutorial(night)
        ours = [e.name for e in program.exposures if e.kind == "science"]
        exposures = tuple(
            replace(e, trouble=frozenset([*all_of_them, *([first] if first and e.name == ours[0] else [])]))
            if e.name in ours
            else e
            for e in program.exposures
        )
        return replace(program, exposures=exposures)

    patch.setitem(simulate.PROGRAMS, "rows", plan)
    night = make_night(
        folder,
        "science",
        program="rows",
        size=size,
        objects=5,
        skies=0,
        dither=4.0,
        scenery="sparse",
    )
    return night.reduce("science", steps=recipes.reduce_nostack)


def profiles(frames) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Row medians of all arrays of all frames, electrons, (frames, 4, ny)."""
    return np.array([[np.median(read_chip(f, k).data, axis=1) for k in range(4)] for f in frames])


def test_rows_of_a_noisy_night_are_levelled_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripes of 22 electrons were left in the frames."""
    frames, told = corrected(tmp_path, monkeypatch, "row noise")
    assert np.diff(profiles(frames), axis=2).std() / np.sqrt(2) < 0.25 * 2.4 * troubles.ROW_NOISE
    assert all(8.0 < chip["ROWRMS"] < 40.0 for frame in frames for chip in frame.chips)
    assert sum(kind == "rows_levelled" for kind, _ in told) == 5


def test_a_reset_ramp_goes_from_the_exposure_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rows lay 130 electrons low, and 30 high in the others, whose sky it was."""
    frames, told = corrected(tmp_path, monkeypatch, first="reset ramp")
    steps = profiles(frames)
    away = steps[:, :, :24].mean(axis=2) - steps[:, :, 400:].mean(axis=2)
    assert np.abs(away).max() < 30.0
    # Its level is not that which the ramp pulled down: it lay 20 electrons above the others.
    levels = np.median(steps, axis=2).mean(axis=1)
    assert abs(levels[0] - np.median(levels[1:])) < 8.0, levels
    assert all("RAMP" in chip for chip in frames[0].chips)
    assert not any("RAMP" in chip for frame in frames[1:] for chip in frame.chips)
    assert sum(kind == "ramp_removed" for kind, _ in told) == 1


@pytest.mark.parametrize(
    ("gone", "left", "facts"),
    [
        ((), (), []),
        ((1, 2, 3, 4), (), [("ramp_removed", [1, 2, 3, 4])]),
        ((1, 2), (4,), [("ramp_removed", [1, 2]), ("ramp_kept", [4]), ("ramp_hidden", [3])]),
        ((), (4,), [("ramp_kept", [4])]),
    ],
)
def test_an_array_that_may_hide_a_ramp_is_named_where_others_show_one(
    gone: tuple[int, ...], left: tuple[int, ...], facts: list[tuple[str, list[int]]]
) -> None:
    cards = [{"RAMP": 130.0} if n in gone else {"RAMPLEFT": 90.0} if n in left else {} for n in range(1, 5)]
    chips = tuple({"EXTVER": n, **card} for n, card in enumerate(cards, 1))
    told: list[tuple[str, list[int]]] = []

    def notify(fact: str, /, **fields: Any) -> None:
        told.append((fact, list(fields.get("arrays") or fields["depths"])))

    _tell_ramps(FrameRef(Path("S1.fits"), {}, chips), Context(Path(), notify=notify))
    assert told == facts


def test_a_good_nights_rows_keep_every_electron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, told = corrected(tmp_path, monkeypatch, size=256)
    for frame in frames:
        assert not any("ROWRMS" in chip or "RAMP" in chip for chip in frame.chips)
    assert not any(kind.startswith(("rows", "ramp")) for kind, _ in told)


@pytest.mark.parametrize(("sure", "level"), [(True, 3000.0), (False, 2960.0)])
def test_a_ramp_that_is_taken_off_does_not_pull_the_level(sure: bool, level: float) -> None:
    ramp = Ramp(150.0, 150.0, sure)
    rows = np.full(512, 3000.0) + Ramp(150.0, 150.0).over(512)
    cells = np.repeat(rows.reshape(8, 64).mean(axis=1)[:, None], 8, axis=1).astype(np.float32)
    cells[2, 3] = np.nan
    seen = ArraySky(2960.0, cells, 1.0, None, None)  # type: ignore[arg-type]
    other = replace(seen, level=3001.0)
    found = without_ramps({1: seen, 2: other}, {1: ramp})
    assert found[1].level == pytest.approx(level, abs=0.5) and found[2] is other
