"""Single values of a header, typed: what is missing, blank, unreadable or impossible is None."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, overload

from reducer.errors import BadInput
from reducer.types import Header

T = TypeVar("T")

#: Zero-based half-open pixels of a rectangle: x1, x2, y1, y2.
Section = tuple[int, int, int, int]

#: What the observatory writes for a number that it does not have.
MISSING = -9999
#: Cards as the standard has them: a comment, or a key with a string, logical or number.
STANDARD_CARD = re.compile(
    r"(?=[ -~]*$)"
    r"(?:(COMMENT |HISTORY | {8}|CONTINUE|END {5}).*|(?=.{8}= )[A-Z0-9_-]+ *= *('([^']|'')*' *|[TF]"
    r"|[+-]?\d{1,18}|[+-]?(\d+\.\d*|\.\d+)([ED][+-]?\d{1,3})?) *(/.*)?)"
)


class HasPrimary(Protocol):
    """Anything that has a primary header."""

    @property
    def primary(self) -> Header: ...


class Keyword(Generic[T]):
    """A descriptor that is one keyword of the primary header, or None where it is missing or unreadable."""

    def __init__(self, key: str, kind: Callable[[Any], T], meaning: str, *, low: float = -math.inf) -> None:
        self.key, self.kind, self.low = key, kind, low
        self.__doc__ = meaning

    @overload
    def __get__(self, owner: None, cls: type) -> Keyword[T]: ...
    @overload
    def __get__(self, owner: HasPrimary, cls: type) -> T | None: ...
    def __get__(self, owner: HasPrimary | None, cls: type) -> Keyword[T] | T | None:
        if owner is None:
            return self
        return read(owner.primary, self.key, self.kind, self.low)


def read(header: Header, key: str, kind: Callable[[Any], T], low: float = -math.inf) -> T | None:
    """A header's value as ``kind``; None if it is missing, blank, unreadable, not finite or below ``low``.

    The observatory writes -9999 for a number that it does not have.
    """
    value = header.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        made = kind(value.strip() if isinstance(value, str) else value)
    except (TypeError, ValueError):
        return None
    if isinstance(made, float) and (not math.isfinite(made) or made < low):
        return None
    return None if made == MISSING else made


def read_angle(header: Header, key: str, hours: bool = False) -> float | None:
    """Degrees: a number of degrees, or 'dd:mm:ss.s', with ``hours`` 'hh:mm:ss.s'; None for anything else."""
    match = re.match(r"\s*([+-]?)(\d+)[: ](\d\d?)[: ](\d\d?(?:\.\d*)?)\s*$", str(header.get(key, "")))
    if match is None:
        return read(header, key, float)
    sign, *parts = match.groups()
    whole_, minutes, seconds = (float(part) for part in parts)
    value = (whole_ + minutes / 60 + seconds / 3600) * (15 if hours else 1)
    return -value if sign == "-" else value


def whole(header: Header, key: str, default: int | None = None, highest: int = 2**40) -> int:
    """A count or size in a header; ValueError for anything else."""
    value = header.get(key, default)
    if type(value) is not int or not 0 <= value <= highest:
        raise ValueError(key)
    return value


def parse_section(text: object) -> Section | None:
    """Read '[x1:x2,y1:y2]' (one-based, inclusive) as zero-based half-open (x1, x2, y1, y2)."""
    match = re.fullmatch(r"\s*\[\s*(\d+):(\d+)\s*,\s*(\d+):(\d+)\s*\]\s*", str(text))
    if match is None:
        return None
    x1, x2, y1, y2 = (int(part) for part in match.groups())
    return (x1 - 1, x2, y1 - 1, y2)


def without_id(name: str) -> str:
    """A component's name without its ID: 'Kshort_G1105' is 'Kshort'."""
    return re.sub(r"_G\d+$", "", name)


def parse_date(text: object) -> dt.date | None:
    """Read the date in 'yyyy-mm-dd' or 'yyyy-mm-ddThh:mm:ss'; None if it is not a date."""
    match = re.match(r"\d{4}-\d\d-\d\d", str(text or "").strip())
    try:
        return dt.date.fromisoformat(match.group()) if match else None
    except ValueError:
        return None


def parse_time(text: object) -> dt.time | None:
    """Read 'hh:mm:ss.s' (single digits are allowed); None if it is not a time of day."""
    match = re.match(r"(\d\d?):(\d\d?):(\d\d?)(?:\.(\d*))?$", str(text or "").strip())
    if match is None:
        return None
    hour, minute, second = (int(match.group(place)) for place in (1, 2, 3))
    micro = int((match.group(4) or "").ljust(6, "0")[:6])
    try:
        return dt.time(hour, minute, second, micro)
    except ValueError:
        return None


def percentile(text: str) -> int:
    """'85-percentile' is 85 and 'Any' is 100; ValueError for anything else."""
    if text.lower() == "any":
        return 100
    return int(text.partition("-")[0])


def scale(header: Header) -> float | None:
    """Arcsec per pixel, the mean of both axes, from the CD matrix."""
    cd = [read(header, key, float) for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")]
    if cd[0] is None or cd[1] is None or cd[2] is None or cd[3] is None:
        return None
    return 1800 * (math.hypot(cd[0], cd[1]) + math.hypot(cd[2], cd[3]))


def years_since_epoch(primary: Header, when: dt.datetime | None) -> float:
    """Years from the epoch of the target's position (EPOCH) to ``when``; 0 if that is not known."""
    if when is None:
        return 0.0
    start, end = dt.datetime(when.year, 1, 1), dt.datetime(when.year + 1, 1, 1)
    return when.year + (when - start) / (end - start) - (read(primary, "EPOCH", float) or 2000.0)


def quality(wanted: str, usable: str) -> str:
    """The archive's QA state from 'requirements met' (RAWPIREQ) and 'Gemini's assessment' (RAWGEMQA)."""
    pair = (wanted.upper(), usable.upper())
    if "UNKNOWN" in pair:
        return "Undefined"
    if pair[1] == "BAD":
        return "Fail"
    known = {("YES", "USABLE"): "Pass", ("NO", "USABLE"): "Usable"}
    return known.get(pair, "CHECK" if "CHECK" in pair else f"{wanted}:{usable}")


# --- the part of an array that an image holds ------------------------------------------------------


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
        return (slice(self.y1 - outer.y1, self.y2 - outer.y1), slice(self.x1 - outer.x1, self.x2 - outer.x1))

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
