"""Judge the stacks of a random night by its truth: members, level, fluxes, positions, rotation."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from random_night import RandomNight, members
from scipy import fft, ndimage
from scipy.spatial import cKDTree
from truth_image import NOMINAL_AREA, Layer, Truth, add

from goafetch.practice.exposure import optics

#: Limits: flux (share), level (sigmas, and electrons that no sigma need be smaller than), positions (over
#: what the exposures' own distortions leave, and mas of centring noise), rotation (degrees).
FLUX, SIGMAS, FLOOR, PLACES, CENTRING, ROTATION = 0.02, 3.0, 2.0, 1.3, 0.5, 0.02
#: Electrons of sigma above which no sky is good, and what a report's page says of the sky.
UNSURE, SKY_LIGHT = 20.0, r'<li class="(\w+)">\s*<h3>Sky '
#: Aperture, and the ring about it, arcsec.
APERTURE, RING = 0.30, (0.9, 1.3)
#: Stars that are measured: their magnitudes, how many are needed, the signal to noise of their light, and the
#: part by which single stars differ besides noise.
BRIGHT, FAINT, FEW, LOUD, OWN = 13.5, 20.5, 4, 10.0, 0.005
#: Arcsec within which a stack may lie from where its WCS says; by what the variance of some pixels together
#: exceeds the sum of theirs.
REACH, CORRELATED = 1.5, 1.35
#: Radius of a star's core, how near the edge its centre still can be told (pixels), and the variance of a
#: pixel's read noise, electrons^2.
CORE, EDGE, READ_VARIANCE = 3, 12, 800.0
#: Columns of what is measured of a star, after x and y.
FLUX_AT, FLUX_ERROR, PLACE_ERROR = 2, 3, 4


@dataclass
class Judgement:
    """What a night's run came to: faults by name, and figures."""

    faults: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    lost: int = 0

    def fault(self, name: str, detail: str) -> None:
        self.faults.append(f"{name}: {detail}")


def judge(night: RandomNight, workspace: Path, truth_folder: Path, code: int) -> Judgement:
    """Everything that is wrong with what a run left in its workspace."""
    result = Judgement()
    playground = workspace / "playground"
    truth = Sight.read(truth_folder)
    science = {e.name: e.field for e in night.program.exposures if e.kind == "science"}
    stacks = {}
    for path in sorted(playground.glob("*_image.fits")):
        found = members(path)
        stacks[path] = found
        if len(found) != len(set(found)):
            result.fault("twice", f"{path.name} holds an exposure twice: {found}")
        if strangers := sorted(set(found) - night.must - night.may):
            result.fault("stranger", f"{path.name} holds {strangers}")
        if night.scenery == "pointings" and len({science.get(name) for name in found}) > 1:
            result.fault("mixed", f"{path.name} holds two pointings: {found}")
    used = {name for found in stacks.values() for name in found}
    lost = sorted(_asked(night, truth, used) - used)
    result.lost = len(lost)
    if lost:
        result.fault("lost", f"{len(lost)} of {len(night.must)} good exposures: {lost}")
    if silent := sorted((night.must | night.may) - used - _told_of(playground)):
        result.fault("silent", f"not used, and nothing says why: {silent}")
    if not night.troubles and len(stacks) > night.targets:
        result.fault("split", f"{len(stacks)} stacks of one target")
    if code not in (0, 1):
        result.fault("exit", f"code {code}")
    for path, found in stacks.items():
        if set(found) <= set(science) and len(set(found) & night.must) >= 2:
            _judge_level(result, truth, path, found)
            if night.scenery == "moving":
                _judge_target(result, truth, path, found, night.may)
            else:
                _judge_stars(result, truth, path, found, night.may)
    return result


def _asked(night: RandomNight, truth: Truth, used: set[str]) -> frozenset[str]:
    """The exposures that must be used."""
    if night.must <= used or night.scenery != "sparse":
        return night.must
    return night.must - lonely(truth, sorted(night.must))


def lonely(truth: Truth, names: list[str]) -> set[str]:
    """Exposures of a sparse field that nothing lays on the others: of the stars that each shows well, none is
    shown by those that hang together."""
    shows = {name: _well_shown(truth, name) for name in names}
    groups: list[set[str]] = []
    for name in names:
        near = [group for group in groups if any(shows[name] & shows[other] for other in group)]
        groups = [group for group in groups if group not in near] + [{name}.union(*near)]
    return set(names) - max(groups, key=len)


