"""Colours of stars: stacks of several filters tied to one another, and one catalogue of them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from goafetch.errors import UsageError
from goafetch.report.catalogue_files import LIMIT, band_of, described
from goafetch.report.psf_page import NOMINAL
from goafetch.report.same_sky import (
    ASTRAY,
    BY_WCS,
    FEWEST,
    SAME,
    Registration,
    Stars,
    agree,
    check_common_sky,
    match_places,
    read_psf_stars,
    read_stars,
    register_stars,
    tangent_of,
    to_pixels,
    world_of,
)
from goafetch.report.stack_file import StackFile, column, read_stack
from goafetch.report.verdicts import Quality, measure
from reducer.astrometry import plane_to_sky
from reducer.headers.descriptors import describe
from reducer.photometry.catalogue import MAG
from reducer.types import F64

if TYPE_CHECKING:
    from astropy.table import Table

#: How many filters make a picture in colours, and the columns of OBJCAT that colours need.
FEW, MANY = 2, 3
NEEDED = ("X_IMAGE", "Y_IMAGE", "FLUX_TOTAL", "FLUXERR_TOTAL")
#: Parts of a FWHM within which sources of two filters are one star.
NEAR = 0.5
#: An aperture for limits is a FWHM in radius; means of 2 x 2 pixels from its edge to its ring of sky, and the
#: width of that; sources whose pixels are in memory at a time.
APART, WIDE, AT_A_TIME = 2.0, 5.0, 2000


@dataclass(frozen=True)
class FilterStack:
    """A stack in a filter: its ``name`` as people say it, ``wavelength`` in micrometres, the UCD of its band;
    ``stars`` with places on the plane that touches the sky at ``tangent``, in the coordinates of the first
    stack, to which ``registration`` leads; ``is_psf``: they are by PSF photometry."""

    stack: StackFile
    name: str
    wavelength: float
    ucd: str
    quality: Quality
    stars: Stars
    registration: Registration
    tangent: tuple[float, float]
    is_psf: bool

    @property
    def key(self) -> str:
        """Its name as part of a column's."""
        return "".join(letter for letter in self.name if letter.isalnum())

    @property
    def seconds(self) -> float:
        """Exposure time that a pixel's electrons are of."""
        return self.stack.value("EXPTIME") or 1.0

    def pixels(self, places: F64) -> tuple[F64, F64]:
        """1-based pixels (n,) of its stack of places (n, 2) on the plane."""
        x, y = self.registration.undo(places).T
        return to_pixels(world_of(self.stack), *plane_to_sky(x, y, self.tangent))

    @property
    def nought(self) -> float:
        """The magnitude of one electron a second: the zeropoint, or NOMINAL without one."""
        return NOMINAL if self.quality.zeropoint is None else self.quality.zeropoint

    def magnitudes(self, rates: F64) -> F64:
        """Vega magnitudes of electrons a second, instrumental ones without a zeropoint; NaN for no light."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.nought - 2.5 * np.log10(np.where(rates > 0, rates, np.nan)))


@dataclass(frozen=True)
class Agreement:
    """How a band's stars lie on those of the grid, by ``stars`` bright ones: by what its coordinates were
    ``moved``, ``scatter`` of one star, and the mean's ``error``, each (2,) mas east and north; ``worst``: the
    largest median of a quarter of the field, mas, and the stars that tell it; NaN where each has too few."""

    stars: int
    moved: F64
    scatter: F64
    error: F64
    worst: tuple[float, int]


@dataclass(frozen=True)
class Colours:
    """Bands by wavelength, the ``grid`` among them that the others lie on, how they agree with it by name,
    and the stars of all of them."""

    bands: tuple[FilterStack, ...]
    grid: FilterStack
    agreements: dict[str, Agreement]
    table: Table

    @property
    def pairs(self) -> list[tuple[FilterStack, FilterStack]]:
        """Bands whose difference is a colour, the shorter wavelength first."""
        return [*combinations(self.bands, 2)]

    @property
    def instrumental(self) -> list[str]:
        """The filters without a zeropoint."""
        return [band.name for band in self.bands if band.quality.zeropoint is None]


def measure_colours(paths: Sequence[Path]) -> Colours:
    """Match the stars of two or three stacks of one field, each in another filter; the first is the grid.

    Raises UsageError for stacks that do not go together, BadFile for what is no product.
    """
    if not FEW <= len(paths) <= MANY:
        given = f"{len(paths)} stack{'s' * (len(paths) != 1)} given"
        raise UsageError(given, "two or three of one target, each in another filter")
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path} is a folder", "stacks, such as playground/*_image.fits of a run")
    stacks = [read_stack(path) for path in paths]
    names = _names(stacks)
    for stack in stacks:
        _check_catalogue(stack)
    for other in stacks[1:]:
        check_common_sky(stacks[0], other)
    tangent = tangent_of(stacks[0])
    psf = [read_psf_stars(stack, tangent) for stack in stacks]
    is_psf = all(stars is not None for stars in psf)
    own = psf if is_psf else [read_stars(stack, tangent) for stack in stacks]
    bands: list[FilterStack] = []
    for stack, name, stars in zip(stacks, names, own, strict=True):
        assert stars is not None  # checked above
        registration = register_stars(bands[0].stars, stars) if bands else BY_WCS
        stars = stars.registered(registration)
        if bands and not agree(bands[0].stars, stars):
            counts = [f"{len(s.rates)} sources of {f.path}"
                      for s, f in ((bands[0].stars, stacks[0]), (stars, stack))]  # fmt: skip
            raise UsageError(
                f"{counts[0]} and {counts[1]} have no stars in common within {ASTRAY:.0f} arcsec",
                "stacks of one field whose coordinates agree better than that",
                "tie both to a catalogue: `goafetch run ... --catalog gaia`",
            )
        seen = name, _wavelength(stack), band_of(stack.header)
        bands.append(FilterStack(stack, *seen, measure(stack), stars, registration, tangent, is_psf=is_psf))
    grid = bands[0]
    agreements = {band.name: _agreement(grid, band) for band in bands[1:]}
    ordered = tuple(sorted(bands, key=lambda band: band.wavelength))
    return Colours(ordered, grid, agreements, _tabulate(ordered, grid))


def _names(stacks: Sequence[StackFile]) -> list[str]:
    """The filters of stacks, each of which must be known and another one."""
    found: dict[str, StackFile] = {}
    for stack in stacks:
        told = describe(stack.header, [stack.science], stack.path.name)
        if told.filter is None or not told.filter_is_known or not np.isfinite(_wavelength(stack)):
            raise UsageError(
                f"{stack.path}: filter {told.filter or 'not named in the header'} is not known",
                "stacks of a known instrument, in filters of known wavelength",
            )
        if told.filter in found:
            raise UsageError(
                f"{found[told.filter].path} and {stack.path} are both in {told.filter}",
                "one stack for each filter",
                "leave one out; `goafetch compare` sets stacks of one filter side by side",
            )
        found[told.filter] = stack
    return [*found]


def _wavelength(stack: StackFile) -> float:
    """Micrometres, NaN where it is not known."""
    told = describe(stack.header, [stack.science], stack.path.name)
    if told.passband is not None:
        return told.passband.wavelength
    return np.nan if told.central_wavelength is None else told.central_wavelength * 1e6


def _check_catalogue(stack: StackFile) -> None:
    table = stack.tables.get("OBJCAT")
    lacking = [name for name in NEEDED if column(table, name) is None]
    if table is not None and not lacking and len(table):
        return
    what = "no catalogue OBJCAT" if table is None else f"no {', '.join(lacking)} in OBJCAT" if lacking else ""
    raise UsageError(
        f"{stack.path} has {what or 'no source in OBJCAT'}",
        "stacks with a catalogue of total light",
        "stack the exposures with `goafetch run` or `goafetch disco`",
    )


def _agreement(grid: FilterStack, band: FilterStack) -> Agreement:
    """Of the brighter stars that both have, after the registration."""
    mine, theirs = np.flatnonzero(grid.stars.loud), np.flatnonzero(band.stars.loud)
    one, other = match_places(grid.stars.places[mine], band.stars.places[theirs], SAME)
    places = grid.stars.places[mine[one]]
    away = 1000.0 * (band.stars.places[theirs[other]] - places)
    middle = np.asarray(places.mean(axis=0)) if len(places) else np.zeros(2)
    moved = 1000.0 * (band.registration.apply(middle[None])[0] - middle)
    if len(away) < FEWEST:
        return Agreement(len(away), moved, np.full(2, np.nan), np.full(2, np.nan), (np.nan, 0))
    scatter = 1.4826 * np.median(np.abs(away - np.median(away, axis=0)), axis=0)
    quarters = [away[((places > middle) == side).all(axis=1)] for side in np.ndindex(2, 2)]
    told = [part for part in quarters if len(part) >= FEWEST]
    medians = [(float(np.hypot(*np.median(part, axis=0))), len(part)) for part in told]
    error = 1.2533 * scatter / np.sqrt(len(away))
    return Agreement(len(away), moved, scatter, error, max(medians, default=(np.nan, 0)))


# --- the catalogue ---------------------------------------------------------------------------------


def _merge(bands: Sequence[FilterStack]) -> tuple[F64, NDArray[np.int64]]:
    """Places (n, 2) of all stars, and the row of each in each band's (n, bands), -1 where it has none."""
    places = np.zeros((0, 2))
    rows = np.zeros((0, len(bands)), int)
    for number, band in enumerate(bands):
        within = max(SAME, NEAR * (band.quality.fwhm or 0.0))
        one, other = match_places(places, band.stars.places, within)
        rows[one, number] = other
        new = np.setdiff1d(np.arange(len(band.stars.places)), other)
        more = np.full((len(new), len(bands)), -1)
        more[:, number] = new
        places, rows = np.concatenate([places, band.stars.places[new]]), np.concatenate([rows, more])
    return places, rows


