"""What the data themselves allow: limits beside which ``accuracy.py`` puts a stack's figures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import sep
from astropy.io import fits
from scipy.spatial import cKDTree

#: Limits that depend on nothing, as they are printed.
FIXED = {
    "slope on pixel area": "0 +- 0.05",
    "constant flux error, mag": "0 +- 0.003",
    "FWHM over truth": "1.02",
    "the same over table NOISE": "1 +- 0.02 0.05",
    "groups > 6, > 10, < -6 sigma": "1 / Mpix",
    "coverage steps, e (errors)": "1 e or 3 errors",
    "depth of the weights": "0.97",
    "depth of the image": "0.97",
    "total light 14.6-17.5, 18-19, over truth": "1 +- 0.02",
    "photometry 14.6-17.5, over error": "1",
    "photometry 18-19, over error": "1",
}
#: Arcsec of the aperture for photometry; magnitudes between which centring is listed.
APERTURE = 0.15
BINS = (14.4, 15.5, 16.5, 17.2, 18.0)


def distortion_limits(truth, names, places):
    """1.2 times the rms per axis, mas, that shift and rotation, and an affine map, leave at places (n, 2) in
    arcsec of the mean of the exposures' own distortions: what a stack without a catalogue cannot know."""
    x, y = places.T
    terms = np.stack([x * x, x * y, y * y]) / 45**2
    entries = [truth.exposures[name] for name in names]
    bent = np.mean([np.array(entry["quadratic"]) @ terms for entry in entries], axis=0)
    bent = bent + np.mean([entry["scale"] for entry in entries]) * np.stack([x, y])
    one, zero = np.ones(len(x)), np.zeros(len(x))
    rigid = np.concatenate([np.c_[one, zero, -y], np.c_[zero, one, x]])
    linear = np.c_[one, x, y]
    affine = np.block([[linear, np.zeros(linear.shape)], [np.zeros(linear.shape), linear]])
    values, limits = bent.ravel(), []
    for design in (rigid, affine):
        left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
        limits.append(1.2e3 * left.reshape(2, -1).std(axis=1))
    return limits


def centring(path, true, difference, magnitude, pixels, design):
    """Rms per axis after a cubic map by magnitude, mas, and what photons allow: (text, text)."""
    with fits.open(path) as file:
        objects = file["OBJCAT"].data
    tree = cKDTree(np.c_[objects["X_IMAGE"] - 1, objects["Y_IMAGE"] - 1])
    distance, index = tree.query(pixels)
    error = np.where(distance < 2, objects["ERR_POS"][np.minimum(index, len(objects) - 1)], np.nan) * 1e3
    used = np.isfinite(error)
    fit = np.linalg.lstsq(design[used], difference[used], rcond=None)[0]
    left = 1e3 * (difference - design @ fit)
    good = used & (np.hypot(*left.T) < 6 * np.median(np.hypot(*left[used].T)))
    measured, allowed = [], []
    for low, high in pairwise(BINS):
        here = good & (magnitude > low) & (magnitude < high)
        measured.append(np.sqrt(np.mean(left[here] ** 2)))
        allowed.append(np.sqrt(1.44 * np.mean(error[here] ** 2) + 0.01))
    return tuple(" ".join(f"{value:.2f}" for value in row) for row in (measured, allowed))


def photometry_pull(stack, pixels, difference, magnitude, low, high):
    """Robust scatter of magnitude differences over sqrt((1.1 s)^2 + 0.003^2), and its own error; s: the noise
    of the aperture and of the ring's mean, by VAR and the table NOISE."""
    here = (magnitude > low) & (magnitude < high) & np.isfinite(difference)
    x, y = pixels[here].T
    radius, ring = APERTURE / stack.scale, (0.9 / stack.scale, 1.3 / stack.scale)
    flux, _, _ = sep.sum_circle(stack.data, x, y, radius, subpix=0, bkgann=ring)
    noise, _, _ = sep.sum_circle(stack.variance, x, y, radius, subpix=0)
    around, _, _ = sep.sum_circann(stack.variance, x, y, *ring, subpix=0)
    share = radius**2 / (ring[1] ** 2 - ring[0] ** 2)
    ratio = stack.noise.get(round(radius * np.sqrt(np.pi)), 1.0)
    variance = ratio**2 * noise + (share * stack.noise.get(64, 1.0)) ** 2 * around
    error = np.hypot(1.1 * 1.0857 * np.sqrt(variance) / flux, 0.003)
    pull = (difference[here] - np.median(difference[here])) / error
    # Of n Gaussian values a median absolute deviation is uncertain by 1.17 over the root of n.
    found = 1.4826 * np.median(np.abs(pull))
    return f"{found:.2f} +- {1.17 * found / np.sqrt(here.sum()):.2f}"


def weight_depth(path, truth, names):
    """Signal to noise of a matched fit with the stack's weights over that with the best ones, for a star on
    the sky at the field's centre, of true profiles, transparencies and sky brightness."""
    with fits.open(path) as file:
        weights = np.asarray(file["EXPOSURES"].data["weight"], float)
    grid = (np.arange(161) - 80) * 0.0197
    radius2 = grid[:, None] ** 2 + grid[None, :] ** 2
    images, noises = [], []
    for name in names:
        entry = truth.exposures[name]
        profile = entry["profile"]
        core = _moffat(radius2, profile["core_fwhm"], 4) * profile["core_fraction"]
        image = core + _moffat(radius2, profile["halo_fwhm"], 3) * (1 - profile["core_fraction"])
        images.append(image * entry["transmission"])
        noises.append(entry["sky_electrons"])
    images, noises = np.array(images), np.array(noises)
    scaled = weights / np.array([truth.exposures[name]["transmission"] for name in names])
    seen = np.tensordot(scaled, images, axes=1)
    found = np.sum(seen**2) / np.sum(scaled**2 * noises)
    return np.sqrt(found / np.sum(images**2 / noises[:, None, None]))


def _moffat(radius2, fwhm, power):
    alpha2 = (fwhm / 2) ** 2 / (2 ** (1 / power) - 1)
    image = (1 + radius2 / alpha2) ** -power
    return image * (power - 1) / np.pi / alpha2 * 0.0197**2
