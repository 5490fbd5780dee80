"""Where one, three and nine exposures overlap, a flat sky and stars on it are the same."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sep
from astropy.io import fits
from drawn_standard import REFERENCE, TARGET, Pixels, moffat

from reducer.astrometry import ChipRegion, Geometry, common_grid
from reducer.frame import Chip, Context, FrameRef
from reducer.instruments import KNOWN
from reducer.stack.coadd import RejectionMethod
from reducer.stack.exposures import StarImage, prepare_exposures
from reducer.stack.parts import Share, make_share

SIZE, STEP = 400, 2.4
#: Electrons of every star, and how wide they are, arcsec.
LIGHT, FWHM = 2e5, 0.085
PLACES = np.array([(u, v) for u in np.arange(-5.6, 5.7, 1.6) for v in np.arange(-5.6, 5.7, 1.6)]) + 0.013


@dataclass(frozen=True)
class Files(Pixels):
    """Exposures in memory, read by rows."""

    def read_chip(self, frame, index, rows=None, variance=True):
        chip, part = self.chips[frame.path.name], rows or slice(None)
        return Chip(chip.data[part], chip.variance[part], chip.mask[part], chip.header)


def expose(number, rng):
    """One exposure of the grid of stars: a frame with its geometry, and its chip with a sky left in it."""
    offset = STEP * np.array([number % 3 - 1, number // 3 - 1]) + rng.uniform(-0.01, 0.01, 2)
    region = ChipRegion(1, 824, 824, SIZE, SIZE)
    bare = Geometry((region,), KNOWN["GSAOI"].field, np.eye(2), TARGET, TARGET)
    middle = np.ravel(bare.evaluate(np.array([SIZE / 2]), np.array([SIZE / 2]), 0))
    geometry = bare.moved(*(offset - middle))
    y, x = np.mgrid[:SIZE, :SIZE]
    u, v = geometry.evaluate(x.ravel().astype(float), y.ravel().astype(float), 0)
    light = np.zeros(x.size)
    for place in PLACES:
        near = np.hypot(u - place[0], v - place[1])
        light += np.where(near < 1.0, LIGHT * REFERENCE**2 * moffat(near, FWHM, 4.0), 0.0)
    sky = rng.uniform(-15, 15) + rng.uniform(-0.01, 0.01) * (x - SIZE / 2) + rng.uniform(-0.01, 0.01) * y
    header = fits.Header({"NAXIS1": SIZE, "NAXIS2": SIZE, "EXTVER": 1})
    data = (light.reshape(SIZE, SIZE) + sky).astype(np.float32)
    chip = Chip(data, np.full_like(data, 4000.0), np.zeros(data.shape, np.uint16), header)
    primary = fits.Header({"INSTRUME": "GSAOI", "EXPTIME": 60.0, "COADDS": 1})
    return FrameRef(Path(f"e{number}.fits"), primary, (header,), geometry=geometry), chip


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """The stack of nine noiseless exposures, how many cover each pixel, and its grid."""
    rng = np.random.default_rng(11)
    made = [expose(number, rng) for number in range(9)]
    frames = [frame for frame, _ in made]
    files = Files({frame.path.name: chip for frame, chip in made})
    context = Context(tmp_path_factory.mktemp("stack"), files=files)
    grid = common_grid([frame.geometry for frame in frames], 0.02)
    exposures = prepare_exposures(frames, [StarImage(4.3, 0.0, 0.3)] * 9, grid, "keys6", context)
    rejection = RejectionMethod(high=5.0)
    share = Share(files, exposures, grid.width, 0, grid.height, rejection, "mean", "keys6", 10**9)
    part = make_share(share)
    return part, np.rint(part.exposure / 60.0).astype(int), grid


def test_the_sky_is_as_high_wherever_how_many_exposures_are(stack):
    """To 0.1 electron, though each exposure had a level and a slope of its own.

    Slopes were found about the stack's middle and taken off about the exposure's: wrong by slope x dither.
    """
    part, count, grid = stack
    columns, rows = np.meshgrid(np.arange(grid.width), np.arange(grid.height))
    u, v = grid.to_plane(columns, rows)
    away = np.min([np.hypot(u - place[0], v - place[1]) for place in PLACES], axis=0)
    design = np.stack([np.ones(u.shape), u, v])
    free = (away > 0.7) & (count > 0)
    # What all exposures have in common, their mean level and slope, is left to the sky.
    left = part.data - np.tensordot(
        np.linalg.lstsq(design[:, free].T, part.data[free], rcond=None)[0], design, axes=1
    )
    levels = {number: np.median(left[free & (count == number)]) for number in (1, 2, 3, 4, 6, 9)}
    assert np.ptp(list(levels.values())) < 0.1, levels


def test_stars_are_as_bright_wherever_how_many_exposures_are(stack):
    """Cores to 0.1 %."""
    part, count, grid = stack
    x, y = grid.to_pixel(*PLACES.T)
    inside = (x > 20) & (y > 20) & (x < grid.width - 21) & (y < grid.height - 21)
    x, y = x[inside], y[inside]
    core = sep.sum_circle(part.data, x, y, 4.0, subpix=0, bkgann=(25.0, 32.0))[0]
    around = [count[int(b) - 8 : int(b) + 9, int(a) - 8 : int(a) + 9] for a, b in zip(x, y, strict=True)]
    numbers = np.array([part.min() if part.min() == part.max() else 0 for part in around])
    means = {n: core[numbers == n].mean() for n in np.unique(numbers) if n}
    assert {1, 9} <= set(means)
    assert np.ptp(list(means.values())) < 1e-3 * means[9], means
