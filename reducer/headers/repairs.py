"""What is wrong in any instrument's headers, put right where it can be; exposures that were stopped."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import product
from typing import Any

from reducer.errors import BadInput
from reducer.frame import FrameRef
from reducer.headers.descriptors import Descriptors
from reducer.instruments import instrument_of
from reducer.keywords import read
from reducer.types import Header, Reason, because

#: Keywords of a WCS, and the largest absolute value that each can have.
WCS_KEYS = {
    **{"CRVAL1": 360.0, "CRVAL2": 90.0, "CRPIX1": 1e6, "CRPIX2": 1e6},
    **dict.fromkeys(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), 1.0),
}
MJD_ZERO = dt.datetime(1858, 11, 17)


def repair(frame: FrameRef) -> FrameRef:
    """A copy of a frame with its headers put right; each repair is named in ``repairs``.

    Raises BadInput where the header leaves open what the exposure was (an unknown filter or read mode).
    Pointing is checked by ``steps.prepare``, which compares frames.
    """
    header, chips = frame.header.copy(), tuple(chip.copy() for chip in frame.chips)
    repairs = (_wcs, *frame.instrument.repairs, _levels, _unit, _modified_date)
    done = [said for function in repairs if (said := function(header, chips))]
    return frame.with_(header=header, chips=chips, repairs=(*frame.repairs, *done))


def _wcs(header: Header, chips: Sequence[Header]) -> str | None:
    """What is no number, or no number that a position can have, counts as missing."""
    keys = dict[str, None]()
    for chip, (key, most) in product(chips, WCS_KEYS.items()):
        value = read(chip, key, float)
        if key in chip and (value is None or isinstance(chip[key], str) or abs(value) > most):
            del chip[key]
            keys[key] = None
    return f"{', '.join(keys)} removed: not numbers that a WCS can have" if keys else None


def has_wcs(frame: FrameRef) -> bool:
    """Whether each array's header has a whole tangential WCS, numbers alone, whose matrix can be inverted."""
    return all(_has_wcs(chip, frame.instrument.field.reference_scale) for chip in frame.chips)


def _has_wcs(chip: Header, scale: float) -> bool:
    values = {key: read(chip, key, float) for key in WCS_KEYS}
    if any(value is None for value in values.values()):
        return False
    (a, b), (c, d) = ((values[f"CD{row}_1"] or 0.0, values[f"CD{row}_2"] or 0.0) for row in (1, 2))
    return abs(a * d - b * c) > 1e-3 * (scale / 3600) ** 2


def _levels(header: Header, chips: Sequence[Header]) -> str | None:
    missing = [key for key in ("GAIN", "RDNOISE") if not all(chip.get(key) for chip in chips)]
    coadds = Descriptors(header, ()).coadds
    if coadds < 1:
        raise BadInput(f"COADDS is {coadds}", "a number of exposures from 1 on", "leave it out")
    for chip in chips:
        levels = instrument_of(header).levels(header, int(chip["EXTVER"]))
        # As in raw headers, the read noise of one coadd.
        for key, value in (("GAIN", levels.gain), ("RDNOISE", levels.read_noise)):
            if not chip.get(key):
                chip[key] = value
    return f"{' and '.join(missing)} taken from the table of the arrays" if missing else None


def _unit(header: Header, chips: Sequence[Header]) -> str | None:
    misplaced = [key for key in ("BUNIT", "BUNITS") if key in header]
    misspelt = [chip for chip in chips if "BUNITS" in chip]
    for chip in chips:
        known = chip.get("BUNIT") or chip.get("BUNITS") or header.get("BUNIT") or header.get("BUNITS")
        chip["BUNIT"] = str(known or "adu").strip()
        if "BUNITS" in chip:
            del chip["BUNITS"]
    for key in misplaced:
        del header[key]
    return "BUNIT put in its place" if misplaced or misspelt else None


def _modified_date(header: Header, chips: Sequence[Header]) -> str | None:
    start = Descriptors(header, ()).ut_datetime
    if start is None:
        return None
    true = (start - MJD_ZERO) / dt.timedelta(days=1)
    found: Any = header.get("MJD-OBS")
    if isinstance(found, int | float) and abs(found - true) < 2 / 86400:
        return None
    header["MJD-OBS"] = round(true, 8)
    return f"MJD-OBS {found} made {true:.6f} from DATE-OBS and UT"


# --- exposures that ended before their time --------------------------------------------------------

#: The part of the time asked for that a whole exposure lasts at least; reading out makes it longer.
WHOLE = 0.9
#: What INTEGRIT says of an exposure that was not ended by its clock.
ENDED = ("STOP", "ABORT")
DAY = 86400.0


def why_stopped(header: Header) -> Reason:
    """What the primary header says of an exposure that was stopped or aborted, nothing of a whole one.

    ELAPSED is the time of one coadd, UTEND - UTSTART that of all, in seconds.
    """
    word = str(header.get("INTEGRIT") or "").strip().upper()
    if word.startswith(ENDED):
        return because("unfinished", card=word)
    wanted, coadds = read(header, "EXPTIME", float) or 0.0, read(header, "COADDS", int) or 1
    elapsed = read(header, "ELAPSED", float) or 0.0
    if 0 < elapsed < WHOLE * wanted:
        return because("stopped", seconds=elapsed, wanted=wanted, card="ELAPSED")
    begin, end = (_seconds(header.get(key)) for key in ("UTSTART", "UTEND"))
    if begin is not None and end is not None and 0 < (end - begin) % DAY < WHOLE * wanted * coadds:
        lasted = (end - begin) % DAY
        return because("stopped", seconds=lasted, wanted=wanted * coadds, card="UTSTART, UTEND")
    return {}


def _seconds(text: object) -> float | None:
    """Seconds since midnight of a time such as 03:29:34.1."""
    parts = str(text or "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return 3600.0 * hours + 60.0 * minutes + seconds
