"""Sources of one array: found on a smooth background, centred with a window of their own width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sep
from numba import njit

from reducer import dq
from reducer.frame import F32, F64, U16, Context, Files, FrameRef, Table

#: Radii of the apertures in pixels; fluxes stand in FLUX in this order.
RADII = (8.0, 16.0, 32.0, 50.0)
#: A source's flags: not a clean measurement because of a saturated pixel, the edge, masked pixels, a
#: neighbour, or because its centre did not settle.
IS_SATURATED, AT_EDGE, ON_BAD_PIXEL, BLENDED, NOT_CENTRED = 1, 2, 4, 8, 16

SOURCE = np.dtype(
    [
        ("x", "f8"),  # 0-based pixel of the chip as read
        ("y", "f8"),
        ("error", "f8"),  # of the centre, pixels per axis
        ("flux", "f8", (len(RADII),)),  # electrons in apertures of RADII
        ("flux_error", "f8", (len(RADII),)),
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
BLURRED_FWHM = 11.0
_GAUSSIAN = 2.0 * np.sqrt(2.0 * np.log(2.0))
#: A 5x5 Gaussian of 4 pixels FWHM, the detection filter.
_FILTER = np.exp(-0.5 * sum(grid**2 for grid in np.mgrid[-2:3, -2:3]) / (4.0 / _GAUSSIAN) ** 2)


def detectSources(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Measure the sources of every array of every frame; they go with the frames as ``sources``."""
    tasks = [(context.disk, frame, chip) for frame in frames for chip in range(len(frame.chips))]
    tables = context.map(measure_chip, tasks)
    found = [frame.with_(sources=tuple(next(tables) for _ in frame.chips)) for frame in frames]
    for frame in found:
        counts = ", ".join(str(len(table)) for table in frame.sources)
        context.notify("info", text=f"{frame.path.name}: {counts} sources on its arrays")
    return found


def measure_chip(task: tuple[Files, FrameRef, int]) -> Table:
    """The sources of one array of a frame (see ``detect_sources``)."""
    files, frame, index = task
    chip = files.read_chip(frame, index)
    return detect_sources(chip.data, chip.variance, chip.mask)


def detect_sources(data: F32, variance: F32, mask: U16, threshold: float = 5.0) -> Table:
    """Sources of an image (ny, nx) in electrons, brightest first, as a table of dtype ``SOURCE``.

    ``threshold``: sigmas above the background, of the filtered image. Stars broadened by natural seeing are
    recognised by their width and found again on a coarser background.
    """
    sources = _detect(data, variance, mask, threshold, SHARP_MESH)
    bright = sources[(sources["flags"] & ~IS_SATURATED) == 0][:10]
    if len(bright) and np.median(bright["fwhm"]) > BLURRED_FWHM:
        sources = _detect(data, variance, mask, threshold, BLURRED_MESH)
    return sources


def _detect(data: F32, variance: F32, mask: U16, threshold: float, mesh: int) -> Table:
    unusable = (mask & (dq.UNUSABLE & ~dq.SATURATED)) != 0
    image = np.where(unusable, np.float32(0.0), data)
    background = sep.Background(image, mask=unusable, bw=mesh, bh=mesh, fw=3, fh=3)
    level = background.back()
    image = image - level
    noise = np.sqrt(np.where(variance > 0, variance, background.globalrms**2)).astype(np.float32)
    # A wider threshold than the propagated noise only where the background itself is rougher.
    noise = np.maximum(noise, np.float32(0.7 * background.globalrms))
    sep.set_extract_pixstack(2_000_000)
    found = sep.extract(
        image, threshold, err=noise, mask=unusable, minarea=5, filter_kernel=_FILTER,
        deblend_nthresh=16, deblend_cont=0.005,
    )  # fmt: skip
    found = found[np.argsort(-found["flux"], kind="stable")]
    return _measure(image, noise, mask, unusable, found, level)


def _measure(image: F32, noise: F32, mask: U16, unusable: F32, found: Table, level: F32) -> Table:
    sources = np.zeros(len(found), SOURCE)
    if not len(found):
        return sources
    start = np.clip(np.sqrt(found["a"] * found["b"]), 1.0, 20.0)
    shape = centre_sources(image, noise, unusable, found["xpeak"], found["ypeak"], start)
    settled = shape[:, 6] > 0
    sources["x"] = np.where(settled, shape[:, 0], found["x"])
    sources["y"] = np.where(settled, shape[:, 1], found["y"])
    sources["error"], sources["fwhm"] = shape[:, 2], shape[:, 3] * _GAUSSIAN
    sources["ellipticity"], sources["angle"] = shape[:, 4], shape[:, 5]
    for k, radius in enumerate(RADII):
        sources["flux"][:, k], sources["flux_error"][:, k], _ = sep.sum_circle(
            image, sources["x"], sources["y"], radius, err=noise, mask=unusable, subpix=5
        )
    row, column = found["ypeak"], found["xpeak"]
    sources["peak"], sources["background"] = image[row, column], level[row, column]
    sources["flags"] = _flags(sources, found, mask, unusable) | np.where(settled, 0, NOT_CENTRED)
    return sources


