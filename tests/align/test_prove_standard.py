"""The standard of the tutorial: one bright star in natural seeing, on a different array each time."""

import numpy as np
import pytest
import sep
from true_night import make_night, name_of

from reducer import dq
from reducer.fitsio import read_chip
from reducer.steps.stacking import output_grid

#: Arcsec of the aperture that holds the star, and of the ring around it.
RADIUS, RING = 2.6, (3.2, 4.6)


def check_standard(folder, seed):
    night = make_night(folder, "standard", seed=seed, size=512)
    frames, told = night.reduce("standard")
    assert len(frames) == 4, told
    places, fluxes = zip(*(star_of(night, frame) for frame in frames), strict=True)
    widest = min(night.exposures[name_of(f)]["profile"]["halo_fwhm"] for f in frames)
    spread = np.hypot(*np.ptp(places, axis=0))
    assert spread < 0.1 * widest and spread < 5 * 0.0197
    assert footprint_errors(night, frames).max() < 5 * 0.0197
    stack = night.stack(frames)
    chip = read_chip(stack, 0)
    column, row = output_grid(frames, 0.02).to_pixel(*np.mean(places, axis=0))
    total = light(chip, column, row, 0.02)
    assert total == pytest.approx(np.mean(fluxes), rel=0.01)


def footprint_errors(night, frames):
    """How far the corners of all arrays of all exposures are from where they truly look, arcsec, besides the
    pointing that all have in common."""
    gaps = []
    for frame in frames:
        for chip, region in enumerate(frame.geometry.regions):
            x, y = (
                np.array([0.0, 1.0, 1.0, 0.0]) * region.width,
                np.array([0.0, 0.0, 1.0, 1.0]) * region.height,
            )
            placed = frame.geometry.evaluate(x - 0.5, y - 0.5, chip)
            gaps.append(np.subtract(placed, night.true_plane(frame, x - 0.5, y - 0.5, chip)))
    gaps = np.concatenate(gaps, axis=1)
    return np.hypot(*(gaps - gaps.mean(axis=1, keepdims=True)))


def star_of(night, frame):
    """True place of the star on the common plane, and its electrons on the reference's scale and area."""
    stars = night.stars(name_of(frame))
    star = stars[np.argmax(stars["electrons"])]
    chip = [region.array for region in frame.geometry.regions].index(star["array"])
    x, y = np.array([star["x"]]), np.array([star["y"]])
    area = frame.geometry.area(x, y, chip)[0] / 0.0197**2
    flux = light(read_chip(frame, chip), x[0], y[0], 0.0197 * np.sqrt(area)) * area * frame.scale
    return np.concatenate(frame.geometry.evaluate(x, y, chip)), flux


def light(chip, x, y, scale):
    """Electrons in the aperture, over the ring's mean."""
    bad = (chip.mask & (dq.UNUSABLE & ~dq.SATURATED)) != 0
    ring = (RING[0] / scale, RING[1] / scale)
    flux, _, _ = sep.sum_circle(chip.data, [x], [y], RADIUS / scale, mask=bad, bkgann=ring, subpix=5)
    return flux[0]


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(1, 21))
def test_the_images_of_a_standard_coincide(tmp_path, seed):
    check_standard(tmp_path, seed)
