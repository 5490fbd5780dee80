"""How the arrays were read, from the archive's text of a file's headers: what its rows do not tell."""

from __future__ import annotations

import re
from dataclasses import dataclass

from calstore.record import Rectangle

_CARD = re.compile(r"([A-Z][A-Z0-9_-]*)\s*=\s*('(?:[^']|'')*'|[^/]*)")
_SECTION = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]")


@dataclass(frozen=True)
class Settings:
    """Read-out of one file. ``reads``: non-destructive reads (LNRS) as written; ``region``: what was read.

    What is not known is left at its default: one coadd, no reads named, whole arrays.
    """

    coadds: int = 1
    reads: str = ""
    region: tuple[Rectangle, ...] = ()


def read_settings(page: str) -> Settings:
    """Settings from a /fullheader page: cards of the primary header, then of each extension (FitsStorage)."""
    primary, *extensions = _headers(page)
    coadds = primary.get("COADDS", "")
    return Settings(
        coadds=int(float(coadds)) if re.fullmatch(r"\d+(\.0*)?", coadds) else 1,
        reads=primary.get("LNRS", ""),
        region=_region(extensions),
    )


def _headers(page: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = [{}]
    for line in page.splitlines():
        if line.startswith("--- HDU"):
            found.append({})
        elif card := _CARD.match(line):
            found[-1].setdefault(card[1], card[2].strip().strip("'").strip())
    return found


def _region(extensions: list[dict[str, str]]) -> tuple[Rectangle, ...]:
    """What was read of each array, zero-based and half-open; nothing where any extension does not tell."""
    found: list[Rectangle] = []
    for number, header in enumerate(extensions, 1):
        match = _SECTION.fullmatch(header.get("CCDSEC", header.get("ARRAYSEC", "")))
        if match is None:
            return ()
        x1, x2, y1, y2 = map(int, match.groups())
        found.append((number, x1 - 1, x2, y1 - 1, y2))
    return tuple(found)
