"""From an exposure's plan and weather to raw counts of its four arrays, and the truth about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from goafetch.practice.exposure import troubles
from goafetch.practice.exposure.cosmics import Hits, draw_hits
from goafetch.practice.exposure.detector import Array, Readout, read_out
from goafetch.practice.exposure.night import NOMINAL_AREA, Conditions, Exposure, Program
from goafetch.practice.exposure.optics import (
    field_centre,
    read_data,
    static_extent,
    static_jacobian,
    static_polynomials,
    static_to_pixel,
)
from goafetch.practice.exposure.psf import (
    add_cores,
    add_smooth_light,
    grid_nodes,
    halo_light,
    spline_coefficients,
)
from goafetch.practice.exposure.region import Region, true_region
from goafetch.practice.exposure.scene import Field

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

#: Persistence: this part of the charge beyond the linear limit comes out again, with this decay time.
TRAPPED, DECAY, MEMORY = 0.006, 350.0, 1500.0
#: Star cores are followed down to this many electrons per pixel.
FLOOR = 0.02


@dataclass(frozen=True)
class Stars:
    """A field's stars in one exposure: static-frame arcsec, light in electrons/s at response 1."""

    identity: NDArray[np.int64]
    static_x: F64
    static_y: F64
    light: F64


@dataclass(frozen=True)
class ChipStars:
    """Stars on or near one array: number in the catalogue, 1-based pixel, light (e/s), core's share."""

    identity: NDArray[np.int64]
    x: F64
    y: F64
    light: F64
    core: F64
    metric: tuple[F64, F64, F64]


@dataclass(frozen=True)
class Frame:
    """One array's raw counts (ADU) and what is known of them. Hits: coadd, row, column, electrons."""

    region: Region
    counts: F32
    rate: F32
    stars: ChipStars | None
    hits: list[Hits]


def extinction(filter_name: str, airmass: float) -> float:
    """The atmosphere's transmission at an airmass."""
    table = read_data("filters")["extinction_mag_per_airmass"]
    coefficient = float(table.get(filter_name, table["Kshort"]))
    return float(10 ** (-0.4 * coefficient * airmass))


def see_stars(field: Field, exposure: Exposure, conditions: Conditions, zeropoint: float) -> Stars:
    """Where the field's stars fall in the static frame, and how bright they are."""
    sx, sy = conditions.mapping.to_static(field.x, field.y)
    cx, cy = field_centre()
    near = np.flatnonzero((abs(sx - cx) < 58.0) & (abs(sy - cy) < 58.0))
    dimming = conditions.transparency * extinction(exposure.filter_name, conditions.airmass)
    light = dimming * 10 ** (-0.4 * (field.magnitude[near] - zeropoint))
    return Stars(near, sx[near], sy[near], light)


def place_stars(stars: Stars, conditions: Conditions, index: int, margin: float = 60.0) -> ChipStars:
    """The stars within ``margin`` pixels of an array (0..3), with the shape of their cores there."""
    (x1, x2), (y1, y2) = static_extent(index)
    reach = margin * 0.0197
    inside = (stars.static_x > x1 - reach) & (stars.static_x < x2 + reach)
    kept = np.flatnonzero(inside & (stars.static_y > y1 - reach) & (stars.static_y < y2 + reach))
    x, y = static_to_pixel(index, stars.static_x[kept], stars.static_y[kept])
    cx, cy = field_centre()
    wx, wy = stars.static_x[kept] - cx, stars.static_y[kept] - cy
    metric = conditions.profile.metric(wx, wy, static_jacobian(index, x, y))
    core = conditions.profile.fraction_at(wx, wy)
    return ChipStars(stars.identity[kept], x, y, stars.light[kept], core, metric)


def smooth_light(stars: Stars, field: Field, conditions: Conditions, dimming: float) -> F64:
    """Spline coefficients of the halos' and the galaxy's surface brightness over the static frame."""
    cx, cy = field_centre()
    share = conditions.profile.fraction_at(stars.static_x - cx, stars.static_y - cy)
    grid = halo_light(
        stars.static_x, stars.static_y, stars.light * (1.0 - share), conditions.profile.halo_fwhm
    )
    if field.galaxy is not None:
        xi, eta = conditions.mapping.to_sky(*grid_nodes())
        grid = grid + dimming * spline_coefficients(field.galaxy.light(xi, eta))
    return grid


def light_on_array(
    index: int,
    region: Region,
    conditions: Conditions,
    grid: F64,
    stars: ChipStars | None,
    brightness: float,
    seconds: float,
) -> F32:
    """Photo-electrons/s per pixel (ny, nx) of an array whose every pixel has response 1."""
    image = np.zeros((region.ny, region.nx), np.float32)
    add_smooth_light(
        image,
        grid,
        static_polynomials()[0][index],
        region.x0 + 1,
        region.y0 + 1,
        *field_centre(),
        brightness,
        *conditions.sky_slope,
    )
    if stars is not None and conditions.profile.core_fraction > 0.0:
        x, y = stars.x - 1.0 - region.x0, stars.y - 1.0 - region.y0
        add_cores(image, x, y, stars.light * stars.core, stars.metric, FLOOR / seconds)
    return image


