"""A simulated night of Flamingos-2 by physics: raw files card by card as the telescope's, and their truth."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from goafetch.events import Notify, Progressed, StageBegun, StageEnded, silent
from goafetch.practice.goa.holdings import kept_headers

F64 = NDArray[np.float64]

PROGRAM, CALIBRATIONS = "GS-2017A-Q-60", "GS-CAL20170505"
NAME, RA, DEC = "Field", 201.358, -43.033
START = datetime(2017, 5, 5, 3, 0, 0)
SIDE = 2048
#: Of stars: FWHM in pixels, how steeply the wings of a Moffat profile fall, and the pixels about a star that
#: are drawn: beyond, the brightest has a thousandth of an electron.
FWHM, BETA, DRAWN = 3.4, 3.2, 60


@cache
def read_numbers() -> dict[str, Any]:
    """The published numbers of the array."""
    text = files("reducer").joinpath("instruments", "flamingos2", "arrays.json").read_text(encoding="utf-8")
    numbers: dict[str, Any] = json.loads(text)
    return numbers


@cache
def real_cards() -> dict[str, list[tuple[str, Any, str]]]:
    """The cards of a real raw file, of its primary header and its extension: key, value, comment."""
    text = files(__package__).joinpath("flamingos2_cards.json").read_text(encoding="utf-8")
    cards: dict[str, list[tuple[str, Any, str]]] = json.loads(text)
    return cards


@dataclass
class Night:
    """A night in one filter of a window about the middle of the array, of which ``side`` pixels are drawn.

    ``seconds``, ``flat_seconds``: exposure times; ``sky``: electrons a pixel and exposure; ``angle``: the
    position angle, degrees; ``step``: arcsec between dithers; ``reads``: that are summed. ``circle``: what is
    lit, x, y and radius in pixels of the window, and ``pointing``, where the telescope puts the target; those
    of the array unless given.
    """

    side: int = 512
    filter: str = "J_G0802"
    seconds: float = 60.0
    flat_seconds: float = 10.0
    sky: float = 6000.0
    angle: float = 0.0
    stars: int = 90
    seed: int = 1
    dithers: int = 9
    step: float = 8.0
    reads: int = 1
    circle: tuple[float, float, float] | None = None
    pointing: tuple[float, float] | None = None
    truth: F64 = field(init=False)
    response: F64 = field(init=False)
    dark: F64 = field(init=False)

    def __post_init__(self) -> None:
        """Draw stars (arcsec east and north of the target, electrons in an exposure), the response of the
        pixels, and the electrons a second that come without light."""
        rng, reach = np.random.default_rng([self.seed, 60]), 0.5 * self.side * self.scale
        angle, radius = rng.uniform(0, 2 * np.pi, self.stars), np.sqrt(rng.uniform(0, 1, self.stars)) * reach
        light = 10 ** rng.uniform(3.6, 5.4, self.stars)
        self.truth = np.stack([radius * np.cos(angle), radius * np.sin(angle), light], axis=1)
        x, y = self.pixels
        xc, yc, edge = self.lit
        away = np.hypot(x - xc, y - yc) / edge
        pixels = rng.normal(1.0, 0.02, x.shape) * (1.0 + 0.03 * np.sin(x / 37.0) * np.cos(y / 51.0))
        pixels[rng.random(x.shape) < 5e-4] = 0.1
        self.response = (1.0 - 0.15 * away**2) * pixels * (away < 1.0)
        hot = np.where(rng.random(x.shape) < 5e-4, 20.0, 0.0)
        self.dark = 0.4 + 1.5 * np.exp(-np.hypot(x, y) / (0.2 * self.side)) + hot

    @property
    def scale(self) -> float:
        """Arcsec per pixel."""
        return float(read_numbers()["pixel_scale_arcsec"])

    @property
    def first(self) -> int:
        """The first row and column of the array that the window holds, from 0."""
        return (SIDE - self.side) // 2

    @property
    def pixels(self) -> tuple[F64, F64]:
        """Columns and rows of the window's pixels, from 0."""
        y, x = np.mgrid[: self.side, : self.side].astype(float)
        return x, y

    @property
    def lit(self) -> tuple[float, float, float]:
        """The circle in pixels of the window."""
        x, y = (each - 1 - self.first for each in read_numbers()["circle_centre_xy_1based"])
        return self.circle or (x, y, float(read_numbers()["circle_radius_pix"]))

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which pixels are lit."""
        (x, y), (xc, yc, edge) = self.pixels, self.lit
        return np.asarray(np.hypot(x - xc, y - yc) < edge)

    @property
    def origin(self) -> tuple[float, float]:
        """The pixel of the window, from 0, on which the telescope puts the target."""
        x, y = (each - 1 - self.first for each in read_numbers()["pointing_xy_1based"])
        return self.pointing or (x, y)

    @cached_property
    def offsets(self) -> F64:
        """P and Q of the exposures of the target, arcsec."""
        rng = np.random.default_rng([self.seed, 61])
        nodes = np.array([(i - 1, j - 1) for i in range(3) for j in range(3)], float)
        return (nodes * self.step + rng.uniform(-1, 1, nodes.shape))[: self.dithers]

    def light(self, p: float, q: float) -> F64:
        """Electrons of sky and stars before the array, offset by (p, q) arcsec: q lies along x, p along y."""
        x0, y0 = self.origin
        image = np.full((self.side, self.side), self.sky)
        width = FWHM / (2 * np.sqrt(2 ** (1 / BETA) - 1))
        peak = (BETA - 1) / (np.pi * width**2)
        sine, cosine = np.sin(np.radians(self.angle)), np.cos(np.radians(self.angle))
        for east, north, flux in self.truth:
            x = x0 + (east * sine + north * cosine - q) / self.scale
            y = y0 + (east * cosine - north * sine - p) / self.scale
            columns, rows = (
                np.arange(max(round(c) - DRAWN, 0), min(round(c) + DRAWN, self.side)) for c in (x, y)
            )
            if len(columns) and len(rows):
                away = (columns - x) ** 2 + (rows[:, None] - y) ** 2
                part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                image[part] += flux * peak * (1 + away / width**2) ** -BETA
        return image

    def exposures(self) -> Iterator[tuple[int, F64 | float, float, dict[str, Any]]]:
        """Number, light before the array, seconds and cards of each: flats and what belongs to them, darks,
        the dithered field. In K the closed shutter is the light of flats, and darks belong to them."""
        flat = {
            "OBJECT": "GCALflat", "OBSTYPE": "FLAT", "OBSCLASS": "dayCal", "GCALLAMP": "IRhigh",
            "FRAME": "AZEL_TOPO", "TRKFRAME": "AZEL_TOPO",
        }  # fmt: skip
        dark = {"OBJECT": "Dark", "OBSTYPE": "DARK", "OBSCLASS": "dayCal"}
        is_closed = self.filter.startswith("K")
        for n in range(1, 9):
            yield n, 25000.0, self.flat_seconds, flat | {"GCALSHUT": "CLOSED" if is_closed else "OPEN"}
        for n in range(11, 19):
            if is_closed:
                yield n, 0.0, self.flat_seconds, dark
            else:
                yield n, 1500.0, self.flat_seconds, flat | {"GCALSHUT": "CLOSED"}
        for n in range(21, 31):
            yield n, 0.0, self.seconds, dark
        for n, (p, q) in enumerate(self.offsets, 101):
            yield n, self.light(p, q), self.seconds, {"POFFSET": p, "QOFFSET": q}

    def to_fits(self, number: int, light: F64 | float, seconds: float, cards: Mapping[str, Any]) -> bytes:
        """A raw file's bytes: a primary header without data, then a cube of one plane."""
        counts = expose(light * self.response + self.dark * seconds, self.reads, (self.seed, number))
        chip = fits.ImageHDU(counts[None])
        primary = fits.PrimaryHDU()
        whose = _whose(number, cards.get("OBSTYPE", "OBJECT"))
        known = {**self.cards(number, seconds), **whose, **cards}
        p, q = known["POFFSET"], known["QOFFSET"]
        east, north = self.on_sky(p, q)
        known |= {"RAOFFSET": east, "DECOFFSE": north, "XOFFSET": -p, "YOFFSET": -q}
        _put(primary.header, real_cards()["primary"], known)
        _put(chip.header, real_cards()["extension"], self.wcs(east, north))
        if self.side < SIDE and self.circle is None:
            section = f"[{self.first + 1}:{self.first + self.side},{self.first + 1}:{self.first + self.side}]"
            chip.header["CCDSEC"] = (section, "a window, which the true instrument has not")
        buffer = io.BytesIO()
        fits.HDUList([primary, chip]).writeto(buffer)
        return buffer.getvalue()

    def cards(self, number: int, seconds: float) -> dict[str, Any]:
        """What the primary header of an exposure says otherwise than the real one."""
        when = begun(number)
        micron = {"J": 12500.0, "H": 16500.0, "Y": 10200.0}.get(self.filter[0], 22000.0)
        return {
            "OBJECT": NAME, "RA": RA, "DEC": DEC, "UT": f"{when:%H:%M:%S}.9",
            "TIME-OBS": f"{when:%H:%M:%S}.9", "DATE-OBS": f"{when:%Y-%m-%d}", "DATE": f"{when:%Y-%m-%d}",
            "UTSTART": f"{when:%H:%M:%S}.942711", "UTEND": f"{when:%H:%M:%S}.1",
            "POFFSET": 0.0, "QOFFSET": 0.0, "PA": self.angle,
            "PWFS2_ST": "parked", "OIWFS_ST": "guiding", "NREADS": self.reads, "LNRS": self.reads,
            "READMODE": "Bright" if self.reads == 1 else "Dark", "EXPTIME": seconds, "WAVELENG": micron,
            "FILTER": self.filter, "FILTER1": self.filter, "AIRMASS": 1.05, "AMSTART": 1.05, "AMEND": 1.05,
            "MJD-OBS": float(np.float32(57878.125)), "RELEASE": "2017-11-05",
            "DHSLABEL": f"S20170505S{number:04d}",
        }  # fmt: skip

    def on_sky(self, p: float, q: float) -> tuple[float, float]:
        """Arcsec east and north of an offset."""
        sine, cosine = np.sin(np.radians(self.angle)), np.cos(np.radians(self.angle))
        return float(p * cosine + q * sine), float(q * cosine - p * sine)

    def wcs(self, east: float, north: float) -> dict[str, Any]:
        """The cards of the extension's WCS, in single precision as the telescope writes them."""
        sine, cosine = np.sin(np.radians(self.angle)), np.cos(np.radians(self.angle))
        step = self.scale / 3600
        numbers = {
            "CRPIX1": self.origin[0] + 1, "CRPIX2": self.origin[1] + 1,
            "CRVAL1": RA + east / 3600 / np.cos(np.radians(DEC)), "CRVAL2": DEC + north / 3600,
            "CD1_1": step * sine, "CD1_2": step * cosine, "CD2_1": step * cosine, "CD2_2": -step * sine,
            "MJD-OBS": 57878.125,
        }  # fmt: skip
        return {key: float(np.float32(value)) for key, value in numbers.items()}

    def write(self, folder: Path, number: int, light: F64 | float, seconds: float, **cards: Any) -> Path:
        """One raw file of some light before the array."""
        path = folder / f"S20170505S{number:04d}.fits"
        path.write_bytes(self.to_fits(number, light, seconds, cards))
        return path

    def take(self, folder: Path) -> Path:
        """All raw files in a folder that is made."""
        folder.mkdir()
        for number, light, seconds, cards in self.exposures():
            self.write(folder, number, light, seconds, **cards)
        return folder


