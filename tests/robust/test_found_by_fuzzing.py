"""What fuzzing found, each by name: headers and files that once ended in an error nobody had foreseen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mutants import Change, changed_headers
from raw_exposure import WIDTHS, array_header, levels, place_of, primary_header, write_raw
from tiny_program import LAMPS_ON, ON_TARGET, SIDE, name_of

from goafetch.plan.decide import make_plan
from reducer import dq
from reducer.combine import median_of_seen
from reducer.detector import ArrayReadout, correct
from reducer.errors import BadFile, BadInput
from reducer.fitsio import Disk, open_frame, read_chip, read_headers, units_of
from reducer.frame import Context
from reducer.headers.descriptors import Descriptors
from reducer.headers.repairs import has_wcs, repair, why_stopped
from reducer.recipes import makeProcessedFlat
from reducer.run import open_frames, run_recipe
from reducer.select import describe_file
from reducer.sky.level import level_differences
from reducer.sky.readout_offsets import offsets_against
from reducer.sources import detect_sources
from reducer.steps.lamps import measure_lamps
from reducer.steps.prepare import prepare

SIZES = (0, *[SIDE * SIDE * 4] * 4)


def changed(source: Path, target: Path, *changes: Change) -> Path:
    target.write_bytes(changed_headers(source.read_bytes(), SIZES, list(changes)))
    return target


@pytest.mark.parametrize("value", ["fij,fj->fi", "NaN", "0.0", "'a'", "1E999"])
def test_a_scale_that_is_no_number_is_refused(tiny_night: Path, tmp_path: Path, value: str) -> None:
    file = changed(tiny_night / name_of(11), tmp_path / "a.fits", Change(2, "BSCALE", value))
    try:
        headers = read_headers(file)[1]
    except BadFile as error:
        assert "BSCALE" in str(error) or "BZERO" in str(error)
    else:
        assert "BSCALE" not in headers[1]  # not legible: as if it were not there


@pytest.mark.parametrize(
    ("key", "value"),
    [("NAXIS", "999999999"), ("NAXIS", "-1"), ("NAXIS1", "-64"), ("NAXIS2", "'64'"), ("NAXIS1", "1E9"),
     ("PCOUNT", "-32768"), ("GCOUNT", "0.5"), ("NAXIS1", "9999999999999"), ("EXTVER", "'x'")],
)  # fmt: skip
def test_impossible_sizes_are_refused_at_once(tiny_night: Path, tmp_path: Path, key: str, value: str) -> None:
    file = changed(tiny_night / name_of(11), tmp_path / "a.fits", Change(1, key, value))
    with pytest.raises(BadFile):
        read_headers(file)


def test_a_header_without_end_is_given_up(tmp_path: Path) -> None:
    file = tmp_path / "endless.fits"
    file.write_bytes(b"SIMPLE  =                    T".ljust(2880) + b" " * 2880 * 500)
    with pytest.raises(BadFile, match="without end"):
        read_headers(file)


@pytest.mark.parametrize("value", [None, "'abc'", "NaN", "1E308", "T"])
@pytest.mark.parametrize("key", ["CD1_1", "CRVAL2", "CRPIX1"])
def test_a_wcs_that_cannot_be_read_is_rebuilt(
    tiny_night: Path, tmp_path: Path, key: str, value: str | None
) -> None:
    bad = changed(tiny_night / name_of(11), tmp_path / "bad.fits", Change(2, key, value))
    frames = open_frames([bad, *(tiny_night / name_of(number) for number in ON_TARGET[1:])])
    ready = prepare(frames, Context(tmp_path))
    assert len(ready) == 3
    assert all(has_wcs(frame) for frame in ready)
    assert np.abs(place_of(ready[0].chips[1]) - place_of(ready[1].chips[1])).max() * 3600 < 0.1


def test_a_frame_whose_place_nothing_tells_is_refused_alone(tiny_night: Path, tmp_path: Path) -> None:
    lost = [Change(0, "RA", None), Change(1, "CD1_1", None)]
    bad = changed(tiny_night / name_of(11), tmp_path / "bad.fits", *lost)
    told = []
    frames = open_frames([bad, *(tiny_night / name_of(number) for number in ON_TARGET[1:])])
    ready = prepare(frames, Context(tmp_path, notify=lambda event, **facts: told.append((event, facts))))
    assert len(ready) == 2
    assert [facts["name"] for event, facts in told if event == "refused"] == ["bad.fits"]


def test_a_lamp_frame_without_one_array_is_refused_alone(tiny_night: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = {array: rng.normal(9000, 90, (SIDE, SIDE)).astype(np.float32) for array in (1, 2, 3)}
    cards = {"OBJECT": "Domeflat", "OBSCLASS": "dayCal", "FRAME": "AZEL_TOPO", "TRKFRAME": "AZEL_TOPO"}
    short = write_raw(tmp_path / "short.fits", primary_header(EXPTIME=15.0, **cards), images, 992)
    told = []
    files = [short, *(tiny_night / name_of(number) for number in range(1, 7))]
    context = Context(tmp_path, notify=lambda event, **facts: told.append((event, facts)))
    made = run_recipe(makeProcessedFlat, open_frames(files), context)
    assert made[0].path.exists()
    assert [facts["arrays"] for event, facts in told if event == "refused"] == [[4]]


def test_stars_whose_whole_ring_is_off_the_array_are_measured() -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    star = 5000 * np.exp(-((x - 30) ** 2 + (y - 33) ** 2) / 6)
    image = (np.random.default_rng(1).normal(0, 5, (SIDE, SIDE)) + star).astype(np.float32)
    found = detect_sources(image, np.full_like(image, 25.0), np.zeros(image.shape, np.uint16), WIDTHS)
    assert len(found) == 1
    assert np.isnan(found["wide"]).all()


@pytest.mark.parametrize("seed", range(12))
def test_a_field_with_next_to_nothing_in_it_is_searched_too(seed: int) -> None:
    """Its few bright pixels fill the room that is made for them to the last."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 5, (SIDE, SIDE)).astype(np.float32)
    y, x = rng.integers(10, SIDE - 10, 2)
    image[y - 1 : y + 2, x - 1 : x + 2] += rng.uniform(20, 200)
    found = detect_sources(image, np.full_like(image, 25.0), np.zeros(image.shape, np.uint16), WIDTHS)
    assert len(found) <= 3


