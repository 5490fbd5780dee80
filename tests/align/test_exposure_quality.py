"""What the table of exposures says of their stars, and which exposures are left out for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from told import Told

from goafetch.events import listener
from reducer.align.global_fit import align_exposures
from reducer.align.wcs import nominal_geometry
from reducer.errors import BadParameter
from reducer.frame import Chip, Context, FrameRef
from reducer.instruments import KNOWN
from reducer.photometry.catalogue import half_width
from reducer.sources import detect_sources
from reducer.stack.exposures import (
    Exposure,
    StarImage,
    _strehl_of,
    measure_images,
    peak_of_perfect_image,
    sharpness,
)
from reducer.stack.noise import Sampling
from reducer.stack.quality import EXPOSURE, exposure_table, outliers
from reducer.steps.stacking import keep_sharp


@pytest.mark.parametrize("fwhm", [3.2, 5.0, 36.0])
@pytest.mark.parametrize("power", [2.5, 4.0])
def test_the_width_is_that_at_half_of_the_peak(fwhm, power):
    half = int(1.5 * fwhm) + 3
    gy, gx = np.mgrid[-half : half + 1, -half : half + 1]
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / power) - 1))
    image = 5000 * (1 + ((gx - 0.3) ** 2 + (gy + 0.2) ** 2) / alpha**2) ** -power
    width, peak = half_width(image, np.zeros(image.shape, bool), half + 0.3, half - 0.2, 1.1 * fwhm)
    assert width == pytest.approx(fwhm, rel=0.01)
    assert peak == pytest.approx(5000, rel=0.01)


def test_a_perfect_image_holds_nine_hundredths_of_a_star_in_a_pixel_at_2_micron():
    """An open pupil's peak brightness is its area over the wavelength squared; pixels and hole lower it."""
    pixel = 0.0197 * np.pi / 180 / 3600
    opened = np.pi / 4 * (7.9 * pixel / 2.15e-6) ** 2
    assert 0.9 * opened < peak_of_perfect_image(2.15e-6, 7.9, 1.2, 0.0197) < 0.97 * opened


def test_exposures_that_stand_out_are_told():
    table = np.zeros(5, EXPOSURE)
    table["fwhm"], table["ellipticity"], table["transparency"] = 0.08, 0.03, 1.0
    table["matches"], table["rms"] = 400, 5e-4
    table["fwhm"][1], table["transparency"][2], table["rms"][3] = 0.14, 0.5, 4e-3
    table["matches"][3] = 20
    assert outliers(table) == ["", "fwhm", "transparency", "matches,rms", ""]
    assert outliers(table[:2]) == ["", ""]


def test_an_exposure_through_cloud_has_less_transparency(field):
    """It is scaled up by what is missing, and the table says what there was."""
    frames, _, _ = field(3, 10, 1)
    scales = (1.0, 1.25, 2.0)
    exposures = [
        Exposure(
            frame=frame.with_(scale=scale, geometry=nominal_geometry(frame)),
            arrays=(1, 2, 3, 4),
            inverses=(),
            levels=(),
            factor=scale,
            weights=np.ones(5),
            variance=1.0,
            seconds=60.0,
            width=4.0,
            image=StarImage(4.0, 0.0, 0.3),
            samplings=(Sampling(1.0), Sampling(1.0)),
            excess=1.0,
        )
        for frame, scale in zip(frames, scales, strict=True)
    ]
    assert exposure_table(exposures)["transparency"] == pytest.approx([1.0, 0.8, 0.5])


def frames_of(count):
    return [FrameRef(Path(f"S{k}.fits"), {}, (), scale=1.0 + 0.1 * k) for k in range(count)]


def test_wide_exposures_are_left_out_by_name_if_that_is_asked():
    images = [StarImage(width, 0.0, 0.2) for width in (9.0, 4.0, 4.2, np.nan)]
    told = []
    context = Context(Path(), notify=lambda event, **f: told.append(f))
    kept, left = keep_sharp(frames_of(4), images, 1.5, context)
    assert [frame.path.name for frame in kept] == ["S1.fits", "S2.fits", "S3.fits"]
    assert [fact["name"] for fact in told] == ["S0.fits"]
    assert kept[0].scale == 1.0 and kept[1].scale == pytest.approx(1.2 / 1.1)
    assert len(left) == 3


