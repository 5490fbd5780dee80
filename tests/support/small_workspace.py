"""A small workspace with products of known content, as a run leaves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from goafetch.events import CalibrationChoice, Decided, Warned
from goafetch.report.run_summary import (
    Exclusion,
    ExposureRow,
    Product,
    RunSummary,
    Timing,
    write_summary,
)
from goafetch.report.stack_file import StackPixels, make_stack_file
from reducer.fitsio import write_frame
from reducer.frame import Chip

SIZE = 640
GAP = slice(312, 330)
SCALE = 0.02 / 3600
STAR = (200, 150)  # x, y, 0-based: the brightest pixel
GROUP = "NGC5128 Kshort 60 s"
FLAT_CHOICE = CalibrationChoice(
    "flat", "S20170505S0030_flat.fits", "same filter, 0.4 days apart", group=GROUP
)


def primary_header(**more):
    header = fits.Header()
    facts = {
        "INSTRUME": "GSAOI",
        "OBJECT": "NGC5128",
        "FILTER1": "Kshort_G1105",
        "FILTER2": "Clear",
        "EXPTIME": 60.0,
        "COADDS": 1,
        "TEXPTIME": 540.0,
        "DATE-OBS": "2017-05-05",
    }
    for key, value in (facts | more).items():
        header[key] = value
    return header


def wcs_header():
    header = fits.Header()
    for key, value in {
        "BUNIT": "electron",
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 201.358,
        "CRVAL2": -43.033,
        "CRPIX1": SIZE / 2,
        "CRPIX2": SIZE / 2,
        "CD1_1": SCALE,
        "CD1_2": 0.0,
        "CD2_1": 0.0,
        "CD2_2": SCALE,
        "NOISCORR": 1.4,
    }.items():
        header[key] = value
    return header


def stack_pixels(seed=1):
    """Data, variance, mask and exposure map: noise of 10 electrons, 30 stars, a galaxy, a cross of gaps."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    data = rng.normal(0, 10, (SIZE, SIZE)).astype(np.float32)
    data += 400 * np.exp(-np.hypot(x - 520, y - 500) / 80)
    places = [STAR, *map(tuple, rng.integers(20, SIZE - 20, (29, 2)))]
    for number, (column, row) in enumerate(places):
        flux = 40000 if number == 0 else 10 ** rng.uniform(2, 4)
        data += flux / 20 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * 1.8**2))
    mask = np.zeros((SIZE, SIZE), np.uint16)
    mask[GAP], mask[:, GAP] = 16, 16
    mask[100, 90:110] = 1
    data[mask == 16] = 0
    seconds = np.where(mask == 16, 0, 540).astype(np.float32)
    seconds[:40] = 180
    variance = np.where(mask == 16, 0, 100 * 540 / np.maximum(seconds, 1)).astype(np.float32)
    return data, variance, mask, seconds, places


def write_stack(path, **more):
    data, variance, mask, seconds, places = stack_pixels()
    chip = Chip(data, variance, mask, wcs_header())
    catalogue = np.array(
        [(x + 1.0, y + 1.0, 10.0 ** (5 - 0.1 * n), 18 + 0.2 * n) for n, (x, y) in enumerate(places)],
        dtype=[("X_IMAGE", "f8"), ("Y_IMAGE", "f8"), ("FLUX_AUTO", "f8"), ("MAG_AUTO", "f8")],
    )
    return write_frame(
        path, primary_header(**more), [chip], images={"EXPTIME": seconds}, tables={"OBJCAT": catalogue}
    )


def stack_in_memory(data, variance, mask, **about):
    """A stack as it is read from a file, of planes that are given."""
    return make_stack_file(
        data.shape, lambda part, _: StackPixels(data[part].copy(), variance[part], mask[part]), **about
    )


def write_flat(path):
    rng = np.random.default_rng(3)
    chips = []
    for number in (1, 2, 3, 4):
        header = fits.Header()
        header["EXTVER"] = number
        data = 1 + 0.1 * number + rng.normal(0, 0.01, (128, 128)).astype(np.float32)
        mask = (rng.random((128, 128)) < 0.02).astype(np.uint16)
        chips.append(Chip(data.astype(np.float32), data.astype(np.float32) * 1e-4, mask, header))
    return write_frame(path, primary_header(OBJECT="Domeflat"), chips)


def story(*stacks):
    names = [f"S20170505S{number:04d}.fits" for number in range(95, 111)]
    return RunSummary(
        program="GS-2017A-Q-29",
        command="goafetch run GS-2017A-Q-29 --date 20170504-20170505",
        archive="https://archive.gemini.edu",
        query="/jsonsummary/canonical/GS-2017A-Q-29/GSAOI",
        started="2026-11-22T18:00:00",
        seconds=31.5,
        version="0.2.0",
        fetched=51,
        fetched_bytes=1_020_000_000,
        exposures=tuple(
            ExposureRow(
                n,
                "on target" if i < 9 else "off target",
                GROUP,
                "within 0.4 arcsec of the target",
                stack=GROUP,
            )
            for i, n in enumerate(names)
        ),
        decisions=(
            Decided("sky from 7 off-target exposures", "1500 sources an array on target", group=GROUP),
            Decided("offset_sky is on", "the sky level drifts by 8 % in half an hour", group=GROUP),
            FLAT_CHOICE,
        ),
        exclusions=(Exclusion("S20170505S0200.fits", "filter <Unknown> & the wheel had not stopped"),),
        products=(
            Product("playground/calibrations/processed_flat/S20170505S0030_flat.fits", "flat"),
            *(Product(stack, "stack", GROUP, GROUP) for stack in stacks),
        ),
        timings=(Timing("fetch", 12.5, 51), Timing("reduce", 14.0, 16), Timing("stack", 5.0, 9)),
        warnings=(Warned("no catalogue could be reached: positions are relative"),),
    )


def write_workspace(folder: Path) -> Path:
    """A workspace with one stack and one flat."""
    write_stack(folder / "playground/S20170505S0095_image.fits")
    write_flat(folder / "playground/calibrations/processed_flat/S20170505S0030_flat.fits")
    write_summary(folder, story("playground/S20170505S0095_image.fits"))
    return folder
