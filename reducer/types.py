"""What arrays, tables, headers and reasons are called, and a table of columns; imports nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U16 = NDArray[np.uint16]
Table = NDArray[Any]  # a structured array


def table_of(columns: Mapping[str, NDArray[Any]]) -> Table:
    """A table of some columns by name, each (rows, ...)."""
    kinds = [(name, column.dtype, column.shape[1:]) for name, column in columns.items()]
    table = np.empty(len(next(iter(columns.values()), ())), kinds)
    for name, column in columns.items():
        table[name] = column
    return table


#: Why something is so: its name as ``reason``, and the numbers that belong to it; empty for no reason.
Reason = Mapping[str, Any]


def because(*reasons: str, **fields: Any) -> Reason:
    """A reason by name, or several, with numbers; whoever shows it has the words (``goafetch.words``)."""
    return {"reason": reasons[0] if len(reasons) == 1 else reasons, **fields}


class Header(Protocol):
    """What the house needs of a FITS header (astropy's class, read and written by fitsio alone)."""

    @property
    def cards(self) -> Any: ...
    def __contains__(self, key: object) -> bool: ...
    def __getitem__(self, key: str) -> Any: ...
    def __setitem__(self, key: str, value: Any) -> None: ...
    def __delitem__(self, key: str) -> None: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def copy(self) -> Header: ...
    def clear(self) -> None: ...
    def add_history(self, text: str) -> None: ...
