"""Draw the pictures of why/: each decision on simulated data, by the program's own functions."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from calstore.associate import PROCESSED_FLAT, Calibration, Match, Need, best
from reducer.align.resample import KERNELS
from reducer.instruments import KNOWN
from reducer.sky.level import follow
from reducer.stack.coadd import RejectionMethod, Samples, combine
from reducer.stack.noise import Contribution, Sampling, correlate, noise_table
from reducer.steps.separate import link
from reducer.steps.stacking import sharpness_of

FOLDER = Path(__file__).parent / "images"
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#666666"
#: Pixels along a side of the picture of noise, and its exposures.
SIDE, EXPOSURES = 1200, 16
FIELD = KNOWN["GSAOI"].field


def draw_sky() -> Figure:
    """Levels of nine exposures on a galaxy, from seven skies taken after them, against the truth."""
    rng = np.random.default_rng(7)
    minutes = np.arange(16) * 1.05 + np.where(np.arange(16) > 8, 7.0, 0.0)
    drift = 3220 * (1 - 0.0018 * minutes - 0.004 * np.sin(minutes / 5))
    truth = drift * (1 + rng.normal(0, 0.002, 16))
    on, off = slice(0, 9), slice(9, 16)
    differences = truth[on] - truth[on].mean() + rng.normal(0, 1.0, 9)
    course = follow(60 * minutes[off], truth[off], 60 * minutes[on], differences)
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(minutes[on], truth[on], "o", mfc="none", color="black", ms=9, label="true level, on target")
    axes.plot(minutes[off], truth[off], "s", color=GREY, label="sky exposures")
    axes.errorbar(minutes[on], course.levels, course.sigma, fmt="o", ms=4, color=BLUE, label="level=follow")
    axes.axhline(truth[9], xmax=0.5, color=ORANGE, label="level=first: the first sky for all")
    axes.set(xlabel="minutes", ylabel="sky (electrons)", title="The sky fades while the target is observed")
    axes.legend(frameon=False, fontsize=8.5)
    return figure


def draw_noise() -> Figure:
    """Noise of boxes in a resampled field of pure noise, measured and as the table NOISE predicts it."""
    rng = np.random.default_rng(3)
    stack, variance = np.zeros((SIDE, SIDE)), 0.0
    # Within an exposure every part of a pixel occurs, since the distortion varies: so do they here.
    parts = np.stack(np.meshgrid(*[np.arange(0.125, 1, 0.25)] * 2), axis=-1).reshape(-1, 2)
    places = rng.integers(-8, 8, (EXPOSURES, 2)) + parts
    for shift in places:
        down, along = (_taps(fraction) for fraction in shift % 1.0)
        field = rng.normal(0, 1, (SIDE + 6, SIDE + 6))
        rows = sum(w * field[k : k + SIDE] for k, w in enumerate(down))
        stack += sum(w * rows[:, k : k + SIDE] for k, w in enumerate(along)) / EXPOSURES
        variance += float((down**2).sum() * (along**2).sum()) / EXPOSURES**2
    sizes = np.array([1, 2, 3, 4, 6, 8, 10, 12, 16])
    measured = [_box_noise(stack, int(size)) / (size * variance**0.5) for size in sizes]
    each = [Contribution(1 / EXPOSURES, (float(x), float(y)), 1.0) for x, y in places]
    table = noise_table(each, correlate("keys6", Sampling(1.0)))
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(sizes, measured, "o", color=BLUE, label="measured in simulated noise")
    axes.plot(table["n"], table["ratio"], color=ORANGE, label="table NOISE, from the kernel alone")
    axes.axhline(1, color="black", lw=0.6, ls=":", label="if pixels were independent")
    axes.set(xlim=(0, 18), ylim=(0.9, None), xlabel="side of a box (pixels)", ylabel="noise / √ΣVAR")
    axes.legend(frameon=False, fontsize=8.5)
    return figure


def _taps(fraction: float) -> np.ndarray:
    weights = KERNELS["keys6"](np.abs(np.arange(-2, 4) - fraction))
    return np.asarray(weights / weights.sum())


def _box_noise(image: np.ndarray, size: int) -> float:
    count = SIDE // size
    cut = image[: count * size, : count * size]
    return float(cut.reshape(count, size, count, size).sum(axis=(1, 3)).std())


def draw_geometry() -> Figure:
    """What the static model takes out: displacements from a linear map, and the area of a pixel."""
    figure = Figure(figsize=(7.2, 3.5), layout="constrained")
    arrows, areas = figure.subplots(1, 2)
    step = np.linspace(24, 2024, 9)
    x, y = (grid.ravel() for grid in np.meshgrid(step, step))
    places, drawn = [], None
    for array in (1, 2, 3, 4):
        u, v = FIELD.maps[array - 1].evaluate(x, y)
        design = np.stack([np.ones_like(x), x, y], axis=1)
        fits = [design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in (u, v)]
        arrows.quiver(u, v, u - fits[0], v - fits[1], angles="xy", scale_units="xy", scale=0.02, color=BLUE)
        places.append((u, v, _areas(array, x, y)))
    for u, v, area in places:
        drawn = areas.scatter(
            u, v, c=area / 0.0197**2, s=60, marker="s", cmap="viridis", vmin=0.96, vmax=1.04
        )
    figure.colorbar(drawn, ax=areas, label="area of a pixel / (0.0197 arcsec)²")
    arrows.set_title("distortion of each array, 50 times", fontsize=10)
    for axes in (arrows, areas):
        axes.set(aspect=1, xlabel="arcsec")
    return figure


def _areas(array: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    here, along, up = (
        np.stack(FIELD.maps[array - 1].evaluate(x + i, y + j)) for i, j in ((0, 0), (1, 0), (0, 1))
    )
    return np.abs(np.linalg.det(np.stack([along - here, up - here]).T))


def draw_calibrations() -> Figure:
    """Five flats on a line of time, and what the rules say of each for one exposure."""
    night = dt.datetime(2017, 5, 5, 3, 22)
    flats = [("a", -92.5, "Kshort"), ("b", -12.0, "Kshort"), ("c", -0.3, "J"), ("d", 0.33, "Kshort"),
             ("e", 9.0, "Kshort")]  # fmt: skip
    known = [
        Calibration(kind=PROCESSED_FLAT, path=f"{name}_flat.fits", when=night + dt.timedelta(days),
                    filter_name=filter_name)
        for name, days, filter_name in flats
    ]  # fmt: skip
    match = best(Need(kind=PROCESSED_FLAT, when=night, filter_name="Kshort"), known)
    assert isinstance(match, Match)
    reasons: dict[str, Any] = {one.calibration.name: one.reason for one in match.rejected}
    reasons[match.calibration.name] = "taken: " + match.reason.split("; ")[-1]
    figure = Figure(figsize=(9.2, 2.6), layout="constrained")
    axes = figure.subplots()
    for row, (name, days, filter_name) in enumerate(flats):
        file = f"{name}_flat.fits"
        colour = GREEN if file == match.calibration.name else GREY
        axes.plot(days, -row, "o", color=colour)
        axes.text(36, -row, f"{filter_name}: {reasons[file]}", va="center", fontsize=8.5, color=colour)
    axes.axvspan(-30, 30, color=BLUE, alpha=0.08)
    axes.axvline(0, color=BLUE, lw=0.8)
    axes.set_yticks(-np.arange(len(flats)), [f"{name}_flat.fits" for name, *_ in flats])
    axes.set(xlim=(-100, 260), xticks=(-90, -60, -30, 0, 30))
    axes.set_xlabel("days from the exposure in Kshort; shaded: what may be used", loc="left")
    return figure


def draw_rejection() -> Figure:
    """Flux that a stack keeps of stars whose images differ in width, with and without allowance for that."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[-14:15, -14:15]
    fwhm = rng.uniform(3.9, 4.9, 9)
    scales, allowed = fwhm / 2 / np.sqrt(2 ** (1 / 3) - 1), sharpness_of(fwhm)  # Moffat's profile of power 3
    inside = np.hypot(x, y) < 12
    peaks, kept = np.geomspace(1000, 60_000, 10), {}
    for sharpness in (allowed, 0.0):
        errors = []
        for peak in peaks:
            stars = np.stack([peak * (4.3 / w) ** 2 / (1 + (x**2 + y**2) / w**2) ** 3 for w in scales])
            data = stars + rng.normal(0, np.sqrt(400 + stars))
            data[4, 14, 17] += 3000  # a cosmic ray, three pixels from the star
            samples = Samples(*_float(data, 400 + stars), *_filled(data.shape))
            made = combine(samples, np.ones((9, 5)), np.full(9, 60.0), RejectionMethod(sharpness=sharpness))
            errors.append(100 * (made.data[inside].sum() / stars.mean(axis=0)[inside].sum() - 1))
        kept[sharpness] = errors
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(peaks, kept[allowed], "o-", color=BLUE, label="as exposures of these widths may differ")
    axes.semilogx(peaks, kept[0.0], "s-", color=ORANGE, label="with the noise model alone")
    axes.axhline(0, color="black", lw=0.6, ls=":")
    axes.set(xlabel="peak of the star (electrons)", ylabel="error of its flux (%)")
    axes.legend(frameon=False, fontsize=8.5)
    return figure