def _well_shown(truth: Truth, name: str) -> set[int]:
    """The stars that an exposure shows away from edges and dead pixels, well above the noise."""
    entry, stars = truth.exposures[name], np.load(truth.folder / "positions" / f"{name}.npy")
    noise = np.sqrt(np.pi * CORE**2 * (entry["sky_electrons"] + READ_VARIANCE))
    found: set[int] = set()
    for array in range(4):
        x0, y0, width, height = entry["regions"][array]
        dead = ndimage.maximum_filter(truth.detector("response", array) < 0.2, size=2 * CORE + 1)
        for star in stars[stars["array"] == array + 1]:
            x, y = round(star["x"]) - 1, round(star["y"]) - 1
            inside = all(
                EDGE <= place - first < length - EDGE
                for place, first, length in ((x, x0 - 1, width), (y, y0 - 1, height))
            )
            light = star["electrons"] * star["core_fraction"]
            if inside and not dead[y, x] and light > LOUD * noise:
                found.add(int(star["id"]))
    return found


def _told_of(playground: Path) -> set[str]:
    """The exposures that the run says it left out."""
    story = json.loads((playground / "run.json").read_text()) if (playground / "run.json").exists() else {}
    return {row["name"].split(".")[0].split("_")[0] for row in story.get("exclusions", ())}


def is_called_good(stack: Path) -> bool:
    """Whether the page of a stack calls its sky good."""
    for page in (stack.parent.parent / "report").glob("*.html"):
        text = page.read_text()
        if f"stack_{stack.stem}.png" in text and (found := re.search(SKY_LIGHT, text)):
            return found[1] == "good"
    return False


