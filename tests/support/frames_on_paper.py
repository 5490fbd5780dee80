"""Frames that are headers alone, and the plans made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from astropy.io import fits

from goafetch.plan.decide import make_plan
from goafetch.plan.plan import Plan
from goafetch.plan.sort import Wanted
from reducer.headers.descriptors import Descriptors, describe

ARRAYS = ("H2RG-032-074", "H2RG-032-064", "H2RG-032-071", "H2RG-032-061")
SKY = {"FRAME": "FK5", "RATRACK": 0.0, "DECTRACK": 0.0}
LAMP_ON = {"OBJECT": "Domeflat", "OBSCLASS": "dayCal", "EXPTIME": 15.0, "GEMPRGID": "GS-CAL20170505"}
LAMP_OFF = LAMP_ON | {"OBJECT": "Domeflat OFF"}
SCIENCE = {"OBJECT": "NGC5128", "OBSCLASS": "science", "GEMPRGID": "GS-2017A-Q-29", **SKY}
STANDARD = {"OBJECT": "9132", "OBSCLASS": "partnerCal", "EXPTIME": 30.0, "GEMPRGID": "GS-CAL20170504", **SKY}
MASK = {"OBJECT": "BPM", "OBSTYPE": "BPM", "OBSCLASS": "", "FILTER1": "", "DATE-OBS": "2012-11-04"}


def frame(
    number: int,
    ut: str,
    what: dict[str, Any],
    *,
    section: str = "[1:2048,1:2048]",
    arrays: int = 4,
    bitpix: int = 16,
    **changes: Any,
) -> tuple[Path, Descriptors]:
    primary = fits.Header()
    basics = {
        "INSTRUME": "GSAOI",
        "TELESCOP": "Gemini-South",
        "OBSERVAT": "Gemini-South",
        "OBSTYPE": "OBJECT",
    }
    basics |= {"FILTER1": "Kshort_G1105", "FILTER2": "Clear", "EXPTIME": 60.0, "COADDS": 1, "LNRS": 8}
    basics |= {"DATE-OBS": "2017-05-05", "UT": ut, "RAWPIREQ": "YES", "RAWGEMQA": "USABLE"}
    primary.update(basics | what | changes)
    x1, x2 = section.strip("[]").split(",")[0].split(":")
    chip = {
        "XTENSION": "IMAGE",
        "BITPIX": bitpix,
        "NAXIS1": int(x2) - int(x1) + 1,
        "NAXIS2": int(x2) - int(x1) + 1,
    }
    chips = [fits.Header() for _ in range(arrays)]
    for header, array in zip(chips, ARRAYS, strict=False):
        header.update(chip | {"ARRAYID": array, "CCDSEC": section})
    name = f"S20170505S{number:04d}.fits"
    return Path(name), describe(primary, chips, name)


def tutorial() -> list[tuple[Path, Descriptors]]:
    frames = [frame(30 + i, f"01:{i:02d}:00", LAMP_ON) for i in range(15)]
    frames += [frame(60 + i, f"01:{20 + i:02d}:00", LAMP_OFF) for i in range(15)]
    frames += [frame(95 + i, f"05:{2 * i:02d}:00", SCIENCE) for i in range(16)]
    frames += [frame(14 + i, f"00:{40 + i}:00", STANDARD, section="[513:1536,513:1536]") for i in range(4)]
    return [*frames, mask("bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits")]


def planned(frames: list[tuple[Path, Descriptors]], wanted: Wanted | None = None) -> Plan:
    return make_plan(frames, Path("playground"), wanted)


def mask(
    name: str, *, section: str = "[1:2048,1:2048]", arrays: int = 4, **changes: Any
) -> tuple[Path, Descriptors]:
    _, facts = frame(1, "00:00:00", MASK, section=section, arrays=arrays, **changes)
    return Path(name), facts


def reasons(plan: Plan) -> dict[str, str]:
    return {left.path.name: left.reason for left in plan.left_out}
