"""Ticks in RA and Dec stand where astropy's projection says, however the picture lies on the sky."""

import numpy as np
import pytest
from astropy.wcs import WCS

from goafetch.report.pictures import find_sky, find_ticks, write_angle

SIZE = (4000, 5000)


def tangent(ra, dec, turned=0.0, mirrored=False):
    """CRPIX, CRVAL and CD of a picture of 0.02 arcsec a pixel, turned by degrees."""
    scale, angle = 0.02 / 3600, np.radians(turned)
    matrix = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        matrix[:, 0] *= -1
    cd = {f"CD{i + 1}_{j + 1}": matrix[i, j] for i in (0, 1) for j in (0, 1)}
    return {"CRPIX1": 2300.0, "CRPIX2": 1800.0, "CRVAL1": ra, "CRVAL2": dec, **cd}


def as_wcs(world):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crpix = world["CRPIX1"], world["CRPIX2"]
    wcs.wcs.crval = world["CRVAL1"], world["CRVAL2"]
    wcs.wcs.cd = [[world[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)]
    return wcs


def seconds(label):
    sign = -1 if label.startswith("−") else 1
    return sign * float(np.dot([float(part) for part in label.lstrip("−+").split(":")], [3600, 60, 1]))


FIELDS = [
    (201.36, -43.03, 0, False),
    (201.36, -43.03, 90, False),
    (359.9999, 0.0001, 20, True),
    (10.0, -88.9, 200, False),
]


@pytest.mark.parametrize(("ra", "dec", "turned", "mirrored"), FIELDS)
def test_ticks_stand_at_the_values_that_they_name(ra, dec, turned, mirrored):
    world = tangent(ra, dec, turned, mirrored)
    wcs = as_wcs(world)
    below, left = find_ticks(world, SIZE)
    assert {below.title, left.title} == {"Right ascension", "Declination"}
    for ticks, on_left in ((below, False), (left, True)):
        assert 2 <= len(ticks.places) <= 7
        for place, label in zip(ticks.places, ticks.labels, strict=True):
            x, y = (0.0, place) if on_left else (place, 0.0)  # from the picture's corner
            found = wcs.pixel_to_world_values(x - 0.5, y - 0.5)
            is_ra = ticks.title == "Right ascension"
            told = seconds(label) / (240 if is_ra else 3600)
            off = (float(found[0 if is_ra else 1]) - told + 180) % 360 - 180
            assert abs(off) * 3600 < 0.02 / (np.cos(np.radians(dec)) if is_ra else 1)


def test_the_sky_of_a_pixel_is_astropys():
    world = tangent(201.36, -43.03, 33)
    x, y = np.array([1.0, 5000.0, 777.5]), np.array([1.0, 20.0, 3999.25])
    ra, dec = find_sky(world, x, y)
    expected = as_wcs(world).pixel_to_world_values(x - 1, y - 1)
    np.testing.assert_allclose([ra, dec], expected, rtol=0, atol=1e-11)


def test_angles_carry_over_and_keep_their_sign():
    assert write_angle(3599.97, 1, signed=False) == "01:00:00.0"
    assert write_angle(-0.4 * 3600, 0, signed=True) == "−00:24:00"
    assert write_angle(12 * 3600 + 0.25, 2, signed=True) == "+12:00:00.25"
