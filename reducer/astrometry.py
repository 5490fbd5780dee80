"""Where pixels lie on the sky: projection, refraction, the static distortion of arrays, exposures, stacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

import numpy as np
from numpy.polynomial import chebyshev, legendre
from numpy.typing import NDArray

from reducer.types import F64, Header

# --- the sky and a plane that touches it -----------------------------------------------------------

ARCSEC = np.pi / 180.0 / 3600.0

Position = tuple[float, float]


def sky_to_plane(ra: F64, dec: F64, centre: Position) -> tuple[F64, F64]:
    """Gnomonic projection of (ra, dec) about ``centre``, degrees; (xi east, eta north) in arcsec.

    Source: Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3.
    """
    a, d = np.radians(np.asarray(ra, float) - centre[0]), np.radians(dec)
    sin0, cos0 = np.sin(np.radians(centre[1])), np.cos(np.radians(centre[1]))
    depth = sin0 * np.sin(d) + cos0 * np.cos(d) * np.cos(a)
    xi = np.cos(d) * np.sin(a) / depth
    eta = (cos0 * np.sin(d) - sin0 * np.cos(d) * np.cos(a)) / depth
    return xi / ARCSEC, eta / ARCSEC


def plane_to_sky(xi: F64, eta: F64, centre: Position) -> tuple[F64, F64]:
    """The inverse of ``sky_to_plane``: arcsec in the plane to (ra in 0..360, dec) in degrees.

    ``xi``, ``eta``: (n,).
    """
    x, y = np.asarray(xi, float) * ARCSEC, np.asarray(eta, float) * ARCSEC
    sin0, cos0 = np.sin(np.radians(centre[1])), np.cos(np.radians(centre[1]))
    ra = centre[0] + np.degrees(np.arctan2(x, cos0 - y * sin0))
    dec = np.degrees(np.arctan2(sin0 + y * cos0, np.hypot(x, cos0 - y * sin0)))
    return ra % 360.0, dec


@dataclass(frozen=True)
class LinearWcs:
    """A header's TAN WCS without distortion: reference pixel (1-based), its place, degrees per pixel."""

    pixel: Position
    sky: Position
    matrix: tuple[float, float, float, float]

    def to_sky(self, x: F64, y: F64) -> tuple[F64, F64]:
        """Degrees of right ascension and declination at 1-based pixels of the header's own image."""
        return plane_to_sky(*self.offsets(x, y), self.sky)

    def offsets(self, x: F64, y: F64) -> tuple[F64, F64]:
        """Arcsec east and north of ``sky``, on its tangent plane, at 1-based pixels."""
        dx, dy = np.asarray(x, float) - self.pixel[0], np.asarray(y, float) - self.pixel[1]
        a, b, c, d = self.matrix
        return (a * dx + b * dy) * 3600.0, (c * dx + d * dy) * 3600.0

    @property
    def scale(self) -> float:
        """Arcsec per pixel."""
        a, b, c, d = self.matrix
        return float(np.sqrt(abs(a * d - b * c))) * 3600.0


def read_wcs(header: Header) -> LinearWcs | None:
    """The linear WCS of an image header, or None where it has none that can be used."""
    keys = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
    values = [header.get(key) for key in keys]
    if not all(isinstance(value, int | float) and np.isfinite(value) for value in values):
        return None
    p, q, ra, dec, a, b, c, d = (float(value) for value in values)
    if str(header.get("CTYPE1", "RA---TAN")).upper().startswith("DEC"):
        ra, dec, a, b, c, d = dec, ra, c, d, a, b
    if a * d == b * c:
        return None
    return LinearWcs((p, q), (ra, dec), (a, b, c, d))


