"""The steps of astrometry: sources, exposures laid on each other by them, and on a catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from reducer.align.catalogue_fit import FOR_ROTATION, HIGHEST, Tie, tie_to, tied
from reducer.align.global_fit import Limits, align_exposures
from reducer.align.moving import follow_target, one_kind
from reducer.align.wcs import is_stack, rotation_error
from reducer.errors import BadParameter, CannotAlign
from reducer.frame import Context, Files, FrameRef
from reducer.headers.descriptors import describe
from reducer.references import read_references
from reducer.sources import LEAST_AREA, THRESHOLD, detect_sources
from reducer.stack.quality import leave_out_doubled
from reducer.step import step
from reducer.types import Table


@step(suffix="_sourcesDetected", cannot_skip="exposures are aligned by the sources that it finds")
def detectSources(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    detect_thresh: Annotated[float, "how far above the background a source stands", "sigma"] = THRESHOLD,
    detect_minarea: Annotated[int, "fewest pixels of a source", "pixel"] = LEAST_AREA,
) -> list[FrameRef]:
    """Measure the sources of every frame, array by array; they go with it as ``sources``."""
    if not (detect_thresh > 0 and detect_minarea > 0):
        raise BadParameter(
            f"detect_thresh={detect_thresh:g}, detect_minarea={detect_minarea}", "numbers above 0"
        )
    least = (detect_thresh, detect_minarea)
    tasks = [(context.disk, frame, chip, least) for frame in frames for chip in range(len(frame.chips))]
    tables = context.map(measure_chip, tasks)
    found = [frame.with_(sources=tuple(next(tables) for _ in frame.chips)) for frame in frames]
    for frame in found:
        counts = {chip["EXTVER"]: len(table) for chip, table in zip(frame.chips, frame.sources, strict=True)}
        context.notify("detected", file=frame.path.name, sources=counts)
    return found


def measure_chip(task: tuple[Files, FrameRef, int, tuple[float, int]]) -> Table:
    """The sources of one array of a frame (see ``detect_sources``)."""
    files, frame, index, least = task
    chip = files.read_chip(frame, index)
    return detect_sources(chip.data, chip.variance, chip.mask, frame.instrument.widths, *least)


@step(suffix="_wcsCorrected", cannot_skip="exposures are compared and stacked where it finds that they lie")
def adjustWCSToReference(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    method: Annotated[Literal["auto", "sources", "target"], "what lies still: stars or target"] = "auto",
    first_pass: Annotated[float, "search radius for shifts", "arcsec"] = 5.0,
    final: Annotated[float, "matching radius", "arcsec"] = 0.1,
    min_matches: Annotated[int | None, "fewest stars two exposures must share"] = None,
    order: Annotated[int, "highest order of the polynomial"] = 3,
) -> list[FrameRef]:
    """Align exposures with measured sources to each other; doubled ones and such as do not fit are left out.

    Those of a moving target are laid on it, unless ``method`` says otherwise. CannotAlign if none is left.
    """
    if not frames:
        raise CannotAlign("there is no exposure to align", "at least one on-target exposure")
    frames = one_kind(leave_out_doubled(frames, context.notify), method, context)
    # Two exposures' pointings may each be a little off besides the one that is wrong.
    limits = Limits(first_pass + 0.5, final, order, min_matches or 1)
    found = align_exposures(frames, context.notify, limits)
    aligned = [
        frame.with_(geometry=geometry)
        for frame, geometry in zip(frames, found.geometries, strict=True)
        if geometry is not None
    ]
    if not aligned:
        raise CannotAlign("no exposure could be aligned", "exposures that share stars")
    return follow_target(aligned, method, context)


@step(suffix="_astrometryCorrected")
def determineAstrometricSolution(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    catalog: Annotated[str | None, "file with the positions of reference stars"] = None,
    first_pass: Annotated[float, "search radius for shifts", "arcsec"] = 10.0,
    final: Annotated[float, "matching radius", "arcsec"] = 0.2,
    min_matches: Annotated[int | None, "fewest reference stars to go on with"] = None,
    order: Annotated[int, "highest order of the polynomial"] = HIGHEST,
) -> list[FrameRef]:
    """Shift and bend all aligned frames together onto the catalogue that the step is given, if any."""
    limits = Limits(first_pass, final, order, min_matches or 1)
    return tie_frames(frames, catalog, limits, context)


def tie_frames(
    frames: Sequence[FrameRef], catalog: str | None, limits: Limits, context: Context
) -> list[FrameRef]:
    """The frames with their geometries laid on the catalogue; as they are if none is there or matches."""
    if not catalog or catalog.lower() == "none":
        context.notify("no_catalog")
        return _by_headers(frames, context)
    when = describe(frames[0].header, frames[0].chips).ut_datetime
    epoch = 2000.0 if when is None else when.year + (when.timetuple().tm_yday - 1) / 365.25
    references = read_references(Path(catalog), epoch)
    tie = tie_to(frames, references, limits, context)
    if tie is None:
        return _by_headers(frames, context)
    _tell(tie, references.name, context)
    placed = [tied(frame, tie, references) for frame in frames]
    return placed if tie.stars >= FOR_ROTATION else _by_headers(placed, context)


def _by_headers(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """The frames, each with what its headers' rotation is good to, which no catalogue has told."""
    if is_stack(frames[0]):
        return list(frames)
    errors = [rotation_error(frame) for frame in frames]
    context.notify("header_rotation", angle=np.median(errors))
    headers = [frame.header.copy() for frame in frames]
    for header, error in zip(headers, errors, strict=True):
        header["ROTERR"] = round(error, 3)
    return [frame.with_(header=header) for frame, header in zip(frames, headers, strict=True)]


def _tell(tie: Tie, name: str, context: Context) -> None:
    rms = tie.rms * 1e3
    if tie.turn:
        context.notify("tied_turned", catalog=name, angle=np.degrees(tie.turn))
    if tie.is_far:
        context.notify("tied_poorly", catalog=name, stars=tie.stars, rms=rms, expected=tie.error * 1e3)
    elif tie.stars == 1:
        context.notify("tied_by_one", catalog=name)
    elif tie.stars < FOR_ROTATION:
        context.notify("tied_by_shift", catalog=name, stars=tie.stars)
    else:
        context.notify("tied", catalog=name, stars=tie.stars, rms=rms)
