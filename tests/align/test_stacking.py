"""Interpolation, combination, levels and the noise that they correlate, against closed forms."""

import numpy as np
import pytest

from reducer import dq
from reducer.align.resample import KERNELS, STEPS, TAPS, Planes, kernel_table, resample_chip
from reducer.align.wcs import nominal_geometry
from reducer.astrometry import Inverse, common_grid
from reducer.frame import Chip
from reducer.stack.coadd import RejectionMethod, Samples, combine
from reducer.stack.exposures import weights_of
from reducer.stack.levels import Level, Survey
from reducer.stack.noise import (
    Contribution,
    Sampling,
    correlate,
    correlation_of,
    excess_of,
    from_shares,
    noise_table,
    share_table,
)
from reducer.stack.product import place_of
from reducer.steps.stacking import sharpness_of


def linear_map(scale, x0, y0, turn=0.0):
    """Chip pixel = rotated, scaled output pixel + (x0, y0), as an Inverse."""
    tables = np.zeros((2, 7, 7))
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    tables[0, 0, 0], tables[0, 1, 0], tables[0, 0, 1] = x0, c, -s
    tables[1, 0, 0], tables[1, 1, 0], tables[1, 0, 1] = y0, s, c
    scaled = tables.copy()
    half = 3000.0
    scaled[:, 1, 0] *= half
    scaled[:, 0, 1] *= half
    return Inverse(0.0, 0.0, half, scaled)


def chip_of(data, variance=None, mask=None):
    variance = np.ones_like(data) if variance is None else variance
    mask = np.zeros(data.shape, np.uint16) if mask is None else mask
    return Chip(data.astype(np.float32), variance.astype(np.float32), mask.astype(np.uint16), {})


def star(shape, x, y, fwhm=4.0, flux=1e5):
    gy, gx = np.mgrid[: shape[0], : shape[1]]
    s = fwhm / 2.3548
    return flux * np.exp(-0.5 * ((gx - x) ** 2 + (gy - y) ** 2) / s**2) / (2 * np.pi * s * s)


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_kernels_keep_a_constant(name):
    assert np.allclose(kernel_table(name)[0].sum(axis=1), 1.0)


def test_the_default_kernel_reproduces_cubics():
    fraction = np.arange(STEPS + 1) / STEPS
    taps = np.arange(-2, 4)
    for power in (1, 2, 3):
        assert np.abs(kernel_table("keys6")[0, :, :TAPS] @ taps**power - fraction**power).max() < 3e-6


def test_star_fluxes_survive_a_rotation():
    """Surface brightness is kept: the flux is divided by the area of the output pixels."""
    data = star((120, 120), 60.3, 58.7)
    for k in range(4):
        planes = Planes.empty((0, 0), (110, 110))
        inverse = linear_map(1.015, 2.1 + 0.31 * k, 4.7 - 0.23 * k, 0.01)
        resample_chip(chip_of(data), 1, 0, inverse, planes)
        assert planes.data.sum() * 1.015**2 == pytest.approx(data.sum(), rel=2e-5)


def test_variance_is_propagated_exactly():
    """Many noise images through the same interpolation scatter as the variance plane says."""
    rng = np.random.default_rng(3)
    variance = rng.uniform(50, 150, (40, 40))
    inverse = linear_map(1.01, 5.3, 6.1, 0.02)
    mask = np.zeros((40, 40), np.uint16)
    mask[rng.integers(8, 30, 12), rng.integers(8, 30, 12)] = dq.BAD
    values = []
    for _ in range(1500):
        planes = Planes.empty((0, 0), (20, 20))
        data = rng.normal(0, np.sqrt(variance))
        resample_chip(chip_of(data, variance, mask), 1, 0, inverse, planes)
        values.append(planes.data)
    seen = planes.array > 0
    ratio = np.var(values, axis=0)[seen] / planes.variance[seen]
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.01)
    assert np.std(ratio) < 1.6 * np.sqrt(2 / 1500)