def write_tan(header: Header, suffix: str, pixel: Position, sky: Position, matrix: F64) -> None:
    """Put a TAN WCS into a header, in place of the one that it holds: ``sky`` (degrees) at a 1-based pixel,
    and the (2, 2) matrix of degrees per pixel; ``suffix``: of the projection's name."""
    for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2", "CDELT1", "CDELT2", "CROTA2", "RADECSYS"):
        if key in header:
            del header[key]
    values = {
        "CTYPE1": f"RA---TAN{suffix}", "CTYPE2": f"DEC--TAN{suffix}", "CUNIT1": "deg", "CUNIT2": "deg",
        "CRPIX1": pixel[0], "CRPIX2": pixel[1], "CRVAL1": sky[0], "CRVAL2": sky[1],
        "CD1_1": matrix[0, 0], "CD1_2": matrix[0, 1], "CD2_1": matrix[1, 0], "CD2_2": matrix[1, 1],
        "RADESYS": "FK5", "EQUINOX": 2000.0,
    }  # fmt: skip
    for key, value in values.items():
        header[key] = value


def mean_position(positions: list[Position]) -> Position:
    """The middle of several positions in degrees, safe across 0 h."""
    first = positions[0]
    xi, eta = sky_to_plane(np.array([p[0] for p in positions]), np.array([p[1] for p in positions]), first)
    ra, dec = plane_to_sky(np.array([np.median(xi)]), np.array([np.median(eta)]), first)
    return float(ra[0]), float(dec[0])


# --- refraction --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """Where a telescope stands: east longitude and latitude in degrees; ``refraction``: radians of it per
    tan(zenith distance), (n - 1) of the air."""

    longitude: float
    latitude: float
    refraction: float


def air(pressure: float, celsius: float) -> float:
    """(n - 1) of dry air at 2.2 micron: 2.736e-4 at 1013.25 hPa and 15 C (Ciddor 1996), scaled by pressure
    (hPa) and temperature."""
    return 2.736e-4 * (pressure / 1013.25) * (288.15 / (273.15 + celsius))


def sidereal_time(when: datetime, site: Site) -> float:
    """Local mean sidereal time in degrees at a UTC (Astronomical Almanac, low precision)."""
    days = (when - datetime(2000, 1, 1, 12)).total_seconds() / 86400.0
    return (280.46061837 + 360.98564736629 * days + site.longitude) % 360.0


def horizon_angles(ra: float, dec: float, when: datetime, site: Site) -> tuple[float, float]:
    """Zenith distance and parallactic angle in radians (north through east, to the zenith)."""
    hour, d, phi = np.radians(sidereal_time(when, site) - ra), np.radians(dec), np.radians(site.latitude)
    cosine = np.sin(phi) * np.sin(d) + np.cos(phi) * np.cos(d) * np.cos(hour)
    angle = np.arctan2(np.sin(hour), np.tan(phi) * np.cos(d) - np.sin(d) * np.cos(hour))
    return float(np.arccos(np.clip(cosine, -1.0, 1.0))), float(angle)


def removal_matrix(ra: float, dec: float, when: datetime, site: Site) -> F64:
    """The (2, 2) matrix from observed to true offsets (xi east, eta north) about a position in degrees.

    Refraction k tan z moves stars to the zenith: towards it offsets shrink by 1 - k sec^2 z, across it by
    1 - k. Below 5 degrees of altitude the simple law fails and the identity is returned.
    """
    zenith, angle = horizon_angles(ra, dec, when, site)
    if zenith > np.radians(85.0):
        return np.eye(2)
    up = np.array([np.sin(angle), np.cos(angle)])
    across = np.array([np.cos(angle), -np.sin(angle)])
    along_scale, across_scale = 1.0 + site.refraction / np.cos(zenith) ** 2, 1.0 + site.refraction
    return np.asarray(along_scale * np.outer(up, up) + across_scale * np.outer(across, across), float)


# --- the static distortion, and the smooth terms of departures from it -----------------------------


@dataclass(frozen=True, eq=False)
class StaticMap:
    """The map of an array of some rows and columns from its 1-based pixels to arcsec: coefficients [i, j] of
    x**i * y**j."""

    x: F64
    y: F64
    shape: tuple[int, int]

    def evaluate(self, x: F64, y: F64) -> tuple[F64, F64]:
        """Arcsec in the static plane at 1-based full-array pixels."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        values = [np.polynomial.polynomial.polyval2d(x, y, table) for table in (self.x, self.y)]
        return np.asarray(values[0], float), np.asarray(values[1], float)

    @cached_property
    def affine(self) -> tuple[F64, F64]:
        """The affine map nearest to this one: arcsec at pixel (0, 0), and (2, 2) arcsec per pixel.

        It is fitted to the whole array, as the observatory's CRPIX and CD are.
        """
        rows, columns = self.shape
        x, y = (side.ravel() for side in np.meshgrid(np.linspace(1, columns, 17), np.linspace(1, rows, 17)))
        design = np.stack([np.ones_like(x), x, y], axis=1)
        fit = np.linalg.lstsq(design, np.stack(self.evaluate(x, y), axis=1), rcond=None)[0]
        return np.asarray(fit[0]), np.asarray(fit[1:].T)

    @cached_property
    def middle(self) -> F64:
        """Where the middle of the array lies, arcsec (2,)."""
        rows, columns = self.shape
        return np.array(self.evaluate(np.array((columns + 1) / 2), np.array((rows + 1) / 2)))


