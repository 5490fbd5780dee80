"""What a noiseless stack would be: exposures before noise, laid on a stack's pixels by their true maps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from goafetch.practice.exposure import optics
from goafetch.practice.truth import pixel_area

NOMINAL_AREA = 0.0197**2
FIELD_SCALE = 45.0


@dataclass(frozen=True)
class Truth:
    """The folder of a simulated night's truth, and what its program says."""

    folder: Path
    program: dict[str, Any]
    exposures: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Truth:
        """Read ``program.json`` and ``exposures.json``."""
        program = json.loads((folder / "program.json").read_text())
        exposures = json.loads((folder / "exposures.json").read_text())
        return cls(folder, program, {entry["name"]: entry for entry in exposures})

    def catalogue(self, field: str) -> dict[str, NDArray[Any]]:
        """The stars of a field: id, ra, dec, x, y (arcsec on the field's tangent plane), magnitude."""
        with np.load(self.folder / f"catalogue_{field}.npz") as content:
            return {name: content[name] for name in content.files}

    def mapping(self, name: str) -> optics.Mapping:
        """The true map of an exposure from the field's tangent plane to the static frame."""
        entry = self.exposures[name]
        return optics.Mapping(
            tuple(entry["pointing"]), np.array(entry["matrix"]), np.array(entry["quadratic"])
        )

    def detector(self, name: str, array: int) -> NDArray[np.float32]:
        """A full-frame map of an array (0..3) of the simulated detector."""
        with np.load(self.folder / "detector.npz") as content:
            return content[name][array]

    def area(self, array: int, width: int) -> NDArray[np.float64]:
        """Arcsec^2 of the pixels read of an array."""
        return pixel_area(array, width)

    def brightness(self, name: str, array: int) -> NDArray[np.float64]:
        """Electrons per reference pixel above the sky in a perfectly flat-fielded frame, (ny, nx)."""
        entry = self.exposures[name]
        noiseless = np.load(self.folder / "noiseless" / f"{name}.npy", mmap_mode="r")[array]
        x0, y0, width, height = entry["regions"][array]
        part = np.s_[y0 - 1 : y0 - 1 + height, x0 - 1 : x0 - 1 + width]
        response = (
            self.detector("response", array)[part] * self.program["sensitivity"][entry["filter"]][array]
        )
        light = noiseless - self.detector("dark", array)[part] * entry["exptime"]
        light = fill_dead(light / np.where(response > 0.2, response, np.nan))
        x, y = np.meshgrid(np.arange(x0, x0 + width, dtype=float), np.arange(y0, y0 + height, dtype=float))
        sx, sy = optics.pixel_to_static(array, x, y)
        cx, cy = optics.field_centre()
        slope = entry["sky_slope"]
        sky = 1.0 + (slope[0] * (sx - cx) + slope[1] * (sy - cy)) / FIELD_SCALE
        share = entry["duration"] / entry["exptime"] / entry["coadds"]
        per_area = light / self.area(array, width) - share * entry["sky_electrons"] / NOMINAL_AREA * sky
        return per_area * self.program["flat_median_area"][entry["filter"]]


def fill_dead(image: NDArray[Any]) -> NDArray[Any]:
    """Pixels that see nothing, filled from their neighbours, wider and wider."""
    hole = ~np.isfinite(image)
    filled, weight = np.where(hole, 0.0, image), (~hole).astype(float)
    for size in (3, 7, 31):
        mean = ndimage.uniform_filter(filled * weight, size)
        share = ndimage.uniform_filter(weight, size)
        reached = (weight == 0) & (share > 1e-9)
        filled[reached], weight[reached] = (mean / np.maximum(share, 1e-12))[reached], 1.0
    return filled


