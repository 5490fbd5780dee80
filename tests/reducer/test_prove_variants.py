"""One night told in other ways: other pixel types, older headers, holes, few skies; the result stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from goafetch.practice.exposure.night import Night
from goafetch.practice.simulate import build_program
from reducer import dq, recipes
from reducer.errors import MissingCalibration
from reducer.fitsio import read_chip
from reducer.frame import Chip, Context
from reducer.run import open_frames, run_recipe

pytestmark = pytest.mark.prove

KINDS = frozenset({"science", "sky", "lamp-on", "lamp-off", "mask"})
Change = Callable[[fits.HDUList, str], None]


@dataclass(frozen=True)
class Told:
    """A night's raw files, and the kind of each exposure."""

    folder: Path
    kinds: dict[str, str]

    def names(self, kind: str) -> list[str]:
        return sorted(name for name, found in self.kinds.items() if found == kind)

    def reduce(
        self, made: Path, change: Change | None = None, without: frozenset[str] = frozenset()
    ) -> list[list[Chip]]:
        """The chips of each object exposure, from raw files that are changed first."""
        raw = made / "raw"
        raw.mkdir()
        for path in sorted(self.folder.glob("S*.fits")):
            if path.stem in without:
                continue
            with fits.open(path, memmap=False) as units:
                if change:
                    change(units, self.kinds[path.stem])
                units.writeto(raw / path.name)

        def of(*kinds: str) -> list[Path]:
            return [path for path in sorted(raw.glob("S*.fits")) if self.kinds[path.stem] in kinds]

        bpm = next(self.folder.glob("bpm*.fits"))
        lamps = open_frames(of("lamp-on", "lamp-off"))
        flat = run_recipe(recipes.makeProcessedFlat, lamps, Context(made, bpm=bpm))[0].path
        context = Context(made, flat=flat, bpm=bpm)
        products = run_recipe(recipes.reduce_nostack, open_frames(of("science", "sky")), context)
        objects = [product for product in products if product.path.stem.endswith("_skyCorrected")]
        return [[read_chip(frame, index) for index in range(len(frame.chips))] for frame in objects]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("night")
    plan = Night(
        seed=61, sky_order="interleaved", dither=1.0, objects=3, skies=3, flats=3, size=256,
        compress=False, only=KINDS,
    )  # fmt: skip
    build_program("tutorial", folder, truth=folder / "truth", workers=1, night=plan)
    entries = json.loads((folder / "truth" / "exposures.json").read_text())
    return Told(folder, {entry["name"]: entry["kind"] for entry in entries})


@pytest.fixture(scope="module")
def plain(night: Told, tmp_path_factory: pytest.TempPathFactory) -> list[list[Chip]]:
    return night.reduce(tmp_path_factory.mktemp("plain"))


def compare(found: list[list[Chip]], plain: list[list[Chip]], level: float, pixel: float) -> None:
    """Levels, electrons, and the scatter of pixels over their stated noise, between two reductions."""
    assert len(found) == len(plain)
    for chips, others in zip(found, plain, strict=True):
        arrays = {int(chip.header["EXTVER"]): chip for chip in others}
        for chip in chips:
            other = arrays[int(chip.header["EXTVER"])]
            good = (chip.mask | other.mask) & dq.UNUSABLE == 0
            assert good.mean() > 0.9
            gap = (chip.data - other.data)[good]
            assert abs(float(np.median(gap))) < level
            assert float(np.std(gap / np.sqrt(other.variance[good]))) < pixel


def in_integers(units: fits.HDUList, _: str) -> None:
    for unit in units[1:]:
        unit.data = np.rint(unit.data).astype(np.int32)


def in_unsigned_integers(units: fits.HDUList, _: str) -> None:
    for unit in units[1:]:
        unit.data = np.clip(np.rint(unit.data), 0, 65535).astype(np.uint16)


def without_gain(units: fits.HDUList, kind: str) -> None:
    for unit in units[1:]:
        for key in ("GAIN", "RDNOISE"):
            if kind == "sky":
                unit.header[key] = 0
            else:
                unit.header.remove(key, ignore_missing=True)


