"""Stars beside brighter ones are in the catalogue, others are not, and what it takes to be found is said."""

import numpy as np
import pytest
from raw_exposure import WIDTHS
from scipy.signal import fftconvolve
from scipy.spatial import cKDTree
from true_night import make_night

from reducer import dq
from reducer.photometry.catalogue import ApertureCorrection, over_near_sky
from reducer.photometry.hidden import (
    NEED,
    SPARSE,
    SQUARE,
    Pattern,
    _level,
    add_hidden,
    completeness_table,
    write_completeness,
)
from reducer.sources import BLENDED, SOURCE, detect_sources

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
    first = detect_sources(*(plane.copy() for plane in image), WIDTHS)
    return add_hidden(first, *image, WIDTHS)


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


def test_faint_lonely_stars_of_a_crowd_have_their_light(crowd):
    """Of 20 to 21 mag they had 5 to 10 % too little: the mesh holds light of the crowd, their gaps do not."""
    lonely = [np.array([-99.0, -99.0])]
    for place in np.stack(np.meshgrid(*[np.arange(40.0, SIZE - 40, 8.0)] * 2), -1).reshape(-1, 2):
        near, beside = (np.hypot(*(others - place).T).min() for others in (crowd[:, :2], np.array(lonely)))
        if near > 22.0 and beside > 60.0:
            lonely.append(place)
    put_in = np.c_[lonely[1:], np.full(len(lonely) - 1, 18 * ONE_SIGMA)]
    bright = crowd[crowd[:, 2] > 300 * ONE_SIGMA]
    parts = {"mesh": [], "ring": []}
    for seed in range(2):
        data, variance, mask = image_of(np.concatenate([crowd, put_in]), seed)
        mesh = detect_sources(data.copy(), variance.copy(), mask.copy(), WIDTHS)
        for name, found in (("mesh", mesh), ("ring", over_near_sky(mesh, data, mask, WIDTHS))):
            parts[name].append([median_part(found, stars) for stars in (put_in, bright)])
    (mesh, whole), (ring, whole_ring) = (np.mean(part, axis=0) for part in parts.values())
    assert mesh < 0.87 * whole
    assert ring > 0.92 * whole_ring


def median_part(found, stars):
    """The median part of their light that stars (x, y, electrons) have in the first aperture."""
    gap, index = cKDTree(np.c_[found["x"], found["y"]]).query(stars[:, :2])
    return np.median(found["flux"][index[gap < 2.0], 0] / stars[gap < 2.0, 2])


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
    sources, needed = find(image_of(crowd))
    plain = ApertureCorrection(0, np.zeros(1), np.zeros((1, 1)), np.zeros(2), 1.0, 0.0, 9)
    table = completeness_table(needed, sources, plain)
    assert (np.diff(table["FRACTION"]) >= 0).all() and table["FRACTION"][-1] > 0.95
    assert len(needed) > 0.9 * (SIZE / SPARSE) ** 2
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


def at_places(light, size=1000.0, step=20.0):
    """What stars need at places of an image, by a function of the pixel."""
    x, y = (axis.ravel() for axis in np.meshgrid(*2 * [np.arange(5.0, size, step)]))
    needed = np.zeros(len(x), NEED)
    needed["x"], needed["y"], needed["light"] = x, y, light(x, y)
    return needed


def test_completeness_is_that_of_stars_where_they_are():
    """Of stars of 21.5 mag 93 % were said to be found, by all places: where most of them are 86 % were."""
    rng = np.random.default_rng(3)
    needed = at_places(lambda x, y: np.where((x > 740) & (y > 740), 400.0, 100.0))
    sources = np.zeros(2000, SOURCE)
    # Half of the stars are in the corner where they need more light.
    sources["x"], sources["y"] = rng.uniform(0, 1000, (2, 2000))
    sources["x"][::2], sources["y"][::2] = rng.uniform(740, 1000, (2, 1000))
    sources["flux"][:, 0] = 1000.0
    plain = ApertureCorrection(0, np.zeros(1), np.zeros((1, 1)), np.zeros(2), 1.0, 0.0, 9)
    table = completeness_table(needed, sources, plain)
    stated = np.interp(200.0, table["FLUX"], table["FRACTION"])
    assert stated == pytest.approx(0.47, abs=0.04)
    alone = completeness_table(needed, sources[:0], plain)
    assert np.interp(200.0, alone["FLUX"], alone["FRACTION"]) == pytest.approx(0.93, abs=0.01)