def _flags(sources: Table, found: Table, mask: U16, unusable: F32) -> F64:
    radius = np.maximum(1.5 * sources["fwhm"], 4.0)
    height, width = mask.shape
    edge = np.minimum.reduce(
        [sources["x"], sources["y"], width - 1 - sources["x"], height - 1 - sources["y"]]
    )
    touched = _masked_share(unusable, sources, np.clip(radius, 3.0, 40.0)) > 0
    saturated = _masked_share(
        (mask & (dq.SATURATED | dq.NON_LINEAR)) != 0, sources, np.full(len(sources), 4.0)
    )
    flags = np.where(saturated > 0, IS_SATURATED, 0) | np.where(edge < radius, AT_EDGE, 0)
    flags |= np.where(touched, ON_BAD_PIXEL, 0)
    return np.asarray(flags | np.where((found["flag"] & sep.OBJ_MERGED) != 0, BLENDED, 0))


def _masked_share(where: F32, sources: Table, radius: F64) -> F64:
    share, _, _ = sep.sum_circle(where.astype(np.float32), sources["x"], sources["y"], radius, subpix=1)
    return np.asarray(share, float)


@njit(cache=True, nogil=True)
def centre_sources(image, noise, bad, columns, rows, widths):  # type: ignore[no-untyped-def]
    """Centres and shapes by a round Gaussian window that takes the width of the source.

    ``columns``, ``rows``: pixels to start from; ``widths``: sigmas to start from, pixels. Returns (n, 7):
    x, y, error of the centre per axis, sigma, ellipticity, angle in degrees, 1 if it settled. A matched
    window's centroid has nearly the least error possible for a round image (Bernstein & Jarvis 2002).
    """
    height, width = image.shape
    out = np.zeros((len(columns), 7))
    for n in range(len(columns)):
        x, y, sigma = float(columns[n]), float(rows[n]), min(max(widths[n], 1.0), 20.0)
        settled, error, qxx, qyy, qxy = 0.0, 0.0, 1.0, 1.0, 0.0
        for _ in range(40):
            reach = int(3.0 * sigma) + 1
            x0, x1 = max(int(x) - reach, 0), min(int(x) + reach + 2, width)
            y0, y1 = max(int(y) - reach, 0), min(int(y) + reach + 2, height)
            total, sx, sy, sxx, syy, sxy, vx = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(y0, y1):
                for i in range(x0, x1):
                    dx, dy = i - x, j - y
                    r2 = (dx * dx + dy * dy) / (sigma * sigma)
                    if r2 > 9.0 or bad[j, i]:
                        continue
                    weight = np.exp(-0.5 * r2)
                    value = weight * image[j, i]
                    total += value
                    sx += value * dx
                    sy += value * dy
                    sxx += value * dx * dx
                    syy += value * dy * dy
                    sxy += value * dx * dy
                    vx += (weight * noise[j, i]) ** 2 * 0.5 * (dx * dx + dy * dy)
            if total <= 0.0:
                break
            mx, my = sx / total, sy / total
            qxx, qyy, qxy = sxx / total - mx * mx, syy / total - my * my, sxy / total - mx * my
            step_x, step_y, second = 2.0 * mx, 2.0 * my, 0.5 * (qxx + qyy)
            error = 2.0 * np.sqrt(vx) / total
            if second <= 0.05 or abs(x + step_x - columns[n]) > 3 * widths[n] + 3:
                break
            if abs(y + step_y - rows[n]) > 3 * widths[n] + 3:
                break
            wider = min(max(np.sqrt(2.0 * second), 0.8), 25.0)
            change = abs(wider - sigma) / sigma
            x, y, sigma = x + step_x, y + step_y, sigma + 0.7 * (wider - sigma)
            if abs(step_x) + abs(step_y) < 1e-4 and change < 2e-3:
                settled = 1.0
                break
        spread = np.sqrt((qxx - qyy) ** 2 + 4.0 * qxy * qxy) / max(qxx + qyy, 1e-9)
        out[n, 0], out[n, 1], out[n, 2], out[n, 3] = x, y, error, sigma
        out[n, 4] = 1.0 - np.sqrt(max(1.0 - spread, 0.0) / (1.0 + spread))
        out[n, 5] = 0.5 * np.degrees(np.arctan2(2.0 * qxy, qxx - qyy))
        out[n, 6] = settled
    return out
