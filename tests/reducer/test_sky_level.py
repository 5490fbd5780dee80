"""The sky's level is found as surely as it says, and the field's own light does not pull it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from reducer.frame import FrameRef
from reducer.sky.level import LevelCurve, Own, background, follow, level_differences, odd_skies, weigh_levels
from reducer.step import Auto
from reducer.steps.skylevel import (
    OWN,
    SKIES,
    WEIGHED,
    LevelChoice,
    Leveling,
    _tell,
    cell_places,
    find_levels,
    shift,
)

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


def test_exposures_of_another_field_do_not_pull_the_level_of_the_others() -> None:
    """Two strays of seven showed less of a nebula: the others' level was 13 electrons off, 1.0 stated."""
    objects = np.array([1, 2, 4, 5, 6, 8, 9]) * STEP
    skies = np.array([0, 3, 7, 10]) * STEP
    sky = 300.0 - 0.016 * objects
    seen = sky + np.where(np.isin(objects / STEP, (6, 9)), -50.0, 0.0)
    course = follow(skies, 300.0 - 0.016 * skies, objects, seen - seen.mean())
    good = ~np.isin(objects / STEP, (6, 9))
    assert np.abs(course.levels - sky)[good].max() < 2.0
    # A cloud that lights one exposure is true: it keeps its own difference.
    lit = sky + np.where(objects / STEP == 6, 120.0, 0.0)
    course = follow(skies, 300.0 - 0.016 * skies, objects, lit - lit.mean())
    assert np.abs(course.levels - lit).max() < 2.0


def test_cells_that_one_exposure_alone_shows_do_not_hold_its_level() -> None:
    """Half of a field lay in a galaxy; the first exposure, with an edge more, came out 280 too high."""
    rng = np.random.default_rng(9)
    y, x = np.mgrid[-0.6:0.6:16j, -0.6:0.6:16j]
    galaxy = x.ravel() > 0
    maps = 350.0 + np.where(galaxy, 300.0, 0.0) + rng.normal(0, 4, (7, 256))
    hidden = galaxy & (rng.random((7, 256)) < 0.35) | (np.arange(256) % 4 == 0)
    hidden[0] = ~galaxy & (rng.random(256) < 0.1)
    maps[hidden] = np.nan
    found, _ = level_differences(list(maps), np.stack([x.ravel(), y.ravel()], axis=1))
    assert np.abs(found - np.median(found)).max() < 4.0


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
    found, fits = level_differences(maps, places)
    assert fits.all()
    assert np.std(found - levels) < 1.5


def test_exposures_without_the_galaxy_of_the_others_do_not_tell_how_it_adds_to_the_sky() -> None:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[-1:1:30j, -1:1:30j]
    galaxy = 300 * np.exp(-np.hypot(x - 0.7, y - 0.6) / 0.8)
    sky = 1425.0 - 0.06 * np.arange(1, 7) * STEP
    shares = np.array([0.0, 0.0, 1.0, 1.02, 0.98, 1.0])
    maps = [(a * galaxy + b + rng.normal(0, 2, x.shape)).ravel() for a, b in zip(shares, sky, strict=True)]
    apart, fits = level_differences(maps, np.stack([x.ravel(), y.ravel()], axis=1))
    assert fits.tolist() == [False, False, True, True, True, True]
    times = np.arange(7) * STEP
    skies = 1425.0 - 0.06 * times[[0, 3, 6]]
    course = follow(times[[0, 3, 6]], skies, times[1:], apart, fits)
    assert np.abs(course.levels - sky)[2:].max() < 3.0
    assert np.abs(follow(times[[0, 3, 6]], skies, times[1:], apart).levels - sky)[2:].max() > 10.0


def test_cells_of_a_region_stand_where_they_are_in_the_field() -> None:
    def frame(side: int, first: int) -> FrameRef:
        section = f"[{first + 1}:{first + side},{first + 1}:{first + side}]"
        chips = [{"EXTVER": n, "NAXIS1": side, "NAXIS2": side, "CCDSEC": section} for n in (2, 4)]
        return FrameRef(Path("a.fits"), {"INSTRUME": "GSAOI"}, tuple(chips))

    whole, central = frame(2048, 0), frame(512, 768)
    inner = cell_places(central, 4, (8, 8)).reshape(8, 8, 2)
    assert np.allclose(inner, cell_places(whole, 4, (32, 32)).reshape(32, 32, 2)[12:20, 12:20])
    assert np.allclose(cell_places(central, 2, (8, 8)).mean(axis=0), (-0.5, -0.5))


def random_nights(number: int) -> np.ndarray:
    """Errors of the mean level and stated sigmas, electrons, (nights, 2): skies and light of all kinds."""
    rng = np.random.default_rng(11)
    found = []
    for _ in range(number):
        count, skies = rng.integers(1, 10), rng.integers(1, 8)
        order = rng.permutation(count + skies) if rng.random() < 0.4 else np.arange(count + skies)
        times = np.sort(order[:count]) * STEP, np.sort(order[count:]) * STEP + rng.uniform(0, 400)
        size, drift, phase = 10 ** rng.uniform(1.8, 3.9), rng.uniform(-0.1, 0.1), rng.uniform(0, 6.28)
        period = rng.uniform(2400, 3600)
        objects, seen = (
            size * (1 + drift * t / 1800 + 0.004 * np.sin(2 * np.pi * t / period + phase))
            * (1 + 0.003 * rng.standard_normal(t.size)) + rng.normal(0, 1, t.size)
            for t in times
        )  # fmt: skip
        expected = 10 ** rng.uniform(0, 2.7)
        own = objects + rng.exponential(expected) + rng.normal(0, 1, count)
        by_skies = follow(times[1], seen, times[0], objects - objects.mean())
        course = weigh_levels(by_skies, Own(own, expected, max(4e-4 * size, 1)))
        found.append((np.mean(course.levels - objects), course.sigma))
    return np.array(found)


