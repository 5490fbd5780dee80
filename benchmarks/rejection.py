"""Count the cosmic rays that a stack rejects, and what it rejects without cause, on a simulated night.

Usage: python benchmarks/rejection.py PLAYGROUND TRUTH_FOLDER [-p STEP:PARAM=VALUE]

The `_skyCorrected` science frames of the playground are aligned and stacked again, and what becomes of each
sample is noted. The truth must hold the noiseless electrons (`--noiseless`) of whole arrays.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from reducer import recipes
from reducer import recipes as parameters
from reducer.frame import Context
from reducer.run import open_frames, run_recipe
from reducer.stack import coadd as samples_of
from reducer.stack import parts
from reducer.steps import stacking

#: Overlapping exposures from which on the figures are required; sigmas of charge that count as a hit.
ENOUGH, HIT = 5, 5.0
#: Pixels around a hit, or around a pixel with a defect of its own, in which a rejection has a cause.
NEAR = 3
#: Read noise used for the noise of a pixel, electrons, and electrons of a star that is looked at.
READ_NOISE, LEAST_STAR = 26.0, 5000.0
#: Radius, pixels, of a star's aperture and of one FWHM around it.
APERTURE, FWHM = 8, 4
NO_SAMPLE = 255


@dataclass
class Fate:
    """What became of every sample: 0 masked, 1 used, 2 and 3 rejected, 255 none; stacks with and without."""

    state: np.ndarray | None = None
    plain: np.ndarray | None = None
    kept: np.ndarray | None = None
    exposures: tuple = ()
    grid: object = None
    original: dict = field(default_factory=dict)

    def watch(self) -> None:
        """Stand between the stack and its functions."""
        self.original = {"combine": stacking.combine_exposures, "share": parts.make_share}
        stacking.combine_exposures, parts.make_share = self.combine, self.share

    def combine(self, exposures, grid, *others):
        """Note the exposures and the grid of the stack."""
        self.exposures, self.grid = exposures, grid
        shape = (grid.height, grid.width)
        self.state = np.full((len(exposures), *shape), NO_SAMPLE, np.uint8)
        self.plain, self.kept = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        return self.original["combine"](exposures, grid, *others)

    def share(self, share):
        """Make a share of the rows twice, with and without rejection, and note the samples of the first."""
        rows = slice(share.first_row, share.first_row + share.rows)
        average, fill, top = samples_of.weighted_mean, parts.fill_samples, 0

        def follow(share, samples, first, kept):
            nonlocal top
            top = first
            return fill(share, samples, first, kept)

        def note(data, variance, mask, array, state, weights, seconds):
            first = top + parts.MARGIN
            count = min(state.shape[1] - 2 * parts.MARGIN, rows.stop - first)
            inner = slice(parts.MARGIN, parts.MARGIN + count)
            noted = np.where(array[:, inner] > 0, state[:, inner], NO_SAMPLE)
            self.state[:, first : first + count] = noted
            return average(data, variance, mask, array, state, weights, seconds)

        without = replace(share, rejection=samples_of.RejectionMethod("none"))
        self.plain[rows] = self.original["share"](without).data
        samples_of.weighted_mean, parts.fill_samples = note, follow
        try:
            made = self.original["share"](share)
        finally:
            samples_of.weighted_mean, parts.fill_samples = average, fill
        self.kept[rows] = made.data
        return made


def stack_again(playground: Path, names: list[str], given: list[str]) -> Fate:
    """Align and stack the frames of a playground, watched."""
    fate = Fate()
    fate.watch()
    pairs = [tuple(text.split("=", 1)) for text in given]
    with tempfile.TemporaryDirectory() as folder:
        context = Context(folder=Path(folder), parameters=parameters.parse(pairs))
        frames = open_frames([playground / f"{name}_skyCorrected.fits" for name in names])
        run_recipe(recipes.alignAndStack, frames, context)
    return fate


def on_stack(fate: Fate, number: int, array: int, x: np.ndarray, y: np.ndarray):
    """Rows and columns of the stack under pixels (from 1, on the full array), and which lie on it."""
    exposure = fate.exposures[number]
    if array not in exposure.arrays:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(x.size, bool)
    geometry = exposure.frame.geometry
    column, row = fate.grid.to_pixel(*geometry.evaluate(x - 1.0, y - 1.0, exposure.arrays.index(array)))
    row, column = np.rint(row).astype(int), np.rint(column).astype(int)
    inside = (row >= 0) & (row < fate.state.shape[1]) & (column >= 0) & (column < fate.state.shape[2])
    return row[inside], column[inside], inside


def noise_of(truth: Path, name: str) -> np.ndarray:
    """Standard deviation of each pixel without its cosmic rays, electrons."""
    light = np.load(truth / "noiseless" / f"{name}.npy", mmap_mode="r")
    return np.sqrt(np.maximum(light, 0.0) + READ_NOISE**2)


def follow_hits(fate: Fate, number: int, name: str, truth: Path, struck: np.ndarray) -> np.ndarray:
    """For each hit that lies on the stack: charge in sigmas, exposures there, what became of it."""
    table, noise, found = np.load(truth / "cosmic_rays" / f"{name}.npy"), noise_of(truth, name), []
    for array in (1, 2, 3, 4):
        part = table[table["array"] == array]
        row, column, inside = on_stack(fate, number, array, part["x"].astype(float), part["y"].astype(float))
        part = part[inside]
        struck[row, column] = True
        sigmas = part["electrons"] / noise[array - 1, part["y"] - 1, part["x"] - 1]
        states = fate.state[:, row, column]
        found.append(np.stack([sigmas, (states != NO_SAMPLE).sum(axis=0), states[number]]))
    return np.concatenate(found, axis=1)


def mark_defects(fate: Fate, number: int, detector, struck: np.ndarray) -> None:
    """Mark where hot, dead or dim pixels fall, whose rejection has a cause."""
    for array in (1, 2, 3, 4):
        response = detector["response"][array - 1]
        y, x = np.nonzero((detector["dark"][array - 1] > 0.1) | (response < 0.8))
        row, column, _ = on_stack(fate, number, array, x + 1.0, y + 1.0)
        struck[row, column] = True


def near_stars(fate: Fate, name: str, truth: Path, caused: np.ndarray) -> tuple[np.ndarray, list]:
    """The pixels within one FWHM of stars; fluxes of stars without ``caused``, with and without rejection."""
    table = np.load(truth / "positions" / f"{name}.npy")
    table = table[table["electrons"] > LEAST_STAR]
    near, pairs = np.zeros(fate.state.shape[1:], bool), []
    for array in (1, 2, 3, 4):
        part = table[table["array"] == array]
        row, column, inside = on_stack(fate, 0, array, part["x"], part["y"])
        near[row, column] = True
        for y, x, light in zip(row, column, part["electrons"][inside], strict=True):
            box = (slice(y - APERTURE, y + APERTURE + 1), slice(x - APERTURE, x + APERTURE + 1))
            clean = min(y, x) > APERTURE and not caused[box].any() and fate.state[:, y, x].min() < 4
            if clean and 3e4 < light < 6e5:
                pairs.append((fate.kept[box].sum(), fate.plain[box].sum()))
    y, x = np.mgrid[-FWHM : FWHM + 1, -FWHM : FWHM + 1]
    return ndimage.binary_dilation(near, np.hypot(x, y) <= FWHM), pairs


def report_hits(hits: np.ndarray) -> None:
    """Print what became of hits, by the number of exposures that overlap there."""
    sigmas, overlap, state = hits
    seen = state != NO_SAMPLE
    for low, high in ((1, 1), (2, 2), (3, 4), (ENOUGH, 99)):
        chosen = seen & (overlap >= low) & (overlap <= high) & (sigmas > HIT)
        lost = np.mean(state[chosen] != 1) if chosen.any() else np.nan
        print(
            f"hits above {HIT:g} sigma, {low}-{high} exposures: {chosen.sum()}, masked or rejected {lost:.4f}"
        )
    for low, high in ((5, 7), (7, 10), (10, 20), (20, 1e9)):
        chosen = seen & (overlap >= ENOUGH) & (sigmas > low) & (sigmas <= high)
        lost = np.mean(state[chosen] != 1) if chosen.any() else np.nan
        print(f"  of {low:g}-{high:g} sigma: {chosen.sum()}, {lost:.4f}")


def report_losses(fate: Fate, struck: list[np.ndarray], stars: np.ndarray) -> None:
    """Print how many samples without a cause were rejected, on sky and near stars."""
    enough = (fate.state != NO_SAMPLE).sum(axis=0) >= ENOUGH
    for where, place in (("sky", enough & ~stars), ("within one FWHM of stars", enough & stars)):
        total = lost = 0
        for state, caused in zip(fate.state, struck, strict=True):
            chosen = place & ~caused & (state >= 1) & (state != NO_SAMPLE)
            total, lost = total + int(chosen.sum()), lost + int((state[chosen] > 1).sum())
        print(f"falsely rejected, {where}: {1e4 * lost / max(total, 1):.2f} of 10000 ({total} samples)")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("playground", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("-p", "--parameter", action="append", default=[])
    given = parser.parse_args()
    kinds = {each["name"]: each["kind"] for each in json.loads((given.truth / "exposures.json").read_text())}
    there = sorted(path.name[:14] for path in given.playground.glob("*_skyCorrected.fits"))
    fate = stack_again(given.playground, [n for n in there if kinds[n] == "science"], given.parameter)
    names = [exposure.frame.path.name[:14] for exposure in fate.exposures]
    detector, hits, struck = np.load(given.truth / "detector.npz"), [], []
    for number, name in enumerate(names):
        marked = np.zeros(fate.state.shape[1:], bool)
        hits.append(follow_hits(fate, number, name, given.truth, marked))
        mark_defects(fate, number, detector, marked)
        struck.append(ndimage.binary_dilation(marked, np.ones((2 * NEAR + 1, 2 * NEAR + 1))))
    report_hits(np.concatenate(hits, axis=1))
    caused = [
        marked & (state >= 2) & (state != NO_SAMPLE) for state, marked in zip(fate.state, struck, strict=True)
    ]
    stars, pairs = near_stars(fate, names[0], given.truth, np.any(caused, axis=0))
    report_losses(fate, struck, stars)
    ratio = np.array([with_ / without for with_, without in pairs]) - 1
    spread = 1.4826 * np.median(np.abs(ratio - np.median(ratio)))
    print(f"{ratio.size} stars with / without rejection: median {np.median(ratio):+.5f}, MAD {spread:.5f}, "
          f"beyond 0.1 %: {np.mean(np.abs(ratio) > 1e-3):.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
