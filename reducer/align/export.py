"""Aligned exposures as files for astrometry: pixels as they were, with all that is known of their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.polynomial import chebyshev

from reducer.astrometry import distortion
from reducer.astrometry.geometry import Geometry
from reducer.astrometry.sky import Position, plane_to_sky, sky_to_plane
from reducer.frame import Context, Files, FrameRef
from reducer.provenance import Target, plan_product
from reducer.step import Step
from reducer.types import F64, Header

#: Degree of the SIP polynomials: good to 1e-3 mas over an array.
DEGREE = 6
#: What the polynomials' coordinates are divided by while they are fitted, pixels.
UNIT = 1024.0


def write_if_asked(frames: Sequence[FrameRef], step: Step, context: Context) -> None:
    """Write aligned frames if ``write_outputs`` of a step asks for it: pixels as they are, not resampled, and
    in each array's WCS its whole distortion."""
    if not step.is_asked("write_outputs", context):
        return
    targets = [plan_product(context, frame, step.suffix, [frame]) for frame in frames]
    tasks = [
        (context.disk, frame.with_(sources=()), target) for frame, target in zip(frames, targets, strict=True)
    ]
    for path in list(context.map(_write_exposure, tasks)):
        context.notify("made", path=path)


def _write_exposure(task: tuple[Files, FrameRef, Target]) -> Path:
    files, frame, target = task
    assert frame.geometry is not None
    chips = []
    for index in range(len(frame.chips)):
        chip = files.read_chip(frame, index)
        header = chip.header.copy()
        write_sip(header, frame.geometry, index)
        if "ASTRCAT" in frame.header:
            # Catalogues of this century are on the ICRS.
            header["RADESYS"] = "ICRS"
        chips.append(replace(chip, header=header))
    return files.write_frame(target.path, target.header, chips, tables=target.tables)


def write_sip(header: Header, geometry: Geometry, chip: int) -> None:
    """Put a chip's whole geometry into a header as a TAN-SIP WCS, in place of the one that it holds.

    Source: Shupe et al. 2005, ASP Conf. Ser. 347, 491 (the SIP convention).
    """
    region = geometry.regions[chip]
    middle = (region.width - 1) / 2, (region.height - 1) / 2
    sky = _sky(geometry, np.array([middle[0]]), np.array([middle[1]]), chip)
    place = float(sky[0][0]), float(sky[1][0])
    linear, forward, backward = fit_sip(geometry, chip, middle, place)
    for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2", "CDELT1", "CDELT2", "CROTA2", "RADECSYS"):
        if key in header:
            del header[key]
    values = {
        "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CUNIT1": "deg", "CUNIT2": "deg",
        "CRPIX1": middle[0] + 1.0, "CRPIX2": middle[1] + 1.0, "CRVAL1": place[0], "CRVAL2": place[1],
        "CD1_1": linear[0, 0], "CD1_2": linear[0, 1], "CD2_1": linear[1, 0], "CD2_2": linear[1, 1],
        "RADESYS": "FK5", "EQUINOX": 2000.0,
    }  # fmt: skip
    for name, table in {"A": forward[0], "B": forward[1], "AP": backward[0], "BP": backward[1]}.items():
        values[f"{name}_ORDER"] = DEGREE
        exponents = [pair for pair in distortion.degrees(DEGREE) if sum(pair) >= (1 if "P" in name else 2)]
        values |= {f"{name}_{i}_{j}": float(table[i, j]) for i, j in exponents}
    for key, value in values.items():
        header[key] = value


def fit_sip(geometry: Geometry, chip: int, middle: Position, place: Position) -> tuple[F64, F64, F64]:
    """A chip's map as SIP has it: CD matrix (2, 2) in degrees per pixel about ``middle`` (0-based pixel) at
    ``place`` (degrees), what is added to pixel offsets before it, and to what its inverse gives: each
    (2, DEGREE + 1, DEGREE + 1), [axis, i, j] of u**i * v**j in pixels.
    """
    region = geometry.regions[chip]
    nodes = (chebyshev.chebpts1(24) * 0.5 + 0.5) * 1.01 - 0.005
    x, y = (g.ravel() for g in np.meshgrid(nodes * region.width - 0.5, nodes * region.height - 0.5))
    plane = np.stack(sky_to_plane(*_sky(geometry, x, y, chip), place), axis=1) / 3600.0
    offsets = np.stack([x - middle[0], y - middle[1]], axis=1)
    # The constant is nought where the tangent point stands at the middle.
    whole = _fit(offsets, plane)
    linear = np.stack([whole[:, 1, 0], whole[:, 0, 1]], axis=1)
    forward = np.einsum("ab,bij->aij", np.linalg.inv(linear), whole)
    forward[:, 0, 0] = forward[:, 1, 0] = forward[:, 0, 1] = 0.0
    bent = plane @ np.linalg.inv(linear).T
    return linear, forward, _fit(bent, offsets - bent)


def _fit(places: F64, values: F64) -> F64:
    """Polynomials of two coordinates for each column of values, [column, i, j]."""
    scaled = places / UNIT
    exponents = distortion.degrees(DEGREE)
    design = np.stack([scaled[:, 0] ** i * scaled[:, 1] ** j for i, j in exponents], axis=1)
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    tables = np.zeros((values.shape[1], DEGREE + 1, DEGREE + 1))
    for (i, j), row in zip(exponents, solution, strict=True):
        tables[:, i, j] = row / UNIT ** (i + j)
    return tables


def _sky(geometry: Geometry, x: F64, y: F64, chip: int) -> tuple[F64, F64]:
    return plane_to_sky(*geometry.evaluate(x, y, chip), geometry.tangent)