def test_bad_pixels_leave_no_halo():
    """A slope is reproduced exactly around masked pixels, whatever value they hold."""
    gy, gx = np.mgrid[:60, :60].astype(float)
    data = 100 + 2.0 * gx - 3.0 * gy
    mask = np.zeros(data.shape, np.uint16)
    mask[30, 30] = mask[20, 41] = mask[20, 42] = dq.BAD
    data[mask > 0] = 1e6
    planes = Planes.empty((0, 0), (40, 40))
    resample_chip(chip_of(data, mask=mask), 2, 0, linear_map(1.0, 8.37, 9.61), planes)
    seen = planes.array > 0
    row, column = np.mgrid[:40, :40]
    expected = 100 + 2.0 * (column + 8.37) - 3.0 * (row + 9.61)
    assert np.abs(planes.data - expected)[seen].max() < 0.02
    assert (~seen).sum() < 20
    assert (planes.mask[~seen] & dq.NO_DATA).all()


def test_saturated_pixels_keep_value_and_flag():
    data = star((60, 60), 30, 30)
    mask = np.where(data > 3000, dq.SATURATED, 0)
    planes = Planes.empty((0, 0), (40, 40))
    resample_chip(chip_of(data, mask=mask), 1, 0, linear_map(1.0, 10.4, 10.4), planes)
    assert planes.mask[20, 20] & dq.SATURATED
    assert planes.data[20, 20] > 2000


def samples_of(values, variance=100.0, mask=None):
    data = np.asarray(values, np.float32)
    mask = np.zeros(data.shape, np.uint16) if mask is None else mask
    return Samples(
        data, np.broadcast_to(variance, data.shape).astype(np.float32), mask, np.ones(data.shape, np.uint8)
    )


def test_cosmic_rays_are_rejected_and_stars_are_not():
    rng = np.random.default_rng(5)
    truth = star((60, 60), 30, 30, flux=5e5)
    frames = np.stack([star((60, 60), 30, 30, 4.0 + 0.1 * (k - 4), 5e5) for k in range(9)])
    frames = frames + rng.normal(0, 10, frames.shape)
    frames[4, 10, 12] += 3000
    frames[2, 50, 40:44] += 800
    made = combine(samples_of(frames), np.ones((9, 5)), np.full(9, 60.0), RejectionMethod())
    assert np.abs((made.data - truth)[truth < 20]).max() < 6 * 10 / 3
    assert made.exposure[10, 12] == 480
    assert made.exposure[29:32, 29:32].min() == 540
    assert made.data.sum() == pytest.approx(truth.sum(), rel=0.01)


def test_a_star_in_changing_seeing_keeps_its_light():
    """Images of 25 to 50 pixels FWHM: what they differ by is no cosmic ray."""
    gy, gx = np.mgrid[:240, :240] - 120.0
    frames = []
    for fwhm in (50.0, 40.0, 36.0, 25.0):
        alpha = fwhm / (2 * np.sqrt(2 ** (1 / 3) - 1))
        frames.append(2 * 1e7 / (np.pi * alpha**2) * (1 + (gx**2 + gy**2) / alpha**2) ** -3)
    data = np.stack(frames) + np.random.default_rng(2).normal(0, 40, (4, 240, 240))
    data[1, 40, 40] += 5000
    rejection = RejectionMethod(sharpness=sharpness_of([50.0, 40.0, 36.0, 25.0], 11.0), blurred=True)
    made = combine(samples_of(data, 1600.0 + data), np.ones((4, 5)), np.ones(4), rejection)
    data[1, 40, 40] -= 5000
    assert made.data.sum() == pytest.approx(data.mean(axis=0).sum(), rel=2e-3)
    assert made.exposure[40, 40] == 3


def test_of_two_samples_noise_rejects_none():
    """They differ by the noise of both: root two times that of one."""
    values = np.random.default_rng(3).normal(1000.0, 10.0, (2, 400, 400))
    made = combine(samples_of(values), np.ones((2, 5)), np.ones(2), RejectionMethod())
    assert (made.exposure < 2).sum() <= 3


def test_of_two_samples_the_ray_is_the_higher():
    values = np.zeros((2, 3, 3))
    values[1, 1, 1] = 500
    made = combine(samples_of(values), np.ones((2, 5)), np.ones(2), RejectionMethod(sharpness=0.0))
    assert made.data[1, 1] == 0


