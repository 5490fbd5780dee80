"""What an alignment may not believe: each limit by itself, the simpler model that takes its place, and that
it is said."""

import numpy as np
import pytest

from reducer.align.together import MODELS, Limits, align_exposures, departure
from tests.align.test_together import misplacements, relative_rms

#: The exposure that something is wrong with.
WRONG = 2


def align(frames):
    told = []
    found = align_exposures(frames, lambda event, **facts: told.append((event, facts)))
    return found, [facts["text"] for event, facts in told if event == "warning"]


def displaced(frame, move):
    """The frame with its sources moved: ``move`` takes 0-based pixels about the array's middle, (n, 2)."""
    tables = []
    for table in frame.sources:
        table = table.copy()
        places = np.stack([table["x"], table["y"]], axis=1) - 1023.5
        table["x"], table["y"] = (move(places) + 1023.5).T
        tables.append(table)
    return frame.with_(sources=tuple(tables))


def test_a_scale_beyond_a_thousandth_is_not_believed(field):
    frames, _, _ = field(4, 300, 31)
    frames[WRONG] = displaced(frames[WRONG], lambda places: places * np.array([1.004, 1.004]))
    found, warnings = align(frames)
    assert found.geometries[WRONG].model != "full"
    assert any("S0002" in text and "the model is now shift" in text for text in warnings)
    assert all(g.model == "full" for k, g in enumerate(found.geometries) if k != WRONG)


def test_a_shear_beyond_a_thousandth_is_not_believed():
    parameters = np.zeros(38)
    parameters[4] = 0.9e-3 * 43.5
    assert "scale or shear" not in departure(parameters)
    for term in (3, 4, 5):
        parameters[:] = 0.0
        parameters[term] = 1.1e-3 * 43.5
        assert "scale or shear" in departure(parameters)


@pytest.mark.parametrize("degrees", [0.2, -1.3])
def test_a_header_turned_against_the_stars_is_put_right_and_said(field, degrees):
    frames, exposures, _ = field(4, 300, 32)
    angle = np.radians(degrees)
    for chip in frames[WRONG].chips:
        cd = np.array([[chip[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        for i in (0, 1):
            for j in (0, 1):
                chip[f"CD{i + 1}_{j + 1}"] = (turn @ cd)[i, j]
    found, warnings = align(frames)
    assert all(geometry.model == "full" for geometry in found.geometries)
    assert relative_rms(misplacements(frames, exposures, found.geometries)).max() < 1e-3
    said = [text for text in warnings if "S0002" in text]
    assert len(said) == 1 and -degrees == pytest.approx(float(said[0].split()[4]), abs=0.03)


def test_three_pixels_at_a_corner_are_not_believed():
    """A quadratic term that moves the middle little and a corner by more than 59 mas."""
    parameters = np.zeros(38)
    parameters[7] = 0.055
    assert departure(parameters) == ""
    parameters[7] = 0.075
    assert "departs by" in departure(parameters)


def test_the_next_simpler_model_is_taken_and_said(field):
    frames, _, _ = field(5, 300, 33, own=0.001)
    bent = 12.0 / 1024.0**2
    frames[WRONG] = displaced(frames[WRONG], lambda places: places + bent * places[:, :1] * places)
    found, warnings = align(frames)
    assert found.geometries[WRONG].model in MODELS[1:]
    assert any(f"the model is now {found.geometries[WRONG].model}" in text for text in warnings)
    assert all(g.rms < 1e-3 for k, g in enumerate(found.geometries) if k != WRONG)


def test_a_frame_without_any_star_is_left_out_and_named(field):
    frames, _, _ = field(4, 200, 34)
    frames[WRONG] = frames[WRONG].with_(sources=tuple(table[:0] for table in frames[WRONG].sources))
    told = []
    found = align_exposures(frames, lambda event, **facts: told.append((event, facts)))
    assert found.geometries[WRONG] is None and found.reasons[WRONG] == "it has no usable source"
    assert ("refused", "S0002.fits") in [(event, facts.get("name")) for event, facts in told]


def test_a_frame_that_shares_too_few_stars_is_left_out(field):
    frames, _, _ = field(4, 200, 35)
    frames[WRONG] = frames[WRONG].with_(sources=tuple(table[:3] for table in frames[WRONG].sources))
    found = align_exposures(frames, lambda event, **facts: None, Limits(fewest=30))
    assert found.geometries[WRONG] is None and "shares only" in found.reasons[WRONG]
