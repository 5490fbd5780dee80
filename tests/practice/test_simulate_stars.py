"""Simulated star images: their light, places and shapes against closed forms."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from goafetch.practice.exposure import optics
from goafetch.practice.exposure.detector import make_array
from goafetch.practice.exposure.night import Exposure, Night, Program, draw_conditions, draw_course
from goafetch.practice.exposure.psf import Profile, add_cores, add_smooth_light, halo_light
from goafetch.practice.exposure.render import filled_pixels, release
from goafetch.practice.exposure.scene import Field, draw_magnitudes

PROFILE = Profile(0.075, 0.5, 0.55)
SCALE = 19.7


def core_image(x: float, y: float, flux: float, wx: float = 20.0) -> np.ndarray:
    jacobian = optics.static_jacobian(0, np.array([1000.0]), np.array([1000.0]))
    metric = PROFILE.metric(np.array([wx]), np.array([-15.0]), jacobian)
    image = np.zeros((301, 301))
    add_cores(image, np.array([x]), np.array([y]), np.array([flux]), metric, 0.02 / 60.0)
    return image


@pytest.mark.parametrize("flux", [50.0, 1e4, 3e6])
@pytest.mark.parametrize("phase", [0.0, 0.27, 0.5])
def test_cores_keep_their_light_and_place(flux: float, phase: float) -> None:
    image = core_image(150.0 + phase, 150.0 - 0.6 * phase, flux)
    rows, columns = np.mgrid[:301, :301]
    assert image.sum() == pytest.approx(flux, rel=2e-4)
    assert abs((image * columns).sum() / image.sum() - 150.0 - phase) * SCALE < 0.05
    assert abs((image * rows).sum() / image.sum() - 150.0 + 0.6 * phase) * SCALE < 0.05


def test_the_core_has_its_width_on_the_sky() -> None:
    image = core_image(150.0, 150.0, 1e6, wx=0.0)
    area = np.linalg.det(optics.static_jacobian(0, np.array([1000.0]), np.array([1000.0])))[0]
    alpha = math.sqrt(3.0 / math.pi * 1e6 / image.max() * area)
    fwhm = 2.0 * alpha * math.sqrt(2.0**0.25 - 1.0)
    assert fwhm == pytest.approx(PROFILE.fwhm_at(np.zeros(1), np.array([-15.0]))[0], rel=1e-3)


@pytest.mark.parametrize("fwhm", [0.5, 1.0])
def test_halos_agree_with_the_moffat_profile(fwhm: float) -> None:
    cx, cy = optics.field_centre()
    sx, sy = np.array([cx + 20.03]), np.array([cy - 20.07])
    x, y = (float(v[0]) for v in optics.static_to_pixel(0, sx, sy))
    x0, y0 = int(x) - 256, int(y) - 256
    image = np.zeros((512, 512))
    forward = optics.static_polynomials()[0][0]
    add_smooth_light(image, halo_light(sx, sy, np.array([1e6]), fwhm), forward, x0, y0, cx, cy, 0.0, 0.0, 0.0)
    rows, columns = (a.ravel().astype(float) for a in np.mgrid[y0 : y0 + 512, x0 : x0 + 512])
    px, py = optics.pixel_to_static(0, columns, rows)
    alpha = fwhm / (2.0 * math.sqrt(2.0 ** (1.0 / 3.0) - 1.0))
    area = np.linalg.det(optics.static_jacobian(0, columns, rows))
    exact = 1e6 * 2.0 / math.pi / alpha**2 / (1.0 + np.hypot(px - sx, py - sy) ** 2 / alpha**2) ** 3 * area
    assert image.sum() == pytest.approx(exact.sum(), rel=1e-5)
    assert np.abs(image.ravel() - exact).max() < 0.002 * exact.max()
    weight = np.exp(-0.5 * (np.hypot(px - sx, py - sy) / 0.3) ** 2)
    shift = (image.ravel() * weight * columns).sum() / (image.ravel() * weight).sum() - (
        exact * weight * columns
    ).sum() / (exact * weight).sum()
    assert abs(shift) * SCALE < 0.05


def test_smooth_light_is_brightness_times_pixel_area() -> None:
    image = np.zeros((2048, 16))
    forward = optics.static_polynomials()[0][2]
    add_smooth_light(image, np.zeros((1, 1)), forward, 1001, 1, *optics.field_centre(), 2.0, 0.0, 0.0)
    y = np.arange(1.0, 2049.0)
    area = np.linalg.det(optics.static_jacobian(2, np.full_like(y, 1003.0), y))
    assert np.allclose(image[:, 2], 2.0 * area, rtol=1e-9)


def test_the_sky_slopes_by_its_part_at_45_arcsec() -> None:
    forward = optics.static_polynomials()[0][3]
    cx, cy = optics.field_centre()
    flat, tilted = np.zeros((1, 2048)), np.zeros((1, 2048))
    add_smooth_light(flat, np.zeros((1, 1)), forward, 1, 900, cx, cy, 1.0, 0.0, 0.0)
    add_smooth_light(tilted, np.zeros((1, 1)), forward, 1, 900, cx, cy, 1.0, 0.002, 0.0)
    x, _ = optics.pixel_to_static(3, np.arange(1.0, 2049.0), np.full(2048, 900.0))
    assert np.allclose(tilted / flat - 1.0, (0.002 * (x - cx) / 45.0)[None, :], atol=1e-12)


def test_saturated_stars_leave_charge_that_comes_out_again() -> None:
    begin = datetime(2017, 5, 5, 3, 30, tzinfo=UTC)
    exposure = Exposure(
        "E",
        "science",
        "t",
        "P",
        "P-1",
        1,
        "Kshort_G1105",
        60.0,
        begin,
        ra=201.4,
        dec=-43.0,
        field="t",
        size=512,
    )
    field = Field("t", 201.4, -43.0, np.array([21.5]), np.array([21.5]), np.array([11.0]))
    night = Night()
    program = Program("P", (exposure,), {"t": field}, night, {"Kshort": np.full(4, 26.2)})
    conditions = draw_conditions(exposure, night, draw_course(night, "P-1", begin))
    array = make_array(3, np.random.default_rng(1))
    pixels, trapped = filled_pixels(exposure, conditions, program, array, 1.0)
    x, y = optics.static_to_pixel(3, *conditions.mapping.to_static(field.x, field.y))
    away = np.hypot(pixels % 2048 + 1 - x, pixels // 2048 + 1 - y)
    assert pixels.size > 20 and away.max() < 12.0
    assert 100.0 < trapped.max() < 2000.0
    whole = sum(release(trapped, 10.0 * i, 10.0) * 10.0 for i in range(400))
    assert np.allclose(whole, trapped, rtol=1e-4)
    assert (release(trapped, 900.0, 60.0) < 0.1 * release(trapped, 0.0, 60.0)).all()


def test_magnitudes_follow_their_luminosity_function() -> None:
    drawn = draw_magnitudes(np.random.default_rng(1), 200_000, 12.0, 20.0, 0.35)
    assert np.count_nonzero(drawn < 19.0) / drawn.size == pytest.approx(10**-0.35, rel=0.02)


def test_celestial_positions_are_a_gnomonic_projection() -> None:
    field = Field("f", 201.36, -43.03, np.array([0.0, 40.0]), np.array([0.0, 30.0]), np.zeros(2))
    ra, dec = field.celestial()
    assert (ra[0], dec[0]) == pytest.approx((201.36, -43.03))
    distance = math.hypot((ra[1] - ra[0]) * math.cos(math.radians(dec.mean())), dec[1] - dec[0]) * 3600.0
    assert distance == pytest.approx(50.0, abs=1e-3)
