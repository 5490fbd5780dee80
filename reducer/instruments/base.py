"""What the house asks of an instrument: facts as plain data, rules as functions of its headers."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from reducer.astrometry import Field, Site
from reducer.keywords import Section, parse_section, read
from reducer.types import Header

#: Puts one thing right in the primary header and those of the arrays, and says what; None if all was right.
#: BadInput where the headers leave open what the exposure was.
Repair = Callable[[Header, Sequence[Header]], str | None]


def read_data(folder: str, name: str) -> dict[str, Any]:
    """The published numbers of an instrument: a JSON file of its folder."""
    numbers: dict[str, Any] = json.loads(
        files(f"{__package__}.{folder}").joinpath(f"{name}.json").read_bytes()
    )
    return numbers


@dataclass(frozen=True)
class Array:
    """One detector: its number from 1, its name (ARRAYID), its rows and columns.

    ``origin``: pixels (x, y) before its first column and row in the mosaic of all arrays (DETSEC).
    ``corner``: where its first pixel lies in the field, (x, y) in sides of an array from the middle.
    ``reference_pixels``: how many along each edge see no light. ``circle``: beyond which its pixels see none,
    x, y and radius from its first pixel's middle.
    """

    number: int
    name: str
    shape: tuple[int, int]
    origin: tuple[int, int]
    corner: tuple[float, float]
    reference_pixels: int
    circle: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Levels:
    """How one array was read: electrons per ADU, electrons of read noise in one coadd, levels in ADU.

    ``read_noise``: NaN where the read mode is not known. ``well``: what a pixel holds. ``non_linear``,
    ``saturation``: from where the response is not linear enough, and says nothing. ``linearity``, (a0, a1,
    a2): linear electrons = c (a0 + a1 c + a2 c^2) for c electrons as read.
    """

    gain: float
    read_noise: float
    well: float
    non_linear: float
    saturation: float
    linearity: tuple[float, float, float]

    def electrons(self, counts: Any) -> Any:
        """The electrons that a level in ADU stands for, or each of an array, after linearity correction."""
        a0, a1, a2 = self.linearity
        read = counts * self.gain
        return read * (a0 + read * (a1 + read * a2))

    def of_sum(self, coadds: int) -> Levels:
        """The same for counts that are the sum of so many coadds: a count is then less of the average one."""
        n = coadds
        return replace(
            self,
            gain=self.gain / n,
            well=self.well * n,
            non_linear=self.non_linear * n,
            saturation=self.saturation * n,
        )


@dataclass(frozen=True)
class ColourTerm:
    """A filter's magnitude from that in a standard ``band``, plus ``zero`` and ``slope`` times the difference
    of two more, ``colour``; ``error``, mag: of taking it so."""

    band: str
    zero: float = 0.0
    slope: float = 0.0
    colour: Sequence[str] = ()
    error: float = 0.0


@dataclass(frozen=True)
class Filter:
    """Effective wavelength, micron; magnitudes of 1 electron/s at airmass 0 by array, () where none are
    published; extinction, mag per airmass, None where it is not known; ``terms``: what makes its magnitude of
    those in standard bands, the best first."""

    wavelength: float
    zeropoints: tuple[float, ...]
    extinction: float | None
    terms: tuple[ColourTerm, ...] = ()


@dataclass(frozen=True)
class Widths:
    """FWHM of stars. ``least``, pixels: none is narrower, by the telescope's diffraction and the pixels.
    ``blurred``, pixels: wider ones are as the air alone makes them. ``sharp``, arcsec: a usual good one.
    ``halo``, pixels: how far the light of a sharp one is spread about its core; total light is measured on
    this scale, on that of the FWHM where it is larger."""

    least: float
    blurred: float
    sharp: float
    halo: float


@dataclass(frozen=True, kw_only=True)
class CalibrationRule:
    """How a calibration of one kind fits an exposure.

    ``same``: in what the two agree, of filter_name, exposure_time, coadds, read_mode, region. ``covers``:
    whether it holds every pixel that was read. ``days``: no more lie between the two. ``latest``: whether it
    is valid from its date on, and the last one is taken; else the one nearest in time. ``archive``: what the
    observatory's archive calls it, '' where the archive is not asked for any; frames with the lamp on and off
    that are called the same there are told apart by their lamp. ``sought``: class, type, object (None for
    any) and most files of a search for it. ``needless``: why no exposure needs it, though it may be kept.
    ``needed_by``: what is left out without one, of 'science', 'standard' and 'flat' (of darks: a flat that
    has no lamp-off frames).
    """

    same: tuple[str, ...] = ()
    covers: bool = False
    days: float | None = None
    latest: bool = False
    archive: str = ""
    sought: tuple[str, str, str | None, int] | None = None
    needless: str = ""
    needed_by: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """One instrument.

    ``pupil``: diameter of the telescope's and of what is hidden of it, metres. ``aliases``: what people call
    its filters, in lower case. ``wheels``: keywords that name them. ``lit_alone``: filters whose dome flats
    are often taken with the lamp alone, the dome's own light adding little there. ``lit_closed``: those whose
    flats show the warmth of the calibration unit's shutter, which is closed. ``coadds_are_summed``: rather
    than averaged. ``calibrations``: by kind, the only rules by which any is taken; every instrument
    has one of flats, of their lamp-off frames, of masks and of standards. ``defaults``: of parameters, by
    step and name, where they are its own. ``recipes``: names of their steps, where they are its own.
    ``recipe_of_tag``: what suits frames with a tag, the first that they have; '' stands for all others.
    ``references``: papers to cite with its images, as fields of BibTeX and their ``key``.

    Rules. ``filter_name``: the filters of all wheels, joined by '&', 'Unknown' for a wheel that was moving;
    None without. ``read_mode``: by a name, 'Unknown' if it has none. ``levels``: of an array, by its number.
    ``tags``: those that general rules have found, put right by its own. ``section``: the part of its array
    that an extension of a raw file truly holds, where it says one. ``guide_windows``: the parts of an array
    that were read to guide, and may stick out of it.
    ``guided_by``: what guided beside the telescope's own sensors. ``parity``: of the sky on the arrays, -1
    where the port mirrors it. ``detector_offset``: arcsec along the arrays' x and y axes, None where the
    headers do not tell.
    """

    name: str
    arrays: tuple[Array, ...]
    field: Field
    site: Site
    pupil: tuple[float, float]
    widths: Widths
    filters: Mapping[str, Filter]
    aliases: Mapping[str, str]
    wheels: tuple[str, ...]
    lit_alone: frozenset[str]
    lit_closed: frozenset[str]
    coadds_are_summed: bool
    calibrations: Mapping[str, CalibrationRule]
    filter_name: Callable[[Header], str | None]
    read_mode: Callable[[Header], str]
    levels: Callable[[Header, int], Levels]
    tags: Callable[[Header, frozenset[str]], frozenset[str]]
    section: Callable[[Header, int, dt.date | None], Section | None]
    guide_windows: Callable[[Header, int], Sequence[Section]]
    guided_by: Callable[[Header], Sequence[str]]
    parity: Callable[[Header], float]
    detector_offset: Callable[[Header], tuple[float | None, float | None]]
    repairs: tuple[Repair, ...]
    defaults: Mapping[tuple[str, str], Any]
    recipes: Mapping[str, Sequence[str]]
    recipe_of_tag: Mapping[str, str]
    references: tuple[Mapping[str, str], ...] = ()

    def needs(self, kind: str, exposures: str) -> bool:
        """Whether 'science', 'standard' or 'flat' exposures are left out without a calibration of a kind."""
        return kind in self.calibrations and exposures in self.calibrations[kind].needed_by

    def lamp(self, tags: Collection[str], filter_name: str | None) -> str:
        """What a flat with these tags in a filter shows: 'on', its light; 'off', what is to be subtracted; ''
        neither."""
        closed = "GCALFLAT" in tags and filter_name in self.lit_closed
        if "LAMPOFF" in tags:
            return "on" if closed else "off"
        return "on" if "LAMPON" in tags and not closed else ""

    def stored_levels(self, primary: Header, array: int) -> Levels:
        """The levels of an array for counts as a raw file holds them, perhaps the sum of coadds: they make
        electrons of the average coadd."""
        levels, coadds = self.levels(primary, array), read(primary, "COADDS", int) or 1
        return levels.of_sum(coadds) if self.coadds_are_summed and coadds > 1 else levels

    def numbers(self, chips: Sequence[Header]) -> list[int | None]:
        """Which array each extension holds: by ARRAYID, else DETSEC, else its place among all of them; None
        if nothing says."""
        found = []
        for place, chip in enumerate(chips, 1):
            name, section = str(chip.get("ARRAYID", "")).strip(), parse_section(chip.get("DETSEC"))
            known = [array.number for array in self.arrays if name and name == array.name]
            if not known and section is not None:
                known = [array.number for array in self.arrays if _lies_on(section, array)]
            elif not known and len(chips) == len(self.arrays):
                known = [place]
            found.append(known[0] if known else None)
        return found


def _lies_on(section: Section, array: Array) -> bool:
    (x, y), (height, width) = array.origin, array.shape
    return x <= section[0] < x + width and y <= section[2] < y + height