def _tabulate(bands: Sequence[FilterStack], grid: FilterStack) -> Table:
    """All stars: places, magnitudes, limits where a filter does not show them, colours; brightest first."""
    from astropy.table import Table

    order = [grid, *(band for band in bands if band is not grid)]
    places, found = _merge(order)
    rows = {band.key: found[:, number] for number, band in enumerate(order)}
    ra, dec = plane_to_sky(places[:, 0], places[:, 1], grid.tangent)
    x, y = grid.pixels(places)
    table = Table({"NUMBER": np.arange(1, len(ra) + 1), "RA": ra, "DEC": dec, "X_IMAGE": x, "Y_IMAGE": y})
    meanings = {
        "NUMBER": ("", "number of the star"),
        "RA": ("deg", f"right ascension in the coordinates of the stack in {grid.name}"),
        "DEC": ("deg", "declination"),
        "X_IMAGE": ("pix", f"column of the stack in {grid.name}, the first is 1"),
        "Y_IMAGE": ("pix", "row of the same"),
    }
    ucds = {}
    for band in bands:
        row = rows[band.key]
        columns = _of_band(band, row, places)
        for name, (values, unit, meaning, ucd) in columns.items():
            key = f"{name}_{band.key}"
            table[key], meanings[key], ucds[key] = values, (unit, meaning), ucd
    for one, other in combinations(bands, 2):
        for name, (values, meaning, ucd) in _colour(table, one, other).items():
            key = f"{name}_{one.key}_{other.key}"
            table[key], meanings[key], ucds[key] = values, ("mag", meaning), ucd
    described(table, meanings, "em.IR")
    for key, ucd in ucds.items():
        table[key].info.meta = {"ucd": ucd}
    _tell(table, bands, grid)
    return table


