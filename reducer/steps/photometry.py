"""Brightness of exposures against each other, from the stars that they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reducer.align.match import StarList, pair_up
from reducer.frame import F64, Context, FrameRef, Table
from reducer.steps.detect import AT_EDGE, IS_SATURATED, NOT_CENTRED, ON_BAD_PIXEL

#: Arcsec within which aligned sources are the same star.
SAME = 0.06
#: Signal to noise in the widest aperture that a star needs; scatter that photons do not explain, mag.
LEAST_SIGNAL, OWN_SCATTER = 15.0, 0.01
#: Transparency further than this from the other exposures' is warned about.
CLOUDY = 0.7


def scaleCountsToReference(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Give each aligned frame the factor that brings its stars to the brightness in the first frame.

    Frames that share no good star with others are scaled by exposure time alone, and it is said.
    """
    times = np.array([max(float(frame.header.get("EXPTIME") or 1.0), 1e-6) for frame in frames])
    rows = [_bright(frame) for frame in frames]
    log_ratio, error = relative_brightness(rows)
    scaled = []
    for number, frame in enumerate(frames):
        by_time = float(times[0] / times[number])
        factor = float(10.0 ** (0.4 * (log_ratio[number] - log_ratio[0])))
        if not np.isfinite(factor):
            context.notify("warning", text=f"{frame.path.name}: no star to scale by; scaled by exposure time")
            factor = by_time
        transparency = by_time / factor
        said = (
            f"{frame.path.name}: transparency {transparency:.4f} +- {error[number] * 0.921:.4f} of the first"
        )
        context.notify("warning" if transparency < CLOUDY else "info", text=said)
        scaled.append(frame.with_(scale=factor))
    return scaled


def _bright(frame: FrameRef) -> tuple[F64, F64, F64, F64]:
    """Plane positions, magnitudes and their errors of a frame's good bright stars, in the widest aperture."""
    assert frame.geometry is not None
    found: list[tuple[F64, F64, F64, F64]] = []
    for chip, table in enumerate(frame.sources):
        sources = table[_good(table)]
        u, v = frame.geometry.evaluate(sources["x"], sources["y"], chip)
        flux, error = sources["flux"][:, -1], sources["flux_error"][:, -1]
        found.append((u, v, -2.5 * np.log10(flux), np.hypot(1.0857 * error / flux, OWN_SCATTER)))
    if not found:
        return (np.zeros(0),) * 4
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))  # type: ignore[return-value]


def _good(table: Table) -> F64:
    bad = (table["flags"] & (IS_SATURATED | AT_EDGE | ON_BAD_PIXEL | NOT_CENTRED)) != 0
    return np.asarray(~bad & (table["flux"][:, -1] > LEAST_SIGNAL * table["flux_error"][:, -1]))


def relative_brightness(rows: Sequence[tuple[F64, F64, F64, F64]]) -> tuple[F64, F64]:
    """Magnitude offset of each exposure and its error, from (u, v, magnitude, error) of its stars.

    One robust least squares for all stars and exposures; NaN for exposures that share no star.
    """
    frame, star, magnitude, error = _identify(rows)
    offsets = np.full(len(rows), np.nan)
    if not len(frame):
        offsets[0] = 0.0
        return offsets, np.zeros(len(rows))
    weights = 1.0 / error**2
    offset = np.zeros(len(rows))
    for _ in range(30):
        mean = _means(star, magnitude - offset[frame], weights, int(star.max()) + 1)
        residual = magnitude - mean[star]
        offset = _means(frame, residual, weights, len(rows))
        away = (residual - offset[frame]) / error
        weights = 1.0 / error**2 / (1.0 + (away / 2.5) ** 2)
    present = np.bincount(frame, minlength=len(rows)) > 0
    offsets[present] = offset[present]
    sums = np.bincount(frame, weights, len(rows))
    return offsets, np.where(present, 1.0 / np.sqrt(np.maximum(sums, 1e-12)), 0.0)


def _means(group: F64, values: F64, weights: F64, count: int) -> F64:
    total = np.bincount(group, weights, count)
    return np.asarray(np.bincount(group, weights * values, count) / np.maximum(total, 1e-30))


def _identify(rows: Sequence[tuple[F64, F64, F64, F64]]) -> tuple[F64, F64, F64, F64]:
    """All measurements of stars that are seen in at least two exposures: frame, star, magnitude, error."""
    known = StarList(np.zeros(0), np.zeros(0), np.zeros(0))
    parts = []
    for number, (u, v, magnitude, error) in enumerate(rows):
        index = pair_up(u, v, known, SAME)
        new = np.flatnonzero(index < 0)
        index[new] = len(known.u) + np.arange(len(new))
        known = StarList(
            np.concatenate([known.u, u[new]]),
            np.concatenate([known.v, v[new]]),
            np.concatenate([known.magnitude, magnitude[new]]),
        )
        parts.append((np.full(len(u), number), index, magnitude, error))
    frame, star, magnitude, error = (np.concatenate(column) for column in zip(*parts, strict=True))
    several = np.bincount(star, minlength=1)[star] >= 2 if len(star) else np.zeros(0, bool)
    return frame[several], star[several], magnitude[several], error[several]
