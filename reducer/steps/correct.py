"""The detector steps, from addDQ to flatCorrect, in one pass over each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reducer import parameters
from reducer.detector import NO_RESPONSE, Exposure, correct, linear_electrons
from reducer.errors import BadInput, MissingCalibration
from reducer.frame import F64, Chip, Context, FrameRef, Header
from reducer.headers.gsaoi import ARRAYS, region
from reducer.provenance import Target, plan_product
from reducer.sky.border import border_means
from reducer.steps.masks import Calibrations, known_bits, read_response
from reducer.steps.persistence import Glow, earlier_glows, flag_persistence, saturated_pixels
from reducer.steps.prepare import accept, describe

#: The detector steps in order, with the suffix of what each makes.
SUFFIXES = {
    "addDQ": "_dqAdded",
    "nonlinearityCorrect": "_nonlinearityCorrected",
    "ADUToElectrons": "_ADUToElectrons",
    "addVAR": "_varAdded",
    "flatCorrect": "_flatCorrected",
}
#: The switch of each step in ``detector.Exposure``.
SWITCHES = {
    "addDQ": "mask",
    "nonlinearityCorrect": "linearize",
    "ADUToElectrons": "electrons",
    "addVAR": "variance",
}


@dataclass(frozen=True)
class Work:
    """One frame's task: what to read, which corrections to make, and where the result goes."""

    calibrations: Calibrations
    frame: FrameRef
    target: Target
    switches: Mapping[str, bool]
    lasting: bool
    glows: tuple[Glow, ...] = field(default=())


