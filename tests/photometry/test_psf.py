"""PSF photometry of a crowded field with speckled star images, against the stars that were drawn."""

from __future__ import annotations

import numpy as np
import pytest
from speckled import add_star, draw_field, match, photometry_of, sources_of

from reducer import dq
from reducer.errors import BadInput
from reducer.photometry.psf import choose_stars
from reducer.sources import BLENDED, IS_SATURATED, ON_BAD_PIXEL


@pytest.fixture(scope="module")
def field():
    return draw_field()


@pytest.fixture(scope="module")
def measured(field):
    return photometry_of(field, 500)


def compare(measured, field):
    """Rows of the catalogue, numbers of their stars, and relative deviations of their light."""
    catalogue = measured.catalogue
    rows, stars = match(catalogue, field)
    return catalogue[rows], stars, catalogue["FLUX_PSF"][rows] / field.light[stars] - 1.0


def spread(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


def test_light_of_bright_stars_is_right_to_a_per_cent(measured, field):
    found, stars, away = compare(measured, field)
    bright = (field.light[stars] > 3e4) & (found["FLAGS"] == 0)
    assert bright.sum() > 20
    assert abs(np.median(away[bright])) < 0.006
    assert spread(away[bright]) < 0.012


def test_light_of_faint_stars_is_not_biased(measured, field):
    found, stars, away = compare(measured, field)
    faint = (field.light[stars] > 8e3) & (field.light[stars] < 3e4) & (found["FLAGS"] == 0)
    assert faint.sum() > 25
    assert abs(np.median(away[faint])) < 0.02


def test_errors_say_how_light_and_places_scatter(measured, field):
    found, stars, away = compare(measured, field)
    good = (found["FLAGS"] == 0) & (field.light[stars] > 6e3)
    pull = away[good] * found["FLUX_PSF"][good] / found["FLUXERR_PSF"][good]
    assert 0.7 < spread(pull) < 1.4  # of some 100 stars, known to a tenth, five times as dense as a crowd is
    east = (found["X_IMAGE"] - 1 - field.x[stars])[good] / found["ERRX_IMAGE"][good]
    assert 0.7 < spread(east) < 1.35


@pytest.mark.prove
def test_completeness_is_that_of_the_real_stars():
    """The light at which half of the drawn stars is found, by many faint ones, is that which is stated."""
    many = draw_field(stars=260, seed=8, faint=600.0, bright=6000.0)
    bright = draw_field(stars=120, seed=9, faint=2e4, bright=4e5)
    for star in zip(many.x, many.y, many.light, strict=True):
        add_star(bright.image.data, *star)
    bright.x, bright.y, bright.light = (
        np.append(a, b) for a, b in ((bright.x, many.x), (bright.y, many.y), (bright.light, many.light))
    )
    result = photometry_of(bright, 400)
    _, stars = match(result.catalogue, bright)
    inside = (bright.x > 5) & (bright.y > 5) & (bright.x < 414) & (bright.y < 414)
    half = result.complete.half * result.light
    near = inside & (np.abs(2.5 * np.log10(bright.light / half)) < 0.6)
    seen = np.isin(np.arange(len(bright.light)), stars)
    # Over a range that lies evenly about the limit half of all stars are found.
    assert near.sum() > 40
    assert 0.35 < seen[near].mean() < 0.65


def test_two_stars_one_fwhm_apart_are_told_apart():
    pairs = [
        (100, 100, 6e4),
        (104.3, 100, 4e4),
        (300, 110, 5e4),
        (300, 114.5, 5e4),
        (200, 300, 8e4),
        (203, 303, 3e4),
    ]
    field = draw_field(places=pairs, seed=11)
    found, _, away = compare(photometry_of(field), field)
    for x, y, _ in pairs:
        here = np.hypot(found["X_IMAGE"] - 1 - x, found["Y_IMAGE"] - 1 - y) < 1.0
        assert here.sum() == 1
        assert abs(away[here][0]) < 0.08
        assert found["FLAGS"][here][0] & BLENDED
        assert found["NGROUP"][here][0] >= 2


def test_a_saturated_star_is_flagged_and_leaves_others_alone():
    field = draw_field(places=[(210, 210, 3e6), (255, 214, 6e4)], stars=120, seed=12)
    burnt = field.image.data > 4e4
    assert burnt.sum() > 5
    field.image.mask[burnt] = dq.SATURATED
    found, _, away = compare(photometry_of(field), field)
    star = np.hypot(found["X_IMAGE"] - 211, found["Y_IMAGE"] - 211) < 2
    assert star.sum() == 1
    assert found["FLAGS"][star][0] & IS_SATURATED
    assert found["FLUXERR_PSF"][star][0] >= 0.1 * found["FLUX_PSF"][star][0]
    beside = np.hypot(found["X_IMAGE"] - 256, found["Y_IMAGE"] - 215) < 1
    assert beside.sum() == 1
    assert abs(away[beside][0]) < 0.06


@pytest.mark.prove
def test_a_galaxy_beneath_does_not_bias():
    def galaxy(i, j):
        return 2000.0 * np.exp(-0.5 * ((i - 60) ** 2 + (j - 100) ** 2) / 250.0**2)  # 5 arcsec

    field = draw_field(stars=150, background=galaxy, seed=13)
    found, stars, away = compare(photometry_of(field), field)
    good = (field.light[stars] > 2e4) & (found["FLAGS"] == 0)
    beneath = np.hypot(field.x[stars] - 210, field.y[stars] - 210) < 150
    assert (good & beneath).sum() > 5
    assert abs(np.median(away[good & beneath])) < 0.03


def test_bad_pixels_are_not_fitted():
    field = draw_field(places=[(150, 150, 8e4), (250, 260, 8e4)], seed=14)
    for x, y in ((152, 151), (251, 259), (40, 300)):
        field.image.mask[y, x] = dq.BAD
        field.image.data[y, x] = 6e4
    field.image.mask[:, 330:333] = dq.NO_DATA
    field.image.data[:, 330:333] = np.nan
    result = photometry_of(field)
    found, _, away = compare(result, field)
    for x, y in ((150, 150), (250, 260)):
        here = np.hypot(found["X_IMAGE"] - 1 - x, found["Y_IMAGE"] - 1 - y) < 1.0
        assert here.sum() == 1
        assert abs(away[here][0]) < 0.06
    column = np.abs(result.catalogue["X_IMAGE"] - 332) < 2
    assert (result.catalogue["FLAGS"][column] & ON_BAD_PIXEL).all()
    assert np.isfinite(result.residual).all()


def test_stars_at_the_edge_are_measured_or_flagged(measured, field):
    _, stars, away = compare(measured, field)
    near = np.minimum.reduce([field.x[stars], field.y[stars], 419 - field.x[stars], 419 - field.y[stars]])
    edge = (near < 12) & (near > 6) & (field.light[stars] > 2e4)
    assert (np.abs(away[edge]) < 0.1).mean() > 0.7


def test_nothing_is_left_but_noise(measured, field):
    noise = np.sqrt(np.median(field.image.variance))
    assert spread(measured.residual) < 1.15 * noise


def test_too_few_stars_are_refused_and_said_why():
    field = draw_field(stars=3, seed=15, faint=2000.0, bright=4000.0)
    with pytest.raises(BadInput) as raised:
        choose_stars(sources_of(field), field.image.mask)
    assert raised.value.found.startswith("0 stars can tell the PSF: of 3 sources")
    assert "at least 5 isolated stars" in raised.value.needed
    assert raised.value.remedy
