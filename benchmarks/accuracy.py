"""Compare a stack with the truth of a simulated night: positions, fluxes, widths, noise, background.

Usage: python benchmarks/accuracy.py STACK.fits TRUTH_FOLDER [--inputs S20170505S0095 ...] [--cache FILE.npz]

Any stack will do that has SCI, VAR and DQ with a TAN WCS; one without a table EXPOSURES needs the inputs. The
columns A, B, C are DRAGONS 5.0_dev (June 2026) on another simulated night of the same kind: the tutorial's
command, with a reference catalogue of 3 mas, and with an expert's parameters.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sep
from astropy.io import fits
from astropy.wcs import WCS
from background import report_noise
from catalogue import report_catalogue
from depth import image_depth
from light import report_contrast, report_halos
from limits import (
    FIXED,
    centring,
    distortion_limits,
    photometry_pull,
    weight_depth,
)
from night import report_night
from scipy import ndimage
from scipy.spatial import cKDTree
from truth_image import Truth, rendering

PEER = {
    "rms after shift+rotation, mas": ("4.5/4.8", "0.6/0.6", "1.2/0.7"),
    "rms after cubic map, mas": ("0.25/0.22", "0.25/0.22", "0.21/0.18"),
    "scatter 14.6-17.5 mag": ("0.024", "0.022", "0.005"),
    "slope on pixel area": ("-1.00", "-0.99", "-0.15"),
    "constant flux error, mag": ("+0.009", "+0.009", "+0.033"),
    "scatter 18-19 mag": ("0.039", "0.039", "0.009"),
    "FWHM over truth": ("1.009", "1.010", "1.010"),
    "noise per pixel, e": ("21.7", "21.7", "18.2"),
    "noise/sqrt(VAR) 1, 4, 16, 32": ("0.83 1.33 2.34 2.67", "the same", "0.70 0.88 1.05 1.39"),
    "groups > 6, > 10, < -6 sigma": ("309 66 131", "271 64 136", "109 41 2"),
    "background at coverage 3, e": ("-206..+165", "-205..+162", "-135..-60"),
    "absolute coordinates, arcsec": ("0.3", "0.001", "0.001"),
    "wall time: flats, standard, science": ("90 + 97 + 528 s", "", ""),
    "peak memory": ("7.4 GB", "", ""),
    "unasked intermediate files, GB": ("7", "", ""),
    "single frames: level error, e": ("-298..+316", "", ""),
    "cosmic-ray pixels found": ("35 of 5275", "", ""),
    "flat over truth: bias, scatter over VAR": ("0.0000 1.0", "", ""),
    "standard: absolute coordinates, arcsec": ("10", "", ""),
}


@dataclass
class Stack:
    """A stack's image, variance, mask, WCS, pixel scale in arcsec and header."""

    data: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    exposure: np.ndarray | None
    wcs: WCS
    scale: float
    header: fits.Header
    noise: dict[int, float]
    path: Path

    @classmethod
    def read(cls, path):
        """From SCI, VAR, DQ, and EXPTIME and NOISE where there are such extensions."""
        with fits.open(path) as file:
            header = file["SCI"].header
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wcs = WCS(header)
            names = {unit.name for unit in file}
            scale = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600)
            noise = {int(r["n"]): float(r["ratio"]) for r in file["NOISE"].data} if "NOISE" in names else {}
            planes = [np.nan_to_num(np.asarray(file[name].data).astype("f4")) for name in ("SCI", "VAR")]
            exposure = np.asarray(file["EXPTIME"].data).astype("f4") if "EXPTIME" in names else None
            mask = np.asarray(file["DQ"].data).astype("i4")
            return cls(*planes, mask, exposure, wcs, scale, header, noise, path)


def isolated(catalogue, magnitudes, radius=0.4, share=0.05):
    """Stars in a range of magnitudes whose neighbours within ``radius`` arcsec add less than ``share``."""
    flux = 10 ** (-0.4 * catalogue["magnitude"])
    tree = cKDTree(np.c_[catalogue["x"], catalogue["y"]])
    wanted = np.flatnonzero(
        (catalogue["magnitude"] > magnitudes[0]) & (catalogue["magnitude"] < magnitudes[1])
    )
    found = tree.query_ball_point(tree.data[wanted], radius)
    light = np.array([flux[index].sum() for index in found])
    return wanted[light < (1 + share) * flux[wanted]]


