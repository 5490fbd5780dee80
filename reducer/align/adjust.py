"""The recipe's step that gives every exposure its geometry, or leaves it out by name."""

from __future__ import annotations

from collections.abc import Sequence

from reducer.align.together import align_exposures
from reducer.errors import CannotAlign
from reducer.frame import Context, FrameRef


def adjustWCSToReference(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Align exposures with measured sources to each other; those that cannot be aligned are left out.

    CannotAlign if none is left.
    """
    if not frames:
        raise CannotAlign("there is no exposure to align", "at least one on-target exposure")
    found = align_exposures(frames, context.notify)
    aligned = [
        frame.with_(geometry=geometry)
        for frame, geometry in zip(frames, found.geometries, strict=True)
        if geometry is not None
    ]
    if not aligned:
        raise CannotAlign("; ".join(sorted(set(found.reasons))), "exposures that share stars")
    return aligned
