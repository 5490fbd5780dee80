"""Numbers of a stack are right for images of known noise, width and depth, and judged as they should be."""

import dataclasses
import json
import zlib
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from small_workspace import SIZE, stack_in_memory, stack_pixels, wcs_header, write_stack

from goafetch.report.draw import centre_and_spread
from goafetch.report.stack_file import block_means_without_nan, read_stack, shrink
from goafetch.report.tiles import SIDE, choose_code, cut_tiles, encode_tile, find_beginning, tell_facts
from goafetch.report.verdicts import BAD, GOOD, LOOK, UNKNOWN, judge_stack, measure, tell_made
from reducer.headers.descriptors import describe
from reducer.photometry.zeropoint import nominal_zeropoint

KINDS = [("FWHM_IMAGE", "f8"), ("FLAGS", "i4"), ("FLUX_APER", "f8", (4,)), ("FLUXERR_APER", "f8", (4,)),
         ("ERR_POS", "f8")]  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    return read_stack(write_stack(tmp_path_factory.mktemp("stack") / "S20170505S0095_image.fits"))


def flat_stack(noise, variance, stars=40, width=4.5):
    """A stack of pure noise, and a catalogue of equal stars."""
    rng = np.random.default_rng(5)
    shape = (400, 400)
    table = np.zeros(stars, KINDS)
    table["FWHM_IMAGE"], table["FLUX_APER"], table["FLUXERR_APER"], table["ERR_POS"] = width, 1e4, 10, 5e-4
    return stack_in_memory(
        rng.normal(0, noise, shape).astype(np.float32),
        np.full(shape, variance, np.float32),
        np.zeros(shape, np.uint16),
        path=Path("S1_image.fits"),
        header=fits.Header({"TEXPTIME": 540.0, "NCOMBINE": 9, "SKYSIGMA": 12.0}),
        science=wcs_header(),
        seconds=np.full((200, 200), 540, np.float32),
        tables={"OBJCAT": table},
    )


def test_width_depth_and_noise_of_a_known_image():
    quality = measure(flat_stack(noise=10, variance=100))
    assert quality.fwhm == pytest.approx(4.5 * 0.02)
    assert quality.noise_ratio == pytest.approx(1, abs=0.02)
    # Five times ten electrons, over the root of an aperture's area, times the correlation of 1.4.
    assert quality.depth == pytest.approx(5 * 10 * np.sqrt(np.pi) * 4.5 * 1.4)
    assert quality.position_error == pytest.approx(0.5)
    assert (quality.seconds, quality.exposures, quality.covered, quality.even) == (540, 9, 1, 1)


def test_a_zeropoint_turns_depth_into_magnitudes():
    stack = flat_stack(noise=10, variance=100)
    stack.header.update({"PHOTZP": 25.0, "PHOTZPER": 0.02, "EXPTIME": 60.0})
    quality = measure(stack)
    assert quality.limit(60.0) == pytest.approx(25.0)  # one electron per second
    at_middle = quality.faintest(np.float32([10.0, 100.0]))
    assert at_middle == pytest.approx([quality.limit(quality.depth), quality.limit(quality.depth) - 2.5])
    found = lights(stack)
    assert found["Depth (5 sigma)"].value.endswith("mag")
    assert found["Zeropoint"].value == "25.000 ± 0.020 mag" and found["Zeropoint"].light == GOOD


def test_noise_is_told_from_stars_and_gradients(stack):
    assert measure(stack).noise_ratio == pytest.approx(1, abs=0.06)


def lights(stack, **more):
    told = {"corrected": True, "warnings": 0, "about": 0, "left_out": 0} | more
    return {verdict.name: verdict for verdict in judge_stack(measure(stack), **told)}


def test_a_good_stack_has_green_lights():
    found = lights(flat_stack(noise=10, variance=100))
    assert {found[name].light for name in ("Exposure", "Sharpness", "Noise", "Positions", "Warnings")} == {
        GOOD
    }