def render(
    truth: Truth, names: list[str], shape: tuple[int, int], to_field: Any, scale: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The mean of the exposures at a stack's pixels on the first one's flux scale, and how many cover each.

    ``to_field(column, row)``: true tangent-plane arcsec at 0-based pixels of the stack of ``scale`` arcsec.
    Interpolated with a cubic spline, which is another way than the reducer's.
    """
    total, count = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    reference = truth.exposures[names[0]]["transmission"]
    for name in names:
        mapping = truth.mapping(name)
        factor = reference / truth.exposures[name]["transmission"] * scale**2 / NOMINAL_AREA
        for array in range(4):
            image = truth.brightness(name, array)
            coefficients = ndimage.spline_filter(image, order=3).astype(np.float32)
            layers = (
                Layer(total, coefficients, factor),
                Layer(count, np.ones(image.shape, np.uint8), order=0),
            )
            add(layers, mapping, array, truth.exposures[name], to_field)
    return np.where(count > 0, total / np.maximum(count, 1), 0.0).astype(np.float32), count


@dataclass(frozen=True)
class Layer:
    """An image of an array, as coefficients of splines, and the plane that it is added to."""

    plane: NDArray[Any]
    coefficients: NDArray[Any]
    factor: float = 1.0
    order: int = 3


def add(layers: tuple[Layer, ...], mapping: optics.Mapping, array: int, entry: Any, to_field: Any) -> None:
    """Lay images of an array of an exposure on a stack's pixels, see ``render``."""
    x0, y0, width, height = entry["regions"][array]
    shape = layers[0].plane.shape
    fit, rows, columns = _pixel_map(mapping, array, (x0, y0, width, height), to_field, shape)
    for first in range(rows.start, rows.stop, 256):
        block = slice(first, min(first + 256, rows.stop))
        x, y = fit(np.arange(columns.start, columns.stop), np.arange(block.start, block.stop))
        inside = (x >= 4) & (y >= 4) & (x <= width - 5) & (y <= height - 5)
        places = [y[inside], x[inside]]
        for layer in layers:
            values = ndimage.map_coordinates(
                layer.coefficients, places, np.float32, order=layer.order, prefilter=False
            )
            part = layer.plane[block, columns]
            part[inside] += (values * layer.factor).astype(part.dtype)


def _pixel_map(mapping, array, region, to_field, shape):
    """A polynomial from the stack's pixels to the chip's, and the rows and columns that the chip touches."""
    gx, gy = np.meshgrid(np.linspace(0, shape[1] - 1, 121), np.linspace(0, shape[0] - 1, 121))
    xi, eta = to_field(gx.ravel(), gy.ravel())
    sx, sy = mapping.to_static(xi, eta)
    (x1, x2), (y1, y2) = optics.static_extent(array)
    near = (sx > x1 - 1) & (sx < x2 + 1) & (sy > y1 - 1) & (sy < y2 + 1)
    px, py = optics.static_to_pixel(array, sx[near], sy[near])
    px, py = px - region[0], py - region[1]
    column, row = gx.ravel()[near], gy.ravel()[near]
    centre, half = np.array([column.mean(), row.mean()]), max(np.ptp(column), np.ptp(row)) / 2
    terms = [(i, j) for i in range(7) for j in range(7 - i)]
    p, q = (column - centre[0]) / half, (row - centre[1]) / half
    design = np.stack([p**i * q**j for i, j in terms], axis=1)
    tables = np.zeros((2, 7, 7))
    solution = np.linalg.lstsq(design, np.stack([px, py], axis=1), rcond=None)[0]
    for (i, j), values in zip(terms, solution, strict=True):
        tables[:, i, j] = values

    def fit(columns, rows):
        u, v = (columns - centre[0]) / half, (rows - centre[1]) / half
        return [np.polynomial.polynomial.polygrid2d(u, v, table).T for table in tables]

    rows = slice(max(int(row.min()) - 2, 0), min(int(row.max()) + 3, shape[0]))
    columns = slice(max(int(column.min()) - 2, 0), min(int(column.max()) + 3, shape[1]))
    return fit, rows, columns


def rendering(stack, truth, names, to_field, cache):
    """The truth at the stack's pixels, from the cache if it has this shape."""
    if cache and cache.exists():
        with np.load(cache) as content:
            if content["model"].shape == stack.data.shape:
                return content["model"], content["count"]
    model, count = render(truth, names, stack.data.shape, to_field, stack.scale)
    if cache:
        np.savez(cache, model=model, count=count)
    return model, count
