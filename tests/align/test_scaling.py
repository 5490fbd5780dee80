"""How bright exposures are against each other, by the light that they share, whatever their images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.fft import fftfreq, irfft2, rfft2, rfftfreq
from scipy.sparse.csgraph import connected_components
from scipy.special import kn
from told import warnings_of
from true_night import make_night, name_of

from reducer.align.global_fit import align_exposures
from reducer.frame import Chip, Context, tell_nobody
from reducer.photometry.lightmap import SPACING, LightMap, fill_bad, map_light, sky_lattice
from reducer.photometry.transparency import (
    USUAL_CHANGE,
    compare_transparencies,
    jackknife,
    partners,
    with_prior,
)
from reducer.sources import SOURCE
from reducer.steps.flux import scaleCountsToReference

SIDE = 180


def test_area_is_that_of_the_static_model(field):
    """The mean area of the pixels is the field's reference area within a few per cent; it varies by 6 %."""
    frames, _, _ = field(2, 300, 1, own=0.0)
    geometry = align_exposures(frames, tell_nobody).geometries[0]
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(10, 2030, 9), np.linspace(10, 2030, 9)))
    areas = np.concatenate([geometry.area(x, y, chip) for chip in range(4)]) / 0.0197**2
    assert 0.97 < areas.min() < 0.985 and 1.02 < areas.max() < 1.04


@dataclass(frozen=True)
class Drawn:
    """Files that hold one star of a million electrons on reference pixels, where a frame's source is."""

    def read_chip(self, frame, index, rows=None, variance=True):
        data = np.zeros((2048, 2048), np.float32)
        for star in frame.sources[index]:
            row, column = round(star["y"]), round(star["x"])
            y, x = np.mgrid[row - 40 : row + 41, column - 40 : column + 41]
            shape = np.exp(-0.5 * ((x - star["x"]) ** 2 + (y - star["y"]) ** 2) / 2.0**2) / (8.0 * np.pi)
            area = frame.geometry.area(star["x"], star["y"], index) / 0.0197**2
            data[y, x] = 1e6 / area * shape
        return Chip(data, data, np.zeros(data.shape, np.uint16), frame.chips[index])


def test_a_star_on_another_array_is_as_bright_as_the_sky_shows_it(standard):
    """Flat-fielded pixels hold surface brightness: a star has fewer electrons where they are larger."""
    frames = standard([(21.5, 21.5), (-21.5, 21.5), (-21.5, -21.5), (21.5, -21.5)])
    geometries = align_exposures(frames, tell_nobody).geometries
    lattice = sky_lattice(geometries)
    for frame, geometry in zip(frames, geometries, strict=True):
        seen = map_light((Drawn(), frame.with_(geometry=geometry), lattice, np.zeros((0, 2))))
        assert seen.light.sum() == pytest.approx(1e6, rel=1e-3)


def test_bad_pixels_take_no_light_from_a_star():
    y, x = np.mgrid[:60, :60]
    star = (1e5 / (2 * np.pi * 4) * np.exp(-0.5 * ((x - 30.3) ** 2 + (y - 29.8) ** 2) / 4)).astype(np.float32)
    bad = np.random.default_rng(1).random(star.shape) < 0.05
    source = np.zeros(1, SOURCE)
    source["x"], source["y"] = 30.3, 29.8
    filled, _ = fill_bad(np.where(bad, 0, star), bad.copy(), source)
    assert star[bad].sum() > 3e3
    assert filled.sum() == pytest.approx(star.sum(), rel=0.005)


