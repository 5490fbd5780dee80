"""A stack's file: its sources, image, exposure map, catalogue, what its exposures were like, its noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from reducer import dq
from reducer.align.wcs import is_stack
from reducer.astrometry import Geometry, Grid
from reducer.frame import Context, FrameRef
from reducer.headers.descriptors import describe
from reducer.instruments.base import Widths
from reducer.keywords import read
from reducer.photometry.catalogue import (
    ApertureCorrection,
    Look,
    add_magnitudes,
    catalogue,
    correct_apertures,
    measure_objects,
    over_near_sky,
)
from reducer.photometry.growth import Rings, sum_rings
from reducer.photometry.hidden import add_hidden, completeness_table, write_completeness
from reducer.photometry.zeropoint import find_zeropoint, write_zeropoint
from reducer.products import STACK
from reducer.provenance import plan_product, product_name
from reducer.sources import detect_sources
from reducer.stack.exposures import Exposure
from reducer.stack.noise import Contribution, correlation_of, noise_table, read_contributions, share_table
from reducer.stack.parts import Parts
from reducer.stack.quality import exposure_table, tell_outliers
from reducer.types import F64, Header, Table

# --- sources, found and measured strip by strip, where the stack's rows are ------------------------

#: Rows of the stack in which sources are sought at a time, and how far beyond them they may reach.
STRIP, MARGIN = 1100, 160


@dataclass(frozen=True)
class StackedImage:
    """The whole stack, in parts, the table of its sources (dtype ``MEASURED``), and the light that a star
    needs to be found, at places spread over it (dtype ``NEED``)."""

    parts: Parts
    sources: Table
    needed: Table


def find_sources(parts: Parts, widths: Widths, context: Context) -> StackedImage:
    """The whole stack with its sources, brightest first, found strip by strip."""
    height = parts.height
    cores = [(first, min(first + STRIP, height)) for first in range(0, height, STRIP)]
    reach = [(max(first - MARGIN, 0), min(last + MARGIN, height)) for first, last in cores]
    tables = context.map(_measure_strip, [(parts, widths, *rows) for rows in reach])
    kept: tuple[list[Table], list[Table]] = ([], [])
    for (first, last), (lowest, _), both in zip(cores, reach, tables, strict=True):
        for table, some in zip(both, kept, strict=True):
            table["y"] += lowest
            some.append(table[(table["y"] >= first - 0.5) & (table["y"] < last - 0.5)])
    found, needed = (np.concatenate(some) for some in kept)
    found = found[np.argsort(-found["flux"][:, 0], kind="stable")]
    return StackedImage(parts, found, needed)


def _measure_strip(task: tuple[Parts, Widths, int, int]) -> tuple[Table, Table]:
    """The sources of the rows of a stack from one up to another, and what light a star there needs."""
    parts, widths, first, last = task
    sources = detect_sources(*parts.some(first, last), widths)
    # Read anew: the search has changed them, and two copies would take more memory than all else.
    planes = parts.some(first, last)
    sources = over_near_sky(sources, planes[0], planes[2], widths)
    sources, needed = add_hidden(sources, *planes, widths)
    return measure_objects(sources, *planes), needed


def looking(stack: StackedImage, context: Context) -> Look:
    """What gives the rings about stars of a stack, in worker processes where there are any."""

    def look(stars: Table, edges: F64) -> Iterable[Rings]:
        return context.map(_sum_rings, [_cut(stack, star, edges) for star in stars])

    return look


def _cut(stack: StackedImage, star: Table, edges: F64) -> tuple[Parts, Table, Table, F64, slice]:
    """A star and the sources that may reach into its rings, with y from the first of the rows there."""
    reach = int(edges[-1]) + 1
    row = round(float(star["y"]))
    first = max(row - reach, 0)
    away = np.hypot(stack.sources["x"] - star["x"], stack.sources["y"] - star["y"])
    star, others = star.copy(), stack.sources[away < 2 * reach + 1]
    star["y"] -= first
    others["y"] -= first
    return stack.parts, star, others, edges, slice(first, row + reach + 1)


def _sum_rings(task: tuple[Parts, Table, Table, F64, slice]) -> Rings:
    parts, star, others, edges, rows = task
    data, variance, mask = parts.data[rows], parts.variance[rows], parts.mask[rows]
    return sum_rings(data, variance, (mask & dq.UNUSABLE) == 0, star, others, edges)


# --- the file --------------------------------------------------------------------------------------

MJD_ZERO, DAY = datetime(1858, 11, 17), timedelta(days=1)


def write_stack(
    stack: StackedImage,
    exposures: Sequence[Exposure],
    grid: Grid,
    kernel: str,
    residuals: Table,
    fill: float,
    catalog: str | None,
    counted: bool,
    context: Context,
) -> FrameRef:
    """Write the product with its catalogue, exposure map, residuals and table of correlated noise.

    ``fill``: value where there are no data; ``catalog``: file of magnitudes of stars of the field;
    ``counted``: whether rejected samples were, and are written.
    """
    reference, inputs = exposures[0].frame, [exposure.frame for exposure in exposures]
    seconds = [exposure.seconds for exposure in exposures]
    shares = contributions(exposures, grid, context)
    along = [sampling for exposure in exposures for sampling in exposure.samplings]
    table = noise_table(shares, correlation_of(kernel, along))
    ratio = {int(row["n"]): round(float(row["ratio"]), 5) for row in table}
    keywords = {
        "TEXPTIME": sum(seconds),
        "NCOMBINE": len(exposures),
        "REFFRAME": reference.header.get("ORIGNAME") or reference.path.name,
        **time_keywords([frame.header for frame in inputs], seconds),
    }
    drifts = [frame.drift for frame in inputs if frame.drift is not None]
    if drifts:
        keywords["TRKDRIFT"] = round(max(float(np.hypot(*drift)) for drift in drifts), 4)
    if left := sum(int(np.sum(ball[:, 2] == 0)) for one in exposures for ball in one.snowballs):
        keywords["SNOWLEFT"] = left
    target = plan_product(
        context,
        reference,
        product_suffix(inputs, context),
        inputs,
        stamps=("ALIGN", "STACKFRM", "PROCSCI"),
        keywords=keywords,
    )
    for key in OF_A_FRAME:
        if key in target.header:
            del target.header[key]
    header = stack.parts.header
    header["NOISCORR"], header["NCORR02"], header["NCORR04"] = ratio[8], ratio[2], ratio[4]
    halo = reference.instrument.widths.halo
    correction = correct_apertures(stack.sources, stack.parts.data.shape, looking(stack, context), halo)
    objects = calibrate(stack, grid, table, correction, reference, [target.header, header], catalog, context)
    complete = completeness_table(stack.needed, stack.sources, correction)
    write_completeness(header, complete)
    looks = exposure_table(exposures)
    tell_outliers(looks, context)
    tables = {
        **target.tables,
        "OBJCAT": objects,
        "COMPLETENESS": complete,
        "NOISE": table,
        "SKYSHARES": share_table(shares),
        "EXPOSURES": looks,
        "RESIDUALS": residuals,
    }
    images = {"EXPTIME": stack.parts.exposure} | ({"REJMAP": stack.parts.rejected} if counted else {})
    parts = replace(stack.parts, fill=fill)
    path = context.disk.write_frame(target.path, target.header, [parts], tables=tables, images=images)
    context.notify("made", path=path)
    return context.disk.open_frame(path)


def calibrate(
    stack: StackedImage,
    grid: Grid,
    noise: Table,
    correction: ApertureCorrection,
    reference: FrameRef,
    headers: Sequence[Header],
    catalog: str | None,
    context: Context,
) -> Table:
    """OBJCAT with total light, and magnitudes where there is a zeropoint, which goes into the headers."""
    objects = catalogue(stack.sources, grid, noise, correction)
    order, stars, error = max(correction.order, 0), correction.stars, correction.growth
    context.notify("aperture_correction", stars=stars, order=order, growth_error=error)
    zeropoint = find_zeropoint(objects, correction.growth, reference, catalog, context)
    if zeropoint is None:
        return objects
    for header in headers:
        write_zeropoint(header, zeropoint)
    return add_magnitudes(objects, zeropoint, reference.exposure_time)


def product_suffix(inputs: Sequence[FrameRef], context: Context) -> str:
    """`_image`, but `_stack` where stacks are stacked and the product would take the place of one of them."""
    image = context.folder / product_name(inputs[0].path, STACK)
    taken = any(frame.path.resolve() == image.resolve() for frame in inputs)
    return "_stack" if taken else STACK


def contributions(exposures: Sequence[Exposure], grid: Grid, context: Context) -> list[Contribution]:
    """Each exposure's share of the noise, its place on the stack's pixels, and its part in common skies.

    A stack among them contributes what its own exposures did.
    """
    weights = np.array([np.max(exposure.weights) for exposure in exposures])
    found = []
    for exposure, weight in zip(exposures, weights / weights.sum(), strict=True):
        parts = read_contributions(context.disk, exposure.frame) if is_stack(exposure.frame) else []
        if parts:
            found += [_within(part, exposure, float(weight), grid) for part in parts]
        else:
            found.append(_contribution(exposure, float(weight), grid, context))
    return found


def _within(part: Contribution, exposure: Exposure, weight: float, grid: Grid) -> Contribution:
    """What an exposure contributes through a stack that is stacked with a weight."""
    scale = exposure.frame.scale
    x, y = np.array(part.place[:1]), np.array(part.place[1:])
    u, v = grid.to_pixel(*exposure.frame.placed.evaluate(x, y, 0))
    skies = tuple((name, deviation * scale) for name, deviation in part.skies)
    return Contribution(weight * part.weight, (float(u[0]), float(v[0])), part.own * scale**2, skies)


def _contribution(exposure: Exposure, weight: float, grid: Grid, context: Context) -> Contribution:
    """The mean of N skies as bright as the exposure holds one part in N + 1 of the variance."""
    names = sky_names(exposure.frame, context)
    each = exposure.variance / (len(names) + 1) / max(len(names), 1)
    return Contribution(
        weight=weight,
        place=place_of(exposure.frame.placed, grid),
        own=exposure.variance - each * len(names),
        skies=tuple((name, float(np.sqrt(each))) for name in names),
    )


def place_of(geometry: Geometry, grid: Grid) -> tuple[float, float]:
    """Where on a stack's pixels an exposure's middle lies, as its stars have placed it."""
    column, row = grid.to_pixel(*geometry.middle)
    return float(column), float(row)


def sky_names(frame: FrameRef, context: Context) -> tuple[str, ...]:
    """The raw sky exposures that were subtracted: inputs of a file beside the exposure itself, as its table
    PROVENANCE lists them, or as many as SKYNUM counts, taken to be common."""
    if frame.skies:
        return tuple(product_name(Path(name), "") for name in frame.skies)
    count = int(frame.header.get("SKYNUM") or 0)
    table = context.disk.read_table(frame.path, "PROVENANCE") if count else None
    if table is not None:
        inputs = [str(row["filename"]) for row in table if row["provenance_added_by"] == "input"]
        if len(inputs) == count + 1:
            return tuple(product_name(Path(name), "") for name in inputs[1:])
    return tuple(f"sky {number}" for number in range(count))


#: Keywords of the primary header of one raw frame that are not true of a stack.
OF_A_FRAME = (
    *("NEXTEND", "NCCDS", "NAMPS", "DETSIZE", "FRMNAME", "FRAMEID", "BUNIT", "DATATYP"),
    *("UTSTART", "UTEND", "AMSTART", "AMEND", "ELAPSED"),
)


def stack_header(reference: FrameRef, grid: Grid) -> Header:
    """The header of an image on a stack's pixels: the new WCS, and nothing of one array's read-out."""
    header = reference.chips[0].copy()
    header.clear()
    header["EXTVER"], header["BUNIT"] = 1, "electron"
    if levels := [float(chip["SKYLEVEL"]) for chip in reference.chips if "SKYLEVEL" in chip]:
        header["SKYLEVEL"] = round(float(np.mean(levels)), 3)  # of the reference exposure's arrays
    grid.write_wcs(header)
    if "ASTRCAT" in reference.header:
        # Catalogues of this century are on the ICRS.
        header["RADESYS"] = "ICRS"
        del header["EQUINOX"]
    return header


def levels_of(exposures: Sequence[Exposure]) -> dict[str, float]:
    """Gain, read noise, and the lowest levels at which one of the exposures is not linear or saturated, in
    electrons of the stack's pixels; without those that no header tells."""
    facts = {"GAIN": 1.0}
    share = np.array([np.max(exposure.weights) for exposure in exposures])
    share = share / share.sum()
    noise = [read_noise_of(exposure) for exposure in exposures]
    facts["RDNOISE"] = float(np.sqrt(np.sum((share * noise) ** 2)))
    for key in ("SATLEVEL", "NONLINEA"):
        levels = [one.factor * float(c[key]) for one in exposures for c in one.frame.chips if key in c]
        if levels:
            facts[key] = min(levels)
    return {key: round(fact, 2) for key, fact in facts.items() if np.isfinite(fact)}


