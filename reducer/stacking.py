"""Aligned exposures to one stack: resampled and combined block of rows by block of rows, then written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reducer import parameters
from reducer.align.distortion import FIELD_CENTRE
from reducer.align.geometry import Geometry, Inverse
from reducer.align.grid import DEFAULT_SCALE, REFERENCE_SCALE, Grid, common_grid
from reducer.align.resample import Planes, resample_chip, rows_needed
from reducer.errors import BadInput
from reducer.frame import F32, F64, U16, Chip, Context, Files, FrameRef, Header, Table
from reducer.levels import Level, Survey, lattice, solve_levels, survey_exposure
from reducer.noise import Contribution, noise_table
from reducer.provenance import plan_product
from reducer.steps.detect import NO_POSITION, detect_sources
from reducer.steps.stack import REACH, Combined, Rejection, Samples, combine

#: Bytes of samples that one block of output rows may fill, and the fewest rows that are worth a block.
BLOCK_BYTES, FEWEST_ROWS = 110_000_000, 16
BYTES_PER_SAMPLE = 11
#: The interpolation kernel unless the user asks for another.
KERNEL = "keys6"
#: The middle of the field in the static plane.
FIELD = (np.array(FIELD_CENTRE[0]), np.array(FIELD_CENTRE[1]))


@dataclass(frozen=True)
class Exposure:
    """One exposure ready to be stacked: where its pixels go, what to take off and multiply, what it weighs.

    ``inverses``: from the stack's pixels to each chip's; ``levels``: residual sky in the exposure's own
    electrons; ``factor`` brings it to the reference's transparency and exposure time; ``weights``
    (5,): by array number; ``seconds``: EXPTIME x COADDS; ``width``: FWHM of its stars in its own pixels.
    """

    frame: FrameRef
    arrays: tuple[int, ...]
    inverses: tuple[Inverse, ...]
    levels: tuple[Level, ...]
    factor: float
    weights: F64
    seconds: float
    width: float


@dataclass(frozen=True)
class Job:
    """A block of output rows to make: all that a worker process needs, without the pixels."""

    files: Files
    exposures: tuple[Exposure, ...]
    width: int
    first_row: int
    rows: int
    height: int
    rejection: Rejection
    operation: str
    kernel: str


def make_block(job: Job) -> Combined:
    """Resample all exposures to a block of output rows and combine them."""
    above = min(job.first_row, REACH)
    below = min(job.height - job.first_row - job.rows, REACH)
    corner, shape = (0, job.first_row - above), (job.rows + above + below, job.width)
    count = len(job.exposures)
    samples = Samples(
        np.zeros((count, *shape), np.float32), np.zeros((count, *shape), np.float32),
        np.zeros((count, *shape), np.uint16), np.zeros((count, *shape), np.uint8),
    )  # fmt: skip
    for number, exposure in enumerate(job.exposures):
        planes = Planes(corner, samples.data[number], samples.variance[number],
                        samples.mask[number], samples.array[number])  # fmt: skip
        fill_planes(job.files, exposure, planes, job.kernel)
    weights = np.stack([exposure.weights for exposure in job.exposures])
    seconds = np.array([exposure.seconds for exposure in job.exposures])
    return combine(samples, weights, seconds, job.rejection, job.operation).trimmed(above, below)


def fill_planes(files: Files, exposure: Exposure, planes: Planes, kernel: str) -> None:
    """Read what an exposure has for some output pixels, level and scale it, and resample it."""
    for chip, (array, inverse) in enumerate(zip(exposure.arrays, exposure.inverses, strict=True)):
        header = exposure.frame.chips[chip]
        size = (int(header["NAXIS2"]), int(header["NAXIS1"]))
        rows = rows_needed(inverse, planes.corner, planes.data.shape, size)
        if rows is None:
            continue
        block = files.read_chip(exposure.frame, chip, rows)
        exposure.levels[chip].subtract_from(block, rows.start)
        np.multiply(block.data, np.float32(exposure.factor), out=block.data)
        np.multiply(block.variance, np.float32(exposure.factor**2), out=block.variance)
        resample_chip(block, array, rows.start, inverse, planes, kernel)


def blocks(count: int, grid: Grid) -> list[tuple[int, int]]:
    """First row and number of rows of each block, so that the samples of one fill a bounded memory."""
    rows = max(BLOCK_BYTES // (count * grid.width * BYTES_PER_SAMPLE), FEWEST_ROWS)
    return [(first, min(rows, grid.height - first)) for first in range(0, grid.height, rows)]


def resampleToCommonFrame(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Check that all frames are aligned and say on which pixels ``stackFrames`` will lay them.

    The resampling itself is done block by block within ``stackFrames``, so that no resampled frame is ever
    written or held; ``pixel_scale`` and ``pa`` of this step are what it obeys.
    """
    grid = output_grid(frames, context)
    size = f"{grid.width} x {grid.height} pixels of {grid.scale:g} arcsec, position angle {grid.angle:g}"
    context.notify("decision", what=f"the stack has {size}", reason="it holds every exposure")
    return list(frames)