@dataclass(frozen=True)
class Departures:
    """How exposures depart from the static model.

    Typical sizes at the field's edge, arcsec, by which what the matches do not determine is held at zero:
    ``shift``, by the headers' error; ``rotation``; ``stretch``, of scale and shear; ``by_degree``, of
    quadratic and higher terms; ``array``, of single arrays. What no solution may exceed: ``most_rotation`` in
    radians; ``most_stretch``, a ratio; ``most`` anywhere after shift and rotation, pixels.
    """

    shift: float
    rotation: float
    stretch: float
    by_degree: Mapping[int, float]
    array: float
    most_rotation: float
    most_stretch: float
    most: float


@dataclass(frozen=True, eq=False)
class Field:
    """What an instrument sees at once, in its static plane: arcsec, as on the sky but turned with the arrays.

    ``maps``: of each array, by number. ``side``: what pointings are told apart by. The arrays lie within
    ``half_width`` of ``centre`` along either axis, and see ``area`` square arcsec. ``reference_scale``:
    arcsec per pixel, by which fluxes are defined. ``departures``: what exposures may differ by from it.
    """

    maps: tuple[StaticMap, ...]
    centre: tuple[float, float]
    side: float
    half_width: float
    area: float
    reference_scale: float
    departures: Departures

    @property
    def arrays(self) -> int:
        """How many there are."""
        return len(self.maps)

    def nearest(self, xs: F64, ys: F64) -> NDArray[np.intp]:
        """Which array (0..) each place (n,) lies on, or nearest to."""
        away = [np.hypot(xs - one.middle[0], ys - one.middle[1]) for one in self.maps]
        return np.asarray(np.argmin(away, axis=0), np.intp)

    def basis(self, xs: F64, ys: F64, degree: int) -> F64:
        """Products of Legendre polynomials over the field, (n, terms), at static-plane positions in arcsec.

        Legendre products are nearly orthogonal over the field, so each coefficient is the size in arcsec of
        its term at the field's edge, and one prior fits all the terms of a degree.
        """
        p = (np.asarray(xs, float) - self.centre[0]) / self.half_width
        q = (np.asarray(ys, float) - self.centre[1]) / self.half_width
        vp, vq = legendre.legvander(p, degree), legendre.legvander(q, degree)
        return np.stack([vp[..., i] * vq[..., j] for i, j in degrees(degree)], axis=-1)


def degrees(degree: int) -> tuple[tuple[int, int], ...]:
    """The exponents (i, j) of all terms up to a total degree, low degrees first."""
    return tuple((total - j, j) for total in range(degree + 1) for j in range(total + 1))


def fit_polynomials(p: F64, q: F64, values: F64, degree: int) -> F64:
    """Polynomials of two coordinates (n,) fitted to each column of values: [column, i, j] of p**i * q**j."""
    exponents = degrees(degree)
    design = np.stack([p**i * q**j for i, j in exponents], axis=1)
    tables = np.zeros((values.shape[1], degree + 1, degree + 1))
    for (i, j), row in zip(exponents, np.linalg.lstsq(design, values, rcond=None)[0], strict=True):
        tables[:, i, j] = row
    return tables


