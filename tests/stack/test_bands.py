"""Bands of a stack: the memory allowed and the number of tasks change nothing but the memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from reducer import dq
from reducer.astrometry import Inverse
from reducer.errors import BadInput
from reducer.fitsio import Disk, is_whole
from reducer.frame import Chip, FrameRef
from reducer.stack import product
from reducer.stack.coadd import RejectionMethod
from reducer.stack.exposures import Exposure, StarImage
from reducer.stack.levels import Level
from reducer.stack.noise import Sampling
from reducer.stack.parts import Parts, Share, make_share, write_part

SIZE = 200


class Shelf(Disk):
    """Chips in memory that are read as if from a disk; others are on the disk."""

    def __init__(self, chips):
        object.__setattr__(self, "chips", chips)

    def read_chip(self, frame, index, rows=None, variance=True):
        if frame.path.name not in self.chips:
            return Disk.read_chip(frame, index, rows, variance)
        chip = self.chips[frame.path.name]
        return Chip(chip.data[rows].copy(), chip.variance[rows].copy(), chip.mask[rows].copy(), chip.header)


def turned(x0, y0, turn):
    """Chip pixel = output pixel, turned and shifted."""
    tables = np.zeros((2, 7, 7))
    c, s = np.cos(turn) * 250, np.sin(turn) * 250
    tables[0, 0, 0], tables[0, 1, 0], tables[0, 0, 1] = x0 + 120, c, -s
    tables[1, 0, 0], tables[1, 1, 0], tables[1, 0, 1] = y0 + 120, s, c
    return Inverse(120.0, 120.0, 250.0, tables)


@pytest.fixture
def share():
    """All rows of a stack of five noisy exposures with a star, cosmic rays and bad pixels."""
    rng = np.random.default_rng(8)
    header = fits.Header({"NAXIS1": SIZE, "NAXIS2": SIZE, "EXTVER": 1, "INSTRUME": "GSAOI"})
    chips, exposures = {}, []
    gy, gx = np.mgrid[:SIZE, :SIZE]
    for k in range(5):
        data = rng.normal(0, 10, (SIZE, SIZE)) + 5e3 * np.exp(-((gx - 90) ** 2 + (gy - 110) ** 2) / 8)
        data[rng.integers(0, SIZE, 40), rng.integers(0, SIZE, 40)] += 2000
        mask = np.where(rng.random(data.shape) < 0.02, dq.BAD, 0).astype(np.uint16)
        name = f"e{k}.fits"
        chips[name] = Chip(data.astype(np.float32), np.full(data.shape, 100, np.float32), mask, header)
        exposures.append(
            Exposure(FrameRef(Path(name), header, (header,)), (1,), (turned(3.3 * k, -2.7 * k, 0.01 * k),),
                     (Level(0.5 * k, 0.0, 0.001),), 1.0 + 0.01 * k, np.ones(5), 100.0, 60.0,
                     4.0, StarImage(4.0, 0.0, 0.3), (Sampling(1.0), Sampling(1.0)), 1.0)
        )  # fmt: skip
    return Share(Shelf(chips), tuple(exposures), 240, 0, 240, RejectionMethod(), "mean", "keys6", 300_000_000)


def test_memory_changes_no_bit(share):
    whole, small = make_share(share), make_share(replace(share, memory=1_000_000))
    assert (whole.exposure > 0).mean() > 0.5
    for name in ("data", "variance", "mask", "exposure"):
        assert np.array_equal(getattr(whole, name), getattr(small, name)), name


def test_tasks_change_no_bit(share):
    whole = make_share(share)
    parts = [make_share(replace(share, first_row=row, rows=80)) for row in (0, 80, 160)]
    for name in ("data", "variance", "mask", "exposure"):
        assert np.array_equal(getattr(whole, name), np.concatenate([getattr(p, name) for p in parts])), name


def test_too_little_memory_is_refused_with_what_would_do(share):
    with pytest.raises(BadInput, match="5 exposures") as caught:
        make_share(replace(share, memory=100_000))
    needed = int(str(caught.value.needed).split()[0])
    make_share(replace(share, memory=needed * 1_000_000))


def test_a_stack_in_parts_has_every_bit_of_the_whole(share, tmp_path):
    whole, rows = make_share(share), 80
    tasks = [(replace(share, first_row=row, rows=min(rows, 240 - row)), tmp_path / f"{row}.fits")
             for row in range(0, 240, rows)]  # fmt: skip
    paths = tuple(map(write_part, tasks))
    parts = Parts(Disk(), paths, rows, 240, share.width, share.exposures[0].frame.header)
    for name in ("data", "variance", "mask", "exposure"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)[:]), name
    for first, last in ((0, 240), (75, 165), (80, 160), (239, 240)):
        for name, some in zip(("data", "variance", "mask"), parts.some(first, last), strict=True):
            assert np.array_equal(getattr(whole, name)[first:last], some), (name, first, last)


def test_a_product_written_from_parts_holds_every_bit_and_its_checksums(share, tmp_path):
    whole, rows = make_share(share), 80
    tasks = [
        (replace(share, first_row=row, rows=rows), tmp_path / f"{row}.fits") for row in range(0, 240, rows)
    ]
    paths = tuple(map(write_part, tasks))
    frame = share.exposures[0].frame
    parts = Parts(Disk(), paths, rows, 240, share.width, frame.chips[0])
    images = {"EXPTIME": parts.exposure}
    path = Disk().write_frame(tmp_path / "stack.fits", frame.header, [parts], images=images)
    for name, plane in (("SCI", "data"), ("VAR", "variance"), ("DQ", "mask"), ("EXPTIME", "exposure")):
        assert np.array_equal(Disk().read_image(path, name), getattr(whole, plane)), name
    assert is_whole(path)


@pytest.mark.parametrize("fill", [np.nan, 0.0])
def test_a_stack_has_its_fill_exactly_where_nothing_was_exposed(share, tmp_path, fill):
    path = write_part((share, tmp_path / "all.fits"))
    frame = share.exposures[0].frame
    parts = Parts(Disk(), (path,), 240, 240, share.width, frame.chips[0])
    images = {"EXPTIME": parts.exposure}
    made = Disk().write_frame(
        tmp_path / "stack.fits", frame.header, [replace(parts, fill=fill)], images=images
    )
    with fits.open(made) as file:
        gaps = file["EXPTIME"].data == 0
        assert 0 < gaps.mean() < 0.5
        assert np.array_equal(gaps, (file["DQ"].data & dq.NO_DATA) != 0)
        for name, plane in (("SCI", parts.data), ("VAR", parts.variance)):
            assert np.array_equal(
                file[name].data[gaps], np.full(gaps.sum(), fill, np.float32), equal_nan=True
            )
            assert np.isfinite(file[name].data[~gaps]).all()
            assert np.array_equal(file[name].data[~gaps], plane[:][~gaps])


def test_what_a_resampled_exposure_scatters_beyond_its_variance_is_added(share):
    first = share.exposures[0]
    plain, rough = (
        make_share(replace(share, exposures=(replace(first, excess=excess),))) for excess in (1.0, 1.5)
    )
    seen = plain.variance > 0
    assert seen.any() and rough.variance[seen] == pytest.approx(1.5 * plain.variance[seen], rel=1e-5)


def test_exposures_share_the_noise_by_their_weights(share, monkeypatch):
    weights = [np.array([1.0, 0.0]), np.array([0.5, 3.0])]
    some = [replace(share.exposures[n], weights=each) for n, each in enumerate(weights)]
    monkeypatch.setattr(product, "_contribution", lambda exposure, weight, grid, context: weight)
    assert product.contributions(some, None, None) == [0.25, 0.75]


def test_the_map_of_rejected_values_counts_the_rays(share):
    """Each ray as far as it disturbs; nothing of it where nobody asks."""
    counted = make_share(replace(share, counted=True, memory=1_000_000))
    plain = make_share(share)
    assert plain.rejected is None and np.array_equal(plain.data, counted.data)
    rays = 5 * 40 * 36  # as far as the kernel reaches
    assert 0.5 * rays < counted.rejected.sum() < 1.5 * rays
    none = make_share(replace(share, counted=True, rejection=RejectionMethod("none")))
    assert none.rejected.sum() == 0
