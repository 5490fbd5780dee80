"""The rules of GSAOI: how its arrays are read, its headers' quirks, what guides, which calibrations fit."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from functools import cache

from reducer.errors import BadInput
from reducer.instruments.base import CalibrationRule, Levels, Repair, read_data
from reducer.keywords import Region, Section, parse_date, parse_section, read, region
from reducer.types import Header

# --- readout ---------------------------------------------------------------------------------------

_TABLE = read_data("gsaoi", "arrays")
#: Names of the arrays 1..4 (ARRAYID).
ARRAYS = tuple(_TABLE["array_properties"])
SIDE = 2048
#: Where they lie in the mosaic, (x, y) pixels.
ORIGINS = ((SIDE, 0), (0, 0), (0, SIDE), (SIDE, SIDE))
#: Number of reads (LNRS) of each read mode.
READS = {mode: int(reads) for reads, mode in _TABLE["read_modes_by_LNRS"].items()}
UNKNOWN = "Unknown"
#: Before this UT date LNRS holds Fowler samples instead of reads.
FOWLER_SAMPLES_BEFORE = dt.date(2012, 11, 1)
#: Says that LNRS has been put right and holds reads, whatever the date.
READS_KNOWN = "LNRSREAD"


def read_mode(primary: Header) -> str:
    """'Bright Objects', 'Faint Objects', 'Very Faint Objects' or 'Unknown', by the number of reads."""
    reads, date = read(primary, "LNRS", int) or 0, parse_date(primary.get("DATE-OBS"))
    if date is not None and date < FOWLER_SAMPLES_BEFORE and READS_KNOWN not in primary:
        reads = 2 if reads in (1, 2) else 2 * reads
    return next((mode for mode, number in READS.items() if number == reads), UNKNOWN)


def levels(primary: Header, array: int) -> Levels:
    """The levels of array 1..4 in the exposure of that primary header."""
    return _levels(array, read_mode(primary))


@cache
def _levels(array: int, mode: str) -> Levels:
    facts = _TABLE["array_properties"][ARRAYS[array - 1]]
    well = facts["well_adu"]
    return Levels(
        gain=facts["gain_e_per_adu"],
        read_noise=facts["read_noise_e_single_coadd"].get(mode, math.nan),
        well=well,
        non_linear=well * facts["linear_limit_fraction_of_well"],
        saturation=well * facts["nonlinear_limit_fraction_of_well"],
        linearity=tuple(facts["nonlinearity_coefficients"]),
    )


# --- quirks ----------------------------------------------------------------------------------------

#: Wheel positions (steps) at which a filter wheel that reports 'Unknown' stands at Clear.
#: The lower wheel's are those of real headers of 2014 to 2018 and 2013, and of Gemini's IRAF package.
CLEAR_AT = {"FILTER1": ("FILT1POS", (200,)), "FILTER2": ("FILT2POS", (24, 69633, 6933))}
#: From this UT date on the central windows' CCDSEC is wrong by one row.
ROW_ERROR_SINCE = dt.date(2013, 5, 13)


def filter_name(primary: Header) -> str | None:
    """Both filter wheels with component IDs, 'Kshort_G1105&Clear'; None if one is missing.

    A wheel that says 'Unknown' at the position of Clear is Clear.
    """
    wheels = [_wheel(primary, key) for key in CLEAR_AT]
    return None if None in wheels else "&".join(map(str, wheels))


def _wheel(primary: Header, key: str) -> str | None:
    name = read(primary, key, str)
    if name is None or name.lower() != "unknown":
        return name
    position_key, clear = CLEAR_AT[key]
    position = read(primary, position_key, float)
    return "Clear" if position is not None and round(position) in clear else "Unknown"


def section(chip: Header, array: int, date: dt.date | None) -> Section | None:
    """The part of its full array that an extension holds, zero-based half-open.

    From 2013-05-13 on the central 1024 x 1024 windows of raw files claim rows 513 to 1536; the true rows are
    one higher in arrays 1 and 2 and one lower in arrays 3 and 4 (DRAGONS, primitives_gsaoi.py).
    """
    claimed = parse_section(chip.get("CCDSEC", ""))
    if claimed != (512, 1536, 512, 1536) or date is None or date < ROW_ERROR_SINCE:
        return claimed
    shift = 1 if array <= 2 else -1
    return (512, 1536, 512 + shift, 1536 + shift)


def parity(primary: Header) -> float:
    """Of the sky on the arrays: 1 on the port that looks up, -1 on those at the side, by a mirror more."""
    return 1.0 if primary.get("INPORT") == 1 else -1.0


def detector_offset(primary: Header) -> tuple[float | None, float | None]:
    """Arcsec from the target along the arrays' axes, of the signs that DRAGONS gives them."""
    p, q = read(primary, "POFFSET", float), read(primary, "QOFFSET", float)
    return None if p is None else -parity(primary) * p, None if q is None else -q


# --- repairs -----------------------------------------------------------------------------------------


