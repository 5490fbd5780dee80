"""The sky step made visible: each exposure before it, its sky, after it, and what is left of the sky."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from goafetch.report.arrays import DIVERGING, GREY, StepPictures, find_raw, means_of, paint_arrays, read_thin
from goafetch.report.draw import centre_and_spread
from goafetch.report.run_summary import RunSummary
from goafetch.report.stack_file import as_number, block_means_without_nan
from goafetch.workspace import Workspace
from reducer import dq, fitsio
from reducer.frame import FrameRef
from reducer.masks import Calibrations
from reducer.steps.correct import ArrayView, Pass, Reading, correctDetectorAndDark
from reducer.types import F32

#: A side of an array shows about so many means where there are up to so many exposures: the page stays light.
SIDES = {16: 128, 64: 64, 1000: 32}
#: Shown sides of an array in the residual: of so many means each is one.
COARSE = 8
#: What is hidden in the residual: means so many standard deviations above the sky are objects.
OBJECT = 2.5


@dataclass(frozen=True)
class Subtracted:
    """An exposure's arrays by number, means of blocks in electrons, NaN without data; None where the raw file
    or a calibration is gone, or the detector's steps were not the usual ones; ``level``: of the sky, and its
    uncertainty, None where no header tells."""

    name: str
    before: Mapping[int, F32] | None
    after: Mapping[int, F32]
    corners: Mapping[int, tuple[float, float]]
    level: float | None
    sigma: float | None


def show_sky_step(folder: Path, summary: RunSummary, on_target: Sequence[Path]) -> list[StepPictures]:
    """The pictures of all exposures on target of a stack, all with the same stretch."""
    views: dict[Any, ArrayView] = {}
    side = next(side for most, side in SIDES.items() if len(on_target) <= most or side == min(SIDES.values()))
    read = [read_subtraction(folder, summary, path, side, views) for path in on_target]
    if not read:
        return []
    limits = _choose_limits(read)
    return [_show(one, limits) for one in read]


def read_subtraction(
    folder: Path, summary: RunSummary, path: Path, side: int, views: dict[Any, ArrayView]
) -> Subtracted:
    """An exposure after the sky step, and before it, made of its raw counts as the run did.

    ``side``: about how many means along an array; ``views``: what is known of arrays, which it adds to.
    """
    frame = fitsio.open_frame(path)
    name = path.name.split("_")[0]
    raw = find_raw(folder, summary, name) if _is_usual(summary) else None
    known = _calibrations(folder, frame)
    before, after, corners, levels = {}, {}, {}, []
    for index, header in enumerate(frame.chips):
        number = int(header["EXTVER"])
        data, mask = read_thin(path, number, int(header["NAXIS2"]))
        bad = (mask & dq.UNUSABLE) != 0
        after[number] = means_of(data, bad, side)
        corners[number] = frame.array(index).corner
        levels.append(as_number(header.get("SKYLEVEL")))
        if raw is not None and known is not None:
            before[number] = means_of(_before(raw, frame, index, known, views), bad, side)
    told = [level for level in levels if level is not None]
    level = float(np.mean(told)) if told else None
    sigma = as_number(frame.header.get("SKYSIGMA"))
    return Subtracted(name, before if len(before) == len(after) else None, after, corners, level, sigma)


def _is_usual(summary: RunSummary) -> bool:
    """Whether the detector's steps were the usual ones, which can be done again here."""
    own = {step.name for step in correctDetectorAndDark.parts} & set(summary.parameters)
    return not own and "frames" not in summary.recipes


def _before(raw: Path, frame: FrameRef, index: int, known: Calibrations, views: dict[Any, ArrayView]) -> F32:
    """Every fourth pixel of an array as the sky step found it, made of the raw counts as the run did."""
    do = Pass(known, mask=True, linearize=True, electrons=True)
    reading = Reading.of(frame, index, do)
    key = (known, reading.place)
    if key not in views:
        views[key] = ArrayView.of(known, reading, variance=False).thinned()
    view = ArrayView(reading.exposure, views[key].static, views[key].dark, views[key].response)
    counts, _ = read_thin(raw, reading.place.array.number, int(frame.chips[index]["NAXIS2"]))
    return view.correct(counts)[0]


def _calibrations(folder: Path, frame: FrameRef) -> Calibrations | None:
    """What an exposure was made with, None where one of it is gone."""
    found: dict[str, Path] = {}
    workspace = Workspace(folder)
    places = [workspace.playground, workspace.playdata, *workspace.calibrations.glob("processed_*")]
    for key, kind in (("BPMIM", "bpm"), ("FLATIM", "flat"), ("DARKIM", "dark")):
        name = str(frame.header.get(key, "none"))
        if name == "none":
            continue
        path = next((place / name for place in places if (place / name).is_file()), None)
        if path is None:
            return None
        found[kind] = path
    return Calibrations(fitsio.Disk(), **found)


def _residual(after: F32) -> F32:
    """What is left of the sky: means over coarse blocks without objects, NaN where they cover all."""
    middle, spread = centre_and_spread(after)
    return block_means_without_nan(
        np.where(after > middle + OBJECT * spread, np.float32(np.nan), after), COARSE
    )


@dataclass(frozen=True)
class SkyStretch:
    """Electrons that are black and white, for all exposures: with the sky, without it, and its residual."""

    sky: tuple[float, float]
    after: tuple[float, float]
    residual: tuple[float, float]


def _choose_limits(read: Sequence[Subtracted]) -> SkyStretch:
    after = np.concatenate([plane.ravel() for one in read for plane in one.after.values()])
    middle, spread = centre_and_spread(after[None])
    left = np.concatenate([_residual(plane).ravel() for one in read for plane in one.after.values()])
    left = np.abs(left[np.isfinite(left)])
    most = float(np.percentile(left, 95)) if left.size else 1.0
    skies = [plane for one in read for plane in skies_of(one).values()]
    values = np.concatenate([plane[np.isfinite(plane)] for plane in skies]) if skies else np.zeros(1)
    low, high = (float(v) for v in np.percentile(values, (1, 99))) if values.size else (0.0, 1.0)
    edge = max(6 * spread, 0.1 * (high - low))
    return SkyStretch(
        (low - edge / 3, high + edge), (middle - 3 * spread, middle + 12 * spread), (-most, most)
    )


def skies_of(one: Subtracted) -> dict[int, F32]:
    """What was subtracted, by array: means of blocks in electrons; nothing where ``before`` is not known."""
    if one.before is None:
        return {}
    return {number: plane - one.after[number] for number, plane in one.before.items()}


def _show(one: Subtracted, limits: SkyStretch) -> StepPictures:
    residuals = {number: _residual(plane) for number, plane in one.after.items()}
    told = "" if one.level is None else f"sky {one.level:.0f}"
    if told:
        told += " e-" if one.sigma is None else f" +- {one.sigma:.0f} e-"
    shown = (
        ("before", one.before or {}, limits.sky, GREY),
        ("sky", skies_of(one), limits.sky, GREY),
        ("after", one.after, limits.after, GREY),
        ("residual", residuals, limits.residual, DIVERGING),
    )
    pictures = {
        name: paint_arrays(planes, one.corners, ends, colours)
        for name, planes, ends, colours in shown
        if planes
    }
    return StepPictures(one.name, pictures, told)
