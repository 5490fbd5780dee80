"""A standard whose light nearly fills the window that was read has a finite error, or is refused."""

from __future__ import annotations

import numpy as np
import pytest

from reducer.errors import BadInput
from reducer.photometry.growth import measure_light

SOURCE = [("x", float), ("y", float), ("fwhm", float), ("flux", float, (3,))]


def measure(side: int, fwhm: float, seen: float):
    """A seeing-limited star of 1e6 electrons amid ``side`` pixels that are good up to ``seen`` from it."""
    at = side / 2, side / 2
    y, x = np.mgrid[:side, :side]
    alpha2 = (fwhm / (2 * np.sqrt(2 ** (1 / 3) - 1))) ** 2
    r2 = (x - at[0]) ** 2 + (y - at[1]) ** 2
    profile = 2 / (np.pi * alpha2) * (1 + r2 / alpha2) ** -3
    rng = np.random.default_rng(3)
    image = (1e6 * profile + 20.0 * rng.standard_normal((side, side))).astype(np.float32)
    star = np.array([(*at, fwhm, (4e5, 6e5, 9e5))], SOURCE)
    return measure_light(image, np.full_like(image, 400.0), r2 < seen**2, star[0], star[:0], 28.0)


def test_the_sky_just_beyond_the_aperture_serves_where_nothing_is_seen_further_out():
    light = measure(400, 32.0, 150.0)
    assert light.total == pytest.approx(1e6, rel=0.05)
    assert 0 < light.sky < 1e5


def test_without_sky_around_it_a_star_is_refused():
    with pytest.raises(BadInput, match=r"edge|no sky"):
        measure(400, 32.0, 60.0)
