"""Stacks of one sky: the pixels of one on those of another, and the stars that both show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from goafetch.errors import UsageError
from goafetch.report.pictures import find_sky
from goafetch.report.stack_file import StackFile, column
from goafetch.report.verdicts import pixel_scale
from reducer import dq
from reducer.astrometry import plane_to_sky, sky_to_plane
from reducer.frame import Chip
from reducer.types import F32, F64, Table

#: Arcsec within which stars are the same, the fewest that tell something of a stack, and the signal to noise
#: of those that do.
SAME, FEWEST, LOUD = 0.1, 5, 20.0
#: Arcsec by which the coordinates of stacks may differ, and how many of their brightest stars tell by what;
#: the fewest that tell a shift; rotation and scale; distortion.
ASTRAY, BRIGHTEST, FEWEST_BY_ORDER = 3.0, 300, (3, 10, 30)
#: Standard deviations by which chance does not bring so many stars together.
RARE = 5.0
#: Arcsec of which a star's place is never surer.
FLOOR = 0.001
#: Rows that are laid at a time, and the order of what maps pixels on pixels.
ROWS, BEND = 512, 4


@dataclass(frozen=True)
class Registration:
    """From a stack's coordinates to another's: what is added to a place, arcsec on the other's tangential
    plane, is a polynomial of the place of an ``order`` with some ``coefficients`` (terms, 2)."""

    order: int
    coefficients: F64

    def apply(self, places: F64) -> F64:
        """Places (..., 2) of the stack in the other's coordinates."""
        return np.asarray(places + terms_of(places, self.order) @ self.coefficients)

    def undo(self, places: F64) -> F64:
        """The same backwards."""
        found = places
        for _ in range(5):  # each is closer by the turn between the two, a hundredth at most
            found = places - terms_of(found, self.order) @ self.coefficients
        return found


def terms_of(places: F64, order: int) -> F64:
    """The terms (..., n) of a polynomial of places (..., 2), arcsec."""
    x, y = places[..., 0] / FIELD, places[..., 1] / FIELD
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    return np.stack([x**i * y**j for i, j in powers], axis=-1)


#: Arcsec by which places are scaled.
FIELD = 30.0
BY_WCS = Registration(0, np.zeros((1, 2)))


@dataclass(frozen=True)
class Pair:
    """Stars that two stacks share: places in the first (n, 2), 1-based pixels; by how much the second's lie
    elsewhere, (n, 2) mas east and north; electrons a second (n, 2) and their errors, by OBJCAT."""

    places: F64
    away: F64
    rates: F64
    errors: F64

    @property
    def loud(self) -> NDArray[np.bool_]:
        """Those that tell a ratio."""
        return np.asarray((self.rates > LOUD * self.errors).all(axis=1))

    @property
    def ratio(self) -> float:
        """Light of the first over that of the second, by their brighter stars; 1 where too few tell it."""
        rates = self.rates[self.loud]
        return float(np.median(rates[:, 0] / rates[:, 1])) if len(rates) >= FEWEST else 1.0


def world_of(stack: StackFile) -> Mapping[str, float]:
    """The keywords of a stack's projection; raises UsageError where it has none."""
    world = stack.world()
    if world is None:
        raise UsageError(f"{stack.path} has no celestial coordinates", "stacks with a tangential WCS")
    return world


def tangent_of(stack: StackFile) -> tuple[float, float]:
    """RA and Dec of the point that a stack's plane touches, degrees."""
    world = world_of(stack)
    return world["CRVAL1"], world["CRVAL2"]


def to_pixels(world: Mapping[str, float], ra: F64, dec: F64) -> tuple[F64, F64]:
    """1-based pixels of places on the sky, degrees."""
    xi, eta = sky_to_plane(ra, dec, (world["CRVAL1"], world["CRVAL2"]))
    matrix = 3600.0 * np.array([[world["CD1_1"], world["CD1_2"]], [world["CD2_1"], world["CD2_2"]]])
    x, y = np.tensordot(np.linalg.inv(matrix), np.stack([xi, eta]), axes=1)
    return x + world["CRPIX1"], y + world["CRPIX2"]


