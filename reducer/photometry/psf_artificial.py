"""Artificial stars, added to an image and sought again: what is found, and how well it is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from reducer.photometry.psf import Psf, add_stars
from reducer.photometry.psf_fit import THRESHOLD, Image, begin, fit_scene, light_errors, reaches
from reducer.photometry.psf_quality import judge
from reducer.types import F64, Table

#: An artificial star: its pixel, light, the light that was found (NaN: it was not) and its formal error, how
#: far off in pixels with its formal error, and how many real stars there are about it against the mean.
TRIAL = np.dtype(
    [("x", "f8"), ("y", "f8"), ("light", "f8"), ("found", "f8"), ("error", "f8"), ("away", "f8"),
     ("away_error", "f8"), ("weight", "f8")]
)  # fmt: skip
#: What artificial stars of about one magnitude tell: see ``completeness``.
ROW = np.dtype(
    [("FLUX", "f8"), ("NUMBER", "i4"), ("FRACTION", "f8"), ("BIAS", "f8"), ("SCATTER", "f8"),
     ("FORMAL", "f8"), ("EXCESS", "f8"), ("POSITION_EXCESS", "f8")]
)  # fmt: skip
#: Pixels between artificial stars, so that none disturbs another; at most so many at a time, at least in all,
#: and rounds at most.
APART, MOST, ENOUGH, MOST_ROUNDS = 40, 9000, 2500, 6
#: Magnitudes from the limit of detection down and up in which they are, and the part of them near it.
BRIGHTER, FAINTER, NEAR, MOST_NEAR = 5.0, 1.25, 1.5, 0.65
#: How near the place a star has to be found, FWHM, and how far off in magnitude.
FOUND, ALIKE = 0.6, 0.75
#: Magnitudes between the rows of the table, about each within which stars tell a scatter, and the fewest
#: that do.
BIN, WINDOW, FEWEST = 0.25, 0.4, 20
#: Squares along the longer side in which real stars are counted, and how many there are to be in each.
MOST_SQUARES, PER_SQUARE = 8, 30
MAG = 2.5 / np.log(10.0)


def try_stars(image: Image, psf: Psf, stars: Table, enough: int = ENOUGH, seed: int = 1) -> Table:
    """At least ``enough`` artificial stars (dtype TRIAL) of an image whose ``stars`` are known, each sought
    as those were; fewer where the image has no room for so many in MOST_ROUNDS."""
    rng = np.random.default_rng([seed, len(stars)])
    scene = begin(image)
    limit = THRESHOLD * float(np.median(light_errors(stars, scene, psf)))
    slope = photons_per_light(image)
    trials: list[Table] = []
    for _ in range(MOST_ROUNDS):
        trial = _draw(image, psf, limit, rng)
        trials.append(_try(image, psf, stars, trial, slope, rng))
        if sum(map(len, trials)) >= enough:
            break
    trial = np.concatenate(trials)
    trial["weight"] = weigh_by_crowding(trial, stars, image.data.shape)
    return trial


def photons_per_light(image: Image) -> float:
    """By what the variance of a pixel grows with its light, from the brightest pixels."""
    good = ~image.bad[::2, ::2]
    data, variance = image.data[::2, ::2][good].astype(float), image.variance[::2, ::2][good].astype(float)
    level, noise = np.median(data), np.median(variance)
    bright = data > level + 3.0 * np.sqrt(noise)
    if bright.sum() < 30:
        return 0.0
    light = data[bright] - level
    return max(
        float(
            np.median((variance[bright] - noise)[light > np.median(light)] / light[light > np.median(light)])
        ),
        0.0,
    )


def _draw(image: Image, psf: Psf, limit: float, rng: np.random.Generator) -> Table:
    """Places on good pixels, a grid of them with some jitter, and light about the limit."""
    height, width = image.data.shape
    step = max(APART, np.sqrt(height * width / MOST))
    first = rng.uniform(4, step, 2)
    x, y = np.meshgrid(np.arange(first[0], width - 4, step), np.arange(first[1], height - 4, step))
    x, y = (axis.ravel() + rng.uniform(-0.1, 0.1, x.size) * step for axis in (x, y))
    x, y = np.clip(x, 3, width - 4), np.clip(y, 3, height - 4)
    good = ~image.bad[np.rint(y).astype(int), np.rint(x).astype(int)]
    trial = np.zeros(int(good.sum()), TRIAL)
    trial["x"], trial["y"] = x[good], y[good]
    near = rng.random(len(trial)) < MOST_NEAR
    fainter = np.where(
        near, rng.uniform(-NEAR, FAINTER, len(trial)), rng.uniform(-BRIGHTER, -NEAR, len(trial))
    )
    trial["light"] = limit * 10.0 ** (-0.4 * fainter)
    return trial


def _try(image: Image, psf: Psf, stars: Table, trial: Table, slope: float, rng: np.random.Generator) -> Table:
    """The trial with what is found of it."""
    scene = begin(image)
    light = np.zeros_like(image.data)
    drawn = np.zeros(len(trial), stars.dtype)
    drawn["flux"] = trial["light"]
    columns = (trial[name].copy() for name in ("x", "y", "light"))
    add_stars(light, *columns, reaches(drawn, scene, psf), psf.tables, psf.powers, psf.frame, psf.wing)
    more = np.maximum(slope * light, np.float32(0.0))
    noise = rng.standard_normal(light.shape, np.float32) * np.sqrt(more) * np.float32(image.correlated)
    changed = replace(image, data=image.data + light + noise, variance=image.variance + more)
    scene = begin(changed)
    found = judge(scene, fit_scene(scene, psf), psf)
    return _match(trial, found, stars, FOUND * psf.fwhm)


def _match(trial: Table, found: Table, stars: Table, radius: float) -> Table:
    """What was found at the places: not where a real star is that is brighter, nor of quite another light."""
    places = np.stack([trial["x"], trial["y"]], axis=1)
    if not len(found):
        trial["found"] = np.nan
        return trial
    away, which = cKDTree(np.stack([found["x"], found["y"]], axis=1)).query(places)
    known = cKDTree(np.stack([stars["x"], stars["y"]], axis=1)).query_ball_point(places, radius)
    beneath = np.array([stars["flux"][index].max(initial=0.0) for index in known])
    match = found[which]
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = np.abs(2.5 * np.log10(np.maximum(match["flux"], 1e-30) / trial["light"])) < ALIKE
    good = (away < radius) & (beneath < trial["light"]) & alike
    trial["found"] = np.where(good, match["flux"], np.nan)
    trial["error"], trial["away"] = match["error"], match["x"] - trial["x"]
    trial["away_error"] = match["x_error"]
    return trial


def weigh_by_crowding(trial: Table, stars: Table, shape: tuple[int, ...]) -> F64:
    """How many real stars each artificial one stands for: bright ones are counted in squares of the field."""
    strong = stars[stars["flux"] > 3.0 * THRESHOLD * stars["error"]]
    side = int(np.clip(np.sqrt(len(strong) / PER_SQUARE), 1, MOST_SQUARES))

    def square(table: Table) -> F64:
        step = max(shape) / side
        return np.asarray(
            (table["y"] // step).clip(0, side - 1) * side + (table["x"] // step).clip(0, side - 1)
        )

    there, here = (np.bincount(square(table).astype(int), minlength=side**2) for table in (strong, trial))
    share = (there / np.maximum(here, 1))[square(trial).astype(int)]
    return np.asarray(share / share.mean() if share.any() else np.ones(len(trial)))


@dataclass(frozen=True)
class Completeness:
    """The table of what is found by light (dtype ROW, faint to bright), and the light of which 50 and 90 %
    are found, NaN where the artificial stars do not tell it."""

    table: Table
    half: float
    most: float

    def excess(self, light: F64, column: str = "EXCESS") -> F64:
        """By what part of their light stars of some light (n,) scatter more than their formal errors; for
        ``POSITION_EXCESS`` pixels. Crowding is an amount of light: of brighter ones it is a smaller part."""
        told = self.table[np.isfinite(self.table[column])]
        if not len(told):
            return np.zeros(len(light))
        known = np.interp(np.log(np.maximum(light, 1e-30)), np.log(told["FLUX"]), told[column])
        return np.asarray(known * np.minimum(told["FLUX"][-1] / np.maximum(light, 1e-30), 1.0))


def completeness(trial: Table) -> Completeness:
    """What artificial stars say of each quarter of a magnitude: NUMBER tried, FRACTION found (as real stars
    are spread), BIAS and SCATTER of their magnitudes, their FORMAL error, and by what part of its light a
    star scatters more than that (EXCESS)."""
    lowest, highest = trial["light"].min(), trial["light"].max()
    count = max(int(np.ceil(2.5 * np.log10(highest / lowest) / BIN)), 1)
    number = np.clip(2.5 * np.log10(trial["light"] / lowest) / BIN, 0, count - 1).astype(int)
    table = np.zeros(count, ROW)
    for k in range(count):
        here = trial[number == k]
        light, total = lowest * 10.0 ** (0.4 * BIN * (k + 0.5)), here["weight"].sum()
        fraction = here["weight"][np.isfinite(here["found"])].sum() / total if total > 0 else np.nan
        near = np.abs(2.5 * np.log10(trial["light"] / light)) < WINDOW
        table[k] = (light, len(here), fraction, *_describe(trial[near & np.isfinite(trial["found"])]))
    return Completeness(table, _light_at(table, 0.5), _light_at(table, 0.9))


def _describe(seen: Table) -> tuple[float, ...]:
    """BIAS to POSITION_EXCESS of found stars; NaN of too few."""
    if len(seen) < FEWEST:
        return (np.nan,) * 5
    left, formal = seen["found"] / seen["light"] - 1.0, seen["error"] / seen["light"]
    scatter, middle, noise = _spread(left), float(np.median(left)), float(np.median(formal))
    more = noise * np.sqrt(max(_spread((left - middle) / formal) ** 2 - 1.0, 0.0))
    pull = _spread(seen["away"] / seen["away_error"])
    astray = float(np.median(seen["away_error"])) * np.sqrt(max(pull**2 - 1.0, 0.0))
    return -MAG * np.log1p(middle), MAG * scatter, MAG * noise, more, astray


def _spread(values: F64) -> float:
    """A robust standard deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _light_at(table: Table, fraction: float) -> float:
    """The light at which a fraction is found, going from bright stars to faint ones."""
    known = table[np.isfinite(table["FRACTION"])][::-1]
    below = np.flatnonzero(known["FRACTION"] < fraction)
    if not len(below) or below[0] == 0:
        return float("nan")
    k = int(below[0])
    share = (known["FRACTION"][k - 1] - fraction) / (known["FRACTION"][k - 1] - known["FRACTION"][k])
    logs = np.log(known["FLUX"])
    return float(np.exp(logs[k - 1] + share * (logs[k] - logs[k - 1])))