def output_grid(frames: Sequence[FrameRef], context: Context) -> Grid:
    """The stack's pixels for aligned frames and the user's ``pixel_scale`` and ``pa``."""
    scale = parameters.value(context, "resampleToCommonFrame", "pixel_scale") or DEFAULT_SCALE
    angle = parameters.value(context, "resampleToCommonFrame", "pa") or 0.0
    return common_grid([geometry_of(frame) for frame in frames], float(scale), float(angle))


def geometry_of(frame: FrameRef) -> Geometry:
    """A frame's geometry; BadInput if no step has given it one."""
    if frame.geometry is None:
        raise BadInput(f"{frame.path.name} is not aligned", "adjustWCSToReference before this step")
    return frame.geometry


def stackFrames(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Combine aligned, scaled frames into one `_image`, named after the first of them."""
    grid = output_grid(frames, context)
    exposures = prepare_exposures(frames, grid, context)
    stack = combine_exposures(exposures, grid, context)
    return [write_stack(stack, exposures, grid, context)]


def prepare_exposures(frames: Sequence[FrameRef], grid: Grid, context: Context) -> tuple[Exposure, ...]:
    """Levels, weights and inverse maps of all exposures."""
    light = [frame.with_(sources=()) for frame in frames]
    points = lattice(grid)
    surveys = list(context.map(survey_exposure, [(context.disk, frame, points) for frame in light]))
    geometries = [geometry_of(frame) for frame in frames]
    factors = [frame.scale for frame in frames]
    levels = solve_levels(surveys, factors, geometries, points)
    widths = np.array([image_width(frame) for frame in frames])
    exposures = []
    for frame, geometry, survey, level, width in zip(light, geometries, surveys, levels, widths, strict=True):
        exposures.append(
            Exposure(
                frame=frame,
                arrays=tuple(region.array for region in geometry.regions),
                inverses=tuple(geometry.inverse(chip, grid.to_pixel) for chip in range(len(frame.chips))),
                levels=level,
                factor=frame.scale * grid.flux_factor,
                weights=weigh(survey, frame.scale, width / np.median(widths)),
                seconds=exposure_seconds(frame),
                width=float(width),
            )
        )
        middles = zip(level, geometry.regions, strict=True)
        taken = ", ".join(f"{one.at(part.width / 2, part.height / 2):+.1f}" for one, part in middles)
        context.notify("info", text=f"{frame.path.name}: residual sky {taken} electrons")
    return tuple(exposures)


def weigh(survey: Survey, scale: float, width: float) -> F64:
    """Weights (5,) by array number: one over the scaled variance of the sky and the area of a star's image."""
    weights = 1.0 / (survey.variance * scale**2 * width**2)
    return np.where(np.isfinite(weights), weights, 0.0)


def image_width(frame: FrameRef) -> float:
    """The median FWHM of a frame's bright good stars in pixels, 1 without any."""
    widths = [table["fwhm"][(table["flags"] & NO_POSITION) == 0][:40] for table in frame.sources]
    every = np.concatenate(widths) if widths else np.zeros(0)
    return float(np.median(every)) if len(every) else 1.0


def exposure_seconds(frame: FrameRef) -> float:
    """EXPTIME x COADDS, or TEXPTIME of a frame that is a stack already."""
    total = frame.header.get("TEXPTIME")
    if total is not None:
        return float(total)
    return float(frame.header.get("EXPTIME") or 0.0) * int(frame.header.get("COADDS") or 1)


@dataclass(frozen=True)
class Stack:
    """The whole stack: data, variance, mask and exposure map, (ny, nx), and the catalogue of its sources."""

    data: F32
    variance: F32
    mask: U16
    exposure: F32
    sources: Table


def combine_exposures(exposures: tuple[Exposure, ...], grid: Grid, context: Context) -> Stack:
    """Make all blocks, in worker processes where there are any, and put them together."""
    rejection, operation = rejection_of(exposures, context)
    shape = (grid.height, grid.width)
    data, variance = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    mask, seconds = np.zeros(shape, np.uint16), np.zeros(shape, np.float32)
    parts = blocks(len(exposures), grid)
    jobs = [
        Job(context.disk, exposures, grid.width, first, rows, grid.height, rejection, operation, KERNEL)
        for first, rows in parts
    ]
    for done, ((first, rows), made) in enumerate(zip(parts, context.map(make_block, jobs), strict=True), 1):
        where = slice(first, first + rows)
        data[where], variance[where] = made.data, made.variance
        mask[where], seconds[where] = made.mask, made.exposure
        context.notify("progress", name="stack", done=done, total=len(parts))
    return Stack(data, variance, mask, seconds, detect_sources(data, variance, mask))


def rejection_of(exposures: Sequence[Exposure], context: Context) -> tuple[Rejection, str]:
    """What the user's parameters of ``stackFrames`` ask for."""

    def value(name: str) -> Any:
        return parameters.value(context, "stackFrames", name)

    method = {"sigclip": "noise"}.get(value("reject_method"), value("reject_method"))
    rejection = Rejection(
        method, float(value("lsigma")), float(value("hsigma")), nlow=value("nlow"), nhigh=value("nhigh")
    )
    return rejection, "median" if value("operation") == "median" else "mean"


def write_stack(stack: Stack, exposures: Sequence[Exposure], grid: Grid, context: Context) -> FrameRef:
    """Write the product with its catalogue, exposure map and table of correlated noise."""
    reference = exposures[0].frame
    table = noise_table(contributions(exposures, grid), KERNEL, grid.scale / REFERENCE_SCALE)
    ratio = {int(row["n"]): round(float(row["ratio"]), 5) for row in table}
    keywords = {
        "TEXPTIME": sum(exposure.seconds for exposure in exposures),
        "NCOMBINE": len(exposures),
        "REFFRAME": reference.header.get("ORIGNAME") or reference.path.name,
    }
    inputs = [exposure.frame for exposure in exposures]
    target = plan_product(
        context, reference, "_image", inputs, stamps=("ALIGN", "STACKFRM"), keywords=keywords
    )
    header = stack_header(reference.chips[0], grid)
    header["NOISCORR"], header["NCORR02"], header["NCORR04"] = ratio[8], ratio[2], ratio[4]
    chip = Chip(stack.data, stack.variance, stack.mask, header)
    tables = {
        **target.tables,
        "OBJCAT": catalogue(stack.sources, grid),
        "NOISE": table,
        "EXPOSURES": exposure_table(exposures),
    }
    path = context.disk.write_frame(
        target.path, target.header, [chip], tables=tables, images={"EXPTIME": stack.exposure}
    )
    context.notify("made", path=path)
    return context.disk.open_frame(path)


EXPOSURE = np.dtype(
    [("filename", "U68"), ("ut", "U24"), ("seconds", "f8"), ("fwhm", "f8"), ("transparency", "f8"),
     ("weight", "f8"), ("matches", "i4"), ("rms", "f8"), ("model", "U16")]
)  # fmt: skip


def exposure_table(exposures: Sequence[Exposure]) -> Table:
    """EXPOSURES: what each input was like: FWHM in arcsec (NaN without stars), transparency relative to the first, weight
    (sum 1), stars that aligned it, their rms residual in arcsec, and the model that it was aligned with."""
    table = np.zeros(len(exposures), EXPOSURE)
    weights = np.array([np.max(exposure.weights) for exposure in exposures])
    rates = np.array([exposure.frame.scale * exposure.seconds for exposure in exposures])
    table["weight"] = weights / max(float(weights.sum()), 1e-30)
    table["transparency"] = rates[0] / rates
    table["seconds"] = [exposure.seconds for exposure in exposures]
    widths = np.array([exposure.width for exposure in exposures])
    table["fwhm"] = np.where(widths > 1, widths * REFERENCE_SCALE, np.nan)
    for row, exposure in zip(table, exposures, strict=True):
        geometry, header = geometry_of(exposure.frame), exposure.frame.header
        row["filename"], row["model"] = exposure.frame.path.name, geometry.model
        row["ut"] = f"{header.get('DATE-OBS', '')}T{header.get('UT', '')}"
        row["matches"], row["rms"] = geometry.matches, geometry.rms
    return table


def contributions(exposures: Sequence[Exposure], grid: Grid) -> list[Contribution]:
    """Each exposure's share of the noise and its place on the stack's pixels."""
    weights = np.array([np.max(exposure.weights) for exposure in exposures])
    weights = weights / weights.sum()
    own = [1.0 / max(float(np.max(exposure.weights)), 1e-30) for exposure in exposures]
    places = [grid.to_pixel(*geometry_of(exposure.frame).nominal(*FIELD)) for exposure in exposures]
    return [
        Contribution(float(weight), (float(place[0]), float(place[1])), variance)
        for weight, place, variance in zip(weights, places, own, strict=True)
    ]


#: Keywords of one array's read-out that no stack of four arrays can have.
OF_AN_ARRAY = (
    "ARRAYID", "CCDSEC", "DETSEC", "DATASEC", "TRIMSEC", "BIASSEC", "GAIN", "RDNOISE", "SATLEVEL", "NONLINLV",
    "CCDNAME", "AMPNAME", "ORIGSEC",
)  # fmt: skip


def stack_header(chip: Header, grid: Grid) -> Header:
    """The header of the stack's image: what its first chip says and is still true, and the new WCS."""
    header = chip.copy()
    for key in OF_AN_ARRAY:
        if key in header:
            del header[key]
    header["EXTVER"], header["BUNIT"] = 1, "electron"
    grid.write_wcs(header)
    return header


OBJECT = np.dtype(
    [("NUMBER", "i4"), ("X_IMAGE", "f8"), ("Y_IMAGE", "f8"), ("RA", "f8"), ("DEC", "f8"), ("ERR_POS", "f8"),
     ("FLUX_APER", "f8", (4,)), ("FLUXERR_APER", "f8", (4,)), ("PEAK", "f8"), ("BACKGROUND", "f8"),
     ("FWHM_IMAGE", "f8"), ("ELLIPTICITY", "f8"), ("THETA_IMAGE", "f8"), ("FLAGS", "i4")]
)  # fmt: skip


def catalogue(sources: Table, grid: Grid) -> Table:
    """OBJCAT: 1-based pixels and degrees of the stack's sources, fluxes in electrons, errors in arcsec."""
    table = np.zeros(len(sources), OBJECT)
    table["NUMBER"] = np.arange(1, len(sources) + 1)
    table["X_IMAGE"], table["Y_IMAGE"] = sources["x"] + 1, sources["y"] + 1
    table["RA"], table["DEC"] = grid.pixel_to_sky(sources["x"], sources["y"])
    table["ERR_POS"] = sources["error"] * grid.scale
    pairs = {"FLUX_APER": "flux", "FLUXERR_APER": "flux_error", "PEAK": "peak", "BACKGROUND": "background",
             "FWHM_IMAGE": "fwhm", "ELLIPTICITY": "ellipticity", "THETA_IMAGE": "angle", "FLAGS": "flags"}  # fmt: skip
    for column, name in pairs.items():
        table[column] = sources[name]
    return table
