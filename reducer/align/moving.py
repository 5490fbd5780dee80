"""A target that moves among the stars: exposures aligned by these are laid on the target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from reducer.errors import CannotAlign
from reducer.frame import Context, FrameRef
from reducer.headers.descriptors import Descriptors, describe
from reducer.headers.targets import Motion, are_tracked, target_motion
from reducer.sources import NO_POSITION, well_measured
from reducer.types import F64, because

#: Signal to noise of a source that may be the target, arcsec within which it lies about its path, by how many
#: magnitudes it changes, and in what part of the exposures it has to be seen.
LEAST_SIGNAL, ABOUT_PATH, CHANGE, SEEN_IN = 15.0, 0.6, 0.7, 0.75
#: Arcsec within which aligned sources are one star.
SAME = 0.06
REMEDY = "set adjustWCSToReference:method=sources to stack on the stars"


def one_kind(frames: Sequence[FrameRef], method: str, context: Context) -> list[FrameRef]:
    """The frames without those that follow a moving target where most do not, or the other way round."""
    tracked = are_tracked([_facts(frame) for frame in frames], _fwhm(frames))
    told = [is_tracked for is_tracked in tracked if is_tracked is not None]
    if len(set(told)) < 2 or method == "sources":
        return list(frames)
    usual = sum(told) * 2 > len(told) or (sum(told) * 2 == len(told) and bool(told[0]))
    odd = because("on_the_stars" if usual else "on_moving_target")
    kept = []
    for frame, is_tracked in zip(frames, tracked, strict=True):
        if is_tracked in (None, usual):
            kept.append(frame)
        else:
            context.notify("refused", name=frame.path.name, **odd)
    return kept


def follow_target(frames: Sequence[FrameRef], method: str, context: Context) -> list[FrameRef]:
    """Give aligned frames the way that their target has gone since the first (``drift``), if it moves.

    ``method``: 'auto' stacks on the target where its rates and its positions say that it moves,
    'target' follows it also where only the rates do, 'sources' stacks on the stars. CannotAlign where it is
    not certain, or where no stars tell how the exposures lie.
    """
    if len(frames) < 2:
        return list(frames)
    motion = target_motion([_facts(frame) for frame in frames], _fwhm(frames))
    if motion.moves is False:
        return list(frames)
    ways = {"by_rates": motion.by_rates, "by_positions": motion.by_positions}
    if method == "sources":
        context.notify("on_stars_as_asked", **ways)
        return list(frames)
    if motion.moves is None and method == "auto":
        if not motion.rated and _stands_still(frames, np.array(motion.path)):
            context.notify("on_stars", by_positions=motion.by_positions)
            return list(frames)
        raise CannotAlign(
            f"the target's motion is ambiguous: {_told(motion)}",
            "rates and positions of one motion",
            f"{REMEDY}, or method=target to follow the {'rates' if motion.rated else 'positions'}",
        )
    _refuse_unaligned(frames, motion)
    path = np.array(motion.path)
    found = find_target(frames, path)
    if found is None:
        context.notify("on_target", **ways)
    else:
        seen = np.isfinite(found[:, 0])
        away = found[seen] - path[seen] - np.median(found[seen] - path[seen], axis=0)
        path[seen] += away
        most = float(np.hypot(*away.T).max())
        context.notify("on_target_seen", **ways, seen=seen.sum(), exposures=len(seen), distance=most)
    return [
        frame.with_(drift=(float(east), float(north)))
        for frame, (east, north) in zip(frames, path, strict=True)
    ]


def _told(motion: Motion) -> str:
    """How far a target moves, for errors."""
    rates = f'{motion.by_rates:.2f}" from RATRACK and DECTRACK' if motion.rated else "no tracking rates"
    return f'{rates}, {motion.by_positions:.2f}" from RA and DEC'


def _stands_still(frames: Sequence[FrameRef], path: F64) -> bool:
    """Whether the pointings without the dither, as stars have placed them, stay rather than go along a path
    (n, 2), arcsec."""
    offsets = [_facts(frame).sky_offset for frame in frames]
    geometries = [frame.geometry for frame in frames]
    if None in offsets or any(one is None or one.model == "header offsets" for one in geometries):
        return False
    places = np.array([one.middle for one in geometries if one is not None])
    gone = places - np.array(offsets, float)
    gone -= gone[0]
    return float(np.sum(gone**2)) < float(np.sum((gone - path) ** 2))


def find_target(frames: Sequence[FrameRef], path: F64) -> F64 | None:
    """Where aligned frames show the target itself, (n, 2) arcsec on the common plane, NaN where they do not.

    It is the source that keeps its brightness and its place about ``path`` (n, 2) while stars do not; None
    where no source does so in most exposures.
    """
    lists = [_sources(frame) for frame in frames]
    trees = [cKDTree(places) for places, _ in lists]
    moving = [
        (places[alone] - way, magnitudes[alone])
        for number, ((places, magnitudes), way) in enumerate(zip(lists, path, strict=True))
        for alone in [_unshared(places, [*trees[:number], *trees[number + 1 :]])]
    ]
    best = np.full((len(frames), 3), np.nan)
    for places, magnitudes in moving:
        for place, magnitude in zip(places, magnitudes, strict=True):
            found = np.array([_nearest(place, magnitude, *other) for other in moving])
            if _rank(found) > _rank(best):
                best = found
    return best[:, :2] + path if _count(best) >= max(2, SEEN_IN * len(frames)) else None


def moving_places(frames: Sequence[FrameRef]) -> F64:
    """Where aligned frames show a target that moves, (n, 2) arcsec on the common plane.

    None where it does not move, or is not seen in single exposures.
    """
    drifts = [frame.drift for frame in frames if frame.drift is not None]
    found = find_target(frames, np.array(drifts)) if len(drifts) == len(frames) else None
    return np.zeros((0, 2)) if found is None else found[np.isfinite(found[:, 0])]


def _count(found: F64) -> int:
    return int(np.isfinite(found[:, 0]).sum())


def _rank(found: F64) -> tuple[int, float]:
    """In how many exposures a source is seen, then how bright it is."""
    return _count(found), -float(np.nan_to_num(found[:, 2], nan=99.0).mean())


def _nearest(place: F64, magnitude: float, places: F64, magnitudes: F64) -> F64:
    """Place and magnitude of the source that is like another one and near it; NaN where none is."""
    away = np.where(np.abs(magnitudes - magnitude) < CHANGE, np.hypot(*(places - place).T), np.inf)
    nearest = int(np.argmin(away)) if len(away) else -1
    if nearest < 0 or away[nearest] > ABOUT_PATH:
        return np.full(3, np.nan)
    return np.array([*places[nearest], magnitudes[nearest]])


def _unshared(places: F64, others: Sequence[cKDTree]) -> NDArray[np.bool_]:
    """The sources that fewer than half of the other exposures have at the same place: no stars."""
    shared = [tree.query(places)[0] < SAME for tree in others]
    return np.asarray(np.sum(shared, axis=0) < 0.5 * len(others))


def _sources(frame: FrameRef) -> tuple[F64, F64]:
    """Places (n, 2) of a frame's strong sources on the common plane, and their magnitudes."""
    places, magnitudes = [np.zeros((0, 2))], [np.zeros(0)]
    for chip, table in enumerate(frame.sources):
        kept = table[well_measured(table, LEAST_SIGNAL, aperture=1)]
        places.append(np.stack(frame.placed.evaluate(kept["x"], kept["y"], chip), axis=1))
        magnitudes.append(-2.5 * np.log10(kept["flux"][:, 1] / frame.exposure_time))
    return np.concatenate(places), np.concatenate(magnitudes)


