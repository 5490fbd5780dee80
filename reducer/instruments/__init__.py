"""The instruments that are known: the only place that knows them by name."""

from __future__ import annotations

from collections.abc import Mapping

from reducer.errors import BadFile
from reducer.instruments.base import Instrument
from reducer.instruments.flamingos2 import FLAMINGOS2
from reducer.instruments.gsaoi import GSAOI
from reducer.types import Header

#: By what headers call them (INSTRUME).
KNOWN: Mapping[str, Instrument] = {"GSAOI": GSAOI, "F2": FLAMINGOS2, "FLAM": FLAMINGOS2}


def find_instrument(primary: Header) -> Instrument | None:
    """The instrument of a frame by its primary header; None for one that is not known."""
    return KNOWN.get(str(primary.get("INSTRUME", "")).strip().upper())


def instrument_of(primary: Header, name: str = "this file") -> Instrument:
    """The instrument of a frame by its primary header; BadFile, with the file's name, if it is not known."""
    found = find_instrument(primary)
    if found is None:
        said = str(primary.get("INSTRUME", "")).strip() or "an unnamed instrument"
        raise BadFile(f"{name} is from {said}", f"INSTRUME {' or '.join(map(repr, KNOWN))}", "leave it out")
    return found
