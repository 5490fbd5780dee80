"""How bright exposures are against each other, where a star moves from one array to another."""

import numpy as np
import pytest

from reducer.align.together import align_exposures
from reducer.frame import tell_nobody
from reducer.steps.photometry import total_brightness


def test_area_is_that_of_the_static_model(field):
    """The mean area of the pixels is the field's reference area within a few per cent; it varies by 6 %."""
    frames, _, _ = field(2, 300, 1, own=0.0)
    geometry = align_exposures(frames, tell_nobody).geometries[0]
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(10, 2030, 9), np.linspace(10, 2030, 9)))
    areas = np.concatenate([geometry.area(x, y, chip) for chip in range(4)]) / 0.0197**2
    assert 0.97 < areas.min() < 0.985 and 1.02 < areas.max() < 1.04


def test_a_star_on_another_array_is_as_bright_as_the_sky_shows_it(standard):
    """Flat-fielded pixels hold surface brightness: a star has fewer electrons where they are larger."""
    frames = standard([(21.5, 21.5), (-21.5, 21.5), (-21.5, -21.5), (21.5, -21.5)])
    placed = []
    for frame, geometry in zip(frames, align_exposures(frames, tell_nobody).geometries, strict=True):
        for chip, table in enumerate(frame.sources):
            table["flux"] = 1e6 * 0.0197**2 / geometry.area(table["x"], table["y"], chip)[:, None]
            table["wide"] = table["flux"][:, :1]
            table["wide_error"] = 1e3
        placed.append(frame.with_(geometry=geometry))
    offsets, _ = total_brightness(placed)
    assert offsets - offsets[0] == pytest.approx(0.0, abs=1e-3)


def test_crowding_does_not_leave_transparency_to_the_cores(field):
    """In a crowded field no star stands alone; cores, whose share of the light changes, were 5 % wrong."""
    frames, _, _ = field(3, 600, 3, own=0.0)
    rng = np.random.default_rng(4)
    placed = []
    shares, transparencies = (0.50, 0.46, 0.53), np.array([1.0, 0.95, 1.02])
    geometries = align_exposures(frames, tell_nobody).geometries
    for frame, geometry, share, clear in zip(frames, geometries, shares, transparencies, strict=True):
        for chip, table in enumerate(frame.sources):
            area = geometry.area(table["x"], table["y"], chip) / 0.0197**2
            light = 300 * table["flux"][:, 0] * clear / area
            table["flux"], table["flux_error"] = share * light[:, None], 1.0
            leak = 0.02 * rng.standard_normal(len(table)) * np.sqrt((light**2).mean())
            table["wide"], table["wide_error"] = (light + leak)[:, None], 0.005 * light[:, None]
        placed.append(frame.with_(geometry=geometry))
    offsets, errors = total_brightness(placed)
    wrong = offsets - offsets[0] + 2.5 * np.log10(transparencies)
    assert np.abs(wrong).max() < 0.015
    assert errors.max() < 0.03
