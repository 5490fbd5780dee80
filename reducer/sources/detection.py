"""Sources of one array: found on a smooth background, centred with a window of their own width."""

from __future__ import annotations

import numpy as np
import sep
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from reducer import dq
from reducer.instruments.base import Widths
from reducer.sources.apertures import sum_apertures
from reducer.sources.centre import centre_sources
from reducer.sources.significance import SIDE, is_touched, set_bad_aside, significance
from reducer.types import F32, F64, U16, Table

U8 = NDArray[np.uint8]

#: Radii of the apertures in pixels; fluxes stand in ``flux`` in this order.
RADII = (8.0, 16.0, 32.0, 50.0)
#: Radius of the aperture for all of a star's light, inner and outer radius of the ring of its background, in
#: pixels; stars blurred by natural seeing have them twice as wide.
WIDE_RADIUS, WIDE_RING = 92.2, (112.0, 145.0)
#: How many of the brightest sources of an image are measured in the wide aperture (NaN: the others).
WIDE_COUNT = 40
#: A source's flags: not a clean measurement because of a saturated pixel, the edge, masked pixels, a
#: neighbour, a centre that did not settle, or a width that no star can have (a cosmic ray).
IS_SATURATED, AT_EDGE, ON_BAD_PIXEL, BLENDED, NOT_CENTRED, TOO_SHARP = 1, 2, 4, 8, 16, 32
#: Flags of what is no star that could be placed, or none whose place could be trusted.
NO_POSITION = IS_SATURATED | AT_EDGE | ON_BAD_PIXEL | NOT_CENTRED | TOO_SHARP

SOURCE = np.dtype(
    [
        ("x", "f8"),  # 0-based pixel of the chip as read
        ("y", "f8"),
        ("error", "f8"),  # of the centre, pixels per axis
        ("flux", "f8", (len(RADII),)),  # electrons in apertures of RADII
        ("flux_error", "f8", (len(RADII),)),
        ("wide", "f8"),  # electrons in WIDE_RADIUS over the ring's mean, or NaN
        ("peak", "f8"),  # electrons per pixel above the background
        ("background", "f8"),  # electrons per pixel
        ("fwhm", "f8"),  # pixels
        ("ellipticity", "f8"),
        ("angle", "f8"),  # degrees from x towards y
        ("flags", "i4"),
    ]
)
#: Mesh of the background in pixels: for sharp images, and for stars blurred by natural seeing.
SHARP_MESH, BLURRED_MESH = 96, 384
#: How many sharp stars, of what signal to noise, ellipticity and spread of widths, tell that a wide source is
#: a galaxy (hits of particles are neither round nor alike), beyond how many of its widths, where no clumps
#: of its own are.
FEW, STRONG, ROUND, ALIKE, LIT = 4, 20.0, 0.2, 0.2, 3.0
#: The share of the centring window that masked pixels may hold; they are filled with the window's shape.
MOST_MASKED = 0.04
#: The least contrast of a neighbour that is told apart, sharp and blurred: the noise on a blurred star's
#: broad top is no neighbour.
SHARP_CONTRAST, BLURRED_CONTRAST = 0.005, 0.1
#: Centres nearer than this are those of one star, pixels: no image is sharp enough to tell two so close.
SAME = 0.5
#: Standard deviations above the background, of the filtered image, from which on there is a source.
THRESHOLD = 5.0
_GAUSSIAN = 2.0 * np.sqrt(2.0 * np.log(2.0))
#: The detection filter along each axis: a Gaussian of 4 pixels FWHM.
_PROFILE = np.exp(-0.5 * np.arange(-SIDE, SIDE + 1) ** 2 / (4.0 / _GAUSSIAN) ** 2).astype(np.float32)


def detect_sources(data: F32, variance: F32, mask: U16, widths: Widths) -> Table:
    """Sources of an image (ny, nx) in electrons, brightest first, as a table of dtype ``SOURCE``.

    ``data`` and ``variance`` are changed in place: 0 where the mask says that there are none, the variance
    raised where the background is rougher. ``widths``: what stars look like; those broadened by natural
    seeing are found again on a coarser background.
    """
    sources = _detect(data, variance, mask, widths, SHARP_MESH)
    if is_blurred(sources, widths):
        mask = _mask_sharp(mask, sources)
        sources = _detect(data, variance, mask, widths, BLURRED_MESH, widened=2.0)
    return sources


def _mask_sharp(mask: U16, sources: Table) -> U16:
    """A copy of a mask with what is too sharp for a star marked: it would pull a blurred one's centre."""
    marked = mask.copy()
    for source in sources[(sources["flags"] & TOO_SHARP) != 0]:
        row, column = int(source["y"] + 0.5), int(source["x"] + 0.5)
        marked[max(row - 4, 0) : row + 5, max(column - 4, 0) : column + 5] |= dq.COSMIC_RAY
    return marked


