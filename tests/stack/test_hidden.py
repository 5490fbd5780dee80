"""Stars beside brighter ones are in the catalogue, others are not, and what it takes to be found is said."""

import numpy as np
import pytest
from scipy.signal import fftconvolve
from scipy.spatial import cKDTree
from true_night import make_night

from reducer import dq
from reducer.photometry.completeness import completeness_table, write_completeness
from reducer.photometry.hidden import SPARSE, add_hidden
from reducer.photometry.objects import Correction
from reducer.sources.detection import BLENDED, detect_sources

SIZE, FWHM, CORE, NOISE = 700, 4.0, 0.5, 20.0
#: Electrons of a star whose core has a signal to noise of 1.
ONE_SIGMA = NOISE * np.sqrt(4 * np.pi * (FWHM / 2.3548) ** 2) / CORE


def image_of(stars, seed=1, size=SIZE):
    """Stars (x, y, electrons) with a core on a halo seven times as wide: image, variance, empty mask."""
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size))
    rows, columns = np.mgrid[:size, :size]
    halos = image.copy()
    alpha = FWHM / 2 / np.sqrt(2**0.25 - 1)
    for x0, y0, flux in stars:
        column, row = round(x0), round(y0)
        part = np.s_[max(row - 120, 0) : row + 121, max(column - 120, 0) : column + 121]
        gy, gx = (axis[part] for axis in (rows, columns))
        radius = ((gx - x0) ** 2 + (gy - y0) ** 2) / alpha**2
        image[part] += flux * CORE * 3 / np.pi / alpha**2 * (1 + radius) ** -4.0
        halos[row, column] += flux * (1 - CORE)
    y, x = np.mgrid[-250:251, -250:251]
    halo = 2 / np.pi / 27.0**2 * (1 + (x * x + y * y) / 27.0**2) ** -3.0
    image += fftconvolve(halos, halo, mode="same")
    variance = image / 5 + NOISE**2
    data = image + rng.normal(0, np.sqrt(variance))
    return data.astype(np.float32), variance.astype(np.float32), np.zeros(data.shape, np.uint16)


def find(image):
    """The sources of an image, and the light that a star needs to be found."""
    first = detect_sources(*(plane.copy() for plane in image))
    return add_hidden(first, *image)


def distances(found, places):
    return cKDTree(np.c_[found["x"], found["y"]]).query(places)[0]


def test_a_star_in_the_halo_of_a_bright_one_is_in_the_catalogue():
    """One of 19.5 mag and signal to noise 76, 0.7 arcsec from one of 14.3 mag, was missing."""
    stars = [(300.0, 300.0, 120.0 * 76 * ONE_SIGMA), (321.0, 328.0, 76 * ONE_SIGMA)]
    found, _ = find(image_of(stars))
    near = np.hypot(found["x"] - 321.0, found["y"] - 328.0)
    assert near.min() < 0.3
    faint = found[np.argmin(near)]
    # Its own light, not that of the halo beneath, which is as much; some of its own halo is in the aperture.
    assert faint["flux"][0] == pytest.approx((CORE + 0.04) * stars[1][2], rel=0.2)
    assert not faint["flags"] & BLENDED
    assert np.hypot(found["x"] - 300.0, found["y"] - 300.0).min() < 0.05


@pytest.fixture(scope="module")
def crowd():
    rng = np.random.default_rng(5)
    count = 500
    flux = 3 * ONE_SIGMA * (1 - rng.random(count)) ** (-1 / 0.9)
    return np.c_[rng.uniform(10, SIZE - 10, (count, 2)), np.minimum(flux, 3e6)]


def test_stars_of_a_crowd_are_found_and_nothing_else(crowd):
    """Of stars beyond 20 sigma, over 2 FWHM from a brighter one, 99 % are there; 74 to 91 % were."""
    image = image_of(crowd)
    found, _ = find(image)
    signal = CORE * crowd[:, 2] / np.sqrt(image[1][tuple(crowd[:, 1::-1].round().astype(int).T)])
    signal /= np.sqrt(4 * np.pi * (FWHM / 2.3548) ** 2)
    brighter = [
        min((np.hypot(*(other[:2] - star[:2])) for other in crowd if other[2] > star[2]), default=np.inf)
        for star in crowd
    ]
    wanted = (signal > 20) & (np.array(brighter) > 2 * FWHM)
    assert wanted.sum() > 60
    assert (distances(found, crowd[wanted, :2]) < 2.0).mean() >= 0.99
    astray = cKDTree(crowd[:, :2]).query(np.c_[found["x"], found["y"]])[0] > 3.0
    assert astray.sum() <= 2


