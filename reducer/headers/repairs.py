"""The quirks of the instrument's headers, each with its repair."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from reducer.errors import BadInput
from reducer.frame import FrameRef
from reducer.headers.descriptors import READS_KNOWN, Descriptors
from reducer.headers.gsaoi import ARRAYS, PIXEL_SCALE, Region, region
from reducer.keywords import parse_section, read
from reducer.types import Header

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
    described = Descriptors(frame.header, frame.chips, frame.path.name)
    done: list[str] = []
    repairs: tuple[Callable[[Header, tuple[Header, ...], Descriptors], str | None], ...] = (
        _wcs,
        _filters,
        _reads,
        _central_window,
        _levels,
        _unit,
        _modified_date,
    )
    for function in repairs:
        said = function(header, chips, described)
        if said:
            done.append(said)
    return frame.with_(header=header, chips=chips, repairs=(*frame.repairs, *done))


def _wcs(header: Header, chips: tuple[Header, ...], described: Descriptors) -> str | None:
    """What is no number, or no number that a position can have, counts as missing."""
    senseless = [(chip, key) for chip in chips for key in WCS_KEYS if key in chip and not _can_be(key, chip)]
    for chip, key in senseless:
        del chip[key]
    keys = dict.fromkeys(key for _, key in senseless)
    return f"{', '.join(keys)} removed: not numbers that a WCS can have" if keys else None


def _can_be(key: str, chip: Header) -> bool:
    value = read(chip, key, float)
    return value is not None and not isinstance(chip[key], str) and abs(value) <= WCS_KEYS[key]


def has_wcs(chip: Header) -> bool:
    """Whether an array's header has a whole tangential WCS, numbers alone, whose matrix can be inverted."""
    values = {key: read(chip, key, float) for key in WCS_KEYS}
    if any(value is None for value in values.values()):
        return False
    (a, b), (c, d) = ((values[f"CD{row}_1"] or 0.0, values[f"CD{row}_2"] or 0.0) for row in (1, 2))
    return abs(a * d - b * c) > 1e-3 * (PIXEL_SCALE / 3600) ** 2


def _filters(header: Header, chips: tuple[Header, ...], described: Descriptors) -> str | None:
    if not described.filter_is_known:
        raise BadInput(
            f"the filter is unknown (FILTER1 {header.get('FILTER1')}, FILTER2 {header.get('FILTER2')})",
            "wheel positions that stand at a filter",
            "leave the frame out",
        )
    wheels = (described.filter_name or "").split("&")
    wrong = [key for key, name in zip(("FILTER1", "FILTER2"), wheels, strict=False) if header[key] != name]
    for key, name in zip(("FILTER1", "FILTER2"), wheels, strict=False):
        header[key] = name
    return f"{' and '.join(wrong)} set to Clear by the wheel's position" if wrong else None


def _reads(header: Header, chips: tuple[Header, ...], described: Descriptors) -> str | None:
    reads = {"Bright Objects": 2, "Faint Objects": 8, "Very Faint Objects": 16}.get(
        described.read_speed_setting
    )
    if reads is None:
        raise BadInput(
            f"the read mode is unknown (LNRS {header.get('LNRS')})", "LNRS 2, 8 or 16", "leave the frame out"
        )
    if reads == header.get("LNRS"):
        return None
    said = f"LNRS {header.get('LNRS')} held Fowler samples: {reads} reads"
    header["LNRS"], header[READS_KNOWN] = reads, True
    return said


def _central_window(header: Header, chips: tuple[Header, ...], described: Descriptors) -> str | None:
    said = None
    for chip in chips:
        true = region(chip, described.ut_date)
        claimed = parse_section(chip.get("CCDSEC"))
        if claimed is not None and Region(*claimed) != true:
            chip["CCDSEC"] = true.section()
            said = "CCDSEC of the central window shifted by its one row"
    return said


def _levels(header: Header, chips: tuple[Header, ...], described: Descriptors) -> str | None:
    missing = [key for key in ("GAIN", "RDNOISE") if not all(chip.get(key) for chip in chips)]
    coadds = described.coadds
    if coadds < 1:
        raise BadInput(f"COADDS is {coadds}", "a number of exposures from 1 on", "leave it out")
    for chip in chips:
        array = ARRAYS[int(chip["EXTVER"]) - 1]
        # As in raw headers, the read noise of one coadd.
        noise = array.read_noise[described.read_speed_setting]
        for key, value in (("GAIN", array.gain), ("RDNOISE", noise)):
            if not chip.get(key):
                chip[key] = value
    return f"{' and '.join(missing)} taken from the table of the arrays" if missing else None


def _unit(header: Header, chips: tuple[Header, ...], described: Descriptors) -> str | None:
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


def _modified_date(header: Header, chips: tuple[Header, ...], described: Descriptors) -> str | None:
    start = described.ut_datetime
    if start is None:
        return None
    true = (start - MJD_ZERO) / dt.timedelta(days=1)
    found: Any = header.get("MJD-OBS")
    if isinstance(found, int | float) and abs(found - true) < 2 / 86400:
        return None
    header["MJD-OBS"] = round(true, 8)
    return f"MJD-OBS {found} made {true:.6f} from DATE-OBS and UT"
