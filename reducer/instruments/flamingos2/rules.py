"""The rules of Flamingos-2: how its array is read, its headers' quirks, which calibrations fit."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from functools import cache

from reducer.errors import BadInput
from reducer.instruments.base import CalibrationRule, Levels, Repair, read_data
from reducer.keywords import Section, parse_section, read
from reducer.types import Header

# --- readout ---------------------------------------------------------------------------------------

_TABLE = read_data("flamingos2", "arrays")
UNKNOWN = "Unknown"


def read_mode(primary: Header) -> str:
    """The number of reads that are summed, '1', '4', '6' or '8', else 'Unknown'."""
    reads = str(read(primary, "LNRS", int) or "")
    return reads if reads in _TABLE["read_modes_by_LNRS"] else UNKNOWN


def levels(primary: Header, array: int) -> Levels:
    """The levels of the array in the exposure of that primary header."""
    return _levels(read_mode(primary))


@cache
def _levels(mode: str) -> Levels:
    reads = 1 if mode == UNKNOWN else int(mode)
    known = _TABLE["read_modes_by_LNRS"].get(mode, {})
    well = float(_TABLE["saturation_adu_single_read"] * reads)
    return Levels(
        gain=_TABLE["gain_e_per_adu_single_read"] / reads,
        read_noise=known.get("read_noise_e", math.nan),
        well=well,
        non_linear=well * _TABLE["linear_limit_fraction_of_well"],
        saturation=well,
        linearity=tuple(_TABLE["nonlinearity_coefficients"]),
    )


# --- quirks ----------------------------------------------------------------------------------------

#: The wheels, and what they were called until March 2010.
WHEELS = {"FILTER1": "FILT1POS", "FILTER2": "FILT2POS"}
#: What the Lyot wheel holds beside filters, by how the names begin; filters stand in it since February 2022.
LYOT_STOPS = ("F", "GEMS", "HART")
#: Names of a wheel of which the control system did not know where it stood.
LOST = ("get timed out?", "undefined", "unknown", "")


def filter_name(primary: Header) -> str | None:
    """The filters of all wheels with component IDs, 'J_G0802&Open'; None if a wheel is missing.

    'Unknown' stands for a wheel whose place was not known.
    """
    wheels = [_wheel(primary, key) for key in WHEELS]
    if None in wheels:
        return None
    lyot = read(primary, "LYOT", str) or ""
    if lyot and not lyot.upper().startswith(LYOT_STOPS) and "_G" in lyot:
        wheels.append(lyot)
    return "&".join(map(str, wheels))


def _wheel(primary: Header, key: str) -> str | None:
    name = read(primary, key, str) or read(primary, WHEELS[key], str)
    if name is None:
        return None
    return UNKNOWN if name.lower() in LOST else name.removesuffix("_good")


def tags_by_wheels(primary: Header, found: frozenset[str]) -> frozenset[str]:
    """The tags with what the wheels of filters, grisms and masks tell beyond the type of the observation."""
    if "F2" not in found:  # its first headers call it Flam
        found = found - {"FLAM"} | {"F2"}
    if "BPM" in found:
        return found
    names = [str(primary.get(key) or "").strip() for key in ("FILTER1", "FILTER2")]
    if "DARK" in found or any(name.upper().startswith("DK") for name in names):
        return found - {"IMAGE", "SPECT"} | {"DARK", "CAL"}
    grism = _first_of(primary, "GRISM", "GRISMPOS")
    if grism not in ("", "OPEN"):
        return found - {"IMAGE"} | {"SPECT"}
    mask, decker = _first_of(primary, "MOSPOS"), _first_of(primary, "DECKER", "DCKERPOS")
    if "PIX-SLIT" in mask or decker == "LONG_SLIT":
        return found | {"THRUSLIT", "LS"}
    return found | {"THRUSLIT", "MOS"} if mask.startswith("MOS") or decker == "MOS" else found


def _first_of(primary: Header, *keys: str) -> str:
    return next((text for key in keys if (text := str(primary.get(key) or "").strip().upper())), "")


def section(chip: Header, array: int, date: dt.date | None) -> Section | None:
    """None, the whole array, unless a product says which part it holds: it has no windows."""
    return parse_section(chip.get("CCDSEC", ""))


def guide_windows(primary: Header, array: int) -> Sequence[Section]:
    """None: nothing guides on the array."""
    return ()


def guided_by(primary: Header) -> Sequence[str]:
    """Nothing of its own."""
    return ()


def parity(primary: Header) -> float:
    """Of the sky on the array as it lies transposed in the field: -1 on the port that looks up."""
    return -1.0 if primary.get("INPORT") == 1 else 1.0


def detector_offset(primary: Header) -> tuple[float | None, float | None]:
    """Arcsec from the target along the array's axes: q lies along x, p along y; of DRAGONS' signs."""
    p, q = read(primary, "POFFSET", float), read(primary, "QOFFSET", float)
    return None if q is None else -q, None if p is None else -parity(primary) * p


# --- repairs ---------------------------------------------------------------------------------------


def _filter(header: Header, chips: Sequence[Header]) -> str | None:
    if UNKNOWN in (filter_name(header) or "").split("&") and "DARK" not in str(header.get("OBSTYPE")):
        raise BadInput(
            f"the filter is unknown (FILTER1 {header.get('FILTER1')}, FILTER2 {header.get('FILTER2')})",
            "wheels that say where they stand",
            "leave the frame out",
        )
    return None


def _reads(header: Header, chips: Sequence[Header]) -> str | None:
    if read_mode(header) == UNKNOWN:
        modes = ", ".join(_TABLE["read_modes_by_LNRS"])
        raise BadInput(
            f"the read mode is unknown (LNRS {header.get('LNRS')})", f"LNRS {modes}", "leave it out"
        )
    return None


def _cover(header: Header, chips: Sequence[Header]) -> str | None:
    if str(header.get("OBJECT") or "").strip().upper() == "COVER CLOSED":
        raise BadInput("its cover was closed", "light of the sky or a lamp", "leave the frame out")
    return None


def _optics(header: Header, chips: Sequence[Header]) -> str | None:
    through = str(header.get("AOFOLD") or "").strip().upper() == "IN"
    if through or str(header.get("LYOT") or "").strip().upper().startswith("GEMS"):
        raise BadInput(
            "its light came through GeMS, at half the scale", "an image at f/16", "leave the frame out"
        )
    return None


def _axes(header: Header, chips: Sequence[Header]) -> str | None:
    """The names of the axes are a question mark where the telescope gave no data in time."""
    said = None
    for chip in chips:
        for key, name in (("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN")):
            if str(chip.get(key, name)).strip() == "?":
                chip[key] = name
                said = "CTYPE, a question mark, named"
    return said


repairs: tuple[Repair, ...] = (_cover, _optics, _filter, _reads, _axes)


# --- calibrations (FitsStorage, calibration_f2.py; the tutorials) ----------------------------------

#: Days over which archive and observatory associate darks and flats; between lamp-on and lamp-off frames.
DAYS, LAMP_DAYS = 90.0, 7.0
#: How it was read.
READOUT = ("exposure_time", "coadds", "read_mode")

CALIBRATIONS: Mapping[str, CalibrationRule] = {
    "processed_dark": CalibrationRule(same=READOUT, covers=True, days=DAYS, needed_by=("science", "flat")),
    "dark": CalibrationRule(same=READOUT, days=DAYS, archive="dark", sought=("dayCal", "DARK", None, 10)),
    "processed_flat": CalibrationRule(
        same=("filter_name",), covers=True, days=DAYS, needed_by=("science", "standard")
    ),
    # The archive's rule asks neither for the lamp nor for the read mode.
    "lamp_on": CalibrationRule(
        same=("filter_name",),
        covers=True,
        days=DAYS,
        archive="flat",
        sought=("dayCal", "FLAT", None, 40),
    ),
    "lamp_off": CalibrationRule(
        same=("filter_name", *READOUT, "region"),
        days=LAMP_DAYS,
        archive="flat",
        sought=("dayCal", "FLAT", None, 40),
    ),
    "standard": CalibrationRule(
        same=("filter_name",),
        days=1.0,
        archive="photometric_standard",
        sought=("partnerCal", "OBJECT", None, 10),
    ),
    # There are none: one that is made of flats and short darks may be added.
    "processed_bpm": CalibrationRule(covers=True, latest=True),
}
