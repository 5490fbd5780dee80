"""Alignment of made-up exposures whose offsets, rotations and distortions are known."""

import numpy as np
import pytest

from reducer.align.global_fit import align_exposures, departure, least_departure
from reducer.align.solve import DEGREE, displacements, to_coefficients
from reducer.astrometry import sky_to_plane
from reducer.frame import tell_nobody
from reducer.instruments import KNOWN

FIELD = KNOWN["GSAOI"].field


def misplacements(frames, exposures, geometries, margin=50):
    """Where each exposure's geometry puts points of the sky, minus the truth: list of (points, 2) arcsec."""
    sky_u, sky_v = (g.ravel() for g in np.meshgrid(np.linspace(-38, 38, 21), np.linspace(-38, 38, 21)))
    found = []
    for exposure, geometry in zip(exposures, geometries, strict=True):
        gaps = np.full((len(sky_u), 2), np.nan)
        if geometry is not None:
            for chip in range(len(geometry.regions)):
                # A round of fixed-point steps on the map gives the pixel of a true position.
                x, y = geometry.inverse(chip).evaluate(sky_u, sky_v)
                on = (x > margin) & (x < 2047 - margin) & (y > margin) & (y < 2047 - margin)
                true = exposure.to_sky(*geometry.static(x[on], y[on], chip))
                gaps[on] = np.stack([sky_u[on] - true[0], sky_v[on] - true[1]], axis=1)
        found.append(gaps)
    return found


def relative_rms(gaps):
    """Rms per axis of the exposures' misplacements about their common mean, arcsec."""
    stacked = np.stack(gaps)
    seen = np.isfinite(stacked).all(axis=(0, 2))
    part = stacked[:, seen]
    return np.sqrt(np.mean((part - part.mean(axis=0)) ** 2, axis=(1, 2)))


def test_rich_fields_align_to_a_fraction_of_a_milliarcsecond(field):
    frames, exposures, _ = field(5, 1200, 3, own=0.008)
    found = align_exposures(frames, tell_nobody)
    assert all(geometry is not None and geometry.model == "full" for geometry in found.geometries)
    assert relative_rms(misplacements(frames, exposures, found.geometries)).max() < 1.5e-4


def test_without_a_catalogue_the_stack_keeps_the_mean_of_the_distortions(field):
    frames, exposures, _ = field(5, 600, 8, own=0.008)
    found = align_exposures(frames, tell_nobody)
    gaps = np.stack(misplacements(frames, exposures, found.geometries)).mean(axis=0)
    gaps -= np.nanmedian(gaps, axis=0)
    p, q = np.meshgrid(np.linspace(-1, 1, 30), np.linspace(-1, 1, 30))
    terms = np.stack([p * p - 1 / 3, p * q, q * q - 1 / 3], axis=-1)
    mean = np.mean([exposure.own for exposure in exposures], axis=0)
    expected = np.std([terms @ mean[0], terms @ mean[1]])
    turned = np.mean([exposure.turn for exposure in exposures]) * 43.5 / np.sqrt(3)
    assert np.nanstd(gaps) < 1.2 * np.hypot(expected, turned) + 1e-3


def test_noisy_centres_do_not_shrink_the_field(field):
    """Thousands of noisy stars made a smaller field look better, by milliarcseconds at its edge."""
    frames, exposures, _ = field(9, 1500, 4, own=0.0)
    found = align_exposures(frames, tell_nobody)
    gaps = np.stack(misplacements(frames, exposures, found.geometries)).mean(axis=0)
    p, q = (g.ravel() for g in np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21)))
    seen = np.isfinite(gaps[:, 0])
    design = np.column_stack([np.ones(len(p)), p, q])[seen]
    slopes = np.linalg.lstsq(design, gaps[seen], rcond=None)[0][1:]
    assert abs(np.trace(slopes)) / 2 < 2e-4


def test_a_start_that_is_5_arcsec_wrong_is_found(field):
    frames, exposures, _ = field(4, 60, 5, wrong=np.array([4.0, -3.0]))
    said = []
    found = align_exposures(frames, lambda event, **facts: said.append((event, facts)))
    assert relative_rms(misplacements(frames, exposures, found.geometries)).max() < 2e-3
    assert any(event == "shifted" and facts["file"] == "S0001.fits" for event, facts in said)
    # One wrong header must not drag the others' pointing along.
    gaps = np.concatenate(misplacements(frames, exposures, found.geometries))
    ra, dec = (np.array([value]) for value in found.geometries[0].tangent)
    moved = np.concatenate(sky_to_plane(ra, dec, (200.0, -30.0)))
    assert np.hypot(*(np.nanmedian(gaps, axis=0) + moved)) < 0.4


