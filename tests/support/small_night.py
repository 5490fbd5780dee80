"""The tutorial's 51 files with genuine headers and hardly any pixels, for what reads headers alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

ARRAYS = ("H2RG-032-074", "H2RG-032-064", "H2RG-032-071", "H2RG-032-061")
DETSEC = ("[2049:4096,1:2048]", "[1:2048,1:2048]", "[1:2048,2049:4096]", "[2049:4096,2049:4096]")
MASK = "bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"

BASE = {
    "INSTRUME": "GSAOI", "DETECTOR": "GSAOI", "TELESCOP": "Gemini-South", "OBSERVAT": "Gemini-South",
    "OBSTYPE": "OBJECT", "FILTER1": "Kshort_G1105", "FILTER2": "Clear", "COADDS": 1, "READMODE": "FOWLER",
    "RAWPIREQ": "YES", "RAWGEMQA": "USABLE",
}  # fmt: skip
ON_SKY = {"FRAME": "FK5", "TRKFRAME": "FK5", "RATRACK": 0.0, "DECTRACK": 0.0}
IN_DOME = {"FRAME": "AZEL_TOPO", "TRKFRAME": "APPT", "OBSCLASS": "dayCal", "EXPTIME": 15.0, "LNRS": 2}


def write_frame(path: Path, section: str = "[1:2048,1:2048]", **cards: Any) -> Path:
    """A raw file of four arrays of 4x4 pixels whose headers claim the whole."""
    primary = fits.Header()
    primary.update(BASE | cards)
    units = [fits.PrimaryHDU(header=primary)]
    for array, detsec in zip(ARRAYS, DETSEC, strict=True):
        header = fits.Header()
        header.update({"ARRAYID": array, "DETSEC": detsec, "CCDSEC": section, "DATASEC": section})
        units.append(fits.ImageHDU(np.zeros((4, 4), np.float32), header))
    fits.HDUList(units).writeto(path)
    return path


def write_night(folder: Path) -> Path:
    """Write the 30 flats, 4 standards, 16 science frames and the mask of the tutorial."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, section, cards in _frames():
        write_frame(folder / name, section, **cards)
    return folder


def _frames() -> Iterator[tuple[str, str, dict[str, Any]]]:
    whole, centre = "[1:2048,1:2048]", "[513:1536,513:1536]"
    for first, name, hour in ((30, "Domeflat", 13), (60, "Domeflat OFF", 14)):
        for number in range(first, first + 15):
            cards = IN_DOME | {"OBJECT": name, "GEMPRGID": "GS-CAL20170505", "OBSID": "GS-CAL20170505-4"}
            yield (
                f"S20170505S{number:04}.fits",
                whole,
                cards | _time(dt.datetime(2017, 5, 4, hour, number - first)),
            )
    for number in range(114, 118):
        cards = ON_SKY | {"OBJECT": "9132", "OBSCLASS": "partnerCal", "EXPTIME": 30.0, "LNRS": 2}
        cards |= {"GEMPRGID": "GS-CAL20170504", "OBSID": "GS-CAL20170504-13"}
        yield f"S20170504S{number:04}.fits", centre, cards | _time(dt.datetime(2017, 5, 4, 9, number - 76))
    for number in range(95, 111):
        cards = ON_SKY | {"OBJECT": "NGC5128", "OBSCLASS": "science", "EXPTIME": 60.0, "LNRS": 2}
        cards |= {
            "GEMPRGID": "GS-2017A-Q-29",
            "OBSID": "GS-2017A-Q-29-73",
            "GWFS1CFG": "ODGW1",
            "AOFOLD": "IN",
        }
        yield f"S20170505S{number:04}.fits", whole, cards | _time(dt.datetime(2017, 5, 5, 1, number - 80))
    mask = {"OBJECT": "BPM", "OBSTYPE": "BPM", "BPMASK": "2012-11-04T00:00:00", "FILTER1": "Clear"}
    yield MASK, whole, mask | _time(dt.datetime(2012, 11, 4))


def _time(when: dt.datetime) -> dict[str, str]:
    return {"DATE-OBS": f"{when:%Y-%m-%d}", "UT": f"{when:%H:%M:%S.0}"}