def centres(image, x, y, fwhm, half=8):
    """Centres near 0-based positions by a Gaussian window of the stars' width, on a local background."""
    x, y = np.array(x, float), np.array(y, float)
    grid = np.arange(-half, half + 1)
    start_x, start_y = np.rint(x).astype(int), np.rint(y).astype(int)
    cut = image[start_y[:, None, None] + grid[None, :, None], start_x[:, None, None] + grid[None, None, :]]
    edge = np.hypot(grid[:, None], grid[None, :]) > half - 1.5
    cut = cut - np.median(cut[:, edge], axis=1)[:, None, None]
    gx, gy = start_x[:, None, None] + grid[None, None, :], start_y[:, None, None] + grid[None, :, None]
    for _ in range(30):
        dx, dy = gx - x[:, None, None], gy - y[:, None, None]
        window = cut * np.exp(-0.5 * (dx**2 + dy**2) * (2.3548 / fwhm) ** 2)
        total = window.sum(axis=(1, 2))
        step_x, step_y = (
            2 * (window * dx).sum(axis=(1, 2)) / total,
            2 * (window * dy).sum(axis=(1, 2)) / total,
        )
        x, y = x + np.clip(step_x, -1, 1), y + np.clip(step_y, -1, 1)
    return x, y, (np.hypot(step_x, step_y) < 1e-3) & (total > 0)


def polynomial(x, y, degree):
    """Columns of a two-dimensional polynomial in arcsec / 45."""
    return np.stack(
        [(x / 45) ** i * (y / 45) ** j for i in range(degree + 1) for j in range(degree + 1 - i)], 1
    )


def robust_fit(design, values):
    """Least squares with 4-sigma clipping; solution and which rows were kept."""
    keep = np.ones(len(values), bool)
    for _ in range(6):
        solution = np.linalg.lstsq(design[keep], values[keep], rcond=None)[0]
        size = np.hypot(*(values - design @ solution).T)
        keep = size < 4 * np.median(size[keep]) * 0.85
    return solution, keep


def astrometry(stack, catalogue, field, stars):
    """Stars found, their pixels, measured and true places on the truth's plane, and the difference."""
    px, py = stack.wcs.all_world2pix(catalogue["ra"][stars], catalogue["dec"][stars], 0)
    shift = first_shift(stack, px, py, catalogue["magnitude"][stars])
    good = on_image(stack, px + shift[0], py + shift[1], 12)
    stars, px, py = stars[good], px[good] + shift[0], py[good] + shift[1]
    wx, wy, ok = centres(stack.data, px, py, 0.08 / stack.scale)
    ok &= np.hypot(wx - px, wy - py) < 3
    stars, wx, wy = stars[ok], wx[ok], wy[ok]
    ra, dec = stack.wcs.all_pix2world(wx, wy, 0)
    u, v = project(ra, dec, catalogue["tangent"])
    true = np.c_[catalogue["x"][stars], catalogue["y"][stars]]
    difference = np.c_[u, v] - true
    return stars, np.c_[wx, wy], np.c_[u, v], true, difference


def first_shift(stack, px, py, magnitude):
    """Median shift in pixels of bright stars from where the WCS puts them, found in a wide window."""
    good = on_image(stack, px, py, 60)
    best = np.flatnonzero(good)[np.argsort(magnitude[good])[:60]]
    table = sep.extract(stack.data, 30 * np.sqrt(np.median(stack.variance[stack.variance > 0])),
                        mask=stack.mask != 0)  # fmt: skip
    tree = cKDTree(np.c_[table["x"], table["y"]])
    gaps = [tree.data[i] - (px[k], py[k]) for k in best for i in tree.query_ball_point((px[k], py[k]), 60)]
    gaps = np.array(gaps)
    votes = cKDTree(gaps).query_ball_point(gaps, 3)
    return np.median(gaps[max(votes, key=len)], axis=0)


def on_image(stack, x, y, margin):
    """Whether positions lie on good pixels with a good neighbourhood."""
    ny, nx = stack.data.shape
    inside = (x > margin) & (y > margin) & (x < nx - margin) & (y < ny - margin)
    good = inside.copy()
    bad = ndimage.maximum_filter((stack.mask != 0).astype("u1"), 9)
    good[inside] = bad[np.rint(y[inside]).astype(int), np.rint(x[inside]).astype(int)] == 0
    return good


def project(ra, dec, tangent):
    """Gnomonic projection in arcsec."""
    a, d = np.radians(ra - tangent[0]), np.radians(dec)
    d0 = np.radians(tangent[1])
    depth = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    xi = np.cos(d) * np.sin(a) / depth
    eta = (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)) / depth
    return np.degrees(xi) * 3600, np.degrees(eta) * 3600