def term_count(degree: int) -> int:
    """How many terms a two-dimensional polynomial of this total degree has."""
    return (degree + 1) * (degree + 2) // 2


# --- an exposure's pixels on the plane that all exposures share, and back --------------------------

#: Degree of the polynomial that stands for a chip's whole inverse chain: good to 4e-4 mas.
INVERSE_DEGREE = 6


@dataclass(frozen=True)
class ChipRegion:
    """Which array (from 1) a chip is, and the zero-based column and row of the full array where it begins.

    The image of a stack, which is free of distortion already, has its linear WCS as ``plane`` instead.
    """

    array: int
    x: int
    y: int
    width: int
    height: int
    plane: LinearWcs | None = None


@dataclass(frozen=True)
class Geometry:
    """An exposure's map from pixels to arcsec on a common tangent plane (xi east, eta north).

    pixel -> static plane (array by array) -> ``linear`` (parity, position angle, refraction) about
    ``pointing`` -> sky -> the plane about ``tangent``; then the exposure's own correction is added:
    ``coefficients`` (2, terms) of ``field.basis`` of ``degree``, and ``shifts`` (2, arrays), one for each.
    Positions are degrees, all else arcsec. ``model`` names what the correction was solved with.
    """

    regions: tuple[ChipRegion, ...]
    field: Field
    linear: F64
    pointing: Position
    tangent: Position
    degree: int = 0
    coefficients: F64 | None = None
    shifts: F64 | None = None
    model: str = "header offsets"
    rms: float = float("nan")
    matches: int = 0

    def evaluate(self, x: F64, y: F64, chip: int) -> tuple[F64, F64]:
        """Arcsec on the common plane at 0-based pixels of a chip as it is read."""
        u, v = self.placed(*self.static(x, y, chip))
        if self.shifts is not None:
            array = self.regions[chip].array - 1
            u, v = u + self.shifts[0, array], v + self.shifts[1, array]
        return u, v

    def static(self, x: F64, y: F64, chip: int) -> tuple[F64, F64]:
        """Arcsec in the static plane at 0-based pixels of a chip as it is read."""
        region = self.regions[chip]
        if region.plane is not None:
            dx, dy = region.plane.offsets(np.asarray(x, float) + 1.0, np.asarray(y, float) + 1.0)
            return dx + self.field.centre[0], dy + self.field.centre[1]
        full_x, full_y = np.asarray(x, float) + region.x + 1, np.asarray(y, float) + region.y + 1
        return self.field.maps[region.array - 1].evaluate(full_x, full_y)

    def nominal(self, xs: F64, ys: F64) -> tuple[F64, F64]:
        """Arcsec on the common plane at static-plane positions, without the exposure's own correction."""
        dx, dy = xs - self.field.centre[0], ys - self.field.centre[1]
        xi = self.linear[0, 0] * dx + self.linear[0, 1] * dy
        eta = self.linear[1, 0] * dx + self.linear[1, 1] * dy
        if self.pointing == self.tangent:
            return xi, eta
        return sky_to_plane(*plane_to_sky(xi, eta, self.pointing), self.tangent)

    def placed(self, xs: F64, ys: F64) -> tuple[F64, F64]:
        """Arcsec on the common plane at static-plane positions (n,), but for the shifts of single arrays."""
        u, v = self.nominal(xs, ys)
        if self.coefficients is None:
            return u, v
        terms = self.field.basis(xs, ys, self.degree)
        return u + terms @ self.coefficients[0], v + terms @ self.coefficients[1]

    @property
    def middle(self) -> F64:
        """Where the middle of the field lies on the common plane, arcsec (2,)."""
        return np.concatenate(self.placed(*(np.array([value]) for value in self.field.centre)))

    @property
    def pixel(self) -> float:
        """Side in arcsec of the pixel whose electrons the frame holds: the reference pixel, a stack's own."""
        plane = self.regions[0].plane
        return self.field.reference_scale if plane is None else plane.scale

    def area(self, x: F64, y: F64, chip: int) -> F64:
        """Square arcsec of sky on the chip's pixels at 0-based places."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        east = np.subtract(self.evaluate(x + 0.5, y, chip), self.evaluate(x - 0.5, y, chip))
        north = np.subtract(self.evaluate(x, y + 0.5, chip), self.evaluate(x, y - 0.5, chip))
        return np.asarray(np.abs(east[0] * north[1] - east[1] * north[0]), float)

    def corners(self, chip: int) -> tuple[F64, F64]:
        """The chip's outline on the common plane: 9 points along each side."""
        region = self.regions[chip]
        along = np.linspace(0.0, 1.0, 9)
        zero, one = np.zeros(9), np.ones(9)
        x = np.concatenate([along, one, along[::-1], zero]) * region.width - 0.5
        y = np.concatenate([zero, along, one, along[::-1]]) * region.height - 0.5
        return self.evaluate(x, y, chip)

    def inverse(self, chip: int, project: Callable[[F64, F64], tuple[F64, F64]] | None = None) -> Inverse:
        """The chip's map back to its pixels, a polynomial fitted to the whole chain.

        It maps from the common plane in arcsec, or from what ``project`` makes of that: a stack's pixels.
        """
        region = self.regions[chip]
        nodes = (chebyshev.chebpts1(16) * 0.5 + 0.5) * 1.02 - 0.01
        x, y = np.meshgrid(nodes * region.width - 0.5, nodes * region.height - 0.5)
        u, v = self.evaluate(x.ravel(), y.ravel(), chip)
        if project is not None:
            u, v = project(u, v)
        centre = np.array([(u.min() + u.max()) / 2, (v.min() + v.max()) / 2])
        half = max(np.ptp(u), np.ptp(v)) / 2
        p, q = (u - centre[0]) / half, (v - centre[1]) / half
        tables = fit_polynomials(p, q, np.stack([x.ravel(), y.ravel()], axis=1), INVERSE_DEGREE)
        return Inverse(float(centre[0]), float(centre[1]), float(half), tables)

    def moved(self, dx: float, dy: float) -> Geometry:
        """The same map with everything shifted on the common plane by (dx, dy) arcsec."""
        base = np.zeros((2, 1)) if self.coefficients is None else self.coefficients
        changed = base.copy()
        changed[:, 0] += (dx, dy)
        return replace(self, coefficients=changed)