def test_weights_variance_and_exposure_add_up():
    values = np.stack([np.full((4, 4), v) for v in (1.0, 2.0, 4.0)])
    weights = np.array([[0, 1.0, 0, 0, 0], [0, 2.0, 0, 0, 0], [0, 1.0, 0, 0, 0]])
    made = combine(samples_of(values), weights, np.array([10.0, 20.0, 30.0]), RejectionMethod("none"))
    assert np.allclose(made.data, 2.25)
    assert np.allclose(made.variance, 100 * 6 / 16)
    assert np.allclose(made.exposure, 60)


def test_saturated_samples_count_only_where_there_are_no_others():
    values = np.stack([np.full((2, 2), 50.0), np.full((2, 2), 10.0)])
    mask = np.zeros(values.shape, np.uint16)
    mask[0] = dq.SATURATED
    mask[1, 0, 0] = dq.SATURATED
    made = combine(samples_of(values, mask=mask), np.ones((2, 5)), np.ones(2), RejectionMethod("none"))
    assert made.data[1, 1] == 10 and made.mask[1, 1] == 0
    assert made.data[0, 0] == 30 and made.mask[0, 0] == dq.SATURATED


def test_median_and_extremes():
    values = np.stack([np.full((2, 2), v) for v in (1.0, 2.0, 3.0, 100.0, -50.0)])
    median = combine(samples_of(values), np.ones((5, 5)), np.ones(5), RejectionMethod("none"), "median")
    trimmed = combine(
        samples_of(values), np.ones((5, 5)), np.ones(5), RejectionMethod("minmax", nlow=1, nhigh=1)
    )
    assert np.allclose(median.data, 2.0) and np.allclose(trimmed.data, 2.0)


@pytest.mark.parametrize("count", [3, 9, 25])
def test_the_variance_of_a_median_is_its_scatter(count):
    """That of a normal median: pi/2 times the mean's for many, a little less for few."""
    rng = np.random.default_rng(count)
    values = rng.normal(0.0, 10.0, (count, 200, 200))
    weights = np.ones((count, 5))
    made = combine(samples_of(values, 100.0), weights, np.ones(count), RejectionMethod("none"), "median")
    assert np.var(made.data) / np.mean(made.variance) == pytest.approx(1.0, abs=0.15)


def test_weights_give_stars_the_best_signal_to_noise():
    """A scaled exposure has its star's light back and its noise scaled: no other weights do better."""
    scales, sky, light = np.array([1.0, 1.6, 2.5]), 40.0, 500.0
    survey = Survey(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.uint8), np.array([sky]))
    weights = np.array([weights_of(survey, scale, 1.0)[0] for scale in scales])

    def signal_to_noise(weights):
        return weights.sum() * light / np.sqrt(np.sum(weights**2 * scales**2 * sky))

    best = signal_to_noise(weights)
    assert best == pytest.approx(light / np.sqrt(sky) * np.sqrt(np.sum(1.0 / scales**2)), rel=1e-9)
    for one in range(3):
        for factor in (0.8, 1.25):
            other = weights.copy()
            other[one] *= factor
            assert signal_to_noise(other) < best


def test_a_plane_of_sky_is_taken_off_and_the_rest_scaled():
    level = Level(5.0, 0.01, -0.02)
    gy, gx = np.mgrid[:40, :40]
    planes = Planes.empty((0, 0), (20, 20))
    block = chip_of((level.at(gx, gy) + 3.0)[6:])
    resample_chip(block, 1, 6, linear_map(1.0, 8.3, 12.6, 0.01), planes, plane=level.plane, factor=2.0)
    assert (planes.array > 0).all()
    assert np.abs(planes.data - 6.0).max() < 1e-4
    assert np.allclose(planes.variance, 4.0 * resampled_ones(), rtol=1e-5)


def resampled_ones():
    """The variance of a chip of variance 1 at the same places."""
    planes = Planes.empty((0, 0), (20, 20))
    resample_chip(chip_of(np.zeros((40, 40))), 1, 0, linear_map(1.0, 8.3, 12.6, 0.01), planes)
    return planes.variance


