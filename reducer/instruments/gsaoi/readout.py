"""How the arrays are read: the read mode by the number of reads, and what a count then stands for."""

from __future__ import annotations

import datetime as dt
import math
from functools import cache

from reducer.instruments.base import Levels, read_data
from reducer.keywords import parse_date, read
from reducer.types import Header

_TABLE = read_data("gsaoi", "arrays")
#: Names of the arrays 1..4 (ARRAYID).
ARRAYS = tuple(_TABLE["array_properties"])
SIDE = 2048
#: Where they lie in the mosaic, (x, y) pixels.
ORIGINS = ((SIDE, 0), (0, 0), (0, SIDE), (SIDE, SIDE))
#: Number of reads (LNRS) of each read mode.
READS = {mode: int(reads) for reads, mode in _TABLE["read_modes_by_LNRS"].items()}
UNKNOWN = "Unknown"
#: Before this UT date LNRS holds Fowler samples instead of reads.
FOWLER_SAMPLES_BEFORE = dt.date(2012, 11, 1)
#: Says that LNRS has been put right and holds reads, whatever the date.
READS_KNOWN = "LNRSREAD"


def read_mode(primary: Header) -> str:
    """'Bright Objects', 'Faint Objects', 'Very Faint Objects' or 'Unknown', by the number of reads."""
    reads, date = read(primary, "LNRS", int) or 0, parse_date(primary.get("DATE-OBS"))
    if date is not None and date < FOWLER_SAMPLES_BEFORE and READS_KNOWN not in primary:
        reads = 2 if reads in (1, 2) else 2 * reads
    return next((mode for mode, number in READS.items() if number == reads), UNKNOWN)


def levels(primary: Header, array: int) -> Levels:
    """The levels of array 1..4 in the exposure of that primary header."""
    return _levels(array, read_mode(primary))


@cache
def _levels(array: int, mode: str) -> Levels:
    facts = _TABLE["array_properties"][ARRAYS[array - 1]]
    well = facts["well_adu"]
    return Levels(
        gain=facts["gain_e_per_adu"],
        read_noise=facts["read_noise_e_single_coadd"].get(mode, math.nan),
        well=well,
        non_linear=well * facts["linear_limit_fraction_of_well"],
        saturation=well * facts["nonlinear_limit_fraction_of_well"],
        linearity=tuple(facts["nonlinearity_coefficients"]),
    )
