"""Exposures for astrometry: calibrated, not resampled, with their distortion in the header."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from reducer.align.export import write_sip
from reducer.align.sky import plane_to_sky
from reducer.align.together import align_exposures
from reducer.frame import tell_nobody


@pytest.fixture
def aligned(field):
    """Frames of a rich field and their geometries."""
    frames, _, _ = field(3, 500, 21)
    return frames, align_exposures(frames, tell_nobody).geometries


def test_astropy_finds_every_pixel_where_the_geometry_has_it(aligned):
    """To a hundredth of a milliarcsecond, corners included."""
    frames, geometries = aligned
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 2047, 40), np.linspace(0, 2047, 40)))
    for frame, geometry in zip(frames, geometries, strict=True):
        for chip in range(4):
            header = frame.chips[chip].copy()
            write_sip(header, geometry, chip)
            ra, dec = WCS(fits.Header.fromstring(header.tostring())).all_pix2world(x, y, 0)
            true_ra, true_dec = plane_to_sky(*geometry.evaluate(x, y, chip), geometry.tangent)
            east = (ra - true_ra) * np.cos(np.radians(dec)) * 3.6e6
            assert np.hypot(east, (dec - true_dec) * 3.6e6).max() < 0.01


def test_the_inverse_polynomials_lead_back_to_the_pixel(aligned):
    frames, geometries = aligned
    header = frames[0].chips[2].copy()
    write_sip(header, geometries[0], 2)
    wcs = WCS(header)
    x, y = np.random.default_rng(1).uniform(0, 2047, (2, 400))
    undistorted = wcs.wcs_world2pix(*wcs.all_pix2world(x, y, 1), 1)
    back = wcs.sip_foc2pix(*(np.array(undistorted) - wcs.wcs.crpix[:, None]), 1)
    assert np.abs(np.subtract(back, (x, y))).max() < 1e-3