@dataclass(frozen=True)
class Scene:
    """What lights the arrays for a share of an exposure's time: stars, smooth light, sky or lamp."""

    conditions: Conditions
    share: float
    stars: Stars | None
    grid: F64
    brightness: float

    @classmethod
    def of(cls, exposure: Exposure, conditions: Conditions, share: float, program: Program) -> Scene:
        """The scene that an exposure's field and weather make."""
        field = program.fields.get(exposure.field)
        stars, grid = None, np.zeros((1, 1))
        if field is not None:
            zeropoint = float(program.zeropoints[exposure.filter_name].mean())
            stars = see_stars(field, exposure, conditions, zeropoint)
            dimming = conditions.transparency * extinction(exposure.filter_name, conditions.airmass)
            grid = smooth_light(stars, field, conditions, dimming)
        brightness = (conditions.sky_rate + conditions.lamp_rate) / NOMINAL_AREA
        return cls(conditions, share, stars, grid, 0.0 if exposure.kind == "dark" else brightness)

    def on_array(self, index: int, region: Region, seconds: float) -> tuple[F32, ChipStars | None]:
        """Photo-electrons/s per pixel (ny, nx), times the share, and the stars."""
        chip = place_stars(self.stars, self.conditions, index) if self.stars is not None else None
        light = light_on_array(index, region, self.conditions, self.grid, chip, self.brightness, seconds)
        light *= np.float32(self.share)
        return light, chip


def sum_light(parts: Sequence[tuple[F32, ChipStars | None]]) -> F32:
    """The light of all scenes of an exposure, (ny, nx)."""
    total = parts[0][0]
    for light, _ in parts[1:]:
        total += light
    return total


def render(
    exposure: Exposure,
    conditions: Conditions,
    program: Program,
    arrays: Sequence[Array],
    sensitivity: F64,
    afterglow: Sequence[F32 | None],
) -> list[Frame]:
    """Expose the four arrays of relative ``sensitivity``; ``afterglow``: persistence, electrons/s."""
    scenes = [
        Scene.of(exposure, moment, share, program) for share, moment in troubles.moments(exposure, conditions)
    ]
    seed = [program.night.seed, 8, *exposure.name.encode()]
    readout = Readout(exposure.exptime, exposure.coadds, exposure.samples, program.night.channels)
    frames = []
    for index, array in enumerate(arrays):
        rng = np.random.Generator(np.random.SFC64([*seed, index]))
        region = true_region(exposure.size, index, exposure.epoch.row_error)
        parts = [scene.on_array(index, region, exposure.exptime) for scene in scenes]
        rate, chip = sum_light(parts), parts[0][1]
        if chip is not None:
            chip = replace(chip, light=chip.light * sum(scene.share for scene in scenes))
        rate *= array.response[region.slices] * np.float32(sensitivity[index])
        rate += array.dark[region.slices]
        glow = afterglow[index]
        if glow is not None:
            rate += glow
        hits = [draw_hits(region, exposure.exptime, rng) for _ in range(exposure.coadds)]
        counts = troubles.damage(exposure, index, read_out(array, region, rate, readout, hits, rng), rng)
        frames.append(Frame(region, counts, rate, chip, hits))
    return frames


def release(trapped: F32, wait: float, seconds: float) -> F32:
    """Electrons/s that trapped charge gives back in an exposure of ``seconds`` that begins after ``wait``."""
    part = math.exp(-wait / DECAY) - math.exp(-(wait + seconds) / DECAY)
    return trapped * np.float32(part / seconds)


def filled_pixels(
    exposure: Exposure, conditions: Conditions, program: Program, array: Array, sensitivity: float
) -> tuple[NDArray[np.int64], F32]:
    """Pixels (flat index in the full frame) driven beyond the linear limit, and their trapped electrons.

    Only a star's core does this at GSAOI's levels; the smooth light under it is taken as the sky's.
    """
    field = program.fields.get(exposure.field)
    if field is None:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    zeropoint = float(program.zeropoints[exposure.filter_name].mean())
    bright = zeropoint - 2.5 * math.log10(array.gain * array.well / exposure.exptime) + 0.5
    kept = field.magnitude < bright
    few = Field(field.name, field.ra, field.dec, field.x[kept], field.y[kept], field.magnitude[kept])
    region = true_region(exposure.size, array.index, exposure.epoch.row_error)
    stars = see_stars(few, exposure, conditions, zeropoint)
    chip = place_stars(stars, conditions, array.index)
    none = np.zeros((1, 1))
    level = conditions.sky_rate / NOMINAL_AREA
    rate = light_on_array(array.index, region, conditions, none, chip, level, exposure.exptime)
    limit = array.gain * array.well * array.linear_limit
    charge = rate * array.response[region.slices] * np.float32(sensitivity * exposure.exptime)
    rows, columns = np.nonzero(charge > limit)
    trapped = TRAPPED * (np.minimum(charge[rows, columns], 1.5 * array.gain * array.well) - 0.5 * limit)
    return (rows + region.y0) * 2048 + columns + region.x0, trapped.astype(np.float32)