def test_what_a_neighbour_disturbs_is_flagged(crowd):
    found, _ = find(image_of(crowd))
    for one, other in cKDTree(np.c_[found["x"], found["y"]]).query_pairs(1.9 * FWHM):
        faint, bright = sorted((found[one], found[other]), key=lambda star: star["flux"][0])
        assert faint["flags"] & BLENDED, bright


def test_an_empty_image_gains_nothing():
    for seed in range(3):
        assert len(find(image_of([], seed))[0]) == 0


def test_bad_pixels_make_no_stars():
    rng = np.random.default_rng(2)
    data, variance, mask = image_of([(200.0, 200.0, 3e6)])
    mask[rng.random(mask.shape) < 0.02] = dq.BAD
    mask[195:206, 195:206] = dq.SATURATED
    data[(mask & dq.BAD) != 0] = 1e5
    data[195:206, 195:206] = 3e4
    found, _ = find((data, variance, mask))
    assert (np.hypot(found["x"] - 200, found["y"] - 200) < 12).all()


def test_completeness_is_what_stars_put_in_have(crowd):
    """A depth of 23.2 mag was claimed where a crowd hid stars of 20 mag."""
    _, limits = find(image_of(crowd))
    plain = Correction(0, np.zeros(1), np.zeros((1, 1)), np.zeros(2), 1.0, 0.0, 9)
    table = completeness_table(limits, plain)
    assert (np.diff(table["FRACTION"]) >= 0).all() and table["FRACTION"][-1] > 0.95
    assert len(limits) > 0.9 * (SIZE / SPARSE) ** 2
    rng = np.random.default_rng(8)
    for times in (8.0, 40.0):
        put = np.c_[rng.uniform(20, SIZE - 20, (60, 2)), np.full(60, times * ONE_SIGMA)]
        found, _ = find(image_of(np.concatenate([crowd, put])))
        light = found["flux"][:, 0]
        seen = np.array([
            (light[np.hypot(found["x"] - x, found["y"] - y) < 1.5] < 2 * flux).any() for x, y, flux in put
        ])  # fmt: skip
        light = np.log(CORE * 0.98 * times * ONE_SIGMA)
        stated = np.interp(light, np.log(table["FLUX"]), table["FRACTION"])
        assert abs(seen.mean() - stated) < 0.15, times
    header = {}
    write_completeness(header, table)
    assert header["COMPL90"] > header["COMPL50"] > 0


@pytest.mark.prove
@pytest.mark.parametrize("scenery", ["galaxy", "crowded"])
def test_stars_of_a_simulated_night_are_in_the_catalogue(tmp_path, scenery):
    from astropy.io import fits
    from astropy.wcs import WCS

    night = make_night(tmp_path, "science", "sky", seed=31, size=512, scenery=scenery)
    frames, _ = night.reduce("science", "sky")
    path = night.stack(frames).path
    sky = night.catalogue("S20170505S0095")
    exposed = night.exposures["S20170505S0095"]
    with fits.open(path) as file:
        x, y = WCS(file["SCI"].header).all_world2pix(sky["ra"], sky["dec"], 0)
        objects, variance, mask = file["OBJCAT"].data, file["VAR"].data, file["DQ"].data
        assert file["SCI"].header["COMPL90"] > 0
    light = sky["flux_Kshort"] * exposed["transmission"] * exposed["exptime"]
    height, width = mask.shape
    on = (x > 20) & (y > 20) & (x < width - 20) & (y < height - 20)
    x, y, light = x[on], y[on], light[on]
    places = np.c_[objects["X_IMAGE"], objects["Y_IMAGE"]] - 1
    # Without a catalogue the stack lies where the telescope pointed.
    bright = np.argsort(-light)[:150]
    gaps = np.concatenate([places[np.hypot(*(places - (x[k], y[k])).T) < 40] - (x[k], y[k]) for k in bright])
    votes = cKDTree(gaps).query_ball_point(gaps, 2.0)
    true = np.c_[x, y] + np.median(gaps[max(votes, key=len)], axis=0)
    i, j = true.round().astype(int).T
    clean = np.array([(mask[b - 4 : b + 5, a - 4 : a + 5] == 0).all() for a, b in zip(i, j, strict=True)])
    signal = np.zeros(len(light))
    signal[clean] = 0.45 * light[clean] / np.sqrt(variance[j[clean], i[clean]] * 4 * np.pi * 1.6**2) / 1.2
    order = cKDTree(true).query_ball_point(true, 9.0)
    alone = np.array([all(light[k] <= light[n] for k in index) for n, index in enumerate(order)])
    wanted = clean & alone & (signal > 20)
    found = cKDTree(places).query(true[wanted])[0] < 3.0
    print(f"{scenery}: {found.mean():.4f} of {wanted.sum()}")
    assert found.mean() > (0.99 if scenery == "galaxy" else 0.985)