def report_astrometry(true, difference):
    """Residual rms per axis in mas after a shift and rotation, an affine map and a cubic map."""
    size = np.hypot(*(difference - np.median(difference, axis=0)).T)
    keep = size < 6 * np.median(size)
    true, difference = true[keep], difference[keep]
    x, y, one, zero = true[:, 0] / 45, true[:, 1] / 45, np.ones(len(true)), np.zeros(len(true))
    both = np.concatenate([np.c_[one, zero, -y], np.c_[zero, one, x]])
    solution = np.linalg.lstsq(both, difference.T.ravel(), rcond=None)[0]
    left = (difference.T.ravel() - both @ solution).reshape(2, -1)
    rows = {"rms after shift+rotation, mas": 1e3 * left.std(axis=1)}
    for name, degree in (("affine", 1), ("cubic", 3)):
        design = polynomial(true[:, 0], true[:, 1], degree)
        fit, good = robust_fit(design, difference)
        rows[f"rms after {name} map, mas"] = 1e3 * (difference - design @ fit)[good].std(axis=0)
    return rows


def photometry(stack, model, positions, stars, catalogue, scale):
    """Magnitude differences, stack minus truth, in one aperture of 0.15 arcsec over a local background."""
    measured = []
    for image in (stack.data, model):
        flux, _, _ = sep.sum_circle(image, positions[:, 0], positions[:, 1], 0.15 / scale, subpix=0,
                                    bkgann=(0.9 / scale, 1.3 / scale))  # fmt: skip
        measured.append(flux)
    return -2.5 * np.log10(measured[0] / measured[1]), catalogue["magnitude"][stars]


def report_photometry(difference, magnitude, area):
    """Scatter, constant and slope on the local pixel area of the magnitude differences."""
    bright, faint = (magnitude > 14.6) & (magnitude < 17.5), (magnitude > 18) & (magnitude < 19)
    spread = {k: 1.4826 * np.nanmedian(abs(difference[w] - np.nanmedian(difference[w])))
              for k, w in (("bright", bright), ("faint", faint))}  # fmt: skip
    fine = bright & (abs(difference - np.nanmedian(difference[bright])) < 5 * spread["bright"])
    slope, error = slope_of(area[fine], 10 ** (-0.4 * difference[fine]))
    return {
        "scatter 14.6-17.5 mag": spread["bright"],
        "rms 14.6-17.5 mag (clipped)": difference[fine].std(),
        "slope on pixel area": f"{slope:+.3f} +- {error:.3f}",
        "constant flux error, mag": np.nanmedian(difference[bright]),
        "scatter 18-19 mag": spread["faint"],
        "stars used": f"{fine.sum()}, {faint.sum()}",
    }


def slope_of(area, ratio):
    """Slope and its error of relative flux on relative area."""
    design = np.c_[np.ones(len(area)), area - 1]
    solution = np.linalg.lstsq(design, ratio, rcond=None)[0]
    left = ratio - design @ solution
    return solution[1], left.std() / np.sqrt(len(area)) / area.std()


def widths(image, positions):
    """FWHM in pixels from the radial profile about each star: where it falls to half of its fitted peak."""
    out = []
    for x, y in positions:
        i, j = int(x), int(y)
        cut = image[j - 10 : j + 11, i - 10 : i + 11].astype(float)
        gy, gx = np.mgrid[j - 10 : j + 11, i - 10 : i + 11]
        r = np.hypot(gx - x, gy - y)
        sky = np.median(cut[r > 9])
        near = r < 3.2
        # ln(profile) against r^2 to second order gives peak and half-light radius without binning.
        values = np.maximum(cut[near] - sky, 1e-3)
        fit = np.polyfit(r[near] ** 2, np.log(values), 2, w=values)
        roots = np.roots([fit[0], fit[1], np.log(2)])
        real = roots[np.isreal(roots) & (roots.real > 0)].real
        out.append(2 * np.sqrt(real.min()) if len(real) else np.nan)
    return np.array(out)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stack", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--inputs", nargs="+", help="names of the exposures, the reference first")
    parser.add_argument(
        "--cache", type=Path, help="keep the rendering here, valid for stacks on one grid only"
    )
    options = parser.parse_args()
    sep.set_extract_pixstack(3_000_000)
    stack, truth = Stack.read(options.stack), Truth.read(options.truth)
    for row in evaluate(stack, truth, options.inputs or inputs_of(options.stack), options.cache):
        print(row)


def inputs_of(path):
    """The names of the exposures of a stack, the reference first, from its table of them."""
    with fits.open(path) as file:
        return [name.split("_")[0] for name in file["EXPOSURES"].data["filename"]]


