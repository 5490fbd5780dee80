"""Exposures that ended before their time, as their headers tell it."""

from __future__ import annotations

from reducer.keywords import read
from reducer.types import Header

#: The part of the time asked for that a whole exposure lasts at least; reading out makes it longer.
WHOLE = 0.9
#: What INTEGRIT says of an exposure that was not ended by its clock.
ENDED = ("STOP", "ABORT")
DAY = 86400.0


def why_stopped(header: Header) -> str:
    """What the primary header says of an exposure that was stopped or aborted, '' of a whole one.

    ELAPSED is the time of one coadd, UTEND - UTSTART that of all, in seconds.
    """
    word = str(header.get("INTEGRIT") or "").strip().upper()
    if word.startswith(ENDED):
        return f"it was not finished: INTEGRIT is {word}"
    wanted, coadds = read(header, "EXPTIME", float) or 0.0, read(header, "COADDS", int) or 1
    elapsed = read(header, "ELAPSED", float) or 0.0
    if 0 < elapsed < WHOLE * wanted:
        return f"it was stopped: it lasted {elapsed:g} of {wanted:g} s, by ELAPSED"
    begin, end = (_seconds(header.get(key)) for key in ("UTSTART", "UTEND"))
    if begin is not None and end is not None and 0 < (end - begin) % DAY < WHOLE * wanted * coadds:
        lasted = (end - begin) % DAY
        return f"it was stopped: it lasted {lasted:.1f} of {wanted * coadds:g} s, by UTSTART and UTEND"
    return ""


def _seconds(text: object) -> float | None:
    """Seconds since midnight of a time such as 03:29:34.1."""
    parts = str(text or "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return 3600.0 * hours + 60.0 * minutes + seconds