def check_common_sky(first: StackFile, second: StackFile) -> None:
    """Raises UsageError where no place has data in both."""
    one, other = world_of(first), world_of(second)
    rows, columns = (np.arange(0, length, 4) for length in first.half.shape)
    x, y = to_pixels(other, *find_sky(one, *np.meshgrid(2.0 * columns + 1.5, 2.0 * rows + 1.5)))
    place = tuple(np.round((axis - 1.5) / 2).astype(int) for axis in (y, x))
    inside = np.isfinite(first.half[::4, ::4])
    for axis, length in zip(place, second.half.shape, strict=True):
        inside &= (axis >= 0) & (axis < length)
    if not np.isfinite(second.half[place[0][inside], place[1][inside]]).any():
        names = [f"{stack.path} ({stack.text('OBJECT') or 'no OBJECT'})" for stack in (first, second)]
        raise UsageError(
            f"{names[0]} and {names[1]} show no sky in common: "
            f"RA {one['CRVAL1']:.4f}, Dec {one['CRVAL2']:+.4f} and RA {other['CRVAL1']:.4f}, "
            f"Dec {other['CRVAL2']:+.4f}",
            "stacks of one field",
        )


def lay_onto(
    first: StackFile, second: StackFile, image: F32, side: int, registration: Registration = BY_WCS
) -> F32:
    """Means over ``side`` x ``side`` pixels of the second stack at those of the first; NaN without data.

    ``image``: these means as they lie in the second, electrons a pixel; what is returned are electrons a
    pixel of the first. ``registration``: from the second's coordinates to the first's.
    """
    found = _interpolate(first, second, image, side, registration)
    return np.asarray(found * np.float32(_area(first, second)))


def lay_stack(first: StackFile, second: StackFile, registration: Registration) -> Chip:
    """All pixels of the second stack on those of the first, with VAR and DQ; NaN and NO_DATA without data.

    Light is interpolated by cubic splines, variance linearly, the mask is that of the nearest pixel: sums
    over 8 x 8 pixels keep their variance, single pixels are smoother than VAR says.
    """
    pixels, area = second.rows(slice(0, second.shape[0]), True), _area(first, second)
    data = _interpolate(first, second, pixels.data, 1, registration) * np.float32(area)
    variance = _interpolate(first, second, pixels.variance, 1, registration, 1) * np.float32(area**2)
    bits = _interpolate(first, second, pixels.mask.astype(np.float32), 1, registration, 0)
    lost = ~np.isfinite(data + variance + bits)
    data[lost], variance[lost] = np.nan, np.nan
    header = second.science.copy()
    for key, value in world_of(first).items():
        header[key] = value
    for small in ("NCORR02", "NCORR04"):  # of boxes as small as what was interpolated over
        if small in header:
            del header[small]
    return Chip(data, variance, np.where(lost, dq.NO_DATA, np.nan_to_num(bits)).astype(np.uint16), header)


def _area(first: StackFile, second: StackFile) -> float:
    """Of a pixel of the first stack, in pixels of the second."""
    return ((pixel_scale(first) or 1.0) / (pixel_scale(second) or 1.0)) ** 2


