"""Heavy cosmic rays go with their faint rings, and no star's light does."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from drawn_standard import REFERENCE, TARGET, Pixels, moffat
from raw_exposure import WIDTHS

from reducer import dq
from reducer.astrometry import ChipRegion, Geometry, common_grid
from reducer.frame import Chip, Context, FrameRef
from reducer.instruments import KNOWN
from reducer.sources import detect_sources
from reducer.stack.coadd import RejectionMethod
from reducer.stack.exposures import StarImage, prepare_exposures
from reducer.stack.parts import Share, make_share
from reducer.stack.snowballs import STEP, find_snowballs, hide_snowballs, radius_of, ring_profile

SIZE, NOISE, FULL, FWHM = 300, 50.0, 1.2e5, 0.085
#: Stars on the plane, arcsec, and their electrons: the brightest is saturated.
STARS = [(-1.2, 0.9, 6e6), (1.5, 1.1, 4e5), (-0.6, -1.4, 1e5), (1.1, -1.9, 2e5)]
#: Where the ball is on the first chip, and the radius of its heart, pixels.
BALL, HEART = (170.0, 140.0), 5.0


@dataclass(frozen=True)
class Files(Pixels):
    """Exposures in memory, read by rows."""

    def read_chip(self, frame, index, rows=None, variance=True):
        chip, part = self.chips[frame.path.name], rows or slice(None)
        planes = (plane[part].copy() for plane in (chip.data, chip.variance, chip.mask))
        return Chip(*planes, chip.header)


def expose(number, ball, way=None):
    """An exposure of the stars, its first with a heavy cosmic ray: a saturated heart in a ring.

    ``way``: arcsec that the second star, as bright as the first then, has gone: the exposure is laid on it.
    """
    rng = np.random.default_rng(number)
    region = ChipRegion(1, 874, 874, SIZE, SIZE)
    bare = Geometry((region,), KNOWN["GSAOI"].field, np.eye(2), TARGET, TARGET)
    middle = np.ravel(bare.evaluate(np.array([SIZE / 2]), np.array([SIZE / 2]), 0))
    geometry = bare.moved(*(rng.uniform(-0.3, 0.3, 2) - middle))
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    u, v = geometry.evaluate(x.ravel(), y.ravel(), 0)
    # The images differ from one exposure to the next, as those of stars do.
    width = FWHM * rng.uniform(0.9, 1.1)
    stars = np.array(STARS)
    if way is not None:
        stars[1, 2] = stars[0, 2]
        stars[[0, 2, 3], :2] -= way
    light = sum(e * REFERENCE**2 * moffat(np.hypot(u - a, v - b), width, 3.0) for a, b, e in stars)
    data = light.reshape(SIZE, SIZE) + NOISE * rng.standard_normal((SIZE, SIZE))
    if ball:
        r = np.hypot(x - BALL[0], y - BALL[1])
        data += FULL * np.exp(-((r / HEART) ** 4)) + 350.0 * np.exp(-0.5 * ((r - 2.5 * HEART) / HEART) ** 2)
    mask = np.where(data > 0.8 * FULL, dq.SATURATED, 0).astype(np.uint16)
    header = fits.Header({"NAXIS1": SIZE, "NAXIS2": SIZE, "EXTVER": 1})
    chip = Chip(data.astype(np.float32), np.full(data.shape, NOISE**2, np.float32), mask, header)
    sources = detect_sources(chip.data.copy(), chip.variance.copy(), mask.copy(), WIDTHS)
    primary = fits.Header({"INSTRUME": "GSAOI", "EXPTIME": 60.0, "COADDS": 1})
    name = Path(f"e{number}.fits")
    return FrameRef(name, primary, (header,), sources=(sources,), geometry=geometry, drift=way), chip


def stack_of(folder, ball, rejected=True):
    """The stack of five exposures, its grid, what was found, and the first exposure's geometry."""
    made = [expose(number, ball and number == 0) for number in range(5)]
    frames = [frame for frame, _ in made]
    context = Context(folder, files=Files({frame.path.name: chip for frame, chip in made}))
    grid = common_grid([frame.geometry for frame in frames], 0.02)
    exposures = prepare_exposures(frames, [StarImage(4.3, 0.0, 0.3)] * 5, grid, "keys6", context)
    rejection = RejectionMethod(high=5.0)
    share = Share(context.files, exposures, grid.width, 0, grid.height, rejection, "mean", "keys6", 10**9)
    found = find_snowballs(frames, [frame.geometry for frame in frames], context)
    return make_share(share), grid, found, frames[0].geometry


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    return stack_of(folder, True), stack_of(folder, False)


