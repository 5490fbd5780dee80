"""The simulated sky's geometry: static distortion, refraction, and each exposure's own part."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from goafetch.practice.exposure import optics
from goafetch.practice.exposure.night import Exposure, Night, draw_conditions, draw_course
from goafetch.practice.program import tutorial


def random_pixels(count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(1).uniform(1.0, 2048.0, (2, count)))


@pytest.mark.parametrize("array", range(4))
def test_the_static_map_is_inverted_exactly(array: int) -> None:
    x, y = random_pixels()
    back_x, back_y = optics.static_to_pixel(array, *optics.pixel_to_static(array, x, y))
    assert np.abs(back_x - x).max() < 1e-8
    assert np.abs(back_y - y).max() < 1e-8


def test_arrays_lie_three_four_above_two_one_with_gaps_of_three_arcsec() -> None:
    (left2, right2), (_, top2) = optics.static_extent(1)
    (left1, _), _ = optics.static_extent(0)
    _, (bottom3, _) = optics.static_extent(2)
    assert left2 < left1
    assert 2.0 < left1 - right2 + 0.7 < 4.0
    assert 2.0 < bottom3 - top2 + 0.4 < 4.0
    assert 80.0 < optics.static_extent(3)[0][1] - left2 < 90.0


def test_pixel_area_varies_by_six_percent_over_the_field() -> None:
    areas = []
    for array in range(4):
        jacobian = optics.static_jacobian(array, *random_pixels(2000))
        areas.append(np.linalg.det(jacobian))
    relative = np.concatenate(areas) / np.concatenate(areas).mean()
    assert 0.972 < relative.min() < 0.98
    assert 1.027 < relative.max() < 1.035


@pytest.mark.parametrize(("zenith", "milliarcsec"), [(20.0, 19.0), (60.0, 66.0)])
def test_refraction_shrinks_the_field_by_the_published_amount(zenith: float, milliarcsec: float) -> None:
    matrix = optics.refraction_matrix(math.radians(zenith), 0.7)
    strongest = 1.0 - np.linalg.eigvalsh(matrix).min()
    assert 85_000.0 * strongest == pytest.approx(milliarcsec, rel=0.03)
    up = np.array([math.sin(0.7), math.cos(0.7)])
    assert np.allclose(matrix @ up, (1.0 - strongest) * up)


def test_east_is_x_and_north_is_y_and_other_ports_mirror() -> None:
    assert np.allclose(optics.sky_to_instrument(0.0, 1), np.eye(2))
    assert np.linalg.det(optics.sky_to_instrument(0.4, 5)) == pytest.approx(-1.0)
    toward_pa = np.array([math.sin(0.4), math.cos(0.4)])
    assert np.allclose(optics.sky_to_instrument(0.4, 1) @ toward_pa, [0.0, 1.0])


def exposure_named(name: str) -> Exposure:
    begin = datetime(2017, 5, 5, 3, 30, tzinfo=UTC)
    return Exposure(
        name, "science", "t", "P", "P-1", 1, "Kshort_G1105", 60.0, begin, ra=201.4, dec=-43.0, field="t"
    )


def test_each_exposure_draws_its_own_pointing_rotation_scale_and_bend() -> None:
    night = Night(seed=5)
    exposures = [exposure_named(f"E{i}") for i in range(400)]
    course = draw_course(night, "P-1", exposures[0].begin)
    drawn = [draw_conditions(e, night, course) for e in exposures]
    assert np.std([d.pointing_error for d in drawn]) == pytest.approx(0.12, rel=0.1)
    assert np.std([d.rotation for d in drawn]) == pytest.approx(1.5e-4, rel=0.12)
    assert np.std([d.scale for d in drawn]) == pytest.approx(1e-4, rel=0.12)
    widths = np.array([d.profile.core_fwhm for d in drawn])
    assert widths.std() / widths.mean() == pytest.approx(0.05, rel=0.12)
    fractions = np.array([d.profile.core_fraction for d in drawn])
    assert fractions.std() / fractions.mean() == pytest.approx(0.06, rel=0.12)
    levels = np.array([d.sky_rate for d in drawn])
    assert levels.std() / levels.mean() == pytest.approx(0.003, rel=0.12)
    assert np.std([d.sky_slope for d in drawn]) == pytest.approx(0.002, rel=0.12)


def test_the_bend_is_twelve_milliarcsec_rms_per_axis() -> None:
    u, v = np.random.default_rng(2).uniform(-45.0, 45.0, (2, 4000))
    night, course = Night(seed=6), draw_course(Night(seed=6), "P-1", exposure_named("E").begin)
    squares = []
    for i in range(200):
        mapping = draw_conditions(exposure_named(f"E{i}"), night, course).mapping
        straight = optics.Mapping(mapping.pointing, mapping.matrix, np.zeros((2, 3)))
        bent, plain = np.array(mapping.to_static(u, v)), np.array(straight.to_static(u, v))
        squares.append(((bent - plain).std(axis=1) ** 2).mean())
    assert math.sqrt(np.mean(squares)) == pytest.approx(0.012, rel=0.1)


def test_the_map_to_the_static_frame_and_back_closes() -> None:
    mapping = draw_conditions(
        exposure_named("E1"), Night(), draw_course(Night(), "P-1", exposure_named("E1").begin)
    ).mapping
    xi, eta = np.random.default_rng(3).uniform(-45.0, 45.0, (2, 100))
    back = mapping.to_sky(*mapping.to_static(xi, eta))
    assert np.abs(np.array(back) - [xi, eta]).max() < 1e-6


def test_the_sky_drifts_by_five_to_ten_percent_in_half_an_hour() -> None:
    start = datetime(2017, 5, 5, 3, 0, tzinfo=UTC)
    later = start.replace(minute=30)
    changes = [abs(draw_course(Night(seed=s), "P-1", start).at(later) - 1.0) for s in range(50)]
    assert 0.04 < min(changes) < max(changes) < 0.11


def test_the_standard_falls_on_each_array_once() -> None:
    program = tutorial(Night(size=2048, only=frozenset({"standard"})))
    found = []
    for exposure in program.exposures:
        mapping = draw_conditions(
            exposure, program.night, draw_course(program.night, exposure.observation, exposure.begin)
        ).mapping
        sx, sy = mapping.to_static(np.zeros(1), np.zeros(1))
        for array in range(4):
            x, y = optics.static_to_pixel(array, sx, sy)
            if 550 < x[0] < 1500 and 550 < y[0] < 1500:
                found.append(array)
    assert sorted(found) == [0, 1, 2, 3]
