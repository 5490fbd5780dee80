"""An instrument of one array without distortion is placed, aligned and levelled by what is asked of it."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from paper import PAPER, SCALE, STACK_SCALE

from reducer import instruments
from reducer.align.global_fit import align_exposures
from reducer.align.solve import DEGREE, mixing, prior_sizes
from reducer.align.wcs import nominal_geometry
from reducer.astrometry import common_grid, read_wcs, sky_to_plane, term_count
from reducer.frame import FrameRef, tell_nobody
from reducer.instruments import KNOWN
from reducer.sources import SOURCE
from reducer.stack.levels import Survey, lattice, solve_levels

TARGET = (200.0, -30.0)
OFFSETS = np.array([[0.0, 0.0], [1.5, 0.6], [-1.2, 1.4], [0.4, -1.6]])


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(instruments, "KNOWN", {**KNOWN, "PAPER": PAPER})


def expose(number, header_error=(0.0, 0.0), noise=0.02):
    """An exposure of stars about the target, north up and east left, whose header errs by some arcsec."""
    rng = np.random.default_rng(5)
    u, v, flux = rng.uniform(-9, 9, 120), rng.uniform(-8, 8, 120), 10 ** rng.uniform(4, 6, 120)
    rng = np.random.default_rng(number)
    x, y = 63.5 - (u - OFFSETS[number, 0]) / SCALE, 47.5 + (v - OFFSETS[number, 1]) / SCALE
    on = (x > 3) & (x < 124) & (y > 3) & (y < 92)
    table = np.zeros(on.sum(), SOURCE)
    table["x"], table["y"] = np.stack([x, y])[:, on] + noise * rng.normal(size=(2, on.sum()))
    table["error"], table["fwhm"] = noise, 4.0
    table["flux"], table["flux_error"] = flux[on, None], flux[on, None] / 100
    east, north = OFFSETS[number] + header_error
    chip = fits.Header({"NAXIS1": 128, "NAXIS2": 96, "EXTVER": 1, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    chip["CRPIX1"], chip["CRPIX2"] = 64.5, 48.5
    chip["CRVAL1"] = TARGET[0] + east / 3600 / np.cos(np.radians(TARGET[1]))
    chip["CRVAL2"] = TARGET[1] + north / 3600
    chip["CD1_1"], chip["CD1_2"], chip["CD2_1"], chip["CD2_2"] = -SCALE / 3600, 0.0, 0.0, SCALE / 3600
    primary = fits.Header({"INSTRUME": "PAPER", "EXPTIME": 60.0, "OBJECT": "field"})
    return FrameRef(Path(f"e{number}.fits"), primary, (chip,), sources=(table[np.argsort(-flux[on])],))


def test_its_pixels_lie_where_its_header_says():
    frame = expose(1)
    geometry = nominal_geometry(frame, TARGET)
    x, y = np.random.default_rng(0).uniform(0, 90, (2, 30))
    u, v = geometry.evaluate(x, y, 0)
    there = sky_to_plane(*read_wcs(frame.chips[0]).to_sky(x + 1, y + 1), TARGET)
    assert np.abs(np.subtract((u, v), there)).max() < 1e-6
    assert geometry.pixel == SCALE


def test_its_exposures_are_aligned_by_their_stars():
    errors = np.array([[0.0, 0.0], [0.7, -0.4], [-0.3, 0.9], [0.2, 0.5]])
    frames = [expose(number, error) for number, error in enumerate(errors)]
    found = align_exposures(frames, tell_nobody)
    assert {geometry.model for geometry in found.geometries} == {"full"}
    assert {geometry.shifts.shape for geometry in found.geometries} == {(2, 1)}
    middles = np.array([np.ravel(geometry.evaluate([63.5], [47.5], 0)) for geometry in found.geometries])
    gaps = middles - OFFSETS
    assert np.abs(gaps - gaps.mean(axis=0)).max() < 3e-3


@pytest.mark.parametrize("factors", [[1.0] * 4, [1.0, 1.25, 2.0, 1.0]])
def test_its_sky_has_a_level_and_two_slopes_in_its_own_electrons(factors):
    """Behind cloud, whose exposures are scaled up later, the same sky is fewer electrons."""
    geometries = [nominal_geometry(expose(number), TARGET) for number in range(4)]
    points = lattice(common_grid(geometries, STACK_SCALE), 4)
    columns, rows = np.meshgrid(np.arange(float(points.width)), np.arange(float(points.height)))
    truth = np.array([[30.0, 0.1, -0.2], [-10.0, -0.1, 0.05], [0.0, 0.2, 0.1], [-20.0, -0.2, 0.05]])
    surveys = []
    for geometry, (level, along_x, along_y), factor in zip(geometries, truth, factors, strict=True):
        x, y = geometry.inverse(0, points.to_pixel).evaluate(columns, rows)
        on = (x > 0) & (y > 0) & (x < 127) & (y < 95)
        values = np.where(on, (level + along_x * (x - 63.5) + along_y * (y - 47.5)) / factor, np.nan)
        surveys.append(Survey(values.astype(np.float32), on.astype(np.uint8), np.array([np.nan, 400.0])))
    found = [level for (level,) in solve_levels(surveys, factors, geometries, points)]
    planes = np.array([(one.at(63.5, 47.5), one.along_x, one.along_y) for one in found])
    # A plane that all have in common is the sky's own: nothing tells it from light.
    left = planes * np.array(factors)[:, None] - truth
    assert np.ptp(left[:, 1:], axis=0).max() < 1e-3
    common = OFFSETS / SCALE * (-1.0, 1.0) @ left[:, 1:].mean(axis=0)
    assert np.ptp(left[:, 0] - common) < 0.02


def test_parameters_of_four_arrays_are_what_they_were():
    """The order of all parameters: shifts, rotation, stretches, terms of u, of v, arrays along u, along v."""
    count, single = term_count(DEGREE), 30
    expected = np.zeros((2, count + 4, single + 8))
    expected[0, 0, 0] = expected[0, 1, 3] = expected[0, 1, 4] = expected[0, 2, 5] = 1
    expected[0, 2, 2] = -1
    expected[1, 0, 1] = expected[1, 1, 2] = expected[1, 1, 5] = expected[1, 2, 3] = 1
    expected[1, 2, 4] = -1
    for axis in (0, 1):
        for k in range(count - 3):
            expected[axis, 3 + k, 6 + axis * (count - 3) + k] = 1
        for array in range(4):
            expected[axis, count + array, single + axis * 4 + array] = 1
    assert np.array_equal(mixing(4), expected)
    assert np.array_equal(mixing(1)[:, :count, :single], expected[:, :count, :single])
    for one, arrays in ((PAPER, 1), (KNOWN["GSAOI"], 4)):
        assert len(prior_sizes(one.field)) == mixing(arrays).shape[2]


def test_a_place_is_on_the_array_whose_middle_is_nearest():
    field = KNOWN["GSAOI"].field
    edge = np.array([-40.0, -3.0, 3.0, 40.0])
    xs, ys = (grid.ravel() for grid in np.meshgrid(edge, edge))
    quadrant = np.where(ys < 0, np.where(xs > 0, 0, 1), np.where(xs > 0, 3, 2))
    assert np.array_equal(field.nearest(xs + field.centre[0], ys + field.centre[1]), quadrant)
    assert set(PAPER.field.nearest(xs, ys)) == {0}
