"""Frames whose pixels are made when read: the same by rows as whole, read or saved, with earlier glows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from raw_exposure import SIDE, expose, primary_header, write_raw

from reducer import dq
from reducer.fitsio import open_frame, read_chip
from reducer.frame import Context, FrameRef
from reducer.run import run_recipe
from reducer.steps.correct import correctDetector
from reducer.steps.prepare import prepare

STAR = (slice(50, 60), slice(70, 80))
CHOICES = {"flatCorrect": {"do_flat": False}}


def take(folder: Path, name: str, electrons: np.ndarray, minutes: float) -> Path:
    folder.mkdir(exist_ok=True)
    images = {array: expose(electrons, array, np.random.default_rng(array)) for array in (1, 2, 3, 4)}
    return write_raw(folder / name, primary_header(minutes), images)


def two_exposures(folder: Path, afterglow: float) -> list[FrameRef]:
    """A star that saturates, and a minute later what is left of it."""
    sky = np.full((SIDE, SIDE), 3000.0)
    bright, after = sky.copy(), sky.copy()
    bright[STAR] = 1e6
    after[STAR] += afterglow
    paths = [
        take(folder, "S20170505S0001.fits", bright, minutes=0.0),
        take(folder, "S20170505S0002.fits", after, minutes=2.0),
    ]
    return [open_frame(path) for path in paths]


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
    for name in ("data", "variance", "mask"):
        assert np.array_equal(getattr(whole, name)[48:64], getattr(rows, name))
        assert np.array_equal(getattr(whole, name), getattr(saved, name))


def test_an_afterglow_is_flagged_and_nothing_where_there_is_none(tmp_path: Path) -> None:
    glowing = read_chip(lazily(two_exposures(tmp_path / "a", 500.0), tmp_path / "b")[1], 0).mask
    clean = read_chip(lazily(two_exposures(tmp_path / "c", 0.0), tmp_path / "d")[1], 0).mask
    assert np.all(glowing[STAR] & dq.BAD)
    assert not np.any(clean[STAR] & dq.BAD)
    glowing[STAR] = clean[STAR]
    assert np.array_equal(glowing, clean)
