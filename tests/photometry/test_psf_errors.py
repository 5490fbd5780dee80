"""What artificial and bright stars say of the errors of PSF photometry, each by numbers known beforehand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from reducer.photometry.psf_artificial import ROW, TRIAL, Completeness, _draw, weigh_by_crowding
from reducer.photometry.psf_catalogue import look_around
from reducer.photometry.psf_fit import STAR, Image, begin, light_errors


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def gaussian(x, y, radius, width=2.0):
    """A star of light 1 about x, y, as far as a radius."""
    j, i = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.exp(-((i - x % 1) ** 2 + (j - y % 1) ** 2) / 2 / width**2) / (2 * np.pi * width**2)


def image_of(data, noise=3.0):
    return Image(
        data.astype(np.float32), np.full(data.shape, noise**2, np.float32), np.zeros(data.shape, "u2")
    )


def test_crowding_is_an_amount_of_light_so_brighter_stars_scatter_by_a_smaller_part():
    table = np.zeros(3, ROW)
    table["FLUX"], table["EXCESS"] = (100.0, 1000.0, 1e4), (0.1, 0.02, np.nan)
    told = Completeness(table, 0.0, 0.0).excess(np.array([10.0, 100.0, 1000.0, 1e4, 1e5]))
    assert told == pytest.approx([0.1, 0.1, 0.02, 0.002, 0.0002])


def test_an_artificial_star_stands_for_the_real_ones_of_its_square(rng):
    stars, trial = np.zeros(500, STAR), np.zeros(900, TRIAL)
    stars["x"], stars["y"] = rng.uniform(150, 200, 500), rng.uniform(0, 100, 500)
    stars["flux"], stars["error"] = 1000.0, 1.0
    trial["x"], trial["y"] = rng.uniform(0, 200, 900), rng.uniform(0, 100, 900)
    weight = weigh_by_crowding(trial, stars, (100, 200))
    crowded = trial["x"] > 150
    assert np.all(weight[trial["x"] < 150] == 0)
    assert weight[crowded].mean() == pytest.approx(900 / crowded.sum(), rel=0.05)


def test_artificial_stars_lie_at_all_parts_of_a_pixel_and_apart(rng):
    psf = SimpleNamespace(fwhm=4.0)
    trial = _draw(image_of(np.zeros((400, 400))), psf, 100.0, rng)
    places = np.column_stack([trial["x"], trial["y"]])
    assert cKDTree(places).query(places, k=2)[0][:, 1].min() > 30
    assert np.std(places % 1, axis=0) == pytest.approx(1 / np.sqrt(12), rel=0.2)


def test_light_is_as_uncertain_as_the_best_fit_of_its_pixels_leaves_it(rng):
    """By least-squares fits of a known star to many draws of noise, here and where it is twice as much."""
    psf = SimpleNamespace(at=gaussian, centre=(0.0, 0.0), fwhm=4.7)
    core = gaussian(0, 0, 9).ravel()
    scatter = np.std(rng.normal(0, 3.0, (4000, core.size)) @ core / (core @ core))
    stars = np.zeros(2, STAR)
    stars["x"], stars["y"] = (20, 80), (50, 50)
    image = image_of(np.zeros((100, 100)))
    image.variance[:, 50:] *= 4
    assert light_errors(stars, begin(image), psf) == pytest.approx([scatter, 2 * scatter], rel=0.05)


def test_what_bright_stars_have_beyond_their_psf_is_told_without_the_light_around(rng):
    """Each star is drawn 3 % brighter than it was fitted, on a level of its own that the fit did not see."""
    j, i = np.mgrid[:400, :400]
    stars = np.zeros(25, STAR)
    stars["x"], stars["y"] = (axis.ravel() + 0.3 for axis in np.meshgrid(*[np.arange(40, 400, 80)] * 2))
    stars["flux"], stars["error"] = 1e5, 100.0
    left = rng.normal(0, 3.0, i.shape)
    for star in stars:
        square = (i - star["x"]) ** 2 + (j - star["y"]) ** 2
        left += 0.03 * 1e5 * np.exp(-square / 8) / (8 * np.pi) + np.where(square < 39**2, 20.0, 0.0)
    scene = begin(image_of(np.zeros(i.shape)))
    scene.data[:] = left
    measures = SimpleNamespace(base=1.0, at=lambda base, x, y: base * np.ones(len(x)))
    found = look_around(scene, stars, measures)
    assert found.at(np.array([200.0]), np.array([200.0]))[0] == pytest.approx(0.03, abs=0.001)
    assert found.error < 0.001
