"""The part of an array that an image holds."""

from __future__ import annotations

from dataclasses import dataclass

from reducer.errors import BadInput
from reducer.keywords import parse_section
from reducer.types import Header


@dataclass(frozen=True, slots=True)
class Region:
    """The part of a full array that an image holds: zero-based half-open pixels of the full array."""

    x1: int
    x2: int
    y1: int
    y2: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.y2 - self.y1, self.x2 - self.x1)

    def within(self, outer: Region) -> tuple[slice, slice]:
        """Where this region lies in an image of ``outer``; BadInput if it sticks out."""
        inside = outer.x1 <= self.x1 and self.x2 <= outer.x2 and outer.y1 <= self.y1 and self.y2 <= outer.y2
        if not inside:
            raise BadInput(
                f"a calibration of the region {outer} for a frame of the region {self}",
                "a calibration that covers the frame",
                "use one of the full arrays",
            )
        return (
            slice(self.y1 - outer.y1, self.y2 - outer.y1),
            slice(self.x1 - outer.x1, self.x2 - outer.x1),
        )

    def section(self) -> str:
        """The region as CCDSEC writes it, one-based and inclusive."""
        return f"[{self.x1 + 1}:{self.x2},{self.y1 + 1}:{self.y2}]"


def region(chip: Header) -> Region:
    """The region of an image by its CCDSEC, all of it where that is missing; what raw headers have wrong is
    put right by ``repair``."""
    section = parse_section(chip.get("CCDSEC", ""))
    shape = (int(chip["NAXIS2"]), int(chip["NAXIS1"]))
    found = Region(*section) if section else Region(0, shape[1], 0, shape[0])
    if found.shape != shape:
        raise BadInput(
            f"CCDSEC {chip.get('CCDSEC')} for an image of {shape[1]}x{shape[0]} pixels",
            "a section of the image's size",
            "leave the file out",
        )
    return found
