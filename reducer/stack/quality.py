"""The table of what each exposure of a stack was like, and which of them stand out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reducer.astrometry.geometry import Geometry
from reducer.frame import Context, FrameRef
from reducer.stack.exposures import Exposure, geometry_of
from reducer.stack.images import CORRECTED, StarImage, is_fuzzy
from reducer.types import F64, Table

EXPOSURE = np.dtype(
    [("filename", "U68"), ("ut", "U24"), ("seconds", "f8"), ("fwhm", "f8"), ("ellipticity", "f8"),
     ("strehl", "f8"), ("sky", "f8"), ("transparency", "f8"), ("transparency_error", "f8"),
     ("weight", "f8"), ("shift_east", "f8"), ("shift_north", "f8"), ("matches", "i4"), ("rms", "f8"),
     ("model", "U16"), ("outlier", "U48"), ("core", "f8")]
)  # fmt: skip
#: What sets an exposure apart from the median of all: FWHM and residual this many times as large, of which
#: residuals below some arcsec do not count; ellipticity higher by this; transparency and matches less than
#: this part.
WIDE, ASKEW, SMALL_RESIDUAL, LONG, CLOUDY, LONELY = 1.5, 3.0, 0.002, 0.15, 0.7, 0.25
#: Ellipticity above the median of an exposure that is wide as well, from which on it is trailed: of those
#: drawn over seeing and crowding 0.14 was the least; where the loop opened, which widens too, 0.02 the most.
TRAILED = 0.07
#: Fewest exposures of which one can stand out.
FEWEST = 3


def exposure_table(exposures: Sequence[Exposure]) -> Table:
    """EXPOSURES, what each input was like; NaN: not known.

    FWHM in arcsec, ellipticity and an estimate of the Strehl ratio, medians of its bright stars; mean
    level of the sky that was subtracted, electrons; transparency relative to the first and its error;
    weight (sum 1); shift east and north from its header's pointing, arcsec; stars that aligned it; their
    rms residual per axis, arcsec; its geometry's model; and in what it stands out from the others.
    """
    table = np.zeros(len(exposures), EXPOSURE)
    weights = np.array([np.max(exposure.weights) for exposure in exposures])
    rates = np.array([exposure.frame.scale * exposure.seconds for exposure in exposures])
    table["weight"] = weights / max(float(weights.sum()), 1e-30)
    table["transparency"] = rates[0] / rates
    table["transparency_error"] = [exposure.frame.scale_error for exposure in exposures]
    table["seconds"] = [exposure.seconds for exposure in exposures]
    for row, exposure in zip(table, exposures, strict=True):
        geometry, header = geometry_of(exposure.frame), exposure.frame.header
        row["filename"], row["model"] = exposure.frame.path.name, geometry.model
        row["ut"] = f"{header.get('DATE-OBS', '')}T{header.get('UT', '')}"
        row["fwhm"] = exposure.image.width * geometry.pixel
        row["ellipticity"], row["strehl"] = exposure.image.ellipticity, exposure.image.strehl
        row["core"] = exposure.image.core
        row["sky"] = sky_level(exposure.frame)
        row["shift_east"], row["shift_north"] = shift_of(geometry)
        row["matches"], row["rms"] = geometry.matches, geometry.rms
    table["outlier"] = outliers(table)
    return table


def outliers(table: Table) -> list[str]:
    """For each exposure the columns in which it is much worse than the median, separated by commas."""
    if len(table) < FEWEST:
        return [""] * len(table)
    middle = {
        name: _median(table[name]) for name in ("fwhm", "ellipticity", "transparency", "matches", "rms")
    }
    worse = {
        "fwhm": table["fwhm"] > WIDE * middle["fwhm"],
        "ellipticity": table["ellipticity"] > middle["ellipticity"] + LONG,
        "core": is_fuzzy(table["core"], table["fwhm"]),
        "transparency": table["transparency"] < CLOUDY * middle["transparency"],
        "matches": table["matches"] < LONELY * middle["matches"],
        "rms": table["rms"] > np.maximum(ASKEW * middle["rms"], SMALL_RESIDUAL),
    }
    return [",".join(name for name, bad in worse.items() if bad[row]) for row in range(len(table))]


def _median(values: F64) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan


def sky_level(frame: FrameRef) -> float:
    """Mean over a frame's arrays of the sky that was subtracted, electrons; NaN if no header tells."""
    levels = [float(chip["SKYLEVEL"]) for chip in frame.chips if "SKYLEVEL" in chip]
    return float(np.mean(levels)) if levels else np.nan


def shift_of(geometry: Geometry) -> tuple[float, float]:
    """How far east and north of its header's pointing an exposure was placed, arcsec."""
    if geometry.coefficients is None:
        return 0.0, 0.0
    return float(geometry.coefficients[0, 0]), float(geometry.coefficients[1, 0])


def tell_outliers(table: Table, context: Context) -> None:
    """Warn of the exposures of a table EXPOSURES that stand out, and in what; not of changing seeing."""
    if not _median(table["fwhm"]) < CORRECTED:
        return
    for row in table[table["outlier"] != ""]:
        worse = [f"{name} {row[name]:.3g}, {_median(table[name]):.3g}" for name in row["outlier"].split(",")]
        text = f"{row['filename']} stands out from the others, its value and their median: {'; '.join(worse)}"
        context.notify("warning", text=text)


def leave_out_spoilt(
    frames: Sequence[FrameRef], images: Sequence[StarImage], context: Context
) -> tuple[list[FrameRef], list[StarImage]]:
    """Leave out, by name, exposures during which the telescope moved, by their trailed stars.

    Where that is true of half of them or more, it is the field's, and all are kept.
    """
    reasons = [""] * len(frames)
    if len(frames) >= FEWEST:
        widths, lengths = (np.array([getattr(i, key) for i in images]) for key in ("width", "ellipticity"))
        trailed = (widths > WIDE * _median(widths)) & (lengths > _median(lengths) + TRAILED)
        for number in np.flatnonzero(trailed):
            wide = widths[number] / _median(widths)
            long = f"ellipticity {lengths[number]:.2f}"
            reasons[number] = (
                f"its stars are trailed or doubled: {long}, {wide:.1f} times as wide as the median"
            )
    if 2 * sum(bool(reason) for reason in reasons) >= len(frames):
        return list(frames), list(images)
    for frame, reason in zip(frames, reasons, strict=True):
        if reason:
            context.notify("refused", name=frame.path.name, reason=reason)
    kept = [number for number, reason in enumerate(reasons) if not reason]
    scale = frames[kept[0]].scale
    return [frames[n].with_(scale=frames[n].scale / scale) for n in kept], [images[n] for n in kept]
