"""A flat and a mask of the user's own for a step, by its parameters and in a run's plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from frames_on_paper import planned, tutorial
from raw_exposure import SIDE, array_header, expose, primary_header, write_raw
from told import in_words

from calstore.associate import PROCESSED_FLAT
from goafetch.errors import UsageError
from goafetch.pipeline.run import make_request
from goafetch.plan.sort import Wanted
from reducer import dq
from reducer.errors import BadParameter
from reducer.fitsio import open_frame, read_chip, read_table, write_frame
from reducer.frame import Chip, Context, FrameRef, tell_nobody
from reducer.run import run_recipe
from reducer.steps.correct import correctDetector
from reducer.steps.prepare import prepare

ARRAYS = (1, 2, 3, 4)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    sky = np.full((SIDE, SIDE), 3000.0)
    counts = {array: expose(sky, array, np.random.default_rng(array)) for array in ARRAYS}
    return write_raw(tmp_path / "S20170505S0001.fits", primary_header(), counts)


def header_of(array: int, primary: fits.Header) -> fits.Header:
    """The header of one array's SCI extension of a product."""
    header = array_header(array, primary)
    header["NAXIS"], header["NAXIS1"], header["NAXIS2"], header["EXTVER"] = 2, SIDE, SIDE, array
    return header


def flat_of(path: Path, response: float, filter_name: str = "Kshort_G1105") -> Path:
    """A flat of one response everywhere."""
    header = primary_header(FILTER1=filter_name, OBJECT="Domeflat", GIFLAT="t")
    data, mask = np.full((SIDE, SIDE), response, np.float32), np.zeros((SIDE, SIDE), np.uint16)
    chips = [Chip(data, np.full_like(data, 1e-6), mask, header_of(n, header)) for n in ARRAYS]
    return write_frame(path, header, chips)


def mask_of(path: Path, row: int, column: int) -> Path:
    """A static mask of one bad pixel in each array."""
    bad = np.zeros((SIDE, SIDE), np.uint16)
    bad[row, column] = 1
    header = primary_header(OBSTYPE="BPM")
    units = [fits.ImageHDU(bad, array_header(n, header, SIDE), name="DQ", ver=n) for n in ARRAYS]
    fits.HDUList([fits.PrimaryHDU(header=header), *units]).writeto(path)
    return path


def corrected(
    raw: Path, folder: Path, notify: Callable[..., None] = tell_nobody, **given: Any
) -> tuple[Chip, FrameRef]:
    """The first array of an exposure after the detector's steps, and its frame."""
    folder.mkdir()
    asked = {"addDQ": {"latency": False}, **given.pop("parameters", {})}
    context = Context(folder, asked, notify=notify, **given)
    (made,) = run_recipe((prepare, correctDetector), [open_frame(raw)], context)
    return read_chip(made, 0), made


def test_a_flat_that_is_named_takes_the_place_of_the_one_that_fits(raw: Path, tmp_path: Path) -> None:
    usual, own = (flat_of(tmp_path / f"{name}_flat.fits", level) for name, level in (("a", 1.0), ("b", 0.8)))
    plain, _ = corrected(raw, tmp_path / "1", flat=usual)
    chip, frame = corrected(raw, tmp_path / "2", flat=usual, parameters={"flatCorrect": {"flat": str(own)}})
    assert np.median(chip.data) == pytest.approx(np.median(plain.data) / 0.8, rel=1e-5)
    assert frame.header["FLATIM"] == "b_flat.fits"
    used = read_table(frame.path, "PROVENANCE")
    assert used is not None
    names = used["filename"][used["provenance_added_by"] == "calibration"]
    assert list(names) == ["b_flat.fits"]


def test_a_flat_of_another_filter_is_warned_of(raw: Path, tmp_path: Path) -> None:
    told: list[str] = []
    other = flat_of(tmp_path / "h_flat.fits", 1.0, "H_G1104")
    parameters = {"flatCorrect": {"flat": str(other)}}
    corrected(raw, tmp_path / "1", lambda *f, **k: told.append(in_words(*f, **k)), parameters=parameters)
    assert "warning h_flat.fits is a flat of H, these exposures are of Kshort: used as asked" in told


def test_a_mask_that_is_named_adds_to_the_static_one(raw: Path, tmp_path: Path) -> None:
    static, own = mask_of(tmp_path / "static_bpm.fits", 5, 6), mask_of(tmp_path / "my_bpm.fits", 20, 30)
    parameters = {"flatCorrect": {"do_flat": False}, "addDQ": {"latency": False, "user_bpm": str(own)}}
    chip, frame = corrected(raw, tmp_path / "1", bpm=static, parameters=parameters)
    assert chip.mask[5, 6] & dq.BAD and chip.mask[20, 30] & dq.BAD
    assert np.count_nonzero(chip.mask[4:-4, 4:-4] & dq.BAD) == 2
    assert (frame.header["BPMIM"], frame.header["USERBPM"]) == ("static_bpm.fits", "my_bpm.fits")


def test_a_run_with_a_flat_of_its_own_needs_no_lamps() -> None:
    frames = [(path, facts) for path, facts in tutorial() if "FLAT" not in facts.tags]
    assert planned(frames).visits == ()
    plan = planned(frames, Wanted(given={PROCESSED_FLAT: Path("/my/own_flat.fits")}))
    assert {visit.flat for visit in plan.visits} == {Path("/my/own_flat.fits")} and len(plan.visits) == 2
    assert planned(frames, Wanted(without=frozenset({PROCESSED_FLAT}))).visits[0].flat is None


def test_files_that_are_named_are_looked_for_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "own.fits").touch()
    for name in ("flatCorrect:flat", "addDQ:user_bpm", "darkCorrect:dark", "skyCorrect:sky"):
        make_request(tmp_path, parameters=[f"{name}={tmp_path / 'own.fits'}"]).check()
        with pytest.raises(UsageError, match=r"there is no file nothing\.fits"):
            make_request(tmp_path, parameters=[f"{name}=nothing.fits"]).check()
    wanted = make_request(tmp_path, parameters=["flatCorrect:flat=own.fits"]).wanted
    assert dict(wanted.given) == {PROCESSED_FLAT: Path("own.fits").absolute()}
    assert make_request(tmp_path, parameters=["flatCorrect:do_flat=False"]).wanted.without == {PROCESSED_FLAT}


@pytest.mark.parametrize(("step", "name"), [("flatCorrect", "flat"), ("addDQ", "user_bpm")])
def test_what_is_no_flat_or_mask_or_another_instruments_is_refused(
    raw: Path, tmp_path: Path, step: str, name: str
) -> None:
    """A raw exposure divided each pixel by thousands, and nothing was said."""
    other = tmp_path / "other.fits"
    with fits.open(raw) as file:
        file[0].header["INSTRUME"] = "F2"
        for key in ("ARRAYID", "DETSEC"):
            del file[1].header[key]
        fits.HDUList(file[:2]).writeto(other)
    for number, (path, why) in enumerate(((raw, "is not tagged"), (other, "is from F2"))):
        parameters = {"flatCorrect": {"do_flat": True}, step: {name: str(path)}}
        with pytest.raises(BadParameter, match=why):
            corrected(
                raw,
                tmp_path / str(number),
                flat=flat_of(tmp_path / f"{number}_flat.fits", 1.0),
                parameters=parameters,
            )
