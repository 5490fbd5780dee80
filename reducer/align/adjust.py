"""The recipe's step that gives every exposure its geometry, or leaves it out by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reducer import parameters
from reducer.align.export import write_if_asked
from reducer.align.moving import follow_target, one_kind
from reducer.align.together import DEFAULT, Limits, align_exposures
from reducer.errors import CannotAlign
from reducer.frame import Context, FrameRef
from reducer.sources.doubled import leave_out_doubled


def adjustWCSToReference(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Align exposures with measured sources to each other; doubled ones and such as do not fit are left out.

    Those of a moving target are laid on it, unless ``method`` says otherwise. CannotAlign if none is left.
    """
    if not frames:
        raise CannotAlign("there is no exposure to align", "at least one on-target exposure")
    frames = one_kind(leave_out_doubled(frames, context.notify), context)
    found = align_exposures(frames, context.notify, limits_of(context))
    aligned = [
        frame.with_(geometry=geometry)
        for frame, geometry in zip(frames, found.geometries, strict=True)
        if geometry is not None
    ]
    if not aligned:
        raise CannotAlign("; ".join(sorted(set(found.reasons))), "exposures that share stars")
    write_if_asked(aligned, "adjustWCSToReference", "_wcsCorrected", context)
    return follow_target(aligned, context)


def limits_of(context: Context) -> Limits:
    """What the user's parameters allow an alignment."""

    def value(name: str) -> Any:
        return parameters.value(context, "adjustWCSToReference", name)

    return Limits(
        # Two exposures' pointings may each be a little off besides the one that is wrong.
        radius=float(value("first_pass")) + 0.5,
        tolerance=float(value("final")),
        order=int(value("order")),
        fewest=int(value("min_matches") or DEFAULT.fewest),
    )