def test_all_exposures_are_kept_unless_asked_and_none_left_is_an_error():
    images = [StarImage(width, 0.0, 0.2) for width in (9.0, 4.0)]
    assert len(keep_sharp(frames_of(2), images, None, Context(Path()))[0]) == 2
    with pytest.raises(BadParameter, match="leaves no exposure"):
        keep_sharp(frames_of(2), images, 0.1, Context(Path()))


def test_residuals_are_those_of_stars_not_of_a_fit_to_them(field):
    """Centres are 0.02 pixels uncertain: residuals say so with few stars as with many."""
    for stars in (60, 700):
        frames, _, _ = field(5, stars, 12)
        told = Told()
        found = [g.rms for g in align_exposures(frames, listener(told)).geometries]
        assert np.median(found) == pytest.approx(0.02 * 0.0197, rel=0.35)
        said = [event.fields["rms"] for event in told if event.fact == "aligned"]
        assert said == pytest.approx([1e3 * rms for rms in found])


def test_faint_stars_amid_other_light_do_not_set_the_strehl_ratio():
    strehls = np.array([0.194, 0.177, 0.186, -0.296, 0.149, -0.064, -0.377, -0.481, 0.043])
    light = np.array([3.4e6, 3.4e5, 2.4e6, -5e4, 1.7e6, -3e5, -2e5, -1e5, 9.3e5])
    assert _strehl_of(strehls, light) == pytest.approx(0.186)
    assert np.isnan(_strehl_of(strehls[:2], light[:2]))


def test_an_exposure_whose_loop_opened_weighs_by_the_light_of_its_cores(field):
    """They are as narrow as the others', and hold six tenths of the light."""
    geometry = nominal_geometry(field(1, 10, 1)[0][0])
    images = [StarImage(4.0, 0.0, 0.3, core) for core in (0.50, 0.51, 0.30, np.nan, 0.50)]
    images.append(StarImage(5.0, 0.0, 0.3, 0.45))
    peaks = sharpness(images, [geometry] * 6)
    assert peaks == pytest.approx([1.0, 1.0, 0.6, 1.0, 1.0, 0.64])
    seeing = [replace(image, width=30.0) for image in images]
    assert sharpness(seeing, [geometry] * 6) == pytest.approx(1.0)


class OneChip:
    """The files of an exposure whose one array is in memory."""

    def __init__(self, chip):
        self.chip = chip

    def read_chip(self, frame, index, rows, *, variance):
        return replace(self.chip, data=self.chip.data[rows], mask=self.chip.mask[rows])


def test_the_strehl_ratio_is_that_of_drawn_stars_whatever_stands_beside_some():
    """Gaussian stars of 4 pixels FWHM, two thirds of them with a companion of like light in their rings."""
    size, sigma, rng = 1800, 4 / 2.3548, np.random.default_rng(3)
    x, y = (axis.ravel() + 0.25 for axis in np.meshgrid(*[np.arange(150, size, 300)] * 2))
    light = np.full(len(x), 3e5)
    close = np.arange(len(x)) % 3 > 0
    x, y, light = np.append(x, x[close] + 60), np.append(y, y[close]), np.append(light, 0.7 * light[close])
    scene = np.zeros((size, size))
    for column, row, flux in zip(x, y, light, strict=True):
        part = np.s_[int(row) - 30 : int(row) + 31, int(column) - 30 : int(column) + 31]
        j, i = np.mgrid[part]
        scene[part] += (
            flux / (2 * np.pi * sigma**2) * np.exp(-((i - column) ** 2 + (j - row) ** 2) / 2 / sigma**2)
        )
    data = (scene + rng.normal(0, 20, scene.shape)).astype(np.float32)
    variance, mask = (scene + 400).astype(np.float32), np.zeros(scene.shape, np.uint16)
    chip = Chip(data, variance, mask, {"NAXIS1": size, "NAXIS2": size, "EXTVER": 1})
    primary = {"FILTER1": "Kshort_G1106", "FILTER2": "Clear", "INSTRUME": "GSAOI"}
    sources = detect_sources(data.copy(), variance.copy(), mask.copy(), KNOWN["GSAOI"].widths)
    frame = FrameRef(Path("S1.fits"), primary, (chip.header,), sources=(sources,))
    (image,) = measure_images([frame], Context(Path(), files=OneChip(chip)))
    perfect = peak_of_perfect_image(2.15e-6, *KNOWN["GSAOI"].pupil, KNOWN["GSAOI"].field.reference_scale)
    assert image.strehl == pytest.approx(1 / (2 * np.pi * sigma**2) / perfect, rel=0.03)
    assert image.width == pytest.approx(4.0, rel=0.02)
    assert image.ellipticity < 0.02