def is_blurred(sources: Table, widths: Widths) -> bool:
    """Whether the brightest real source is as wide as natural seeing makes it, and is no galaxy among sharp
    stars: round ones of one width, outside of its light."""
    real = sources[(sources["flags"] & (NOT_CENTRED | TOO_SHARP)) == 0]
    if not len(real):
        return False
    first = real[np.argmax(real["flux"][:, -1])]
    away = np.hypot(real["x"] - first["x"], real["y"] - first["y"]) > LIT * first["fwhm"]
    strong = real["flux"][:, 0] > STRONG * real["flux_error"][:, 0]
    sharp = real["fwhm"][away & strong & (real["fwhm"] < widths.blurred) & (real["ellipticity"] < ROUND)]
    alike = np.abs(sharp - np.median(sharp)) < ALIKE * np.median(sharp) if len(sharp) else sharp
    return bool(first["fwhm"] > widths.blurred and np.count_nonzero(alike) < FEW)


def _detect(data: F32, variance: F32, mask: U16, widths: Widths, mesh: int, widened: float = 1.0) -> Table:
    bad = set_bad_aside(data, mask, dq.UNUSABLE & ~dq.SATURATED)
    background = sep.Background(data, mask=bad.view(bool), bw=mesh, bh=mesh, fw=3, fh=3)
    image = background.back()
    roughness = np.float32(background.globalrms) ** 2
    signal = significance(data, image, variance, bad, roughness, _PROFILE)
    # Room for as many pixels as there can be in sources, and two for sep's lists of them: it fills all of it.
    sep.set_extract_pixstack(np.count_nonzero(signal > THRESHOLD) + 2)
    found = sep.extract(
        signal, THRESHOLD, minarea=5, filter_kernel=None, deblend_nthresh=16,
        deblend_cont=SHARP_CONTRAST if widened == 1.0 else BLURRED_CONTRAST,
    )  # fmt: skip
    del signal
    sources = _measure(image, variance, mask, bad, found, data)
    too_sharp = (sources["flags"] & NOT_CENTRED == 0) & (sources["fwhm"] < widths.least)
    sources["flags"] |= np.where(too_sharp, TOO_SHARP, 0)
    sources = drop_repeated(sources)
    _measure_wide(sources, data, variance, bad, widened)
    return sources


def _measure_wide(sources: Table, image: F32, noise: F32, bad: U8, widened: float) -> None:
    """Total light of the brightest sources in a wide aperture, over the mean of a ring."""
    sources["wide"] = np.nan
    some = np.flatnonzero((sources["flags"] & (NOT_CENTRED | TOO_SHARP)) == 0)[:WIDE_COUNT]
    x, y = np.ascontiguousarray(sources["x"][some]), np.ascontiguousarray(sources["y"][some])
    ring = (WIDE_RING[0] * widened, WIDE_RING[1] * widened)
    light, _ = sum_apertures(image, noise, bad, x, y, np.array([WIDE_RADIUS * widened]), ring)
    sources["wide"][some] = light[:, 0]


def _measure(image: F32, noise: F32, mask: U16, bad: U8, found: Table, whole: F32) -> Table:
    sources = np.zeros(len(found), SOURCE)
    if not len(found):
        return sources
    start = np.clip(np.sqrt(found["a"] * found["b"]), 1.0, 20.0)
    row, column = found["ypeak"].astype(np.int64), found["xpeak"].astype(np.int64)
    shape = centre_sources(image, noise, bad, column, row, start)
    settled = shape[:, 6] > 0
    x, y = np.where(settled, shape[:, 0], found["x"]), np.where(settled, shape[:, 1], found["y"])
    sources["x"], sources["y"] = x, y
    sources["error"], sources["fwhm"] = shape[:, 2], shape[:, 3] * _GAUSSIAN
    sources["ellipticity"], sources["angle"] = shape[:, 4], shape[:, 5]
    light, error = sum_apertures(image, noise, bad, x, y, np.array(RADII), (0.0, 0.0))
    sources["flux"], sources["flux_error"] = np.nan_to_num(light), np.nan_to_num(error)
    sources["peak"] = image[row, column]
    sources["background"] = whole[row, column] - image[row, column]
    sources["flags"] = _flags(sources, found, mask) | np.where(settled, 0, NOT_CENTRED)
    sources["flags"] |= np.where(shape[:, 7] > MOST_MASKED, ON_BAD_PIXEL, 0)
    return sources[np.argsort(-sources["flux"][:, 0], kind="stable")]


def drop_repeated(sources: Table) -> Table:
    """The sources, brightest first, less those that settled where a brighter one did: parts of one star."""
    pairs = cKDTree(np.stack([sources["x"], sources["y"]], axis=1)).query_pairs(SAME, output_type="ndarray")
    kept: Table = np.delete(sources, pairs[:, 1])
    return kept


def _flags(sources: Table, found: Table, mask: U16) -> F64:
    radius = np.maximum(1.5 * sources["fwhm"], 4.0)
    height, width = mask.shape
    edge = np.minimum.reduce(
        [sources["x"], sources["y"], width - 1 - sources["x"], height - 1 - sources["y"]]
    )
    bright = dq.SATURATED | dq.NON_LINEAR
    x, y = np.ascontiguousarray(sources["x"]), np.ascontiguousarray(sources["y"])
    flags = np.where(is_touched(mask, bright, x, y, 4.0), IS_SATURATED, 0)
    flags |= np.where(edge < radius, AT_EDGE, 0)
    return np.asarray(flags | np.where((found["flag"] & sep.OBJ_MERGED) != 0, BLENDED, 0))
