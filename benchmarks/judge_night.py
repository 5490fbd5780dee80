"""Judge the stacks of a random night by its truth: members, level, fluxes, positions, rotation."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from random_night import RandomNight, members
from scipy import ndimage
from scipy.spatial import cKDTree
from truth_image import NOMINAL_AREA, Truth

from goafetch.practice.exposure import optics
from goafetch.practice.exposure.psf import CORE_POWER, HALO_POWER

#: Limits: flux (share), level (sigmas, and electrons that no sigma need be smaller than), positions (over
#: what the exposures' own distortions leave, and mas of centring noise), rotation (degrees).
FLUX, SIGMAS, FLOOR, PLACES, CENTRING, ROTATION = 0.02, 3.0, 2.0, 1.3, 0.5, 0.02
#: Electrons of sigma above which no sky is good, and what a report's page says of the sky.
UNSURE, SKY_LIGHT = 20.0, r'<li class="(\w+)">\s*<h3>Sky '
#: Aperture, and the ring about it, arcsec.
APERTURE, RING = 0.30, (0.9, 1.3)
#: Stars that are measured: their magnitudes, how many are needed for fluxes and for positions.
BRIGHT, FAINT, FEW, FEWEST = 14.6, 17.8, 5, 8


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
    lost = sorted(night.must - used)
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
                _judge_target(result, truth, path, found)
            else:
                _judge_stars(result, truth, path, found)
    return result


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


def _judge_stars(result: Judgement, truth: Sight, stack: Path, names: list[str]) -> None:
    """Fluxes, positions and rotation of the stack's stars."""
    entry = truth.exposures[names[0]]
    catalogue = truth.catalogue(entry["field"])
    with fits.open(stack) as units, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(units["SCI"].header)
        image, mask = np.nan_to_num(np.asarray(units["SCI"].data, float)), units["DQ"].data
        weights = np.array(units["EXPTIME"].data)
    scale = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600)
    near = np.unique(np.load(truth.folder / "positions" / f"{names[0]}.npy")["id"])
    stars = near[np.isin(near, _isolated(catalogue, (BRIGHT, FAINT)))]
    px, py = wcs.all_world2pix(catalogue["ra"][stars], catalogue["dec"][stars], 0)
    bad = ndimage.maximum_filter((mask != 0) | (weights == 0), 25)
    px, py = _shift_to_light(image, bad, px, py, catalogue["magnitude"][stars], scale)
    if px is None:
        result.figures["stars"] = 0
        return
    inside = (px > 75) & (py > 75) & (px < image.shape[1] - 76) & (py < image.shape[0] - 76)
    clean = inside.copy()
    clean[inside] = ~bad[np.rint(py[inside]).astype(int), np.rint(px[inside]).astype(int)]
    stars, px, py = stars[clean], px[clean], py[clean]
    px, py, fluxes = _measure(image, px, py, scale)
    fine = np.isfinite(px)
    stars, px, py, fluxes = stars[fine], px[fine], py[fine], fluxes[fine]
    result.figures["stars"] = len(stars)
    if len(stars) >= FEW:
        expected = _expected(truth, names, stars)
        known = np.isfinite(expected) & np.isfinite(fluxes)
        if known.sum() >= FEW:
            ratio = float(np.median(fluxes[known] / expected[known]))
            spread = 1.4826 * np.median(np.abs(fluxes[known] / expected[known] - ratio))
            result.figures["flux"] = ratio - 1
            if abs(ratio - 1) > FLUX + 3 * spread / np.sqrt(known.sum()) * 1.25:
                result.fault("flux", f"{ratio - 1:+.1%} of {known.sum()} stars")
    if len(stars) >= FEWEST:
        ra, dec = wcs.all_pix2world(px, py, 0)
        true = np.c_[catalogue["x"][stars], catalogue["y"][stars]]
        _judge_places(result, truth, names, true, _project(ra, dec, catalogue["tangent"]))


