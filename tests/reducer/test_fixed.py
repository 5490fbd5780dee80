"""Objects that the dither of the skies does not move out are told from the detector's own pattern."""

from __future__ import annotations

import numpy as np
import pytest

from reducer.sky.empty import tell_fixed
from reducer.sky.objects import find_objects

SHAPE = (96, 96)
Y, X = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]].astype(float)
#: Half an arcsecond in blocks of 4 pixels.
STEP = 6.3
DITHER = [(0.0, 0.0), (STEP, 0.0), (0.0, STEP), (STEP, STEP), (STEP / 2, STEP / 2)]


def nebula(x: float, y: float, width: float = 12.0) -> np.ndarray:
    return 900 * np.exp(-np.hypot(X - 60 - x, Y - 60 - y) / width) + 9000 * np.exp(
        -((X - 60 - x) ** 2 + (Y - 60 - y) ** 2) / 30
    )


def streak() -> np.ndarray:
    """A bright streak of the detector, 36 pixels wide, and some hot pixels."""
    hot = np.zeros(SHAPE)
    hot[np.random.default_rng(5).random(SHAPE) < 0.002] = 200
    return 700 * np.exp(-(((X - 20) / 4) ** 2)) + hot


def judge(dither: list[tuple[float, float]], sky: float = 1.0, width: float = 12.0) -> np.ndarray:
    rng = np.random.default_rng(3)
    means = np.array(
        [sky * nebula(*d, width) + streak() + 15 * rng.standard_normal(SHAPE) for d in dither], np.float32
    )
    counts = np.full(SHAPE, 16, np.uint16)
    hidden = np.array([find_objects(image, counts, local=True) for image in means])
    wide = hidden | np.array([find_objects(image, counts, local=False) for image in means])
    return tell_fixed(means, np.ones(means.shape, bool), hidden, wide, dither)


def test_a_nebula_in_all_skies_is_an_object_and_the_streak_is_not() -> None:
    found = judge(DITHER)
    inside = nebula(STEP / 2, STEP / 2) > 300
    assert found[inside].mean() > 0.97
    left = (nebula(STEP / 2, STEP / 2) < 20) & (X > 35)
    assert found[left].mean() < 0.05
    assert found[:, 12:28][nebula(0, 0)[:, 12:28] < 30].mean() < 0.05


def test_the_detector_alone_is_no_object() -> None:
    assert judge(DITHER, sky=0.0).mean() < 0.003


@pytest.mark.parametrize("dither", [[(0.0, 0.0)], [(0.0, 0.0)] * 4])
def test_without_a_dither_what_stands_out_is_not_taken_for_sky(dither: list[tuple[float, float]]) -> None:
    found = judge(dither)
    assert found[nebula(0, 0) > 2000].all()


def test_a_wide_dither_moves_objects_out() -> None:
    wide = [(0.0, 0.0), (35.0, 20.0), (35.0, -45.0), (38.0, -20.0), (35.0, 30.0)]
    assert judge(wide, width=3.0).mean() < 0.005


@pytest.mark.filterwarnings("error")
def test_skies_that_show_nothing_in_common_tell_nothing() -> None:
    """Damaged arrays: what little of them could be compared was less than a tenth of what was seen."""
    means = np.zeros((3, *SHAPE), np.float32)
    known = np.zeros(means.shape, bool)
    for number in range(3):
        known[number, :, number * 32 : number * 32 + 32] = True
    hidden = known & (Y < 20)
    wide = known & (Y < 40)
    assert np.array_equal(tell_fixed(means, known, hidden, wide, DITHER[:3]), hidden.any(axis=0))