def test_completeness_takes_the_image_at_each_place():
    """Where stars are wider a peak goes with more light, and with more beyond the aperture."""
    pattern = Pattern(
        np.ones(3), np.array([[0.0, 500.0], [1000.0, 500.0]]), np.ones((2, 4)) * [[50.0], [80.0]]
    )
    near = np.c_[np.linspace(0, 1000, 5), np.full(5, 400.0)]
    assert pattern.light_at(near)[:, 0] == pytest.approx(65.0)
    many = Pattern(np.ones(3), np.repeat(pattern.places, 5, axis=0), np.repeat(pattern.light, 5, axis=0))
    assert many.light_at(near[[0, 1, 3, 4]])[:, 0] == pytest.approx([50.0, 50.0, 80.0, 80.0])
    wider = ApertureCorrection(
        1, np.array([0.0, 0.0, -0.5]), np.zeros((3, 3)), np.full(2, 500.0), 500.0, 0.0, 9
    )
    table = completeness_table(at_places(lambda x, y: 0 * x + 100.0), np.zeros(0, SOURCE), wider)
    least, most = 100 * 10**-0.2, 100 * 10**0.2
    assert table["FLUX"][0] == pytest.approx(least, rel=0.02) and table["FRACTION"][0] < 0.05
    assert np.interp(100.0, table["FLUX"], table["FRACTION"]) == pytest.approx(0.5, abs=0.06)
    assert table["FLUX"][-1] >= 0.98 * most


@pytest.mark.prove
@pytest.mark.parametrize(("scenery", "stars"), [("galaxy", 0), ("crowded", 0), ("galaxy", 9000)])
def test_stars_of_a_simulated_night_are_in_the_catalogue(tmp_path, scenery, stars):
    from astropy.io import fits
    from astropy.wcs import WCS

    night = make_night(tmp_path, "science", "sky", seed=31, size=512, scenery=scenery, stars=stars)
    frames, _ = night.reduce("science", "sky")
    path = night.stack(frames).path
    sky = night.catalogue("S20170505S0095")
    exposed = night.exposures["S20170505S0095"]
    with fits.open(path) as file:
        x, y = WCS(file["SCI"].header).all_world2pix(sky["ra"], sky["dec"], 0)
        objects, variance, mask = file["OBJCAT"].data, file["VAR"].data, file["DQ"].data
        table = file["COMPLETENESS"].data
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
    gap, source = cKDTree(places).query(true)
    near = cKDTree(true).query_ball_point(places, 2.5)
    # A source is the brightest star within its place, so one right beside that is not found.
    owner = np.array([max(index, key=lambda k: light[k], default=-1) for index in near])
    found = (gap < 2.5) & (owner[source] == np.arange(len(true)))
    print(f"{scenery}: {found[wanted].mean():.4f} of {wanted.sum()}")
    assert found[wanted].mean() > (0.99 if scenery == "galaxy" else 0.985)
    stated = np.interp(np.log(light), np.log(table["FLUX"]), table["FRACTION"], left=0.0, right=1.0)
    ranges = [
        clean & (stated > low) & (stated <= high) for low, high in ((0.3, 0.8), (0.8, 0.96), (0.96, 1.0))
    ]
    judged = [
        some for some in ranges if some.sum() > 5
    ]  # a field of bright stars has none that are hard to find
    assert judged
    for some in judged:
        seen, said, error = found[some].mean(), stated[some].mean(), np.sqrt(0.25 / some.sum())
        print(f"{scenery}: {seen:.3f} +- {error:.3f} of {some.sum()}, {said:.3f} stated")
        assert abs(seen - said) < 0.05 + 2 * error


def test_the_level_of_an_image_is_that_of_each_of_its_squares():
    rows, columns = np.mgrid[: 2 * SQUARE + 9, : 2 * SQUARE + 9] // SQUARE
    image = (10.0 + rows + 5 * columns).astype(np.float32)
    image[::7, ::5] += 1000  # stars
    assert np.array_equal(_level(image, np.zeros(image.shape, bool)), 10.0 + rows + 5 * columns)
    assert not _level(image, np.ones(image.shape, bool)).any()
