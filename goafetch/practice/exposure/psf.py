"""Star images: an adaptive-optics core drawn pixel by pixel, a seeing halo convolved on a grid on the sky."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

from goafetch.practice.exposure.optics import field_centre

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

CORE_POWER, HALO_POWER = 4, 3
#: The grid of smooth light: spacing and half width in arcsec, in the static frame about the field's centre.
STEP, HALF = 1.0 / 12.0, 64.0
NODES = round(2 * HALF / STEP)


@dataclass(frozen=True)
class Profile:
    """The point-spread function of one exposure, as recorded by the pixels (their width is part of it).

    Core: Moffat of power 4 and ``core_fwhm`` arcsec at the field's centre, growing by ``growth`` at 42 arcsec
    radius, elongated by ``elongation`` towards the centre there; it holds ``core_fraction`` of the light,
    less by the factor 1 - ``loss`` at 42 arcsec. Halo: round Moffat of power 3 and ``halo_fwhm`` arcsec.
    """

    core_fwhm: float
    core_fraction: float
    halo_fwhm: float
    growth: float = 0.15
    elongation: float = 0.08
    loss: float = 0.25

    def fraction_at(self, wx: F64, wy: F64) -> F64:
        """The core's share of a star's light at w arcsec from the field's centre."""
        return np.asarray(self.core_fraction * (1.0 - self.loss * (wx * wx + wy * wy) / 42.0**2))

    def fwhm_at(self, wx: F64, wy: F64) -> F64:
        """The core's FWHM in arcsec (geometric mean of its axes) at w arcsec from the field's centre."""
        return np.asarray(self.core_fwhm * (1.0 + self.growth * (wx * wx + wy * wy) / 42.0**2))

    def metric(self, wx: F64, wy: F64, jacobian: F64) -> tuple[F64, F64, F64]:
        """Coefficients a, b, c (n,) of q = a dx^2 + 2 b dx dy + c dy^2 in pixels; core ~ (1 + q)^-4.

        ``jacobian`` (n, 2, 2): arcsec per pixel at each star, so that the image on the sky, not the one on
        the array, has the stated shape.
        """
        alpha = self.fwhm_at(wx, wy) / (2.0 * math.sqrt(2.0 ** (1.0 / CORE_POWER) - 1.0))
        radius2 = wx * wx + wy * wy
        angle = np.arctan2(wy, wx)
        stretch = 1.0 + self.elongation * radius2 / 42.0**2
        c, s = np.cos(angle), np.sin(angle)
        along, across = 1.0 / stretch, stretch
        exx = (along * c * c + across * s * s) / alpha**2
        eyy = (along * s * s + across * c * c) / alpha**2
        exy = (along - across) * c * s / alpha**2
        j00, j01, j10, j11 = (jacobian[:, i, j] for i in (0, 1) for j in (0, 1))
        a = exx * j00 * j00 + 2 * exy * j00 * j10 + eyy * j10 * j10
        b = exx * j00 * j01 + exy * (j00 * j11 + j01 * j10) + eyy * j10 * j11
        d = exx * j01 * j01 + 2 * exy * j01 * j11 + eyy * j11 * j11
        return a, b, d


def add_cores(image: F32, x: F64, y: F64, flux: F64, metric: tuple[F64, F64, F64], floor: float) -> None:
    """Add star cores to ``image`` (ny, nx); x, y 0-based pixels, flux the core's total.

    Each is cut where it falls below ``floor`` per pixel, never before all but 1e-4 of it is in. Sampled at
    pixel centres a core this wide sums to its flux to 1e-8, wherever it lies within a pixel.
    """
    a, b, c = metric
    peak = flux * (CORE_POWER - 1) / math.pi * np.sqrt(a * c - b * b)
    cut = np.maximum(21.0, (np.maximum(peak, 0.0) / floor) ** (1.0 / CORE_POWER))
    _add_cores(image, x, y, peak, a, b, c, cut)


@numba.njit(cache=True, nogil=True)
def _add_cores(image, x, y, peak, a, b, c, cut):  # type: ignore[no-untyped-def]
    """Add peak / (1 + q)^4 for every star where q < cut."""
    ny, nx = image.shape
    for k in range(x.size):
        determinant = a[k] * c[k] - b[k] * b[k]
        half_y = math.sqrt(cut[k] * a[k] / determinant)
        y0, y1 = max(0, math.ceil(y[k] - half_y)), min(ny - 1, math.floor(y[k] + half_y))
        for j in range(y0, y1 + 1):
            dy = j - y[k]
            room = cut[k] * a[k] - determinant * dy * dy
            if room <= 0.0:
                continue
            middle = x[k] - b[k] * dy / a[k]
            half_x = math.sqrt(room) / a[k]
            i0, i1 = max(0, math.ceil(middle - half_x)), min(nx - 1, math.floor(middle + half_x))
            for i in range(i0, i1 + 1):
                dx = i - x[k]
                t = 1.0 / (1.0 + a[k] * dx * dx + 2.0 * b[k] * dx * dy + c[k] * dy * dy)
                t *= t
                image[j, i] += peak[k] * t * t


def grid_nodes() -> tuple[F64, F64]:
    """Static-frame arcsec of the grid's nodes: x and y of shape (NODES, NODES)."""
    axis = np.arange(NODES) * STEP - HALF
    cx, cy = field_centre()
    return np.broadcast_to(cx + axis, (NODES, NODES)), np.broadcast_to(cy + axis[:, None], (NODES, NODES))