def evaluate(stack, truth, names, cache):
    """All figures as printable lines, the peer's columns beside them."""
    field = truth.exposures[names[0]]["field"]
    catalogue = truth.catalogue(field)
    stars = isolated(catalogue, (14.4, 19.0))
    stars, pixels, measured, true, difference = astrometry(stack, catalogue, field, stars)
    bright = catalogue["magnitude"][stars] < 18
    rows = {"absolute coordinates, arcsec": np.median(difference, axis=0)}
    rows |= report_astrometry(true[bright], difference[bright])
    to_field = field_map(stack, measured[bright], true[bright], catalogue["tangent"])
    model, count = rendering(stack, truth, names, to_field, cache)
    expected, magnitude = photometry(stack, model, pixels, stars, catalogue, stack.scale)
    rows |= report_photometry(expected, magnitude, pixel_areas(truth, names[0], true))
    best = (catalogue["magnitude"][stars] < 16.5) & (magnitude > 14.4)
    ratio = widths(stack.data, pixels[best]) / widths(model, pixels[best])
    rows["FWHM over truth"] = np.nanmedian(ratio)
    rows["FWHM, mas"] = np.nanmedian(widths(stack.data, pixels[best])) * stack.scale * 1e3
    rows |= report_noise(stack, stack.data - model, model, count)
    rows |= report_contrast(stack, stack.data - model, model, count)
    rows |= report_halos(stack, stack.data - model, count, truth, names, pixels, magnitude)
    to_pixels = pixel_map(stack, catalogue, pixels[bright], stars[bright])
    rows |= report_catalogue(stack, truth, names[0], catalogue, to_pixels)
    rows["depth of the weights"] = weight_depth(stack.path, truth, names)
    skies = [e["name"] for e in truth.exposures.values() if e["kind"] == "sky"]
    chosen = np.flatnonzero(best)[np.argsort(magnitude[best])]
    depth, fitted = image_depth(stack, truth, names, skies, model, count, (pixels[chosen], true[chosen]))
    rows["depth of the image"] = f"{depth:.3f} of {fitted} stars"
    for low, high in ((14.6, 17.5), (18, 19)):
        rows[f"photometry {low:g}-{high:g}, over error"] = photometry_pull(
            stack, pixels, expected, magnitude, low, high
        )
    rows |= report_night(stack.path.parent, truth, names)
    rigid, affine = distortion_limits(truth, names, true[bright])
    limits = FIXED | {
        "rms after shift+rotation, mas": show(rigid),
        "rms after affine map, mas": show(affine),
    }
    name = "rms by magnitude, 14.4 to 18, mas"
    rows[name], limits[name] = centring(
        stack.path, true[bright], difference[bright], magnitude[bright], pixels[bright],
        polynomial(true[bright, 0], true[bright, 1], 3),
    )  # fmt: skip
    return [line(name, value, limits.get(name, "")) for name, value in rows.items()]


def field_map(stack, measured, true, tangent):
    """Stack pixels to the truth's plane: the stack's WCS corrected by a cubic map of the stars."""
    solution, _ = robust_fit(polynomial(measured[:, 0], measured[:, 1], 3), measured - true)

    def to_field(column, row):
        ra, dec = stack.wcs.all_pix2world(column, row, 0)
        u, v = project(ra, dec, tangent)
        correction = polynomial(u, v, 3) @ solution
        return u - correction[:, 0], v - correction[:, 1]

    return to_field


def pixel_map(stack, catalogue, pixels, stars):
    """Stars of the catalogue to the stack's pixels: by its WCS and what measured ``stars`` differ from it."""

    def by_wcs(numbers):
        return np.stack(stack.wcs.all_world2pix(catalogue["ra"][numbers], catalogue["dec"][numbers], 0), 1)

    def terms(numbers):
        return polynomial(catalogue["x"][numbers], catalogue["y"][numbers], 3)

    solution, _ = robust_fit(terms(stars), pixels - by_wcs(stars))
    return lambda numbers: by_wcs(numbers) + terms(numbers) @ solution


def pixel_areas(truth, name, true):
    """Pixel area at each star in an exposure over the reference pixel's, from the static distortion."""
    from goafetch.practice.exposure import optics

    sx, sy = truth.mapping(name).to_static(true[:, 0], true[:, 1])
    area = np.full(len(true), np.nan)
    for array in range(4):
        x, y = optics.static_to_pixel(array, sx, sy)
        on = (x > 0) & (x < 2049) & (y > 0) & (y < 2049)
        jacobian = optics.static_jacobian(array, x[on], y[on])
        area[on] = np.linalg.det(jacobian) / 0.0197**2
    return np.where(np.isfinite(area), area, np.nanmean(area))


def line(name, value, limit):
    """One row of the table: the figure, its limit, and the peer's three."""
    peer = PEER.get(name, ("", "", ""))
    return f"{name:39s} {show(value):>30s} | {limit:>20s} | {peer[0]:>20s} {peer[1]:>12s} {peer[2]:>20s}"


def show(value):
    """Text or numbers as text."""
    return value if isinstance(value, str) else " / ".join(f"{v:.4g}" for v in np.atleast_1d(value))


if __name__ == "__main__":
    main()
