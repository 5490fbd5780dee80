"""The step that aligns exposures with each other, on the stars or on a moving target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from reducer.align.moving import follow_target, one_kind
from reducer.align.together import Limits, align_exposures
from reducer.errors import CannotAlign
from reducer.frame import Context, FrameRef
from reducer.stack.quality import leave_out_doubled
from reducer.step import step


@step(suffix="_wcsCorrected", cannot_skip="exposures are compared and stacked where it finds that they lie")
def adjustWCSToReference(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    method: Annotated[Literal["auto", "sources", "target"], "what lies still: stars or target"] = "auto",
    first_pass: Annotated[float, "search radius for shifts", "arcsec"] = 5.0,
    final: Annotated[float, "matching radius", "arcsec"] = 0.1,
    min_matches: Annotated[int | None, "fewest stars two exposures must share"] = None,
    order: Annotated[int, "highest order of the polynomial"] = 3,
) -> list[FrameRef]:
    """Align exposures with measured sources to each other; doubled ones and such as do not fit are left out.

    Those of a moving target are laid on it, unless ``method`` says otherwise. CannotAlign if none is left.
    """
    if not frames:
        raise CannotAlign("there is no exposure to align", "at least one on-target exposure")
    frames = one_kind(leave_out_doubled(frames, context.notify), method, context)
    # Two exposures' pointings may each be a little off besides the one that is wrong.
    limits = Limits(first_pass + 0.5, final, order, min_matches or 1)
    found = align_exposures(frames, context.notify, limits)
    aligned = [
        frame.with_(geometry=geometry)
        for frame, geometry in zip(frames, found.geometries, strict=True)
        if geometry is not None
    ]
    if not aligned:
        raise CannotAlign("; ".join(sorted(set(found.reasons))), "exposures that share stars")
    return follow_target(aligned, method, context)
