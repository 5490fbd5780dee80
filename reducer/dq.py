"""The bits of a mask, with DRAGONS' values, so that files interchange."""

from __future__ import annotations

BAD = 1
NON_LINEAR = 2
SATURATED = 4
COSMIC_RAY = 8
NO_DATA = 16
OVERLAP = 32
UNILLUMINATED = 64

#: A pixel with one of these carries no measurement. Non-linear pixels are corrected and do.
UNUSABLE = BAD | SATURATED | COSMIC_RAY | NO_DATA | UNILLUMINATED

NAMES = {
    BAD: "bad",
    NON_LINEAR: "non-linear",
    SATURATED: "saturated",
    COSMIC_RAY: "cosmic ray",
    NO_DATA: "no data",
    OVERLAP: "overlap",
    UNILLUMINATED: "unilluminated",
}