@dataclass(frozen=True)
class Inverse:
    """0-based pixel = sum of table[i, j] * p**i * q**j, with p, q = (u - u0, v - v0) / half."""

    u0: float
    v0: float
    half: float
    tables: F64

    def evaluate(self, u: F64, v: F64) -> tuple[F64, F64]:
        """0-based pixels of the chip at (u, v); beyond the chip an extrapolation."""
        p, q = (np.asarray(u, float) - self.u0) / self.half, (np.asarray(v, float) - self.v0) / self.half
        powers_p, powers_q = _powers(p), _powers(q)
        x, y = (np.einsum("...i,...i", powers_p @ table, powers_q) for table in self.tables)
        return x, y

    def window(self, width: int, height: int) -> tuple[slice, slice]:
        """Rows and columns of a grid of such size beyond which the chip certainly does not lie."""
        reach = self.half + 1.0
        low, high = max(int(self.v0 - reach), 0), min(int(self.v0 + reach) + 2, height)
        left, right = max(int(self.u0 - reach), 0), min(int(self.u0 + reach) + 2, width)
        return slice(low, max(high, low)), slice(left, max(right, left))


def _powers(values: F64) -> F64:
    """The powers of some values up to INVERSE_DEGREE, along a last axis."""
    powers = np.ones((*values.shape, INVERSE_DEGREE + 1))
    for power in range(1, INVERSE_DEGREE + 1):
        np.multiply(powers[..., power - 1], values, out=powers[..., power])
    return powers


# --- the pixels of a stack -------------------------------------------------------------------------


