"""The sky's level in exposures of one field, weighed from what they show themselves and from the skies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reducer.align.wcs import positions, seconds
from reducer.combine import median_of_seen
from reducer.errors import BadInput
from reducer.frame import Context, FrameRef
from reducer.keywords import region
from reducer.masks import index_of
from reducer.sky.level import OFFSETS, LevelCurve, Own, background, follow, level_differences, weigh_levels
from reducer.sky.objects import BLOCK, CELL
from reducer.step import Auto
from reducer.steps.skyframes import ArraySky
from reducer.types import F64, Reason, because

FrameSky = Mapping[int, ArraySky]


def common_field(
    group: Sequence[FrameRef], shown: Sequence[FrameSky], ratios: Mapping[int, float]
) -> tuple[list[F64], F64]:
    """The background cells of each frame, shifted to show the same sky, and their places in the field.

    Levels of arrays are brought to the mean array. Shifts follow the pointings of the headers.
    """
    east, north = positions(group)
    arrays = sorted(set.intersection(*(set(seens) for seens in shown)))
    maps, places = [], []
    for place, (frame, seens) in enumerate(zip(group, shown, strict=True)):
        rows = []
        for array in arrays:
            size = (CELL * BLOCK, CELL * BLOCK)
            moved = shift(frame, array, east[0] - east[place], north[0] - north[place], size)
            sky = median_of_seen(seens[array].cells) * (1 - 1 / ratios.get(array, 1.0))
            rows.append(_shifted(seens[array].cells.astype(float) - sky, moved).ravel())
        maps.append(np.concatenate(rows))
    for array in arrays:
        places.append(cell_places(group[0], array, shown[0][array].cells.shape))
    return maps, np.concatenate(places)


def shift(
    frame: FrameRef, array: int, east: float, north: float, cell: tuple[int, int]
) -> tuple[float, float]:
    """The shift (x, y), in cells of so many pixels, that a shift on the sky (arcsec) makes on an array."""
    header = frame.chips[index_of(frame, array)]
    matrix = np.array([[header["CD1_1"], header["CD1_2"]], [header["CD2_1"], header["CD2_2"]]]) * 3600.0
    x, y = np.linalg.solve(matrix, [east, north])
    return float(x) / cell[0], float(y) / cell[1]


def _shifted(cells: F64, moved: tuple[float, float]) -> F64:
    y, x = np.mgrid[0 : cells.shape[0], 0 : cells.shape[1]].astype(float)
    shifted: F64 = ndimage.map_coordinates(
        cells, [y + moved[1], x + moved[0]], order=1, mode="constant", cval=np.nan
    )
    return shifted


def cell_places(frame: FrameRef, array: int, shape: tuple[int, ...]) -> F64:
    """Places of the cells of an array in the field, x and y in sides of an array from the middle."""
    index = index_of(frame, array)
    where, known = region(frame.chips[index]), frame.array(index)
    (right, upper), (height, width) = known.corner, known.shape
    y, x = (np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5) * (CELL * BLOCK)
    across, up = (where.x1 + x.ravel()) / width, (where.y1 + y.ravel()) / height
    return np.stack([right + across, upper + up], axis=1)


#: What the sky's level in one array can be relative to the usual array, after the flat; what is beyond stays
#: in the pattern, unless it is an object.
RATIOS = (0.95, 1.05)
#: Relative to the level: how much higher an array's own may be before objects are taken to fill it.
FILLED = 0.02
#: Rounds in which levels of exposures and ratios of arrays are told apart.
ROUNDS = 5
#: Error of levels that are carried from one exposure to others, electrons; part of the light in an exposure's
#: own median that changes with the dither.
SHARED, CHANGE = 3.0, 0.3
#: Where a level may come from: the exposure's own median, the skies alone, or both as they are worth.
OWN, SKIES, WEIGHED = "own", "skies", "weighed"
#: What SKYMODE says of a field.
FIELDS = {
    "no_skies": "no sky exposures",
    "blank_field": "sparse field",
    "filled_field": "the target fills the field",
}


@dataclass(frozen=True)
class Leveling:
    """What the user says of the level: ``offset`` it by the exposure's own median, or ``scale`` the pattern
    by that; ``course``: 'follow' time, or that of the 'first' sky."""

    offset: Auto
    scale: Auto
    course: str


@dataclass(frozen=True)
class LevelChoice:
    """Where the level comes from, and why, which SKYMODE tells as ``mode``. ``blank``: the field holds hardly
    any light but stars. ``scale``: the pattern is scaled by the level."""

    source: str
    blank: bool
    scale: bool
    reason: Reason
    mode: str


@dataclass(frozen=True)
class SkyLevels:
    """Levels of the exposures of a field (mean array, electrons), and the keywords that tell of them."""

    values: list[float]
    keywords: dict[str, Any]


def choose_level(
    group: Sequence[FrameRef], shown: Sequence[FrameSky], ratios: Mapping[int, float], told: Leveling
) -> tuple[LevelChoice, Own]:
    """Where the levels of exposures of a field come from: as told, else from what is known of it.

    What the exposures show themselves comes with it.
    """
    own = own_levels(group, shown, ratios)
    free = float(np.median([part.free for seens in shown for part in seens.values()]))
    level = float(median_of_seen(own.levels))
    if told.scale is True:
        return LevelChoice(OWN, True, True, because("asked_scale"), "scale_sky=True as asked"), own
    if told.offset != "auto":
        source, mode = OWN if told.offset else SKIES, f"offset_sky={told.offset} as asked"
        return LevelChoice(source, bool(told.offset), False, because("asked_offset"), mode), own
    alone = any(frame.role == "both" for frame in group)
    kind = "no_skies" if alone else "blank_field" if own.blank else "filled_field"
    mode = (
        f"{FIELDS[kind]}; {100 * free:.0f} % of pixels are source-free; background {level:.0f} e-, up to "
        f"{own.light:.0f} e- of it from objects"
    )
    reason = because(kind, free=free, level=level, in_objects=own.light)
    return LevelChoice(OWN if alone else WEIGHED, alone or own.blank, False, reason, mode), own


def what_is_done(decided: tuple[LevelChoice, Own], told: Leveling) -> dict[str, Any]:
    """The facts of a decision: which of DRAGONS' parameters comes nearest, and what differs from it."""
    decision, own = decided
    is_weighed = decision.source == WEIGHED and told.course == "follow"
    is_own = decision.source == OWN
    is_expected = is_weighed or (is_own and True not in (told.offset, told.scale))
    return {
        "offset_sky": is_own or (is_weighed and decision.blank),
        **decision.reason,
        "light": round(own.light, 1) if is_expected else 0.0,
        "weighed": is_weighed,
        "scale_sky": decision.scale,
    }


