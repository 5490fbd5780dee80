"""The quirks of GSAOI's headers: what they mean, and how they are put right."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from reducer.errors import BadInput
from reducer.instruments.base import Repair
from reducer.instruments.gsaoi.readout import READS, READS_KNOWN, read_mode
from reducer.keywords import Section, parse_date, parse_section, read
from reducer.region import Region, region
from reducer.types import Header

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
