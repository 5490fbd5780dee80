"""What products of single exposures hold where they have no measurement."""

import numpy as np

from reducer import dq
from reducer.masks import fill_masked


def test_masked_pixels_get_the_level_around_them_and_nothing_else_changes():
    rng = np.random.default_rng(1)
    x = np.mgrid[:96, :128][1]
    data = (50.0 + 0.5 * x + rng.normal(0, 1.0, x.shape)).astype(np.float32)
    truth, mask = data.copy(), np.zeros(data.shape, np.uint16)
    mask[rng.random(mask.shape) < 0.02] = dq.BAD
    mask[40:46, 60:66] |= dq.NO_DATA
    mask[:4] |= dq.UNILLUMINATED
    empty = mask != 0
    data[empty] = 90095.0
    mask[70, 20:23] = dq.SATURATED | dq.NON_LINEAR
    data[70, 20:23] = 6e4
    given, bits = data.copy(), mask.copy()
    fill_masked(data, mask)
    assert np.array_equal(mask, bits)
    assert np.array_equal(data[~empty], given[~empty]), "a saturated core shows what was there"
    assert np.abs(data[empty] - truth[empty]).max() < 6.0


def test_far_from_all_good_pixels_the_level_of_the_array_holds():
    data, mask = np.full((64, 64), 10.0, np.float32), np.zeros((64, 64), np.uint16)
    mask[16:56, 16:56], data[16:56, 16:56] = dq.NO_DATA, np.nan
    fill_masked(data, mask)
    assert np.array_equal(data, np.full((64, 64), 10.0))


def test_a_dead_array_is_finite():
    data, mask = np.full((16, 16), np.nan, np.float32), np.full((16, 16), dq.NO_DATA, np.uint16)
    fill_masked(data, mask)
    assert not data.any()