def test_cards_that_are_not_fits_are_as_if_missing(tiny_night: Path, tmp_path: Path) -> None:
    unreadable = [Change(0, "EXPTIME", "= = ="), Change(1, "NAXIS", "'x'", twice=True)]
    file = changed(tiny_night / name_of(LAMPS_ON[0]), tmp_path / "a.fits", *unreadable)
    frame = repair(open_frame(file))
    assert Descriptors(frame.header, frame.chips).exposure_time is None
    assert array_header(1, primary_header())["ARRAYID"] == frame.chips[0]["ARRAYID"]


@pytest.mark.parametrize("count", [3.4e38, -3.4e38, 1e8, -1e8, np.inf, -np.inf, np.nan])
def test_counts_that_no_read_out_reaches_are_no_data(count: float) -> None:
    """Linearised they would be infinite, some of them in pixels that count as good."""
    raw = np.full((4, 4), 9000.0, np.float32)
    raw[1, 2] = count
    data, variance, mask, lost = correct(raw, ArrayReadout(levels(1, "Faint Objects"), 1))
    assert lost == 1
    assert mask[1, 2] == dq.NO_DATA
    assert np.isfinite(data).all()
    assert np.isfinite(variance).all()


@pytest.mark.filterwarnings("error")
def test_scales_beyond_single_precision_and_columns_without_light_give_no_warning(
    tiny_night: Path, tmp_path: Path
) -> None:
    file = changed(tiny_night / name_of(11), tmp_path / "a.fits", Change(1, "BSCALE", "1E300"))
    assert not np.isfinite(read_chip(open_frame(file), 0).data).any()
    assert (offsets_against(np.full(2048, np.nan), np.zeros(2048)) == 0).all()