def read_noise_of(exposure: Exposure) -> float:
    """The rms of the arrays' read noise in an exposure, electrons of the stack's pixels; NaN if unknown."""
    found = describe(exposure.frame.header, exposure.frame.chips).read_noise
    known = [noise for noise in found or () if noise is not None]
    return exposure.factor * float(np.sqrt(np.mean(np.square(known)))) if known else np.nan


# --- when it was exposed -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    """When an exposure began and ended, UTC, and the MJD of its middle, all coadds; of a stack the same
    of its own exposures."""

    begin: datetime
    end: datetime
    middle: float


def time_keywords(headers: Sequence[Header], seconds: Sequence[float]) -> Mapping[str, Any]:
    """DATE-BEG, DATE-END (UTC), MJD-AVG and AIRMASS of the stack of exposures or stacks with such primary
    headers; means are weighted with ``seconds``, those of all coadds.

    REFAIRM: airmass of the first, on whose flux scale the stack is. What a header does not tell is not there.
    """
    keywords: dict[str, Any] = {}
    moments = [moment_of(header, one) for header, one in zip(headers, seconds, strict=True)]
    known = [moment for moment in moments if moment is not None]
    if len(known) == len(moments):
        keywords["DATE-BEG"] = _iso(min(moment.begin for moment in known))
        keywords["DATE-END"] = _iso(max(moment.end for moment in known))
        keywords["MJD-AVG"] = round(_mean([moment.middle for moment in known], seconds), 8)
    airmasses = [describe(header, ()).airmass for header in headers]
    if None not in airmasses:
        keywords["AIRMASS"] = round(_mean(airmasses, seconds), 4)
        keywords["REFAIRM"] = describe(headers[0], ()).scale_airmass
    return keywords


def moment_of(header: Header, seconds: float) -> Moment | None:
    """The times of an exposure of so many seconds, or of a stack; None where the header does not tell."""
    middle = read(header, "MJD-AVG", float)
    if middle is not None:
        ends = [datetime.fromisoformat(str(header[key])) for key in ("DATE-BEG", "DATE-END")]
        return Moment(ends[0], ends[1], middle)
    begin = describe(header, ()).ut_datetime
    if begin is None:
        return None
    end = begin + timedelta(seconds=seconds)
    return Moment(begin, end, (begin + (end - begin) / 2 - MJD_ZERO) / DAY)


def _iso(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds")


def _mean(values: Sequence[float | None], seconds: Sequence[float]) -> float:
    """Weighted with the exposure times, evenly where these are not known."""
    return float(np.average(np.array(values, float), weights=seconds if any(seconds) else None))
