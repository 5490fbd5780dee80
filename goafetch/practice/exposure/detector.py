"""The physics of one array: from photons at a pixel to raw counts, and what is wrong with the pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from goafetch.practice.exposure.cosmics import Hits
from goafetch.practice.exposure.optics import read_data
from goafetch.practice.exposure.region import SIZE, Region

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

BORDER = 4
AMPLIFIER = 512
ARRAYS = tuple(read_data("arrays")["array_properties"])
DARK_CURRENT = 0.01
READ_MODES: dict[int, str] = {int(k): v for k, v in read_data("arrays")["read_modes_by_LNRS"].items()}


@dataclass(frozen=True)
class Array:
    """One H2RG array: its numbers, and full-frame maps (2048, 2048).

    ``response``: relative to a perfect pixel (pixel scatter, amplifier steps, vignetting, the tree; 0 in the
    border). ``dark``: electrons/s without light. ``full``: raw electrons at which a pixel saturates.
    ``listed``: pixels that the archive's bad-pixel mask knows. ``tree``: the dark patch of array 2.
    """

    index: int
    name: str
    gain: float
    well: float
    linear_limit: float
    coefficients: tuple[float, float, float]
    read_noise: dict[str, float]
    response: F32
    dark: F32
    full: F32
    listed: NDArray[np.bool_]
    tree: NDArray[np.bool_]

    def linearise(self, counts: F64) -> F64:
        """True electrons of raw electrons c: c (a0 + a1 c + a2 c^2)."""
        a0, a1, a2 = self.coefficients
        return counts * (a0 + counts * (a1 + counts * a2))


def make_array(index: int, rng: np.random.Generator) -> Array:
    """Draw an array's maps (index 0..3) around its published numbers."""
    name = ARRAYS[index]
    numbers = read_data("arrays")["array_properties"][name]
    response = _smooth_response(index, rng)
    response *= 1.0 + 0.015 * rng.standard_normal(response.shape, dtype=np.float32)
    tree = _tree() if index == 1 else np.zeros(response.shape, bool)
    response[tree] *= rng.uniform(0.35, 0.6, int(tree.sum())).astype(np.float32)
    dead, hot, dark = _defects(rng)
    response[dead] *= rng.uniform(0.0, 0.25, int(dead.sum())).astype(np.float32)
    if index == 2:
        dark += _streak()
    unlisted = rng.random(response.shape, dtype=np.float32) < 0.05
    edge = np.ones(response.shape, bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    response[edge] = 0.0
    gain, well = float(numbers["gain_e_per_adu"]), float(numbers["well_adu"])
    full = gain * well * (1.0 + 0.003 * np.clip(rng.standard_normal(response.shape, np.float32), -2.5, 2.5))
    a0, a1, a2 = numbers["nonlinearity_coefficients"]
    return Array(
        index,
        name,
        gain,
        well,
        float(numbers["linear_limit_fraction_of_well"]),
        (a0, a1, a2),
        numbers["read_noise_e_single_coadd"],
        response,
        dark,
        full.astype(np.float32),
        (dead | hot) & ~unlisted,
        tree,
    )


def relative_sensitivity(filter_name: str) -> F64:
    """Sensitivity of the four arrays relative to their geometric mean, from the nominal zeropoints."""
    table = read_data("filters")["nominal_zeropoint_mag_for_1_electron_per_s"]
    zeropoints = table.get(filter_name, table["Kshort"])
    magnitudes = np.array([zeropoints[name] for name in ARRAYS])
    return np.asarray(10 ** (0.4 * (magnitudes - magnitudes.mean())))


def _smooth_response(index: int, rng: np.random.Generator) -> F32:
    """Slow changes over the array, steps between the four amplifiers, vignetted corners of array 1."""
    axis = np.linspace(-1.0, 1.0, SIZE, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    a = (0.012 * rng.standard_normal(5)).astype(np.float32)
    field = 1.0 + a[0] * x + a[1] * y + a[2] * x * y + a[3] * (x * x - 0.33) + a[4] * (y * y - 0.33)
    steps = 1.0 + np.repeat(0.007 * rng.standard_normal(SIZE // AMPLIFIER), AMPLIFIER)
    field = field * steps.astype(np.float32)[None, :]
    if index == 0:
        depth = np.clip((x - 0.80) / 0.20, 0.0, 1.0) * np.clip((np.abs(y) - 0.72) / 0.28, 0.0, 1.0)
        field = field * (1.0 - 0.75 * depth)
    return np.asarray(field, np.float32)


def _tree() -> NDArray[np.bool_]:
    """The Christmas tree of array 2: a stem and three tiers between x 950-1350, y 120-700 (1-based)."""
    y = np.arange(SIZE)[:, None]
    off = np.abs(np.arange(SIZE) - 1149)[None, :]
    tiers = ((170, 390, 200), (340, 550, 150), (500, 699, 100))
    shape = (off < 28) & (y >= 119) & (y < 180)
    for bottom, top, half in tiers:
        shape |= (y >= bottom) & (y < top) & (off < half * (top - y) / (top - bottom))
    return np.asarray(shape)


def _streak() -> F32:
    """Array 3's bright streak near x = 1905-1940: electrons/s, fading upwards."""
    x = np.arange(1, SIZE + 1)
    profile = 14.0 * np.exp(-0.5 * ((x - 1922.0) / 9.0) ** 2)
    profile[(x < 1905) | (x > 1940)] = 0.0
    fade = np.linspace(1.0, 0.5, SIZE)
    return np.asarray(fade[:, None] * profile[None, :], np.float32)


def _defects(rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_], F32]:
    """Dead pixels (single ones and clusters), hot pixels, and the dark current, electrons/s."""
    dead = rng.random((SIZE, SIZE), dtype=np.float32) < 0.002
    for _ in range(14):
        cx, cy, radius = rng.uniform(20, SIZE - 20), rng.uniform(20, SIZE - 20), rng.uniform(2.0, 11.0)
        reach = math.ceil(radius)
        ys, xs = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        inside = np.hypot(xs, ys) <= radius
        dead[int(cy) + ys[inside], int(cx) + xs[inside]] = True
    hot = rng.random((SIZE, SIZE), dtype=np.float32) < 0.003
    dark = np.full((SIZE, SIZE), DARK_CURRENT, np.float32)
    count = int(hot.sum())
    dark[hot] += np.exp(rng.normal(math.log(40.0), 1.3, count)).astype(np.float32)
    return dead, hot, dark


def channel_offsets(rng: np.random.Generator, channels: int) -> F32:
    """What one readout adds to each column: 2 electrons rms per output channel (4 or 32 of them)."""
    offsets = 2.0 * rng.standard_normal(channels)
    return np.repeat(offsets, SIZE // channels).astype(np.float32)


@dataclass(frozen=True)
class Readout:
    """How an exposure is read: seconds of one coadd, coadds, Fowler samples, number of output channels."""

    seconds: float
    coadds: int
    samples: int
    channels: int


def read_out(
    array: Array,
    region: Region,
    rate: F32,
    readout: Readout,
    hits: list[Hits],
    rng: np.random.Generator,
) -> F32:
    """Raw counts (ADU, float32) of one array from ``rate``, electrons/s per pixel (ny, nx), dark included.

    ``hits``: for each coadd the cosmic rays' rows, columns (in the region) and electrons. Each coadd draws
    its own photons, saturates by itself and is read; the coadds are averaged. Averages of Fowler samples
    come in steps of 1/samples ADU.
    """
    rows, columns = region.slices
    full = np.ascontiguousarray(array.full[rows, columns])
    noise = array.read_noise[READ_MODES[readout.samples]]
    total = np.zeros(rate.shape, np.float32)
    photon = np.empty(rate.shape, np.float32)
    read = np.empty(rate.shape, np.float32)
    a0, a1, a2 = array.coefficients
    for row, column, electrons in hits:
        rng.standard_normal(dtype=np.float32, out=photon)
        rng.standard_normal(dtype=np.float32, out=read)
        deposit = np.zeros((0, 0), np.float32)
        if len(row):
            deposit = np.zeros(rate.shape, np.float32)
            np.add.at(deposit, (row, column), electrons)
        offsets = np.ascontiguousarray(channel_offsets(rng, readout.channels)[columns])
        _read_coadd(
            total,
            rate,
            readout.seconds,
            photon,
            read,
            deposit,
            full,
            a0,
            a1,
            a2,
            noise,
            offsets,
            array.gain,
            readout.samples,
        )
    total /= np.float32(readout.coadds)
    return total


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def draw_poisson(mean: float, normal: float) -> float:
    """A Poisson deviate made of a normal one: by inversion below 40, with the right skewness above."""
    if mean <= 0.0:
        return 0.0
    if mean > 40.0:
        spread = math.sqrt(mean)
        return math.floor(mean + spread * normal + (normal * normal - 1.0) / 6.0 + 0.5)
    target = 0.5 * math.erfc(-normal / math.sqrt(2.0))
    term = math.exp(-mean)
    cumulative = term
    count = 0
    while cumulative < target and count < 150:
        count += 1
        term *= mean / count
        cumulative += term
    return float(count)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def invert_nonlinearity(electrons: float, a0: float, a1: float, a2: float) -> float:
    """Raw electrons c for which c (a0 + a1 c + a2 c^2) equals the true electrons (Newton's method)."""
    c = electrons
    for _ in range(6):
        value = c * (a0 + c * (a1 + c * a2)) - electrons
        step = value / (a0 + c * (2.0 * a1 + 3.0 * a2 * c))
        c -= step
        if abs(step) < 1e-6 * (1.0 + abs(c)):
            break
    return c


@numba.njit(cache=True, nogil=True)
def _read_coadd(total, rate, seconds, photon, read, deposit, full, a0, a1, a2, noise, offsets, gain, samples):  # type: ignore[no-untyped-def]
    """Add one coadd's raw ADU to ``total``, all arrays (ny, nx)."""
    ny, nx = rate.shape
    struck = deposit.shape[0] > 0
    for j in range(ny):
        for i in range(nx):
            electrons = draw_poisson(rate[j, i] * seconds, photon[j, i])
            if struck:
                electrons += deposit[j, i]
            c = min(invert_nonlinearity(electrons, a0, a1, a2), float(full[j, i]))
            adu = (c + noise * read[j, i] + offsets[i]) / gain
            total[j, i] += math.floor(adu * samples + 0.5) / samples
