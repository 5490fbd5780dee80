"""Absolute positions from a table of stars: what few stars carry, and what their proper motions do."""

from pathlib import Path

import numpy as np
import pytest
from told import warnings_of

from reducer.align.catalogue_fit import fit_tie, tie_priors
from reducer.align.wcs import nominal_geometry
from reducer.astrometry import plane_to_sky
from reducer.errors import BadFile
from reducer.frame import Context
from reducer.instruments import KNOWN
from reducer.references import read_references
from reducer.steps.alignment import adjustWCSToReference, determineAstrometricSolution
from tests.align.test_fields import turned, turning

FIELD = KNOWN["GSAOI"].field


def write(path, ra, dec, extra=""):
    lines = ["RA,Dec" + (",pmra,pmdec,ref_epoch" if extra else "")]
    lines += [f"{a:.9f},{d:.9f}{extra}" for a, d in zip(ra, dec, strict=True)]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("count", [10, 80])
def test_the_catalogue_fixes_the_pointing(field, tmp_path, count):
    frames, exposures, sky = field(4, 400, 21, own=0.006)
    bright = np.argsort(-sky[:, 2])[:count]
    rng = np.random.default_rng(3)
    noise = 0.005 * rng.standard_normal((2, count))
    # The field's stars are given about (200, -30).
    ra, dec = plane_to_sky(sky[bright, 0] + noise[0], sky[bright, 1] + noise[1], (200.0, -30.0))
    write(tmp_path / "stars.csv", ra, dec)
    given = {"determineAstrometricSolution": {"catalog": str(tmp_path / "stars.csv")}}
    context = Context(folder=tmp_path, parameters=given)
    tied = determineAstrometricSolution(adjustWCSToReference(frames, context), context)
    geometry = tied[0].geometry
    table = tied[0].sources[0]
    u, v = geometry.evaluate(table["x"], table["y"], 0)
    xs, ys = geometry.static(table["x"], table["y"], 0)
    true_ra, true_dec = plane_to_sky(*exposures[0].to_sky(xs, ys), (200.0, -30.0))
    ra, dec = plane_to_sky(u, v, geometry.tangent)
    gap = np.array([(ra - true_ra) * np.cos(np.radians(-30)), dec - true_dec]) * 3.6e6
    assert np.abs(np.median(gap, axis=1)).max() < 12.0
    assert tied[0].header["ASTRNUM"] > 0.5 * count
    assert np.isfinite(tied[0].header["ASTRRMS"])


def test_few_stars_carry_few_terms():
    free = [int((tie_priors(count, 0.005, FIELD) > 1e-6).sum()) for count in (1, 2, 3, 5, 18, 60)]
    assert free[:4] == [2, 2, 3, 4]
    assert free[4] == 6
    assert free[5] > 6
    assert (tie_priors(500, 0.1, FIELD) > 1e-6).sum() == 3


def test_the_order_says_which_terms_many_stars_may_bend():
    """`determineAstrometricSolution:order` was read by nothing."""
    free = [int((tie_priors(500, 1e-4, FIELD, order) > 1e-6).sum()) for order in (1, 2, 3, 4)]
    assert free == [6, 12, 20, 30]


def test_a_wrong_star_does_not_pull():
    rng = np.random.default_rng(4)
    u, v = rng.uniform(-40, 40, (2, 12))
    gap = np.tile([0.1, -0.2], (12, 1)) + 0.002 * rng.standard_normal((12, 2))
    gap[3] += 0.15
    tie = fit_tie(u, v, gap, np.full(12, 0.005), KNOWN["GSAOI"].field)
    assert tie.parameters[:2] == pytest.approx([0.1, -0.2], abs=0.004)


def test_proper_motion_is_applied(tmp_path):
    write(tmp_path / "g.csv", [200.0], [-60.0], ",100,-50,2016.0")
    found = read_references(tmp_path / "g.csv", 2026.0)
    assert (found.ra[0] - 200.0) * 3600 * 0.5 == pytest.approx(1.0, rel=1e-6)
    assert (found.dec[0] + 60.0) * 3600 == pytest.approx(-0.5, rel=1e-6)