def begun(number: int) -> datetime:
    """When an exposure began (UTC)."""
    return START + timedelta(seconds=90.0 * number)


def _whose(number: int, kind: str) -> dict[str, str]:
    """Program, observation and label of an exposure of a type."""
    program = PROGRAM if kind == "OBJECT" else CALIBRATIONS
    observation = f"{program}-{ {'OBJECT': 8, 'FLAT': 3, 'DARK': 5}[kind] }"
    return {"GEMPRGID": program, "OBSID": observation, "DATALAB": f"{observation}-{number:03d}"}


def _put(header: fits.Header, cards: list[tuple[str, Any, str]], known: Mapping[str, Any]) -> None:
    """Put the cards of a real file into a header, with what is known of this one; what is new goes last."""
    names = {key for key, _, _ in cards}
    news = [(key, value, "") for key, value in known.items() if key not in names]
    for key, value, comment in (*cards, *news):
        said = known.get(key, value)
        room = 80 - len(str(fits.Card(key, said)).rstrip()) - len(" / ")
        header.append((key, said, comment[: max(room, 0)]), end=True)


def expose(electrons: F64, reads: int, seed: tuple[int, int]) -> NDArray[np.int32]:
    """The counts, summed over the reads, of a mean number of electrons: shot noise, the response that is not
    linear, read noise, and the well."""
    numbers, rng = read_numbers(), np.random.default_rng(seed)
    noise = numbers["read_modes_by_LNRS"][str(reads)]["read_noise_e"]
    read = as_read(rng.poisson(electrons).astype(float)) + noise * rng.standard_normal(electrons.shape)
    counts = read / (numbers["gain_e_per_adu_single_read"] / reads)
    whole: NDArray[np.int32] = np.round(counts).astype(np.int32)
    return np.minimum(whole, np.int32(numbers["saturation_adu_single_read"] * reads))


