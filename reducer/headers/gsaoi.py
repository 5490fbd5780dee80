"""The instrument: its numbers (data/gsaoi.json), and the part of an array that an image holds."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from reducer.errors import BadInput
from reducer.keywords import Section, parse_section, read
from reducer.types import Header

#: Width of the border of reference pixels that see no light.
BORDER = 4
#: Pixels along a side of an array.
SIDE = 2048
#: Arcsec per pixel of the reference pixel, by which fluxes are defined.
PIXEL_SCALE = 0.0197
#: The corner of each array in the mosaic of DETSEC: pixels before its first column and row.
MOSAIC_ORIGIN = {1: (SIDE, 0), 2: (0, 0), 3: (0, SIDE), 4: (SIDE, SIDE)}
#: Wheel positions (steps) at which a filter wheel that reports 'Unknown' stands at Clear.
#: The lower wheel's are those of real headers of 2014 to 2018 and 2013, and of Gemini's IRAF package.
CLEAR_AT = {"FILTER1": ("FILT1POS", (200,)), "FILTER2": ("FILT2POS", (24, 69633, 6933))}
#: From this UT date on the central windows' CCDSEC is wrong by one row.
ROW_ERROR_SINCE = dt.date(2013, 5, 13)


@dataclass(frozen=True)
class Array:
    """One of the four detectors: electrons per ADU, levels in ADU, read noise of one coadd in electrons.

    ``linearity`` (a0, a1, a2): linear electrons = c (a0 + a1 c + a2 c^2) for c electrons as read.
    """

    number: int
    name: str
    gain: float
    non_linear: float
    saturation: float
    read_noise: Mapping[str, float]
    linearity: tuple[float, float, float]


def _load_arrays() -> tuple[Array, ...]:
    known = json.loads(resources.files("reducer").joinpath("data/gsaoi.json").read_text(encoding="utf-8"))
    return tuple(
        Array(
            number=number,
            name=name,
            gain=facts["gain_e_per_adu"],
            non_linear=facts["well_adu"] * facts["linear_limit_fraction_of_well"],
            saturation=facts["well_adu"] * facts["nonlinear_limit_fraction_of_well"],
            read_noise=facts["read_noise_e_single_coadd"],
            linearity=tuple(facts["nonlinearity_coefficients"]),
        )
        for number, (name, facts) in enumerate(known["array_properties"].items(), 1)
    )


#: The arrays 1..4, in the order of the extensions.
ARRAYS = _load_arrays()

#: Filters whose dome flats are often taken with the lamp alone: the dome's own light adds little there.
LIT_ALONE = frozenset({"Z", "J", "HeI1083", "PaG", "PaB", "Jcont", "Hcont"})


# --- region of interest ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Region:
    """The part of a full array that an image holds: zero-based half-open pixels of the full array."""

    x1: int
    x2: int
    y1: int
    y2: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.y2 - self.y1, self.x2 - self.x1)

    def within(self, outer: Region) -> tuple[slice, slice]:
        """Where this region lies in an image of ``outer``; BadInput if it sticks out."""
        inside = outer.x1 <= self.x1 and self.x2 <= outer.x2 and outer.y1 <= self.y1 and self.y2 <= outer.y2
        if not inside:
            raise BadInput(
                f"a calibration of the region {outer} for a frame of the region {self}",
                "a calibration that covers the frame",
                "use one of the full arrays",
            )
        return (
            slice(self.y1 - outer.y1, self.y2 - outer.y1),
            slice(self.x1 - outer.x1, self.x2 - outer.x1),
        )

    def section(self) -> str:
        """The region as CCDSEC writes it, one-based and inclusive."""
        return f"[{self.x1 + 1}:{self.x2},{self.y1 + 1}:{self.y2}]"


def region(chip: Header, date: dt.date | None = None) -> Region:
    """The true region of an image; with ``date`` the wrong row of raw central windows is repaired.

    Headers of frames that went through ``repair`` are right as they stand and need no date.
    """
    number = int(chip.get("EXTVER", 0)) or array_number(chip, None) or 1
    section = true_section(chip, number, date)
    shape = (int(chip["NAXIS2"]), int(chip["NAXIS1"]))
    found = Region(*section) if section else Region(0, shape[1], 0, shape[0])
    if found.shape != shape:
        raise BadInput(
            f"CCDSEC {chip.get('CCDSEC')} for an image of {shape[1]}x{shape[0]} pixels",
            "a section of the image's size",
            "leave the file out",
        )
    return found


def true_section(header: Header, array: int, date: dt.date | None) -> Section | None:
    """The part of its full array that an extension holds, zero-based half-open.

    From 2013-05-13 on the central 1024 x 1024 windows of raw files claim rows 513 to 1536; the true rows are
    one higher in arrays 1 and 2 and one lower in arrays 3 and 4 (DRAGONS, primitives_gsaoi.py).
    """
    claimed = parse_section(header.get("CCDSEC", ""))
    if claimed != (512, 1536, 512, 1536) or date is None or date < ROW_ERROR_SINCE:
        return claimed
    shift = 1 if array <= 2 else -1
    return (512, 1536, 512 + shift, 1536 + shift)


def wheel(primary: Header, key: str) -> str | None:
    """The filter in a wheel (FILTER1 or FILTER2); 'Unknown' at the position of Clear is 'Clear'."""
    name = read(primary, key, str)
    if name is None or name.lower() != "unknown":
        return name
    position_key, clear = CLEAR_AT[key]
    position = read(primary, position_key, float)
    return "Clear" if position is not None and round(position) in clear else "Unknown"


def array_number(header: Header, place: int | None) -> int | None:
    """Which array (1..4) an extension holds: by ARRAYID, else DETSEC, else its place; None if nothing says.

    ``place`` counts from 1 and is given only where it can be trusted (all four extensions are there).
    """
    name, section = str(header.get("ARRAYID", "")).strip(), parse_section(header.get("DETSEC"))
    named = next((array.number for array in ARRAYS if array.name == name), None)
    if named is not None or section is None:
        return named or place
    corner = tuple(SIDE if first >= SIDE else 0 for first in section[::2])
    return next(number for number, origin in MOSAIC_ORIGIN.items() if origin == corner)
