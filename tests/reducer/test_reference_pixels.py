"""Reference pixels tell channel offsets where the light of a field hides them, and are judged before."""

from __future__ import annotations

import numpy as np
from paper import PAPER
from raw_exposure import levels

from reducer.instruments import KNOWN
from reducer.keywords import Region
from reducer.sky.readout_offsets import judge_reference_pixels, mean_reference_pixels, weigh_in

ARRAYS = KNOWN["GSAOI"].arrays
FULL = Region(0, 2048, 0, 2048)


def columns(values: np.ndarray) -> np.ndarray:
    return np.repeat(values - values.mean(), 512).astype(np.float32)


def readouts(rng: np.random.Generator, number: int, fixed: np.ndarray, noise: float = 0.4):  # type: ignore[no-untyped-def]
    """True offsets of exposures, and what their reference pixels show above a fixed pattern."""
    true = [columns(2.0 * rng.standard_normal(4)) for _ in range(number)]
    all_reference_pixels = [
        {1: each[::64] + fixed + noise * np.sqrt(8) * rng.standard_normal(32)} for each in true
    ]
    return [{1: each} for each in true], all_reference_pixels


def test_reference_rows_show_the_offsets_and_no_outlier_counts() -> None:
    rng = np.random.default_rng(1)
    true = columns(np.array([-3.0, 1.0, 2.5, -0.5]))
    raw = (true / 2.5 + 10.0 * rng.standard_normal((2048, 2048))).astype(np.float32)
    raw[4:-4] += 1500.0
    raw[2, 1000] = 40000.0
    means = mean_reference_pixels(raw, FULL, ARRAYS[0], levels(1))
    assert np.std((means - true[::64]).reshape(4, 8).mean(axis=1)) < 0.8
    assert np.std(means - true[::64]) < 2.5


def test_a_region_without_reference_rows_shows_nothing() -> None:
    region = Region(512, 1536, 512, 1536)
    assert mean_reference_pixels(np.zeros((1024, 1024), np.float32), region, ARRAYS[1], levels(2)).size == 0
    everything = np.zeros((96, 128), np.float32)
    assert mean_reference_pixels(everything, Region(0, 128, 0, 96), PAPER.arrays[0], levels(1)).size == 0


def test_reference_pixels_correct_what_the_light_of_a_field_hides() -> None:
    rng = np.random.default_rng(2)
    fixed = 5.0 * rng.standard_normal(32)
    sky_true, sky_borders = readouts(rng, 7, fixed)
    reference = judge_reference_pixels(sky_borders, sky_true, 512)
    assert reference is not None and 0.2 < reference.noise < 0.7
    true, all_reference_pixels = readouts(rng, 9, fixed)
    hidden = columns(np.array([-0.9, 0.5, 0.7, -0.3]))
    found = [{1: each[1] + hidden + columns(0.3 * rng.standard_normal(4))} for each in true]
    made = weigh_in(found, all_reference_pixels, reference, 512)
    before = np.sqrt(np.mean([(a[1] - b[1]) ** 2 for a, b in zip(found, true, strict=True)]))
    after = np.sqrt(np.mean([(a[1] - b[1]) ** 2 for a, b in zip(made, true, strict=True)]))
    assert after < 0.5 * before and after < 0.35


def test_reference_pixels_that_do_not_follow_the_offsets_are_not_used() -> None:
    rng = np.random.default_rng(3)
    true, _ = readouts(rng, 7, np.zeros(32))
    _, strangers = readouts(rng, 7, np.zeros(32))
    assert judge_reference_pixels(strangers, true, 512) is None
    assert judge_reference_pixels([{1: np.zeros(32)} for _ in true], true, 512) is None
    assert judge_reference_pixels([{1: np.empty(0)} for _ in true], true, 512) is None


def test_a_streak_over_the_reference_pixels_is_known_and_their_noise_not_taken_for_a_pattern() -> None:
    rng = np.random.default_rng(4)
    fixed = np.zeros(32)
    fixed[29] = 17.0
    true, all_reference_pixels = readouts(rng, 7, fixed)
    reference = judge_reference_pixels(all_reference_pixels, true, 512)
    assert reference is not None
    assert abs(reference.fixed[1][29] - 17.0) < 1.5
    assert np.delete(reference.fixed[1], 29).std() < 0.5 * 0.4 * np.sqrt(8 / 7)
