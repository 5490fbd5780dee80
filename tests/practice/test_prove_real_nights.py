"""Nights whose frames carry the habits of real headers, reduced to a stack and compared with the truth.

The simulator's own epochs have the same habits by its own hand; here frames of one good night are changed
afterwards, as the text dumps of real headers outside the project show them.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from real_headers import REAL, real_headers

from goafetch.pipeline.run import run
from goafetch.pipeline.summary import RunReport
from goafetch.practice.exposure.night import Night
from goafetch.practice.simulate import build_program
from reducer.astrometry import plane_to_sky, sky_to_plane

pytestmark = [pytest.mark.prove, pytest.mark.skipif(not REAL.is_dir(), reason="no real headers at hand")]

Change = Callable[[fits.HDUList, str], None]
#: GAIN and RDNOISE of one coadd with LNRS 2, as S20140122S0227 has them in its arrays.
GAIN, NOISE = (2.434, 2.01, 2.411, 2.644), (26.53, 19.1, 27.24, 32.26)


@dataclass(frozen=True)
class Plain:
    """A night on disk as the simulator makes it, at some position angle, and the kind of each exposure."""

    folder: Path
    kinds: dict[str, str]
    angle: float

    def changed(self, into: Path, change: Change) -> RunReport:
        """What comes of the night with its frames changed."""
        raw = into / "raw"
        raw.mkdir(parents=True)
        for path in sorted(self.folder.glob("raw/*.fits")):
            if path.stem not in self.kinds:
                shutil.copy(path, raw)
                continue
            with fits.open(path, memmap=False) as units:
                change(units, self.kinds[path.stem])
                units.writeto(raw / path.name)
        standards = self.folder / "truth" / "standards.csv"
        return run(
            raw, into=into / "ws", workers=1, catalog="none", phot_catalog="none", standards=str(standards)
        )

    def check_zeropoint(self, report: RunReport) -> None:
        """The zeropoint at airmass 0 is the truth within three of its errors, which are small."""
        told = json.loads((self.folder / "truth" / "program.json").read_text())
        (stack,) = [path for path in report.stacks if fits.getheader(path)["OBSCLASS"] == "partnerCal"]
        header = fits.getheader(stack)
        assert header["PHOTZPER"] < 0.05
        true = told["zeropoint_on_stack_scale"]["Kshort"]
        print(f"PHOTZP0 {header['PHOTZP0']:.4f}, true {true:.4f}, error {header['PHOTZPER']:.4f}")
        assert abs(header["PHOTZP0"] - true) < 3 * header["PHOTZPER"]

    def check_rotation(self, report: RunReport, most: float) -> None:
        """Stars of the stack lie where they are but for a shift, within ``most`` degrees of rotation."""
        (stack,) = [path for path in report.stacks if fits.getheader(path)["OBSCLASS"] == "science"]
        table = fits.getdata(stack, "OBJCAT")
        with np.load(next(self.folder.glob("truth/catalogue_NGC5128.npz"))) as stars:
            tangent = tuple(stars["tangent"])
            true = np.stack(sky_to_plane(stars["ra"], stars["dec"], tangent), axis=1)[
                np.argsort(stars["magnitude"])[:5000]
            ]
        bright = np.argsort(-table["FLUX_APER"][:, 0])[:300]
        found = np.stack(sky_to_plane(table["RA"][bright], table["DEC"][bright], tangent), axis=1)
        turn, shift, pairs = best_match(found, true)
        print(
            f"rotation {turn:+.4f} degree, shift {shift}, {pairs} stars, ROTERR",
            fits.getheader(stack)["ROTERR"],
        )
        assert pairs > 20
        assert abs(turn) < most
        assert np.hypot(*shift) < 1.0


def best_match(found: np.ndarray, true: np.ndarray) -> tuple[float, np.ndarray, int]:
    """Rotation (degrees) and shift (arcsec) of found places (n, 2) against true ones; how many agree."""
    gaps = (found[:, None] - true[None]).reshape(-1, 2)
    gaps = gaps[np.hypot(*gaps.T) < 2.0]
    votes = [int((np.hypot(*(gaps - gap).T) < 0.1).sum()) for gap in gaps]
    shift, turn, count = gaps[int(np.argmax(votes))], 0.0, 0
    for reach in (0.12, 0.06, 0.04):
        expected = true + shift + turn * np.stack([-true[:, 1], true[:, 0]], axis=1)
        away = np.hypot(*np.moveaxis(found[:, None] - expected[None], 2, 0))
        rows, columns = np.nonzero(away < reach)
        place, count = true[columns], len(rows)
        one, zero = np.ones(count), np.zeros(count)
        design = np.concatenate([np.c_[one, zero, -place[:, 1]], np.c_[zero, one, place[:, 0]]])
        gap = (found[rows] - place).T.ravel()
        east, north, turn = np.linalg.lstsq(design, gap, rcond=None)[0]
        shift = np.array([east, north])
    return float(np.degrees(turn)), shift, count


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """A night of 512 pixels with a standard, five dithered exposures of a crowded field and flats."""
    folder = tmp_path_factory.mktemp("plain")
    night = Night(
        seed=5, size=512, objects=5, skies=0, flats=6, dither=1.0, scenery="crowded", position_angle=30.0,
        compress=False,
    )  # fmt: skip
    build_program("tutorial", folder / "raw", truth=folder / "truth", workers=1, night=night)
    entries = json.loads((folder / "truth" / "exposures.json").read_text())
    return Plain(folder, {entry["name"]: entry["kind"] for entry in entries}, 30.0)


def sections(header: fits.Header, key: str) -> tuple[int, int]:
    """Where a section begins, 1-based column and row."""
    found = re.match(r"\[(\d+):\d+,(\d+):", header[key])
    assert found is not None
    return int(found[1]), int(found[2])


def old_signs(units: fits.HDUList, kind: str) -> None:
    """RAOFFSET and DECOFFSE as until 2014 (S20140113S0167)."""
    primary = units[0].header
    if kind == "science":
        p, q, a = primary["POFFSET"], primary["QOFFSET"], math.radians(primary["PA"])
        primary["RAOFFSET"] = -p * math.cos(a) + q * math.sin(a)
        primary["DECOFFSE"] = -q * math.cos(a) - p * math.sin(a)


def origin_of_detsec(units: fits.HDUList, kind: str) -> None:
    """CRPIX of windows reduced by the origin of DETSEC, not CCDSEC's (S20181023S0087)."""
    for unit in units[1:]:
        if kind == "standard":
            for key, whole, part in zip(
                ("CRPIX1", "CRPIX2"),
                sections(unit.header, "DETSEC"),
                sections(unit.header, "CCDSEC"),
                strict=True,
            ):
                unit.header[key] -= whole - part


