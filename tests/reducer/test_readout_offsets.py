"""Channel offsets are found to a fraction of an electron under gradients, stars and a galaxy's light."""

from __future__ import annotations

import numpy as np
import pytest

from reducer import dq
from reducer.instruments import KNOWN
from reducer.keywords import Region
from reducer.sky.field import Band, common_offsets, fit_field, smooth_light
from reducer.sky.readout_offsets import (
    SAMPLE,
    STEP,
    Columns,
    Strips,
    _planes,
    channel_width,
    covered_channels,
    find_width,
    fit_exposure,
    offsets_against,
    strips_of,
)

ARRAYS, FULL = KNOWN["GSAOI"].arrays, Region(0, 2048, 0, 2048)
BLOCKS = 512


def column_means(data: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """As a frame is measured: some of its rows first, then all in two parts."""
    columns = Columns.of(data[::SAMPLE], mask[::SAMPLE])
    columns.add(data[:1000], mask[:1000])
    columns.add(data[1000:], mask[1000:])
    return columns.means()


def offsets_of(rng: np.random.Generator, width: int) -> np.ndarray:
    drawn = np.repeat(2.0 * rng.standard_normal(2048 // width), width)
    return drawn - drawn.mean()


def exposure(rng, width, light=0.0):  # type: ignore[no-untyped-def]
    """Strips of four arrays with sky noise of 60 electrons a pixel and a gradient, and the true offsets."""
    strips, true = {}, {}
    slope_x, slope_y = rng.normal(0, 5, 2)
    corners = {1: (0, -1), 2: (-1, -1), 3: (-1, 0), 4: (0, 0)}
    y, x = (np.mgrid[0:BLOCKS, 0:BLOCKS] + 0.5) / BLOCKS
    for array, (right, up) in corners.items():
        true[array] = offsets_of(rng, width)
        means = 15 * rng.standard_normal((BLOCKS, BLOCKS)) + slope_x * (x + right) + slope_y * (y + up)
        means += light * np.exp(-np.hypot(x - 1.2, y - 1.2) / 0.5) + true[array].reshape(-1, 4).mean(axis=1)
        free = rng.random(means.shape) > 0.2
        strips[array] = strips_of(means.astype(np.float32), free, FULL, ARRAYS[array - 1])
    return strips, true


@pytest.mark.parametrize("width", [64, 512])
def test_a_blank_exposure_gives_its_offsets_and_their_width(width: int) -> None:
    rng = np.random.default_rng(width)
    strips, true = exposure(rng, width)
    assert channel_width([strips]) == width
    found = fit_exposure(strips, width).offsets
    errors = np.concatenate([found[array] - true[array] for array in true])
    assert errors.std() < 0.3
    assert all(abs(found[array].mean()) < 1e-3 for array in found)


def test_the_light_of_the_field_is_not_taken_for_offsets() -> None:
    rng = np.random.default_rng(5)
    made = [exposure(rng, 512, light=1000.0) for _ in range(6)]
    still = [{array: (0.0, 0.0) for array in true} for _, true in made]
    found = fit_field([strips for strips, _ in made], still, 512)
    errors = np.array(
        [
            np.concatenate([offsets[array] - true[array] for array in true])
            for offsets, (_, true) in zip(found, made, strict=True)
        ]
    )
    assert (errors - errors.mean(axis=0)).std() < 0.3
    assert errors.mean(axis=0).std() < 0.8


def test_shared_offsets_show_in_their_steps() -> None:
    rng = np.random.default_rng(6)
    y, x = (np.mgrid[0:BLOCKS, 0:BLOCKS] + 0.5) / BLOCKS
    true = offsets_of(rng, 512) / 2
    means = (
        5 * rng.standard_normal((BLOCKS, BLOCKS)) + 200 * x * x + 100 * y + true.reshape(-1, 4).mean(axis=1)
    )
    light = {1: strips_of(means.astype(np.float32), np.ones(means.shape, bool), FULL, ARRAYS[0])}
    found = common_offsets(light, 512, 4)[1]
    assert (found - true).std() < 0.3


def test_smooth_light_is_what_minimises_misfit_and_bending() -> None:
    rng = np.random.default_rng(7)
    values, kept = rng.standard_normal(30), rng.uniform(0.0, 2.0, 30)
    kept[5:9] = 0.0
    bends = np.diff(np.eye(30), 2, axis=0)
    matrix = np.diag(kept) + 40.0 / 0.5**2 * bends.T @ bends
    light, size = smooth_light(Band(values, kept, kept, 0.5, 40.0), np.column_stack([values, values**2]))
    assert light[:, 0] == pytest.approx(np.linalg.solve(matrix, kept * values))
    assert light[:, 1] == pytest.approx(np.linalg.solve(matrix, kept * values**2))
    assert size == pytest.approx(np.linalg.slogdet(matrix)[1])


def test_covered_channels_are_left_alone() -> None:
    rng = np.random.default_rng(8)
    free = np.ones((BLOCKS, BLOCKS), bool)
    free[:, 128:256] = False
    means = (10 * rng.standard_normal(free.shape)).astype(np.float32)
    means[:, 128:256] += 500
    strips = strips_of(means, free, FULL, ARRAYS[0])
    assert np.abs(fit_exposure({1: strips}, 512).offsets[1]).max() < 1
    assert covered_channels(strips, 512) == 1


def test_a_flat_frame_gives_its_offsets_against_the_others() -> None:
    rng = np.random.default_rng(9)
    pattern = 20000 * (1 + 0.015 * rng.standard_normal((2048, 512)))
    true = np.repeat(2.0 * rng.standard_normal(8), 64)
    true -= true.mean()
    noise = 140 / np.sqrt(8)
    data = (pattern + true + noise * rng.standard_normal(pattern.shape)).astype(np.float32)
    mask = np.zeros(data.shape, np.uint16)
    profile, reference = column_means(data, mask), column_means(pattern.astype(np.float32), mask)
    nothing_usable = column_means(data, mask + np.uint16(dq.BAD))
    assert np.isnan(nothing_usable).all()
    assert find_width(profile - reference) == 64
    assert (offsets_against(profile, reference) - true).std() < 0.5


def test_a_pixel_of_a_region_lies_where_it_does_on_the_whole_array() -> None:
    def across(first: int, last: int) -> np.ndarray:
        cells = np.zeros((4, (last - first) // STEP))
        strips = Strips(cells, np.ones_like(cells), Region(first, last, 0, 2048), ARRAYS[0])
        return _planes({1: strips})[:, 0].reshape(4, -1)[0]

    whole = across(0, 2048)
    assert np.concatenate([across(0, 768), across(768, 2048)]) == pytest.approx(whole, abs=1e-12)
    assert np.all(np.diff(whole) > 0) and whole[-1] - whole[0] == pytest.approx(1 - STEP / 2048)