def _judge_target(result: Judgement, truth: Sight, stack: Path, names: list[str]) -> None:
    """Flux of a target that moves among the stars, the last of its field's catalogue."""
    catalogue = truth.catalogue(truth.exposures[names[0]]["field"])
    with fits.open(stack) as units:
        wcs = WCS(units["SCI"].header)
        image, bad = np.nan_to_num(np.asarray(units["SCI"].data, float)), units["DQ"].data != 0
    scale = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600)
    px, py = wcs.all_world2pix(catalogue["ra"][-1:], catalogue["dec"][-1:], 0)
    expected = float(_expected(truth, names, [len(catalogue["ra"]) - 1])[0])
    row, column, reach = round(float(py[0])), round(float(px[0])), round(1.5 / scale)
    part = np.s_[row - reach : row + reach + 1, column - reach : column + reach + 1]
    if not np.isfinite(expected) or image[part].shape != (2 * reach + 1,) * 2 or bad[part].mean() > 0.02:
        return
    dy, dx = np.unravel_index(np.argmax(ndimage.gaussian_filter(image[part], 1.5)), image[part].shape)
    light = _measure(image, [column + dx - reach], [row + dy - reach], scale)[2][0]
    result.figures["flux"] = light / expected - 1
    if not abs(light / expected - 1) < 2 * FLUX:
        result.fault("target", f"{light / expected - 1:+.1%} of the light of the moving target")


def _judge_places(result, truth, names, true, measured):
    """Shift and rotation to the truth, and what is left, beside what the exposures' own maps leave."""
    left, rotation = _without_rigid(true, measured - true)
    kept = np.hypot(*left.T) < 5 * np.median(np.hypot(*left.T))
    left, rotation = _without_rigid(true[kept], (measured - true)[kept])
    own = np.mean([_own(truth, name, true[kept]) for name in names], axis=0)
    allowed, _ = _without_rigid(true[kept], own)
    rms, limit = (1e3 * float(np.sqrt(np.mean(x**2))) for x in (left, allowed))
    result.figures |= {"rms": rms, "own": limit, "rotation": float(np.degrees(rotation))}
    freedom = np.sqrt(2 * kept.sum() / (2 * kept.sum() - 3))
    if rms > freedom * PLACES * np.hypot(limit, CENTRING):
        result.fault("places", f"{rms:.2f} mas after shift and rotation, own distortions leave {limit:.2f}")
    if abs(np.degrees(rotation)) > ROTATION:
        result.fault("rotation", f"{np.degrees(rotation):+.3f} degree")


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


def _without_rigid(places, gaps):
    """What shift and rotation leave of gaps (n, 2) at places (n, 2), and the rotation (radian)."""
    one, zero = np.ones(len(places)), np.zeros(len(places))
    design = np.concatenate([np.c_[one, zero, -places[:, 1]], np.c_[zero, one, places[:, 0]]])
    values = gaps.T.ravel()
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    return (values - design @ solution).reshape(2, -1).T, solution[2]


def _isolated(catalogue, magnitudes, radius=0.6, share=0.03):
    """Stars of some magnitudes whose neighbours within ``radius`` arcsec add less than ``share``."""
    flux = 10 ** (-0.4 * catalogue["magnitude"])
    tree = cKDTree(np.c_[catalogue["x"], catalogue["y"]])
    magnitude = catalogue["magnitude"]
    wanted = np.flatnonzero((magnitude > magnitudes[0]) & (magnitude < magnitudes[1]))
    light = np.array([flux[index].sum() for index in tree.query_ball_point(tree.data[wanted], radius)])
    return wanted[light < (1 + share) * flux[wanted]] if len(wanted) else wanted


