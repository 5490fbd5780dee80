"""What an alignment may not believe: each limit by itself, the simpler model that takes its place, and that
it is said."""

import numpy as np
import pytest
from told import warnings_of

from reducer.align.global_fit import MODELS, Limits, align_exposures, departure
from reducer.align.solve import Observations, fit_to_stars, predicted_rms, prior_sizes
from tests.align.test_together import FIELD, misplacements, relative_rms

#: The exposure that something is wrong with.
WRONG = 2


def align(frames):
    told = []
    found = align_exposures(frames, lambda event, **facts: told.append((event, facts)))
    return found, [(event, facts) for event, facts in told if warnings_of([(event, facts)])]


def displaced(frame, move):
    """The frame with its sources moved: ``move`` takes 0-based pixels about the array's middle, (n, 2)."""
    tables = []
    for table in frame.sources:
        table = table.copy()
        places = np.stack([table["x"], table["y"]], axis=1) - 1023.5
        table["x"], table["y"] = (move(places) + 1023.5).T
        tables.append(table)
    return frame.with_(sources=tuple(tables))


@pytest.mark.parametrize(("stars", "believed"), [(300, True), (12, False)])
def test_a_scale_beyond_a_thousandth_is_believed_of_many_stars_alone(field, stars, believed):
    frames, _, _ = field(4, stars, 31)
    frames[WRONG] = displaced(frames[WRONG], lambda places: places * np.array([1.004, 1.004]))
    found, warnings = align(frames)
    assert (found.geometries[WRONG].model == "full") == believed
    assert (
        any(f.get("file") == "S0002.fits" and f.get("model", "").startswith("shift") for _, f in warnings)
        != believed
    )
    assert all(g.model == "full" for k, g in enumerate(found.geometries) if k != WRONG)


def test_a_shear_beyond_a_thousandth_is_not_believed():
    parameters = np.zeros(38)
    parameters[4] = 0.9e-3 * 43.5
    assert departure(parameters, FIELD).get("reason") != "departs_in_shear"
    for term in (3, 4, 5):
        parameters[:] = 0.0
        parameters[term] = 1.1e-3 * 43.5
        assert departure(parameters, FIELD)["reason"] == "departs_in_shear"


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
    said = [facts["angle"] for _, facts in warnings if facts["file"] == "S0002.fits"]
    assert said == [pytest.approx(-degrees, abs=0.03)]


def test_three_pixels_at_a_corner_are_not_believed():
    """A quadratic term that moves the middle little and a corner by more than 59 mas."""
    parameters = np.zeros(38)
    parameters[7] = 0.055
    assert not departure(parameters, FIELD)
    parameters[7] = 0.075
    assert departure(parameters, FIELD)["reason"] == "departs"


def test_the_next_simpler_model_is_taken_and_said(field):
    frames, _, _ = field(5, 300, 33, own=0.001)
    bent = 12.0 / 1024.0**2
    frames[WRONG] = displaced(frames[WRONG], lambda places: places + bent * places[:, :1] * places)
    found, warnings = align(frames)
    assert found.geometries[WRONG].model in MODELS[1:]
    assert found.geometries[WRONG].model in [facts.get("model") for _, facts in warnings]
    assert all(g.rms < 1e-3 for k, g in enumerate(found.geometries) if k != WRONG)


@pytest.mark.parametrize(("stars", "seed"), [(30, 36), (300, 37)])
def test_a_distortion_of_more_than_three_pixels_that_stars_confirm_is_believed(field, stars, seed):
    """It used to be replaced by shift and rotation, which left 60 mas at the edges."""
    frames, exposures, _ = field(5, stars, seed, own=0.05)
    departures = []
    for exposure in exposures:
        parameters = np.zeros(38)
        parameters[6:9] = exposure.own[0]
        departures.append(departure(parameters, FIELD))
    assert any(departures)
    found, warnings = align(frames)
    assert warnings == [] and all(geometry.model == "full" for geometry in found.geometries)
    assert relative_rms(misplacements(frames, exposures, found.geometries)).max() < 2e-3


def test_an_exposure_that_shows_fewer_stars_keeps_a_distortion_that_these_confirm(field):
    """It was laid by shift and rotation, which blurred the stack, where its images were a little worse."""
    frames, exposures, _ = field(5, 300, 37, own=0.05)
    wrong = int(np.argmax([np.abs(exposure.own).max() for exposure in exposures]))
    parameters = np.zeros(38)
    parameters[6:9] = exposures[wrong].own[0]
    assert departure(parameters, FIELD)
    sources = frames[wrong].sources
    frames[wrong] = frames[wrong].with_(sources=tuple(table[: int(0.55 * len(table))] for table in sources))
    found, warnings = align(frames)
    assert warnings == [] and all(geometry.model == "full" for geometry in found.geometries)
    assert relative_rms(misplacements(frames, exposures, found.geometries)).max() < 2e-3


def test_wrong_pairs_do_not_confirm_a_distortion():
    """Stars that a fit to the others foretells by chance alone: their rms is what they scatter by."""
    rng = np.random.default_rng(38)
    count = 40
    xs, ys = rng.uniform(-48, 36, (2, count))
    zero, ones = np.zeros(count, int), np.ones(count)
    own = Observations(FIELD, zero, zero, xs, ys, xs, ys, ones, ones, ones > 0)
    for scatter, shared in ((0.03, 9), (0.0004, 2)):
        gaps = scatter * rng.standard_normal((count, 2))
        _, residuals = fit_to_stars(own, np.stack([xs, ys], axis=1) + gaps, prior_sizes(FIELD))
        weights = np.full(count, scatter**-2)
        found = predicted_rms(own, residuals, weights, np.full(count, shared), prior_sizes(FIELD))
        assert found * (1 - 1 / shared) == pytest.approx(scatter, rel=0.45)
        assert found * (1 - 1 / shared) > np.sqrt(np.mean(residuals**2))


def test_a_frame_without_any_star_is_left_out_and_named(field):
    frames, _, _ = field(4, 200, 34)
    frames[WRONG] = frames[WRONG].with_(sources=tuple(table[:0] for table in frames[WRONG].sources))
    told = []
    found = align_exposures(frames, lambda event, **facts: told.append((event, facts)))
    assert found.geometries[WRONG] is None and found.reasons[WRONG]["reason"] == "no_shared_stars"
    assert ("refused", "S0002.fits") in [(event, facts.get("name")) for event, facts in told]


def test_a_frame_that_shares_too_few_stars_is_left_out(field):
    frames, _, _ = field(4, 200, 35)
    frames[WRONG] = frames[WRONG].with_(sources=tuple(table[:3] for table in frames[WRONG].sources))
    found = align_exposures(frames, lambda event, **facts: None, Limits(fewest=30))
    assert found.geometries[WRONG] is None and found.reasons[WRONG]["reason"] == "few_stars"