def as_read(electrons: F64) -> F64:
    """The electrons that true ones are read as: the inverse of c (a0 + a1 c + a2 c^2)."""
    a0, a1, a2 = read_numbers()["nonlinearity_coefficients"]
    read = electrons.copy()
    for _ in range(5):
        read -= (read * (a0 + read * (a1 + read * a2)) - electrons) / (a0 + read * (2 * a1 + 3 * a2 * read))
    return read


# --- a program of the practice archive -------------------------------------------------------------


def build_program(
    folder: Path,
    *,
    seed: int = 1,
    full_size: bool = False,
    truth: Path | None = None,
    notify: Notify = silent,
    night: Night | None = None,
) -> list[dict[str, Any]]:
    """Make all files of a night, one in J unless given, in a folder, as .fits.bz2, and ``holdings.json``.

    ``truth``: where stars, response, dark and offsets are written. Returns the holdings: one record a file.
    """
    side, stars = (SIDE, 1200) if full_size else (512, 90)
    night = night or Night(side=side, stars=stars, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    exposures, records = list(night.exposures()), []
    notify(StageBegun("simulate", len(exposures)))
    for done, (number, light, seconds, cards) in enumerate(exposures, 1):
        records.append(_store(night, folder, number, night.to_fits(number, light, seconds, cards)))
        notify(Progressed("simulate", done, len(exposures)))
    (folder / "holdings.json").write_text(json.dumps(records, indent=1), encoding="utf-8")
    if truth is not None:
        truth.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            truth / "night.npz",
            stars=night.truth,
            response=night.response,
            dark=night.dark,
            offsets=night.offsets,
            sky=night.sky,
        )
    notify(StageEnded("simulate"))
    return records


