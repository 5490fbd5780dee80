"""PSF photometry against the truth: a crowded night with speckled star images, reduced and measured once.

Usage: python benchmarks/psf.py FOLDER [--stars 32000] [--size 2048]

Makes the night in FOLDER if it is not there, reduces it, runs `goafetch photometry` on the stack, and prints
its CPU time, the scatter and the pull by magnitude, and completeness as found and as stated.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy.spatial import cKDTree
from truth_image import Truth

from goafetch.practice import simulate
from goafetch.practice.exposure import render
from goafetch.practice.exposure.night import Night
from goafetch.practice.exposure.psf import add_cores
from goafetch.practice.exposure.scene import make_field
from goafetch.practice.program import TARGET, tutorial

#: Magnitude of stars that tie places; the flag of a blend; the fewest stars of a row; pixels within which a
#: star is found.
BRIGHT, BLENDED, FEWEST, FOUND = 17.5, 8, 8, 2.5
#: Magnitude of the faintest stars, beyond what is found.
FAINTEST = 23.2
#: Speckles of an exposure's core, the share of the core's light in them, and how far out they lie, arcsec.
SPECKLES, SHARE, SPREAD = 14, 0.22, 0.11


def speckle() -> None:
    """Have the simulator draw star cores with speckles, other ones in every exposure."""
    smooth = render.light_on_array

    def light_on_array(index, region, conditions, grid, stars, brightness, seconds):
        core = replace(stars, core=stars.core * (1.0 - SHARE)) if stars is not None else None
        image = smooth(index, region, conditions, grid, core, brightness, seconds)
        if stars is None or conditions.profile.core_fraction == 0.0:
            return image
        rng = np.random.default_rng(int(conditions.profile.core_fwhm * 1e12))
        away = rng.normal(0.0, SPREAD / 0.0197, (SPECKLES, 2))
        each = rng.exponential(1.0, SPECKLES)
        metric = tuple(part * 1.2 for part in stars.metric)
        for (dx, dy), part in zip(away, each / each.sum(), strict=True):
            x, y = stars.x - 1.0 - region.x0 + dx, stars.y - 1.0 - region.y0 + dy
            add_cores(image, x, y, stars.light * stars.core * SHARE * part, metric, render.FLOOR / seconds)
        return image

    render.light_on_array = light_on_array


def make_night(folder: Path, stars: int, size: int) -> None:
    """Simulate and reduce the night: nine exposures of a crowded field beside a galaxy, a standard."""
    night = Night(seed=19, objects=9, skies=5, flats=5, dither=1.0, size=size, compress=False)
    program = tutorial(night)
    field = make_field(*TARGET, np.random.default_rng(19), stars=stars, faint=FAINTEST,
                       galaxy=program.fields[TARGET[0]].galaxy)  # fmt: skip
    program = replace(program, fields=program.fields | {field.name: field})
    speckle()
    simulate.PROGRAMS["crowded"] = lambda _: program
    simulate.build_program("crowded", folder / "raw", night=night, truth=folder / "truth", workers=1)
    standards = folder / "standards.csv"
    with np.load(folder / "truth/catalogue_9132.npz") as field:
        standards.write_text(f"name,filter,mag,error\n9132,Kshort,{field['magnitude'].min():.4f},0.004\n")
    command = [sys.executable, "-m", "goafetch", "run", str(folder / "raw"), "--into", str(folder / "work")]
    command += ["--catalog", "none", "--phot-catalog", "none", "--standards", str(standards)]
    subprocess.run(command, check=False)


@dataclass(frozen=True)
class Stars:
    """The stars of the truth on a stack: magnitudes, total electrons, 0-based pixels (n, 2)."""

    magnitude: np.ndarray
    light: np.ndarray
    places: np.ndarray


def read_truth(stack: Path, folder: Path, table: Table) -> Stars:
    """The true stars, their pixels by the stack's WCS, shifted and turned as the bright ones show."""
    truth = Truth.read(folder)
    stars = truth.catalogue("NGC5128")
    with fits.open(stack) as units:
        wcs, name = WCS(units["SCI"].header), str(units[0].header["REFFRAME"]).split("_")[0].split(".")[0]
    entry = truth.exposures[name]
    zeropoint = truth.program["zeropoint_on_stack_scale"][entry["filter"]]
    light = 10 ** (0.4 * (zeropoint - stars["magnitude"])) * entry["transmission"] * entry["exptime"]
    places = np.column_stack(wcs.all_world2pix(stars["ra"], stars["dec"], 0))
    found = np.column_stack([table["X_IMAGE"] - 1, table["Y_IMAGE"] - 1])
    bright = places[stars["magnitude"] < BRIGHT]
    for reach in (10.0, 2.0, 1.0):
        away, which = cKDTree(found).query(bright)
        near = away < reach
        change = np.linalg.lstsq(_terms(bright[near]), found[which[near]] - bright[near], rcond=None)[0]
        places = places + _terms(places) @ change
        bright = places[stars["magnitude"] < BRIGHT]
    return Stars(stars["magnitude"], light, places)


