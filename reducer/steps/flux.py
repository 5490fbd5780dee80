"""The flux of exposures relative to the first, and their zeropoint: by a standard star, or its stack's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np

from reducer import dq
from reducer.align.moving import moving_places
from reducer.align.wcs import is_stack
from reducer.astrometry import Position, sky_to_plane
from reducer.errors import BadInput
from reducer.frame import Context, Files, FrameRef
from reducer.headers.descriptors import Descriptors, describe
from reducer.photometry.growth import Light, measure_light
from reducer.photometry.lightmap import map_light, sky_lattice
from reducer.photometry.transparency import USUAL_CHANGE, Transparency, compare_transparencies
from reducer.photometry.zeropoint import (
    EXTINCTION_ERROR,
    Zeropoint,
    extinction,
    read_zeropoint,
    remove_zeropoint,
    tell_zeropoint,
    warn_if_strange,
    write_zeropoint,
)
from reducer.references import Magnitude, Star, find_magnitude, published, read_standards
from reducer.sources import AT_EDGE, IS_SATURATED, NOT_CENTRED, ON_BAD_PIXEL, TOO_SHARP, is_blurred
from reducer.step import step
from reducer.types import F64, Table

#: Transparency further than this from the other exposures' is warned about.
CLOUDY = 0.7
#: Images of natural seeing are this many times as wide as those of adaptive optics.
BLURRED = 1.5


@step(suffix="_countsScaled")
def scaleCountsToReference(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Give each aligned frame the factor that brings its light to what it is in the first frame.

    All exposures are compared with each other. Where their light does not tell it, they are taken to be as
    transparent as usual, and it is said.
    """
    if not frames:
        return []
    seconds = np.array([frame.exposure_time for frame in frames])
    found = measure_transparency(frames, context)
    ratios, errors = found.against(0)
    scaled = []
    for frame, own, ratio, error in zip(frames, seconds, ratios, errors, strict=True):
        fact = "clouds" if ratio < CLOUDY else "transparency"
        context.notify(fact, file=frame.path.name, ratio=ratio, ratio_error=error)
        scaled.append(frame.with_(scale=float(seconds[0] / own / ratio), scale_error=float(error)))
    unknown = int((~found.told).sum())
    if unknown and len(frames) > 1:
        context.notify("transparency_unmeasured", frames=unknown, exposures=len(frames), change=USUAL_CHANGE)
    return scaled


def measure_transparency(frames: Sequence[FrameRef], context: Context) -> Transparency:
    """The transparencies of aligned frames with their sources, by their light per second."""
    geometries = [frame.geometry for frame in frames if frame.geometry is not None]
    if len(geometries) < len(frames):
        raise BadInput("frames are not aligned", "adjustWCSToReference before this step")
    lattice = sky_lattice(geometries)
    seconds = [frame.exposure_time for frame in frames]
    moving = moving_places(frames)
    each = context.map(map_light, [(context.disk, frame, lattice, moving) for frame in frames])
    maps = [replace(one, light=one.light / np.float32(own)) for one, own in zip(each, seconds, strict=True)]
    blurred = any(is_blurred(table, frame.instrument.widths) for frame in frames for table in frame.sources)
    return compare_transparencies(maps, context.map, BLURRED if blurred else 1.0)


#: Arcsec about the target's place within which the brightest source is the standard.
SEARCH = 12.0
#: The part of the star's light that a neighbour within a FWHM may have.
BLENDING = 0.03
#: What exposures of one star scatter by in good weather, mag, and how many exposures that knowledge is worth.
USUAL_SCATTER, PRIOR_WEIGHT = 0.01, 3
MAG = 2.5 / np.log(10.0)
NOTHING = "no standard star of this filter was reduced with it, nor is --phot-catalog FILE given"


@dataclass(frozen=True)
class Measure:
    """The standard in one exposure: its light in electrons on the reference pixel's scale, and the exposure's
    airmass (NaN if unknown), seconds, and factor to the reference exposure."""

    light: Light
    airmass: float
    seconds: float
    factor: float


