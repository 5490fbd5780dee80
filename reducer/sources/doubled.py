"""Exposures in which the telescope jumped: every star twice, at one distance and in one ratio of light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import gammainc

from reducer.frame import FrameRef
from reducer.sources.detection import IS_SATURATED, NOT_CENTRED, TOO_SHARP
from reducer.types import F64, Table

#: Least signal to noise of both images of a star, so that their distance is known to a part of a pixel and
#: their ratio to a part of itself; the brightest few of an array that are looked at.
STRONG, MOST = 10.0, 300
#: Pixels within which the other image is sought (a guide star that is lost for longer spoils more than that);
#: by what factor either may be the brighter one, the jump having come early or late.
APART, UNLIKE = 60.0, 5.0
#: Within what, in pixels and in the logarithm of the ratio, pairs are alike: arrays differ in scale by 1.5 %
#: and in rotation by half a degree, and light of STRONG stars has a tenth of noise.
SAME_GAP, SAME_RATIO = 0.75, 0.35
#: The part of the stars whose other image is bright enough to be seen that show it: the rest lie at an edge,
#: on bad pixels or are blended.
MOSTLY = 0.5
#: How often chance may put as many pairs of stars at one distance: one exposure of ten thousand.
BY_CHANCE = 1e-4


@dataclass(frozen=True)
class Pairs:
    """Pairs of an exposure's stars: their two numbers (n, 2), and gap in x and y, pixels, with the logarithm
    of their ratio of light, (n, 3), of which the gap in x is never negative."""

    stars: NDArray[np.intp]
    gaps: F64


def leave_out_doubled(frames: Sequence[FrameRef], notify: Callable[..., None]) -> list[FrameRef]:
    """Leave out, by name, exposures whose stars are double: before others are laid on their second images.

    Where that is true of half of them or more, it is the field's, and all are kept.
    """
    reasons = [doubled(frame) for frame in frames]
    if 2 * sum(map(bool, reasons)) >= len(frames):
        return list(frames)
    for frame, reason in zip(frames, reasons, strict=True):
        if reason:
            notify("refused", name=frame.path.name, reason=reason)
    return [frame for frame, reason in zip(frames, reasons, strict=True) if not reason]


def doubled(frame: FrameRef) -> str:
    """Why a frame's stars are double, '' where they are not: most have a companion in one and the same
    place with one and the same part of their light, and more do so than chance can bring about."""
    tables = [_strong(table) for table in frame.sources]
    signal = np.concatenate([np.zeros(0), *(_signal(table) for table in tables)])
    pairs = _pairs(tables)
    if not len(pairs.gaps):
        return ""
    scaled = pairs.gaps / [SAME_GAP, SAME_GAP, SAME_RATIO]
    alike = cKDTree(scaled).query_ball_point(scaled, 1.0, p=np.inf)
    best = max(alike, key=len)
    if _by_chance(len(best), len(scaled)) > BY_CHANCE:
        return ""
    gap = np.median(pairs.gaps[best], axis=0)
    owed = signal > STRONG * np.exp(abs(gap[2]))
    shows = np.isin(np.arange(len(signal)), pairs.stars[best])
    if shows[owed].sum() < MOSTLY * owed.sum():
        return ""
    apart = float(np.hypot(*gap[:2]))
    return f"its stars are double: {len(best)} pairs lie {apart:.1f} pixels apart in one direction"


def _strong(table: Table) -> Table:
    """The brightest sources that may be an image of a star."""
    kept: Table = table[(table["flags"] & (IS_SATURATED | NOT_CENTRED | TOO_SHARP)) == 0]
    return kept[_signal(kept) > STRONG][:MOST]


def _signal(table: Table) -> F64:
    return np.asarray(table["flux"][:, 0] / np.maximum(table["flux_error"][:, 0], 1e-30))


def _pairs(tables: list[Table]) -> Pairs:
    """The pairs within APART of each array's stars, which are numbered through all arrays."""
    numbers, gaps, first = [np.zeros((0, 2), np.intp)], [np.zeros((0, 3))], 0
    for table in tables:
        places = np.stack([table["x"], table["y"], np.log(table["flux"][:, 0])], axis=1)
        found = cKDTree(places[:, :2]).query_pairs(APART, output_type="ndarray")
        gap = places[found[:, 1]] - places[found[:, 0]]
        gap *= np.where(gap[:, :1] < 0, -1.0, 1.0)
        like = np.abs(gap[:, 2]) < np.log(UNLIKE)
        numbers.append(found[like] + first)
        gaps.append(gap[like])
        first += len(table)
    return Pairs(np.concatenate(numbers), np.concatenate(gaps))


def _by_chance(alike: int, pairs: int) -> float:
    """How often as many of some pairs, strewn over all gaps and ratios, lie about one of them.

    A Poisson probability for the others about each one, for as many places as there are pairs.
    """
    share = (2 * SAME_GAP) ** 2 / (np.pi / 2 * APART**2) * SAME_RATIO / np.log(UNLIKE)
    # The probability of k events or more is the regularised lower incomplete gamma function of k.
    return float(pairs * gammainc(alike - 1, pairs * share)) if alike > 1 else 1.0