class Sight(Truth):
    """The truth, its detector maps read once."""

    @cached_property
    def _maps(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "detector.npz") as content:
            return {name: content[name] for name in ("response", "dark")}

    def detector(self, name: str, array: int) -> np.ndarray:
        return self._maps[name][array]

    @cached_property
    def _areas(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    def area(self, array: int, width: int) -> np.ndarray:
        """Arcsec^2 of the pixels read of an array."""
        if (array, width) not in self._areas:
            self._areas[array, width] = super().area(array, width)
        return self._areas[array, width]


def _judge_level(result: Judgement, truth: Sight, stack: Path, names: list[str]) -> None:
    """Pedestals of the stack's exposures against the sigma that the stack states."""
    with fits.open(stack) as units:
        sigma = max(float(units[0].header.get("SKYSIGMA", FLOOR)), FLOOR)
    levels = {}
    for name in names:
        path = stack.parent / f"{name}_skyCorrected.fits"
        if not path.exists():
            continue
        with fits.open(path) as units:
            for array in range(4):
                if ("SCI", array + 1) not in [(u.name, u.ver) for u in units]:
                    continue
                good = units["DQ", array + 1].data == 0
                if good.mean() < 0.1:
                    continue
                gap = units["SCI", array + 1].data - truth.brightness(name, array)
                levels[name, array] = float(np.median(gap[good]))
    if not levels:
        return
    mean = float(np.mean(list(levels.values())))
    worst = max(levels, key=lambda key: abs(levels[key] - mean))
    result.figures |= {"level": mean, "sigma": sigma, "array": levels[worst] - mean}
    if sigma > UNSURE and is_called_good(stack):
        result.fault("verdict", f"a sky of stated sigma {sigma:.1f} e is called good")
    if abs(mean) > SIGMAS * sigma:
        result.fault("level", f"{mean:+.0f} e, stated sigma {sigma:.1f}")
    if abs(levels[worst] - mean) > max(5 * sigma, 60.0):
        result.fault(
            "array", f"{worst[0]} array {worst[1] + 1} lies {levels[worst] - mean:+.0f} e from the others"
        )


@dataclass(frozen=True)
class Seen:
    """A stack, and what it would show without noise: its members' true light by their true maps and masks,
    with the weights and transparencies that the stack gives them.

    ``image``, ``variance`` (NaN where masked) and ``model``: (ny, nx), electrons; ``sound``: the model
    without the members that are doubtful, whose light rejection may keep out of stars. ``scale``: arcsec a
    pixel; ``weights``: by member. ``step``: whole pixels (x, y) by which the model was moved from where the
    WCS puts it to where the image shows it; what either does not show is NaN in both.
    """

    image: np.ndarray
    variance: np.ndarray
    model: np.ndarray
    sound: np.ndarray
    wcs: WCS
    scale: float
    weights: dict[str, float]
    step: tuple[int, int]


def _see(
    result: Judgement, truth: Sight, stack: Path, names: list[str], doubtful: frozenset[str] = frozenset()
) -> Seen:
    """Read a stack and render its truth; judges the transparencies on the way."""
    with fits.open(stack) as units, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(units["SCI"].header)
        bad = (units["DQ"].data != 0) | (units["EXPTIME"].data == 0)
        image, variance = (np.where(bad, np.nan, units[name].data) for name in ("SCI", "VAR"))
        rows = {str(row["filename"]).split("_")[0]: row for row in units["EXPOSURES"].data}
    scale = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600)
    weights = {name: float(rows[name]["weight"]) for name in names}
    given = {name: float(rows[name]["transparency"]) for name in names}
    reference = truth.exposures[names[0]]["transmission"]
    wrong = {name: truth.exposures[name]["transmission"] / reference / given[name] for name in names}
    # All are against the first one, whose error they share.
    error = sum(weights[name] * float(rows[name]["transparency_error"]) for name in names)
    shift = sum(weights[name] * wrong[name] for name in names) / sum(weights.values()) - 1
    result.figures |= {"scale": shift, "scale_error": error}
    if abs(shift) > max(FLUX, SIGMAS * error):
        result.fault("scale", f"transparencies put fluxes {shift:+.1%} off, stated error {error:.1%}")
    total, share = np.zeros((2, *image.shape)), np.zeros((2, *image.shape))
    for name in names:
        light, known = _member(truth, stack, name, wcs, scale, image.shape, names[0])
        counted = np.array([1.0, name not in doubtful])[:, None, None]
        # The light is dimmed already: the stack divides it by the transparency that it found.
        total += counted * (weights[name] / given[name] * known * light * scale**2 / NOMINAL_AREA)
        share += counted * (weights[name] * known)
    models = np.where(share > 0, total / np.maximum(share, 1e-12), np.nan)
    models[1] = np.where(np.isfinite(models[1]), models[1], models[0])
    step = _step(image, models[0], scale)
    models = np.roll(models, step, (2, 1))
    unknown = ~np.isfinite(image) | ~np.isfinite(models[0])
    image[unknown] = models[:, unknown] = np.nan
    return Seen(image, variance, models[0], models[1], wcs, scale, weights, step)


def _member(truth, stack, name, wcs, scale, shape, reference):
    """An exposure's true light at a stack's pixels, per reference pixel, and where its own mask is clear."""
    tangent = truth.catalogue(truth.exposures[reference]["field"])["tangent"]
    moved = _target_of(truth, name) - _target_of(truth, reference)

    def to_field(x, y):
        return (_project(*wcs.all_pix2world(x, y, 0), tangent) + moved).T

    light, known = np.zeros((2, *shape), np.float32)
    mapping, entry = truth.mapping(name), truth.exposures[name]
    with fits.open(stack.parent / f"{name}_skyCorrected.fits") as units:
        masks = {unit.ver: unit.data for unit in units if unit.name == "DQ"}
    for array in range(4):
        if array + 1 not in masks:
            continue
        good = (masks[array + 1] == 0).astype(np.float32)
        coefficients = ndimage.spline_filter(truth.brightness(name, array), order=3).astype(np.float32)
        layers = (Layer(light, coefficients), Layer(known, good, order=0))
        add(layers, mapping, array, entry, to_field)
    return light, known


def _target_of(truth, name):
    """Where a target that moves is on its field's plane, arcsec: the last star of a field of one exposure; of
    other fields the middle."""
    entry = truth.exposures[name]
    catalogue = truth.catalogue(entry["field"])
    if entry["field"] != name:
        return np.zeros(2)
    return np.array([catalogue["x"][-1], catalogue["y"][-1]])