def test_noise_of_boxes_is_what_interpolated_noise_shows():
    rng = np.random.default_rng(6)
    table = noise_table([Contribution(1.0, (0.0, 0.0), 1.0)], correlate("keys6", Sampling(1.0152)))
    ratio = {int(row["n"]): float(row["ratio"]) for row in table}
    planes = Planes.empty((0, 0), (960, 960))
    resample_chip(chip_of(rng.normal(0, 1, (990, 990))), 1, 0, linear_map(1.0152, 6.2, 6.4, 0.002), planes)
    for n in (2, 4, 8):
        folded = planes.data.reshape(960 // n, n, 960 // n, n).sum(axis=(1, 3))
        spread = planes.variance.reshape(960 // n, n, 960 // n, n).sum(axis=(1, 3))
        assert np.std(folded / np.sqrt(spread)) == pytest.approx(ratio[n], rel=0.02)


def test_shared_skies_make_large_boxes_noisier():
    skies = tuple((f"s{k}", np.sqrt(1 / 8 / 7)) for k in range(7))
    shared = [Contribution(1 / 9, (float(10 * k), 0.0), 7 / 8, skies) for k in range(9)]
    alone = [Contribution(1 / 9, (float(10 * k), 0.0), 1.0) for k in range(9)]
    both = [noise_table(part, correlate("keys6", Sampling(1.015)))["ratio"] for part in (shared, alone)]
    assert both[0][0] == pytest.approx(both[1][0], rel=1e-3)  # boxes smaller than the dither
    limit = np.sqrt((7 / 8 / 9 + 1 / 8) / (1 / 9))
    assert 1.1 < both[0][-1] / both[1][-1] < limit


def test_the_noise_of_shared_skies_is_where_the_stars_say_not_where_the_header_says(field):
    """By the headers' pointings the dithers were taken for smaller than they are, and NOISE was 8 % high."""
    frames, _, _ = field(2, 5, 7)
    moved = [nominal_geometry(frame).moved(0.4 * k, 0.0) for k, frame in enumerate(frames)]
    grid = common_grid(moved, 0.02)
    places = [place_of(geometry, grid) for geometry in moved]
    bare = [place_of(nominal_geometry(frame), grid) for frame in frames]
    assert places[1][0] - bare[1][0] == pytest.approx(-0.4 / grid.scale)
    assert places[0] == pytest.approx(bare[0])


@pytest.mark.parametrize("place", [0.0, 0.2, 0.5])
def test_noise_of_boxes_interpolated_twice(place):
    """A stack of stacks: VAR is the true variance of a pixel, NOISE the noise of boxes, at every phase."""
    rng = np.random.default_rng(7)
    first, second = Planes.empty((0, 0), (800, 800)), Planes.empty((0, 0), (768, 768))
    resample_chip(chip_of(rng.normal(0, 1, (830, 830))), 1, 0, linear_map(1.0152, 6.2, 6.4, 0.002), first)
    once = noise_table([Contribution(1.0, (0.0, 0.0), 1.0)], correlate("keys6", Sampling(1.0152)))
    again = Sampling(1.0, np.array([place]), np.append(1.0, once["correlation"])[:8])
    excess = excess_of("keys6", (again, again))
    chip = chip_of(first.data, first.variance * excess)
    resample_chip(chip, 1, 0, linear_map(1.0, 10 + place, 12 + place), second)
    assert np.std(second.data) == pytest.approx(np.sqrt(np.mean(second.variance)), rel=0.01)
    table = noise_table([Contribution(1.0, (0.0, 0.0), 1.0)], correlation_of("keys6", [again, again]))
    ratio = {int(row["n"]): float(row["ratio"]) for row in table}
    for n in (2, 4, 8):
        folded = second.data.reshape(768 // n, n, 768 // n, n).sum(axis=(1, 3))
        spread = second.variance.reshape(768 // n, n, 768 // n, n).sum(axis=(1, 3))
        assert np.std(folded / np.sqrt(spread)) == pytest.approx(ratio[n], rel=0.02)


def test_stacks_that_share_skies_know_it_when_they_are_joined():
    """What a stack's table of shares says is what its exposures contributed."""
    skies = tuple((f"S{k}_flatCorrected.fits", 0.1 * k) for k in range(1, 4))
    given = [Contribution(0.6, (3.5, -7.25), 0.9, skies), Contribution(0.4, (10.0, 0.0), 1.1)]
    assert from_shares(share_table(given)) == given
