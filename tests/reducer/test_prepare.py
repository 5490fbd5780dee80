"""Headers are repaired, wrong pointings found and rebuilt, and frames that do not belong refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_exposure import array_header, primary_header, write_raw

from reducer.errors import BadInput
from reducer.fitsio import Disk, open_frame
from reducer.frame import Context, FrameRef
from reducer.headers.gsaoi import Region, region, repair
from reducer.steps.masks import guide_windows
from reducer.steps.prepare import prepare

EMPTY = {array: np.zeros((256, 256), np.float32) for array in (1, 2, 3, 4)}


def frame_of(path: Path, away: tuple[float, float] = (0, 0), **cards: Any) -> FrameRef:
    return open_frame(write_raw(path, primary_header(**cards), EMPTY, away=away))


def run(frames: list[FrameRef], folder: Path, **parameters: Any) -> tuple[list[FrameRef], dict[str, str]]:
    refused: dict[str, str] = {}

    def tell(event: str, /, **facts: Any) -> None:
        if event == "refused":
            refused[facts["name"]] = facts["reason"]

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
    assert refused["S8.fits"] == "filter H where most have Kshort"
    assert refused["S9.fits"] == "exposure time 15.0 where most have 60.0"


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
        chip = kept[place].chips[1]
        assert abs(chip["CRVAL1"] - true["CRVAL1"]) * 3600 < 0.05
        assert abs(chip["CRVAL2"] - true["CRVAL2"]) * 3600 < 0.05
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
    header = primary_header(GWFS1CFG="ODGW2", GWFS1X=1000, GWFS1Y=1100, GWFS1SIZ=16)
    whole = Region(0, 2048, 0, 2048)
    image = np.zeros((2048, 2048))
    image[guide_windows(header, 2, whole)[0]] = 1
    y, x = np.nonzero(image)
    assert (x.min(), x.max(), y.min(), y.max()) == (991, 1006, 1091, 1106)
    corner = guide_windows(header, 4, whole)[0]
    assert corner[0].start > 2030
    assert corner[1].start > 2030
    assert guide_windows(primary_header(GWFS1CFG="CWFS1"), 2, whole) == []
