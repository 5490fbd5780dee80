"""Pixels to the common plane and back, refraction, and the stack's pixels."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from reducer.align.wcs import frame_regions, header_layout, nominal_geometry, rotation_error
from reducer.astrometry import (
    air,
    common_grid,
    horizon_angles,
    plane_to_sky,
    read_wcs,
    removal_matrix,
    same_grid,
    sidereal_time,
    sky_to_plane,
)
from reducer.frame import FrameRef
from reducer.instruments import KNOWN
from reducer.stack.exposures import flux_factor

GSAOI = KNOWN["GSAOI"]
SITE = GSAOI.site


def test_the_projection_is_the_tan_of_the_fits_standard():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [201.0, -43.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [1, 1], [1 / 3600, 1 / 3600]
    x, y = np.meshgrid(np.linspace(-60, 60, 7), np.linspace(-60, 60, 7))
    ra, dec = wcs.all_pix2world(x, y, 0)
    xi, eta = sky_to_plane(ra, dec, (201.0, -43.0))
    assert np.abs(xi - x).max() < 1e-8
    assert np.abs(eta - y).max() < 1e-8
    back = plane_to_sky(xi, eta, (201.0, -43.0))
    assert np.allclose(back, (ra, dec), rtol=0, atol=1e-12)


def test_the_inverse_of_the_whole_chain_is_good_to_a_microarcsecond(field):
    frames, _, _ = field(2, 10, 1)
    geometry = nominal_geometry(frames[0])
    geometry = geometry.moved(1.0, -2.0)
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 2047, (2, 500))
    for chip in range(4):
        inverse = geometry.inverse(chip)
        bx, by = inverse.evaluate(*geometry.evaluate(x, y, chip))
        assert np.hypot(bx - x, by - y).max() * 19.7 < 1e-3


def test_x_grows_to_the_east_and_y_to_the_north(field):
    frames, _, _ = field(1, 10, 1)
    geometry = nominal_geometry(frames[0])
    middle = geometry.evaluate(np.array([1000.0, 1010.0, 1000.0]), np.array([1000.0, 1000.0, 1010.0]), 0)
    assert middle[0][1] - middle[0][0] == pytest.approx(0.197, rel=0.05)
    assert middle[1][2] - middle[1][0] == pytest.approx(0.197, rel=0.05)


def test_a_mirrored_port_is_taken_from_the_header(field):
    frames, _, _ = field(1, 10, 1)
    for chip in frames[0].chips:
        chip["CD1_1"], chip["CD1_2"] = -chip["CD1_1"], -chip["CD1_2"]
    geometry = nominal_geometry(frames[0])
    assert np.linalg.det(geometry.linear) < 0


def test_rotation_is_that_of_the_matrices_and_not_of_the_reference_pixels(field):
    """The reference pixels of 2013 turn the layout of the arrays by 0.87 degree, the matrices by 0.02."""
    frames, _, _ = field(1, 10, 1)
    right = nominal_geometry(frames[0])
    places = ((-123.299, 2976.917), (2116.114, 2970.112), (2083.307, 780.093), (-147.806, 788.633))
    for chip, (x, y) in zip(frames[0].chips, places, strict=True):
        chip["CRPIX1"], chip["CRPIX2"] = x, y
    turned = nominal_geometry(frames[0])
    angles = [np.degrees(np.arctan2(g.linear[1, 0], g.linear[0, 0])) for g in (right, turned)]
    assert abs(angles[1] - angles[0]) < 0.001
    assert header_layout(frames[0]).misfit < 1.2
    # Its reference point lies 16.7 arcsec north of the middle of the field.
    east, north = sky_to_plane(*np.array([turned.pointing, right.pointing]).T, right.pointing)
    assert (east[0], north[0]) == pytest.approx((-0.04, -16.73), abs=0.1)


@pytest.mark.parametrize(
    ("turned", "stated", "kept"),
    [
        (0.077, 0.0, 0.0),  # the matrices of S20140113S0167 against its PA
        (-0.10, 0.0, 0.0),
        (0.55, 0.0, 0.55),  # a field that is truly turned
        (0.077, None, 0.077),
        (0.077, -9999.0, 0.077),
    ],
)
def test_rotation_is_the_position_angle_s_where_matrices_differ_by_errors_of_calibration(
    field, turned, stated, kept
):
    (frame,), _, _ = field(1, 10, 1)
    right = _position_angle(nominal_geometry(frame))
    c, s = np.cos(np.radians(turned)), np.sin(np.radians(turned))
    for chip in frame.chips:
        matrix = np.array([[chip[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)])
        (chip["CD1_1"], chip["CD1_2"]), (chip["CD2_1"], chip["CD2_2"]) = np.array([[c, s], [-s, c]]) @ matrix
    if stated is not None:
        frame.header["PA"] = stated
    assert _position_angle(nominal_geometry(frame)) - right == pytest.approx(kept, abs=0.01)
    assert rotation_error(frame) == pytest.approx(max(abs(turned) if stated == 0 else 0.0, 0.06), abs=0.01)


def _position_angle(geometry):
    return np.degrees(np.arctan2(geometry.linear[0, 1], geometry.linear[1, 1]))


def test_one_array_alone_lies_where_all_four_put_it(field):
    frames, _, _ = field(1, 10, 1)
    whole = nominal_geometry(frames[0])
    for chip in range(4):
        alone = nominal_geometry(frames[0].with_(chips=frames[0].chips[chip : chip + 1]), whole.tangent)
        gap = np.subtract(alone.evaluate(1000.0, 1000.0, 0), whole.evaluate(1000.0, 1000.0, chip))
        assert np.abs(gap).max() < 0.3


def test_a_region_of_an_array_keeps_its_place(field):
    """A pixel of a central read-out and the same pixel of the full array lie at the same place."""
    frames, _, _ = field(1, 10, 1)
    full = nominal_geometry(frames[0])
    for chip in frames[0].chips:
        chip["NAXIS1"] = chip["NAXIS2"] = 1024
        chip["CCDSEC"] = "[513:1536,513:1536]"
        chip["CRPIX1"] -= 512
        chip["CRPIX2"] -= 512
    part = nominal_geometry(frames[0])
    for chip in range(4):
        whole = full.static(np.array([600.0]), np.array([700.0]), chip)
        region = part.static(np.array([88.0]), np.array([188.0]), chip)
        assert np.allclose(whole, region, rtol=0, atol=1e-10)
    assert np.hypot(*np.subtract(part.pointing, full.pointing)) * 3600 < 0.3


@pytest.mark.parametrize(("zenith", "low", "high"), [(20.0, 2.0e-4, 2.6e-4), (60.0, 7.0e-4, 9.0e-4)])
def test_refraction_shrinks_the_field_as_known(zenith, low, high):
    when = datetime(2017, 5, 5, 3, 0)
    ra = sidereal_time(when, SITE)
    matrix = removal_matrix(ra, SITE.latitude + zenith, when, SITE)
    found, angle = horizon_angles(ra, SITE.latitude + zenith, when, SITE)
    assert np.degrees(found) == pytest.approx(zenith, abs=1e-6)
    scales = np.linalg.eigvalsh(matrix) - 1.0
    assert scales[0] == pytest.approx(SITE.refraction, rel=1e-6)
    assert low < scales[1] < high
    # On the meridian, north of the zenith, the zenith lies to the south.
    assert abs(abs(angle) - np.pi) < 1e-6


def test_parallactic_angle_east_and_west():
    when = datetime(2017, 5, 5, 3, 0)
    ra = sidereal_time(when, SITE)
    _, west = horizon_angles(ra - 30.0, -30.0, when, SITE)
    _, east = horizon_angles(ra + 30.0, -30.0, when, SITE)
    assert west == pytest.approx(-east)
    assert np.sin(west) > 0  # west of the meridian the zenith lies to the east


def test_the_grid_holds_every_chip_and_its_wcs_says_the_same(field):
    frames, _, _ = field(3, 10, 4)
    geometries = [nominal_geometry(frame, (200.0, -30.0)) for frame in frames]
    grid = common_grid(geometries, 0.02, 30.0)
    for geometry in geometries:
        for chip in range(4):
            x, y = grid.to_pixel(*geometry.corners(chip))
            assert x.min() > -1 and y.min() > -1 and x.max() < grid.width and y.max() < grid.height
    header = fits.Header()
    grid.write_wcs(header)
    ra, dec = WCS(header).all_pix2world([10.0, 4000.0], [20.0, 1500.0], 0)
    mine = grid.pixel_to_sky(np.array([10.0, 4000.0]), np.array([20.0, 1500.0]))
    assert np.allclose(mine, (ra, dec), rtol=0, atol=1e-10)
    assert np.allclose(
        grid.to_pixel(*sky_to_plane(ra, dec, grid.tangent)),
        ([10.0, 4000.0], [20.0, 1500.0]),
        rtol=0,
        atol=1e-5,
    )


def test_star_fluxes_are_counted_per_reference_pixel(field):
    frames, _, _ = field(1, 10, 1)
    geometry = nominal_geometry(frames[0])
    grids = [common_grid([geometry], scale) for scale in (0.0197, 0.02)]
    assert [flux_factor(geometry, grid) for grid in grids] == pytest.approx([1.0, 1.0307], abs=1e-4)


def test_the_static_model_departs_by_pixels_from_an_affine_map():
    x, y = np.meshgrid(np.linspace(1, 2048, 20), np.linspace(1, 2048, 20))
    design = np.stack([np.ones(x.size), x.ravel(), y.ravel()], axis=1)
    left = []
    for array in (1, 2, 3, 4):
        xs, _ = GSAOI.field.maps[array - 1].evaluate(x.ravel(), y.ravel())
        left.append(xs - design @ np.linalg.lstsq(design, xs, rcond=None)[0])
    assert 1.0 < np.std(left) / 0.0197 < 4.0


def test_refraction_is_that_of_the_middle_of_all_coadds(field):
    frames, _, _ = field(1, 10, 1)

    def in_coadds(seconds, coadds):
        header = frames[0].header.copy()
        header["DATE-OBS"], header["UT"] = "2017-05-05", "03:00:00.0"
        header["EXPTIME"], header["COADDS"] = seconds, coadds
        return nominal_geometry(frames[0].with_(header=header))

    one, ten = in_coadds(3000.0, 1), in_coadds(300.0, 10)
    assert np.array_equal(one.linear, ten.linear)
    assert not np.array_equal(one.linear, in_coadds(300.0, 1).linear)


def test_low_in_the_sky_a_pixel_sees_more_of_it(field):
    """Refraction lifts the lower edge of a field more: what is 1 arcsec high there was more above the air."""
    frames, _, _ = field(1, 10, 1)
    header = frames[0].header.copy()

    def height_at(hour):
        header["DATE-OBS"], header["UT"] = "2017-05-05", f"{hour:02d}:00:00.0"
        geometry = nominal_geometry(frames[0].with_(header=header.copy()))
        zenith, _ = horizon_angles(*geometry.pointing, datetime(2017, 5, 5, hour), SITE)
        return np.linalg.svd(geometry.linear)[1].max(), np.degrees(zenith)

    seen = sorted((height_at(hour) for hour in range(24)), key=lambda each: each[1])
    (high, near), (low, far) = seen[0], next(each for each in seen if 55.0 < each[1] < 75.0)
    stretch = SITE.refraction * (1 / np.cos(np.radians(far)) ** 2 - 1 / np.cos(np.radians(near)) ** 2)
    assert low - high == pytest.approx(stretch, rel=0.02)


def test_cold_and_dense_air_refracts_more():
    """As its density does, by the law of gases; Ciddor's value is that of 15 C at sea level."""
    assert air(1013.25, 15.0) == pytest.approx(2.736e-4)
    assert air(1013.25, 0.0) / air(1013.25, 15.0) == pytest.approx(288.15 / 273.15)
    assert air(733.0, 15.0) / air(1013.25, 15.0) == pytest.approx(733.0 / 1013.25)


