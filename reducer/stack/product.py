"""A stack's file: image, exposure map, catalogue, what each exposure was like, and its correlated noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reducer import dq
from reducer.align.distortion import FIELD_CENTRE
from reducer.align.grid import REFERENCE_SCALE, Grid
from reducer.frame import Context, FrameRef, Header, Table
from reducer.photometry.field import find_zeropoint
from reducer.photometry.objects import add_magnitudes, catalogue, correct_apertures
from reducer.photometry.width import measure_widths
from reducer.photometry.zeropoint import write_zeropoint
from reducer.provenance import plan_product, product_name
from reducer.stack.exposures import Exposure, geometry_of
from reducer.stack.noise import Contribution, noise_table
from reducer.stack.parts import Parts
from reducer.stack.quality import exposure_table

#: The middle of the field in the static plane.
FIELD = (np.array(FIELD_CENTRE[0]), np.array(FIELD_CENTRE[1]))


@dataclass(frozen=True)
class Stack:
    """The whole stack, in parts, and the catalogue of its sources."""

    parts: Parts
    sources: Table


def write_stack(
    stack: Stack,
    exposures: Sequence[Exposure],
    grid: Grid,
    kernel: str,
    residuals: Table,
    context: Context,
) -> FrameRef:
    """Write the product with its catalogue, exposure map, residuals and table of correlated noise."""
    reference = exposures[0].frame
    table = noise_table(contributions(exposures, grid), kernel, grid.scale / REFERENCE_SCALE)
    # What is stacked again is correlated already.
    table["ratio"] *= float(reference.chips[0].get("NOISCORR") or 1.0)
    ratio = {int(row["n"]): round(float(row["ratio"]), 5) for row in table}
    keywords = {
        "TEXPTIME": sum(exposure.seconds for exposure in exposures),
        "NCOMBINE": len(exposures),
        "REFFRAME": reference.header.get("ORIGNAME") or reference.path.name,
    }
    inputs = [exposure.frame for exposure in exposures]
    target = plan_product(
        context,
        reference,
        product_suffix(inputs, context),
        inputs,
        stamps=("ALIGN", "STACKFRM"),
        keywords=keywords,
    )
    header = stack.parts.header
    header["NOISCORR"], header["NCORR02"], header["NCORR04"] = ratio[8], ratio[2], ratio[4]
    objects = calibrate(stack, grid, table, reference, [target.header, header], context)
    tables = {
        **target.tables,
        "OBJCAT": objects,
        "NOISE": table,
        "EXPOSURES": exposure_table(exposures),
        "RESIDUALS": residuals,
    }
    images = {"EXPTIME": stack.parts.exposure}
    path = context.disk.write_frame(target.path, target.header, [stack.parts], tables=tables, images=images)
    context.notify("made", path=path)
    return context.disk.open_frame(path)


def calibrate(
    stack: Stack, grid: Grid, noise: Table, reference: FrameRef, headers: Sequence[Header], context: Context
) -> Table:
    """OBJCAT with total light, and magnitudes where there is a zeropoint, which goes into the headers."""
    data, variance = stack.parts.data, stack.parts.variance
    usable = (stack.parts.mask & dq.UNUSABLE) == 0
    correction = correct_apertures(stack.sources, data, variance, usable)
    widths = measure_widths(stack.sources, data, usable)
    objects = catalogue(stack.sources, widths, grid, variance, noise, correction)
    said = f"aperture correction from {correction.stars} isolated stars, order {max(correction.order, 0)}"
    context.notify("info", text=f"{said}, {correction.growth:.3f} mag uncertain for all alike")
    zeropoint = find_zeropoint(objects, correction.growth, reference, context)
    if zeropoint is None:
        return objects
    for header in headers:
        write_zeropoint(header, zeropoint)
    return add_magnitudes(objects, zeropoint, float(reference.header.get("EXPTIME") or 1.0))


def product_suffix(inputs: Sequence[FrameRef], context: Context) -> str:
    """`_image`, but `_stack` where stacks are stacked and the product would take the place of one of them."""
    image = context.folder / product_name(inputs[0].path, "_image")
    taken = any(frame.path.resolve() == image.resolve() for frame in inputs)
    return "_stack" if taken else "_image"


def contributions(exposures: Sequence[Exposure], grid: Grid) -> list[Contribution]:
    """Each exposure's share of the noise, its place on the stack's pixels, and its part in common skies.

    The mean of N skies as bright as the exposure holds one part in N + 1 of the variance.
    """
    weights = np.array([np.max(exposure.weights) for exposure in exposures])
    found = []
    for exposure, weight in zip(exposures, weights / weights.sum(), strict=True):
        names = sky_names(exposure.frame)
        each = exposure.variance / (len(names) + 1) / max(len(names), 1)
        u, v = grid.to_pixel(*geometry_of(exposure.frame).nominal(*FIELD))
        found.append(
            Contribution(
                weight=float(weight),
                place=(float(u), float(v)),
                own=exposure.variance - each * len(names),
                skies=tuple((name, float(np.sqrt(each))) for name in names),
            )
        )
    return found


def sky_names(frame: FrameRef) -> tuple[str, ...]:
    """The sky exposures that were subtracted: by name, or as many as SKYNUM counts, taken to be common."""
    if frame.skies:
        return frame.skies
    return tuple(f"sky {number}" for number in range(int(frame.header.get("SKYNUM") or 0)))


#: Keywords of one array's read-out that no stack of four arrays can have.
OF_AN_ARRAY = (
    "ARRAYID", "CCDSEC", "DETSEC", "DATASEC", "TRIMSEC", "BIASSEC", "GAIN", "RDNOISE", "SATLEVEL", "NONLINLV",
    "CCDNAME", "AMPNAME", "ORIGSEC",
)  # fmt: skip


def stack_header(reference: FrameRef, grid: Grid) -> Header:
    """The header of the stack's image: what a frame's first chip says and is still true, and the new WCS."""
    header = reference.chips[0].copy()
    for key in OF_AN_ARRAY:
        if key in header:
            del header[key]
    header["EXTVER"], header["BUNIT"] = 1, "electron"
    grid.write_wcs(header)
    if "ASTRCAT" in reference.header:
        # Catalogues of this century are on the ICRS.
        header["RADESYS"] = "ICRS"
        del header["EQUINOX"]
    return header
