"""Where every pixel of an exposure lies on the tangent plane that all exposures share, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.polynomial import chebyshev

from reducer.align import distortion, refraction
from reducer.align.sky import LinearWcs, Position, mean_position, plane_to_sky, read_wcs, sky_to_plane
from reducer.errors import CannotAlign
from reducer.frame import F64, FrameRef, Header
from reducer.headers import gsaoi
from reducer.headers.descriptors import describe

#: Degree of the polynomial that stands for a chip's whole inverse chain: good to 4e-4 mas.
INVERSE_DEGREE = 6


@dataclass(frozen=True)
class Region:
    """Which array (1..4) a chip is, and the zero-based column and row of the full array where it begins.

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
    ``coefficients`` (2, terms) of ``distortion.basis`` of ``degree``, and ``shifts`` (2, 4), one for each
    array. Positions are degrees, all else arcsec. ``model`` names what the correction was solved with.
    """

    regions: tuple[Region, ...]
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
            return dx + distortion.FIELD_CENTRE[0], dy + distortion.FIELD_CENTRE[1]
        full_x, full_y = np.asarray(x, float) + region.x + 1, np.asarray(y, float) + region.y + 1
        return distortion.static_map(region.array).evaluate(full_x, full_y)

    def nominal(self, xs: F64, ys: F64) -> tuple[F64, F64]:
        """Arcsec on the common plane at static-plane positions, without the exposure's own correction."""
        dx, dy = xs - distortion.FIELD_CENTRE[0], ys - distortion.FIELD_CENTRE[1]
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
        terms = distortion.basis(xs, ys, self.degree)
        return u + terms @ self.coefficients[0], v + terms @ self.coefficients[1]

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
        exponents = distortion.degrees(INVERSE_DEGREE)
        design = np.stack([p**i * q**j for i, j in exponents], axis=1)
        solution = np.linalg.lstsq(design, np.stack([x.ravel(), y.ravel()], axis=1), rcond=None)[0]
        tables = np.zeros((2, INVERSE_DEGREE + 1, INVERSE_DEGREE + 1))
        for (i, j), pair in zip(exponents, solution, strict=True):
            tables[:, i, j] = pair
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


@dataclass(frozen=True)
class Layout:
    """How a header's WCS lays the static plane on the sky: a rigid body about the middle of the field.

    ``rotation`` (2, 2) takes static arcsec to east and north, parity included; ``middle`` is where the
    middle of the field lies, degrees. ``misfit``: how far the worst array's middle is from its place, arcsec.
    """

    rotation: F64
    middle: Position
    misfit: float

    @property
    def position_angle(self) -> float:
        """Degrees from north through east of the direction in which y grows."""
        return float(np.degrees(np.arctan2(self.rotation[0, 1], self.rotation[1, 1])))

    def to_sky(self, static: Position) -> Position:
        """Degrees at a place of the static plane, arcsec."""
        away = self.rotation @ np.subtract(static, distortion.FIELD_CENTRE)
        return _first(plane_to_sky(away[:1], away[1:], self.middle))


def header_layout(chips: Sequence[Header], regions: Sequence[Region]) -> Layout | None:
    """The layout by the headers of the arrays of a frame; None where none of them has a WCS.

    Rotation and parity are those of the CD matrices against the static model, the median of the arrays: the
    reference pixels of 2013 and 2014 are turned by 0.7 degree and more. The pixels give the place alone.
    """
    usable = [pair for pair in zip(chips, regions, strict=True) if read_wcs(pair[0]) is not None]
    if not usable:
        return None
    samples = [_sample(chip, region) for chip, region in usable]
    static = np.concatenate([s[0] for s in samples]) - distortion.FIELD_CENTRE
    ra, dec = np.concatenate([s[1] for s in samples]), np.concatenate([s[2] for s in samples])
    about = mean_position(list(zip(ra, dec, strict=True)))
    sky = np.stack(sky_to_plane(ra, dec, about), axis=1)
    shift = _rigid(static, sky)[1]
    rotation = _rotation([_matrix(chip) @ np.linalg.inv(_affine(region)) for chip, region in usable])
    left = (sky - static @ rotation.T).reshape(len(usable), -1, 2).mean(axis=1)
    misfit = np.hypot(*(left - np.median(left, axis=0)).T).max()
    return Layout(rotation, _first(plane_to_sky(shift[:1], shift[1:], about)), float(misfit))