def test_the_ring_of_a_heavy_cosmic_ray_goes_with_its_heart(stacks):
    """Two electrons were left in the stack between 4 and 5 radii of the heart, out of five exposures."""
    (struck, grid, found, geometry), (clean, *_) = stacks
    assert [len(balls[0]) for balls in found] == [1, 0, 0, 0, 0]
    x, y, radius = found[0][0][0]
    assert np.hypot(x - BALL[0], y - BALL[1]) < 3.0
    assert 4.0 * HEART < radius < 7.0 * HEART
    column, row = grid.to_pixel(*(float(e[0]) for e in geometry.evaluate(*np.array(BALL)[:, None], 0)))
    gy, gx = np.mgrid[: grid.height, : grid.width]
    away = np.hypot(gx - column, gy - row)
    difference = struck.data - clean.data
    for inner, outer in ((0, 2), (2, 3), (3, 4), (4, 5), (5, 7)):
        ring = (away >= inner * HEART) & (away < outer * HEART)
        error = NOISE / np.sqrt(5) * np.sqrt(0.5 / ring.sum())
        assert abs(difference[ring].mean()) < 4.0 * error + 1.0, (inner, outer)
    near = away < 3.0 * HEART
    assert np.median(struck.exposure[near]) == 240.0


def test_stars_keep_their_light_and_good_exposures_every_electron(stacks):
    (struck, grid, *_), (clean, _, found, _) = stacks
    assert all(len(balls[0]) == 0 for balls in found)
    gy, gx = np.mgrid[: grid.height, : grid.width]
    for u, v, light in STARS[1:]:
        column, row = grid.to_pixel(u, v)
        inside = np.hypot(gx - column, gy - row) < 12.0
        assert struck.data[inside].sum() == pytest.approx(clean.data[inside].sum(), abs=0.002 * light)


@pytest.mark.parametrize(("ball", "count"), [(True, 1), (False, 0)])
def test_a_heavy_cosmic_ray_that_too_few_others_judge_is_named_and_stays(tmp_path, ball, count):
    """Of two exposures; the saturated star is in both."""
    made = [expose(number, ball and number == 0) for number in range(2)]
    frames, told = [frame for frame, _ in made], []
    context = Context(
        tmp_path,
        notify=lambda event, **facts: told.append((event, facts)),
        files=Files({frame.path.name: chip for frame, chip in made}),
    )
    found = find_snowballs(frames, [frame.geometry for frame in frames], context)
    assert [ball[2] for balls in found for ball in balls[0]] == [0.0] * count
    assert [event for event, facts in told if event == "snowballs_kept"] == ["snowballs_kept"] * count
    mask = np.zeros((SIZE, SIZE), np.uint16)
    for one in found[0][0]:
        hide_snowballs(mask, one, 0)
    assert not mask.any()


@pytest.mark.parametrize(("ball", "count"), [(True, 1), (False, 0)])
def test_a_heavy_cosmic_ray_is_found_where_the_target_moves(tmp_path, ball, count):
    """No search was made there, in silence; the saturated target, alone among the stars, is no snowball."""
    made = [expose(number, ball and number == 0, way=(0.35 * number, 0.2 * number)) for number in range(5)]
    frames = [frame for frame, _ in made]
    context = Context(tmp_path, files=Files({frame.path.name: chip for frame, chip in made}))
    found = find_snowballs(frames, [frame.geometry for frame in frames], context)
    assert [len(balls[0]) for balls in found] == [count, 0, 0, 0, 0]
    assert all(ball[2] > 4.0 * HEART for ball in found[0][0])


def test_a_saturated_star_whose_image_changed_is_none():
    """Its profile differs from the others', but these have a heart there too."""
    radius = np.arange(24) * 3.0 + 1.5
    profiles = [1e5 * (1 + (radius / width) ** 2) ** -3 for width in (4.0, 4.5, 5.5)]
    assert radius_of(profiles[2], profiles[:2], NOISE) == 0.0
    assert radius_of(profiles[2], [np.zeros(24), np.zeros(24)], NOISE) > 12.0
    blurred = 1e5 * (4.0 / 25.0) ** 2 * (1 + (radius / 25.0) ** 2) ** -3
    assert blurred[0] < 0.1 * profiles[0][0]
    assert radius_of(profiles[0], [blurred, blurred], NOISE) == 0.0


@pytest.mark.parametrize("place", [(SIZE / 2, SIZE / 2), (4.0, 6.0), (SIZE - 3.0, SIZE - 5.0)])
def test_rings_are_those_about_the_place_at_an_edge_too(place):
    """Pixels that hold their distance from the place tell where each ring was taken."""
    y, x = np.mgrid[:SIZE, :SIZE]
    away = np.hypot(x - place[0], y - place[1]).astype(np.float32)
    header = fits.Header({"NAXIS1": SIZE, "NAXIS2": SIZE})
    chip = Chip(away, np.full(away.shape, 9, np.float32), np.zeros(away.shape, np.uint16), header)
    frame = FrameRef(Path("a.fits"), header, (header,))
    values, sigma = ring_profile(Files({"a.fits": chip}), frame, 0, *place)
    middles = STEP * (np.arange(len(values)) + 0.5)
    assert values == pytest.approx(middles, abs=0.35 * STEP) and sigma == 3.0