def _shift_to_light(image, bad, px, py, magnitude, scale):
    """The places moved by the one shift (within 1.5 arcsec) that puts the brightest stars onto light."""
    reach = round(1.5 / scale)
    smooth = ndimage.gaussian_filter(np.where(bad | ~np.isfinite(image), 0.0, image), 1.5)
    smooth -= (
        ndimage.median_filter(smooth[::8, ::8], 13)
        .repeat(8, 0)
        .repeat(8, 1)[: image.shape[0], : image.shape[1]]
    )
    smooth = np.clip(smooth, 0.0, None) ** 0.5
    total, used = np.zeros((2 * reach + 1, 2 * reach + 1)), 0
    for k in np.argsort(magnitude):
        x, y = round(px[k]), round(py[k])
        if (
            reach < x < image.shape[1] - reach - 1
            and reach < y < image.shape[0] - reach - 1
            and not bad[y, x]
        ):
            part = smooth[y - reach : y + reach + 1, x - reach : x + reach + 1]
            total += part / max(part.max(), 1e-9)
            used += 1
        if used == 40:
            break
    if used < FEW:
        return None, None
    row, column = np.unravel_index(np.argmax(total), total.shape)
    return px + column - reach, py + row - reach


def _measure(image, px, py, scale, fwhm=0.08):
    """Centres by a Gaussian window, and light in the aperture above the ring's median; NaN where lost."""
    half = int(np.ceil(RING[1] / scale)) + 1
    grid = np.arange(-half, half + 1)
    out = np.full((3, len(px)), np.nan)
    for k, (x0, y0) in enumerate(zip(px, py, strict=True)):
        column, row = round(x0), round(y0)
        cut = image[row - half : row + half + 1, column - half : column + half + 1]
        if cut.shape != (grid.size, grid.size):
            continue
        known = np.isfinite(cut)
        cut = np.where(known, cut, 0.0)
        x, y, step = x0 - column, y0 - row, (9.0, 9.0)
        for _ in range(40):
            dx, dy = grid[None, :] - x, grid[:, None] - y
            r = np.hypot(dx, dy) * scale
            ring = (r > RING[0]) & (r < RING[1])
            if not known[r < 2 * APERTURE].all() or known[ring].mean() < 0.5:
                break
            sky = np.median(cut[ring & known])
            window = (cut - sky) * np.exp(-0.5 * (r / fwhm * 2.3548) ** 2)
            if window.sum() <= 0:
                break
            step = (2 * (window * dx).sum() / window.sum(), 2 * (window * dy).sum() / window.sum())
            x, y = x + np.clip(step[0], -1, 1), y + np.clip(step[1], -1, 1)
            if max(map(abs, step)) < 1e-3:
                break
        if max(map(abs, step)) > 1e-2 or np.hypot(x + column - x0, y + row - y0) > 5:
            continue
        edge = np.clip((APERTURE - r) / scale + 0.5, 0.0, 1.0)
        out[:, k] = x + column, y + row, ((cut - sky) * edge).sum()
    return out


def _expected(truth, names, stars):
    """Electrons of stars in a stack's aperture: the reference's light, the members' mean profile."""
    reference = np.load(truth.folder / "positions" / f"{names[0]}.npy")
    light = dict(zip(reference["id"].tolist(), reference["electrons"].tolist(), strict=True))
    core = dict(zip(reference["id"].tolist(), reference["core_fraction"].tolist(), strict=True))
    entry = truth.exposures[names[0]]
    unit = truth.program["flat_median_area"][entry["filter"]] / NOMINAL_AREA
    shares = []
    for name in names:
        profile = truth.exposures[name]["profile"]
        own = profile["core_fraction"] / entry["profile"]["core_fraction"]
        fraction = np.array([core.get(int(star), np.nan) for star in stars]) * own
        caught = [
            _caught(profile["core_fwhm"], CORE_POWER), _caught(profile["halo_fwhm"], HALO_POWER),
        ]  # fmt: skip
        shares.append(fraction * caught[0] + (1 - fraction) * caught[1])
    total = np.array([light.get(int(star), np.nan) for star in stars])
    return total * unit * np.mean(shares, axis=0)


def _caught(fwhm, power):
    """Share of a Moffat profile's light in the aperture above its own brightness in the ring."""
    alpha2 = (fwhm / (2 * np.sqrt(2 ** (1 / power) - 1))) ** 2
    middle = np.mean(RING)
    ring = (power - 1) / (np.pi * alpha2) * (1 + middle**2 / alpha2) ** -power
    return 1 - (1 + APERTURE**2 / alpha2) ** (1 - power) - ring * np.pi * APERTURE**2


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