Column = tuple[NDArray[np.generic], str, str, str]


def _of_band(band: FilterStack, row: NDArray[np.int64], places: F64) -> dict[str, Column]:
    """What the catalogue has of a filter: values, unit, meaning, UCD by column."""
    seen, stars = row >= 0, band.stars
    rates, errors = (np.where(seen, values[row], np.nan) for values in (stars.rates, stars.errors))
    magnitude = band.magnitudes(rates)
    dark = np.flatnonzero(~np.isfinite(magnitude))
    limit = np.full(len(row), np.nan)
    limit[dark] = band.magnitudes(_largest_rates(band, places[dark]))
    error = np.where(np.isfinite(magnitude), MAG * errors / np.where(rates > 0, rates, np.nan), np.nan)
    away = np.where(seen, np.hypot(*(stars.places[row] - places).T), np.nan)
    scale = (
        "Vega" if band.quality.zeropoint is not None else f"instrumental, for a zeropoint of {NOMINAL:.0f}"
    )
    how = "PSF photometry" if band.is_psf else "total light, aperture-corrected"
    return {
        "MAG": (magnitude, "mag", f"{scale} magnitude in {band.name}: {how}", f"phot.mag;{band.ucd}"),
        "MAGERR": (error, "mag", "its error, without the zeropoint's", f"stat.error;phot.mag;{band.ucd}"),
        "MAGLIM": (limit, "mag", f"{LIMIT:g}-sigma limit where it has no magnitude: no brighter than this",
                   f"phot.mag;stat.max;{band.ucd}"),
        "SEP": (away, "arcsec", "from RA, DEC", "pos.angDistance"),
        "FLAGS": (np.ma.array(stars.flags[row].astype(np.int32), mask=~seen), "",
                  "bits of the stack's catalogue, 0: good", "meta.code.qual"),
    }  # fmt: skip


