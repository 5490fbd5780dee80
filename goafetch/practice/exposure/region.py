"""Which part of an array is read, as the headers say and as it really is."""

from __future__ import annotations

from dataclasses import dataclass

SIZE = 2048
#: Since 2013-05-13 the central 1024x1024 region is read one row away from CCDSEC: higher in arrays 1 and 2.
ROW_ERROR = (1, 1, -1, -1)


@dataclass(frozen=True)
class Region:
    """The part of an array that is read: first pixel (0-based) and size."""

    x0: int
    y0: int
    nx: int
    ny: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of a full-frame array."""
        return slice(self.y0, self.y0 + self.ny), slice(self.x0, self.x0 + self.nx)


def stated_region(size: int) -> Region:
    """The central region of ``size`` as the headers state it."""
    start = (SIZE - size) // 2
    return Region(start, start, size, size)


def true_region(size: int, index: int, row_error: bool = True) -> Region:
    """The region that was really read of an array (0..3); ``row_error``: since 2013-05-13."""
    stated = stated_region(size)
    shift = ROW_ERROR[index] if size == 1024 and row_error else 0
    return Region(stated.x0, stated.y0 + shift, size, size)
