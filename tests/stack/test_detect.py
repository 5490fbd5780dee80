"""Detection on made-up images: places, errors, fluxes and flags."""

import numpy as np
import pytest
from raw_exposure import WIDTHS
from scipy.spatial import cKDTree

from reducer import dq
from reducer.sources import AT_EDGE, IS_SATURATED, NO_POSITION, TOO_SHARP, detect_sources, is_blurred


def image_of(stars, fwhm, noise, rng, size=512):
    """A noisy image of Gaussian stars (x, y, flux), its variance and an empty mask."""
    gy, gx = np.mgrid[:size, :size]
    sigma = fwhm / 2.3548
    image = np.zeros((size, size))
    for x, y, flux in stars:
        image += flux * np.exp(-0.5 * ((gx - x) ** 2 + (gy - y) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
    variance = image + noise**2
    data = image + rng.normal(0, np.sqrt(variance))
    return data.astype(np.float32), variance.astype(np.float32), np.zeros(data.shape, np.uint16)


@pytest.fixture(scope="module")
def crowd():
    rng = np.random.default_rng(1)
    x, y = (g.ravel() for g in np.meshgrid(np.arange(40, 480, 40.0), np.arange(40, 480, 40.0)))
    stars = np.column_stack([x + rng.uniform(-5, 5, len(x)), y + rng.uniform(-5, 5, len(x)),
                             10 ** rng.uniform(4, 5.3, len(x))])  # fmt: skip
    return stars, image_of(stars, 4.0, 30.0, rng)


def test_no_star_of_a_crowded_field_is_listed_twice():
    """Parts of one blend settled on the same centre: one source in seventy of a crowded stack was a copy."""
    rng = np.random.default_rng(2)
    places = rng.uniform(10, 290, (150, 2))
    stars = np.column_stack([places, rng.uniform(3e3, 6e4, 150)])
    for seed in range(3):
        found = detect_sources(*image_of(stars, 4.0, 5.0, np.random.default_rng(seed), 300), WIDTHS)
        assert len(found) > 100
        assert not cKDTree(np.column_stack([found["x"], found["y"]])).query_pairs(0.5)


def test_centres_are_right_within_their_errors(crowd):
    stars, image = crowd
    found = detect_sources(*image, WIDTHS)
    assert len(found) == len(stars)
    order = [np.argmin(np.hypot(found["x"] - x, found["y"] - y)) for x, y, _ in stars]
    for axis, column in (("x", 0), ("y", 1)):
        pull = (found[axis][order] - stars[:, column]) / found["error"][order]
        assert 0.8 < np.std(pull) < 1.25
    assert np.median(found["fwhm"]) == pytest.approx(4.0, rel=0.02)


def test_fluxes_are_right(crowd):
    stars, image = crowd
    found = detect_sources(*image, WIDTHS)
    order = [np.argmin(np.hypot(found["x"] - x, found["y"] - y)) for x, y, _ in stars]
    ratio = found["flux"][order, 0] / stars[:, 2]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)


def test_masked_pixels_do_not_pull_the_centre():
    rng = np.random.default_rng(2)
    data, variance, mask = image_of([(200.3, 220.6, 2e6)], 30.0, 5.0, rng)
    holes = rng.integers(150, 280, (2, 200))
    mask[holes[0], holes[1]] = dq.BAD
    data[mask > 0] = -9e3
    found = detect_sources(data, variance, mask, WIDTHS)
    best = found[np.argmax(found["flux"][:, -1])]
    assert np.hypot(best["x"] - 200.3, best["y"] - 220.6) < 0.1
    assert not best["flags"] & NO_POSITION


def test_a_galaxy_among_sharp_stars_is_no_star_blurred_by_seeing():
    """Stars of S/N 100, 20 pixels apart, were one blurred source wherever a galaxy was brightest."""
    rng = np.random.default_rng(5)
    stars = [(60 + 20 * (k % 2), 60 + 70 * (k // 2), 2e4 * (1 + k % 2)) for k in range(12)]
    data, variance, mask = image_of(stars, 4.5, 20.0, rng)
    galaxy, extra, _ = image_of([(300, 250, 3e6)], 60.0, 0.0, rng)
    found = detect_sources(data + galaxy, variance + extra, mask, WIDTHS)
    places = cKDTree(np.column_stack([found["x"], found["y"]]))
    assert (places.query([star[:2] for star in stars])[0] < 0.5).all()
    assert not is_blurred(found, WIDTHS)


def test_a_blurred_star_stays_one_beside_hits_of_particles_and_few_faint_stars():
    rng = np.random.default_rng(6)
    data, variance, mask = image_of([(250, 250, 3e6), (100, 400, 6e4), (420, 90, 4e4)], 30.0, 20.0, rng)
    for _ in range(40):
        x, y, length = rng.integers(5, 500), rng.integers(5, 500), rng.integers(1, 6)
        data[y, x : x + length] += rng.uniform(300, 20000)
        data[y + 1, x : x + length] += rng.uniform(0, 5000)
    found = detect_sources(data, variance, mask, WIDTHS)
    assert is_blurred(found, WIDTHS)
    best = found[np.argmax(found["flux"][:, -1])]
    assert np.hypot(best["x"] - 250, best["y"] - 250) < 1.0


def test_what_is_no_good_star_is_flagged():
    rng = np.random.default_rng(3)
    data, variance, mask = image_of([(100, 100, 1e5), (300, 3, 1e5), (300, 300, 1e5)], 4.0, 20.0, rng)
    mask[99:102, 99:102] = dq.SATURATED
    data[400, 400] += 20000
    data[400, 401] += 9000
    data[401, 400] += 7000
    found = detect_sources(data, variance, mask, WIDTHS)

    def flags(x, y):
        return found["flags"][np.argmin(np.hypot(found["x"] - x, found["y"] - y))]

    assert flags(100, 100) & IS_SATURATED
    assert flags(300, 3) & AT_EDGE
    assert not flags(300, 300) & NO_POSITION
    near = np.hypot(found["x"] - 400, found["y"] - 400) < 3
    assert not near.any() or (found["flags"][near] & (TOO_SHARP | NO_POSITION)).all()


def test_noise_beyond_the_stated_variance_makes_no_sources():
    """What is left of a pattern scatters by more than VAR says."""
    data = np.random.default_rng(6).normal(0, 30.0, (300, 300)).astype(np.float32)
    variance, mask = np.full(data.shape, 1.0, np.float32), np.zeros(data.shape, np.uint16)
    assert len(detect_sources(data, variance, mask, WIDTHS)) == 0


@pytest.mark.parametrize(("away", "flagged"), [(9.0, True), (16.0, False)])
def test_a_star_whose_light_is_cut_by_the_edge_is_flagged(away, flagged):
    """Of 8 pixels FWHM it takes 12."""
    image = image_of([(away, 150.0, 3e6)], 8.0, 5.0, np.random.default_rng(2), 300)
    found = detect_sources(*image, WIDTHS)
    assert bool(found["flags"][0] & AT_EDGE) == flagged


def test_an_empty_image_has_no_sources():
    rng = np.random.default_rng(4)
    data, variance, mask = image_of([], 4.0, 20.0, rng)
    assert len(detect_sources(data, variance, mask, WIDTHS)) < 3


def test_a_threshold_and_an_area_leave_out_what_is_below_them(crowd):
    stars, image = crowd
    counts = [
        len(detect_sources(*(plane.copy() for plane in image), WIDTHS, *least))
        for least in ((5.0, 5), (150.0, 5), (5.0, 90), (3.0, 5))
    ]
    assert counts[0] >= len(stars) and counts[3] >= counts[0]
    assert 0 < counts[1] < 0.7 * counts[0] and 0 < counts[2] < 0.7 * counts[0]