def _judge_stars(
    result: Judgement, truth: Sight, stack: Path, names: list[str], doubtful: frozenset[str]
) -> None:
    """Fluxes, positions and rotation of the stack's stars, measured alike in the stack and in its truth."""
    seen = _see(result, truth, stack, names, doubtful)
    catalogue = truth.catalogue(truth.exposures[names[0]]["field"])
    near = np.unique(np.load(truth.folder / "positions" / f"{names[0]}.npy")["id"])
    stars = near[np.isin(near, _isolated(catalogue, (BRIGHT, FAINT)))]
    px, py = seen.wcs.all_world2pix(catalogue["ra"][stars], catalogue["dec"][stars], 0)
    true, found = _measure_stars(seen, px, py)
    fine = np.isfinite(found[:, 0]) & np.isfinite(true[:, 0])
    _judge_fluxes(result, true[fine], found[fine])
    _judge_places(result, truth, seen, catalogue["tangent"], true[fine], found[fine])


def _measure_stars(seen: Seen, px, py, level=np.mean):
    """As ``_measure_both``; light is true with or without doubtful members, which rejection may leave out."""
    true, found = _measure_both(seen, px, py, level)
    if np.array_equal(seen.sound, seen.model, equal_nan=True):
        return true, found
    sound, _ = _measure_both(replace(seen, model=seen.sound), px, py, level)
    true[:, FLUX_AT] = _between(true[:, FLUX_AT], sound[:, FLUX_AT], found[:, FLUX_AT])
    return true, found


