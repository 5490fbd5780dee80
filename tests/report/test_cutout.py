"""`goafetch cutout`: what is cut out lies where it lay in the stack, and charts say where north is."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from shell import Shell
from small_workspace import SIZE, STAR, stack_pixels, write_stack

from goafetch.archive.cone import Cone, read_radius
from goafetch.errors import UsageError
from goafetch.report.cutout import cut_out, write_cutout
from reducer import dq
from reducer.errors import BadInput
from reducer.fitsio import open_frame


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    return write_stack(tmp_path_factory.mktemp("stack") / "S20170505S0095_image.fits")


def sky_of(stack, x, y):
    """ICRS of a zero-based pixel, by astropy."""
    return WCS(fits.getheader(stack, "SCI")).pixel_to_world(x, y).icrs


@pytest.mark.parametrize("style", ["decimal", "hmsdms"])
def test_all_planes_and_the_catalogue_lie_where_they_lay(stack, tmp_path, style):
    place = sky_of(stack, *STAR)
    cut, (path, chart) = write_cutout(stack, place.to_string(style, precision=9), "2 arcsec", tmp_path)
    data, variance, mask, seconds, _ = stack_pixels()
    with fits.open(path) as file:
        assert file["SCI"].shape == (100, 100) and cut.whole
        x, y = WCS(file["SCI"].header).world_to_pixel(place)
        low, left = STAR[1] - round(float(y)), STAR[0] - round(float(x))
        part = np.s_[low : low + 100, left : left + 100]
        for name, truth in {"SCI": data, "VAR": variance, "DQ": mask, "EXPTIME": seconds}.items():
            np.testing.assert_array_equal(file[name].data, truth[part])
            assert np.allclose(WCS(file[name].header).world_to_pixel(place), (x, y))
        brightest = file["OBJCAT"].data[0]
        assert (brightest["X_IMAGE"] - 1, brightest["Y_IMAGE"] - 1) == pytest.approx(
            (float(x), float(y)), abs=1e-6
        )
        assert file[0].header["CUTSEC"] == f"[{left + 1}:{left + 100},{low + 1}:{low + 100}]"
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_pixels_without_data_stay_nan(tmp_path):
    """They became zeros with no variance: a measured sky, to whoever does not look at DQ."""
    stack = write_stack(tmp_path / "S20170505S0095_image.fits")
    empty = np.s_[140:150, 200:300]
    with fits.open(stack, mode="update") as file:
        file["SCI"].data[empty] = file["VAR"].data[empty] = np.nan
        file["DQ"].data[empty] |= dq.NO_DATA
    cut, (path, _) = write_cutout(
        stack, sky_of(stack, 250, 150).to_string("decimal", precision=7), "1", tmp_path
    )
    with fits.open(path) as file:
        nothing = (file["DQ"].data & dq.NO_DATA) != 0
        assert cut.whole and nothing.sum() == 10 * 50
        for name in ("SCI", "VAR"):
            np.testing.assert_array_equal(np.isnan(file[name].data), nothing)


def test_a_stack_that_lacks_a_plane_is_refused_by_its_name(stack, tmp_path):
    with fits.open(stack) as file:
        header = file["SCI"].header
        header["ARRAYID"] = 1
        path = tmp_path / "S20170505S0096_image.fits"
        fits.HDUList([file[0], fits.ImageHDU(file["SCI"].data, header), file["DQ"]]).writeto(path)
    with pytest.raises(BadInput, match="has no VAR"):
        write_cutout(path, sky_of(stack, 250, 150).to_string("decimal", precision=7), "1", tmp_path)


def test_a_square_beyond_the_edge_is_cut_and_said_to_be(stack, tmp_path):
    place = sky_of(stack, 19.7, 320)
    cut, _ = write_cutout(stack, place.to_string("decimal", precision=7), "2", tmp_path)
    assert cut.chip.data.shape == (100, 70) and not cut.whole
    typed = Shell()(f"cutout {stack} '{place.to_string('decimal', precision=7)}' 2 --into {tmp_path}")
    assert typed.code == 0 and "beyond the stack: 70 x 100 pixels" in typed.err


@pytest.mark.parametrize("ra, dec", [(201.358, -43.05), (21.358, 43.033), (201.358, -43.033)])
def test_outside_the_error_says_where_the_stack_lies(stack, ra, dec):
    """Beside it, on the other side of the sky, and in its own gap."""
    with pytest.raises(UsageError) as refused:
        cut_out(open_frame(stack), Cone(ra, dec, 0.1 / 3600))
    assert "RA 13:25:25.3 to 13:25:26.5, Dec -43:02:05 to -43:01:52" in refused.value.needed
    *place, _ = refused.value.remedy.split("'")[1:]
    near = SkyCoord(place[0], unit="deg")
    x, y = WCS(fits.getheader(stack, "SCI")).world_to_pixel(near)
    assert stack_pixels()[2][round(float(y)), round(float(x))] == 0 and max(x, y) < SIZE


def test_sizes_have_units():
    sizes = {"10": 10, "10 arcsec": 10, "0.5 arcmin": 30, "0.1 deg": 360, "3m": 180}
    assert {text: read_radius(text) for text in sizes} == sizes
    with pytest.raises(UsageError, match="not a size"):
        read_radius("3 parsec")


def test_arrows_of_the_compass_point_as_the_wcs_says(stack, monkeypatch):
    """In a stack that lies turned by 30 degrees."""
    from goafetch.report import cutout

    found = {}
    monkeypatch.setattr(cutout, "_add_compass", lambda axes, pixels: found.update(pixels=pixels))
    place = sky_of(stack, 200, 150)
    cut = cut_out(open_frame(stack), Cone(place.ra.deg, place.dec.deg, 1 / 3600))
    angle = np.radians(30)
    header = cut.chip.header
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    given = np.diag([-1, 1]) @ turned * 0.02 / 3600
    for row in (1, 2):
        for column in (1, 2):
            header[f"CD{row}_{column}"] = given[row - 1, column - 1]
    cutout.draw_chart(cut, "x")
    world = WCS(header)
    here = world.pixel_to_world(24.5, 24.5)
    for step, bearing in ((found["pixels"][:, 0], 90), (found["pixels"][:, 1], 0)):
        there = world.pixel_to_world(24.5 + step[0], 24.5 + step[1])
        assert here.position_angle(there).wrap_at("180d").deg == pytest.approx(bearing, abs=0.01)
        assert here.separation(there).arcsec == pytest.approx(1, rel=1e-3)
