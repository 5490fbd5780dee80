"""The instrument: its numbers (data/gsaoi.json), and the part of an array that an image holds."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from reducer.errors import BadInput
from reducer.headers.keywords import array_number, true_section
from reducer.types import Header

#: Width of the border of reference pixels that see no light.
BORDER = 4
#: Pixels along a side of an array.
SIDE = 2048
#: Arcsec per pixel of the reference pixel, by which fluxes are defined.
PIXEL_SCALE = 0.0197
#: The corner of each array in the mosaic of DETSEC: pixels before its first column and row.
MOSAIC_ORIGIN = {1: (SIDE, 0), 2: (0, 0), 3: (0, SIDE), 4: (SIDE, SIDE)}


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