def _between(whole: np.ndarray, sound: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The light that is right for each star: anything from that with the doubtful members to that without."""
    return np.clip(found, *np.sort([whole, sound], axis=0))


def _judge_target(
    result: Judgement, truth: Sight, stack: Path, names: list[str], doubtful: frozenset[str]
) -> None:
    """Flux of a target that moves among the stars, the last of its field's catalogue."""
    seen = _see(result, truth, stack, names, doubtful)
    catalogue = truth.catalogue(truth.exposures[names[0]]["field"])
    px, py = seen.wcs.all_world2pix(catalogue["ra"][-1:], catalogue["dec"][-1:], 0)
    if _passing(truth, seen.weights) > OWN:
        return
    true, found = _measure_stars(seen, px, py, np.median)
    if np.isfinite(true[0, 0]) and np.isfinite(found[0, 0]):
        light, error = found[0, [FLUX_AT, FLUX_ERROR]] / true[0, FLUX_AT]
        result.figures |= {"stars": 1, "flux": light - 1, "flux_error": error}
        if abs(light - 1) > FLUX + SIGMAS * error:
            result.fault("target", f"{light - 1:+.1%} +- {error:.1%} of the light of the moving target")


def _passing(truth, weights) -> float:
    """The light of stars that pass through a moving target's aperture over that of the target: of one passing
    in a few exposures the stack has less than the mean, since it is rejected there."""
    light = 0.0
    for name, weight in weights.items():
        catalogue = truth.catalogue(truth.exposures[name]["field"])
        away = np.hypot(catalogue["x"] - catalogue["x"][-1], catalogue["y"] - catalogue["y"][-1])[:-1]
        ratio = 10 ** (-0.4 * (catalogue["magnitude"][:-1] - catalogue["magnitude"][-1]))
        light += weight * ratio[away < 1.5 * APERTURE].sum()
    return light / sum(weights.values())


def _judge_fluxes(result: Judgement, true: np.ndarray, found: np.ndarray) -> None:
    """The stars' light in the stack over that in its truth, weighted by what noise leaves."""
    light, error = true[:, FLUX_AT], found[:, FLUX_ERROR]
    loud = light > LOUD * error
    ratio, error = found[loud, FLUX_AT] / light[loud], np.hypot(error[loud] / light[loud], OWN)
    result.figures["stars"] = len(ratio)
    if len(ratio) < FEW:
        return
    kept = np.abs(ratio - np.median(ratio)) < 5 * np.maximum(error, OWN)
    ratio, weight = ratio[kept], error[kept] ** -2.0
    mean = float(np.average(ratio, weights=weight))
    spread = np.median(np.abs(ratio - mean) * np.sqrt(weight)) / 0.6745
    sigma = max(float(spread), 1.0) / float(np.sqrt(weight.sum()))
    result.figures |= {"flux": mean - 1, "flux_error": sigma}
    if abs(mean - 1) > FLUX + SIGMAS * sigma:
        result.fault("flux", f"{mean - 1:+.1%} +- {sigma:.1%} of {kept.sum()} stars")


def _judge_places(result, truth, seen, tangent, true, found):
    """Shift and rotation to the truth, and what is left, beside what the exposures' own maps leave."""
    loud = true[:, FLUX_AT] > LOUD * found[:, FLUX_ERROR]
    true, found = true[loud], found[loud]
    if len(true) < FEW:
        return
    was, now = (
        _project(*seen.wcs.all_pix2world(each[:, 0], each[:, 1], 0), tangent) for each in (true, found)
    )
    gaps, noise = now - was, found[:, PLACE_ERROR] * seen.scale
    kept = np.ones(len(true), bool)
    for _ in range(3):
        was, gaps, noise = was[kept], gaps[kept], noise[kept]
        weight = 1 / (noise**2 + (1e-3 * CENTRING) ** 2)
        left, rotation, error = _without_rigid(was, gaps, weight)
        size = np.hypot(*left.T) * np.sqrt(weight)
        kept = size < 4 * max(np.median(size), 1.0)
    own = np.average(
        [_own(truth, name, was) for name in seen.weights], axis=0, weights=list(seen.weights.values())
    )
    allowed = _without_rigid(was, own, weight)[0]
    rms, limit = (
        1e3 * float(np.sqrt(np.average((x**2).mean(axis=1), weights=weight))) for x in (left, allowed)
    )
    centring = 1e3 * float(np.sqrt(np.average(noise**2, weights=weight)))
    result.figures |= {
        "rms": rms,
        "own": limit,
        "centring": centring,
        "rotation": float(np.degrees(rotation)),
    }
    freedom = np.sqrt(2 * len(was) / (2 * len(was) - 3)) * (1 + 1 / np.sqrt(len(was)))
    if rms > freedom * PLACES * np.hypot(np.hypot(limit, CENTRING), centring):
        result.fault(
            "places",
            f"{rms:.2f} mas after shift and rotation, own maps leave {limit:.2f}, noise {centring:.2f}",
        )
    if abs(np.degrees(rotation)) > ROTATION + SIGMAS * np.degrees(error):
        result.fault("rotation", f"{np.degrees(rotation):+.3f} +- {np.degrees(error):.3f} degree")


def _own(truth, name, true):
    """How an exposure's own scale, rotation and bend move stars (n, 2), arcsec on the sky."""
    entry = truth.exposures[name]
    mapping = truth.mapping(name)
    turn = optics.sky_to_instrument(np.radians(entry["position_angle"]), entry["port"])
    nominal = turn @ optics.refraction_matrix(
        np.radians(entry["zenith_distance"]), np.radians(entry["parallactic"])
    )
    known = optics.Mapping(mapping.pointing, nominal, np.zeros((2, 3)))
    return np.stack(known.to_sky(*mapping.to_static(*true.T)), axis=1) - true


def _without_rigid(places, gaps, weight):
    """What shift and rotation leave of gaps (n, 2) at places (n, 2), the rotation and its error (radian)."""
    one, zero = np.ones(len(places)), np.zeros(len(places))
    places = places - places.mean(axis=0)
    design = np.concatenate([np.c_[one, zero, -places[:, 1]], np.c_[zero, one, places[:, 0]]])
    values, root = gaps.T.ravel(), np.sqrt(np.tile(weight, 2))
    solution = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)[0]
    covariance = np.linalg.inv((design * root[:, None]).T @ (design * root[:, None]))
    return (values - design @ solution).reshape(2, -1).T, solution[2], float(np.sqrt(covariance[2, 2]))


def _isolated(catalogue, magnitudes, radius=0.5):
    """Stars of some magnitudes that outshine all within ``radius`` arcsec together."""
    flux = 10 ** (-0.4 * catalogue["magnitude"])
    tree = cKDTree(np.c_[catalogue["x"], catalogue["y"]])
    magnitude = catalogue["magnitude"]
    wanted = np.flatnonzero((magnitude > magnitudes[0]) & (magnitude < magnitudes[1]))
    light = np.array([flux[index].sum() for index in tree.query_ball_point(tree.data[wanted], radius)])
    return wanted[light < 2 * flux[wanted]] if len(wanted) else wanted