@pytest.mark.parametrize(("noise", "light"), [(10, GOOD), (13, LOOK), (30, BAD), (3, BAD)])
def test_noise_that_variance_does_not_explain_is_seen(noise, light):
    assert lights(flat_stack(noise=noise, variance=100))["Noise"].light == light


def test_stripes_of_rows_show_in_the_noise():
    stack = flat_stack(noise=10, variance=100)
    rows = np.random.default_rng(6).normal(0, 8, (len(stack.thin.data), 1)).astype(np.float32)
    striped = dataclasses.replace(stack.thin, data=stack.thin.data + rows)
    assert measure(dataclasses.replace(stack, thin=striped)).noise_ratio == pytest.approx(1.28, abs=0.06)


@pytest.mark.parametrize(("sigma", "light"), [(3.0, GOOD), (20.0, GOOD), (20.5, LOOK), (95.0, LOOK)])
def test_a_sky_that_is_not_sure_to_twenty_electrons_is_not_good(sigma, light):
    stack = flat_stack(noise=10, variance=100)
    stack.header["SKYSIGMA"] = sigma
    assert lights(stack)["Sky"].light == light


def test_a_flat_that_lost_an_array_is_not_good():
    stack = flat_stack(noise=10, variance=100)
    stack.header["FLATLOST"] = "1, 3"
    verdict = lights(stack)["Exposure"]
    assert verdict.light == LOOK and "array 1, 3" in verdict.remedy


@pytest.mark.parametrize(("warnings", "light"), [(1, LOOK), (0, GOOD)])
def test_a_picture_of_which_little_has_data_is_not_good_where_something_was_lost(warnings, light):
    """Where only windows of the arrays were read nothing is lost, and no step warns."""
    quality = dataclasses.replace(measure(flat_stack(noise=10, variance=100)), covered=0.05)
    found = {v.name: v for v in judge_stack(quality, corrected=True, warnings=warnings, about=0, left_out=0)}
    assert found["Exposure"].light == light


@pytest.mark.parametrize(("width", "light"), [(4.5, GOOD), (9, LOOK), (30, BAD)])
def test_wide_images_are_seen_where_optics_should_have_corrected_them(width, light):
    stack = flat_stack(noise=10, variance=100, width=width)
    assert lights(stack)["Sharpness"].light == light
    assert lights(stack, corrected=False)["Sharpness"].light == GOOD


@pytest.mark.parametrize(
    ("matches", "residual", "light"),
    [(40, 5e-4, GOOD), (40, 8e-3, LOOK), (40, 12e-3, BAD), (1, 0, UNKNOWN), (0, np.nan, LOOK)],
)
def test_alignment_is_judged_by_stars_that_can_disagree(matches, residual, light):
    stack = flat_stack(noise=10, variance=100)
    inputs = np.array([(matches, residual)] * 2, [("matches", "i4"), ("rms", "f8")])
    told = dataclasses.replace(stack, tables={**stack.tables, "EXPOSURES": inputs})
    assert lights(told)["Alignment"].light == light


def test_one_exposure_that_does_not_fit_is_not_hidden_by_the_median():
    stack = flat_stack(noise=10, variance=100)
    inputs = np.array([(40, 5e-4)] * 4 + [(40, 0.03)], [("matches", "i4"), ("rms", "f8")])
    told = lights(dataclasses.replace(stack, tables={**stack.tables, "EXPOSURES": inputs}))["Alignment"]
    assert told.light == LOOK and "Worst exposure 30.0 mas" in told.sentence


@pytest.mark.parametrize(
    ("stars", "rms", "error", "light"),
    [
        (40, 0.0012, 0.0005, GOOD),
        (40, 0.009, 0.0005, LOOK),
        (40, 0.030, 0.0005, BAD),  # Gaia, and residuals of a pixel and a half
        (40, 0.080, 0.070, GOOD),  # 2MASS cannot do better
        (2, 0.0, 0.0005, LOOK),  # two stars fit always
    ],
)
def test_coordinates_are_good_only_where_a_catalogue_s_errors_explain_the_residuals(stars, rms, error, light):
    free = flat_stack(noise=10, variance=100)
    assert lights(free)["Coordinates"].light == LOOK
    facts = fits.Header({"ASTRCAT": "Gaia DR3", "ASTRNUM": stars, "ASTRRMS": rms, "ASTRERR": error})
    tied = lights(dataclasses.replace(free, header=facts))["Coordinates"]
    assert tied.light == light and f"{stars} stars, {rms * 1e3:.1f} mas" in tied.sentence


