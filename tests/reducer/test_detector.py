"""The detector model is right in level, noise and flags, from a few electrons to the full well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from paper import PAPER
from raw_exposure import ARRAYS, NUMBERS, READS, counts, expose, levels

from reducer import dq
from reducer.detector import NO_RESPONSE, ArrayReadout, Response, correct, flag_unlit
from reducer.instruments import KNOWN
from reducer.keywords import Region
from reducer.sky.blind import STEP
from reducer.steps.correct import ArrayView

MODES = tuple(READS)
GSAOI = KNOWN["GSAOI"]


def mad(values: np.ndarray) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


@pytest.mark.parametrize("array", [1, 2, 3, 4])
def test_electrons_come_back_within_a_thousandth_up_to_saturation(array: int) -> None:
    numbers = NUMBERS[ARRAYS[array - 1]]
    full = 0.9 * numbers["well_adu"] * numbers["gain_e_per_adu"]
    true = np.geomspace(100.0, full, 400)[None, :]
    raw = counts(true, array).astype(np.float32)
    data, _, _, _ = correct(raw, ArrayReadout(levels(array), 1))
    assert np.all(np.abs(data - true) < np.maximum(1e-3 * true, 0.5))


@pytest.mark.parametrize(("level", "coadds", "mode"), [(10, 1, 2), (10, 8, 0), (3300, 1, 0), (60000, 4, 1)])
def test_the_variance_is_the_scatter(level: float, coadds: int, mode: int) -> None:
    rng = np.random.default_rng(level + coadds)
    true = np.full((300, 300), float(level))
    raw = expose(true, 3, rng, coadds, MODES[mode])
    data, variance, _, _ = correct(raw, ArrayReadout(levels(3, MODES[mode]), coadds))
    assert variance.min() > 0
    assert mad((data - true) / np.sqrt(variance)) == pytest.approx(1.0, abs=0.02 if level == 10 else 0.012)
    assert np.mean(data - true) == pytest.approx(0.0, abs=max(1e-3 * level, 0.5))


def test_read_noise_grows_where_the_response_is_steeper() -> None:
    """A large read noise, so that it shows: at a level it is multiplied by the correction's slope there."""
    rng = np.random.default_rng(7)
    noisy = replace(levels(3), read_noise=400.0, linearity=(1.0, 4e-6, 0.0))
    read = np.full((300, 300), 40000.0)
    raw = ((read + rng.normal(0.0, 400.0, read.shape)) / noisy.gain).astype(np.float32)
    data, variance, _, _ = correct(raw, ArrayReadout(noisy, 1))
    photons = np.median(data)
    assert np.var(data) + photons == pytest.approx(np.mean(variance), rel=0.02)


def test_saturated_and_non_linear_pixels_are_flagged_and_no_others() -> None:
    numbers = NUMBERS[ARRAYS[1]]
    well, limit = numbers["well_adu"], numbers["well_adu"] * numbers["linear_limit_fraction_of_well"]
    raw = np.array([[well, 0.949 * well, 1.01 * limit, 0.99 * limit, 10.0]], np.float32)
    _, _, mask, _ = correct(raw, ArrayReadout(levels(2), 1))
    assert mask.tolist() == [[dq.SATURATED, dq.NON_LINEAR, dq.NON_LINEAR, 0, 0]]


def test_the_flat_divides_and_its_noise_and_mask_go_along() -> None:
    raw = counts(np.full((1, 3), 20000.0), 1).astype(np.float32)
    flat = np.array([[1.0, 0.5, 0.0]], np.float32).repeat(2, axis=0)
    raw = raw.repeat(2, axis=0)
    response = Response(flat, np.full_like(flat, 1e-4), np.zeros(flat.shape, np.uint16))
    plain, noise, _, _ = correct(raw, ArrayReadout(levels(1), 1))
    data, variance, mask, _ = correct(raw, ArrayReadout(levels(1), 1), response=response)
    assert data[0, :2] == pytest.approx([plain[0, 0], 2 * plain[0, 1]], rel=1e-6)
    assert variance[0, 1] == pytest.approx((noise[0, 1] + data[0, 1] ** 2 * 1e-4) / 0.25, rel=1e-5)
    assert mask[0].tolist() == [0, 0, dq.BAD]


def test_each_switch_turns_its_correction_off() -> None:
    raw = counts(np.full((4, 4), 50000.0), 4).astype(np.float32)
    in_adu, variance, mask, _ = correct(
        raw, ArrayReadout(levels(4), 1, mask=False, linearize=False, electrons=False, variance=False)
    )
    assert in_adu == pytest.approx(raw, rel=1e-6)
    assert not variance.any()
    assert not mask.any()


def test_pixels_that_are_not_numbers_are_counted_and_channel_offsets_go_off() -> None:
    raw = np.full((8, 8), 100.0, np.float32)
    raw[2, 3] = np.nan
    offsets = np.arange(8, dtype=np.float32)
    plain = correct(raw, ArrayReadout(levels(1), 1))[0]
    data, _, mask, lost = correct(raw, ArrayReadout(levels(1), 1), offsets=offsets)
    assert lost == 1
    assert mask[2, 3] == dq.NO_DATA
    assert (plain - data)[0] == pytest.approx(offsets, abs=1e-3)


def test_the_border_is_that_of_the_full_array() -> None:
    whole = flag_unlit(np.zeros((2048, 2048), np.uint16), Region(0, 2048, 0, 2048), GSAOI.arrays[0])
    assert (whole == 0).sum() == 2040**2
    middle = flag_unlit(np.zeros((1024, 1024), np.uint16), Region(512, 1536, 513, 1537), GSAOI.arrays[0])
    assert not middle.any()
    corner = flag_unlit(np.zeros((100, 100), np.uint16), Region(0, 100, 1948, 2048), GSAOI.arrays[0])
    assert (corner == 0).sum() == 96 * 96
    assert not flag_unlit(np.zeros((96, 128), np.uint16), Region(0, 128, 0, 96), PAPER.arrays[0]).any()


def test_a_thinned_view_corrects_as_the_whole_does():
    """Known bad pixels are masked in what a survey looks at too."""
    rng = np.random.default_rng(3)
    raw = rng.uniform(100, 20000, (64, 48)).astype(np.float32)
    static = np.where(rng.random(raw.shape) < 0.3, dq.BAD, 0).astype(np.uint16)
    variance = np.full(raw.shape, 1e-4, np.float32)
    flat = Response(rng.uniform(0.8, 1.2, raw.shape).astype(np.float32), variance, np.zeros_like(static))
    view = ArrayView(ArrayReadout(levels(1), 1), static, NO_RESPONSE, flat)
    some = np.s_[::STEP, ::STEP]
    thin = view.thinned().correct(np.ascontiguousarray(raw[some]))
    for plane, whole in zip(thin, view.correct(raw), strict=True):
        assert np.array_equal(plane, whole[some])