@step(suffix="_zeropointMeasured")
def measureZeropoint(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    standards: Annotated[str | None, "file with magnitudes of standards"] = None,
    archive: Annotated[str | None, "file with the archive's magnitudes of standards"] = None,
    catalog: Annotated[str | None, "file with magnitudes of stars of the field"] = None,
    standard: Annotated[str | None, "the standard's stack, whose zeropoint holds"] = None,
) -> list[FrameRef]:
    """Give the first of scaled exposures, whose flux scale is the stack's, the keywords of its zeropoint.

    Exposures of a standard star are measured on that star; others take the zeropoint at airmass 0 of the
    standard's stack that the step is given. Without either there is none, and what is missing is said.
    """
    facts = describe(frames[0].header, frames[0].chips, frames[0].path.name)
    if is_stack(frames[0]) and "PHOTZP" in frames[0].header:
        return list(frames)
    header = frames[0].header.copy()
    remove_zeropoint(header)
    found: Zeropoint | str | None = None
    if facts.observation_class != "science":
        found = _from_star(frames, facts, _listed(facts, standards, archive, catalog), context)
    if standard and not isinstance(found, Zeropoint):
        found = _carried_over(facts, Path(standard), context)
    if isinstance(found, Zeropoint):
        write_zeropoint(header, found)
        _tell(found, facts, context)
    else:
        header["PHOTMISS"] = found or NOTHING
        context.notify("no_zeropoint", reason=header["PHOTMISS"])
    return [frames[0].with_(header=header), *frames[1:]]


def _tell(found: Zeropoint, facts: Descriptors, context: Context) -> None:
    tell_zeropoint(found, context)
    if found.transparency is None:
        context.notify("transparency_unknown")
    warn_if_strange(found.at_zero, facts, context.notify)


# --- a standard's exposures -------------------------------------------------------------------------------


def _from_star(
    frames: Sequence[FrameRef], facts: Descriptors, magnitude: Magnitude | None, context: Context
) -> Zeropoint | str:
    """The zeropoint of a standard's exposures, or what is missing."""
    if magnitude is None:
        where = f"{facts.target_ra:.4f} {facts.target_dec:+.4f}" if facts.target_ra is not None else "unknown"
        return (
            f"no {facts.filter} magnitude of {facts.object} (at {where}) in any table of standards: "
            "give one with --standards FILE"
        )
    target = (float(facts.target_ra or 0.0), float(facts.target_dec or 0.0))
    picked = [_pick(frame, target) for frame in frames]
    for frame, choice in zip(frames, picked, strict=True):
        if isinstance(choice, str):
            context.notify("standard_unused", file=frame.path.name, reason=choice)
    usable = [(f, choice) for f, choice in zip(frames, picked, strict=True) if not isinstance(choice, str)]
    tasks = [(context.disk, f.with_(sources=()), *choice) for f, choice in usable]
    found = list(context.map(measure_star, tasks))
    for (frame, _), one in zip(usable, found, strict=True):
        if isinstance(one, str):
            context.notify("standard_unused", file=frame.path.name, reason=one)
    measures = [one for one in found if not isinstance(one, str)]
    if not measures:
        return f"{magnitude.star} could not be measured in any exposure: see the warnings"
    return combine_measures(measures, magnitude, extinction(facts), frames[0])


def _listed(
    facts: Descriptors, standards: str | None, archive: str | None, catalog: str | None
) -> Magnitude | None:
    """The standard's magnitude by the first table that has it: user's, published, the archive's, 2MASS."""
    for stars, by_name in _tables(standards, archive, catalog):
        found = find_magnitude(stars, facts, by_name)
        if found is not None:
            return found
    return None


def _tables(
    standards: str | None, archive: str | None, catalog: str | None
) -> Iterator[tuple[Sequence[Star], bool]]:
    """Tables of standards in order of trust, and whether a star's name alone identifies it there."""
    if standards:
        yield read_standards(Path(standards)), True
    yield published(), False
    if archive:
        yield read_standards(Path(archive), "the archive's phot_standards"), False
    if catalog:
        yield read_standards(Path(catalog)), False


def _pick(frame: FrameRef, target: Position) -> tuple[int, Table, Table] | str:
    """Chip, source and neighbours of the star in a frame, or why it cannot be used."""
    assert frame.geometry is not None
    u0, v0 = sky_to_plane(np.array([target[0]]), np.array([target[1]]), frame.geometry.tangent)
    best: tuple[int, Table, Table] | None = None
    for chip, table in enumerate(frame.sources):
        real = table[(table["flags"] & (NOT_CENTRED | TOO_SHARP)) == 0]
        u, v = frame.geometry.evaluate(real["x"], real["y"], chip)
        near = np.flatnonzero(np.hypot(u - u0, v - v0) < SEARCH)
        if len(near):
            k = near[np.argmax(real["flux"][near, -1])]
            if best is None or real["flux"][k, -1] > best[1]["flux"][-1]:
                best = (chip, real[k], np.delete(real, k))
    if best is None:
        return "the standard star is not in the field"
    _, star, others = best
    flaws = {IS_SATURATED: "saturated", AT_EDGE: "at the edge", ON_BAD_PIXEL: "on bad pixels"}
    flaw = next((word for bit, word in flaws.items() if star["flags"] & bit), None)
    if flaw is None and _is_blended(star, others):
        flaw = "blended with another"
    return f"the star is {flaw}" if flaw else best