def test_a_table_without_positions_is_refused(tmp_path):
    Path(tmp_path / "n.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadFile, match="columns a, b"):
        read_references(tmp_path / "n.csv", 2020.0)


def centre_error(tied, exposures):
    """Mean over the exposures of mapped minus true position at the field's centre, mas per axis."""
    gaps = []
    for frame, exposure in zip(tied, exposures, strict=True):
        # About the centre lie the arrays' inner corners.
        for chip, (x, y) in enumerate(((30.0, 2017.0), (2017.0, 2017.0), (2017.0, 30.0), (30.0, 30.0))):
            x, y = np.array([x]), np.array([y])
            u, v = frame.geometry.evaluate(x, y, chip)
            ra, dec = plane_to_sky(u, v, frame.geometry.tangent)
            xi, eta = exposure.to_sky(*frame.geometry.static(x, y, chip))
            true_ra, true_dec = plane_to_sky(xi, eta, (200.0, -30.0))
            gaps.append([(ra - true_ra)[0] * np.cos(np.radians(-30)), (dec - true_dec)[0]])
    return np.mean(gaps, axis=0) * 3.6e6


@pytest.mark.prove
def test_ten_stars_of_5_mas_fix_the_centre(field, tmp_path):
    """rms over 20 seeds of the field-centre error at most 1.5 x 5/sqrt(10) mas per axis."""
    errors = []
    for seed in range(20):
        frames, exposures, sky = field(9, 400, [31, seed], own=0.012, pointing=0.3)
        rng = np.random.default_rng([32, seed])
        inside = np.flatnonzero((np.abs(sky[:, :2]) < 38).all(axis=1) & (sky[:, 2] > 2e3))
        chosen = rng.choice(inside, 10, replace=False)
        noise = 0.005 * rng.standard_normal((2, 10))
        ra, dec = plane_to_sky(sky[chosen, 0] + noise[0], sky[chosen, 1] + noise[1], (200.0, -30.0))
        write(tmp_path / "stars.csv", ra, dec)
        given = {"determineAstrometricSolution": {"catalog": str(tmp_path / "stars.csv")}}
        context = Context(folder=tmp_path, parameters=given)
        tied = determineAstrometricSolution(adjustWCSToReference(frames, context), context)
        assert "ASTRCAT" in tied[0].header
        errors.append(centre_error(tied, exposures))
    rms = np.sqrt(np.mean(np.square(errors), axis=0))
    print(f"field centre, rms of 20 seeds: {rms[0]:.2f} {rms[1]:.2f} mas")
    assert rms.max() < 1.5 * 5 / np.sqrt(10)


def left_after_affine(frames, exposures):
    """Rms in mas per axis of the sources' places about the true ones after one affine map for all."""
    places, gaps = [], []
    for frame, exposure in zip(frames, exposures, strict=True):
        for chip, table in enumerate(frame.sources):
            place = np.stack(frame.geometry.evaluate(table["x"], table["y"], chip), axis=1)
            static = frame.geometry.static(table["x"], table["y"], chip)
            places.append(place)
            gaps.append(place - np.stack(exposure.to_sky(*static), axis=1))
    place, gap = np.concatenate(places), np.concatenate(gaps)
    design = np.column_stack([np.ones(len(place)), place])
    return 1e3 * (gap - design @ np.linalg.lstsq(design, gap, rcond=None)[0]).std(axis=0)


def test_a_catalogue_makes_relative_positions_no_worse(field, tmp_path):
    """Errors of 5 mas must not bend what the exposures know of each other to better than one; with stars
    enough for quadratic terms, these bring their own errors and no more."""
    frames, exposures, sky = field(4, 250, 23, own=0.012)
    aligned = adjustWCSToReference(frames, Context(folder=tmp_path))
    before = left_after_affine(aligned, exposures)
    for count in (10, 25, 80):
        chosen = np.argsort(-sky[:, 2])[:count]
        noise = 0.005 * np.random.default_rng(count).standard_normal((2, count))
        ra, dec = plane_to_sky(*(sky[chosen, :2].T + noise), (200.0, -30.0))
        write(tmp_path / "stars.csv", ra, dec)
        given = {"determineAstrometricSolution": {"catalog": str(tmp_path / "stars.csv")}}
        tied = determineAstrometricSolution(aligned, Context(folder=tmp_path, parameters=given))
        assert "ASTRCAT" in tied[0].header
        quadratic = 3 if count == 80 else 0
        limit = np.hypot(1.01 * before, 1.3 * 5.0 * np.sqrt(quadratic / count))
        assert (left_after_affine(tied, exposures) < limit).all()


def tie(frames, tmp_path, ra, dec, extra=""):
    """The frames tied to a catalogue, and the warnings."""
    write(tmp_path / "stars.csv", ra, dec, extra)
    given = {"determineAstrometricSolution": {"catalog": str(tmp_path / "stars.csv")}}
    told = []
    context = Context(tmp_path, given, notify=lambda event, **facts: told.append((event, facts)))
    tied = determineAstrometricSolution(adjustWCSToReference(frames, context), context)
    return tied, warnings_of(told)


def sky_of(sky, dec=-30.0):
    return plane_to_sky(sky[:, 0], sky[:, 1], (200.0, dec))


@pytest.mark.parametrize("degrees", [0.18, 0.7, -1.4])
def test_headers_that_are_all_turned_are_tied_to_a_catalogue_all_the_same(field, tmp_path, degrees):
    """An offset alone brought together the stars about the middle: half of them, with 46 mas."""
    frames, exposures, sky = field(4, 400, 61, own=0.006)
    frames = [turned(frame, turning(degrees)) for frame in frames]
    tied, warnings = tie(frames, tmp_path, *sky_of(sky[np.argsort(-sky[:, 2])[:150]]))
    assert not warnings
    assert tied[0].header["ASTRNUM"] > 90 and tied[0].header["ASTRRMS"] < 2e-3
    assert np.abs(centre_error(tied, exposures)).max() < 1.0
    assert left_after_affine(tied, exposures).max() < 6.0


def test_a_catalogue_of_another_field_is_refused(field, tmp_path):
    frames, _, _ = field(4, 1500, 62)
    _, _, other = field(1, 3000, 63)
    tied, warnings = tie(frames, tmp_path, *sky_of(other))
    assert "ASTRCAT" not in tied[0].header
    assert "catalog_unmatched" in warnings


def test_residuals_far_above_the_catalogues_errors_are_said(field, tmp_path):
    frames, _, sky = field(4, 400, 64)
    ra, dec = sky_of(sky[:150] + np.random.default_rng(1).normal(0, 0.045, (150, 1)) * [1, -1, 0])
    tied, warnings = tie(frames, tmp_path, ra, dec)
    assert "tied_poorly" in warnings
    assert tied[0].header["ASTRRMS"] > 5 * tied[0].header["ASTRERR"]


def test_a_hundred_thousand_stars_without_magnitudes(field, tmp_path):
    """Most lie elsewhere or are too faint to be seen, and nothing tells which."""
    frames, exposures, sky = field(4, 400, 65, own=0.0)
    rng = np.random.default_rng(2)
    others = np.column_stack([rng.uniform(-1800, 1800, (100_000, 2)), np.ones(100_000)])
    faint = np.column_stack([rng.uniform(-60, 60, (6000, 2)), np.ones(6000)])
    everything = rng.permutation(np.concatenate([sky, others, faint]))
    tied, warnings = tie(frames, tmp_path, *sky_of(everything))
    assert not warnings and tied[0].header["ASTRNUM"] > 150
    assert np.abs(centre_error(tied, exposures)).max() < 2.0


def test_a_catalogue_of_a_small_part_of_the_field(field, tmp_path):
    frames, exposures, sky = field(4, 800, 66, own=0.0)
    part = sky[np.hypot(sky[:, 0] - 15, sky[:, 1] + 12) < 8]
    tied, warnings = tie(frames, tmp_path, *sky_of(part))
    assert not warnings and 8 <= tied[0].header["ASTRNUM"] <= len(part)
    assert np.abs(centre_error(tied, exposures)).max() < 5.0


def test_one_star_is_said_to_be_one(field, tmp_path):
    frames, _, _ = field(4, 400, 67)
    frames = [frame.with_(sources=tuple(t[:1] if n == 0 else t[:0] for n, t in enumerate(frame.sources)))
              for frame in frames]  # fmt: skip
    x, y = frames[0].sources[0]["x"], frames[0].sources[0]["y"]
    place = nominal_geometry(frames[0])
    ra, dec = plane_to_sky(*place.evaluate(x, y, 0), place.tangent)
    tied, warnings = tie(frames[:1], tmp_path, ra + 0.3 / 3600, dec)
    assert tied[0].header["ASTRNUM"] == 1
    assert "tied_by_one" in warnings


def test_right_ascension_in_hours_is_seen(field, tmp_path):
    frames, _, sky = field(2, 300, 68)
    ra, dec = sky_of(sky)
    tied, warnings = tie(frames, tmp_path, ra / 15, dec)
    assert "ASTRCAT" not in tied[0].header
    assert "catalog_in_hours" in warnings
