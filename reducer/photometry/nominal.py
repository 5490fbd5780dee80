"""Published zeropoints and extinction: a range to be in, and the atmosphere's share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reducer.headers.descriptors import Descriptors
from reducer.instruments import instrument_of

#: How far a zeropoint may lie from the nominal one before it is warned about, mag: published sets disagree.
SANE = 0.2
#: By what the extinction of a night may differ from the table's, mag per airmass.
EXTINCTION_ERROR = 0.02
#: Micron at which a filter is taken to be whose wavelength is not known.
USUAL = 2.2


def extinction(facts: Descriptors) -> float:
    """Magnitudes per airmass in a frame's filter, of the nearest band in which it is known."""
    filters = instrument_of(facts.primary).filters
    here = facts.passband.wavelength if facts.passband else USUAL
    known = [(abs(one.wavelength - here), one.extinction) for one in filters.values() if one.extinction]
    return min(known)[1]


def zeropoint(facts: Descriptors) -> float | None:
    """The nominal magnitude of 1 electron/s at airmass 0, mean of the arrays; None for a filter without."""
    known = facts.passband.zeropoints if facts.passband else ()
    return float(np.mean(known)) if known else None


def warn_if_strange(at_zero: float, facts: Descriptors, notify: Callable[..., None]) -> None:
    """Warn about a zeropoint at airmass 0 that is far from the nominal one."""
    usual = zeropoint(facts)
    if usual is not None and abs(at_zero - usual) > SANE:
        notify(
            "warning",
            text=f"the zeropoint at airmass 0, {at_zero:.2f} mag, is far from the nominal {usual:.2f}: "
            "was it photometric, and are the stars the right ones?",
        )