#: Arcsec over which the directions of a grid are taken.
ARM = 30.0


@dataclass(frozen=True)
class Grid:
    """Output pixels: ``scale`` arcsec each, ``width`` x ``height``, y at position angle ``angle`` (degrees).

    The tangent point (degrees) lies at the 0-based pixel ``reference``. East is left, north is up at
    angle 0.
    """

    tangent: Position
    scale: float
    angle: float
    width: int
    height: int
    reference: Position

    def to_plane(self, column: F64, row: F64) -> tuple[F64, F64]:
        """Arcsec on the tangent plane at 0-based pixels."""
        dx = (np.asarray(column, float) - self.reference[0]) * self.scale
        dy = (np.asarray(row, float) - self.reference[1]) * self.scale
        c, s = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        return -c * dx + s * dy, s * dx + c * dy

    def to_pixel(self, u: F64, v: F64) -> tuple[F64, F64]:
        """0-based pixels at arcsec on the tangent plane."""
        c, s = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        dx, dy = -c * np.asarray(u) + s * np.asarray(v), s * np.asarray(u) + c * np.asarray(v)
        return dx / self.scale + self.reference[0], dy / self.scale + self.reference[1]

    def pixel_to_sky(self, column: F64, row: F64) -> tuple[F64, F64]:
        """Right ascension and declination in degrees at 0-based pixels."""
        return plane_to_sky(*self.to_plane(column, row), self.tangent)

    def write_wcs(self, header: Header) -> None:
        """Put the grid's TAN WCS into a header, in place of the one that it holds."""
        c, s = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        step = self.scale / 3600.0
        matrix = np.array([[-c * step, s * step], [s * step, c * step]])
        write_tan(header, "", (self.reference[0] + 1.0, self.reference[1] + 1.0), self.tangent, matrix)
        for key in ("LTV1", "LTV2"):
            if key in header:
                del header[key]


def same_grid(wcs: LinearWcs, shape: tuple[int, int], tangent: Position) -> Grid:
    """The pixels of an image of ``shape`` (ny, nx) as a grid about another tangent point.

    Planes about points some arcsec apart are turned against each other as meridians converge; what is left
    is some microarcseconds over a field of two arcminutes. ValueError where the image is mirrored.
    """
    # Where three places of the new plane, arcsec, lie on the image's own plane, and among its pixels.
    xi, eta = sky_to_plane(
        *plane_to_sky(np.array([0.0, 0.0, ARM]), np.array([0.0, ARM, 0.0]), tangent), wcs.sky
    )
    a, b, c, d = wcs.matrix
    x, y = np.linalg.inv([[a, b], [c, d]]) @ np.stack([xi, eta]) / 3600.0
    north, east = (x[1] - x[0], y[1] - y[0]), (x[2] - x[0], y[2] - y[0])
    if north[0] * east[1] - north[1] * east[0] < 0:
        raise ValueError("its east is to the right of its north")
    angle = float(np.degrees(np.arctan2(north[0], north[1])))
    reference = wcs.pixel[0] - 1.0 + float(x[0]), wcs.pixel[1] - 1.0 + float(y[0])
    return Grid(tangent, ARM / float(np.hypot(*north)), angle, shape[1], shape[0], reference)


def common_grid(geometries: Sequence[Geometry], scale: float, angle: float = 0.0) -> Grid:
    """The smallest grid that holds every chip of every exposure; y points to position angle ``angle``."""
    tangent = geometries[0].tangent
    bare = Grid(tangent, scale, angle, 0, 0, (0.0, 0.0))
    outlines = [bare.to_pixel(*g.corners(chip)) for g in geometries for chip in range(len(g.regions))]
    x = np.concatenate([outline[0] for outline in outlines])
    y = np.concatenate([outline[1] for outline in outlines])
    left, low = np.floor(x.min()), np.floor(y.min())
    width, height = int(np.ceil(x.max()) - left) + 1, int(np.ceil(y.max()) - low) + 1
    return Grid(tangent, scale, angle, width, height, (-float(left), -float(low)))
