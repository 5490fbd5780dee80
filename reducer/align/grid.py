"""The pixels of a stack: a tangent-plane grid that holds all exposures, and its WCS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reducer.astrometry.geometry import Geometry
from reducer.astrometry.sky import Position, plane_to_sky, sky_to_plane
from reducer.types import F64, Header


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

    def sky_to_pixel(self, ra: F64, dec: F64) -> tuple[F64, F64]:
        """0-based pixels at positions in degrees."""
        return self.to_pixel(*sky_to_plane(ra, dec, self.tangent))

    def pixel_to_sky(self, column: F64, row: F64) -> tuple[F64, F64]:
        """Right ascension and declination in degrees at 0-based pixels."""
        return plane_to_sky(*self.to_plane(column, row), self.tangent)

    def write_wcs(self, header: Header) -> None:
        """Put the grid's TAN WCS into a header, in place of the one that it holds."""
        for key in (
            "PC1_1",
            "PC1_2",
            "PC2_1",
            "PC2_2",
            "CDELT1",
            "CDELT2",
            "CROTA2",
            "LTV1",
            "LTV2",
            "RADECSYS",
        ):
            if key in header:
                del header[key]
        c, s = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        step = self.scale / 3600.0
        values = {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg",
            "CRPIX1": self.reference[0] + 1.0, "CRPIX2": self.reference[1] + 1.0,
            "CRVAL1": self.tangent[0], "CRVAL2": self.tangent[1],
            "CD1_1": -c * step, "CD1_2": s * step, "CD2_1": s * step, "CD2_2": c * step,
            "RADESYS": "FK5", "EQUINOX": 2000.0,
        }  # fmt: skip
        for key, value in values.items():
            header[key] = value


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