@pytest.mark.parametrize("seed", range(6))
def test_sparse_fields_align_to_a_tenth_of_a_pixel(field, seed):
    frames, exposures, _ = field(9, 10, 100 + seed)
    found = align_exposures(frames, tell_nobody)
    used = [geometry for geometry in found.geometries if geometry is not None]
    assert len(used) >= 8
    gaps = misplacements(frames, exposures, found.geometries)
    stacked = np.stack([gap for gap in gaps if np.isfinite(gap).any()])
    about = stacked - np.nanmean(stacked, axis=0)
    assert np.nanmax(np.abs(about)) < 0.0197 * 3
    assert np.sqrt(np.nanmean(about**2)) < 0.015


def test_a_missing_array_is_no_hindrance(field):
    frames, _, _ = field(4, 400, 7)
    frames[2] = frames[2].with_(chips=frames[2].chips[1:], sources=frames[2].sources[1:])
    found = align_exposures(frames, tell_nobody)
    assert found.geometries[2] is not None
    assert [region.array for region in found.geometries[2].regions] == [2, 3, 4]
    assert found.geometries[2].rms < 1e-3


def test_an_exposure_of_another_field_is_left_out_and_named(field):
    frames, _, _ = field(4, 200, 9)
    strangers, _, _ = field(1, 200, 77)
    said = []
    found = align_exposures([*frames, strangers[0]], lambda event, **facts: said.append((event, facts)))
    assert found.geometries[4] is None
    assert all(geometry is not None for geometry in found.geometries[:4])
    assert any(event == "refused" and facts["name"] == strangers[0].path.name for event, facts in said)


def test_one_bright_star_on_another_array_each_time(standard):
    """The tutorial's standard: all that exposures share is one star."""
    frames = standard([(21.5, 21.5), (-21.5, 21.5), (-21.5, -21.5), (21.5, -21.5)])
    found = align_exposures(frames, tell_nobody)
    places = []
    for frame, geometry in zip(frames, found.geometries, strict=True):
        assert geometry is not None
        for chip, table in enumerate(frame.sources):
            places += [geometry.evaluate(table["x"], table["y"], chip)] if len(table) else []
    spread = np.ptp(np.array(places)[:, :, 0], axis=0)
    assert len(places) == 4
    assert spread.max() < 0.002


def test_a_wild_distortion_is_not_believed():
    parameters = np.zeros(2 + 4 + 24 + 8)
    assert not departure(parameters, FIELD)
    parameters[6] = 0.2
    assert departure(parameters, FIELD)["reason"] == "departs"
    parameters[6], parameters[2] = 0.0, 0.1
    assert departure(parameters, FIELD)["reason"] == "departs_in_rotation"
    parameters[2], parameters[4] = 0.0, 0.06
    assert departure(parameters, FIELD)["reason"] == "departs_in_shear"


def test_departure_counts_only_what_shift_and_rotation_leave():
    rng = np.random.default_rng(0)
    xs, ys = rng.uniform(-48, 36, (2, 50))
    moves = displacements(xs, ys, np.zeros(50, int), FIELD)
    parameters = np.zeros(moves.shape[2])
    parameters[:3] = 1.0, -2.0, 0.01
    assert least_departure(moves @ parameters, moves[:, :, :3]) < 1e-9


def test_parameters_and_coefficients_say_the_same():
    rng = np.random.default_rng(0)
    xs, ys, array = rng.uniform(-48, 36, 40), rng.uniform(-48, 36, 40), rng.integers(0, 4, 40)
    moves = displacements(xs, ys, array, FIELD)
    parameters = rng.standard_normal(moves.shape[2])
    coefficients, shifts = to_coefficients(parameters, 4)
    terms = FIELD.basis(xs, ys, DEGREE)
    again = terms @ coefficients.T + shifts[:, array].T
    assert np.allclose(moves @ parameters, again)
