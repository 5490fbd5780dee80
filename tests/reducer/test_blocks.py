"""What masks of objects are made with agrees with plain ways to compute it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from reducer.combine import median_of
from reducer.sky.blocks import block_means
from reducer.sky.objects import free_means, median_around, within


@pytest.mark.parametrize("density", [1e-4, 0.01, 0.4])
def test_objects_grow_as_far_as_each_of_them_reaches(density: float) -> None:
    rng = np.random.default_rng(5)
    found = rng.random((120, 150)) < density
    found[60, 70] = True
    labels, number = ndimage.label(found)
    reach = rng.uniform(1.0, 20.0, number + 1).astype(np.float32)
    plain = np.zeros(found.shape, bool)
    for label in range(1, min(number, 60) + 1):
        plain |= ndimage.distance_transform_edt(labels != label) <= reach[label]
    assert np.array_equal(within(np.where(labels <= 60, labels, 0).astype(np.int32), reach), plain)


@pytest.mark.parametrize("shape", [(16, 24), (19, 30)])
def test_means_of_blocks_are_those_of_their_usable_pixels(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    data = rng.normal(3000.0, 50.0, shape).astype(np.float32)
    mask = (rng.random(shape) < 0.3).astype(np.uint16)
    mask[:4, :4] = 1
    means, counts = block_means(data, mask)
    known = np.where(mask == 0, data, np.nan)[:16, : shape[1] // 4 * 4].reshape(4, 4, -1, 4)
    assert np.array_equal(counts, np.isfinite(known).sum(axis=(1, 3)))
    known[0, :, 0, :] = 0.0
    assert means == pytest.approx(np.nanmean(known, axis=(1, 3)), rel=1e-6)


@pytest.mark.parametrize("size", [1, 3, 9])
def test_means_of_what_is_free_go_on_beyond_the_edges(size: int) -> None:
    rng = np.random.default_rng(6)
    image = rng.normal(3000.0, 50.0, (40, 57)).astype(np.float32)
    free = rng.random(image.shape) < 0.6
    means, weights = free_means(image, free, size)
    part = ndimage.uniform_filter(free.astype(float), size, mode="nearest")
    light = ndimage.uniform_filter(np.where(free, image, 0.0).astype(float), size, mode="nearest")
    assert weights == pytest.approx(part, abs=1e-6)
    seen = part > 0.5 / size**2
    assert means[seen & free] == pytest.approx((light / np.maximum(part, 1e-9))[seen & free], rel=3e-7)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_median_in_less_time_is_the_median(size: int) -> None:
    values = np.random.default_rng(size).normal(size=size).astype(np.float32)
    assert median_of(values) == pytest.approx(float(np.median(values)), rel=1e-6)


def test_the_median_around_a_cell_is_that_of_a_filter() -> None:
    cells = np.random.default_rng(9).normal(size=(11, 8)).astype(np.float32)
    assert np.array_equal(median_around(cells), ndimage.median_filter(cells, 5, mode="nearest"))