def _step(image, model, scale) -> tuple[int, int]:
    """The shift (x, y) in whole pixels, within REACH, from the model to the image."""
    sharp = []
    for each in (image, model):
        known = np.isfinite(each)
        values = np.where(known, each, 0.0)
        smooth = ndimage.gaussian_filter(values, 1.5) - ndimage.uniform_filter(values, 41)
        clear = ndimage.uniform_filter(known.astype(np.float32), 41) > 0.9
        sharp.append(np.sqrt(np.clip(np.where(clear, smooth, 0.0), 0.0, None)))
    size = [fft.next_fast_len(length, real=True) for length in image.shape]
    match = fft.irfft2(fft.rfft2(sharp[0], s=size) * np.conj(fft.rfft2(sharp[1], s=size)), s=size)
    reach = round(REACH / scale)
    near = np.roll(match, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    row, column = np.unravel_index(np.argmax(near), near.shape)
    return int(column) - reach, int(row) - reach


def _measure_both(seen, px, py, level=np.mean):
    """Stars measured in the truth and in the stack, each (n, 5): x, y, light, and errors of light and of a
    coordinate (pixels) by the stack's noise; of the truth where the WCS puts it. ``level``: that of the ring,
    whose mean faint stars bias as that of noise-free images, and whose median those that pass do not."""
    weights = np.array(list(seen.weights.values()))
    members = weights.sum() ** 2 / (weights**2).sum()
    start = px + seen.step[0], py + seen.step[1]
    true = _measure(seen.model, seen.variance, *start, seen.scale, members, level)
    found = _measure(seen.image, seen.variance, true[:, 0], true[:, 1], seen.scale, members, level)
    true[:, :2] -= seen.step
    return true, found


def _measure(image, variance, px, py, scale, members, level, fwhm=0.08):
    """Centres by a Gaussian window, and light in the aperture above the ring's level; NaN where lost."""
    half = int(np.ceil(RING[1] / scale)) + 1
    grid = np.arange(-half, half + 1)
    out = np.full((len(px), 5), np.nan)
    for k, (x0, y0) in enumerate(zip(px, py, strict=True)):
        if not (half <= x0 < image.shape[1] - half - 1 and half <= y0 < image.shape[0] - half - 1):
            continue
        column, row = round(x0), round(y0)
        part = np.s_[row - half : row + half + 1, column - half : column + half + 1]
        known = np.isfinite(image[part])
        cut = np.where(known, image[part], 0.0)
        x, y, step = x0 - column, y0 - row, (9.0, 9.0)
        for _ in range(40):
            dx, dy = grid[None, :] - x, grid[:, None] - y
            r = np.hypot(dx, dy) * scale
            ring = (r > RING[0]) & (r < RING[1])
            if not known[r < APERTURE + scale].all() or known[ring].mean() < 0.5:
                break
            sky = level(cut[ring & known])
            bell = np.exp(-0.5 * (r / fwhm * 2.3548) ** 2)
            window = (cut - sky) * bell
            if window.sum() <= 0:
                break
            step = (2 * (window * dx).sum() / window.sum(), 2 * (window * dy).sum() / window.sum())
            x, y = x + np.clip(step[0], -1, 1), y + np.clip(step[1], -1, 1)
            if max(map(abs, step)) < 1e-3:
                break
        if max(map(abs, step)) > 1e-2 or np.hypot(x + column - x0, y + row - y0) > 5:
            continue
        edge = np.clip((APERTURE - r) / scale + 0.5, 0.0, 1.0)
        noise = CORRELATED * np.nanmedian(variance[part][ring])
        light = ((cut - sky) * edge).sum()
        each = noise + np.clip(cut - sky, 0.0, None) / members
        place = 2 * np.sqrt((each * (bell * dx) ** 2).sum()) / window.sum()
        out[k] = x + column, y + row, light, np.sqrt((each * edge).sum()), place
    return out


def _project(ra, dec, tangent):
    """Gnomonic projection, arcsec (n, 2)."""
    a, d, d0 = np.radians(ra - tangent[0]), np.radians(dec), np.radians(tangent[1])
    depth = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    xi = np.cos(d) * np.sin(a) / depth
    eta = (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)) / depth
    return np.degrees(np.c_[xi, eta]) * 3600


def as_json(judgement: Judgement) -> str:
    """A line for a table of nights."""
    return json.dumps({"faults": judgement.faults, "lost": judgement.lost, **judgement.figures})
