"""Headers are repaired, wrong pointings found and rebuilt, and frames that do not belong refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_exposure import array_header, place_of, primary_header, write_raw
from told import in_words

from reducer.align.wcs import descriptors_of
from reducer.errors import BadInput
from reducer.fitsio import Disk, open_frame
from reducer.frame import Context, FrameRef
from reducer.headers.descriptors import Descriptors
from reducer.headers.repairs import repair
from reducer.keywords import Region, region
from reducer.masks import Place
from reducer.steps.prepare import prepare

EMPTY = {array: np.zeros((256, 256), np.float32) for array in (1, 2, 3, 4)}


def frame_of(path: Path, away: tuple[float, float] = (0, 0), **cards: Any) -> FrameRef:
    return open_frame(write_raw(path, primary_header(**cards), EMPTY, away=away))


def run(frames: list[FrameRef], folder: Path, **parameters: Any) -> tuple[list[FrameRef], dict[str, str]]:
    refused: dict[str, str] = {}

    def tell(event: str, /, **facts: Any) -> None:
        if event == "refused":
            refused[facts["name"]] = in_words(event, **facts)

    context = Context(folder, files=Disk(), notify=tell, parameters={"prepare": parameters})
    return prepare(frames, context), refused


def test_the_usual_troubles_are_repaired_and_told(tmp_path: Path) -> None:
    frame = repair(
        frame_of(tmp_path / "S1.fits", FILTER2="Unknown", FILT2POS=6933, DATE_OBS="2012-05-01", LNRS=4)
    )
    assert frame.header["FILTER2"] == "Clear"
    assert frame.header["LNRS"] == 8
    assert [chip["GAIN"] for chip in frame.chips] == [2.434, 2.01, 2.411, 2.644]
    assert frame.chips[0]["RDNOISE"] == 13.63
    assert "BUNIT" not in frame.header
    assert frame.chips[3]["BUNIT"] == "ADU"
    assert frame.header["MJD-OBS"] == pytest.approx(56048.125, abs=1e-6)
    assert len(frame.repairs) == 5
    assert len(repair(frame).repairs) == 5


@pytest.mark.parametrize("days", [0.5, 1.0, -0.001])
def test_an_mjd_of_another_moment_is_made_that_of_date_and_time(tmp_path: Path, days: float) -> None:
    """Also where it is near: that of the local date, or of the exposure before."""
    frame = frame_of(tmp_path / "S1.fits", DATE_OBS="2012-05-01")
    true = repair(frame).header["MJD-OBS"]
    frame.header["MJD-OBS"] = true + days
    assert repair(frame).header["MJD-OBS"] == pytest.approx(true, abs=1e-6)


@pytest.mark.parametrize("cards", [{"FILTER1": "Unknown", "FILT1POS": 333}, {"LNRS": 5}])
def test_an_exposure_whose_filter_or_read_mode_is_unknown_is_refused(
    tmp_path: Path, cards: dict[str, Any]
) -> None:
    good, bad = frame_of(tmp_path / "S1.fits"), frame_of(tmp_path / "S2.fits", **cards)
    kept, refused = run([good, bad], tmp_path)
    assert [frame.path.name for frame in kept] == ["S1.fits"]
    assert "unknown" in refused["S2.fits"]


def test_central_windows_are_one_row_off_since_2013(tmp_path: Path) -> None:
    images = {array: np.zeros((1024, 1024), np.float32) for array in (1, 2, 3, 4)}
    for date, rows in (("2017-05-04", (513, 513, 511, 511)), ("2013-05-12", (512, 512, 512, 512))):
        path = write_raw(tmp_path / f"S{date}.fits", primary_header(DATE_OBS=date), images, first=512)
        repaired = repair(open_frame(path))
        assert tuple(region(chip).y1 for chip in repaired.chips) == rows


def test_a_region_crops_its_calibration_and_refuses_one_that_is_too_small() -> None:
    small, large = Region(512, 1536, 513, 1537), Region(0, 2048, 0, 2048)
    rows, columns = small.within(large)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (513, 1537, 512, 1536)
    with pytest.raises(BadInput, match="calibration of the region"):
        large.within(small)


def test_frames_that_differ_are_refused_with_what_differs(tmp_path: Path) -> None:
    frames = [frame_of(tmp_path / f"S{n}.fits", minutes=n) for n in range(3)]
    frames += [
        frame_of(tmp_path / "S8.fits", FILTER1="H_G1103"),
        frame_of(tmp_path / "S9.fits", EXPTIME=15.0),
    ]
    kept, refused = run(frames, tmp_path)
    assert len(kept) == 3
    assert "filter H where most have filter Kshort" in refused["S8.fits"]
    assert "exposure time 15.0 where most have exposure time 60.0" in refused["S9.fits"]


def test_a_pair_is_judged_by_the_wide_limit_and_a_set_by_what_is_usual(tmp_path: Path) -> None:
    pair = [frame_of(tmp_path / "S1.fits"), frame_of(tmp_path / "S2.fits", away=(3.0, 0.0))]
    kept, _ = run(pair, tmp_path)
    assert not any("WCS" in said for frame in kept for said in frame.repairs)
    alone, _ = run([frame_of(tmp_path / "S3.fits", away=(40.0, 0.0))], tmp_path)
    assert any("WCS" in said for said in alone[0].repairs)
    frames = [frame_of(tmp_path / f"S1{n}.fits", away=(4.0 if n else 0.0, 0.0)) for n in range(4)]
    frames.append(frame_of(tmp_path / "S20.fits", away=(10.0, 0.0)))
    kept, _ = run(frames, tmp_path)
    assert [any("WCS" in said for said in frame.repairs) for frame in kept] == [False] * 4 + [True]


def test_wrong_pointings_are_found_and_rebuilt(tmp_path: Path) -> None:
    offsets = [(0, 0), (0.2, 0), (0.4, 0.2), (-300, 120), (-300.2, 120)]
    frames = [
        frame_of(
            tmp_path / f"S{n}.fits",
            RAOFFSET=east,
            DECOFFSE=north,
            away=(12.0, -9.0) if n in (1, 4) else (0.3, 0),
        )
        for n, (east, north) in enumerate(offsets)
    ]
    kept, _ = run(frames, tmp_path)
    assert [any("WCS" in said for said in frame.repairs) for frame in kept] == [
        False,
        True,
        False,
        False,
        True,
    ]
    for place in (1, 4):
        true = array_header(2, frames[place].header, away=(0.3, 0.0))
        true.update({"NAXIS": 2, "NAXIS1": 256, "NAXIS2": 256})
        assert np.abs(place_of(kept[place].chips[1]) - place_of(true)).max() * 3600 < 0.05
    with pytest.raises(BadInput, match=r"S1.fits, S4.fits"):
        run(frames, tmp_path, bad_wcs="exit")
    ignored, _ = run(frames, tmp_path, bad_wcs="ignore")
    assert ignored[1].chips[1]["CRVAL1"] == frames[1].chips[1]["CRVAL1"]
    new, _ = run(frames, tmp_path, bad_wcs="new")
    assert all("WCS rebuilt from target and offsets" in frame.repairs for frame in new)


def test_half_a_degree_of_true_rotation_is_no_error(tmp_path: Path) -> None:
    frame = frame_of(tmp_path / "S1.fits")
    for chip in frame.chips:
        turn = np.radians(0.55)
        chip["CD1_1"] = chip["CD2_2"] = 0.0197 / 3600 * np.cos(turn)
        chip["CD1_2"], chip["CD2_1"] = -0.0197 / 3600 * np.sin(turn), 0.0197 / 3600 * np.sin(turn)
    kept, _ = run([frame, frame_of(tmp_path / "S2.fits")], tmp_path)
    assert not any("WCS" in said for found in kept for said in found.repairs)


def test_guide_windows_leave_a_hole_and_idle_ones_their_corner() -> None:
    def windows(array: int, **cards: Any) -> tuple[tuple[int, int, int, int], ...]:
        chip = {"EXTVER": array, "NAXIS1": 2048, "NAXIS2": 2048}
        return Place.of(FrameRef(Path("a.fits"), primary_header(**cards), (chip,)), 0).windows

    one = {"GWFS1CFG": "ODGW2", "GWFS1X": 1000, "GWFS1Y": 1100, "GWFS1SIZ": 16}
    # The central pixel from 0 or from 1, the odd one on either side: the first is 991, 992 or 993 from 0.
    assert windows(2, **one) == ((1091, 1109, 991, 1009),)
    corners = {array: windows(array, **one)[0] for array in (1, 3, 4)}
    assert [corners[4][0] > 2030, corners[4][2] > 2030] == [True, True]
    assert [corners[1][1] < 18, corners[1][2] > 2030] == [True, True]
    assert [corners[3][0] > 2030, corners[3][3] < 18] == [True, True]
    assert windows(2, GWFS1CFG="CWFS1") == ()


@pytest.mark.parametrize("angle", [0.0, 30.0, 180.0, 250.0])
def test_offsets_mean_the_same_before_and_after_the_sign_of_raoffset_changed(
    tmp_path: Path, angle: float
) -> None:
    turn = np.radians(angle)
    kept = []
    for date, sign in (("2013-01-26", -1), ("2018-10-23", 1)):
        frames = []
        for n, (p, q) in enumerate([(0.0, 0.0), (-16.0, 27.0), (5.0, 8.0), (9.0, -4.0)]):
            east, north = p * np.cos(turn) + q * np.sin(turn), q * np.cos(turn) - p * np.sin(turn)
            right = frame_of(tmp_path / f"S{n}.fits", POFFSET=east, QOFFSET=north)  # where its WCS puts it
            cards = {"POFFSET": p, "QOFFSET": q, "PA": angle, "DATE-OBS": date}
            right.header.update(cards | {"RAOFFSET": sign * east, "DECOFFSE": sign * north})
            frames.append(right.with_(chips=tuple(turned(chip, -turn) for chip in right.chips)))
            assert descriptors_of(right).sky_offset == pytest.approx((east, north))
        kept.append(run(frames, tmp_path)[0])
    assert not any("WCS" in said for frames in kept for frame in frames for said in frame.repairs)


def turned(chip: Any, angle: float) -> Any:
    """The header of a field that is turned about its reference point."""
    cosine, sine = np.cos(angle), np.sin(angle)
    cd = np.array([[chip["CD1_1"], chip["CD1_2"]], [chip["CD2_1"], chip["CD2_2"]]])
    values = (np.array([[cosine, -sine], [sine, cosine]]) @ cd).ravel()
    made = chip.copy()
    made.update(dict(zip(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), map(float, values), strict=True)))
    return made


def test_a_rebuilt_wcs_is_turned_as_its_own_position_angle_says(tmp_path: Path) -> None:
    frames = []
    for n, angle in enumerate((0.0, 0.0, 90.0, 90.0, 90.0)):
        frame = frame_of(tmp_path / f"S{n}.fits", PA=angle, away=(200.0, 0.0) if n == 4 else (0, 0))
        chips = tuple(turned(chip, -np.radians(angle)) for chip in frame.chips)
        frames.append(frame.with_(chips=chips))
    kept, _ = run(frames, tmp_path)
    assert [any("WCS" in said for said in frame.repairs) for frame in kept] == [False] * 4 + [True]
    for chip, true in zip(kept[4].chips, kept[3].chips, strict=True):
        assert np.abs(place_of(chip) - place_of(true)).max() * 3600 < 0.05


@pytest.mark.parametrize(
    ("cards", "offset"),
    [
        ({"POFFSET": -9999.0, "QOFFSET": -9999.0}, (3.0, 4.0)),
        ({"POFFSET": None}, (3.0, 4.0)),
        ({"PA": -9999.0}, (3.0, 4.0)),
        ({"PA": -9999.0, "POFFSET": 0.0, "QOFFSET": 0.0}, (0.0, 0.0)),
        ({"POFFSET": None, "DATE_OBS": "2014-06-01"}, None),
        ({"POFFSET": -9999.0, "RAOFFSET": -9999.0}, None),
        ({}, (1.0, 2.0)),
    ],
)
def test_raoffset_serves_only_where_p_or_q_is_missing_and_its_sign_is_known(
    cards: dict[str, Any], offset: tuple[float, float] | None
) -> None:
    known = {"RAOFFSET": 3.0, "DECOFFSE": 4.0, "POFFSET": 1.0, "QOFFSET": 2.0}
    assert Descriptors(primary_header(**known | cards), ()).sky_offset == offset


MOSAIC = ((2048, 0), (0, 0), (0, 2048), (2048, 2048))


def off_by(frame: FrameRef, origins: Any) -> FrameRef:
    for chip, (x, y) in zip(frame.chips, origins, strict=True):
        chip["CRPIX1"] -= x
        chip["CRPIX2"] -= y
    return frame


def test_windows_whose_crpix_was_reduced_by_detsec_are_put_right_and_told(tmp_path: Path) -> None:
    right, wrong = frame_of(tmp_path / "S1.fits"), off_by(frame_of(tmp_path / "S2.fits"), MOSAIC)
    kept, _ = run([wrong], tmp_path)
    for chip, true in zip(kept[0].chips, right.chips, strict=True):
        assert np.abs(place_of(chip) - place_of(true)).max() * 3600 < 1e-6
    assert any("origin of DETSEC" in said for said in kept[0].repairs)
    assert not any("DETSEC" in said for said in run([right], tmp_path)[0][0].repairs)


def test_arrays_that_fit_the_focal_plane_neither_way_are_said_and_placed_by_the_static_model(
    tmp_path: Path,
) -> None:
    told = []
    right = frame_of(tmp_path / "S1.fits")
    wrong = off_by(frame_of(tmp_path / "S2.fits"), ((700, 0), (0, 0), (0, 900), (0, 0)))
    context = Context(
        tmp_path, files=Disk(), notify=lambda kind, **facts: told.append(in_words(kind, **facts))
    )
    kept = prepare([right, wrong], context)
    assert any("S2.fits rebuilt" in text and "places in the focal plane" in text for text in told)
    for chip, true in zip(kept[1].chips, right.chips, strict=True):
        assert np.abs(place_of(chip) - place_of(true)).max() * 3600 < 0.05
