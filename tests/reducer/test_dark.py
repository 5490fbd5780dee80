"""Master darks, and what exposures are once they are subtracted, against a glow of known truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from paper import GLOW, GLOWING, PAPER
from paper_night import EVEN, GAIN, IN_DOME, NOISE, SKY, UNEVEN, take
from told import in_words

from goafetch.api.reduce import Task, reduce_files
from goafetch.errors import UsageError
from reducer import dq, instruments
from reducer.errors import BadInput, MissingCalibration
from reducer.fitsio import open_frame, read_chip
from reducer.frame import Context, FrameRef
from reducer.recipes import makeProcessedDark, makeProcessedFlat, recipes_of
from reducer.run import run_recipe

SECONDS, DARKS = 60.0, 8


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "GLOWING": GLOWING, "PAPER": PAPER})


def expose(folder: Path, number: int, light: np.ndarray, seconds: float = SECONDS, **cards: Any) -> FrameRef:
    cards = {"INSTRUME": "GLOWING", "EXPTIME": seconds} | cards
    return open_frame(take(folder, number, light, GLOW * seconds, **cards))


def darks(folder: Path, first: int = 1, seconds: float = SECONDS) -> list[FrameRef]:
    numbers = range(first, first + DARKS)
    return [expose(folder, n, 0 * EVEN, seconds, OBSTYPE="DARK", OBJECT="Dark") for n in numbers]


def master(folder: Path, frames: Sequence[FrameRef]) -> FrameRef:
    return run_recipe(makeProcessedDark, frames, Context(folder))[0]


def pull(data: np.ndarray, variance: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.asarray((data - truth) / np.sqrt(variance))


def test_a_master_dark_has_the_level_and_the_noise_of_the_truth(tmp_path: Path) -> None:
    made = master(tmp_path, darks(tmp_path))
    assert made.path.name == "P20170505S0001_dark.fits"
    assert {"PROCDARK", "PREPARE", "GEM-TLM"} <= set(made.header) and made.header["NCOMBINE"] == DARKS
    chip = read_chip(made, 0)
    away = pull(chip.data, chip.variance, SECONDS * GLOW)
    assert abs(away.mean()) < 4 / np.sqrt(away.size)
    assert away.std() == pytest.approx(1.0, abs=0.03)
    assert chip.header["BUNIT"] == "electron" and chip.mask[50, 50] == 0


def test_what_deviates_in_one_dark_is_left_out_and_what_all_are_masked_for_is_masked(tmp_path: Path) -> None:
    frames = darks(tmp_path)
    hit = np.zeros_like(EVEN)
    hit[40, 60] = 15000.0
    frames[3] = expose(tmp_path, 31, hit, OBSTYPE="DARK", OBJECT="Dark")
    hot = np.zeros_like(EVEN)
    hot[20, 30] = 80000.0
    chip = read_chip(master(tmp_path, frames), 0)
    assert chip.data[40, 60] == pytest.approx(SECONDS * GLOW[40, 60], abs=30)
    full = [expose(tmp_path, n, hot, OBSTYPE="DARK", OBJECT="Dark") for n in range(41, 44)]
    mask = read_chip(master(tmp_path, full), 0).mask
    assert mask[20, 30] & dq.SATURATED and mask[20, 30] & dq.NO_DATA
    assert not mask[20, 31]
    assert mask[95, 2] & dq.BAD, "the guide window"


def test_darks_of_any_filter_go_together_and_those_of_another_time_do_not(tmp_path: Path) -> None:
    """Darks through another filter than most were refused."""
    frames = darks(tmp_path)
    frames[0] = expose(tmp_path, 51, 0 * EVEN, OBSTYPE="DARK", OBJECT="Dark", FILTER="blank")
    frames[1] = expose(tmp_path, 52, 0 * EVEN, 30.0, OBSTYPE="DARK", OBJECT="Dark")
    told: list[str] = []
    context = Context(tmp_path, notify=lambda event, **facts: told.append(in_words(event, **facts)))
    made = run_recipe(makeProcessedDark, frames, context)[0]
    assert made.header["NCOMBINE"] == DARKS - 1
    assert any("exposure time 30.0 where most have exposure time 60.0" in text for text in told)


def corrected(folder: Path, frames: Sequence[FrameRef], master: Path | None = None, **chosen: Any) -> Any:
    """The frames after darkCorrect, written: the flat is left out."""
    parameters = {"darkCorrect": {"write_outputs": True, **chosen}, "flatCorrect": {"do_flat": False}}
    step = next(s for s in recipes_of(GLOWING)["reduce_nostack"] if s.parts)
    return run_recipe((step,), frames, Context(folder, parameters, dark=master))


def test_an_exposure_without_its_dark_is_the_light_with_the_noise_of_both(tmp_path: Path) -> None:
    dark = master(tmp_path, darks(tmp_path))
    made = corrected(tmp_path, [expose(tmp_path, 21, SKY * EVEN)], dark.path)[0]
    found = open_frame(tmp_path / "P20170505S0021_darkCorrected.fits")
    assert found.header["DARKIM"] == dark.path.name and "DARKCORR" in found.header
    assert made.header["DARKIM"] == dark.path.name
    chip, before = read_chip(found, 0), read_chip(dark, 0)
    away = pull(chip.data, chip.variance, SKY * UNEVEN)
    assert abs(away.mean()) < 4 / np.sqrt(away.size / DARKS)
    assert away.std() == pytest.approx(1.0, abs=0.03)
    alone = np.median(chip.variance - before.variance)
    assert alone == pytest.approx(np.median(SKY * UNEVEN + SECONDS * GLOW) + NOISE**2, rel=0.02)
    assert chip.mask[95, 2] & dq.BAD


def test_what_a_dark_is_masked_for_its_exposures_are_masked_for(tmp_path: Path) -> None:
    hot = np.zeros_like(EVEN)
    hot[20, 30] = 80000.0
    numbers = range(1, 4)
    dark = master(tmp_path, [expose(tmp_path, n, hot, OBSTYPE="DARK", OBJECT="Dark") for n in numbers])
    corrected(tmp_path, [expose(tmp_path, 21, SKY * EVEN)], dark.path)
    mask = read_chip(open_frame(tmp_path / "P20170505S0021_darkCorrected.fits"), 0).mask
    assert mask[20, 30] & dq.SATURATED and not mask[21, 30]


def test_in_adu_the_dark_is_subtracted_in_adu(tmp_path: Path) -> None:
    dark = master(tmp_path, darks(tmp_path))
    step = next(s for s in recipes_of(GLOWING)["reduce"] if s.parts)
    parameters = {"ADUToElectrons": {"skip_primitive": True}, "flatCorrect": {"do_flat": False}}
    frames = [expose(tmp_path, 21, SKY * EVEN)]
    made = run_recipe((step,), frames, Context(tmp_path, parameters, dark=dark.path))[0]
    assert np.median(read_chip(made, 0).data - SKY * UNEVEN / GAIN) == pytest.approx(0.0, abs=1.0)


def test_without_a_dark_an_exposure_is_refused_unless_it_is_to_be_skipped(tmp_path: Path) -> None:
    frames = [expose(tmp_path, 21, SKY * EVEN)]
    with pytest.raises(MissingCalibration, match=r"no dark for these frames.*do_cal=skip"):
        corrected(tmp_path, frames)
    dark = master(tmp_path, darks(tmp_path))
    (skipped,) = corrected(tmp_path, frames, dark.path, do_cal="skip")
    assert skipped.header["DARKIM"] == "none" and "DARKCORR" not in skipped.header
    away = np.mean(read_chip(skipped, 0).data - SKY * UNEVEN)
    assert away == pytest.approx(np.mean(SECONDS * GLOW), abs=2.5)
    (given,) = corrected(tmp_path, frames, None, dark=str(dark.path))
    assert given.header["DARKIM"] == dark.path.name


def test_a_dark_of_another_exposure_time_is_refused_with_both_sides(tmp_path: Path) -> None:
    dark = master(tmp_path, darks(tmp_path, seconds=30.0))
    frames = [expose(tmp_path, 21, SKY * EVEN)]
    with pytest.raises(
        BadInput, match=r"exposure time 60.0; needed: what P20170505S0001_dark.fits has: 30.0"
    ):
        corrected(tmp_path, frames, dark.path)


def test_lamp_on_frames_alone_are_a_flat_only_without_their_dark(tmp_path: Path) -> None:
    """Of 2000 electrons of light the glow makes up to a quarter more: a flat that is wrong by as much."""
    dark = master(tmp_path, darks(tmp_path))
    cards = {**IN_DOME, "EXPTIME": SECONDS, "OBJECT": "Domeflat"}
    lit = [expose(tmp_path, n, 2000 * EVEN, **cards) for n in range(11, 17)]
    with pytest.raises(MissingCalibration, match="no lamp-off frames and no dark"):
        run_recipe(makeProcessedFlat, lit, Context(tmp_path))
    flat = run_recipe(makeProcessedFlat, lit, Context(tmp_path, dark=dark.path))[0]
    chip = read_chip(flat, 0)
    truth = UNEVEN / np.median(UNEVEN)
    away = pull(chip.data, chip.variance, truth)[chip.mask == 0]
    assert abs(away.mean()) < 0.1 and away.std() == pytest.approx(1.0, abs=0.05)
    assert flat.header["DARKIM"] == dark.path.name


def test_the_dark_is_in_the_recipes_of_instruments_that_have_a_rule_for_it_alone() -> None:
    for name in ("reduce", "reduce_nostack", "ultradeep"):
        parts = [[s.name for each in recipes_of(one)[name] for s in each.parts]
                 for one in (GLOWING, instruments.KNOWN["GSAOI"])]  # fmt: skip
        assert ["darkCorrect" in each for each in parts] == [True, False]
        assert [n for n in parts[0] if n != "darkCorrect"] == parts[1]


def test_a_dark_that_is_reduced_is_kept_in_the_store_which_gives_it_to_exposures(tmp_path: Path) -> None:
    (dark,) = reduce_files(Task([f.path for f in darks(tmp_path)], folder=tmp_path, workers=1))
    assert dark.name == "P20170505S0001_dark.fits"
    assert (tmp_path / "calibrations/processed_dark" / dark.name).exists()
    told: list[Any] = []
    light = [expose(tmp_path, n, SKY * EVEN).path for n in (21, 22)]
    chosen = [("flatCorrect:do_flat", False), ("darkCorrect:write_outputs", True)]
    other = expose(tmp_path, 23, SKY * EVEN, 30.0).path
    step = tmp_path / "own.py"
    step.write_text("from reducer.recipes import reduce\nmine = reduce[:2]\n")
    task = Task(light, f"{step}:mine", chosen, folder=tmp_path, workers=1)
    reduce_files(task, told.append)
    assert any(dark.name in str(event) and "same exposure time" in str(event) for event in told)
    assert open_frame(tmp_path / "P20170505S0021_darkCorrected.fits").header["DARKIM"] == dark.name
    with pytest.raises(MissingCalibration):
        reduce_files(Task([other], f"{step}:mine", chosen, folder=tmp_path, workers=1), told.append)
    assert any("exposure time 60.0 s, needed 30.0 s" in str(event) for event in told)


def test_a_dark_is_given_by_the_user_where_one_is_subtracted_and_nowhere_else(tmp_path: Path) -> None:
    dark = master(tmp_path, darks(tmp_path)).path
    task = Task(
        [take(tmp_path, 71, SKY * EVEN)], calibrations={"processed_dark": dark}, folder=tmp_path, workers=1
    )
    with pytest.raises(UsageError, match="no dark is subtracted"):
        reduce_files(task)


@pytest.mark.parametrize("saturated", [False, True])
def test_summed_coadds_become_the_electrons_of_the_average_one(tmp_path: Path, saturated: bool) -> None:
    """They were taken for an average: four times the electrons, and a sixteenth of the variance of those."""
    coadds, level = 4, 75_000.0 if saturated else SKY
    rng = np.random.default_rng(5)
    path = take(tmp_path, 1, 0 * EVEN, INSTRUME="PAPER", COADDS=coadds)
    with fits.open(path, mode="update") as file:
        read = (
            rng.poisson(level, EVEN.shape) + NOISE * rng.standard_normal(EVEN.shape) for _ in range(coadds)
        )
        file[1].data = (sum(read) / GAIN).astype(np.float32)
    parameters = {"flatCorrect": {"do_flat": False}}
    step = next(s for s in recipes_of(PAPER)["reduce_nostack"] if s.parts)
    (made,) = run_recipe((step,), [open_frame(path)], Context(tmp_path, parameters))
    chip = read_chip(made, 0)
    good = chip.mask & dq.UNUSABLE == 0
    assert good.any() != saturated
    assert chip.header["SATLEVEL"] == 60_000.0
    if not saturated:
        away = pull(chip.data, chip.variance, level * EVEN)[good]
        assert abs(away.mean()) < 4 / np.sqrt(away.size)
        assert away.std() == pytest.approx(1.0, abs=0.03)
        assert np.mean(chip.variance) == pytest.approx((level + NOISE**2) / coadds, rel=0.02)


def test_the_darks_noise_goes_with_the_sky_and_is_not_counted_twice(tmp_path: Path) -> None:
    """It was in the variance of an exposure and of its skies, though one dark was taken off all."""
    numbers = range(1, 3)
    dark = master(tmp_path, [expose(tmp_path, n, 0 * EVEN, OBSTYPE="DARK", OBJECT="Dark") for n in numbers])
    light = [expose(tmp_path, n, 300 * EVEN, RAOFFSET=4.0 * (n - 21)) for n in range(21, 24)]
    parameters = {"flatCorrect": {"do_flat": False}, "skyCorrect": {"offset_sky": True}}
    context = Context(tmp_path, parameters, dark=dark.path)
    made = run_recipe(recipes_of(GLOWING)["reduce_nostack"], light, context)
    chips = [read_chip(frame, 0) for frame in made]
    pulls = [(chip.data / np.sqrt(chip.variance))[chip.mask == 0] for chip in chips]
    assert len(pulls) == 3
    assert np.mean([each.std() for each in pulls]) == pytest.approx(1.0, abs=0.03)