def maps_of(seed, stars, transparencies, *, noise=900.0, faintest=1e3, change=0.1, sky=300.0):
    """Lattices of a star field on two arrays, whose halos change by a tenth and cores' shares by 6 %."""
    rng = np.random.default_rng(seed)
    grid = np.zeros((SIDE, SIDE))
    place = rng.integers(0, SIDE, (2, stars))
    np.add.at(grid, tuple(place), faintest * (1 - rng.random(stars)) ** -0.9)
    k = np.hypot(fftfreq(SIDE)[:, None], rfftfreq(SIDE)) * 2 * np.pi / SPACING
    array = np.where(np.arange(SIDE) < SIDE // 2, 1, 2)[None].repeat(SIDE, axis=0).astype(np.uint8)
    found = []
    for clear in transparencies:
        core = 0.5 * (1 + 0.6 * change * rng.standard_normal())
        t = np.maximum(k * 0.55 * (1 + change * rng.standard_normal()), 1e-6)
        light = irfft2(rfft2(grid) * (core + (1 - core) * 0.5 * t**2 * kn(2, t)), s=grid.shape)
        slope = sky * rng.standard_normal(2) @ (np.mgrid[:SIDE, :SIDE] / SIDE).reshape(2, -1)
        level = slope.reshape(grid.shape) + sky * rng.standard_normal(2)[array - 1]
        found.append(clear * light + level + noise * rng.standard_normal(grid.shape))
    array[40:50, 60:75], array[120:128, 100:104] = 0, 0
    return [LightMap(light.astype(np.float32), array) for light in found]


@pytest.mark.parametrize(("stars", "faintest", "most"), [(6000, 4e3, 0.004), (60, 1e5, 0.008)])
def test_transparencies_are_right_whatever_the_images_do(stars, faintest, most):
    """Apertures were 5 % wrong in crowded fields and 1 % everywhere if the first exposure's core changed."""
    wrong, pulls = [], []
    for seed in range(6):
        true = np.random.default_rng([7, seed]).uniform(0.97, 1.03, 5)
        ratios, errors = compare_transparencies(maps_of(seed, stars, true, faintest=faintest)).against(0)
        wrong.append((ratios / (true / true[0]) - 1)[1:])
        pulls.append(wrong[-1] / errors[1:])
    assert np.sqrt(np.mean(np.square(wrong))) < most
    assert 0.3 < np.sqrt(np.mean(np.square(pulls))) < 1.4
    assert errors[0] == 0.0


def test_errors_of_transparencies_that_noise_makes_are_those_found():
    """They were half again as large: each exposure was given the whole noise of a pair."""
    pulls = []
    for seed in range(5):
        true = np.random.default_rng([7, seed]).uniform(0.97, 1.03, 5)
        maps = maps_of(seed, 6000, true, faintest=1e3, noise=3e3, change=0.02)
        ratios, errors = compare_transparencies(maps).against(0)
        pulls.append((ratios / (true / true[0]) - 1)[1:] / errors[1:])
    assert 0.75 < np.sqrt(np.mean(np.square(pulls))) < 1.35


def test_one_star_does_not_tell_how_errors_of_exposures_are_together():
    """With all light in one block, a transparency of 1.01 was given as 1.16 +- 0.04: the errors of four
    exposures, 0.2 to 1.1, were taken for one."""
    without = np.zeros((4, 9))
    without[:, 0], without[:, 1:] = (0.9, -0.2, 0.25, -0.7), 1e-3
    covariance = jackknife(without)
    own = np.sqrt(np.diag(covariance))
    assert own == pytest.approx(np.abs(without[:, 0]) * np.sqrt(8 / 9), rel=1e-3)
    correlation = covariance / np.outer(own, own)
    assert np.abs(correlation - np.eye(4)).max() < 0.25


def test_clouds_are_believed_where_they_are_seen_well():
    ratios, errors = compare_transparencies(maps_of(3, 2000, [1.0, 0.6, 1.01])).against(0)
    assert ratios == pytest.approx([1.0, 0.6, 1.01], rel=0.01)
    assert errors.max() < 0.01


def test_a_transparency_that_no_light_tells_is_one_with_the_error_that_is_usual():
    """Five exposures of an empty field were given 0.77 to 1.12, with an error of 0.016."""
    found = compare_transparencies(maps_of(4, 0, [1.0, 1.01, 0.99]))
    ratios, errors = found.against(0)
    assert ratios == pytest.approx(1.0, abs=1e-6)
    assert errors[1:] == pytest.approx(USUAL_CHANGE * np.sqrt(2), rel=0.01)
    assert not found.told.any()


def test_what_light_does_not_tell_is_said(standard):
    """Exposures of next to nothing were scaled by their noise; one alone has nothing to be scaled by."""
    frames = standard([(21.5, 21.5), (-21.5, 21.5), (-21.5, -21.5)])
    geometries = align_exposures(frames, tell_nobody).geometries
    dark = [
        frame.with_(geometry=geometry, sources=tuple(table[:0] for table in frame.sources))
        for frame, geometry in zip(frames, geometries, strict=True)
    ]
    told = []
    context = Context(Path(), files=Drawn(), notify=lambda event, **facts: told.append((event, facts)))
    scaled = scaleCountsToReference(dark, context)
    assert [frame.scale for frame in scaled] == pytest.approx([1.0, 1.0, 1.0])
    assert scaled[1].scale_error == pytest.approx(USUAL_CHANGE * np.sqrt(2), rel=0.01)
    unmeasured = [(f["frames"], f["exposures"]) for event, f in told if event == "transparency_unmeasured"]
    assert unmeasured == [(3, 3)]
    told.clear()
    assert scaleCountsToReference(dark[:1], context)[0].scale == 1.0
    assert not warnings_of(told)


def test_what_is_badly_measured_is_drawn_to_what_is_usual():
    logs, covariance = with_prior(np.array([0.0, 0.3, 0.3]), np.diag([1e-6, 0.2**2, 0.01**2]))
    assert abs(logs[1]) < 0.03 and logs[2] == pytest.approx(0.3, abs=0.005)
    assert covariance[1, 1] < 0.2**2


def test_many_exposures_are_all_connected():
    for count in (1, 2, 9, 40):
        pairs = partners(count)
        assert len(pairs) <= min(6 * count, count * (count - 1) // 2)
        joined = np.zeros((count, count))
        joined[pairs[:, 0], pairs[:, 1]] = 1
        assert connected_components(joined, directed=False)[0] == 1


def against_truth(folder, **night):
    """Relative errors of a simulated night's transparencies against the first exposure, and their pulls."""
    made = make_night(folder, "science", "sky", **night)
    frames, _ = made.reduce("science", "sky")
    true = np.array([made.exposures[name_of(frame)]["transmission"] for frame in frames])
    wrong = np.array([1 / frame.scale for frame in frames]) / (true / true[0]) - 1
    return wrong[1:], wrong[1:] / [frame.scale_error for frame in frames[1:]]


@pytest.mark.prove
def test_transparencies_of_a_small_night_of_unsteady_images(tmp_path):
    """-9 to +1 % before, with a stated error of 3 %: no star's wide aperture lay on the arrays."""
    wrong, pulls = against_truth(tmp_path, seed=4, size=512, objects=4, skies=2, flats=2, unsteady=1.5)
    assert np.abs(wrong).max() < 0.015
    assert np.abs(pulls).max() < 3.0


@pytest.mark.prove
@pytest.mark.parametrize("scenery", ["galaxy", "crowded"])
def test_transparencies_of_ten_nights(tmp_path, scenery):
    found = [
        against_truth(tmp_path / str(seed), seed=seed, size=512, scenery=scenery, unsteady=1.5)
        for seed in range(20, 30)
    ]
    wrong, pulls = (np.sqrt(np.mean(np.square(np.concatenate(part)))) for part in zip(*found, strict=True))
    print(f"{scenery}: rms {wrong:.4f}, pull {pulls:.2f}")
    assert wrong < 0.01
    assert 0.55 < pulls < 1.4