@pytest.mark.parametrize(
    ("cards", "light"),
    [
        ({"PHOTZPER": 0.02, "PHOTTRAN": 0.98, "PHOTE_EX": 0.01}, GOOD),
        ({"PHOTZPER": 0.02, "PHOTTRAN": "unknown"}, GOOD),  # from stars of the field itself
        ({"PHOTZPER": 0.02, "PHOTTRAN": "unknown", "PHOTE_EX": 0.01}, LOOK),
        ({"PHOTZPER": 0.2}, LOOK),
        ({}, LOOK),
        ({"PHOTZPER": 0.02, "PHOTZP0": 24.5}, BAD),
    ],
)
def test_a_zeropoint_is_good_only_with_a_small_error_a_known_sky_and_a_possible_value(cards, light):
    stack = flat_stack(noise=10, variance=100)
    stack.header.update({"INSTRUME": "GSAOI", "FILTER1": "Kshort_G1105", "FILTER2": "Clear"})
    usual = nominal_zeropoint(describe(stack.header, ()))
    stack.header.update({"PHOTZP": usual, "PHOTZP0": usual} | cards)
    assert lights(stack)["Zeropoint"].light == light


def test_what_cannot_be_known_is_not_green():
    bare = dataclasses.replace(
        flat_stack(noise=10, variance=100),
        tables={},
        header=fits.Header(),
        science=fits.Header(),
        seconds=None,
    )
    found = lights(bare)
    assert {found[name].light for name in ("Exposure", "Sharpness", "Depth", "Positions")} == {UNKNOWN}


def test_everything_that_is_not_green_says_what_to_do():
    stack = flat_stack(noise=30, variance=100, width=30)
    for verdict in lights(stack, warnings=3, about=1, left_out=2).values():
        assert bool(verdict.remedy) == (verdict.light != GOOD), verdict


def unpack(text, shape):
    """What the page's script does to a tile."""
    planes = np.frombuffer(zlib.decompress(b64decode(text)), np.uint8).astype(int).reshape(2, *shape)
    folded = planes[0] | planes[1] << 8
    return np.cumsum(folded >> 1 ^ -(folded & 1), axis=1) & 0xFFFF


def test_tiles_hold_every_code():
    codes = np.random.default_rng(2).integers(0, 65536, (70, 130)).astype(np.uint16)
    np.testing.assert_array_equal(unpack(encode_tile(codes), codes.shape), codes)


def test_codes_are_finer_than_the_noise_and_never_confuse_no_data():
    data, variance, mask, *_ = stack_pixels()
    data[5, 5] = np.nan
    stack = stack_in_memory(
        data, variance, mask, path=Path("S1_image.fits"), header=fits.Header(), science=wcs_header(),
        seconds=None, tables={},
    )  # fmt: skip
    code = choose_code(stack)
    back = code.value(code.encode(data))
    assert np.isnan(back[5, 5]) and np.isfinite(back).sum() == data.size - 1
    error = np.abs(back - data) / np.hypot(10.0, 0.02 * data)
    assert np.nanmax(error) < 0.26
    told = json.loads(tell_facts(stack, code))
    assert told["code"]["most"] == code.encode(data).max()


