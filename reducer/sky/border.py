"""Channel offsets as the dark reference pixels at an array's edge show them, no light being in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reducer.detector import linear_electrons
from reducer.frame import F32, F64
from reducer.headers.gsaoi import BORDER, SIDE, Region
from reducer.sky.columns import WIDTHS
from reducer.sky.objects import scatter

#: Columns of the groups whose mean is taken: those of the narrowest channel.
GROUP = WIDTHS[0]
#: Standard deviations beyond which a reference pixel does not count.
CLIP = 4.0
#: Fewest sky exposures by which reference pixels are judged, and how much smaller than the offsets
#: themselves their departure from these has to be.
FEWEST, AGREEMENT = 3, 0.6

Offsets = Mapping[int, F32]
Borders = Mapping[int, F64]


def border_means(raw: F32, region: Region, array: int) -> F64:
    """The clipped mean of the reference rows for each 64 columns, electrons.

    Empty unless all columns and some of those rows were read. The first and last four rows of the full
    array see no light (GSAOI's arrays are HAWAII-2RG).
    """
    row = np.arange(region.y1, region.y1 + raw.shape[0])
    rows = raw[(row < BORDER) | (row >= SIDE - BORDER)]
    if not rows.shape[0] or raw.shape[1] != SIDE:
        return np.empty(0)
    groups = rows.reshape(rows.shape[0], -1, GROUP).swapaxes(0, 1).reshape(-1, rows.shape[0] * GROUP)
    middle = np.median(groups, axis=1, keepdims=True)
    away = np.abs(groups - middle)
    kept = away <= CLIP * 1.4826 * np.median(away, axis=1, keepdims=True) + 1e-6
    counts = np.where(kept, groups, 0.0).sum(axis=1, dtype=float) / kept.sum(axis=1)
    electrons: F64 = linear_electrons(1.0, array) * counts
    return electrons


@dataclass(frozen=True)
class Reference:
    """What the reference pixels show of themselves, by array, and the noise of one exposure's.

    ``fixed``: their mean above the offsets of the skies, electrons, for each channel. ``noise``: of a
    channel. ``skies``: in how many exposures that was seen.
    """

    fixed: Mapping[int, F64]
    noise: float
    skies: int


def judge(borders: Sequence[Borders], offsets: Sequence[Offsets], width: int) -> Reference | None:
    """Compare reference pixels with the offsets found in sky exposures; None where they do not follow them.

    ``borders``: of ``border_means`` by array; ``offsets``: electrons for each column.
    """
    arrays = [array for array in offsets[0] if all(_known(each, array) for each in borders)]
    if len(borders) < FEWEST or not arrays:
        return None
    fixed, left, seen = {}, [], []
    for array in arrays:
        own = np.array([_channels(each[array], width) for each in offsets])
        away = np.array([_grouped(each[array], width) for each in borders]) - own
        fixed[array] = away.mean(axis=0)
        left.append((away - fixed[array]).ravel())
        seen.append((own - own.mean(axis=0)).ravel())
    noise, size = scatter(np.concatenate(left)), scatter(np.concatenate(seen))
    if noise > AGREEMENT * size:
        return None
    return Reference(fixed, max(noise * np.sqrt(len(borders) / (len(borders) - 1)), 1e-3), len(borders))


def weigh_in(
    offsets: Sequence[Offsets], borders: Sequence[Borders], reference: Reference, width: int
) -> list[dict[int, F32]]:
    """Offsets of exposures of a field, drawn to what their reference pixels show as far as these know better.

    What all exposures have in common and what is each one's own are weighed separately: the errors of
    each are what the departures show beyond the noise of the reference pixels.
    """
    arrays = [
        array
        for array in reference.fixed
        if all(_known(each, array) for each in borders) and array in offsets[0]
    ]
    made = [dict(each) for each in offsets]
    if len(offsets) < FEWEST or not arrays:
        return made
    away = {
        array: np.array(
            [
                _grouped(border[array], width) - reference.fixed[array] - _channels(each[array], width)
                for border, each in zip(borders, offsets, strict=True)
            ]
        )
        for array in arrays
    }
    common = {array: each.mean(axis=0) for array, each in away.items()}
    noise2 = reference.noise**2
    of_mean = noise2 * (1.0 / len(offsets) + 1.0 / reference.skies)
    shared = _part(np.concatenate(list(common.values())), of_mean)
    own = _part(np.concatenate([(away[array] - common[array]).ravel() for array in arrays]), noise2)
    for place, each in enumerate(made):
        for array in arrays:
            change = shared * common[array] + own * (away[array][place] - common[array])
            spread = np.repeat(change, each[array].size // change.size)
            each[array] = (each[array] + spread - spread.mean()).astype(np.float32)
    return made


def _part(departures: F64, noise2: float) -> float:
    """The part of departures that is not noise: what they are to be multiplied by."""
    variance = float(np.mean(departures**2))
    return max(variance - noise2, 0.0) / max(variance, 1e-9)


def _known(borders: Borders, array: int) -> bool:
    return array in borders and borders[array].size > 0


def _grouped(border: F64, width: int) -> F64:
    """Means of groups as those of channels, with zero mean."""
    means: F64 = border.reshape(-1, width // GROUP).mean(axis=1)
    return np.asarray(means - means.mean(), float)


def _channels(offsets: F32, width: int) -> F64:
    means: F64 = offsets.reshape(-1, width).mean(axis=1, dtype=float)
    return np.asarray(means - means.mean(), float)