def own_levels(group: Sequence[FrameRef], shown: Sequence[FrameSky], ratios: Mapping[int, float]) -> Own:
    """The medians of the free sky in exposures of a field, and how much light of objects they may hold."""
    levels = np.array([frame_level(seens, ratios) for seens in shown])
    lights, sigmas = [], []
    for frame, seens, level in zip(group, shown, levels, strict=True):
        cells = np.concatenate([(p.cells / ratios.get(array, 1.0)).ravel() for array, p in seens.items()])
        places = np.concatenate([cell_places(frame, array, p.cells.shape) for array, p in seens.items()])
        free = float(np.median([part.free for part in seens.values()]))
        found = background(cells.astype(float), places, level, free)
        lights.append(found.light)
        sigmas.append(found.sigma)
    return Own(levels, float(np.median(lights)), float(np.median(sigmas)))


def array_ratios(seen: Sequence[FrameSky]) -> dict[int, float]:
    """The sky's level in each array relative to the usual array, from the sky exposures.

    Each is judged against what the same exposure shows in all arrays; an odd one of few does not count.
    """
    arrays = sorted({array for seens in seen for array in seens})
    levels = np.array([[seens[a].level if a in seens else np.nan for a in arrays] for seens in seen])
    levels = np.where(levels > 0, levels, np.nan)
    ratios = np.ones(len(arrays))
    for _ in range(ROUNDS):
        whole = median_of_seen(levels / ratios, axis=1)[:, None]
        ratios = np.nan_to_num(median_of_seen(levels / whole, axis=0), nan=1.0)
    ratios = np.clip(ratios / np.median(ratios), *RATIOS)
    return {array: float(ratio) for array, ratio in zip(arrays, ratios, strict=True)}


def frame_level(seens: FrameSky, ratios: Mapping[int, float]) -> float:
    """The level of a whole frame: the median of its arrays, each brought to the mean array."""
    levels = [part.level / ratios.get(array, 1.0) for array, part in seens.items()]
    return float(median_of_seen(np.array(levels)))


