"""The physics of a simulated array: photons, nonlinearity, coadds, noise, saturation, cosmic rays."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from goafetch.practice.exposure.cosmics import draw_hits
from goafetch.practice.exposure.detector import (
    Array,
    Readout,
    channel_offsets,
    draw_poisson,
    invert_nonlinearity,
    make_array,
    read_out,
)
from goafetch.practice.exposure.region import Region, true_region

REGION = Region(400, 700, 400, 400)


@cache
def array(index: int = 0) -> Array:
    return make_array(index, np.random.default_rng([3, index]))


def nothing(coadds: int = 1) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [(np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.float32))] * coadds


def expose(rate: float, readout: Readout, seed: int = 1) -> np.ndarray:
    image = np.full((400, 400), rate, np.float32)
    return read_out(
        array(), REGION, image, readout, nothing(readout.coadds), np.random.default_rng(seed)
    ).astype(float)


def electrons(counts: np.ndarray) -> np.ndarray:
    """Electrons of raw counts, as a perfect reducer would find them."""
    return array().linearise(counts * array().gain)


def without_channels(image: np.ndarray) -> np.ndarray:
    """Each output channel's own level taken out."""
    columns = np.arange(400, 800) < 512
    image = image.copy()
    for part in (columns, ~columns):
        image[:, part] -= image[:, part].mean()
    return image


@pytest.mark.parametrize("level", [10.0, 300.0, 3000.0, 30_000.0, 90_000.0])
def test_photon_transfer(level: float) -> None:
    readout = Readout(10.0, 1, 2, 4)
    found = electrons(expose(level / 10.0, readout))
    noise = array().read_noise["Bright Objects"]
    slope = (array().linearise(level * 1.001) - array().linearise(level)) / (0.001 * level)
    quantised = (0.5 * array().gain) ** 2 / 12.0
    expected = level + (noise**2 + quantised) * slope**2
    assert found.mean() == pytest.approx(level, abs=max(8.0, 0.0005 * level))
    assert without_channels(found).var() == pytest.approx(expected, rel=0.015)


@pytest.mark.parametrize("samples", [2, 8, 16])
def test_read_noise_falls_with_fowler_samples(samples: int) -> None:
    dark = without_channels(expose(0.0, Readout(10.0, 1, samples, 4)) * array().gain)
    names = {2: "Bright Objects", 8: "Faint Objects", 16: "Very Faint Objects"}
    assert dark.std() == pytest.approx(array().read_noise[names[samples]], rel=0.01)


def test_coadds_are_averaged_not_summed() -> None:
    one = electrons(expose(300.0, Readout(10.0, 1, 2, 4)))
    four = electrons(expose(300.0, Readout(10.0, 4, 2, 4)))
    assert four.mean() == pytest.approx(one.mean(), abs=8.0)
    assert without_channels(four).var() * 4 == pytest.approx(without_channels(one).var(), rel=0.03)


def test_nonlinearity_makes_counts_too_low_and_is_inverted_exactly() -> None:
    a0, a1, a2 = array().coefficients
    raw = np.linspace(0.0, 127_000.0, 40)
    true = raw * (a0 + raw * (a1 + raw * a2))
    assert np.allclose([invert_nonlinearity(t, a0, a1, a2) for t in true], raw, atol=1e-3)
    assert true[-1] / raw[-1] == pytest.approx(1.11, abs=0.02)


def test_saturation_caps_each_coadd_near_the_well() -> None:
    counts = expose(30_000.0, Readout(10.0, 1, 2, 4))
    assert np.abs(counts / array().well - 1.0).max() < 0.012
    assert np.median(counts) == pytest.approx(array().well, rel=0.001)


@pytest.mark.parametrize("channels", [4, 32])
def test_channels_are_offset_by_two_electrons_rms(channels: int) -> None:
    offsets = np.array([channel_offsets(np.random.default_rng(s), channels) for s in range(300)])
    assert offsets.std() == pytest.approx(2.0, rel=0.06)
    width = 2048 // channels
    assert (np.ptp(offsets.reshape(300, channels, width), axis=2) == 0).all()


@pytest.mark.parametrize("mean", [0.3, 4.0, 39.0, 41.0, 500.0])
def test_poisson_deviates_have_the_right_moments(mean: float) -> None:
    normal = np.random.default_rng(4).standard_normal(60_000)
    values = np.array([draw_poisson(mean, z) for z in normal])
    assert (values == np.round(values)).all()
    assert values.mean() == pytest.approx(mean, rel=4.0 / math.sqrt(60_000 * mean))
    assert values.var() == pytest.approx(mean, rel=0.025)


def test_hits_are_added_as_recorded() -> None:
    rows, columns, charge = np.array([5, 6]), np.array([10, 11]), np.array([4000.0, 700.0], np.float32)
    image = np.full((400, 400), 10.0, np.float32)
    plain, struck = (
        read_out(array(), REGION, image, Readout(10.0, 1, 2, 4), hits, np.random.default_rng(8)).astype(float)
        for hits in (nothing(), [(rows, columns, charge)])
    )
    difference = electrons(struck) - electrons(plain)
    assert np.allclose(difference[rows, columns], charge, atol=4.0)
    assert np.count_nonzero(np.abs(difference) > 1e-6) == 2


def test_cosmic_rays_come_at_a_mountain_s_rate_and_are_short_tracks() -> None:
    full = Region(0, 0, 2048, 2048)
    drawn = [draw_hits(full, 60.0, np.random.default_rng(s)) for s in range(20)]
    strong = [np.count_nonzero(charge > 325.0) for _, _, charge in drawn]
    assert 60 < np.mean(strong) < 200
    for rows, columns, charge in drawn:
        assert rows.min() >= 0 and columns.max() < 2048 and charge.max() < 2e5


def test_the_arrays_carry_their_known_marks() -> None:
    tree = np.argwhere(array(1).tree)
    assert tree.min(axis=0).tolist() >= [119, 949] and tree.max(axis=0).tolist() <= [699, 1349]
    assert 0.3 < np.median(array(1).response[array(1).tree]) < 0.7
    assert not array(1).listed[array(1).tree].all()
    assert np.median(array(2).dark[:, 1921]) > 5.0 > np.median(array(2).dark[:, 1800])
    assert array(0).response[2030, 2030] < 0.7 and array(0).response[1024, 2030] > 0.85
    edge = np.ones((2048, 2048), bool)
    edge[4:-4, 4:-4] = False
    assert (array(0).response[edge] == 0.0).all()
    bad = (array(0).dark > 20.0) | (array(0).response < 0.3)
    bad[edge] = False
    assert 0.9 < array(0).listed[bad].mean() < 0.99


def test_the_central_region_is_read_one_row_away_from_its_keyword() -> None:
    assert [true_region(1024, i).y0 for i in range(4)] == [513, 513, 511, 511]
    assert [true_region(2048, i).y0 for i in range(4)] == [0, 0, 0, 0]
