"""Writing the truth about simulated exposures; ``docs/truth.md`` describes every file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goafetch.practice.exposure.detector import Array
from goafetch.practice.exposure.night import NOMINAL_AREA, Conditions, Exposure, Program
from goafetch.practice.exposure.optics import static_jacobian
from goafetch.practice.exposure.region import true_region
from goafetch.practice.exposure.render import ChipStars, Frame, extinction
from goafetch.practice.exposure.troubles import duration

F64 = NDArray[np.float64]

#: What published magnitudes of standards are wrong by, mag.
STANDARD_ERROR = 0.005


def write_catalogues(folder: Path, program: Program) -> None:
    """One ``catalogue_FIELD.npz`` for each field."""
    for field in program.fields.values():
        ra, dec = field.celestial()
        flux = {
            f"flux_{name}": 10 ** (-0.4 * (field.magnitude - zp.mean()))
            for name, zp in program.zeropoints.items()
        }
        np.savez(
            folder / f"catalogue_{field.name}.npz",
            id=np.arange(field.x.size),
            ra=ra,
            dec=dec,
            x=field.x,
            y=field.y,
            magnitude=field.magnitude,
            tangent=np.array([field.ra, field.dec]),
            **flux,
        )


def write_standards(folder: Path, program: Program) -> None:
    """``standards.csv``: magnitudes of the standards as users give them, off by their error."""
    lines = ["name,ra,dec,filter,mag,error"]
    for name in sorted({e.target for e in program.exposures if e.kind == "standard"}):
        field = program.fields[name]
        for filter_name in program.zeropoints:
            rng = np.random.default_rng([program.night.seed, 8, *name.encode(), *filter_name.encode()])
            magnitude = field.magnitude[0] + STANDARD_ERROR * rng.standard_normal()
            lines.append(
                f"{name},{field.ra:.6f},{field.dec:.6f},{filter_name},{magnitude:.4f},{STANDARD_ERROR}"
            )
    (folder / "standards.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_detector(folder: Path, arrays: Sequence[Array]) -> None:
    """``detector.npz``: full-frame maps of the four arrays."""
    np.savez(
        folder / "detector.npz",
        response=np.stack([a.response for a in arrays]),
        dark=np.stack([a.dark for a in arrays]),
        full=np.stack([a.full for a in arrays]),
        listed=np.stack([a.listed for a in arrays]),
        tree=np.stack([a.tree for a in arrays]),
    )


def pixel_area(index: int, size: int) -> F64:
    """Area on the sky of each pixel that is read of an array (0..3), arcsec^2, (size, size)."""
    region = true_region(size, index)
    y, x = np.mgrid[: region.ny, : region.nx].astype(float)
    jacobian = static_jacobian(index, x.ravel() + region.x0 + 1, y.ravel() + region.y0 + 1)
    areas = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]
    return np.asarray(areas.reshape(region.ny, region.nx))


def write_frame_truth(folder: Path, exposure: Exposure, frames: Sequence[Frame], noiseless: bool) -> None:
    """Positions, cosmic rays and, if wanted, noiseless electrons of one exposure."""
    stars = [_stars(frame.stars, i + 1, exposure.exptime) for i, frame in enumerate(frames) if frame.stars]
    if stars:
        _save(folder / "positions", exposure, np.concatenate(stars))
    hits = [_hits(i, j, frame) for i, frame in enumerate(frames) for j in range(len(frame.hits))]
    _save(folder / "cosmic_rays", exposure, np.concatenate(hits))
    if noiseless:
        _save(
            folder / "noiseless", exposure, np.stack([f.rate for f in frames]) * np.float32(exposure.exptime)
        )


def _save(folder: Path, exposure: Exposure, content: NDArray[Any]) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{exposure.name}.npy", content)


def _stars(stars: ChipStars, array: int, seconds: float) -> NDArray[Any]:
    """The rows of ``positions`` for one array."""
    return _table(
        id=stars.identity,
        array=np.full(stars.x.size, array),
        x=stars.x,
        y=stars.y,
        electrons=stars.light * seconds,
        core_fraction=stars.core,
    )


def _hits(index: int, coadd: int, frame: Frame) -> NDArray[Any]:
    """The rows of ``cosmic_rays`` for one coadd of one array."""
    rows, columns, electrons = frame.hits[coadd]
    numbers = {"array": np.full(len(rows), index + 1), "coadd": np.full(len(rows), coadd + 1)}
    region = frame.region
    return _table(**numbers, x=columns + region.x0 + 1, y=rows + region.y0 + 1, electrons=electrons)


def _table(**columns: NDArray[Any]) -> NDArray[Any]:
    """A structured array of columns of equal length."""
    length = len(next(iter(columns.values())))
    table = np.empty(length, dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        table[name] = values
    return table


def describe_exposure(exposure: Exposure, conditions: Conditions) -> dict[str, Any]:
    """One exposure's entry of ``exposures.json``."""
    seconds = exposure.exptime
    regions = [true_region(exposure.size, i, exposure.epoch.row_error) for i in range(4)]
    return {
        "name": exposure.name,
        "kind": exposure.kind,
        "field": exposure.field,
        "filter": exposure.filter_name,
        "begin": exposure.begin.isoformat(),
        "exptime": seconds,
        "coadds": exposure.coadds,
        "duration": duration(exposure),
        "airmass": conditions.airmass,
        "zenith_distance": conditions.zenith_distance,
        "parallactic": conditions.parallactic,
        "transparency": conditions.transparency,
        "transmission": conditions.transparency * extinction(exposure.filter_name, conditions.airmass),
        "sky_electrons": conditions.sky_rate * seconds,
        "sky_slope": conditions.sky_slope,
        "lamp_electrons": conditions.lamp_rate * seconds,
        "profile": asdict(conditions.profile),
        "pointing": conditions.mapping.pointing,
        "pointing_error": conditions.pointing_error,
        "position_angle": exposure.position_angle,
        "port": exposure.port,
        "rotation": conditions.rotation,
        "scale": conditions.scale,
        "matrix": conditions.mapping.matrix.tolist(),
        "quadratic": conditions.mapping.quadratic.tolist(),
        "regions": [[r.x0 + 1, r.y0 + 1, r.nx, r.ny] for r in regions],
        "trouble": sorted(exposure.trouble),
    }


