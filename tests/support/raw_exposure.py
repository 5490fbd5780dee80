"""Raw exposures for tests: true electrons through the detector's published numbers, the other way round."""

from __future__ import annotations

import datetime as dt
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from goafetch.practice.exposure import optics
from reducer.astrometry import plane_to_sky
from reducer.instruments import KNOWN
from reducer.instruments.base import Levels

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = json.loads((ROOT / "reducer/instruments/gsaoi/arrays.json").read_text())["array_properties"]
ARRAYS = tuple(NUMBERS)
WIDTHS = KNOWN["GSAOI"].widths
READS = {"Bright Objects": 2, "Faint Objects": 8, "Very Faint Objects": 16}
ORIGIN = ((2048, 0), (0, 0), (0, 2048), (2048, 2048))
#: The middle of each array is read in most tests.
SIDE, FIRST = 256, 896
START = dt.datetime(2017, 5, 5, 3, 0, 0)
TARGET = (201.358, -43.033)
#: Arcsec from the field's centre to the middle of each array, nearly.
MIDDLES = ((21.5, -21.5), (-21.5, -21.5), (-21.5, 21.5), (21.5, 21.5))
#: The point of the static plane, arcsec, on which target plus offset falls.
CENTRE = (-5.8, -5.5)


def levels(array: int, mode: str = "Bright Objects") -> Levels:
    """The levels of an array in a read mode."""
    return KNOWN["GSAOI"].levels({"LNRS": READS[mode]}, array)


def counts(electrons: np.ndarray, array: int) -> np.ndarray:
    """Raw ADU that true electrons make (no noise): the inverse of c (a0 + a1 c + a2 c^2), cut at the well."""
    numbers = NUMBERS[ARRAYS[array - 1]]
    a0, a1, a2 = numbers["nonlinearity_coefficients"]
    read = np.array(electrons, float)
    for _ in range(8):
        read -= (read * (a0 + read * (a1 + read * a2)) - electrons) / (a0 + read * (2 * a1 + 3 * a2 * read))
    return np.minimum(read / numbers["gain_e_per_adu"], numbers["well_adu"])


def expose(
    rate: np.ndarray, array: int, rng: np.random.Generator, coadds: int = 1, mode: str = "Bright Objects"
) -> np.ndarray:
    """One read-out (ADU, float32) of true electrons per coadd, with photon and read noise."""
    numbers = NUMBERS[ARRAYS[array - 1]]
    noise = numbers["read_noise_e_single_coadd"][mode] / numbers["gain_e_per_adu"]
    total = np.zeros(rate.shape)
    for _ in range(coadds):
        photons = rng.poisson(np.maximum(rate, 0)) if rate.max() < 1e9 else rate
        total += counts(photons, array) + noise * rng.standard_normal(rate.shape)
    return (total / coadds).astype(np.float32)


def primary_header(minutes: float = 0.0, **cards: Any) -> fits.Header:
    """A primary header of a science exposure; cards replace or add, None removes."""
    start = START + dt.timedelta(minutes=minutes)
    header = fits.Header()
    header.update(
        {
            "INSTRUME": "GSAOI", "DETECTOR": "GSAOI", "TELESCOP": "Gemini-South", "OBSERVAT": "Gemini-South",
            "OBJECT": "Field", "OBSTYPE": "OBJECT", "OBSCLASS": "science", "OBSID": "GS-2017A-Q-29-6",
            "GEMPRGID": "GS-2017A-Q-29", "FILTER1": "Kshort_G1105", "FILTER2": "Clear", "EXPTIME": 60.0,
            "COADDS": 1, "LNRS": 2, "READMODE": "FOWLER", "DATE-OBS": start.strftime("%Y-%m-%d"),
            "UT": start.strftime("%H:%M:%S.0"), "RA": TARGET[0], "DEC": TARGET[1], "PA": 0.0, "INPORT": 1,
            "FRAME": "FK5", "TRKFRAME": "FK5", "RATRACK": 0.0, "DECTRACK": 0.0, "BUNIT": "ADU",
            "RAOFFSET": 0.0, "DECOFFSE": 0.0, "POFFSET": 0.0, "QOFFSET": 0.0,
        }
    )  # fmt: skip
    cards = {"POFFSET": cards.get("RAOFFSET", 0.0), "QOFFSET": cards.get("DECOFFSE", 0.0)} | cards
    for key, value in cards.items():
        header[key.replace("_", "-") if key == "DATE_OBS" else key] = value if value is not None else ""
        if value is None:
            del header[key]
    return header


@cache
def wcs_of(array: int) -> tuple[np.ndarray, np.ndarray]:
    """The 1-based pixel of a full array at the centre, and degrees per pixel, by the static model."""
    x, y = (side.ravel() for side in np.meshgrid(np.linspace(1, 2048, 9), np.linspace(1, 2048, 9)))
    design = np.stack([np.ones_like(x), x, y], axis=1)
    fit = np.linalg.lstsq(design, np.stack(optics.pixel_to_static(array - 1, x, y), axis=1), rcond=None)[0]
    return np.linalg.solve(fit[1:].T, CENTRE - fit[0]), fit[1:].T / 3600.0


def place_of(chip: fits.Header) -> np.ndarray:
    """Where the middle pixel of an array looks: degrees east of the target (on the sky), and dec."""
    ra, dec = WCS(chip).all_pix2world(chip["NAXIS1"] / 2, chip["NAXIS2"] / 2, 1)
    return np.array([(ra - TARGET[0]) * np.cos(np.radians(dec)), dec])


def array_header(
    array: int, primary: fits.Header, side: int = SIDE, first: int = FIRST, away: tuple[float, float] = (0, 0)
) -> fits.Header:
    """The header of one array's extension; ``away``: arcsec by which its WCS is wrong."""
    section = f"[{first + 1}:{first + side},{first + 1}:{first + side}]"
    x0, y0 = ORIGIN[array - 1]
    pixel, matrix = wcs_of(array)
    offset = np.array([[primary["POFFSET"] + away[0]], [primary["QOFFSET"] + away[1]]])
    ra, dec = (float(value[0]) for value in plane_to_sky(*offset, TARGET))
    header = fits.Header()
    header.update(
        {
            "ARRAYID": ARRAYS[array - 1], "CCDSEC": section, "DATASEC": f"[1:{side},1:{side}]",
            "DETSEC": f"[{first + 1 + x0}:{first + side + x0},{first + 1 + y0}:{first + side + y0}]",
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
            "CRVAL1": ra, "CRVAL2": dec,
            "CRPIX1": pixel[0] - first, "CRPIX2": pixel[1] - first,
            "CD1_1": matrix[0, 0], "CD1_2": matrix[0, 1], "CD2_1": matrix[1, 0], "CD2_2": matrix[1, 1],
        }
    )  # fmt: skip
    return header


def write_raw(
    path: Path,
    primary: fits.Header,
    images: dict[int, np.ndarray],
    first: int = FIRST,
    away: tuple[float, float] = (0, 0),
) -> Path:
    """A raw file of the given arrays (number -> ADU), with a data label of its own."""
    if "DATALAB" not in primary:
        primary["DATALAB"] = f"{primary.get('OBSID', 'none')}-{path.name}"
    units: list[Any] = [fits.PrimaryHDU(header=primary)]
    for array, image in images.items():
        header = array_header(array, primary, image.shape[0], first, away)
        units.append(fits.ImageHDU(image, header))
    fits.HDUList(units).writeto(path, overwrite=True)
    return path