def without_filled(seen: Mapping[str, FrameSky]) -> dict[str, FrameSky]:
    """Sky exposures with the level of the others for arrays that objects fill: their own is too high."""
    ratios = array_ratios(list(seen.values()))
    cleaned: dict[str, FrameSky] = {}
    for name, seens in seen.items():
        whole = frame_level(seens, ratios)
        usual = {array: whole * ratios[array] for array in seens}
        cleaned[name] = {
            array: replace(part, level=usual[array])
            if part.level > usual[array] * (1.0 + FILLED) + OFFSETS
            else part
            for array, part in seens.items()
        }
    return cleaned


def find_levels(
    group: Sequence[FrameRef],
    shown: Sequence[FrameSky],
    skies: tuple[F64, F64],
    ratios: Mapping[int, float],
    decided: tuple[LevelChoice, Own],
    told: Leveling,
    context: Context,
) -> SkyLevels:
    """The level of each exposure of a field; ``skies``: times (seconds) and levels of its sky exposures.

    ``skies``: each (n,).
    """
    decision, own = decided
    if decision.source == OWN:
        _refuse_covered(group, own.levels)
        sigma = float(np.hypot(own.sigma, own.light))
        # Light between the objects is never less than none: what is expected of it stays in the exposures.
        light = 0.0 if True in (told.offset, told.scale) else own.light
        values = [float(level) - light for level in own.levels]
        return SkyLevels(values, {"SKYLEVM": "own median", "SKYSIGMA": round(sigma, 2)})
    times, levels = skies
    if told.course == "first":
        return SkyLevels([float(levels[0])] * len(group), {"SKYLEVM": "first sky"})
    at = np.array([seconds(frame) for frame in group])
    apart, fits = _differences(group, shown, own, ratios)
    course = follow(times, levels, at, apart, fits)
    found = weigh_levels(course, own) if decision.source == WEIGHED else course
    by_skies = decision.source == SKIES or own.light > course.sigma
    if by_skies:
        found = replace(found, sigma=float(np.hypot(found.sigma, SHARED)))
    _tell(own, course, found, decision, len(levels), context)
    return SkyLevels(
        [float(level) for level in found.levels],
        {"SKYLEVM": "follows time" if by_skies else "own median", "SKYSIGMA": round(found.sigma, 2)},
    )


def _tell(
    own: Own, course: LevelCurve, found: LevelCurve, decision: LevelChoice, skies: int, context: Context
) -> None:
    least, most = found.levels.min(), found.levels.max()
    if decision.source == SKIES:
        context.notify("sky_level", least=least, most=most, sigma=found.sigma, skies=skies)
        return
    context.notify(
        "sky_level_weighed",
        least=least,
        most=most,
        sigma=found.sigma,
        skies=skies,
        by_skies=course.levels.mean(),
        skies_sigma=course.sigma,
        by_medians=median_of_seen(own.levels),
        light=own.light,
    )


def _refuse_covered(group: Sequence[FrameRef], levels: F64) -> None:
    covered = [frame.path.name for frame, level in zip(group, levels, strict=True) if not np.isfinite(level)]
    if covered:
        raise BadInput(
            f"no source-free sky in {', '.join(covered)}",
            "source-free pixels, or exposures off target",
            "add sky exposures",
        )


def _differences(
    group: Sequence[FrameRef], shown: Sequence[FrameSky], own: Own, ratios: Mapping[int, float]
) -> tuple[F64, NDArray[np.bool_]]:
    """Levels of exposures of a field but for a constant: from what they share and from their medians; and
    which of them show the light of the others.

    Each as far as it is sure: of the light of objects in their medians a part changes with the dither.
    """
    maps, places = common_field(group, shown, ratios)
    by_median = own.levels - float(median_of_seen(own.levels))
    if not all(np.isfinite(cells).any() for cells in maps):
        _refuse_covered(group, own.levels)
        return np.asarray(by_median, float), np.ones(len(group), bool)
    shared, fits = level_differences(maps, places)
    shared -= float(np.nan_to_num(median_of_seen(shared - by_median)))
    trust = SHARED**2 / (SHARED**2 + own.sigma**2 + (CHANGE * own.light) ** 2)
    both = trust * by_median + (1 - trust) * shared
    return np.asarray(np.where(np.isfinite(by_median), both, shared), float), fits
