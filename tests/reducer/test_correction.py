"""Frames whose pixels are made when read: the same by rows as whole, read or saved, with earlier glows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from raw_exposure import SIDE, expose, primary_header, write_raw

from reducer import dq
from reducer.fitsio import open_frame, read_chip
from reducer.frame import Context, FrameRef
from reducer.headers.descriptors import describe
from reducer.masks import EMPTY
from reducer.run import run_recipe
from reducer.steps.correct import correctDetector
from reducer.steps.prepare import prepare
from reducer.types import Header

STAR = (slice(50, 60), slice(70, 80))
CHOICES = {"flatCorrect": {"do_flat": False}}


def take(folder: Path, name: str, electrons: np.ndarray, minutes: float) -> Path:
    folder.mkdir(exist_ok=True)
    images = {array: expose(electrons, array, np.random.default_rng(array)) for array in (1, 2, 3, 4)}
    return write_raw(folder / name, primary_header(minutes), images)


def two_exposures(folder: Path, afterglow: float, minutes: float = 2.0) -> list[FrameRef]:
    """A star that saturates, and some minutes later what is left of it."""
    sky = np.full((SIDE, SIDE), 3000.0)
    bright, after = sky.copy(), sky.copy()
    bright[STAR] = 1e6
    after[STAR] += afterglow
    paths = [
        take(folder, "S20170505S0001.fits", bright, minutes=0.0),
        take(folder, "S20170505S0002.fits", after, minutes=minutes),
    ]
    return [open_frame(path) for path in paths]


def headers_of(frame: FrameRef) -> tuple[Header, tuple[Header, ...]]:
    return frame.header, frame.chips


def lazily(frames: list[FrameRef], folder: Path) -> list[FrameRef]:
    made: list[FrameRef] = []

    def remember(given: list[FrameRef], context: Context) -> list[FrameRef]:
        made.extend(given)
        return given

    run_recipe((prepare, correctDetector, remember), frames, Context(folder=folder, parameters=CHOICES))
    return made


def test_rows_are_those_of_the_whole_and_of_the_file(tmp_path: Path) -> None:
    frames = two_exposures(tmp_path, afterglow=500.0)
    frame = lazily(frames, tmp_path / "made")[1]
    assert frame.source is not None
    whole, rows = read_chip(frame, 2), read_chip(frame, 2, slice(48, 64))
    saved = read_chip(open_frame(tmp_path / "made" / frame.path.name), 2)
    measured = (whole.mask & EMPTY) == 0
    for name in ("data", "variance", "mask"):
        assert np.array_equal(getattr(whole, name)[48:64], getattr(rows, name))
        assert np.array_equal(getattr(whole, name)[measured], getattr(saved, name)[measured])


def test_gain_read_noise_and_levels_of_a_product_are_those_of_its_electrons(tmp_path: Path) -> None:
    """Headers of raw frames hold the read noise of one coadd; DRAGONS takes a prepared one's as it stands."""
    path = take(tmp_path, "S20170505S0001.fits", np.full((SIDE, SIDE), 3000.0), minutes=0.0)
    with fits.open(path, mode="update") as file:
        file[0].header["COADDS"] = 4
        for unit, noise in zip(file[1:], (26.53, 19.10, 27.24, 32.26), strict=True):
            unit.header["RDNOISE"], unit.header["GAIN"] = noise, 2.4
    raw = describe(*headers_of(open_frame(path)))
    made = describe(*headers_of(lazily([open_frame(path)], tmp_path / "made")[0]))
    assert made.gain == [1.0] * 4
    assert made.read_noise == pytest.approx([13.265, 9.55, 13.62, 16.13], abs=0.006)
    assert made.read_noise == pytest.approx(raw.read_noise, abs=0.006)
    for array, (electrons, counts) in enumerate(
        zip(made.saturation_level, raw.saturation_level, strict=True)
    ):
        assert 0.99 < electrons / (counts * raw.gain[array]) < 1.2, "the correction adds a tenth"
    for low, high in zip(made.non_linear_level, made.saturation_level, strict=True):
        assert 40_000 < low < high


def test_an_afterglow_is_flagged_and_nothing_where_there_is_none(tmp_path: Path) -> None:
    glowing = read_chip(lazily(two_exposures(tmp_path / "a", 500.0), tmp_path / "b")[1], 0).mask
    clean = read_chip(lazily(two_exposures(tmp_path / "c", 0.0), tmp_path / "d")[1], 0).mask
    assert np.all(glowing[STAR] & dq.BAD)
    assert not np.any(clean[STAR] & dq.BAD)
    glowing[STAR] = clean[STAR]
    assert np.array_equal(glowing, clean)


def test_light_before_a_star_saturated_is_no_afterglow(tmp_path: Path) -> None:
    frames = two_exposures(tmp_path / "a", 500.0, minutes=-2.0)
    assert not np.any(read_chip(lazily(frames, tmp_path / "b")[1], 0).mask[STAR] & dq.BAD)
