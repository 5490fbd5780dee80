"""What guides: GeMS, and windows of the arrays themselves (ODGW), where the image has holes."""

from __future__ import annotations

from collections.abc import Sequence

from reducer.instruments.gsaoi.readout import ORIGINS, SIDE
from reducer.keywords import Section
from reducer.types import Header

#: Each array has one window.
GUIDERS = range(1, len(ORIGINS) + 1)
#: Pixels by which the headers leave open where a guide window lies.
UNSURE = 1


def guided_by(primary: Header) -> Sequence[str]:
    """GeMS, the adaptive optics, where its sensors are configured."""
    return ("GEMS",) if "GWFS1CFG" in primary else ()


def guide_windows(primary: Header, array: int) -> Sequence[Section]:
    """The hole that an on-detector guide window leaves in an array.

    GWFSnCFG is 'ODGWm' for a window on array m, GWFSnX and GWFSnY its central pixel (so the cards say), and
    GWFSnSIZ its side. The side is even, and nothing says on which side of the centre the odd pixel lies, nor
    whether pixels count from 0: all that this can mean is left out, one pixel more on each side. The windows
    of the other arrays are read as well, parked in the corner farthest from the middle of the field (Gemini
    IRAF package, gaprepare).
    """
    windows = {}
    for guider in GUIDERS:
        name = str(primary.get(f"GWFS{guider}CFG", "")).strip().upper()
        numbers = [primary.get(f"GWFS{guider}{key}") for key in ("X", "Y", "SIZ")]
        if name.startswith("ODGW") and all(isinstance(number, int | float) for number in numbers):
            windows[name[4:]] = [int(number or 0) for number in numbers]
    if not windows:
        return ()
    side = next(iter(windows.values()))[2]
    far = [SIDE if start else 1 for start in ORIGINS[array - 1]]
    x, y, side = windows.get(str(array), [*far, side])
    left, low = x - side // 2 - UNSURE, y - side // 2 - UNSURE
    width = side + 2 * UNSURE
    return ((left, left + width, low, low + width),)