def _float(*planes: np.ndarray) -> list[np.ndarray]:
    return [plane.astype(np.float32) for plane in planes]


def _filled(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A mask that flags nothing, and the number of the array that saw each sample."""
    return np.zeros(shape, np.uint16), np.ones(shape, np.uint8)


def draw_pointing() -> Figure:
    """Sixteen pointings, told apart by how near they lie to each other."""
    rng = np.random.default_rng(5)
    east = np.concatenate([rng.uniform(-3, 3, 9), -215 + rng.uniform(-12, 12, 7)])
    north = np.concatenate([rng.uniform(-3, 3, 9), 215 + rng.uniform(-12, 12, 7)])
    side = FIELD.side
    distance = 0.9 * side
    groups = link(east, north, distance)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for group, colour, words in ((0, BLUE, "on the target"), (1, ORANGE, "sky")):
        chosen = groups == group
        axes.plot(east[chosen], north[chosen], "o", color=colour, ms=4, label=f"{chosen.sum()} {words}")
        centre = east[chosen].mean(), north[chosen].mean()
        axes.add_patch(Rectangle((centre[0] - side / 2, centre[1] - side / 2), side, side,
                                 fill=False, color=colour, lw=0.8))  # fmt: skip
    axes.annotate("", (-distance, -70), (0, -70), arrowprops={"arrowstyle": "<->", "color": GREY})
    axes.text(-distance / 2, -84, f"frac_FOV: {distance:.0f} arcsec", ha="center", fontsize=8.5, color=GREY)
    axes.set(aspect=1, xlabel="arcsec east", ylabel="arcsec north", xlim=(70, -300), ylim=(-90, 290))
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    return figure


PICTURES = {
    "why-pointing.png": draw_pointing,
    "why-rejection.png": draw_rejection,
    "why-sky.png": draw_sky,
    "why-noise.png": draw_noise,
    "why-geometry.png": draw_geometry,
    "why-calibrations.png": draw_calibrations,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        draw().savefig(FOLDER / name, dpi=110, facecolor="white")