def nominal_geometry(frame: FrameRef, tangent: Position | None = None) -> Geometry:
    """The map by static distortion, refraction and the header's WCS alone; CannotAlign without a WCS.

    The WCS of single arrays disagree in scale: all together give place, rotation and parity (see
    ``header_layout``). ``tangent``: see ``Geometry``.
    """
    regions = frame_regions(frame)
    plane = regions[0].plane
    if plane is not None:
        return Geometry(regions, np.eye(2), plane.sky, tangent or plane.sky)
    layout = header_layout(frame.chips, regions)
    if layout is None:
        raise CannotAlign(f"{frame.path.name} has no WCS", "CRPIX, CRVAL and CD in an image extension")
    linear = _refraction(frame, layout.middle) @ layout.rotation
    return Geometry(regions, linear, layout.middle, tangent or layout.middle)


def is_stack(frame: FrameRef) -> bool:
    """Whether a frame is a stack or was resampled for one: one image on a tangent plane, not the arrays."""
    return ("STACKFRM" in frame.header or "ALIGN" in frame.header) and len(frame.chips) == 1


def frame_regions(frame: FrameRef) -> tuple[Region, ...]:
    """What part of which array each chip of a repaired frame is; BadInput if the headers contradict it."""
    if is_stack(frame):
        chip = frame.chips[0]
        return (Region(1, 0, 0, int(chip["NAXIS1"]), int(chip["NAXIS2"]), read_wcs(chip)),)
    parts = [gsaoi.region(chip) for chip in frame.chips]
    return tuple(
        Region(int(chip["EXTVER"]), part.x1, part.y1, part.x2 - part.x1, part.y2 - part.y1)
        for chip, part in zip(frame.chips, parts, strict=True)
    )


def _sample(chip: Header, region: Region) -> tuple[F64, F64, F64]:
    """Four points of an array: static arcsec (4, 2), and by the header's WCS degrees of ra and dec.

    The header's WCS is linear and stands for the whole array: so does what it is compared with.
    """
    wcs = read_wcs(chip)
    assert wcs is not None
    x, y = np.meshgrid(np.array([0.25, 0.75]) * region.width, np.array([0.25, 0.75]) * region.height)
    x, y = x.ravel() + 1.0, y.ravel() + 1.0
    start, matrix = distortion.affine(region.array)
    static = start + np.stack([x + region.x, y + region.y], axis=1) @ matrix.T
    return static, *wcs.to_sky(x, y)


def _matrix(chip: Header) -> F64:
    wcs = read_wcs(chip)
    assert wcs is not None
    return np.reshape(wcs.matrix, (2, 2)) * 3600.0


def _affine(region: Region) -> F64:
    return distortion.affine(region.array)[1]


def _rotation(matrices: Sequence[F64]) -> F64:
    """The orthogonal matrix nearest to several: the parity of most of them, the median of their angles."""
    mirror = np.diag([np.sign(sum(np.sign(np.linalg.det(m)) for m in matrices)) or 1.0, 1.0])
    turned = [m @ mirror for m in matrices]
    angles = np.array([np.arctan2(m[1, 0] - m[0, 1], m[0, 0] + m[1, 1]) for m in turned])
    first = angles[0]
    angle = first + np.median((angles - first + np.pi) % (2 * np.pi) - np.pi)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]]) @ mirror


def _rigid(source: F64, target: F64) -> tuple[F64, F64]:
    """Rotation, of the better parity, and shift that lay ``source`` on ``target``, both (n, 2)."""
    s0, t0 = np.mean(source, axis=0), np.mean(target, axis=0)
    left, _, right = np.linalg.svd((target - t0).T @ (source - s0))
    rotation = left @ right
    return rotation, t0 - rotation @ s0


def _refraction(frame: FrameRef, pointing: Position) -> F64:
    start = describe(frame.header, frame.chips, frame.path.name).ut_datetime
    if not isinstance(start, datetime):
        return np.eye(2)
    middle = start + timedelta(seconds=float(frame.header.get("EXPTIME") or 0.0) / 2)
    return refraction.removal_matrix(*pointing, middle)


def _first(pair: tuple[F64, F64]) -> Position:
    return float(pair[0][0]), float(pair[1][0])


def common_tangent(geometries: Sequence[Geometry]) -> Position:
    """The middle of the exposures' pointings, degrees."""
    return mean_position([geometry.pointing for geometry in geometries])
