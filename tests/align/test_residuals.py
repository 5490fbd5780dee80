"""The table of residuals shows what is left of a misplaced exposure, and only that."""

from types import SimpleNamespace

import numpy as np

from reducer.astrometry import Grid
from reducer.stack.quality import residual_table

KIND = [("x", "f8"), ("y", "f8"), ("flux", "f8", (4,)), ("flux_error", "f8", (4,)), ("flags", "i4")]


def frame(places, shift):
    """An aligned frame whose geometry is off by a shift in arcsec."""
    table = np.zeros(len(places), KIND)
    table["x"], table["y"] = places.T
    table["flux"], table["flux_error"] = 1e4, 10
    geometry = SimpleNamespace(evaluate=lambda x, y, chip: (x * 0.02 + shift, y * 0.02))
    return SimpleNamespace(placed=geometry, sources=(table,))


def test_residuals_are_what_one_exposure_is_off_by():
    places = np.random.default_rng(2).uniform(0, 1000, (60, 2))
    frames = [frame(places, 0.0), frame(places, 0.0), frame(places[:40], 0.003)]
    grid = Grid((0.0, 0.0), 0.02, 0.0, 1000, 1000, (0.0, 0.0))
    table = residual_table(frames, grid)
    assert len(table) == 160 and set(table["exposure"]) == {1, 2, 3}
    off = table[table["exposure"] == 3]
    assert np.allclose(np.hypot(off["DX"], off["DY"]), 0.002, atol=1e-5)
    assert np.abs(table["DY"]).max() < 1e-5
    sign = np.sign(off["DX"][0])
    assert np.allclose(table[table["exposure"] == 1]["DX"][:20], 0, atol=0.0011)
    assert (off["DX"] * sign > 0).all()


def test_stars_seen_once_and_frames_without_sources_leave_nothing():
    places = np.random.default_rng(3).uniform(0, 1000, (10, 2))
    bare = SimpleNamespace(placed=frame(places, 0).placed, sources=())
    grid = Grid((0.0, 0.0), 0.02, 0.0, 1000, 1000, (0.0, 0.0))
    assert len(residual_table([frame(places, 0.0), bare], grid)) == 0
    assert len(residual_table([bare, bare], grid)) == 0
