"""The sky step made visible: each exposure before it, its sky, after it, and what is left of the sky."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from goafetch.report.draw import as_data, centre_and_spread, colour_table
from goafetch.report.pictures import NO_DATA
from goafetch.report.run_summary import RunSummary
from goafetch.report.stack_file import as_number, block_means_without_nan
from goafetch.workspace import Workspace
from reducer import dq, fitsio
from reducer.frame import FrameRef
from reducer.masks import Calibrations
from reducer.steps.correct import ArrayView, Pass, Reading, correctDetectorAndDark
from reducer.types import F32, U16

#: Every so many rows and columns are looked at, as ArrayView.thinned does; a side of an array shows about so
#: many means of them where there are up to so many exposures: the page stays light.
STEP = 4
SIDES = {16: 128, 64: 64, 1000: 32}
#: Rows that are read at a time, a multiple of STEP.
ROWS = 128
#: Shown sides of an array in the residual: of so many means each is one.
COARSE = 8
#: What is hidden in the residual: means so many standard deviations above the sky are objects.
OBJECT = 2.5
#: Colours of the sky's pictures, and of the residual: too low, just right, too high.
GREY, DIVERGING = "gray", "RdBu_r"


@dataclass(frozen=True)
class SkyExposure:
    """An exposure of the sky step: its pictures by their names (addresses that hold them), and words."""

    name: str
    pictures: Mapping[str, str]
    told: str


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


def show_sky_step(folder: Path, summary: RunSummary, on_target: Sequence[Path]) -> list[SkyExposure]:
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
    raw = _find_raw(folder, summary, name) if _is_usual(summary) else None
    known = _calibrations(folder, frame)
    before, after, corners, levels = {}, {}, {}, []
    for index, header in enumerate(frame.chips):
        number = int(header["EXTVER"])
        data, mask = _thin(path, number, int(header["NAXIS2"]))
        bad = (mask & dq.UNUSABLE) != 0
        after[number] = _means(data, bad, side)
        corners[number] = frame.array(index).corner
        levels.append(as_number(header.get("SKYLEVEL")))
        if raw is not None and known is not None:
            before[number] = _means(_before(raw, frame, index, known, views), bad, side)
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
    counts, _ = _thin(raw, reading.place.array.number, int(frame.chips[index]["NAXIS2"]))
    return view.correct(counts)[0]


def _thin(path: Path, array: int, height: int) -> tuple[F32, U16]:
    """Data and mask of every fourth pixel of every fourth row, read by bands, whose memory is used again."""
    bands = []
    for first in range(0, height, ROWS):
        data, _, mask = fitsio.read_planes(path, array, slice(first, first + ROWS), variance=False)
        bands.append((data[::STEP, ::STEP].copy(), mask[::STEP, ::STEP].copy()))
    data, mask = (np.concatenate(planes) for planes in zip(*bands, strict=True))
    return data, mask


def _find_raw(folder: Path, summary: RunSummary, name: str) -> Path | None:
    """An exposure's raw file, where it still stands as the run read it."""
    places = (Workspace(folder).playdata, *([] if summary.archive else [Path(summary.program)]))
    return next((path for place in places if (path := place / f"{name}.fits").is_file()), None)


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


def _means(thin: F32, bad: Any, side: int) -> F32:
    block = max(1, min(thin.shape) // side)
    return block_means_without_nan(np.where(bad, np.float32(np.nan), thin), block)


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


def _show(one: Subtracted, limits: SkyStretch) -> SkyExposure:
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
        name: _picture(planes, one.corners, ends, colours) for name, planes, ends, colours in shown if planes
    }
    return SkyExposure(one.name, pictures, told)


def _picture(
    planes: Mapping[int, F32],
    corners: Mapping[int, tuple[float, float]],
    limits: tuple[float, float],
    colours: str,
) -> str:
    """A PNG of the arrays as they lie on the focal plane, as an address that holds it."""
    from PIL import Image

    columns, rows = (sorted({corners[number][axis] for number in planes}) for axis in (0, 1))
    height, width = (max(plane.shape[axis] for plane in planes.values()) for axis in (0, 1))
    gap = max(1, width // 40)
    size = (len(rows) * (height + gap) - gap, len(columns) * (width + gap) - gap)
    codes = np.zeros(size, np.uint8)  # 0: no data
    for number, plane in planes.items():
        x, y = (place.index(corners[number][axis]) for axis, place in ((0, columns), (1, rows)))
        low, high = limits
        level = np.clip(np.nan_to_num((plane - low) / max(high - low, 1e-6)), 0, 1)
        part = np.where(np.isfinite(plane), 1 + np.round(254 * level), 0).astype(np.uint8)
        begin = (y * (height + gap), x * (width + gap))
        codes[begin[0] : begin[0] + plane.shape[0], begin[1] : begin[1] + plane.shape[1]] = part
    picture = Image.fromarray(np.ascontiguousarray(codes[::-1]), "P")  # FITS counts rows from below
    picture.putpalette(_palette(colours))
    page = io.BytesIO()
    picture.save(page, "png", compress_level=4)
    return as_data(page.getvalue())


@lru_cache(maxsize=4)
def _palette(name: str) -> bytes:
    """A colour map of 255 colours after that of places without data."""
    no_data = bytes(int(NO_DATA[place : place + 2], 16) for place in (1, 3, 5))
    return no_data + colour_table(name)[3:]