def test_the_level_is_within_three_sigma_on_random_nights() -> None:
    errors, sigmas = random_nights(150).T
    pulls = errors / sigmas
    assert np.mean(np.abs(pulls) < 3) > 0.98
    assert 0.6 < np.sqrt(np.mean(pulls**2)) < 1.2


def test_the_level_changes_smoothly_with_the_evidence() -> None:
    levels = np.array([3262.0])
    found = [
        weigh_levels(LevelCurve(levels + 95.0, 40.0), Own(levels, light, 1.3)).levels[0]
        for light in np.geomspace(1.0, 1000.0, 200)
    ]
    assert np.abs(np.diff(found)).max() < 2.0
    assert found[0] == pytest.approx(3261, abs=2)


def test_light_that_fills_the_field_is_not_taken_for_sky() -> None:
    course = weigh_levels(LevelCurve(np.array([3300.0]), 15.0), Own(np.array([3900.0]), 400.0, 1.3))
    assert course.levels[0] == pytest.approx(3300, abs=3)
    assert course.sigma == pytest.approx(15, rel=0.4)


def test_skies_that_are_wrong_do_not_take_more_than_there_is() -> None:
    course = weigh_levels(LevelCurve(np.array([3995.0]), 95.0), Own(np.array([3459.0]), 300.0, 1.3))
    assert course.levels[0] < 3462
    assert course.sigma > 30


def test_a_background_tells_how_much_light_it_may_hold() -> None:
    rng = np.random.default_rng(2)
    y, x = np.mgrid[-1:1:16j, -1:1:16j]
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    flat = 3300 + 6 * x + 2 * rng.standard_normal(x.shape)
    galaxy = 400 * np.exp(-np.hypot(x - 0.7, y - 0.6))
    assert background(flat.ravel(), places, 3300, 0.98).light < 3
    assert 30 < background((flat + galaxy).ravel(), places, 3500, 0.98).light < 400
    assert 5 < background(flat.ravel(), places, 3300, 0.6).light < 15


@pytest.mark.parametrize(("asked", "taken"), [("auto", 980.0), (True, 1000.0)])
def test_light_expected_between_the_stars_stays_unless_the_median_is_asked_for(
    asked: Auto, taken: float
) -> None:
    own = Own(np.array([1000.0]), light=20.0, sigma=1.0)
    told = Leveling(asked, False, "follow")
    none = (np.empty(0), np.empty(0))
    found = find_levels([None], [{}], none, {}, (LevelChoice(OWN, False, False, {}, ""), own), told, None)  # type: ignore[list-item,arg-type]
    assert found.values == [taken]
    assert found.keywords["SKYSIGMA"] == pytest.approx(np.hypot(20.0, 1.0), abs=0.01)


@pytest.mark.parametrize("place", range(4))
def test_a_sky_through_a_lit_cloud_is_named(place: int) -> None:
    times = np.arange(4) * STEP
    levels = 3300 * (1 + 0.08 * times / 1800) * (1 + 0.003 * np.random.default_rng(1).standard_normal(4))
    assert not odd_skies(times, levels).any()
    levels[place] *= 1.4
    assert np.array_equal(odd_skies(times, levels), np.arange(4) == place)


def test_a_shift_on_the_sky_is_that_of_the_headers_matrix_in_cells():
    """Turned by 30 degrees and mirrored, 0.02 arcsec a pixel, cells of 64 by 32 pixels."""
    turn = np.radians(30)
    matrix = np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * 0.02 / 3600
    cards = {f"CD{i + 1}_{j + 1}": matrix[i, j] for i in (0, 1) for j in (0, 1)}
    frame = FrameRef(Path("S1.fits"), {"INSTRUME": "GSAOI"}, ({"EXTVER": 1, **cards},))
    x, y = shift(frame, 1, 1.0, 3.0, (64, 32))
    assert np.allclose(3600 * matrix @ [64 * x, 32 * y], [1.0, 3.0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("drift", [0.14, -0.14])
def test_a_sky_that_changes_as_fast_as_skies_do_has_no_odd_exposure(drift: float) -> None:
    """By a quarter within an hour: more than what makes a single one odd."""
    times = np.arange(7) * 600.0
    assert not odd_skies(times, 3300 * (1 + drift * times / 1800)).any()


@pytest.mark.parametrize(("source", "fact"), [(SKIES, "sky_level"), (WEIGHED, "sky_level_weighed")])
def test_it_is_told_what_the_level_rests_on(source: str, fact: str) -> None:
    told: list[str] = []
    course = SimpleNamespace(levels=np.array([10.0, 12.0]), sigma=1.0)
    own = SimpleNamespace(levels=np.array([11.0, 11.5]), light=0.5)
    context = SimpleNamespace(notify=lambda name, **facts: told.append(name))
    _tell(own, course, course, SimpleNamespace(source=source), 3, context)  # type: ignore[arg-type]
    assert told == [fact]