def _terms(places: np.ndarray) -> np.ndarray:
    """Those of a cubic polynomial of the pixels."""
    x, y = places.T / 2400.0 - 1.0
    return np.column_stack([x**i * y**j for i in range(4) for j in range(4 - i)])


def spread(values: np.ndarray) -> float:
    """A robust standard deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def report(table: Table, complete: Table, stars: Stars, good: np.ndarray) -> None:
    """Print scatter, limit and pull by magnitude, and completeness as found and as stated.

    ``good``: which stars of the truth lie on good pixels of the stack.
    """
    found = np.column_stack([table["X_IMAGE"] - 1, table["Y_IMAGE"] - 1])
    tree = cKDTree(stars.places)
    near = tree.query_ball_point(found, 2.0)
    own = np.array([max(index, key=lambda k: stars.light[k], default=-1) for index in near])
    clean = (own >= 0) & ((table["FLAGS"] & ~BLENDED) == 0)
    print(f"{len(table)} stars, {(own < 0).sum()} without one in the truth, {clean.sum()} compared")
    known = complete[np.isfinite(complete["SCATTER"])]
    print("mag    stars   bias  scatter  limit  ratio  pull  pull x")
    for low in np.arange(13.0, FAINTEST - 1.0, 0.5):
        here = clean & (stars.magnitude[own] >= low) & (stars.magnitude[own] < low + 0.5)
        if here.sum() < FEWEST:
            continue
        true = stars.light[own[here]]
        part = np.asarray(table["FLUX_PSF"][here]) / true - 1.0
        error = np.asarray(table["FLUXERR_PSF"][here]) / true
        crowded = np.interp(np.median(np.log(true)), np.log(known["FLUX"]), known["SCATTER"]) / 1.0857
        limit = float(np.hypot(crowded, 0.005))
        east = (found[here, 0] - stars.places[own[here], 0]) / np.asarray(table["ERRX_IMAGE"][here])
        print(
            f"{low:4.1f} {here.sum():7d} {np.median(part):+.4f} {spread(part):.4f} {limit:.4f} "
            f"{spread(part) / limit:6.2f} {spread((part - np.median(part)) / error):5.2f} {spread(east):5.2f}"
        )
    near = tree.query_ball_point(stars.places, FOUND)
    first = np.array([stars.light[k] >= stars.light[index].max() for k, index in enumerate(near)])
    seen = first & (cKDTree(found).query(stars.places)[0] < FOUND)
    fractions = {}
    for low in np.arange(17.0, FAINTEST, 0.25):
        here = good & (stars.magnitude >= low) & (stars.magnitude < low + 0.25)
        if here.sum() > FEWEST:
            fractions[low + 0.125] = float(seen[here].mean())
    print("completeness found: ", " ".join(f"{mag:.2f}:{part:.2f}" for mag, part in fractions.items()))
    offset = -2.5 * np.log10(stars.light[0]) - stars.magnitude[0]
    stated = -2.5 * np.log10(table.meta["COMPL50"]) - offset
    mags, parts = np.array(list(fractions)), np.array(list(fractions.values()))
    true = float(np.interp(-0.5, -parts, mags)) if parts.min() < 0.5 else np.nan
    print(f"50 % limit: stated {stated:.2f}, true {true:.2f} mag")


def main() -> None:
    """Make the night if need be, measure its stack, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=32000, help="on 124 x 124 arcsec")
    parser.add_argument("--size", type=int, default=2048, help="pixels a side of an array")
    given = parser.parse_args()
    stack = given.folder / "work/playground/S20170505S0095_image.fits"
    if not stack.exists():
        make_night(given.folder, given.stars, given.size)
    begun = time.time()
    subprocess.run([sys.executable, "-m", "goafetch", "photometry", str(stack), "--quiet"], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    print(f"{time.time() - begun:.0f} s, {cpu:.0f} s of CPU, {used.ru_maxrss / 1e6:.1f} GB")
    made = stack.parent / f"{stack.stem}_psf"
    table = Table.read(made / f"{stack.stem}_psf.ecsv")
    stars = read_truth(stack, given.folder / "truth", table)
    with fits.open(stack) as units:
        mask = units["DQ"].data != 0
    row, column = np.rint(stars.places[:, ::-1].T).astype(int)
    inside = (row > 8) & (column > 8) & (row < mask.shape[0] - 8) & (column < mask.shape[1] - 8)
    good = inside.copy()
    good[inside] = ~mask[row[inside], column[inside]]
    complete = Table.read(made / f"{stack.stem}_completeness.ecsv")
    report(table, complete, stars, good)


if __name__ == "__main__":
    main()