def halo_light(sx: F64, sy: F64, flux: F64, fwhm: float) -> F64:
    """Spline coefficients (NODES, NODES) of the halos' surface brightness, flux per arcsec^2.

    Stars (static-frame arcsec) are spread on the grid by cubic B-splines; one multiplication in Fourier space
    undoes the spreading, convolves with the Moffat profile and prepares the cubic interpolation. The profile
    has little power at the grid's scale: totals and centroids are exact, peaks good to 0.2 %.
    """
    cx, cy = field_centre()
    grid = np.zeros((NODES, NODES))
    _spread(grid, (sx - cx + HALF) / STEP, (sy - cy + HALF) / STEP, flux)
    k = 2.0 * np.pi * np.fft.fftfreq(NODES)
    kx = k[: NODES // 2 + 1]
    alpha = fwhm / (2.0 * math.sqrt(2.0 ** (1.0 / HALO_POWER) - 1.0))
    argument = np.hypot(kx[None, :], k[:, None]) * (alpha / STEP)
    transfer = np.interp(argument, *_moffat_transfer())
    spread = np.sinc(k / (2 * np.pi)) ** 4
    sampled = (2.0 + np.cos(k)) / 3.0
    weight = 1.0 / (spread * sampled)
    spectrum = fft.rfft2(grid) * transfer * weight[:, None] * np.abs(weight[None, : NODES // 2 + 1])
    return np.asarray(fft.irfft2(spectrum, s=grid.shape) / STEP**2)


@cache
def _moffat_transfer() -> tuple[F64, F64]:
    """Fourier transform of a Moffat profile of power 3 against wave number times alpha: t^2 K_2(t) / 2."""
    t = np.linspace(0.0, 60.0, 60001)
    values = np.ones_like(t)
    values[1:] = 0.5 * t[1:] ** 2 * special.kn(2, t[1:])
    return t, values


def spline_coefficients(values: F64) -> F64:
    """Cubic-spline coefficients of values at the grid's nodes (periodic; the ends lie outside the field)."""
    k = 2.0 * np.pi * np.fft.fftfreq(NODES)
    sampled = (2.0 + np.cos(k)) / 3.0
    spectrum = fft.rfft2(values) / sampled[:, None] / sampled[None, : NODES // 2 + 1]
    return np.asarray(fft.irfft2(spectrum, s=values.shape))


@numba.njit(cache=True, nogil=True)
def weigh(t):  # type: ignore[no-untyped-def]
    """The four cubic B-spline weights at fraction t between the second and third node."""
    u = 1.0 - t
    return (
        u * u * u / 6.0,
        (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0,
        (4.0 - 6.0 * u * u + 3.0 * u * u * u) / 6.0,
        t * t * t / 6.0,
    )


@numba.njit(cache=True, nogil=True)
def _spread(grid, x, y, flux):  # type: ignore[no-untyped-def]
    """Spread each flux over the 16 nodes around it; stars off the grid are left out."""
    n = grid.shape[0]
    for k in range(x.size):
        i, j = math.floor(x[k]), math.floor(y[k])
        if i < 1 or j < 1 or i > n - 3 or j > n - 3:
            continue
        wx, wy = weigh(x[k] - i), weigh(y[k] - j)
        for q in range(4):
            for p in range(4):
                grid[j - 1 + q, i - 1 + p] += flux[k] * wx[p] * wy[q]


@numba.njit(cache=True, nogil=True)
def add_smooth_light(  # type: ignore[no-untyped-def]
    image, grid, forward, x0, y0, centre_x, centre_y, sky, slope_x, slope_y
):
    """Add smooth light to ``image`` (ny, nx), flux per pixel: brightness times the pixel's area on the sky.

    ``grid``: spline coefficients, per arcsec^2. ``forward`` (2, 4, 4): the array's static polynomial. ``x0``,
    ``y0``: 1-based full-frame pixel of image[0, 0]. ``sky`` per arcsec^2 with relative slopes per 45 arcsec.
    """
    ny, nx = image.shape
    n = grid.shape[0]
    row = np.empty((2, 4))
    tilt = np.empty((2, 4))
    for j in range(ny):
        y = float(y0 + j)
        for axis in range(2):
            for p in range(4):
                f = forward[axis, p]
                row[axis, p] = f[0] + y * (f[1] + y * (f[2] + y * f[3]))
                tilt[axis, p] = f[1] + y * (2.0 * f[2] + 3.0 * y * f[3])
        for i in range(nx):
            x = float(x0 + i)
            sx = row[0, 0] + x * (row[0, 1] + x * (row[0, 2] + x * row[0, 3])) - centre_x
            sy = row[1, 0] + x * (row[1, 1] + x * (row[1, 2] + x * row[1, 3])) - centre_y
            xx = row[0, 1] + x * (2.0 * row[0, 2] + 3.0 * x * row[0, 3])
            yx = row[1, 1] + x * (2.0 * row[1, 2] + 3.0 * x * row[1, 3])
            xy = tilt[0, 0] + x * (tilt[0, 1] + x * (tilt[0, 2] + x * tilt[0, 3]))
            yy = tilt[1, 0] + x * (tilt[1, 1] + x * (tilt[1, 2] + x * tilt[1, 3]))
            light = sky * (1.0 + (slope_x * sx + slope_y * sy) / 45.0)
            if n > 1:
                gx, gy = (sx + HALF) / STEP, (sy + HALF) / STEP
                p, q = math.floor(gx), math.floor(gy)
                wx, wy = weigh(gx - p), weigh(gy - q)
                for b in range(4):
                    line = grid[q - 1 + b]
                    light += wy[b] * (
                        wx[0] * line[p - 1] + wx[1] * line[p] + wx[2] * line[p + 1] + wx[3] * line[p + 2]
                    )
            image[j, i] += light * (xx * yy - xy * yx)