@pytest.mark.parametrize("array", range(4))
def test_the_middle_of_an_array_lies_amid_its_corners(array):
    static = GSAOI.field.maps[array]
    rows, columns = static.shape
    corners = static.evaluate(np.array([1.0, columns, 1, columns]), np.array([1.0, 1, rows, rows]))
    assert np.hypot(*(static.middle - np.mean(corners, axis=1))) < 0.4  # distortion bends it


@pytest.mark.parametrize("angle", [0.0, 137.0])
def test_a_grid_about_another_point_has_the_pixels_of_the_first_to_twenty_microarcseconds(field, angle):
    """Its tangent point lies 40 arcsec away, where meridians have turned by ten arcsec."""
    frames, _, _ = field(2, 10, 1)
    first = common_grid([nominal_geometry(frame) for frame in frames], 0.02, angle)
    header = fits.Header()
    first.write_wcs(header)
    tangent = plane_to_sky(np.array([31.0]), np.array([-25.0]), first.tangent)
    second = same_grid(read_wcs(header), (first.height, first.width), (tangent[0][0], tangent[1][0]))
    assert (second.width, second.height) == (first.width, first.height)
    x, y = np.array([0.0, 4000.0, 2000.0, 0.0]), np.array([0.0, 100.0, 2500.0, 4000.0])
    (ra, dec), (ra2, dec2) = first.pixel_to_sky(x, y), second.pixel_to_sky(x, y)
    assert np.abs((ra2 - ra) * np.cos(np.radians(dec))).max() * 3.6e9 < 20
    assert np.abs(dec2 - dec).max() * 3.6e9 < 20


def test_a_mirrored_image_is_no_grid(field):
    header = fits.Header()
    common_grid([nominal_geometry(field(1, 10, 1)[0][0])], 0.02).write_wcs(header)
    header["CD1_1"] *= -1
    with pytest.raises(ValueError, match="east"):
        same_grid(read_wcs(header), (100, 100), (200.0, -30.0))


def test_regions_have_the_size_of_their_part_of_the_array() -> None:
    """A window begins at row 512 of its array, not at its first."""
    cards = {"NAXIS": 2, "NAXIS1": 1024, "NAXIS2": 800, "EXTVER": 2, "CCDSEC": "[257:1280,513:1312]"}
    chip = fits.Header(cards)
    primary = fits.Header({"INSTRUME": "GSAOI"})
    (found,) = frame_regions(FrameRef(Path("a.fits"), primary, (chip,)))
    assert (found.array, found.x, found.y, found.width, found.height) == (2, 256, 512, 1024, 800)
