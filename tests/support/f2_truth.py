"""What a reduced night of Flamingos-2 must agree with: the simulator's truth, plane by plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from goafetch.practice.flamingos2 import DEC, RA, Night
from reducer import dq
from reducer.astrometry import sky_to_plane
from reducer.fitsio import Disk, open_frame, read_chip


def agrees_with_truth(night: Night, playground: Path, stacks: Sequence[Path], stars: int) -> None:
    """Flat, dark, sky, light and places agree with those drawn, of so many bright lone stars or more."""
    flat = read_chip(open_frame(playground / "S20170505S0001_flat.fits"), 0)
    good = flat.mask & dq.UNUSABLE == 0
    assert np.array_equal(flat.mask & dq.UNILLUMINATED > 0, ~night.inside | (night.response < 0.2))
    truth = night.response / np.median(night.response[good])
    away = ((flat.data - truth) / np.sqrt(flat.variance))[good]
    assert abs(away.mean()) < 0.2 and away.std() == pytest.approx(1.0, abs=0.06)

    dark = read_chip(open_frame(playground / "S20170505S0021_dark.fits"), 0)
    away = ((dark.data - night.dark * night.seconds) / np.sqrt(dark.variance))[dark.mask == 0]
    assert abs(away.mean()) < 0.05 and away.std() == pytest.approx(1.0, abs=0.05)

    paths = sorted(playground.glob("*_skyCorrected.fits"))
    assert len(paths) == night.dithers
    pulls, levels = [], []
    for path, (p, q) in zip(paths, night.offsets, strict=True):
        chip = read_chip(open_frame(path), 0)
        light = night.light(p, q) - night.sky
        blank = (chip.mask == 0) & (light < 3.0)
        pulls.append((chip.data / np.sqrt(chip.variance))[blank])
        levels.append(chip.header["SKYLEVEL"])
    assert np.std(np.concatenate(pulls)) == pytest.approx(1.0, abs=0.02)
    assert abs(np.mean(np.concatenate(pulls))) < 0.05
    assert np.median(levels) == pytest.approx(night.sky * np.median(night.response[good]), rel=0.005)

    (path,) = stacks
    objects = Disk().read_table(path, "OBJCAT")
    assert objects is not None
    u, v = sky_to_plane(objects["RA"], objects["DEC"], (RA, DEC))
    apart = np.hypot(u[:, None] - night.truth[:, 0], v[:, None] - night.truth[:, 1])
    nearest, seen = apart.argmin(axis=1), apart.min(axis=1) < 2 * night.scale
    crowd = np.hypot(*(night.truth[:, None, :2] - night.truth[None, :, :2]).transpose(2, 0, 1))
    np.fill_diagonal(crowd, np.inf)
    alone = crowd.min(axis=1) > 4.0
    seen &= alone[nearest] & (objects["FLUX_APER"][:, 0] > 50 * objects["FLUXERR_APER"][:, 0])
    assert seen.sum() >= stars
    light = night.truth[nearest[seen], 2] * np.median(night.response[good])
    assert np.median(objects["FLUX_TOTAL"][seen] / light) == pytest.approx(1.0, abs=0.01)
    ratio = objects["FLUX_APER"][seen, 0] / light
    error = np.hypot((objects["FLUXERR_APER"] / objects["FLUX_APER"])[seen, 0], 0.003)
    assert 1.4826 * np.median(np.abs(ratio / np.median(ratio) - 1.0) / error) < 1.2
    places, true = np.stack([u[seen], v[seen]], axis=1), night.truth[nearest[seen], :2]
    design = np.column_stack([np.ones(len(places)), places])
    left = true - design @ np.linalg.lstsq(design, true, rcond=None)[0]
    assert np.sqrt(np.mean(left**2)) < 0.05 * night.scale, "but for refraction, which was not drawn"
    assert np.hypot(*np.median(places - true, axis=0)) < 0.15, "the headers are in single precision"
