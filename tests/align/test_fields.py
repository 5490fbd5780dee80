"""Fields of every kind: crowded, turned, mirrored, visited again, half seen, wrongly pointed."""

import numpy as np
import pytest

from reducer.align.global_fit import align_exposures
from reducer.align.identify import LinkedExposures, StarList
from reducer.frame import tell_nobody
from reducer.instruments import KNOWN

FIELD = KNOWN["GSAOI"].field


def turning(degrees, parity=1.0):
    """From the instrument's (x, y) to (east, north) at a position angle, mirrored for ``parity`` -1."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, s], [-s, c]]) @ np.diag([parity, 1.0])


def turned(frame, matrix, dec=-30.0):
    """The same pixels under a sky that is turned and mirrored about the target; the headers know it."""
    for chip in frame.chips:
        cd = np.array([[chip[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)])
        offset = [(chip["CRVAL1"] - 200.0) * np.cos(np.radians(dec)), chip["CRVAL2"] - dec]
        east, north = matrix @ offset
        chip["CRVAL1"], chip["CRVAL2"] = 200.0 + east / np.cos(np.radians(dec)), dec + north
        for i in (0, 1):
            for j in (0, 1):
                chip[f"CD{i + 1}_{j + 1}"] = (matrix @ cd)[i, j]
    return frame


def disagreement(frames, exposures, geometries, matrices):
    """Rms in mas per axis of the places that exposures give to their sources, about the true ones and what is
    common to all exposures: a cubic map."""
    places, gaps = [], []
    for frame, exposure, geometry, matrix in zip(frames, exposures, geometries, matrices, strict=True):
        for chip, table in enumerate(frame.sources):
            place = np.stack(geometry.evaluate(table["x"], table["y"], chip), axis=1)
            true = np.stack(exposure.to_sky(*geometry.static(table["x"], table["y"], chip)), axis=1)
            places.append(place)
            gaps.append(place - true @ matrix.T)
    place, gap = np.concatenate(places), np.concatenate(gaps)
    design = FIELD.basis(*(place + FIELD.centre).T, 3)
    keep = np.ones(len(gap), bool)
    for _ in range(3):
        left = gap - design @ np.linalg.lstsq(design[keep], gap[keep], rcond=None)[0]
        keep = np.hypot(*left.T) < 5 * np.median(np.hypot(*left.T))
    return 1e3 * np.sqrt(np.mean(left[keep] ** 2))


@pytest.mark.parametrize(("degrees", "parity"), [(30, 1), (90, 1), (180, -1), (270, -1), (0.5, 1)])
def test_position_angles_and_ports(field, degrees, parity):
    frames, exposures, _ = field(4, 250, 40 + int(degrees))
    matrix = turning(degrees, parity)
    frames = [turned(frame, matrix) for frame in frames]
    found = align_exposures(frames, tell_nobody)
    assert all(geometry.model == "full" for geometry in found.geometries)
    assert np.sign(np.linalg.det(found.geometries[0].linear)) == parity
    assert disagreement(frames, exposures, found.geometries, [matrix] * 4) < 0.5


@pytest.mark.parametrize(("degrees", "parity"), [(90, 1), (0, -1)])
def test_one_field_at_two_position_angles_or_ports_is_said(field, degrees, parity):
    frames, _, _ = field(5, 250, 53)
    matrix = turning(degrees, parity)
    frames[3] = turned(frames[3], matrix)
    told = []
    found = align_exposures(frames, lambda kind, **facts: told.append((kind, facts)))
    assert [facts["file"] for kind, facts in told if kind == "oriented_otherwise"] == ["S0003.fits"]
    # The pixels are those of the unturned sky: under the wrong header they are another field's.
    assert found.geometries[3] is None and all(found.geometries[n] is not None for n in (0, 1, 2, 4))


def test_a_field_visited_again(field):
    """Two visits with pointings, rotations and distortions of their own: one solution holds for both."""
    frames, exposures, _ = field(4, 300, 51)
    again, seen, _ = field(4, 300, 51, pointing=0.4, own=0.02)
    found = align_exposures([*frames, *again], tell_nobody)
    assert all(geometry.model == "full" for geometry in found.geometries)
    left = disagreement([*frames, *again], [*exposures, *seen], found.geometries, [np.eye(2)] * 8)
    assert left < 0.5


def test_a_crowded_field_of_ten_thousand(field):
    frames, exposures, _ = field(3, 10_000, 52)
    assert sum(len(table) for table in frames[0].sources) > 6000
    found = align_exposures(frames, tell_nobody)
    assert disagreement(frames, exposures, found.geometries, [np.eye(2)] * 3) < 0.45


def test_groups_of_unlike_size_are_told_apart():
    """They were compared by their lists of stars, of unlike lengths: a standard's stack could not be made."""
    groups = []
    for count in (2, 5):
        stars = StarList(np.zeros(count), np.zeros(count), np.zeros(count))
        groups.append(LinkedExposures(stars, np.ones(count, bool), {count: np.arange(count)}, []))
    groups.remove(groups[1])
    assert len(groups) == 1 and len(groups[0].strong) == 2


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(20))
def test_a_wrong_start_of_five_arcsec_in_any_direction(field, seed):
    angle = 2 * np.pi * seed / 20
    wrong = 4.9 * np.array([np.cos(angle), np.sin(angle)])
    frames, exposures, _ = field(4, 60 + 20 * seed, 200 + seed, wrong=wrong)
    found = align_exposures(frames, tell_nobody)
    assert all(geometry is not None for geometry in found.geometries)
    assert disagreement(frames, exposures, found.geometries, [np.eye(2)] * 4) < 1.0


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(20))
def test_a_missing_array_whichever_it_is(field, seed):
    frames, exposures, _ = field(4, 300, 300 + seed)
    gone = seed % 4
    chips, sources = frames[1].chips, frames[1].sources
    frames[1] = frames[1].with_(
        chips=(*chips[:gone], *chips[gone + 1 :]), sources=(*sources[:gone], *sources[gone + 1 :])
    )
    found = align_exposures(frames, tell_nobody)
    assert all(geometry.model == "full" for geometry in found.geometries)
    assert disagreement(frames, exposures, found.geometries, [np.eye(2)] * 4) < 0.5