def _filters(header: Header, chips: Sequence[Header]) -> str | None:
    wheels = {key: _wheel(header, key) for key in CLEAR_AT}
    if not {None, "Unknown"}.isdisjoint(wheels.values()):
        raise BadInput(
            f"the filter is unknown (FILTER1 {header.get('FILTER1')}, FILTER2 {header.get('FILTER2')})",
            "wheel positions that stand at a filter",
            "leave the frame out",
        )
    wrong = [key for key, name in wheels.items() if header[key] != name]
    for key, name in wheels.items():
        header[key] = name
    return f"{' and '.join(wrong)} set to Clear by the wheel's position" if wrong else None


def _reads(header: Header, chips: Sequence[Header]) -> str | None:
    reads = READS.get(read_mode(header))
    if reads is None:
        raise BadInput(
            f"the read mode is unknown (LNRS {header.get('LNRS')})", "LNRS 2, 8 or 16", "leave the frame out"
        )
    if reads == header.get("LNRS"):
        return None
    said = f"LNRS {header.get('LNRS')} held Fowler samples: {reads} reads"
    header["LNRS"], header[READS_KNOWN] = reads, True
    return said


def _central_window(header: Header, chips: Sequence[Header]) -> str | None:
    said = None
    for chip in chips:
        claimed = region(chip)
        true = section(chip, int(chip["EXTVER"]), parse_date(header.get("DATE-OBS")))
        if true is not None and Region(*true) != claimed:
            chip["CCDSEC"] = Region(*true).section()
            said = "CCDSEC of the central window shifted by its one row"
    return said


repairs: tuple[Repair, ...] = (_filters, _reads, _central_window)


# --- guiding: GeMS, and windows of the arrays themselves (ODGW), where the image has holes ---------

#: Each array has one window.
GUIDERS = range(1, len(ORIGINS) + 1)
#: Pixels by which the headers leave open where a guide window lies.
UNSURE = 1


def guided_by(primary: Header) -> Sequence[str]:
    """GeMS, the adaptive optics, where its sensors are configured."""
    return ("GEMS",) if "GWFS1CFG" in primary else ()


def guide_windows(primary: Header, array: int) -> Sequence[Section]:
    """The hole that an on-detector guide window leaves in an array.

    GWFSnCFG is 'ODGWm' for a window on array m, GWFSnX and GWFSnY its central pixel (so the cards say), and
    GWFSnSIZ its side. The side is even, and nothing says on which side of the centre the odd pixel lies, nor
    whether pixels count from 0: all that this can mean is left out, one pixel more on each side. The windows
    of the other arrays are read as well, parked in the corner farthest from the middle of the field (Gemini
    IRAF package, gaprepare).
    """
    windows = {}
    for guider in GUIDERS:
        name = str(primary.get(f"GWFS{guider}CFG", "")).strip().upper()
        numbers = [primary.get(f"GWFS{guider}{key}") for key in ("X", "Y", "SIZ")]
        if name.startswith("ODGW") and all(isinstance(number, int | float) for number in numbers):
            windows[name[4:]] = [int(number or 0) for number in numbers]
    if not windows:
        return ()
    side = next(iter(windows.values()))[2]
    far = [SIDE if start else 1 for start in ORIGINS[array - 1]]
    x, y, side = windows.get(str(array), [*far, side])
    left, low = x - side // 2 - UNSURE, y - side // 2 - UNSURE
    width = side + 2 * UNSURE
    return ((left, left + width, low, low + width),)


# --- calibrations (FitsStorage, calibration_gsaoi.py) ----------------------------------------------

#: Days over which archive and observatory associate flats and standards.
DAYS = 30.0
#: How it was read.
READOUT = ("exposure_time", "coadds", "read_mode")

#: Lamp-on frames are sought for a science frame; lamp-off frames for a lamp-on frame, with which they form
#: one set.
CALIBRATIONS: Mapping[str, CalibrationRule] = {
    "processed_flat": CalibrationRule(
        same=("filter_name",), covers=True, days=DAYS, needed_by=("science", "standard")
    ),
    "lamp_on": CalibrationRule(
        same=("filter_name",),
        covers=True,
        days=DAYS,
        archive="domeflat",
        sought=("dayCal", "OBJECT", "Domeflat", 20),
    ),
    "lamp_off": CalibrationRule(
        same=("filter_name", *READOUT, "region"),
        days=DAYS,
        archive="lampoff_domeflat",
        sought=("dayCal", "OBJECT", "Domeflat OFF", 20),
    ),
    "standard": CalibrationRule(
        same=("filter_name",),
        days=DAYS,
        archive="photometric_standard",
        sought=("partnerCal", "OBJECT", None, 8),
    ),
    "processed_bpm": CalibrationRule(covers=True, latest=True, archive="processed_bpm"),
    "dark": CalibrationRule(
        same=READOUT, covers=True, days=DAYS, needless="with 0.01 electrons/s a pixel none is needed"
    ),
}