def _interpolate(
    first: StackFile, second: StackFile, image: F32, side: int, registration: Registration, order: int = 3
) -> F32:
    """An image of the second stack at the blocks of the first; NaN where it or its neighbours have none."""
    shape = tuple(-(-length // side) for length in first.shape)
    found: F32 = np.empty(shape, np.float32)
    seen = np.isfinite(image)
    values = np.where(seen, image, np.float32(np.median(image[seen]) if seen.any() else 0.0))
    if order > 1:
        # Of stars as sharp as these a straight line between pixels would lose a fifth of the peak.
        values = ndimage.spline_filter(values, order, np.float32, "mirror")
    weight = seen.astype(np.float32)
    along, up = (np.linspace(-1.0, 1.0, length) for length in shape[::-1])
    columns, lines = _find_blocks(first, second, side, registration)
    for low in range(0, shape[0], ROWS):
        rows = slice(low, low + ROWS)
        places = np.stack([polynomial.polygrid2d(up[rows], along, axis) for axis in (lines, columns)])
        found[rows] = ndimage.map_coordinates(values, places, order=order, mode="mirror", prefilter=False)
        covered = ndimage.map_coordinates(weight, places, order=1, mode="constant")
        found[rows][covered < 0.999] = np.nan
    return found


def _find_blocks(
    first: StackFile, second: StackFile, side: int, registration: Registration
) -> tuple[F64, F64]:
    """Where blocks of the first stack lie among those of the second, 0-based columns and rows, as polynomials
    (BEND + 1, BEND + 1) of the block's row and column, from -1 to 1.

    Two tangential planes and a registration are as smooth as that to a thousandth of a pixel.
    """
    middle = (side + 1) / 2.0  # of the first block, 1-based
    u, v = (axis.ravel() for axis in np.meshgrid(*2 * [np.linspace(-1.0, 1.0, 4 * BEND)], indexing="ij"))
    last = [-(-length // side) - 1 for length in first.shape]
    y, x = (middle + side * length * (at + 1.0) / 2.0 for length, at in zip(last, (u, v), strict=True))
    ra, dec = find_sky(world_of(first), x, y)
    plane = registration.undo(np.stack(sky_to_plane(ra, dec, tangent_of(first)), axis=-1))
    sky = plane_to_sky(plane[..., 0], plane[..., 1], tangent_of(first))
    there = (np.stack(to_pixels(world_of(second), *sky), axis=-1) - middle) / side
    design = polynomial.polyvander2d(u, v, (BEND, BEND))
    columns, lines = np.linalg.lstsq(design, there, rcond=None)[0].T.reshape(2, BEND + 1, BEND + 1)
    return np.asarray(columns, float), np.asarray(lines, float)


@dataclass(frozen=True)
class Stars:
    """The sources of a stack: places (n, 2), arcsec east and north of a point, and their errors (n,);
    electrons a second (n,) with errors, the ``signal`` to noise of their cores; flags (n,), bits; pixels
    (n, 2), 1-based."""

    places: F64
    place_errors: F64
    rates: F64
    errors: F64
    signal: F64
    flags: NDArray[np.int64]
    pixels: F64

    @property
    def loud(self) -> NDArray[np.bool_]:
        """Those whose places are well known, whatever the aperture correction is good to."""
        return np.asarray(self.signal > LOUD)

    def registered(self, registration: Registration) -> Stars:
        """The same in the coordinates that a registration leads to."""
        return replace(self, places=registration.apply(self.places))


def read_stars(stack: StackFile, tangent: tuple[float, float]) -> Stars | None:
    """The sources of a stack by their total light in OBJCAT; None where it has not what this needs."""
    table = stack.tables.get("OBJCAT")
    return _as_stars(stack, table, ("FLUX_TOTAL", "FLUXERR_TOTAL", "ERR_POS"), tangent)


def read_psf_stars(stack: StackFile, tangent: tuple[float, float]) -> Stars | None:
    """The same by the catalogue of `goafetch photometry` beside a stack; None where none is newer than it."""
    stem, path = stack.path.stem, stack.path
    made = path.parent / f"{stem}_psf/{stem}_psf.fits"
    if not made.exists() or made.stat().st_mtime < path.stat().st_mtime:
        return None
    from astropy.table import Table as Written

    table = Written.read(made).filled(np.nan).as_array()
    return _as_stars(stack, table, ("FLUX_PSF", "FLUXERR_PSF", "ERR_RA"), tangent)


def _as_stars(
    stack: StackFile, table: Table | None, names: tuple[str, str, str], tangent: tuple[float, float]
) -> Stars | None:
    """Sources of a catalogue whose light, its error, and that of places are in columns of some ``names``."""
    x, y, flux, error = (column(table, name) for name in ("X_IMAGE", "Y_IMAGE", *names[:2]))
    if x is None or y is None or flux is None or error is None or not len(x):
        return None
    seconds = stack.value("EXPTIME") or 1.0
    unsure, flags = column(table, names[2]), column(table, "FLAGS")
    sky = find_sky(world_of(stack), x.astype(float), y.astype(float))
    light, noise = column(table, "FLUX_APER"), column(table, "FLUXERR_APER")
    if light is None or noise is None:
        light, noise = flux, error
    first, noisy = (values.reshape(len(x), -1)[:, 0] for values in (light, noise))
    return Stars(
        np.stack(sky_to_plane(*sky, tangent), axis=1),
        np.zeros(len(x)) if unsure is None else unsure.astype(float),
        flux / seconds,
        error / seconds,
        first / np.where(noisy > 0, noisy, np.inf),
        np.zeros(len(x), int) if flags is None else flags.astype(int),
        np.stack([x, y], axis=1).astype(float),
    )


def match_places(first: F64, second: F64, within: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of places (n, 2) and (m, 2) that are each other's nearest within a distance."""
    if not len(first) or not len(second):
        return np.zeros(0, int), np.zeros(0, int)
    near, back = cKDTree(second).query(first)[1], cKDTree(first).query(second)[1]
    index = np.arange(len(near))
    same = (back[near] == index) & (np.hypot(*(second[near] - first).T) < within)
    return index[same], near[same]


def match_stars(first: StackFile, second: StackFile) -> Pair:
    """The sources of two stacks that are each other's nearest within SAME arcsec."""
    stars, others = (read_stars(stack, tangent_of(first)) for stack in (first, second))
    if stars is None or others is None:
        return Pair(*(np.zeros((0, 2)) for _ in range(4)))
    one, other = match_places(stars.places, others.places, SAME)
    return Pair(
        stars.pixels[one],
        1000.0 * (others.places[other] - stars.places[one]),
        np.stack([stars.rates[one], others.rates[other]], axis=1),
        np.stack([stars.errors[one], others.errors[other]], axis=1),
    )


def agree(first: Stars, second: Stars) -> bool:
    """Whether more of their stars lie at the same places than would by chance."""
    low, high = np.min(first.places, axis=0), np.max(first.places, axis=0)
    inside = ((second.places >= low - SAME) & (second.places <= high + SAME)).all(axis=1).sum()
    density = len(first.places) / np.prod(high - low + 2 * SAME)
    chance = inside * density * np.pi * SAME**2
    return bool(len(match_places(first.places, second.places, SAME)[0]) > chance + RARE * np.sqrt(chance))


def register_stars(first: Stars, second: Stars) -> Registration:
    """From the second's coordinates to the first's, by their brighter stars.

    A shift, of more stars rotation and scale too, of many distortion; BY_WCS where too few agree.
    """
    brightest = [np.argsort(-np.nan_to_num(stars.rates))[:BRIGHTEST] for stars in (first, second)]
    shift = _find_shift(first.places[brightest[0]], second.places[brightest[1]])
    if shift is None:
        return BY_WCS
    registration = Registration(0, shift[None])
    heard, others = np.flatnonzero(first.loud), np.flatnonzero(second.loud)
    for _ in range(4):
        one, other = match_places(first.places[heard], registration.apply(second.places[others]), SAME)
        one, other = heard[one], others[other]
        if len(one) < FEWEST_BY_ORDER[0]:
            return BY_WCS
        left = first.places[one] - registration.apply(second.places[other])
        left -= np.median(left, axis=0)
        spread = 1.4826 * np.median(np.abs(left)) + FLOOR
        variance = first.place_errors[one] ** 2 + second.place_errors[other] ** 2 + FLOOR**2
        weight = 1.0 / (variance * (1.0 + (left**2).sum(axis=1) / (3.0 * spread) ** 2))
        registration = _fit(second.places[other], first.places[one], weight)
    return registration


def _find_shift(first: F64, second: F64) -> F64 | None:
    """What most pairs of stars within ASTRAY arcsec differ by; None where no more do than by chance."""
    near = cKDTree(second).query_ball_point(first, ASTRAY)
    gaps = np.concatenate([first[n] - second[found] for n, found in enumerate(near)])
    if not len(gaps):
        return None
    alike = cKDTree(gaps).query_ball_point(gaps, SAME / 2)
    count = np.array([len(found) for found in alike])
    best = int(np.argmax(count))
    chance = len(gaps) * (SAME / 2 / ASTRAY) ** 2
    is_real = count[best] >= FEWEST_BY_ORDER[0] + chance + RARE * np.sqrt(chance)
    return np.median(gaps[alike[best]], axis=0) if is_real else None


def _fit(places: F64, wanted: F64, weight: F64) -> Registration:
    order = sum(len(places) >= fewest for fewest in FEWEST_BY_ORDER) - 1
    root = np.sqrt(weight)[:, None]
    coefficients = np.linalg.lstsq(root * terms_of(places, order), root * (wanted - places), rcond=None)[0]
    return Registration(order, np.asarray(coefficients, float))
