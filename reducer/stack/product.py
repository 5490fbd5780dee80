"""A stack's file: image, exposure map, catalogue, what each exposure was like, and its correlated noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reducer.align.distortion import FIELD_CENTRE
from reducer.align.grid import REFERENCE_SCALE, Grid
from reducer.frame import F32, U16, Chip, Context, FrameRef, Header, Table
from reducer.provenance import plan_product, product_name
from reducer.stack.exposures import Exposure, geometry_of
from reducer.stack.noise import Contribution, noise_table

#: The middle of the field in the static plane.
FIELD = (np.array(FIELD_CENTRE[0]), np.array(FIELD_CENTRE[1]))


@dataclass(frozen=True)
class Stack:
    """The whole stack: data, variance, mask and exposure map, (ny, nx), and the catalogue of its sources."""

    data: F32
    variance: F32
    mask: U16
    exposure: F32
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
    header = stack_header(reference.chips[0], grid)
    header["NOISCORR"], header["NCORR02"], header["NCORR04"] = ratio[8], ratio[2], ratio[4]
    chip = Chip(stack.data, stack.variance, stack.mask, header)
    tables = {
        **target.tables,
        "OBJCAT": catalogue(stack.sources, grid),
        "NOISE": table,
        "EXPOSURES": exposure_table(exposures),
        "RESIDUALS": residuals,
    }
    path = context.disk.write_frame(
        target.path, target.header, [chip], tables=tables, images={"EXPTIME": stack.exposure}
    )
    context.notify("made", path=path)
    return context.disk.open_frame(path)


def product_suffix(inputs: Sequence[FrameRef], context: Context) -> str:
    """`_image`, but `_stack` where stacks are stacked and the product would take the place of one of them."""
    image = context.folder / product_name(inputs[0].path, "_image")
    taken = any(frame.path.resolve() == image.resolve() for frame in inputs)
    return "_stack" if taken else "_image"


EXPOSURE = np.dtype(
    [("filename", "U68"), ("ut", "U24"), ("seconds", "f8"), ("fwhm", "f8"), ("transparency", "f8"),
     ("weight", "f8"), ("matches", "i4"), ("rms", "f8"), ("model", "U16")]
)  # fmt: skip


def exposure_table(exposures: Sequence[Exposure]) -> Table:
    """EXPOSURES, what each input was like: FWHM in arcsec (NaN without stars), transparency relative to the
    first, weight (sum 1), stars that aligned it, their rms residual (arcsec), and its geometry's model."""
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
             "FWHM_IMAGE": "fwhm", "ELLIPTICITY": "ellipticity", "THETA_IMAGE": "angle",
             "FLAGS": "flags"}  # fmt: skip
    for column, name in pairs.items():
        table[column] = sources[name]
    return table
