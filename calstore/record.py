"""The two things that are matched: a calibration that exists, and what a frame needs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from calstore.errors import REBUILD, DamagedStore

#: Array number 1..4 and the rectangle of the full array: x1, x2, y1, y2, zero-based, half-open.
Rectangle = tuple[int, int, int, int, int]
#: All of every array, which a region says by being empty.
WHOLE: tuple[Rectangle, ...] = tuple((number, 0, 2048, 0, 2048) for number in (1, 2, 3, 4))

PROCESSED_FLAT = "processed_flat"
PROCESSED_BPM = "processed_bpm"
STANDARD = "standard"
DARK = "dark"
LAMP_ON = "lamp_on"
LAMP_OFF = "lamp_off"


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What association looks at: UT at the start, the filter as people say it, and how the arrays were read.

    ``region``: what was read of each array; empty means all of every array. ``exposure_time`` in seconds.
    """

    kind: str
    when: dt.datetime
    filter_name: str = ""
    region: tuple[Rectangle, ...] = ()
    exposure_time: float | None = None
    coadds: int = 1
    read_mode: str = ""
    program_id: str = ""

    def __post_init__(self) -> None:
        if self.when.tzinfo is not None:
            utc = self.when.astimezone(dt.UTC).replace(tzinfo=None)
            object.__setattr__(self, "when", utc)
        if self.region == WHOLE:
            object.__setattr__(self, "region", ())


@dataclass(frozen=True, kw_only=True, slots=True)
class Need(Traits):
    """What a frame, called ``name``, needs: a calibration of ``kind`` that suits these traits."""

    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration(Traits):
    """A calibration file: ``path``, the SHA-256 (and md5, where known) of its content, and its traits.

    ``origin`` says who made it ('goafetch', 'DRAGONS', 'archive').
    """

    path: str
    sha256: str = ""
    md5: str = ""
    origin: str = ""

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.replace("\\", "/").rpartition("/")[2]

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a file that people can read; what is as usual is left out."""
        values = {key: getattr(self, key) for key in USUAL if getattr(self, key) != USUAL[key]}
        values["when"] = self.when.isoformat(timespec="milliseconds")
        if "region" in values:
            values["region"] = [list(rectangle) for rectangle in self.region]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any], folder: str = "") -> Calibration:
        """The calibration of such values; a relative path is taken to be below ``folder``.

        DamagedStore if they do not make one.
        """
        try:
            made = dict(values)
            if folder and not made["path"].startswith("/"):
                made["path"] = f"{folder}/{made['path']}"
            made["when"] = dt.datetime.fromisoformat(values["when"])
            if "region" in made:
                made["region"] = tuple(map(tuple, made["region"]))
            return cls(**made)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedStore(
                f"the record {values!r} is not a calibration", "kind, path and when", REBUILD
            ) from error


#: What a record leaves out.
USUAL: dict[str, Any] = {field.name: field.default for field in fields(Calibration)}