def test_a_file_cut_behind_the_pixels_of_an_array_is_refused(tiny_night: Path, tmp_path: Path) -> None:
    """Its blocks are not whole, so the arrays that are not there were there."""
    file = tmp_path / "a.fits"
    file.write_bytes((tiny_night / name_of(11)).read_bytes()[: 2880 * 15 - 100])
    with pytest.raises(BadFile, match="100 bytes too early"):
        read_headers(file)


def test_control_characters_in_a_header_are_as_if_missing(tiny_night: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.fits"
    file.write_bytes((tiny_night / name_of(11)).read_bytes().replace(b"'GSAOI   '", b"'\x07SAOI   '"))
    assert "GSAOI" not in describe_file(file).tags


@pytest.mark.filterwarnings("error")
def test_lamp_frames_without_light_in_an_array_are_levelled_by_the_others(
    tiny_night: Path, tmp_path: Path
) -> None:
    files = []
    for number in LAMPS_ON[:2]:
        content = bytearray((tiny_night / name_of(number)).read_bytes())
        dark = units_of(tiny_night / name_of(number))[1]
        content[dark.start : dark.start + dark.size] = bytes(dark.size)
        files.append(tmp_path / name_of(number))
        files[-1].write_bytes(content)
    context = Context(folder=tmp_path, files=Disk())
    (lamp,) = measure_lamps(prepare(open_frames(files), context), [], context)
    assert lamp.factors == pytest.approx((1.0, 1.0), abs=0.05)


@pytest.mark.filterwarnings("error")
def test_a_field_of_which_nothing_is_seen_has_no_level_and_gives_no_warning() -> None:
    unseen = np.full((2, 6), np.nan)
    assert np.isnan(median_of_seen(unseen)) and np.isnan(median_of_seen(unseen, axis=0)).all()
    assert median_of_seen(np.array([[1.0, np.nan], [3.0, np.nan]]), axis=0)[0] == 2.0
    assert (level_differences([*unseen], np.zeros((6, 2)))[0] == 0).all()


@pytest.mark.parametrize(("key", "value"), [("BPMASK", "'A,'"), ("OBSTYPE", "'BPM'")])
def test_an_exposure_that_calls_itself_a_mask_is_refused_and_masks_nothing(
    tiny_night: Path, tmp_path: Path, key: str, value: str
) -> None:
    bad = changed(tiny_night / name_of(5), tmp_path / name_of(5), Change(0, key, value))
    sound = [path for path in sorted(tiny_night.iterdir()) if path.name != bad.name]
    plan = make_plan([(path, describe_file(path)) for path in (*sound, bad)], tmp_path)
    assert [(left.path, left.failed) for left in plan.left_out] == [(bad, True)]
    assert all(group.bpm is None for group in plan.groups())
    assert {path for group in plan.groups() for path in group.frames} == set(sound)


def test_a_negative_number_of_coadds_is_refused(tiny_night: Path, tmp_path: Path) -> None:
    file = changed(tiny_night / name_of(ON_TARGET[0]), tmp_path / "a.fits", Change(0, "COADDS", "-3"))
    with pytest.raises(BadInput, match="COADDS is -3"):
        repair(open_frame(file))


def test_coadds_and_times_that_are_no_numbers_do_not_say_that_an_exposure_was_stopped(
    tiny_night: Path,
) -> None:
    """It broke off the making of flats."""
    frame = open_frame(tiny_night / name_of(LAMPS_ON[0]))
    for key, value in (("COADDS", 'x9^Ct"'), ("EXPTIME", "15 s"), ("ELAPSED", "x"), ("COADDS", -9999)):
        header = frame.header.copy()
        header[key] = value
        assert not why_stopped(header), key
        other = frame.with_(header=header)
        assert other.exposure_time > 0 and other.coadds >= 1