def from_2012(units: fits.HDUList, _: str) -> None:
    header = units[0].header
    header["DATE-OBS"] = header["DATE-OBS"].replace("2017", "2012")
    header["LNRS"] = 1


def with_moving_wheel(units: fits.HDUList, kind: str) -> None:
    if kind == "science":
        units[0].header["FILTER2"], units[0].header["FILT2POS"] = "Unknown", 6933


@pytest.mark.parametrize(
    "change", [in_integers, in_unsigned_integers, without_gain, from_2012, with_moving_wheel]
)
def test_the_same_night_told_otherwise_is_reduced_to_the_same(
    night: Told, plain: list[list[Chip]], tmp_path: Path, change: Change
) -> None:
    compare(night.reduce(tmp_path, change), plain, level=1.0, pixel=0.05)


def test_twilights_and_lamps_of_the_calibration_unit_need_no_lamp_off(
    night: Told, plain: list[list[Chip]], tmp_path: Path
) -> None:
    def fading(units: fits.HDUList, kind: str) -> None:
        if kind == "lamp-on":
            units[0].header["OBJECT"] = "Twilight"
            part = 1 - 0.1 * (int(float(units[0].header["UT"].split(":")[2])) % 4)
            for unit in units[1:]:
                unit.data = (part * unit.data).astype(np.float32)

    def calibration_unit(units: fits.HDUList, kind: str) -> None:
        if kind == "lamp-on":
            units[0].header["OBSTYPE"], units[0].header["OBJECT"] = "FLAT", "GCALflat"

    without = frozenset(night.names("lamp-off"))
    for name, change in (("twilight", fading), ("gcal", calibration_unit)):
        (tmp_path / name).mkdir()
        compare(night.reduce(tmp_path / name, change, without), plain, level=5.0, pixel=0.2)


def test_a_guide_window_is_masked_and_its_surroundings_are_not(
    night: Told, plain: list[list[Chip]], tmp_path: Path
) -> None:
    hole = np.s_[71:103, 71:103]  # around pixel 984 of the array, whose region begins at 897

    def guided(units: fits.HDUList, kind: str) -> None:
        if kind == "science":
            values = {"GWFS1CFG": "ODGW2", "GWFS1X": 984, "GWFS1Y": 984, "GWFS1SIZ": 32}
            units[0].header.update(values)
            units[2].data[hole] = 0.0

    found = night.reduce(tmp_path, guided)
    for chips in found:
        assert (chips[1].mask[hole] & dq.BAD).all()
    compare(found, plain, level=2.0, pixel=0.1)


def test_an_array_that_is_missing_changes_nothing_in_the_others(
    night: Told, plain: list[list[Chip]], tmp_path: Path
) -> None:
    def lame(units: fits.HDUList, kind: str) -> None:
        if kind == "science":
            del units[3]

    found = night.reduce(tmp_path, lame)
    assert [int(chip.header["EXTVER"]) for chip in found[0]] == [1, 2, 4]
    compare(found, plain, level=15.0, pixel=0.1)


@pytest.mark.parametrize("number", [1, 2])
def test_fewer_skies_move_the_level_within_its_limit(
    night: Told, plain: list[list[Chip]], tmp_path: Path, number: int
) -> None:
    without = frozenset(night.names("sky")[number:])
    compare(night.reduce(tmp_path, None, without), plain, level=60.0, pixel=1.2)


def test_one_object_exposure_is_reduced_with_skies_and_refused_alone(
    night: Told, plain: list[list[Chip]], tmp_path: Path
) -> None:
    others = frozenset(night.names("science")[1:])
    (tmp_path / "with").mkdir()
    compare(night.reduce(tmp_path / "with", None, others), plain[:1], level=40.0, pixel=0.1)
    (tmp_path / "alone").mkdir()
    with pytest.raises(MissingCalibration, match="0 sky exposures"):
        night.reduce(tmp_path / "alone", None, others | frozenset(night.names("sky")))
