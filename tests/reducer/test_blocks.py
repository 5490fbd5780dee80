"""What masks of objects are made with agrees with plain ways to compute it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from reducer import combine, dq
from reducer.combine import clipped_mean, combine_rows, median_of
from reducer.fitsio import Disk, open_frame, write_frame
from reducer.frame import Chip
from reducer.sky.objects import (
    Blocks,
    bin_array,
    block_means,
    free_means,
    hide,
    median_around,
    pack_mask,
    read_blocks,
    unpack_bits,
    unpack_mask,
    unpack_rows,
    within,
    write_blocks,
)
from reducer.types import F32, U16


@pytest.mark.parametrize("density", [1e-4, 0.01, 0.4])
def test_objects_grow_as_far_as_each_of_them_reaches(density: float) -> None:
    rng = np.random.default_rng(5)
    found = rng.random((120, 150)) < density
    found[60, 70] = True
    labels, number = ndimage.label(found)
    reach = rng.uniform(1.0, 20.0, number + 1).astype(np.float32)
    plain = np.zeros(found.shape, bool)
    for label in range(1, min(number, 60) + 1):
        plain |= ndimage.distance_transform_edt(labels != label) <= reach[label]
    assert np.array_equal(within(np.where(labels <= 60, labels, 0).astype(np.int32), reach), plain)


@pytest.mark.parametrize("shape", [(16, 24), (19, 30)])
def test_means_of_blocks_are_those_of_their_usable_pixels(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    data = rng.normal(3000.0, 50.0, shape).astype(np.float32)
    mask = (rng.random(shape) < 0.3).astype(np.uint16)
    mask[:4, :4] = 1
    means, counts = block_means(data, mask)
    known = np.where(mask == 0, data, np.nan)[:16, : shape[1] // 4 * 4].reshape(4, 4, -1, 4)
    assert np.array_equal(counts, np.isfinite(known).sum(axis=(1, 3)))
    known[0, :, 0, :] = 0.0
    assert means == pytest.approx(np.nanmean(known, axis=(1, 3)), rel=1e-6)


@pytest.mark.parametrize("size", [1, 3, 9])
def test_means_of_what_is_free_go_on_beyond_the_edges(size: int) -> None:
    rng = np.random.default_rng(6)
    image = rng.normal(3000.0, 50.0, (40, 57)).astype(np.float32)
    free = rng.random(image.shape) < 0.6
    means, weights = free_means(image, free, size)
    part = ndimage.uniform_filter(free.astype(float), size, mode="nearest")
    light = ndimage.uniform_filter(np.where(free, image, 0.0).astype(float), size, mode="nearest")
    assert weights == pytest.approx(part, abs=1e-6)
    seen = part > 0.5 / size**2
    assert means[seen & free] == pytest.approx((light / np.maximum(part, 1e-9))[seen & free], rel=3e-7)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_median_in_less_time_is_the_median(size: int) -> None:
    values = np.random.default_rng(size).normal(size=size).astype(np.float32)
    assert median_of(values) == pytest.approx(float(np.median(values)), rel=1e-6)


def test_the_median_around_a_cell_is_that_of_a_filter() -> None:
    cells = np.random.default_rng(9).normal(size=(11, 8)).astype(np.float32)
    assert np.array_equal(median_around(cells), ndimage.median_filter(cells, 5, mode="nearest"))


@pytest.mark.parametrize("height", [512, 1030])
def test_an_array_in_blocks_is_the_same_by_rows_as_whole(tmp_path: Path, height: int) -> None:
    rng = np.random.default_rng(height)
    data = rng.normal(3000.0, 50.0, (height, 66)).astype(np.float32)
    mask = (rng.random(data.shape) < 0.2).astype(np.uint16)
    header = fits.Header({"EXTVER": 2, "NAXIS1": 66, "NAXIS2": height})
    chip = Chip(data, np.full(data.shape, 90.0, np.float32), mask, header)
    primary = fits.Header({"INSTRUME": "GSAOI"})
    frame = open_frame(write_frame(tmp_path / "a.fits", primary, [chip], lasting=False))
    blocks = bin_array(Disk(), frame, 0, variance=True)
    means, counts = block_means(data, mask)
    assert np.array_equal(blocks.means, means)
    assert np.array_equal(blocks.counts, counts)
    assert blocks.variance[counts > 0] == pytest.approx(90.0 / counts[counts > 0], rel=1e-6)
    stored = write_blocks(Disk(), tmp_path / "b.fits", frame, {2: blocks})
    part = read_blocks(Disk(), stored, 2, slice(8, 20))
    assert np.array_equal(part.means, means[8:20])
    assert np.array_equal(part.counts, counts[8:20])


def test_a_block_is_known_where_frame_and_pattern_are() -> None:
    ones = np.ones((1, 3), np.float32)
    frame = Blocks(5 * ones, ones, np.array([[16, 12, 0]], np.uint16))
    left = frame.less(Blocks(2 * ones, ones, np.array([[16, 0, 16]], np.uint16)))
    assert np.array_equal(left.counts, [[16, 0, 0]])
    assert np.all(left.means == 3)


def test_objects_are_hidden_by_rows_as_they_were_packed() -> None:
    objects = np.random.default_rng(3).random((9, 13)) < 0.3
    packed = pack_mask(objects)
    assert np.array_equal(unpack_mask(packed), objects)
    mask = np.ones((14, 55), np.uint16)  # two rows and three columns beyond the last whole blocks
    hide(unpack_rows(unpack_bits(packed), 13, slice(6, 9)), mask)
    hidden = np.zeros(mask.shape, bool)
    hidden[:12, :52] = np.kron(objects[6:9], np.ones((4, 4), bool))
    assert np.array_equal(mask, np.where(hidden, 1 | dq.NO_DATA, 1))


def test_a_mean_by_rows_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    data = rng.normal(100.0, 10.0, (6, 30, 17)).astype(np.float32)
    data[2, 4, 5] = 1e5
    noise = np.full(data.shape, 100.0, np.float32)
    masks = (rng.random(data.shape) < 0.3).astype(np.uint16)

    def fill(place: int, rows: slice, values: F32, variance: F32, mask: U16) -> None:
        values[:], variance[:], mask[:] = data[place, rows], noise[place, rows], masks[place, rows]

    whole = clipped_mean(data, noise, masks, dq.BAD)
    for pixels in (1, 1000, 1_000_000):
        monkeypatch.setattr(combine, "PIXELS_AT_ONCE", pixels)
        for part, expected in zip(combine_rows((30, 17), 6, fill, dq.BAD), whole, strict=True):
            assert np.array_equal(part, expected)


@pytest.mark.parametrize("noise", [0.1, 10.0])
def test_an_outlier_goes_whatever_the_unit(noise: float) -> None:
    """Flats have variances far below 1, darks far above."""
    data = np.random.default_rng(3).normal(0.0, noise, (6, 20, 20)).astype(np.float32)
    data[2, 5, 5] += 50 * noise
    variance, masks = np.full(data.shape, noise**2, np.float32), np.zeros(data.shape, np.uint16)
    mean, _, used = clipped_mean(data, variance, masks, dq.BAD)
    assert used[5, 5] == 5 and abs(mean[5, 5]) < 3 * noise


@pytest.mark.parametrize("frames", [4, 7, 20])
def test_beside_an_outlier_the_other_values_stay_and_scatter_as_they_say(frames: int) -> None:
    """One ray a pixel goes, and hardly any good value with it."""
    rng = np.random.default_rng(frames)
    data = rng.normal(0.0, 10.0, (frames, 80, 80)).astype(np.float32)
    data[1] += 5000.0
    noise, masks = np.full(data.shape, 100.0, np.float32), np.zeros(data.shape, np.uint16)
    mean, variance, used = clipped_mean(data, noise, masks, dq.BAD)
    assert used.max() == frames - 1 and used.mean() > 0.97 * (frames - 1)
    assert np.var(mean) / np.mean(variance) == pytest.approx(1.0, abs=0.06)
