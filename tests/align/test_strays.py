"""Exposures of another field under the same headers: the largest group that agrees is aligned, the others are
left out by name; and nothing is taken for a stray that cannot be told."""

from pathlib import Path

import numpy as np
import pytest
from told import warnings_of

from reducer.align.global_fit import align_exposures
from reducer.align.identify import StarList, is_beyond_chance, pair_up
from reducer.frame import tell_nobody
from reducer.sources import SOURCE


def stray(field, stars, seed, name):
    """An exposure of another field, whose header says that it is the same."""
    frames, _, _ = field(1, stars, seed, step=0.0)
    return frames[0].with_(path=Path(name))


def align(frames):
    told = []
    found = align_exposures(frames, lambda event, **facts: told.append((event, facts)))
    out = [facts["name"] for event, facts in told if event == "refused"]
    return found, out, warnings_of(told)


def test_a_star_has_one_counterpart_and_that_is_the_nearest():
    u, v = np.array([0.0, 0.05, 3.0]), np.zeros(3)
    stars = StarList(np.array([0.01, 7.0]), np.zeros(2), np.zeros(2))
    assert pair_up(u, v, stars, 0.2).tolist() == [0, -1, -1]


@pytest.mark.parametrize(
    ("pairs", "expected", "sure"), [(2, 1e-9, True), (5, 3.0, False), (9, 0.2, True), (1, 0.0, False)]
)
def test_pairs_that_chance_brings_prove_nothing(pairs, expected, sure):
    """Five pairs where chance brings three at any place are none; nor is one alone ever."""
    assert is_beyond_chance(pairs, expected, 1.0, 0.2) is sure


@pytest.mark.parametrize("stars", [60, 250, 4000])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_of_five_shows_another_field(field, stars, place):
    """Richer or poorer in stars, first or last: it used to take the others' place."""
    frames, _, _ = field(5, 250, 401)
    frames[place] = stray(field, stars, 402, "odd.fits")
    found, out, _ = align(frames)
    assert out == ["odd.fits"] and found.reasons[place]["reason"] == "other_field"
    good = [geometry for n, geometry in enumerate(found.geometries) if n != place]
    assert all(geometry.model == "full" and geometry.rms < 1e-3 for geometry in good)


@pytest.mark.parametrize("same", [True, False])
def test_three_of_seven_show_other_fields(field, same):
    frames, _, _ = field(7, 250, 403)
    seeds = (404, 404, 404) if same else (404, 405, 406)
    for place, seed in zip((0, 3, 5), seeds, strict=True):
        frames[place] = stray(field, 1500, seed, f"odd{place}.fits")
    found, out, _ = align(frames)
    assert out == ["odd0.fits", "odd3.fits", "odd5.fits"]
    assert [geometry is None for geometry in found.geometries] == [n in (0, 3, 5) for n in range(7)]


def test_of_two_exposures_of_different_fields_the_first_is_kept_and_the_doubt_said(field):
    frames, _, _ = field(2, 250, 407)
    frames[1] = stray(field, 4000, 408, "odd.fits")
    found, out, _ = align(frames)
    assert out == ["odd.fits"] and found.reasons[1] == {"reason": "unlike", "files": ["S0000.fits"]}
    assert found.geometries[0] is not None


def test_two_against_two_is_said(field):
    frames, _, _ = field(2, 250, 409)
    others, _, _ = field(2, 900, 410)
    others = [frame.with_(path=Path(f"other{n}.fits")) for n, frame in enumerate(others)]
    found, out, _ = align([*frames, *others])
    assert out == ["other0.fits", "other1.fits"]
    assert all(reason["reason"] == "other_field_of_two" for reason in found.reasons[2:])


def test_a_rich_stray_among_exposures_without_stars(field):
    """The others share nothing and stay where their headers say; the stray does not join them."""
    frames, _, _ = field(4, 250, 411)
    empty = [frame.with_(sources=tuple(np.zeros(0, SOURCE) for _ in frame.chips)) for frame in frames]
    empty[0] = stray(field, 1500, 412, "odd.fits")
    found, out, warnings = align(empty)
    assert out == ["odd.fits"]
    assert all(geometry.model == "header offsets" for geometry in found.geometries[1:])
    assert "by_headers" in warnings


@pytest.mark.parametrize("seed", range(8))
def test_twenty_common_stars_are_enough_to_stay(field, seed):
    """Good exposures are not lost: not with half of their sources unshared, nor with few in common."""
    frames, _, _ = field(5, 40, 420 + seed)
    rng = np.random.default_rng([7, seed])
    for frame in frames:
        for table in frame.sources:
            junk = rng.random(len(table)) < 0.3
            table["x"][junk] = rng.uniform(20, 2027, junk.sum())
    found = align_exposures(frames, tell_nobody)
    assert not any(found.reasons)
    assert all(geometry.matches >= 10 for geometry in found.geometries)


def test_an_exposure_through_a_cloud_is_no_stray(field):
    """Two magnitudes fainter, with an eighth of the sources: magnitudes need not agree where places do."""
    frames, _, _ = field(4, 400, 431)
    for table in frames[2].sources:
        table["flux"] /= 6.3
    frames[2] = frames[2].with_(
        sources=tuple(table[table["flux"][:, 0] > 700] for table in frames[2].sources)
    )
    found, out, _ = align(frames)
    assert out == []
    assert found.geometries[2].rms < 1e-3
