"""Exposures of a made-up star field with known positions, built without any of the code under test but the
static distortion itself, which is the instrument's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from reducer.frame import FrameRef
from reducer.instruments import KNOWN
from reducer.sources import SOURCE

FIELD = KNOWN["GSAOI"].field


@dataclass
class Exposure:
    """What is true of one exposure: offset and rotation on the sky, and its own quadratic distortion."""

    offset: tuple[float, float]
    turn: float
    own: np.ndarray  # (2, 3) of p^2, pq, q^2 in arcsec

    def to_sky(self, xs, ys):
        """Arcsec east and north of the target at static-plane positions."""
        p, q = ((s - c) / FIELD.half_width for s, c in zip((xs, ys), FIELD.centre, strict=True))
        terms = np.stack([p * p - 1 / 3, p * q, q * q - 1 / 3], axis=-1)
        x = xs - FIELD.centre[0] + terms @ self.own[0]
        y = ys - FIELD.centre[1] + terms @ self.own[1]
        c, s = np.cos(self.turn), np.sin(self.turn)
        return c * x - s * y + self.offset[0], s * x + c * y + self.offset[1]

    def to_static(self, u, v):
        """The inverse of ``to_sky``, by iteration."""
        xs, ys = np.array(u, float), np.array(v, float)
        for _ in range(8):
            gu, gv = self.to_sky(xs, ys)
            xs, ys = xs + (u - gu), ys + (v - gv)
        return xs, ys


def jacobian_of(mapping, x, y):
    """The (2, 2) matrix of a static map at a 1-based pixel, arcsec per pixel."""
    along = np.subtract(mapping.evaluate(x + 0.5, y), mapping.evaluate(x - 0.5, y))
    up = np.subtract(mapping.evaluate(x, y + 0.5), mapping.evaluate(x, y - 0.5))
    return np.stack([along, up], axis=1)


def to_pixels(xs, ys, array):
    """0-based pixels of a full array at static-plane positions, by Newton steps on the forward map."""
    mapping = FIELD.maps[array - 1]
    x, y = np.full(len(xs), 1024.0), np.full(len(xs), 1024.0)
    inverse = np.linalg.inv(jacobian_of(mapping, 1024.0, 1024.0))
    for _ in range(12):
        gx, gy = mapping.evaluate(x, y)
        step = inverse @ np.stack([xs - gx, ys - gy])
        x, y = x + step[0], y + step[1]
    return x - 1, y - 1


def make_frame(name, exposure, stars, rng, *, header_offset=None, arrays=(1, 2, 3, 4), noise=0.02, dec=-30.0):
    """A frame with headers and sources: ``stars`` (n, 3) of u, v in arcsec and flux in electrons."""
    offset = exposure.offset if header_offset is None else header_offset
    primary = fits.Header({"INSTRUME": "GSAOI", "EXPTIME": 60.0, "OBJECT": "field"})
    chips, tables = [], []
    xs, ys = exposure.to_static(stars[:, 0], stars[:, 1])
    for array in arrays:
        mapping = FIELD.maps[array - 1]
        jacobian = jacobian_of(mapping, 1024.5, 1024.5) / 3600
        cx, cy = mapping.evaluate(np.array(1024.5), np.array(1024.5))
        header = fits.Header({"NAXIS1": 2048, "NAXIS2": 2048, "EXTVER": array, "CCDSEC": "[1:2048,1:2048]"})
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
        header["CRVAL1"] = 200.0 + offset[0] / 3600 / np.cos(np.radians(dec))
        header["CRVAL2"] = dec + offset[1] / 3600
        # CRPIX such that CRVAL stands at the field's centre.
        back = np.linalg.solve(jacobian * 3600, [FIELD.centre[0] - cx, FIELD.centre[1] - cy])
        header["CRPIX1"], header["CRPIX2"] = 1024.5 + back[0], 1024.5 + back[1]
        for i in (0, 1):
            for j in (0, 1):
                header[f"CD{i + 1}_{j + 1}"] = jacobian[i, j]
        x, y = to_pixels(xs, ys, array)
        on = (x > 20) & (x < 2027) & (y > 20) & (y < 2027)
        table = np.zeros(on.sum(), SOURCE)
        table["x"] = x[on] + noise * rng.standard_normal(on.sum())
        table["y"] = y[on] + noise * rng.standard_normal(on.sum())
        table["error"], table["fwhm"] = noise, 4.0
        table["flux"], table["flux_error"] = stars[on, 2][:, None], stars[on, 2][:, None] / 100
        chips.append(header)
        tables.append(table[np.argsort(-table["flux"][:, 0])])
    return FrameRef(Path(name), primary, tuple(chips), sources=tuple(tables))


@pytest.fixture
def field():
    """A function that makes exposures: field(count, stars, seed) -> (frames, exposures, stars).

    ``moving``: places (count, 2) of a further source, arcsec, in each of them."""

    def make(count, stars, seed, *, step=3.0, own=0.012, pointing=0.12, wrong=None, moving=None):
        rng = np.random.default_rng(seed)
        sky = np.column_stack([rng.uniform(-48, 48, (stars, 2)), 1e3 * (1 - rng.random(stars)) ** -0.8])
        frames, exposures = [], []
        for k in range(count):
            planned = np.array([k % 3 - 1, k // 3 - 1]) * step
            error = pointing * rng.standard_normal(2) + (wrong if wrong is not None and k == 1 else 0)
            exposure = Exposure(tuple(planned + error), 1.5e-4 * rng.standard_normal(),
                                own * rng.standard_normal((2, 3)))  # fmt: skip
            exposures.append(exposure)
            seen = sky if moving is None else np.vstack([sky, [*moving[k], 2e5]])
            frames.append(make_frame(f"S{k:04d}.fits", exposure, seen, rng, header_offset=planned))
        return frames, exposures, sky

    return make


@pytest.fixture
def standard():
    """A function that makes exposures of one bright star at (0, 0), one for each offset in arcsec."""

    def make(offsets):
        rng = np.random.default_rng(1)
        star = np.array([[0.0, 0.0, 1e6]])
        exposures = [Exposure(offset, 1e-4, 0.005 * rng.standard_normal((2, 3))) for offset in offsets]
        return [
            make_frame(f"T{k}.fits", exposure, star, rng, header_offset=np.add(exposure.offset, 0.1 * k))
            for k, exposure in enumerate(exposures)
        ]

    return make
