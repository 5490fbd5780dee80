"""What a run's folder shows beside the science stack: unasked files, flat, single frames, standard."""

from __future__ import annotations

import json

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage

#: Figures of the same table that other programs measure.
ELSEWHERE = {
    "wall time: flats, standard, science": "benchmarks/run.py",
    "peak memory": "benchmarks/run.py",
    "cosmic-ray pixels found": "benchmarks/rejection.py",
}
#: Files of a playground that are no pixels.
NOTES = {".json", ".jsonl", ".log", ".lock", ".txt"}


def report_night(folder, truth, names):
    """Rows for the products of the run whose science stack is in a folder."""
    rows = {}
    if (folder / "run.json").exists():
        rows["unasked intermediate files, GB"] = unasked(folder) / 1e9
    flats = sorted(folder.glob("*_flat.fits"))
    if flats:
        rows["flat over truth: bias, scatter over VAR"] = flat_error(flats[0], truth)
    rows["single frames: level error, e"] = levels(folder, truth, names)
    standards = [e["name"] for e in truth.exposures.values() if e["kind"] == "standard"]
    stacks = [path for name in standards for path in folder.glob(f"{name}_image.fits")]
    if stacks:
        field = truth.exposures[standards[0]]["field"]
        rows["standard: absolute coordinates, arcsec"] = f"{misplaced(stacks[0], truth.catalogue(field)):.2f}"
    return rows | ELSEWHERE


def unasked(folder):
    """Bytes in a folder that are neither products of the run nor its notes."""
    told = json.loads((folder / "run.json").read_text())
    products = {entry["path"].split("/")[-1] for entry in told["products"]}
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(p.stat().st_size for p in files if p.name not in products and p.suffix not in NOTES)


def flat_error(path, truth):
    """Median of flat over noiseless lamp light, less 1, and its scatter over that expected from VAR."""
    entries = truth.exposures.values()
    on, off = (next(e["name"] for e in entries if e["kind"] == kind) for kind in ("lamp-on", "lamp-off"))
    light = [np.load(truth.folder / "noiseless" / f"{name}.npy", mmap_mode="r") for name in (on, off)]
    with fits.open(path) as file:
        parts = []
        for array in range(4):
            good = file["DQ", array + 1].data == 0
            flat, variance = file["SCI", array + 1].data[good], file["VAR", array + 1].data[good]
            parts.append((flat, variance, (light[0][array] - light[1][array])[good]))
    flat, variance, true = (np.concatenate(column) for column in zip(*parts, strict=True))
    error = flat / (true / np.median(true)) - 1
    pull = error * flat / np.sqrt(variance)
    return f"{np.median(error):+.5f} {1.4826 * np.median(np.abs(pull)):.3f}"


def levels(folder, truth, names):
    """The range of the arrays' levels, less the truth, over every fourth frame."""
    found = []
    for name in names[::4]:
        path = folder / f"{name}_skyCorrected.fits"
        if not path.exists():
            continue
        with fits.open(path) as file:
            for array in range(4):
                true = truth.brightness(name, array)
                good = (file["DQ", array + 1].data == 0) & (ndimage.maximum_filter(true, 9) < 200)
                error = (file["SCI", array + 1].data - true)[good]
                found.append(np.median(error) if error.size > 1000 else np.nan)
    return f"{np.nanmin(found):+.1f}..{np.nanmax(found):+.1f}" if found else ""


def misplaced(path, catalogue):
    """Arcsec between the brightest star of a field and its image in a stack."""
    with fits.open(path) as file:
        image = ndimage.uniform_filter(np.where(file["DQ"].data == 0, file["SCI"].data, 0.0), 15)
        row, column = np.unravel_index(np.argmax(image), image.shape)
        ra, dec = WCS(file["SCI"].header).all_pix2world(column, row, 0)
    star = np.argmin(catalogue["magnitude"])
    east = (ra - catalogue["ra"][star]) * np.cos(np.radians(catalogue["dec"][star]))
    return 3600 * np.hypot(east, dec - catalogue["dec"][star])