def _is_blended(star: Table, others: Table) -> bool:
    close = np.hypot(others["x"] - star["x"], others["y"] - star["y"]) < star["fwhm"]
    return bool((others["flux"][close, 1] > BLENDING * star["flux"][1]).any())


def measure_star(task: tuple[Files, FrameRef, int, Table, Table]) -> Measure | str:
    """The star's light in one exposure, electrons on the scale of the reference pixel, or why not."""
    files, frame, index, star, others = task
    chip = files.read_chip(frame, index)
    usable = (chip.mask & dq.UNUSABLE) == 0
    try:
        light = measure_light(chip.data, chip.variance, usable, star, others, frame.instrument.widths.halo)
    except BadInput as error:
        return str(error)
    assert frame.geometry is not None
    # A flat makes surface brightness of light: a sum over pixels is in units of their own area.
    place = np.array([star["x"]]), np.array([star["y"]])
    area = frame.geometry.area(*place, index)[0] / frame.geometry.pixel**2
    light = replace(
        light,
        total=light.total * area,
        photons=light.photons * area,
        growth=light.growth * area,
        sky=light.sky * area,
    )
    facts = describe(frame.header, frame.chips, frame.path.name)
    airmass = facts.scale_airmass if facts.scale_airmass is not None else float("nan")
    return Measure(light, airmass, frame.exposure_time, frame.scale)


def combine_measures(
    measures: Sequence[Measure], magnitude: Magnitude, k: float, reference: FrameRef
) -> Zeropoint:
    """The zeropoint on the reference exposure's scale, and at airmass 0 as the mean of the exposures.

    The exposures put the star on different arrays: their scatter holds that of the arrays and of the weather.
    """
    total, seconds, airmass, factor = (
        np.array(column)
        for column in zip(*((m.light.total, m.seconds, m.airmass, m.factor) for m in measures), strict=True)
    )
    each = magnitude.value + 2.5 * np.log10(total / seconds) + k * np.nan_to_num(airmass, nan=0.0)
    reference_seconds = reference.exposure_time
    value = magnitude.value + 2.5 * np.log10(np.mean(total * factor) / reference_seconds)
    count = len(measures)
    squares = float(np.sum((each - each.mean()) ** 2)) + PRIOR_WEIGHT * USUAL_SCATTER**2
    here = describe(reference.header, reference.chips).scale_airmass or float("nan")
    parts = {
        "photons": MAG * _mean_error([m.light.photons for m in measures], total),
        "growth": MAG * _mean_error([m.light.growth for m in measures], total),
        "sky": MAG * _mean_error([m.light.sky for m in measures], total),
        "catalogue": magnitude.error,
        "arrays": float(np.sqrt(squares / (count - 1 + PRIOR_WEIGHT) / count)),
    }
    radius = float(np.mean([m.light.radius for m in measures])) * reference.instrument.field.reference_scale
    return Zeropoint(
        value=float(value),
        at_zero=float(each.mean()),
        k=k,
        airmass=here,
        parts=parts,
        radius=radius,
        stars=count,
        star=magnitude.star,
        source=magnitude.source,
        transparency=(1.0, 0.0),
    )


def _mean_error(errors: Sequence[float], total: F64) -> float:
    return float(np.sqrt(np.sum((np.array(errors) / total) ** 2)) / len(total))


# --- other exposures ---------------------------------------------------------------------------------------


def _carried_over(facts: Descriptors, stack: Path, context: Context) -> Zeropoint | str:
    """The zeropoint at airmass 0 of a standard's stack, at these exposures' airmass."""
    found = read_zeropoint(context.disk.open_frame(stack).header)
    if found is None:
        return f"the standard's stack {stack.name} has no zeropoint"
    airmass = facts.scale_airmass
    if airmass is None or not np.isfinite(found.airmass):
        return "the airmass of the standard or of the target is not in the headers"
    uncertain = EXTINCTION_ERROR * abs(airmass - found.airmass)
    return replace(
        found,
        value=found.at_zero - found.k * airmass,
        airmass=airmass,
        parts={**found.parts, "extinction": uncertain},
        transparency=None,
    )
