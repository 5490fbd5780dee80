"""PSF photometry of a stack or an exposure: its arrays are read, measured, and what came of it written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from goafetch.events import Made, Noted, Notify, Progressed, StageBegun, StageEnded, silent
from goafetch.report.psf_page import MeasuredArray, write_photometry
from reducer import dq
from reducer.errors import BadInput
from reducer.fitsio import open_frame, read_chip, read_table
from reducer.frame import Chip, FrameRef
from reducer.keywords import read
from reducer.photometry.catalogue import correct_apertures, over_near_sky
from reducer.photometry.growth import Rings, sum_rings
from reducer.photometry.psf_catalogue import Total, correlated_noise, from_objects, measure_stars
from reducer.photometry.psf_fit import Image
from reducer.sources import detect_sources, well_measured
from reducer.types import F64, Table, table_of


def measure_product(path: Path, into: Path | None = None, notify: Notify = silent) -> list[Path]:
    """Measure all stars of a product with its own PSF; returns the files written, the catalogue first.

    ``into``: the folder that they come to stand in, by default one beside the product. Raises
    reducer.errors.BadInput where too few stars tell the PSF, or the product has no variance.
    """
    frame = open_frame(path)
    folder = into or path.parent / f"{path.stem}_psf"
    notify(StageBegun("PSF photometry", len(frame.chips)))
    measured = []
    for index in range(len(frame.chips)):
        measured.append(_measure_array(frame, index))
        notify(Noted(_told(measured[-1])))
        notify(Progressed("PSF photometry", index + 1, len(frame.chips)))
    files = write_photometry(frame, measured, folder)
    for file in files:
        notify(Made(file))
    notify(StageEnded("PSF photometry"))
    return files


def _told(one: MeasuredArray) -> str:
    """What came of an array, in a line."""
    found, psf = one.photometry, one.photometry.psf
    limit = one.in_magnitudes(found.complete.half * found.light)
    return (
        f"{len(found.catalogue)} stars; PSF of {psf.fwhm:.2f} pixels FWHM from {psf.stars} stars, order "
        f"{psf.order} over the field; 50 % complete at {limit:.2f} {one.unit}"
    )


def _measure_array(frame: FrameRef, index: int) -> MeasuredArray:
    chip = read_chip(frame, index)
    if not (chip.variance > 0).any():
        raise BadInput(
            f"{frame.path.name} has no variance",
            "a product with SCI, VAR and DQ, as `goafetch run` makes them",
        )
    objects = read_table(frame.path, "OBJCAT") if len(frame.chips) == 1 else None
    if objects is not None and "APERCOR" in (objects.dtype.names or ()):
        sources, fwhm, total = from_objects(objects, chip.data.shape)
    else:
        sources, fwhm, total = _sources_of(chip, frame)
    noise = read_table(frame.path, "NOISE")
    image = Image(chip.data, chip.variance, chip.mask, correlated_noise(noise, fwhm))
    try:
        photometry = measure_stars(image, sources, fwhm, total)
    except BadInput as error:
        where = (
            f"{frame.path.name}, array {chip.header['EXTVER']}" if len(frame.chips) > 1 else frame.path.name
        )
        raise BadInput(f"{where}: {error.found}", error.needed, error.remedy) from error
    headers = (chip.header, frame.header)
    zeropoint, unsure = (next((v for h in headers if (v := read(h, k, float)) is not None), None)
                         for k in ("PHOTZP", "PHOTZPER"))  # fmt: skip
    return MeasuredArray(
        int(chip.header["EXTVER"]), chip.header, image, photometry, zeropoint, unsure, frame.exposure_time
    )


def _sources_of(chip: Chip, frame: FrameRef) -> tuple[Table, float, Total]:
    """Sources, FWHM and the way to total light of an array of an exposure, from its own pixels."""
    widths = frame.instrument.widths
    found = detect_sources(chip.data.copy(), chip.variance.copy(), chip.mask, widths)
    found = over_near_sky(found, chip.data, chip.mask, widths)
    usable = (chip.mask & dq.UNUSABLE) == 0

    def look(stars: Table, edges: F64) -> Iterable[Rings]:
        return [sum_rings(chip.data, chip.variance, usable, star, found, edges) for star in stars]

    correction = correct_apertures(found, chip.data.shape, look, widths.halo)
    good = well_measured(found)
    columns = {"x": found["x"], "y": found["y"], "clean": (found["flags"] == 0) & good}
    columns |= {"flux": found["flux"][:, 0], "error": found["flux_error"][:, 0]}
    sources = table_of(columns)
    fwhm = float(np.median(found["fwhm"][good][:60])) if good.any() else 4.0

    def total(x: F64, y: F64) -> tuple[F64, F64]:
        size, error = correction.at(x, y)
        return 10.0 ** (-0.4 * size), error / 1.0857

    return sources, fwhm, total
