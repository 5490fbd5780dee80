"""Absolute positions from a table of stars: what few stars carry, and what their proper motions do."""

from pathlib import Path

import numpy as np
import pytest

from reducer.align.absolute import determineAstrometricSolution, fit_tie, tie_priors
from reducer.align.adjust import adjustWCSToReference
from reducer.align.references import read_references
from reducer.align.sky import plane_to_sky
from reducer.errors import BadFile
from reducer.frame import Context


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
    free = [int((tie_priors(count, 0.005) > 1e-6).sum()) for count in (1, 2, 3, 5, 18, 60)]
    assert free[:4] == [2, 2, 3, 4]
    assert free[4] == 6
    assert free[5] > 6
    assert (tie_priors(500, 0.1) > 1e-6).sum() == 3


def test_a_wrong_star_does_not_pull():
    rng = np.random.default_rng(4)
    u, v = rng.uniform(-40, 40, (2, 12))
    gap = np.tile([0.1, -0.2], (12, 1)) + 0.002 * rng.standard_normal((12, 2))
    gap[3] += 0.15
    tie = fit_tie(u, v, gap, np.full(12, 0.005))
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
