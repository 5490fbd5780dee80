"""Frames survive the disk whole, and what is not a GSAOI frame is refused by name."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from raw_exposure import primary_header, write_raw

from reducer.errors import BadFile
from reducer.fitsio import is_whole, open_frame, read_chip, read_table, write_frame
from reducer.fitsio.writing import COLUMNS
from reducer.frame import Chip
from reducer.photometry.catalogue import OBJECT
from reducer.run import open_frames
from reducer.stack.noise import NOISE, SHARE
from reducer.stack.quality import EXPOSURE, RESIDUAL


def raw_file(path: Path, arrays: tuple[int, ...] = (1, 2, 3, 4)) -> Path:
    images = {array: np.full((256, 256), 100.0 * array, np.float32) for array in arrays}
    return write_raw(path, primary_header(), images)


def product(path: Path, **cards: str) -> Path:
    frame = open_frame(raw_file(path.with_name("raw.fits")))
    for header in frame.chips:
        header.update(cards)
    rng = np.random.default_rng(1)
    chips = (
        Chip(
            rng.normal(size=(256, 256)).astype(np.float32),
            rng.uniform(1, 2, (256, 256)).astype(np.float32),
            rng.integers(0, 65535, (256, 256)).astype(np.uint16),
            header,
        )
        for header in frame.chips
    )
    table = np.array([(1, "a", 2.5), (2, "bc", 3.5)], [("n", "i4"), ("name", "U2"), ("x", "f8")])
    return write_frame(path, frame.header, chips, tables={"STARS": table})


def test_a_product_comes_back_to_the_bit_by_us_and_by_astropy(tmp_path: Path) -> None:
    path = product(tmp_path / "S1_flat.fits")
    frame = open_frame(path)
    chip = read_chip(frame, 2)
    with fits.open(path, checksum=True) as file:
        file.verify("exception")
        assert [unit.name for unit in file[1:4]] == ["SCI", "VAR", "DQ"]
        assert np.array_equal(chip.data, file["SCI", 3].data)
        assert np.array_equal(chip.variance, file["VAR", 3].data)
        assert np.array_equal(chip.mask, file["DQ", 3].data)
    rows = read_chip(frame, 2, slice(64, 80))
    assert np.array_equal(rows.data, chip.data[64:80])
    assert np.array_equal(rows.mask, chip.mask[64:80])
    stars = read_table(path, "STARS")
    assert stars is not None
    assert stars["name"].tolist() == ["a", "bc"]
    assert read_table(path, "NOTHING") is None


@pytest.mark.parametrize("shape", [(3, 5), (1023, 1025), (2048, 517)])
def test_checksums_hold_for_sides_that_are_no_multiples_of_anything(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    header = open_frame(raw_file(tmp_path / "raw.fits")).chips[0]
    rng = np.random.default_rng(2)
    data, variance = rng.normal(size=(2, *shape)).astype(np.float32)
    mask = rng.integers(0, 65536, shape).astype(np.uint16)
    images = {"EXPTIME": rng.normal(size=shape).astype(np.float32)}
    tables = {"ODD": np.zeros(7, [("n", "i2"), ("text", "U3")]), "EMPTY": np.zeros(0, [("x", "f8")])}
    path = write_frame(
        tmp_path / "S1_image.fits", header, [Chip(data, variance, mask, header)], tables=tables, images=images
    )
    assert is_whole(path)
    with fits.open(path, checksum=True) as file:
        assert np.array_equal(file["SCI"].data, data)
        assert np.array_equal(file["VAR"].data, variance)
        assert np.array_equal(file["DQ"].data, mask)
        assert np.array_equal(file["EXPTIME"].data, images["EXPTIME"])
        assert [len(file[name].data) for name in tables] == [7, 0]


def test_every_plane_has_its_place_on_detector_and_sky_and_a_unit(tmp_path: Path) -> None:
    path = product(tmp_path / "S1_flatCorrected.fits", BUNIT="electron")
    with fits.open(path) as file:
        for plane, unit in (("SCI", "electron"), ("VAR", "electron**2"), ("DQ", "bit")):
            for version in (1, 2, 3, 4):
                header = file[plane, version].header
                assert header["BUNIT"] == unit
                assert header["DETSEC"] == file["SCI", version].header["DETSEC"]
                assert WCS(header).has_celestial
                assert WCS(header).wcs.compare(WCS(file["SCI", version].header).wcs)


def test_every_column_and_keyword_of_our_own_has_a_meaning_and_physical_ones_a_unit(tmp_path: Path) -> None:
    header = open_frame(raw_file(tmp_path / "raw.fits")).chips[0]
    header["SKYNUM"], header["SKYMODE"] = 7, "a reason of many words " * 4
    header["BPMIM"] = "a_file_name_with_hardly_any_room_for_a_comment_beside_it.fits"
    plane = np.zeros((8, 8), np.float32)
    tables = {
        name: np.zeros(2, [(column, "f8" if unit else "U3") for column, (unit, _) in columns.items()])
        for name, columns in COLUMNS.items()
    }
    images = {"EXPTIME": plane}
    chip = Chip(plane, plane, plane.astype(np.uint16), header)
    path = write_frame(tmp_path / "S1_image.fits", header, [chip], tables=tables, images=images)
    with fits.open(path) as file:
        assert file["SCI"].header.comments["SKYNUM"]
        assert file["SCI"].header["SKYMODE"] == header["SKYMODE"].strip()
        assert file["EXPTIME"].header["BUNIT"] == "s"
        assert WCS(file["EXPTIME"].header).has_celestial
        assert [unit.name for unit in file if isinstance(unit, fits.BinTableHDU)] == list(COLUMNS)
        for name, columns in COLUMNS.items():
            unit = file[name]
            assert ("EXTVER" in unit.header) == (name == "OBJCAT"), "as DRAGONS takes tables for an image's"
            assert [column.unit or "" for column in unit.columns] == [
                physical for physical, _ in columns.values()
            ]
            assert all(unit.header.comments[f"TTYPE{number}"] for number in range(1, len(columns) + 1))


def test_columns_of_every_table_are_described() -> None:
    kinds = {
        "OBJCAT": OBJECT,
        "NOISE": NOISE,
        "SKYSHARES": SHARE,
        "EXPOSURES": EXPOSURE,
        "RESIDUALS": RESIDUAL,
    }
    for table, kind in kinds.items():
        assert set(kind.names or ()) <= COLUMNS[table].keys(), table


def test_what_a_stack_has_no_data_for_is_read_as_nought_and_masked(tmp_path: Path) -> None:
    header = open_frame(raw_file(tmp_path / "raw.fits")).chips[0]
    data, mask = np.full((2, 6, 6), 3.0, np.float32), np.zeros((6, 6), np.uint16)
    data[:, 2], mask[2] = np.nan, 16
    path = write_frame(tmp_path / "S1_image.fits", primary_header(), [Chip(*data, mask, header)])
    chip = read_chip(open_frame(path), 0)
    for plane in (chip.data, chip.variance):
        assert np.array_equal(plane, np.where(mask == 16, 0.0, 3.0))
    with fits.open(path) as file:
        assert np.array_equal(np.isnan(file["SCI"].data), mask == 16)


@pytest.mark.parametrize("kind", ["int16", "int32", "uint16"])
def test_raw_integers_are_read_as_what_they_mean(tmp_path: Path, kind: str) -> None:
    image = np.arange(256 * 256).reshape(256, 256) % 30000
    path = write_raw(tmp_path / "raw.fits", primary_header(), {n: image.astype(kind) for n in (1, 2, 3, 4)})
    chip = read_chip(open_frame(path), 1)
    assert chip.data.dtype == np.float32
    assert np.array_equal(chip.data, image)
    assert not chip.variance.any()
    assert not chip.mask.any()


def test_a_missing_array_is_left_out_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    frame = open_frame(raw_file(tmp_path / "raw.fits", (1, 3, 4)))
    assert [chip["EXTVER"] for chip in frame.chips] == [1, 3, 4]
    assert read_chip(frame, 1).data[0, 0] == 300


def test_bad_files_are_refused_by_name_and_reason(tmp_path: Path) -> None:
    whole = raw_file(tmp_path / "whole.fits")
    short = tmp_path / "short.fits"
    short.write_bytes(whole.read_bytes()[:-50000])
    with pytest.raises(BadFile, match=r"short.fits ends \d+ bytes too early"):
        open_frame(short)
    text = tmp_path / "text.fits"
    text.write_text("No such file, says the archive")
    with pytest.raises(BadFile, match="is not FITS"):
        open_frame(text)
    (tmp_path / "none.fits").touch()
    with pytest.raises(BadFile, match="is empty"):
        open_frame(tmp_path / "none.fits")
    with pytest.raises(BadFile, match="No such file"):
        open_frame(tmp_path / "missing.fits")
    other = write_raw(
        tmp_path / "other.fits", primary_header(INSTRUME="NIRI"), {1: np.zeros((8, 8), np.float32)}
    )
    with pytest.raises(BadFile, match="NIRI"):
        open_frame(other)
    with fits.open(whole) as file:
        fits.HDUList([*file, fits.ImageHDU(np.zeros((8, 8)))]).writeto(tmp_path / "five.fits")
    with pytest.raises(BadFile, match="5 image extensions"):
        open_frame(tmp_path / "five.fits")


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    frame = open_frame(raw_file(tmp_path / "raw.fits"))

    def chips():  # type: ignore[no-untyped-def]
        yield read_chip(frame, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_frame(tmp_path / "out.fits", frame.header, chips())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw.fits"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # astrodata closes no file
def test_astrodata_opens_a_product(astrodata: ModuleType, tmp_path: Path) -> None:
    opened = astrodata.open(product(tmp_path / "S1_flat.fits"))
    assert len(opened) == 4
    assert opened[0].mask is not None
    assert opened[0].variance is not None


def test_a_bad_file_in_a_list_does_not_stop_the_others(tmp_path: Path) -> None:
    whole, short = raw_file(tmp_path / "whole.fits"), tmp_path / "short.fits"
    short.write_bytes(whole.read_bytes()[:-50000])
    refused: dict[str, str] = {}

    def tell(event: str, /, **facts: str) -> None:
        refused[facts["name"]] = f"{event}: {facts['reason']}"

    frames = open_frames([short, whole], tell)
    assert [frame.path.name for frame in frames] == ["whole.fits"]
    assert refused["short.fits"].startswith("refused: short.fits ends")
    with pytest.raises(BadFile, match="too early"):
        open_frames([short])


def test_a_cube_of_one_plane_is_read_and_written_as_the_image_that_it_is(tmp_path: Path) -> None:
    """Raw files of some instruments have a third axis of one pixel: they had no image for us."""
    counts = np.arange(4 * 256 * 256, dtype=np.int32).reshape(4, 256, 256)
    path = raw_file(tmp_path / "raw.fits")
    with fits.open(path, mode="update") as file:
        for unit, plane in zip(file[1:], counts, strict=True):
            unit.data = plane[None]
            unit.header.update({"CD3_3": 1.0, "AXISLAB3": "Extensions"})
    frame = open_frame(path)
    assert np.array_equal(read_chip(frame, 1).data, counts[1])
    assert np.array_equal(read_chip(frame, 1, slice(7, 9)).data, counts[1][7:9])
    made = write_frame(tmp_path / "S1_flat.fits", frame.header, [read_chip(frame, n) for n in range(4)])
    with fits.open(made, checksum=True) as file:
        file.verify("exception")
        assert file[1].header["NAXIS"] == 2
        assert not {"NAXIS3", "CD3_3", "AXISLAB3"} & set(file[1].header)
        assert WCS(file[1].header).naxis == 2
