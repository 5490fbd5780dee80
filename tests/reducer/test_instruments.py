"""What is asked of an instrument: which it is, which array an extension holds, and nothing of one unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from paper import PAPER
from raw_exposure import array_header, primary_header

from reducer import instruments
from reducer.errors import BadFile, BadInput
from reducer.fitsio import open_frame, read_chip
from reducer.frame import Context, FrameRef
from reducer.headers.descriptors import Descriptors, describe
from reducer.headers.repairs import repair
from reducer.instruments.base import Levels
from reducer.masks import Place
from reducer.photometry.zeropoint import extinction, nominal_zeropoint
from reducer.run import run_recipe
from reducer.steps.prepare import prepare
from reducer.steps.skylevel import cell_places

GSAOI = instruments.KNOWN["GSAOI"]


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raw file of the instrument on paper, which is known for the time of a test."""
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "PAPER": PAPER})
    primary = primary_header(INSTRUME="PAPER", FILTER="Y_G0811")
    chip = fits.ImageHDU(np.ones((96, 128), np.float32))
    fits.HDUList([fits.PrimaryHDU(header=primary), chip]).writeto(tmp_path / "paper.fits")
    return tmp_path / "paper.fits"


def test_a_frame_of_another_instrument_is_described_by_its_rules(paper: Path) -> None:
    frame = repair(open_frame(paper))
    assert frame.instrument is PAPER
    assert read_chip(frame, 0).data.shape == (96, 128)
    assert (frame.chips[0]["GAIN"], frame.chips[0]["RDNOISE"]) == (2.0, 10.0)
    facts = describe(frame.header, frame.chips)
    assert (facts.filter, facts.read_speed_setting, facts.is_coadds_summed) == ("Y", "Only", True)
    assert facts.regions == ((1, 0, 128, 0, 96),)
    assert (facts.gain, facts.saturation_level) == ([2.0], [40000])
    assert facts.wavefront_sensor is None
    assert Place.of(frame, 0).windows == ((90, 99, 0, 5),)
    assert cell_places(frame, 1, (2, 2)).min(axis=0) == pytest.approx((-0.25, -1 / 6))


def test_frames_of_two_instruments_are_refused_by_name(paper: Path, tmp_path: Path) -> None:
    frames = [FrameRef(tmp_path / "S1.fits", primary_header(), ()), open_frame(paper)]
    with pytest.raises(BadInput, match=r"S1.fits of GSAOI and paper.fits of PAPER; needed: frames of one"):
        run_recipe((prepare,), frames, Context(tmp_path))


def test_of_an_unknown_instrument_nothing_is_told_by_the_rules_of_another() -> None:
    primary = primary_header(INSTRUME="NIRI")
    chips = [array_header(array, primary) for array in (1, 2, 3, 4)]
    facts = describe(primary, chips)
    assert (facts.filter_name, facts.filter, facts.filter_is_known) == (None, None, False)
    assert (facts.read_speed_setting, facts.effective_wavelength, facts.regions) == ("Unknown", None, ())
    assert facts.gain == facts.read_noise == facts.saturation_level == facts.non_linear_level == [None] * 4
    assert facts.nominal_photometric_zeropoint == [None] * 4
    assert nominal_zeropoint(facts) is None
    with pytest.raises(BadFile, match="this file is from NIRI; needed: INSTRUME 'GSAOI'"):
        instruments.instrument_of(primary)


@pytest.mark.parametrize(
    ("cards", "number"),
    [
        ({"ARRAYID": "H2RG-032-071"}, 3),
        ({"ARRAYID": "H2RG-032-071", "DETSEC": "[1:2048,1:2048]"}, 3),
        ({"DETSEC": "[2561:3584,513:1536]"}, 1),
        ({"DETSEC": "[513:1536,2561:3584]"}, 3),
        ({"DETSEC": "[4097:6144,1:2048]"}, None),
        ({"ARRAYID": "another"}, None),
        ({}, None),
    ],
)
def test_an_array_is_known_by_name_or_by_its_place_in_the_mosaic(
    cards: dict[str, str], number: int | None
) -> None:
    assert GSAOI.numbers([cards]) == [number]


def test_arrays_without_a_word_are_counted_only_where_all_are_there() -> None:
    assert GSAOI.numbers([{}] * 4) == [1, 2, 3, 4]
    assert GSAOI.numbers([{}] * 3) == [None] * 3
    assert PAPER.numbers([{}]) == [1]
    assert PAPER.numbers([{}] * 2) == [None] * 2


@pytest.mark.parametrize(
    ("name", "known"), [("FeII", "H"), ("Kprime", "Kshort"), ("Z", "J"), ("nobody's", "Kshort")]
)
def test_extinction_is_that_of_the_nearest_band(name: str, known: str) -> None:
    """FeII, in the middle of H, had the extinction of K."""
    found, wanted = (
        Descriptors({"INSTRUME": "GSAOI", "FILTER1": each, "FILTER2": "Clear"}, ()) for each in (name, known)
    )
    assert extinction(found) == extinction(wanted)


def test_levels_of_a_sum_of_coadds_are_those_of_each() -> None:
    one = Levels(2.5, 10.0, 1e5, 3e4, 5e4, (1.0, 1e-7, 2e-12))
    three = one.of_sum(3)
    assert three.electrons(3 * 2e4) == pytest.approx(one.electrons(2e4))
    assert (three.well, three.non_linear, three.saturation) == (3e5, 9e4, 1.5e5)
