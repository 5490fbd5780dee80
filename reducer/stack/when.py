"""When a stack was exposed: first begin, last end, mean time and airmass of its exposures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from reducer.headers.descriptors import describe
from reducer.keywords import read
from reducer.types import Header

MJD_ZERO, DAY = datetime(1858, 11, 17), timedelta(days=1)


@dataclass(frozen=True)
class Moment:
    """When an exposure began and ended, UTC, and the MJD of its middle, all coadds; of a stack the same
    of its own exposures."""

    begin: datetime
    end: datetime
    middle: float


def time_keywords(headers: Sequence[Header], seconds: Sequence[float]) -> Mapping[str, Any]:
    """DATE-BEG, DATE-END (UTC), MJD-AVG and AIRMASS of the stack of exposures or stacks with such primary
    headers; means are weighted with ``seconds``, those of all coadds.

    REFAIRM: airmass of the first, on whose flux scale the stack is. What a header does not tell is not there.
    """
    keywords: dict[str, Any] = {}
    moments = [moment_of(header, one) for header, one in zip(headers, seconds, strict=True)]
    known = [moment for moment in moments if moment is not None]
    if len(known) == len(moments):
        keywords["DATE-BEG"] = _iso(min(moment.begin for moment in known))
        keywords["DATE-END"] = _iso(max(moment.end for moment in known))
        keywords["MJD-AVG"] = round(_mean([moment.middle for moment in known], seconds), 8)
    airmasses = [describe(header, ()).airmass for header in headers]
    if None not in airmasses:
        keywords["AIRMASS"] = round(_mean(airmasses, seconds), 4)
        keywords["REFAIRM"] = describe(headers[0], ()).scale_airmass
    return keywords


def moment_of(header: Header, seconds: float) -> Moment | None:
    """The times of an exposure of so many seconds, or of a stack; None where the header does not tell."""
    middle = read(header, "MJD-AVG", float)
    if middle is not None:
        ends = [datetime.fromisoformat(str(header[key])) for key in ("DATE-BEG", "DATE-END")]
        return Moment(ends[0], ends[1], middle)
    begin = describe(header, ()).ut_datetime
    if begin is None:
        return None
    end = begin + timedelta(seconds=seconds)
    return Moment(begin, end, (begin + (end - begin) / 2 - MJD_ZERO) / DAY)


def _iso(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds")


def _mean(values: Sequence[float | None], seconds: Sequence[float]) -> float:
    """Weighted with the exposure times, evenly where these are not known."""
    return float(np.average(np.array(values, float), weights=seconds if any(seconds) else None))
