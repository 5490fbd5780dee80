"""The flat step made visible: an exposure with the lamp on, one with it off, the flat, and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from goafetch.plan.sort import LAMP_OFF, LAMP_ON
from goafetch.report.arrays import DIVERGING, GREY, StepPictures, find_raw, means_of, paint_arrays, read_thin
from goafetch.report.run_summary import RunSummary
from reducer import dq, fitsio
from reducer.instruments.base import Levels
from reducer.types import F32

#: Means along a side of an array; so many along a side are one in what the flat leaves.
SIDE, COARSE = 128, 4
#: Percentiles of a picture that are black and white.
ENDS = (1, 99)


def show_flat_step(folder: Path, summary: RunSummary, flat: Path, group: str) -> StepPictures | None:
    """The pictures of a master flat's first exposures and of what it leaves of them; None without them.

    What it leaves: the light of one exposure, lamp on less lamp off, over the flat, each array against its
    own median. Where the lamp, the dome or the array's response changed between exposures it is more than
    noise. A flat from which a dark was subtracted has none: the dark's light would be left.
    """
    lit, dark = (_first_raw(folder, summary, group, role) for role in (LAMP_ON, LAMP_OFF))
    frame = fitsio.open_frame(flat)
    if lit is None or str(frame.header.get("DARKIM", "none")) != "none":
        return None
    raw = fitsio.open_frame(lit)
    held = [{int(chip["EXTVER"]) for chip in fitsio.open_frame(path).chips} for path in (lit, dark) if path]
    planes: tuple[dict[int, F32], ...] = ({}, {}, {}, {})
    corners, excess = {}, []
    for index, header in enumerate(frame.chips):
        number, height = int(header["EXTVER"]), int(header["NAXIS2"])
        response, mask = read_thin(flat, number, height)
        bad = (mask & dq.UNUSABLE) != 0
        if bad.all() or not all(number in arrays for arrays in held):
            continue
        levels = frame.instrument.stored_levels(raw.header, number)
        on, off = (_electrons(path, number, height, levels) for path in (lit, dark))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(bad, np.nan, (on - off) / response).astype(np.float32)
        level = float(np.nanmedian(ratio))
        left = means_of(ratio / level - 1.0, bad, SIDE // COARSE)
        for plane, shown in zip(planes, (on, off, response, None), strict=True):
            plane[number] = 100.0 * left if shown is None else means_of(shown, bad, SIDE)
        corners[number] = frame.array(index).corner
        together = ratio.size * (1.0 - float(bad.mean())) / left.size
        noise = np.sqrt(float(np.nanmedian(on + off)) / raw.coadds / together) / level
        excess.append(float(np.nanstd(left)) / noise)
    if not excess:
        return None
    names = [path.name.split(".")[0] for path in (lit, dark) if path]
    return _show(names, planes, corners, float(np.median(excess)))


def _electrons(path: Path | None, number: int, height: int, levels: Levels) -> F32:
    """Electrons of the average coadd of a raw array, thinned; 0 without a file."""
    counts = read_thin(path, number, height)[0] if path else np.zeros(1, np.float32)
    return np.asarray(levels.electrons(counts), np.float32)


def _show(
    names: Sequence[str],
    planes: Sequence[Mapping[int, F32]],
    corners: Mapping[int, tuple[float, float]],
    excess: float,
) -> StepPictures:
    on, off, response, left = planes
    light = _ends(on)
    most = float(np.nanpercentile(np.abs(np.concatenate([each.ravel() for each in left.values()])), 95))
    shown = {
        "lamp on": paint_arrays(on, corners, light, GREY),
        "lamp off": paint_arrays(off, corners, _ends(off), GREY) if len(names) > 1 else "",
        "flat": paint_arrays(response, corners, _ends(response), GREY),
        "residual": paint_arrays(left, corners, (-most, most), DIVERGING),
    }
    told = f"residual {excess:.1f} times the photon noise of one exposure; colours to ±{most:.2g} %"
    return StepPictures(" less ".join(names), {name: each for name, each in shown.items() if each}, told)


def _ends(planes: Mapping[int, F32]) -> tuple[float, float]:
    low, high = np.nanpercentile(np.concatenate([plane.ravel() for plane in planes.values()]), ENDS)
    return float(low), float(high)


def _first_raw(folder: Path, summary: RunSummary, group: str, role: str) -> Path | None:
    """The first exposure of a group with a role that was used and still stands."""
    lost = {each.name for each in summary.exclusions}
    names = (
        each.name
        for each in summary.exposures
        if (each.group, each.role) == (group, role) and each.name not in lost
    )
    return next((raw for name in names if (raw := find_raw(folder, summary, name.split(".")[0]))), None)