def calibration_unit(units: fits.HDUList, kind: str) -> None:
    """Flats by the calibration unit, told by its shutter (S20130201S0246)."""
    shutter = {"lamp-on": "OPEN", "lamp-off": "CLOSED"}.get(kind)
    if shutter:
        cards: dict[str, Any] = {
            "OBJECT": "GCALflat", "OBSTYPE": "FLAT", "OBSCLASS": "dayCal", "FRAME": "FK5", "TRKFRAME": "FK5",
            "RATRACK": 0.0, "DECTRACK": 0.0, "GCALLAMP": "IRhigh", "GCALFILT": "ND2.0", "GCALDIFF": "IR",
            "GCALSHUT": shutter,
        }  # fmt: skip
        units[0].header.update(cards)


def three_coadds(units: fits.HDUList, kind: str) -> None:
    """Means of three coadds, with gain and the read noise of one in each array (S20140122S0227)."""
    if kind in ("science", "standard"):
        units[0].header["COADDS"] = 3
        for unit, gain, noise in zip(units[1:], GAIN, NOISE, strict=True):
            unit.header["GAIN"], unit.header["RDNOISE"] = gain, noise


@pytest.mark.parametrize("change", [old_signs, origin_of_detsec, calibration_unit, three_coadds])
def test_a_night_with_a_habit_of_real_headers_has_the_true_zeropoint_and_rotation(
    plain: Plain, tmp_path: Path, change: Change
) -> None:
    report = plain.changed(tmp_path, change)
    plain.check_zeropoint(report)
    plain.check_rotation(report, 0.02)


@pytest.mark.parametrize("name", ["S20130126S0134", "S20140113S0167", "S20181023S0087"])
def test_the_wcs_of_a_real_header_leaves_the_true_rotation_without_a_catalogue(
    plain: Plain, tmp_path: Path, name: str
) -> None:
    """It was 0.077 degree off with that of S20140113S0167."""
    primary, *arrays = real_headers(name)[:5]
    a = math.radians(primary["PA"] - plain.angle)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])

    def layout(units: fits.HDUList, kind: str) -> None:
        if kind == "science":
            lay(units, arrays, turn)

    plain.check_rotation(plain.changed(tmp_path, layout), 0.02)


def lay(units: fits.HDUList, arrays: list[fits.Header], turn: np.ndarray) -> None:
    """Give frames CRPIX and CD of a real header, CRVAL so that the middle of the field stays where it is."""
    gaps = []
    for unit, real in zip(units[1:], arrays, strict=True):
        own, corner = unit.header, np.subtract(sections(unit.header, "CCDSEC"), 1)
        origin = (
            np.subtract(sections(real, "DETSEC"), 1) if sections(real, "CCDSEC") != (1, 1) else np.zeros(2)
        )
        pixel = np.array([real["CRPIX1"], real["CRPIX2"]]) + origin - corner
        matrix = turn @ np.array([[real["CD1_1"], real["CD1_2"]], [real["CD2_1"], real["CD2_2"]]])
        middle = np.array([own["NAXIS1"], own["NAXIS2"]]) / 2 + 0.5
        before = np.array([[own["CD1_1"], own["CD1_2"]], [own["CD2_1"], own["CD2_2"]]])
        gaps.append(before @ (middle - [own["CRPIX1"], own["CRPIX2"]]) - matrix @ (middle - pixel))
        (own["CD1_1"], own["CD1_2"]), (own["CD2_1"], own["CD2_2"]) = matrix.tolist()
        own["CRPIX1"], own["CRPIX2"] = (float(value) for value in pixel)
    east, north = np.mean(gaps, axis=0) * 3600
    place = units[1].header["CRVAL1"], units[1].header["CRVAL2"]
    ra, dec = plane_to_sky(np.array([east]), np.array([north]), place)
    for unit in units[1:]:
        unit.header["CRVAL1"], unit.header["CRVAL2"] = float(ra[0]), float(dec[0])
