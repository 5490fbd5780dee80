"""Channel offsets as the dark reference pixels at an array's edge show them, no light being in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reducer.instruments.base import Array, Levels
from reducer.region import Region
from reducer.sky.columns import WIDTHS
from reducer.types import F32, F64

#: Columns of the groups whose mean is taken: those of the narrowest channel.
GROUP = WIDTHS[0]
#: Standard deviations beyond which a reference pixel does not count.
CLIP = 4.0
#: Fewest sky exposures by which reference pixels are judged, and how much smaller than the offsets
#: themselves their departure from these has to be.
FEWEST, AGREEMENT = 3, 0.6

Offsets = Mapping[int, F32]
Borders = Mapping[int, F64]


def border_means(raw: F32, region: Region, array: Array, levels: Levels) -> F64:
    """The clipped mean of the reference rows for each 64 columns, electrons.

    Empty unless all columns and some of those rows were read, and are numbers.
    """
    row = np.arange(region.y1, region.y1 + raw.shape[0])
    height, width = array.shape
    rows = raw[(row < array.border) | (row >= height - array.border)]
    if not rows.shape[0] or raw.shape[1] != width or not np.isfinite(rows).all():
        return np.empty(0)
    groups = rows.reshape(rows.shape[0], -1, GROUP).swapaxes(0, 1).reshape(-1, rows.shape[0] * GROUP)
    middle = np.median(groups, axis=1, keepdims=True)
    away = np.abs(groups - middle)
    kept = away <= CLIP * 1.4826 * np.median(away, axis=1, keepdims=True) + 1e-6
    counts = np.where(kept, groups, 0.0).sum(axis=1, dtype=float) / kept.sum(axis=1)
    electrons: F64 = levels.electrons(1.0) * counts
    return electrons


@dataclass(frozen=True)
class Reference:
    """What the reference pixels show of themselves, by array, and the noise of one exposure's.

    ``fixed``: what they have above the offsets of the skies, electrons, for each 64 columns. ``noise``: of
    a channel. ``doubt``: variance of what is fixed, over that of one exposure's noise.
    """

    fixed: Mapping[int, F64]
    noise: float
    doubt: float


def judge(borders: Sequence[Borders], offsets: Sequence[Offsets], width: int) -> Reference | None:
    """Compare reference pixels with the offsets found in sky exposures; None where they do not follow them.

    ``borders``: of ``border_means`` by array; ``offsets``: electrons for each column.
    """
    arrays = [array for array in offsets[0] if all(_known(each, array) for each in borders)]
    if len(borders) < FEWEST or not arrays:
        return None
    away = {array: _above(borders, offsets, array) for array in arrays}
    fixed = {array: each.mean(axis=0) for array, each in away.items()}
    left = {array: each - fixed[array] for array, each in away.items()}
    own = [np.array([_channels(each[array], width) for each in offsets]) for array in arrays]
    noise = _rms([_grouped(each, width) for each in left.values()])
    size = _rms([each - each.mean(axis=0) for each in own])
    if noise > AGREEMENT * size:
        return None
    unsure = _rms(list(left.values())) / np.sqrt(len(borders) - 1)
    believed, part = _believe(fixed, unsure)
    return Reference(
        believed, max(noise * np.sqrt(len(borders) / (len(borders) - 1)), 1e-3), part / len(borders)
    )


def _above(borders: Sequence[Borders], offsets: Sequence[Offsets], array: int) -> F64:
    """What the reference pixels of each exposure have above its offsets, but for a constant."""
    away = np.array(
        [border[array] - _channels(each[array], GROUP) for border, each in zip(borders, offsets, strict=True)]
    )
    return np.asarray(away - np.median(away, axis=1, keepdims=True), float)


def _believe(fixed: Mapping[int, F64], unsure: float) -> tuple[dict[int, F64], float]:
    """What is taken for the reference pixels' own, and the part of it that is not noise.

    All of it where it stands out, as on a bright streak; of the rest as much as it is more than noise.
    """
    clear = {array: np.abs(each) > CLIP * unsure for array, each in fixed.items()}
    rest = np.concatenate([each[~clear[array]] for array, each in fixed.items()])
    part = _part(rest, unsure**2) if rest.size else 1.0
    return {array: np.where(clear[array], each, part * each) for array, each in fixed.items()}, part


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
                _grouped(border[array] - reference.fixed[array], width) - _channels(each[array], width)
                for border, each in zip(borders, offsets, strict=True)
            ]
        )
        for array in arrays
    }
    common = {array: each.mean(axis=0) for array, each in away.items()}
    noise2 = reference.noise**2
    of_mean = noise2 * (1.0 / len(offsets) + reference.doubt)
    shared = _part(np.concatenate(list(common.values())), of_mean)
    own = _part(np.concatenate([(away[array] - common[array]).ravel() for array in arrays]), noise2)
    for place, each in enumerate(made):
        for array in arrays:
            change = shared * common[array] + own * (away[array][place] - common[array])
            spread = np.repeat(change, each[array].size // change.size)
            each[array] = (each[array] + spread - spread.mean()).astype(np.float32)
    return made


def _rms(parts: Sequence[F64]) -> float:
    return float(np.sqrt(np.mean(np.square(np.concatenate([part.ravel() for part in parts])))))


def _part(departures: F64, noise2: float) -> float:
    """The part of departures that is not noise: what they are to be multiplied by."""
    variance = float(np.mean(departures**2))
    return max(variance - noise2, 0.0) / max(variance, 1e-9)


def _known(borders: Borders, array: int) -> bool:
    return array in borders and borders[array].size > 0


def _grouped(border: F64, width: int) -> F64:
    """Means of groups as those of channels, with zero mean."""
    means: F64 = border.reshape(*border.shape[:-1], -1, width // GROUP).mean(axis=-1)
    return np.asarray(means - means.mean(axis=-1, keepdims=True), float)


def _channels(offsets: F32, width: int) -> F64:
    means: F64 = offsets.reshape(-1, width).mean(axis=1, dtype=float)
    return np.asarray(means - means.mean(), float)
