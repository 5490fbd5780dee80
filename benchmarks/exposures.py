"""Compare a flat and single exposures with the truth of a simulated night: response, noise, level, steps.

Usage: python benchmarks/exposures.py PLAYGROUND TRUTH_FOLDER [S20170505S0099 ...]

Raw frames are read from `playdata` beside the playground, where they are. The truth must hold the noiseless
electrons (`--noiseless`); only exposures of whole arrays are compared.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from reducer import dq
from reducer.detector import ArrayReadout, correct
from reducer.fitsio import open_frame, read_chip
from reducer.frame import Chip
from reducer.keywords import Region
from reducer.sky.readout_offsets import mean_reference_pixels

CORNERS = ((0, -1), (-1, -1), (-1, 0), (0, 0))
#: Pixels of a cell in which residuals are averaged: rows, columns.
CELL = (64, 32)
#: Standard deviations beyond which a pixel does not count in its cell.
FAR = 5.0
#: Columns of a channel whose step is looked for.
CHANNEL = 512


def mad(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def noiseless(truth: Path, name: str) -> np.ndarray:
    return np.load(truth / "noiseless" / f"{name}.npy", mmap_mode="r")


def flagged(truth: Path, name: str) -> np.ndarray:
    """The pixels that the truth knows to be odd: hot, dim, in the tree, or struck; (4, 2048, 2048)."""
    detector = np.load(truth / "detector.npz")
    odd = (detector["dark"] > 0.1) | (detector["response"] < 0.5) | detector["tree"]
    hits = np.load(truth / "cosmic_rays" / f"{name}.npy")
    odd[hits["array"] - 1, hits["y"] - 1, hits["x"] - 1] = True
    return odd


def local_noise(error: np.ndarray, variance: np.ndarray, chosen: np.ndarray) -> float:
    """The scatter of errors, each over its own sigma, about the medians of 64x64 pixels."""
    tiles = np.where(chosen, error, np.nan).reshape(32, 64, 32, 64).swapaxes(1, 2).reshape(1024, -1)
    known = np.isfinite(tiles).any(axis=1)
    medians = np.zeros(1024)
    medians[known] = np.nanmedian(tiles[known], axis=1)
    spread = np.repeat(np.repeat(medians.reshape(32, 32), 64, axis=0), 64, axis=1)
    return mad(((error - spread) / np.sqrt(variance))[chosen])


def small_boxes(error: np.ndarray, variance: np.ndarray, chosen: np.ndarray) -> tuple[float, float]:
    """Variance of means of 32 pixels, less the medians of 6x6 such boxes, beyond what the pixels' variances
    predict, and its statistical error, electrons squared."""

    def fold(image: np.ndarray) -> np.ndarray:
        sums = np.where(chosen, image, 0.0)[:1920, :1920].reshape(60, 32, 60, 32).sum(axis=(1, 3))
        return np.asarray(sums.reshape(10, 6, 10, 6).swapaxes(1, 2).reshape(100, 36))

    count = fold(np.ones(error.shape))
    boxes = np.where(count > 500, fold(error) / np.maximum(count, 1), np.nan)
    enough = np.isfinite(boxes).sum(axis=1) > 8
    boxes, count, noise = (
        boxes[enough],
        count[enough],
        np.sqrt(fold(variance)[enough]) / np.maximum(count[enough], 1),
    )
    # A median of n takes 0.43 of n of their variance along: pi / 2 of its own, twice 1 of what it shares.
    taken = 1 - 0.43 / np.isfinite(boxes).sum(axis=1, keepdims=True)
    pulls = (boxes - np.nanmedian(boxes, axis=1)[:, None]) / noise / np.sqrt(taken)
    kept = np.abs(pulls) < 4
    size = float(np.median(noise[kept])) ** 2
    return (float(np.mean(pulls[kept] ** 2)) - 1) * size, size * float(np.sqrt(2 / kept.sum()))


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


def report_raw(path: Path, truth: Path) -> None:
    """Print how linear electrons and flags of a raw frame agree with what fell on the pixels."""
    frame, true = open_frame(path), noiseless(truth, path.name[:14])
    full, odd = np.load(truth / "detector.npz")["full"], flagged(truth, path.name[:14])
    worst, missed, early, below, void = (0.0, 0.0), 0, 0, 0, 0
    for index in range(4):
        levels = frame.instrument.levels(frame.header, index + 1)
        exposure = ArrayReadout(levels, 1)
        raw = read_chip(frame, index).data
        data, variance, mask, _ = correct(raw, exposure)
        # Of each channel the median of its groups of columns: a streak runs over the edge of array 3.
        offsets = np.median(
            mean_reference_pixels(raw, Region(0, 2048, 0, 2048), frame.array(index), levels).reshape(4, -1),
            axis=1,
        )
        data = data - np.repeat(offsets, CHANNEL)
        a0, a1, a2 = levels.linearity
        well = full[index] * (a0 + full[index] * (a1 + full[index] * a2))
        good = ~odd[index] & (true[index] > 0) & (true[index] < 0.9 * well)
        for low in np.geomspace(100.0, 1e5, 13):
            level = good & (true[index] >= low) & (true[index] < 1.7 * low)
            if level.sum() > 20_000:
                mean = float(np.mean(true[index][level]))
                limit = max(0.001 * mean, 0.5)
                noise = own_noise(level, variance, levels.read_noise)
                worst = max(worst, (abs(float(np.mean(data[level])) - mean) / limit, noise / limit))
        saturated = mask & dq.SATURATED > 0
        missed += int((~saturated & (true[index] > 1.05 * well)).sum())
        early += int((saturated & ~odd[index] & (true[index] < 0.95 * well)).sum())
        below += int((true[index] < 0.95 * well).sum())
        void += int(((mask & dq.UNUSABLE == 0) & (variance <= 0)).sum())
    print(f"{path.name[:14]} raw: linear electrons off by {worst[0]:.2f} of the limit (the comparison's own "
          f"noise there: {worst[1]:.2f}), not flagged {missed}, flagged too early {early / below:.1e}, "
          f"unflagged VAR <= 0: {void}")  # fmt: skip


def own_noise(chosen: np.ndarray, variance: np.ndarray, read_noise: float) -> float:
    """Error of the mean of chosen pixels: their noise, and that of the channels' offsets, each the median of
    8 means of 512 reference pixels."""
    parts = chosen.sum(axis=0).reshape(4, -1).sum(axis=1) / chosen.sum()
    offset = 1.25 * read_noise / np.sqrt(8 * CHANNEL)
    return float(np.sqrt(np.mean(variance[chosen]) / chosen.sum() + np.sum((parts * offset) ** 2)))


def exposures(truth: Path) -> list[dict]:
    return json.loads((truth / "exposures.json").read_text())


def residual_cells(error: np.ndarray, variance: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean errors of the chosen pixels in cells, and the weights (one over the variance) of these means."""
    middle = np.median(error[chosen])
    near = chosen & (np.abs(error - middle) < FAR * np.sqrt(variance))
    weight = np.divide(near, variance, out=np.zeros(error.shape), where=near)
    shape = (2048 // CELL[0], CELL[0], 2048 // CELL[1], CELL[1])
    weights = weight.reshape(shape).sum(axis=(1, 3))
    total = (error * weight).reshape(shape).sum(axis=(1, 3))
    return np.stack([total / np.maximum(weights, 1e-12), weights])


def report_exposure(path: Path, truth: Path, flat: list[Chip], sky: float, scale: float) -> None:
    """Print noise, level and channel steps of one exposure; ``sky``: its electrons in the truth's table."""
    frame = open_frame(path)
    true = noiseless(truth, path.name[:14])
    noise, cells, design, boxes, odd = [], [], [], [], flagged(truth, path.name[:14])
    for index in range(len(frame.chips)):
        chip = read_chip(frame, index)
        expected = np.asarray(true[index]) / np.where(flat[index].data > 0, flat[index].data, 1)
        blank = (chip.mask == 0) & ~odd[index] & (true[index] < 1.1 * np.median(true[index]))
        error = chip.data - expected
        noise.append(local_noise(error, chip.variance, blank))
        boxes.append(small_boxes(error, chip.variance, blank))
        seen = (chip.mask & dq.UNUSABLE == 0) & ~odd[index]
        cells.append(residual_cells(error, chip.variance, seen))
        design.append(places(index, cells[-1].shape[1:]))
    level, steps, own = split(cells, np.concatenate(design))
    told = ""
    if path.stem.endswith("_skyCorrected"):
        told = f", level error {-level - scale * sky:+.1f}, stated sigma {frame.header.get('SKYSIGMA')}"
    ratios, rms = (" ".join(f"{value:.3f}" for value in values) for values in (noise, steps))
    excess, error = (
        np.mean([found for found, _ in boxes]),
        np.sqrt(sum(own**2 for _, own in boxes)) / len(boxes),
    )
    every = np.mean(np.square(steps))
    print(f"{path.name[:14]}: noise over sqrt(VAR) {ratios}, channel steps {rms}, rms {np.sqrt(every):.3f}, "
          f"beyond their own noise {np.sqrt(max(every - own, 0.0)):.3f}, "
          f"boxes beyond noise {np.sqrt(max(excess, 0)):.2f} (squared: {excess:+.3f} +- {error:.3f}){told}"
          )  # fmt: skip


def places(index: int, shape: tuple[int, ...]) -> np.ndarray:
    """A constant, and the places of an array's cells in the field in units of an array's side."""
    y, x = (np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5) / np.array(shape)[:, None, None]
    right, up = CORNERS[index]
    return np.stack([np.ones(x.size), right + x.ravel(), up + y.ravel()], axis=1)


def fit_plane(values: np.ndarray, weights: np.ndarray, design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A weighted fit without the cells that deviate, and what is left of all cells."""
    kept = weights > 0
    for _ in range(4):
        root = np.sqrt(weights[kept])
        solution = np.linalg.lstsq(design[kept] * root[:, None], values[kept] * root, rcond=None)[0]
        residual = values - design @ solution
        pull = residual * np.sqrt(weights)
        kept = (weights > 0) & (np.abs(pull) < 3 * mad(pull[kept]))
    return solution, residual


def split(cells: list[np.ndarray], design: np.ndarray) -> tuple[float, list[float], float]:
    """The constant of a clipped plane through all cells; the rms of the channels in each array; the mean
    square that the noise of the pixels alone gives these.

    For the channels each array has a level of its own, lest a wrong one look like a gradient.
    """
    values, weights = np.concatenate([part.reshape(2, -1) for part in cells], axis=1)
    level = fit_plane(values, weights, design)[0][0]
    own = np.repeat(np.eye(len(cells)), [part[0].size for part in cells], axis=0)
    residual = fit_plane(values, weights, np.hstack([own, design[:, 1:]]))[1]
    steps, noises, start = [], [], 0
    for part in cells:
        size, columns = part[0].size, part.shape[2] * CELL[1] // CHANNEL
        left, weight = (
            each[start : start + size].reshape(-1, columns, CHANNEL // CELL[1])
            for each in (residual, weights)
        )
        total = weight.sum(axis=(0, 2))
        steps.append(float(np.std((left * weight).sum(axis=(0, 2)) / total)))
        noises.append(float(np.mean(1.0 / total)) * (1.0 - 1.0 / columns))
        start += size
    return float(level), steps, float(np.mean(noises))


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


def is_whole(path: Path) -> bool:
    """Whether a frame shows whole arrays."""
    return all(chip["NAXIS1"] == 2048 for chip in open_frame(path).chips)


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
    found = [path for path in given.playground.glob("S*Corrected.fits") if is_whole(path)]
    on_target = sorted(path for path in found if path.stem.endswith("_skyCorrected"))
    kept = {path.name[:14] for path in on_target}
    skies = sorted(path for path in found if path.name[:14] not in kept)
    scale = sky_scale(skies, given.truth, flat, known)
    for path in [*skies, *on_target]:
        if path.name[:14] in (given.names or known):
            raw = given.playground.parent / "playdata" / f"{path.name[:14]}.fits"
            if raw.exists():
                report_raw(raw, given.truth)
            report_exposure(path, given.truth, flat, known[path.name[:14]], scale)


if __name__ == "__main__":
    main()
