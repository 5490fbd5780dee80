"""Exposures for astrometry: calibrated, not resampled, with their distortion in the header."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import sep
from astropy.io import fits
from astropy.wcs import WCS
from drawn_standard import Pixels, draw_standard

from reducer.align.global_fit import align_exposures
from reducer.align.wcs import is_stack, write_sip
from reducer.astrometry import common_grid, plane_to_sky
from reducer.fitsio import Disk, open_frame, read_chip
from reducer.frame import tell_nobody
from reducer.stack.product import stack_header
from reducer.steps.stacking import output_grid, resampleToCommonFrame


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


@dataclass(frozen=True)
class Written(Pixels):
    """Frames in memory; what is written goes to the disk."""

    write_frame = staticmethod(Disk.write_frame)


def test_resampled_exposures_are_written_on_the_pixels_of_the_stack(tmp_path):
    """`resampleToCommonFrame:write_outputs` wrote nothing."""
    frames, context, _, told = draw_standard(tmp_path, 9.0, 5)
    parameters = {"resampleToCommonFrame": {"write_outputs": True}}
    context = replace(context, files=Written(context.files.chips), parameters=parameters)
    after = resampleToCommonFrame(frames[:2], context)
    assert [frame.with_(aligned=None) for frame in after] == frames[:2]
    assert [frame.aligned.name for frame in after] == [f"{f.path.stem}_align.fits" for f in frames[:2]]
    grid = output_grid(frames[:2], 0.02)
    column, row = grid.to_pixel(np.zeros(1), np.zeros(1))
    for frame in after:
        path = frame.aligned
        assert ("made", {"path": path}) in told
        made = read_chip(open_frame(path), 0)
        assert made.data.shape == (grid.height, grid.width)
        assert ((made.mask == 16) == (made.variance == 0)).all()
        x, y = frame.geometry.inverse(0).evaluate(np.zeros(1), np.zeros(1))
        chip = context.files.read_chip(frame, 0)
        area = frame.geometry.area(x, y, 0)[0] / 0.0197**2
        own = sep.sum_circle(chip.data, x, y, 60.0, subpix=9)[0][0] * area
        radius = 60.0 * 0.0197 * np.sqrt(area) / 0.02
        assert sep.sum_circle(made.data, column, row, radius, subpix=9)[0][0] == pytest.approx(own, rel=2e-3)
        assert is_stack(open_frame(path))


@pytest.mark.parametrize(("catalogue", "system"), [("Gaia DR3", "ICRS"), (None, "FK5")])
def test_the_system_of_positions_is_the_catalogues(aligned, catalogue, system):
    """A tied stack said ICRS and, in the raw header's obsolete keyword, FK5."""
    frames, geometries = aligned
    header = frames[0].chips[0].copy()
    header["RADECSYS"] = "FK5"
    primary = frames[0].header.copy()
    if catalogue:
        primary["ASTRCAT"] = catalogue
    made = stack_header(frames[0].with_(header=primary, chips=(header,)), common_grid(geometries, 0.02))
    assert made["RADESYS"] == system
    assert "RADECSYS" not in made
    assert WCS(made).wcs.radesys == system