def _store(night: Night, folder: Path, number: int, content: bytes) -> dict[str, Any]:
    """Write one file, compressed, and its headers beside it; its record."""
    stored, name = bz2.compress(content), f"S20170505S{number:04d}.fits"
    (folder / f"{name}.bz2").write_bytes(stored)
    kept = kept_headers(folder / f"{name}.bz2")
    kept.parent.mkdir(exist_ok=True)
    with fits.open(io.BytesIO(content)) as units:
        kept.write_bytes(b"".join(unit.header.tostring().encode("ascii") for unit in units))
        primary = units[0].header.copy()
    return _record(night, number, primary, name, stored, content)


def _record(
    night: Night, number: int, primary: fits.Header, name: str, stored: bytes, content: bytes
) -> dict[str, Any]:
    """What the archive says of a file; keys of a real answer in their order, as for every instrument."""
    kind, when = primary["OBSTYPE"], begun(number)
    whose = _whose(number, kind)
    taken = (when + timedelta(seconds=240)).strftime("%Y-%m-%d %H:%M:%S.%f+00:00")
    lamp = {"OPEN": "IRhigh", "CLOSED": "Off"}.get(primary.get("GCALSHUT", ""))
    on_sky = kind == "OBJECT"
    md5, data_md5 = (hashlib.md5(each, usedforsecurity=False).hexdigest() for each in (stored, content))
    tags = ["F2", "GEMINI", "SOUTH", "RAW", "UNPREPARED", *_tags(kind, primary.get("GCALSHUT", ""))]
    return {
        **{"name": name, "filename": f"{name}.bz2", "path": "", "compressed": True},
        **{"file_size": len(stored), "data_size": len(content), "file_md5": md5, "data_md5": data_md5},
        **{"lastmod": taken, "mdready": True, "entrytime": taken, "present": True, "canonical": True},
        **{"size": len(stored), "md5": md5, "pending_ingest": False, "program_id": whose["GEMPRGID"]},
        **{"engineering": False, "science_verification": False, "processing": "Raw"},
        **{"calibration_program": not on_sky, "observation_id": whose["OBSID"]},
        **{"data_label": whose["DATALAB"], "telescope": "Gemini-South", "instrument": "F2"},
        "ut_datetime": when.strftime("%Y-%m-%d %H:%M:%S"),
        "local_time": (when - timedelta(hours=3)).strftime("%H:%M:%S"),
        **{"observation_type": kind, "observation_class": primary["OBSCLASS"], "object": primary["OBJECT"]},
        **{"ra": RA if on_sky else None, "dec": DEC if on_sky else None, "azimuth": 180.0, "elevation": 75.0},
        **{"cass_rotator_pa": 0.0, "airmass": 1.05, "filter_name": night.filter.partition("_")[0]},
        **{"exposure_time": primary["EXPTIME"] * primary["COADDS"], "disperser": "Open", "camera": "f/16"},
        **{"central_wavelength": None, "wavelength_band": night.filter[0], "focal_plane_mask": "Open"},
        **{"detector_binning": "1x1", "detector_gain_setting": None, "detector_roi_setting": "Fixed"},
        **{"detector_readspeed_setting": None, "detector_welldepth_setting": None},
        **{"detector_readmode_setting": str(primary["LNRS"]), "spectroscopy": False, "mode": "imaging"},
        **{"adaptive_optics": False, "laser_guide_star": False},
        **{"wavefront_sensor": "OIWFS" if on_sky else None, "gcal_lamp": lamp},
        **{"raw_iq": 70, "raw_cc": 50, "raw_wv": 100, "raw_bg": 100},
        **{"requested_iq": 70, "requested_cc": 50, "requested_wv": 100, "requested_bg": 100},
        **{"qa_state": "Pass", "release": "2017-11-05" if on_sky else "2017-05-05", "reduction": "RAW"},
        **{"types": "{" + ", ".join(f"'{tag}'" for tag in tags) + "}", "phot_standard": None},
        "_extra": {"proprietary_coordinates": False, "associated": True, "coadds": 1, "standards": []},
    }


def _tags(kind: str, shutter: str) -> tuple[str, ...]:
    if kind == "DARK":
        return ("DARK", "CAL", "SIDEREAL")
    if kind == "FLAT":
        return ("IMAGE", "FLAT", "CAL", "GCALFLAT", "LAMPON" if shutter == "OPEN" else "LAMPOFF")
    return ("IMAGE", "SIDEREAL")