def laid_on_target(frames: Sequence[FrameRef]) -> list[FrameRef]:
    """The frames with their geometries laid on a moving target, as they are where it does not move."""
    return [
        frame if frame.drift is None or frame.geometry is None
        else frame.with_(geometry=frame.geometry.moved(-frame.drift[0], -frame.drift[1]))
        for frame in frames
    ]  # fmt: skip


def _refuse_unaligned(frames: Sequence[FrameRef], motion: Motion) -> None:
    lost = [f.path.name for f in frames if f.geometry is not None and f.geometry.model == "header offsets"]
    if lost:
        raise CannotAlign(
            f"the target moves ({_told(motion)}), and no stars tell how {', '.join(lost)} lie",
            "stars that the exposures share: pointings by headers are too coarse for it",
            "leave these exposures out",
        )


def _facts(frame: FrameRef) -> Descriptors:
    return describe(frame.header, frame.chips, frame.path.name)


def _fwhm(frames: Sequence[FrameRef]) -> float:
    """The median FWHM of the frames' good sources, arcsec; of a sharp image where there are none."""
    tables = [table for frame in frames for table in frame.sources]
    widths = [table["fwhm"][(table["flags"] & NO_POSITION) == 0] for table in tables]
    every = np.concatenate([*widths, np.zeros(0)])
    every = every[np.isfinite(every)]
    own = frames[0].instrument
    return float(np.median(every)) * own.field.reference_scale if len(every) else own.widths.sharp
