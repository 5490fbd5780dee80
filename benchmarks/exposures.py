"""Compare a flat and single exposures with the truth of a simulated night: response, noise, level, steps.

Usage: python benchmarks/exposures.py PLAYGROUND TRUTH_FOLDER [S20170505S0099 ...]

The truth must hold the noiseless electrons (`--noiseless`); exposures are read over the full arrays.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from reducer import dq
from reducer.fitsio import open_frame, read_chip
from reducer.frame import Chip
from reducer.sky.objects import block_means

CORNERS = ((0, -1), (-1, -1), (-1, 0), (0, 0))
#: Pixels of a cell in which residuals are averaged: rows, columns.
CELL = (64, 32)
#: Columns of the narrowest channel that may show a step, and of the widest.
CHANNEL = 512


def mad(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def noiseless(truth: Path, name: str) -> np.ndarray:
    return np.load(truth / "noiseless" / f"{name}.npy", mmap_mode="r")


def report_flat(path: Path, truth: Path) -> list[Chip]:
    """Print the flat against lamp on minus lamp off without noise; returns its chips."""
    frame = open_frame(path)
    flat = [read_chip(frame, index) for index in range(len(frame.chips))]
    on = noiseless(truth, path.name[:14])
    off = noiseless(truth, next(e["name"] for e in exposures(truth) if e["kind"] == "lamp-off"))
    response = [np.asarray(on[index]) - np.asarray(off[index]) for index in range(len(flat))]
    good = [chip.mask & dq.UNUSABLE == 0 for chip in flat]
    level = np.median(np.concatenate([part[usable] for part, usable in zip(response, good, strict=True)]))
    for index, (chip, part, usable) in enumerate(zip(flat, response, good, strict=True), 1):
        error = chip.data[usable] / (part[usable] / level) - 1
        expected = np.sqrt(chip.variance[usable]) / chip.data[usable]
        bias, ratio = np.median(error), mad(error / expected)
        print(f"flat, array {index}: bias {bias:+.5f}, scatter {mad(error):.5f}, over sqrt(VAR) {ratio:.3f}")
    return flat


def exposures(truth: Path) -> list[dict]:
    return json.loads((truth / "exposures.json").read_text())


def residual_cells(chip: Chip, true: np.ndarray) -> np.ndarray:
    """Medians of data minus truth in cells; NaN where few pixels are usable."""
    means, counts = block_means((chip.data - true).astype(np.float32), chip.mask)
    means = np.where(counts > 8, means, np.nan)
    rows, columns = CELL[0] // 4, CELL[1] // 4
    shape = (means.shape[0] // rows, rows, means.shape[1] // columns, columns)
    cells = means.reshape(shape).swapaxes(1, 2).reshape(shape[0], shape[2], -1)
    known = np.isfinite(cells).any(axis=2)
    medians = np.full(known.shape, np.nan)
    medians[known] = np.nanmedian(cells[known], axis=1)
    return medians


def report_exposure(path: Path, truth: Path, flat: list[Chip], sky: float, scale: float) -> None:
    """Print noise, level and channel steps of one exposure; ``sky``: its electrons in the truth's table."""
    frame = open_frame(path)
    true = noiseless(truth, path.name[:14])
    noise, cells, design = [], [], []
    for index in range(len(frame.chips)):
        chip = read_chip(frame, index)
        expected = np.asarray(true[index]) / np.where(flat[index].data > 0, flat[index].data, 1)
        usual = (chip.mask == 0) & (chip.variance < 1.3 * np.median(chip.variance))
        error = (chip.data - expected)[usual]
        noise.append(mad((error - np.median(error)) / np.sqrt(chip.variance[usual])))
        cells.append(residual_cells(chip, expected))
        design.append(places(index, cells[-1].shape))
    level, steps = split(cells, np.concatenate(design))
    told = ""
    if path.stem.endswith("_skyCorrected"):
        told = f", level error {-level - scale * sky:+.1f}, stated sigma {frame.header.get('SKYSIGMA')}"
    ratios, rms = (" ".join(f"{value:.3f}" for value in values) for values in (noise, steps))
    print(f"{path.name[:14]}: noise over sqrt(VAR) {ratios}, channel steps rms {rms}{told}")


def places(index: int, shape: tuple[int, ...]) -> np.ndarray:
    """A constant, and the places of an array's cells in the field in units of an array's side."""
    y, x = (np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5) / np.array(shape)[:, None, None]
    right, up = CORNERS[index]
    return np.stack([np.ones(x.size), right + x.ravel(), up + y.ravel()], axis=1)


def split(cells: list[np.ndarray], design: np.ndarray) -> tuple[float, list[float]]:
    """The constant of a clipped plane through all cells, and the rms of the channels in each array."""
    values = np.concatenate([part.ravel() for part in cells])
    kept = np.isfinite(values)
    for _ in range(4):
        solution = np.linalg.lstsq(design[kept], values[kept], rcond=None)[0]
        residual = values - design @ solution
        kept = np.isfinite(residual) & (np.abs(residual) < 3 * mad(residual[kept]))
    steps, start = [], 0
    for part in cells:
        left = residual[start : start + part.size].reshape(part.shape)
        profile = np.nanmedian(left, axis=0).reshape(-1, CHANNEL // CELL[1])
        steps.append(float(np.std(np.nanmedian(profile, axis=1))))
        start += part.size
    return float(solution[0]), steps


def sky_scale(skies: list[Path], truth: Path, flat: list[Chip], known: dict[str, float]) -> float:
    """Electrons of the sky in flat-fielded data over those in the truth's table, from sky exposures."""
    found = []
    for path in skies[:3]:
        true = noiseless(truth, path.name[:14])
        for index, chip in enumerate(flat):
            good = (chip.mask == 0)[::4, ::4]
            light = np.asarray(true[index][::4, ::4])[good] / chip.data[::4, ::4][good]
            found.append(np.median(light) / known[path.name[:14]])
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("playground", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    flat = report_flat(sorted(given.playground.glob("*_flat.fits"))[0], given.truth)
    known = {exposure["name"]: exposure["sky_electrons"] for exposure in exposures(given.truth)}
    skies = sorted(given.playground.glob("*_flatCorrected.fits"))
    scale = sky_scale(skies, given.truth, flat, known)
    for path in [*skies, *sorted(given.playground.glob("*_skyCorrected.fits"))]:
        if path.name[:14] in (given.names or known):
            report_exposure(path, given.truth, flat, known[path.name[:14]], scale)


if __name__ == "__main__":
    main()
