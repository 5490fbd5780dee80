"""The sky's level is found as surely as it says, and the field's own light does not pull it."""

from __future__ import annotations

import numpy as np
import pytest

from reducer.headers.gsaoi import Region
from reducer.sky.level import differences, follow
from reducer.steps.field import _places

STEP = 62.6
INTERLEAVED = np.array([0, 3, 5, 8, 10, 13, 15]) * STEP
AFTER = np.arange(9, 16) * STEP + 420


def nights(skies: np.ndarray, objects: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors (electrons) and their ratio to the stated sigma, over simulated nights of drift and jitter."""
    rng = np.random.default_rng(7)
    errors, ratios = [], []
    for _ in range(number):
        drift = rng.uniform(0.05, 0.10) * rng.choice([-1, 1])
        wave, period, phase = rng.uniform(0, 0.008), rng.uniform(1200, 4000), rng.uniform(0, 6.28)

        def level(time: np.ndarray) -> np.ndarray:
            course = 1 + drift * time / 1800 + wave * np.sin(2 * np.pi * time / period + phase)  # noqa: B023
            return 3300 * course * (1 + 0.003 * rng.standard_normal(time.size))

        true, seen = level(objects), level(skies)
        course = follow(skies, seen, objects, true - true.mean() + rng.normal(0, 1, true.size))
        errors.append(np.mean(course.levels - true))
        ratios.append(errors[-1] / course.sigma)
    return np.array(errors), np.array(ratios)


def test_between_interleaved_skies_the_level_is_right_to_fifteen_electrons() -> None:
    objects = np.setdiff1d(np.arange(16), INTERLEAVED / STEP) * STEP
    errors, ratios = nights(INTERLEAVED, objects, 60)
    assert np.percentile(np.abs(errors), 95) < 15
    assert ratios.std() == pytest.approx(1.0, abs=0.3)


def test_before_the_skies_the_stated_sigma_covers_the_error() -> None:
    errors, ratios = nights(AFTER, np.arange(9) * STEP, 60)
    assert np.percentile(np.abs(errors), 90) < 60
    assert np.mean(np.abs(ratios) < 2) > 0.88


@pytest.mark.parametrize("number", [1, 2, 3])
def test_few_skies_are_enough(number: int) -> None:
    times = np.arange(4) * STEP
    course = follow(
        400 + np.arange(number) * STEP, np.full(number, 1000.0), times, np.array([3.0, 1, -1, -3])
    )
    assert np.isfinite(course.levels).all()
    assert np.ptp(course.levels) == pytest.approx(6.0)
    assert abs(course.levels.mean() - 1000) < 15
    assert course.sigma > 1


@pytest.mark.parametrize("slope", [3.0, 20.0])
def test_differences_ignore_galaxy_transparency_and_gradient(slope: float) -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[-1:1:40j, -1:1:40j]
    galaxy = 3000 * np.exp(-np.hypot(x - 0.7, y - 0.6) / 0.4)
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    levels = np.array([0.0, 12.0, -7.0, 30.0, 22.0])
    maps = []
    for level in levels:
        tilt = rng.normal(0, slope) * x + rng.normal(0, slope) * y
        light = galaxy * (1 + 0.03 * rng.standard_normal()) + tilt
        seen = (light + level + 2 * rng.standard_normal(x.shape)).ravel()
        seen[rng.random(seen.size) < 0.1] = np.nan
        maps.append(seen)
    found = differences(maps, places)
    assert np.std(found - levels) < 1.5


def test_cells_of_a_region_stand_where_they_are_in_the_field() -> None:
    whole, central = Region(0, 2048, 0, 2048), Region(768, 1280, 768, 1280)
    inner = _places(4, (8, 8), central).reshape(8, 8, 2)
    assert np.allclose(inner, _places(4, (32, 32), whole).reshape(32, 32, 2)[12:20, 12:20])
    assert np.allclose(_places(2, (8, 8), central).mean(axis=0), (-0.5, -0.5))
