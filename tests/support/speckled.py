"""A crowded field drawn in memory, whose star images have a speckled core that changes over the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reducer.photometry.psf_catalogue import measure_stars
from reducer.photometry.psf_fit import Image
from reducer.types import table_of

#: FWHM of core and halo, the core's share of the light, speckles as (dx, dy, share of the core).
CORE, HALO, SHARE = 4.0, 26.0, 0.5
SPECKLES = ((3.2, 2.1, 0.05), (-4.4, 1.0, 0.04), (1.0, -5.2, 0.05), (-2.5, -3.8, 0.03), (6.0, -1.5, 0.02))
SKY, GAIN, SEEN = 300.0, 1.0, 8.0


def _moffat(square, fwhm, power):
    alpha2 = (fwhm / 2) ** 2 / (2 ** (1 / power) - 1)
    return (power - 1) / np.pi / alpha2 * (1 + square / alpha2) ** -power


def star_image(dx, dy, u, v):
    """Light per pixel of a star at u, v (-1 to 1): its core grows and has less of the light further out."""
    radius2 = u * u + v * v
    share, fwhm, bright = SHARE * (1 - 0.12 * radius2), CORE * (1 + 0.06 * radius2), 1 + 0.3 * u
    core = (1 - sum(s for *_, s in SPECKLES) * bright) * _moffat(dx**2 * (1 + 0.04 * u) + dy**2, fwhm, 4)
    for sx, sy, part in SPECKLES:
        core += part * bright * _moffat((dx - sx) ** 2 + (dy - sy) ** 2, CORE, 4)
    return share * core + (1 - share) * _moffat(dx**2 + dy**2, HALO, 3)


def add_star(image, x, y, light, reach=90):
    """Add a star to an image."""
    size = len(image)
    rows = slice(max(int(y) - reach, 0), min(int(y) + reach + 1, size))
    columns = slice(max(int(x) - reach, 0), min(int(x) + reach + 1, size))
    j, i = np.mgrid[rows, columns]
    image[rows, columns] += light * star_image(i - x, j - y, 2 * x / size - 1, 2 * y / size - 1)


@dataclass
class FieldTruth:
    """A drawn image and its stars."""

    image: Image
    x: np.ndarray
    y: np.ndarray
    light: np.ndarray


def draw_field(stars=260, size=420, seed=5, background=None, places=None, faint=2500.0, bright=4e5):
    """``places``: further stars as (x, y, light). Read noise and photons; variance as it is known exactly."""
    rng = np.random.default_rng(seed)
    light = faint * (bright / faint) ** (rng.random(stars) ** 2.2)
    x, y = rng.uniform(-10, size + 10, (2, stars))
    if places is not None:
        px, py, pl = np.array(places, float).T
        far = np.array([np.hypot(px - a, py - b).min() > 14 for a, b in zip(x, y, strict=True)])
        x, y, light = np.append(x[far], px), np.append(y[far], py), np.append(light[far], pl)
    model = np.zeros((size, size))
    for star in zip(x, y, light, strict=True):
        add_star(model, *star)
    if background is not None:
        j, i = np.mgrid[:size, :size]
        model += background(i, j)
    variance = (model + 3000.0) / SEEN
    data = model + rng.standard_normal(model.shape) * np.sqrt(variance)
    planes = data.astype(np.float32), variance.astype(np.float32), np.zeros(data.shape, np.uint16)
    return FieldTruth(Image(*planes), x, y, light)


def sources_of(field, signal=60.0):
    """The true stars as the sources that the photometry begins from."""
    error = np.full(len(field.x), np.sqrt(3000.0 / SEEN * 200))
    near = [np.sort(np.hypot(field.x - a, field.y - b))[1] for a, b in zip(field.x, field.y, strict=True)]
    inside = (field.x > 20) & (field.y > 20) & (field.x < 400) & (field.y < 400)
    mask = field.image.mask
    row, column = np.clip(np.rint([field.y, field.x]).astype(int), 0, len(mask) - 1)
    clean = inside & (np.array(near) > 6) & (mask[row, column] == 0)
    flux = 0.55 * field.light
    return table_of({"x": field.x, "y": field.y, "flux": flux, "error": error, "clean": clean})


def photometry_of(field, artificial=100):
    """Its photometry, carried from light in the first aperture to all of a star's."""
    sources = sources_of(field)
    return measure_stars(
        field.image, sources, 4.3, lambda x, y: (1 / base_light(x, y), np.zeros(len(x))), artificial
    )


def base_light(x, y, size=420):
    """The part of its light that a star has in the first aperture over the near ring's median."""
    parts = []
    j, i = np.mgrid[-26:27, -26:27]
    for a, b in zip(x, y, strict=True):
        dx, dy = i - a % 1, j - b % 1
        stamp, r = star_image(dx, dy, 2 * a / size - 1, 2 * b / size - 1), np.hypot(dx, dy)
        inside, ring = np.clip(8.5 - r, 0, 1), stamp[(r >= 12) & (r < 24)]
        parts.append(float((stamp * inside).sum() - np.median(ring) * np.pi * 64))
    return np.array(parts)


def match(found, field, radius=2.0):
    """Rows of a catalogue and numbers of the true stars that belong together: the brightest within reach."""
    pairs = []
    for n, (a, b) in enumerate(zip(found["X_IMAGE"] - 1, found["Y_IMAGE"] - 1, strict=True)):
        near = np.flatnonzero(np.hypot(field.x - a, field.y - b) < radius)
        if len(near):
            pairs.append((n, near[np.argmax(field.light[near])]))
    return np.array(pairs, int).reshape(-1, 2).T
