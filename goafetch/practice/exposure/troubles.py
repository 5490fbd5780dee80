"""What goes wrong with single exposures: what each trouble does to weather, light and counts.

Troubles are words in ``Exposure.trouble``; those of one array end in its number, as in 'dead array 3'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from goafetch.practice.exposure.night import Conditions, Exposure

F32 = NDArray[np.float32]
Damage = Callable[[F32, np.random.Generator], F32]

#: A lit cloud: the sky over what it would have been.
CLOUD = 1.4
#: The lamp over its usual light when it saturates the arrays.
GLARE = 6.0
#: Arcsec (east, north) between the two places of a doubled exposure's stars, and length of a trail.
JUMP, TRAIL = (0.35, 0.20), 0.60
#: Share of the commanded time after which an exposure was stopped, the telescope jumped, or the loop opened.
STOPPED, JUMPED, OPENED = 0.4, 0.5, 0.5
#: ADU by which a glitch lifts an array, rms of rows, and depth and rows of a reset ramp.
GLITCH, ROW_NOISE, RAMP, RAMP_ROWS = 1500.0, 8.0, 60.0, 120.0


def weather(exposure: Exposure, conditions: Conditions) -> Conditions:
    """What the exposure met, its troubles among it."""
    if "lit cloud" in exposure.trouble:
        conditions = replace(conditions, sky_rate=conditions.sky_rate * CLOUD)
    if "lamp too bright" in exposure.trouble:
        conditions = replace(conditions, lamp_rate=conditions.lamp_rate * GLARE)
    if "lamp dead" in exposure.trouble:
        conditions = replace(conditions, lamp_rate=0.0)
    return conditions


def moments(exposure: Exposure, conditions: Conditions) -> list[tuple[float, Conditions]]:
    """What the exposure met one after the other, each with its share of the commanded time."""
    if "stopped" in exposure.trouble:
        return [(STOPPED, conditions)]
    if "doubled" in exposure.trouble:
        return [(JUMPED, conditions), (1.0 - JUMPED, _moved(conditions, *JUMP))]
    if "trailed" in exposure.trouble:
        steps = np.linspace(0.0, TRAIL, 13)
        return [(1.0 / steps.size, _moved(conditions, float(step), 0.0)) for step in steps]
    if "loop opened" in exposure.trouble:
        seeing = replace(conditions.profile, core_fraction=0.0, halo_fwhm=0.8)
        return [(OPENED, conditions), (1.0 - OPENED, replace(conditions, profile=seeing))]
    return [(1.0, conditions)]


def duration(exposure: Exposure) -> float:
    """Seconds that the exposure truly lasted, all coadds."""
    share = STOPPED if "stopped" in exposure.trouble else 1.0
    return share * exposure.exptime * exposure.coadds


def damage(exposure: Exposure, index: int, counts: F32, rng: np.random.Generator) -> F32:
    """The counts of an array (index 0..3), ADU (ny, nx), as the troubles leave them."""
    for trouble in sorted(exposure.trouble):
        name, _, number = trouble.rpartition(" ")
        if trouble in DAMAGES:
            counts = DAMAGES[trouble](counts, rng)
        elif name in DAMAGES and int(number) == index + 1:
            counts = DAMAGES[name](counts, rng)
    return counts


def _moved(conditions: Conditions, east: float, north: float) -> Conditions:
    pointing = conditions.mapping.pointing
    shifted = (pointing[0] + east, pointing[1] + north)
    return replace(conditions, mapping=replace(conditions.mapping, pointing=shifted))


def _dead(counts: F32, rng: np.random.Generator) -> F32:
    return np.zeros_like(counts)


def _half_dead(counts: F32, rng: np.random.Generator) -> F32:
    left = counts.copy()
    left[:, : counts.shape[1] // 2] = 0.0
    return left


def _half_nan(counts: F32, rng: np.random.Generator) -> F32:
    left = counts.copy()
    left[: counts.shape[0] // 2] = np.nan
    return left


def _glitched(counts: F32, rng: np.random.Generator) -> F32:
    """An array whose bias jumped while it was read: the upper rows lie higher."""
    left = counts.copy()
    left[int(rng.uniform(0.2, 0.8) * counts.shape[0]) :] += np.float32(GLITCH)
    return left


def _row_noise(counts: F32, rng: np.random.Generator) -> F32:
    return np.asarray(counts + ROW_NOISE * rng.standard_normal((counts.shape[0], 1)), np.float32)


def _reset_ramp(counts: F32, rng: np.random.Generator) -> F32:
    """The first rows after a reset lie low."""
    rows = np.arange(counts.shape[0])[:, None]
    return np.asarray(counts - RAMP * np.exp(-rows / RAMP_ROWS), np.float32)


def _snowballs(counts: F32, rng: np.random.Generator) -> F32:
    """Heavy cosmic rays: a saturated heart and a faint ring of charge about it."""
    left = counts.astype(np.float64)
    rows, columns = np.mgrid[: counts.shape[0], : counts.shape[1]]
    for _ in range(3):
        y, x = rng.uniform(0, counts.shape[0]), rng.uniform(0, counts.shape[1])
        heart = rng.uniform(3.0, 6.0)
        r = np.hypot(rows - y, columns - x)
        left += 40000.0 * np.exp(-((r / heart) ** 4)) + 150.0 * np.exp(
            -0.5 * ((r - 2.5 * heart) / heart) ** 2
        )
    return np.minimum(left, max(50000.0, float(np.nanmax(counts)))).astype(np.float32)


#: What is done to counts. Those that stand with an array's number befall that array alone.
DAMAGES: dict[str, Damage] = {
    "dead array": _dead,
    "half dead array": _half_dead,
    "half nan array": _half_nan,
    "glitched array": _glitched,
    "row noise": _row_noise,
    "reset ramp": _reset_ramp,
    "snowballs": _snowballs,
}
#: All troubles that an exposure can have besides those of its headers.
KNOWN = (
    "lit cloud",
    "lamp too bright",
    "lamp dead",
    "stopped",
    "doubled",
    "trailed",
    "loop opened",
    *DAMAGES,
)