def correctDetector(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Raw counts to flat-fielded electrons with variance and mask: ``_flatCorrected``.

    They are intermediate, and go to a scratch folder unless asked for; skyCorrect keeps the off-target ones.
    """
    flat = _flat_of(context)
    calibrations = Calibrations(context.disk, context.bpm, flat)
    surveys = list(context.map(_survey, [(calibrations, frame) for frame in frames]))
    lost = {frame.path: survey.lost for frame, survey in zip(frames, surveys, strict=True)}
    frames_left = accept(frames, context, lambda frame: _refuse_lost(frame, lost[frame.path]))
    borders = {frame.path: survey.border for frame, survey in zip(frames, surveys, strict=True)}
    frames_left = [frame.with_(border=borders[frame.path]) for frame in frames_left]
    glows = [survey.glow for frame, survey in zip(frames, surveys, strict=True) if not survey.lost]
    for step in [step for step in SUFFIXES if parameters.value(context, step, "write_outputs")]:
        if step != "flatCorrect":
            _run(frames_left, context, calibrations, _switches(context, until=step), SUFFIXES[step], glows)
    return _run(frames_left, context, calibrations, _switches(context), "_flatCorrected", glows)


def _flat_of(context: Context) -> Path | None:
    if parameters.value(context, "flatCorrect", "skip_primitive"):
        return None
    if not parameters.value(context, "flatCorrect", "do_flat"):
        context.notify("warning", text="no flat is applied, as flatCorrect:do_flat=False asks")
        return None
    if context.flat is None:
        raise MissingCalibration(
            "no flat for these frames",
            "a `_flat` of the filter",
            "make one with makeProcessedFlat, or set flatCorrect:do_flat=False",
        )
    return context.flat


def _switches(context: Context, until: str = "flatCorrect") -> dict[str, bool]:
    steps = list(SUFFIXES)
    wanted = steps[: steps.index(until) + 1]
    return {
        switch: step in wanted and not parameters.value(context, step, "skip_primitive")
        for step, switch in SWITCHES.items()
    } | {"flat": until == "flatCorrect"}


def _run(
    frames: Sequence[FrameRef],
    context: Context,
    calibrations: Calibrations,
    switches: Mapping[str, bool],
    suffix: str,
    glows: Sequence[Glow],
) -> list[FrameRef]:
    latency = parameters.value(context, "addDQ", "latency")
    window = parameters.value(context, "addDQ", "time")
    lasting = suffix != "_flatCorrected" or parameters.value(context, "flatCorrect", "write_outputs")
    works = []
    for frame in frames:
        works.append(
            Work(
                calibrations=calibrations,
                frame=frame,
                target=plan_product(
                    context,
                    frame,
                    suffix,
                    [frame],
                    stamps=("FLATCORR",) if calibrations.flat else (),
                    keywords=_keywords(calibrations),
                    folder=None if lasting else context.scratch,
                ),
                switches=switches,
                lasting=lasting,
                glows=earlier_glows(frame, frames, glows, window) if latency else (),
            )
        )
    paths = context.map(_correct_frame, works)
    made = [_opened(context, work.frame, path) for work, path in zip(works, paths, strict=True)]
    if lasting:
        for work in works:
            context.notify("made", path=work.target.path)
    return made


def _keywords(calibrations: Calibrations) -> dict[str, Any]:
    return {
        "FLATIM": calibrations.flat.name if calibrations.flat else "none",
        "BPMIM": calibrations.bpm.name if calibrations.bpm else "none",
    }


def _opened(context: Context, frame: FrameRef, path: Path) -> FrameRef:
    made = context.disk.open_frame(path)
    return made.with_(
        repairs=frame.repairs, md5=frame.md5, role=frame.role, skies=frame.skies, border=frame.border
    )


# --- tasks -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Survey:
    """What a look at the raw pixels shows: how many are lost, which are saturated, the reference rows."""

    lost: int
    glow: Glow
    border: Mapping[int, F64]


def _survey(task: tuple[Calibrations, FrameRef]) -> Survey:
    calibrations, frame = task
    lost, saturated, border = 0, {}, {}
    for index, header in enumerate(frame.chips):
        raw = calibrations.disk.read_chip(frame, index).data
        lost += int(raw.size - np.isfinite(raw).sum())
        bits = known_bits(calibrations, frame.header, header)
        array = int(header["EXTVER"])
        saturated[array] = saturated_pixels(raw, bits, region(header), array)
        border[array] = border_means(raw, region(header), array)
    return Survey(lost, Glow.of(frame, saturated), border)


def _refuse_lost(frame: FrameRef, lost: int) -> FrameRef:
    if lost:
        raise BadInput(f"{lost} pixels are not numbers", "finite counts", "fetch the file again")
    return frame


def _carry_levels(header: Header, array: int) -> None:
    """Note the saturation and non-linear levels as the data now have them, electrons."""
    numbers = ARRAYS[array - 1]
    for key, counts in (("SATLEVEL", numbers.saturation), ("NONLINEA", numbers.non_linear)):
        header[key] = round(linear_electrons(counts, array), 1)


def _correct_frame(work: Work) -> Path:
    chips = (_correct_chip(work, index) for index in range(len(work.frame.chips)))
    return work.calibrations.disk.write_frame(
        work.target.path, work.target.header, chips, tables=work.target.tables, lasting=work.lasting
    )


def _correct_chip(work: Work, index: int) -> Chip:
    frame, header = work.frame, work.frame.chips[index].copy()
    raw = work.calibrations.disk.read_chip(frame, index).data
    described = describe(frame)
    switches = {name: on for name, on in work.switches.items() if name != "flat"}
    exposure = Exposure.of(int(header["EXTVER"]), described.coadds, described.read_speed_setting, **switches)
    static = known_bits(work.calibrations, frame.header, header) if exposure.mask else None
    response = NO_RESPONSE
    if work.switches["flat"] and work.calibrations.flat is not None:
        response = read_response(work.calibrations.disk, work.calibrations.flat, header)
    data, variance, mask, _ = correct(raw, exposure, static=static, response=response)
    flag_persistence(data, mask, work.glows, int(header["EXTVER"]), region(header))
    header["BUNIT"] = "electron" if exposure.electrons else "adu"
    if exposure.electrons and exposure.linearize:
        _carry_levels(header, exposure.array)
    return Chip(data, variance, mask, header)
