"""What masks of objects are made with agrees with plain ways to compute it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from reducer.sky.objects import box_means, to_nearest


@pytest.mark.parametrize("density", [1e-4, 0.01, 0.4])
def test_the_nearest_object_is_the_nearest_and_so_far_away(density: float) -> None:
    found = np.random.default_rng(5).random((120, 150)) < density
    found[60, 70] = True
    labels, _ = ndimage.label(found)
    distance, nearest = to_nearest(labels)
    far = ndimage.distance_transform_edt(~found)
    assert distance == pytest.approx(far, abs=1e-4)
    y, x = np.mgrid[0:120, 0:150]
    own = [
        np.hypot(y[found] - r, x[found] - c)[labels[found] == nearest[r, c]].min()
        for r, c in ((3, 4), (90, 10))
    ]
    assert own == pytest.approx([far[3, 4], far[90, 10]])
    assert np.array_equal(nearest[found], labels[found])


@pytest.mark.parametrize("size", [1, 3, 9])
def test_box_means_go_on_beyond_the_edges(size: int) -> None:
    image = np.random.default_rng(6).normal(3000.0, 50.0, (40, 57)).astype(np.float32)
    assert box_means(image, size) == pytest.approx(
        ndimage.uniform_filter(image, size, mode="nearest"), rel=3e-7
    )