def describe_program(
    program: Program, arrays: Sequence[Array], sensitivities: dict[str, F64]
) -> dict[str, Any]:
    """``program.json``: seed, zeropoints, and what a flat-fielded frame's zeropoint must come out as."""
    size = max((e.size for e in program.exposures if e.kind != "mask"), default=2048)
    areas = [pixel_area(i, size) for i in range(4)]
    flats = {name: _flat_median(arrays, areas, s, size) for name, s in sensitivities.items()}
    return {
        "program": program.name,
        "seed": program.night.seed,
        "zeropoints": {name: list(zp) for name, zp in program.zeropoints.items()},
        "zeropoint_of_response_one": {name: float(zp.mean()) for name, zp in program.zeropoints.items()},
        "flat_median_area": flats,
        "zeropoint_on_stack_scale": {
            name: float(zp.mean() + 2.5 * np.log10(flats[name] / NOMINAL_AREA))
            for name, zp in program.zeropoints.items()
        },
        "sensitivity": {name: list(s) for name, s in sensitivities.items()},
    }


def _flat_median(arrays: Sequence[Array], areas: Sequence[F64], sensitivity: F64, size: int) -> float:
    """Median over good pixels of response times area (arcsec^2): what a flat of median 1 divides by."""
    values = []
    for array, area in zip(arrays, areas, strict=True):
        rows, columns = true_region(size, array.index).slices
        response = array.response[rows, columns] * sensitivity[array.index]
        good = ~array.listed[rows, columns] & ~array.tree[rows, columns] & (response > 0)
        values.append((response * area)[good])
    return float(np.median(np.concatenate(values)))


def write_json(path: Path, content: object) -> None:
    """Write JSON that a person can read."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