def _colour(table: Table, one: FilterStack, other: FilterStack) -> dict[str, tuple[F64, str, str]]:
    """A colour, its error, and between what it lies where one of the two is a limit."""
    names = ("MAG", "MAGERR", "MAGLIM")
    (a, error, faint), (b, more, dim) = (
        [np.asarray(table[f"{name}_{band.key}"]) for name in names] for band in (one, other)
    )
    ucd, words = f"phot.color;{one.ucd};{other.ucd}", f"{one.name} - {other.name}"
    return {
        "COL": (a - b, words, ucd),
        "COLERR": (np.hypot(error, more), "its error, without the zeropoints'", f"stat.error;{ucd}"),
        "COLMIN": (faint - b, f"{words} is at least this: not seen in {one.name}", f"{ucd};stat.min"),
        "COLMAX": (a - dim, f"{words} is at most this: not seen in {other.name}", f"{ucd};stat.max"),
    }


def _tell(table: Table, bands: Sequence[FilterStack], grid: FilterStack) -> None:
    """What holds of all of it, in its header."""
    for number, band in enumerate(bands, 1):
        quality = band.quality
        table.meta |= {f"STACK{number}": band.stack.path.name, f"FILTER{number}": band.name}
        if quality.zeropoint is None:
            table.meta[f"NOZP{number}"] = quality.missing or "the stack has no zeropoint"
        else:
            table.meta |= {f"ZP{number}": quality.zeropoint, f"ZPERR{number}": quality.zeropoint_error}
        if quality.fwhm:
            table.meta[f"FWHM{number}"] = round(quality.fwhm, 4)
    table.meta |= {"GRID": grid.stack.path.name, "RADESYS": grid.stack.frame}


# --- limits ----------------------------------------------------------------------------------------


def _largest_rates(band: FilterStack, places: F64) -> F64:
    """Electrons a second (n,) that sources at places of the grid's plane have at most: what is there and
    LIMIT times its noise; NaN without data.

    The part of a star's light within the aperture is what the band's own stars have in it.
    """
    stars = band.stars
    good = np.flatnonzero(stars.loud & (stars.flags == 0))
    if len(good) < FEWEST:
        return np.full(len(places), np.nan)
    light, _ = _sum_light(band, stars.places[good])
    part = np.nanmedian(light / band.seconds / stars.rates[good])
    found = [_sum_light(band, places[n : n + AT_A_TIME]) for n in range(0, len(places), AT_A_TIME)]
    light, noise = (np.concatenate(each) for each in zip(*found, strict=True)) if found else np.zeros((2, 0))
    return np.asarray((np.maximum(light, 0.0) + LIMIT * noise) / part / band.seconds)


def _sum_light(band: FilterStack, places: F64) -> tuple[F64, F64]:
    """Electrons (n,) over the sky in apertures about places of the grid's plane, and their noise.

    From means of 2 x 2 pixels, which are in memory; NaN where one of them has no data.
    """
    stack = band.stack
    x, y = ((axis - 1.5) / 2.0 for axis in band.pixels(places))
    fwhm = (band.quality.fwhm or 0.0) / (band.quality.scale or 1.0)
    radius = max(fwhm / 2.0, 1.5)
    reach = int(np.ceil(radius + APART + WIDE))
    steps = np.arange(-reach, reach + 1)
    down, right = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    row, col = np.round(y).astype(int)[:, None] + down, np.round(x).astype(int)[:, None] + right
    distance = np.hypot(row - y[:, None], col - x[:, None])
    height, width = stack.half.shape
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    row, col = np.clip(row, 0, height - 1), np.clip(col, 0, width - 1)
    pixels = np.where(inside, stack.half[row, col], np.nan)
    weight = np.clip(radius + 0.5 - distance, 0.0, 1.0)
    ring = np.where((distance > radius + APART) & (distance < radius + APART + WIDE), pixels, np.nan)
    sky = np.nan_to_num(_medians(ring))
    # In a crowd the ring scatters by its stars: its level is no surer than that.
    rough = 1.4826 * np.nan_to_num(_medians(np.abs(ring - sky[:, None])))
    light = 4.0 * np.where(weight > 0, weight * (pixels - sky[:, None]), 0.0).sum(axis=1)
    variance = np.where(inside, stack.thin.variance[row, col], 0.0) * (stack.value("NOISCORR") or 1.0) ** 2
    variance = np.maximum(variance, 4.0 * rough[:, None] ** 2)
    noise = 2.0 * np.sqrt((weight**2 * variance).sum(axis=1))
    return light, noise


def _medians(values: F64) -> F64:
    """Medians along rows (n,), NaN of none."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = np.isfinite(values).sum(axis=1)
    found = ordered[np.arange(len(values)), np.maximum((count - 1) // 2, 0)]
    return np.where(count > 0, found, np.nan)