def test_the_pyramid_covers_the_picture_at_every_zoom(stack):
    code = choose_code(stack)
    tiles = cut_tiles(stack, code)
    assert set(tiles) == {
        f"{kind}{tile}" for kind in "dm" for tile in ("0-0-0", "0-1-0", "0-0-1", "0-1-1", "1-0-0")
    }
    assert json.loads(tell_facts(stack, code))["levels"] == [
        {"width": SIZE, "height": SIZE},
        {"width": SIZE // 2, "height": SIZE // 2},
    ]
    whole = unpack(tiles["d1-0-0"], (SIZE // 2, SIZE // 2))
    corner = unpack(tiles["d0-0-0"], (SIDE, SIDE))
    mean = code.value(corner[:2, :2]).mean()
    assert code.value(whole[:1, :1])[0, 0] == pytest.approx(mean, abs=3)


@pytest.mark.parametrize("shape", [(1500, 1201), (1024, 700), (513, 512)])
def test_a_stack_read_by_bands_is_the_stack(shape):
    rng = np.random.default_rng(3)
    data, mask = rng.normal(0, 10, shape).astype(np.float32), rng.integers(0, 64, shape).astype(np.uint16)
    data[: shape[0] // 3, 5] = np.nan
    stack = stack_in_memory(
        data, np.abs(data), mask, path=Path("S1_image.fits"), header=fits.Header(), science=wcs_header(),
        seconds=None, tables={},
    )  # fmt: skip
    np.testing.assert_array_equal(stack.thin.data, data[::2, ::2])
    np.testing.assert_array_equal(stack.thin.mask, mask[::2, ::2])
    np.testing.assert_array_equal(stack.half, block_means_without_nan(data, 2))
    assert stack.ends == (np.nanmin(data), np.nanmax(data))
    code, sides = choose_code(stack), [-(-side // SIDE) for side in shape]
    tiles = cut_tiles(stack, code)
    assert sum(name.startswith("d0-") for name in tiles) == sides[0] * sides[1]
    top = f"d0-{sides[1] - 1}-{sides[0] - 1}"
    corner = data[SIDE * (sides[0] - 1) :, SIDE * (sides[1] - 1) :]
    np.testing.assert_array_equal(unpack(tiles[top], corner.shape), code.encode(corner))


def test_shrinking_keeps_means_and_gaps():
    image = np.arange(100, dtype=np.float32).reshape(10, 10)
    image[:4, :4] = np.nan
    small, factor = shrink(image, 5)
    assert factor == 2 and np.isnan(small[:2, :2]).all()
    assert small[4, 4] == pytest.approx(image[8:, 8:].mean())


def test_the_sky_is_found_below_a_galaxy():
    data, *_ = stack_pixels()
    middle, spread = centre_and_spread(data[:300, :300])
    assert abs(middle) < 10 and 8 < spread < 16


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"NCOMBINE": 9, "EXPTIME": 60.0, "COADDS": 1, "TEXPTIME": 540.0}, "9 × 60 s"),
        ({"NCOMBINE": 5, "EXPTIME": 30.0, "COADDS": 2, "TEXPTIME": 300.0}, "5 × 2 coadds of 30 s = 300 s"),
        ({"NCOMBINE": 3, "EXPTIME": 60.0, "COADDS": 1, "TEXPTIME": 540.0}, "3 exposures, 540 s in all"),
    ],
)
def test_a_stack_tells_all_its_time_with_coadds(cards, words):
    """The page said 5 x 30 s beside 300 s."""
    stack = flat_stack(noise=10, variance=100)
    stack.header.update(cards)
    assert tell_made(stack)[0] == words


def test_a_stack_of_two_of_five_exposures_is_not_good_and_its_own_warnings_are_counted():
    stack = flat_stack(noise=10, variance=100)
    stack.header["NCOMBINE"] = 2
    found = lights(stack, warnings=3, about=1, left_out=3)
    assert found["Exposure"].light == LOOK and "2 of 5 exposures" in found["Exposure"].value
    assert found["Warnings"].sentence == "3 warnings, 1 of them about this stack."


def test_a_sparse_stack_opens_on_its_largest_part():
    known = np.zeros((400, 600), bool)
    known[40:120, 400:520] = True
    known[300:340, 40:80] = True
    assert find_beginning(known) == [2 * 460, 2 * 80, 2 * 120, 2 * 80]
    known[:200] = True
    assert find_beginning(known) is None
