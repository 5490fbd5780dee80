"""Partial stacks joined by `alignAndStack` are the stack of all exposures."""

import numpy as np
import pytest
import sep
from scipy.spatial import cKDTree
from true_night import make_night

from reducer import recipes
from reducer.fitsio import open_frame, read_chip, read_table
from reducer.frame import Context
from reducer.run import run_recipe

#: Pixels of the aperture and of the ring around it: the catalogue's own background knows no ring.
APERTURE, RING = 7.5, (45.0, 65.0)


def align_and_stack(folder, paths, told=None):
    folder.mkdir(parents=True, exist_ok=True)
    context = Context(folder, notify=lambda event, **facts: (told or []).append(facts.get("ratio_error")))
    return run_recipe(recipes.alignAndStack, [open_frame(path) for path in paths], context)[0]


def uncertainty(told):
    """The median error of the transparencies that were told."""
    return np.median([error for error in told if error is not None])


@pytest.mark.prove
@pytest.mark.parametrize("seed", [1, 2])
def test_three_partial_stacks_joined_are_the_direct_stack(tmp_path, seed):
    night = make_night(tmp_path / "night", "science", "sky", seed=seed, size=1024, skies=4, stars=6000,
                       sky_order="interleaved", scenery="sparse", dither=1.0)  # fmt: skip
    frames, _ = night.reduce("science", "sky", steps=recipes.reduce_nostack)
    paths = [frame.path for frame in frames if frame.path.name.endswith("_skyCorrected.fits")]
    direct = align_and_stack(tmp_path / "direct", paths)
    parts = [align_and_stack(tmp_path / f"part{k}", paths[k::3]).path for k in range(3)]
    told = [None]
    joined = align_and_stack(tmp_path / "joined", parts, told)
    assert joined.header["TEXPTIME"] == direct.header["TEXPTIME"] == 540.0
    one, two = (read_table(frame.path, "OBJCAT") for frame in (direct, joined))
    pairs = matches(one, two)[:60]
    assert len(pairs) > 30
    widths = [np.median(table["FWHM_IMAGE"][rows]) for table, rows in zip((one, two), pairs.T, strict=True)]
    assert widths[1] == pytest.approx(widths[0], rel=0.02)
    light = [
        fluxes(frame, t, rows) for frame, t, rows in zip((direct, joined), (one, two), pairs.T, strict=True)
    ]
    # Stars of so small a field tell transparencies, of either stack, less well than those of whole arrays.
    within = max(0.003, 2.0 * uncertainty(told))
    assert np.nanmedian(light[1] / light[0]) == pytest.approx(1.0, abs=within)
    assert depth(joined) == pytest.approx(depth(direct), rel=0.03)


def matches(one, two):
    """Rows of two catalogues within 0.04 arcsec on the sky, unflagged, brightest first: (n, 2)."""
    places = [np.c_[table["RA"] * np.cos(np.radians(43.0)), table["DEC"]] * 3600 for table in (one, two)]
    good = [np.flatnonzero(table["FLAGS"] == 0) for table in (one, two)]
    distance, nearest = cKDTree(places[1][good[1]]).query(places[0][good[0]])
    close = distance < 0.04
    return np.c_[good[0][close], good[1][nearest[close]]]


def fluxes(frame, table, rows):
    """Electrons of stars over the mean of a ring."""
    x, y = table["X_IMAGE"][rows] - 1, table["Y_IMAGE"][rows] - 1
    return sep.sum_circle(read_chip(frame, 0).data, x, y, APERTURE, subpix=5, bkgann=RING)[0]


def depth(frame):
    """Noise of 8 x 8 pixels as VAR and NOISCORR say, where all exposures are."""
    chip = read_chip(frame, 0)
    deep = np.percentile(chip.variance[chip.mask == 0], 20)
    return np.sqrt(deep) * float(frame.chips[0]["NOISCORR"])
