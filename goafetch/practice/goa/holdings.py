"""What the practice archive holds, and which of it a selection, a limit and a user's rights leave."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from goafetch.practice.goa.criteria import Row, keeps
from goafetch.practice.goa.words import Selection

FILE_KEYS = (
    "name",
    "filename",
    "path",
    "compressed",
    "file_size",
    "data_size",
    "file_md5",
    "data_md5",
    "lastmod",
    "mdready",
    "entrytime",
    "present",
    "canonical",
    "size",
    "md5",
    "pending_ingest",
)
# What a proprietary header hides from those without rights (GOA_API section 2).
HIDDEN_KEYS = frozenset(
    {"ra", "dec", "azimuth", "elevation", "airmass", "object", "cass_rotator_pa"},
)
ORDERS = frozenset(
    {
        "filename",
        "lastmod",
        "entrytime",
        "instrument",
        "data_label",
        "observation_class",
        "observation_type",
        "airmass",
        "ut_datetime",
        "local_time",
        "raw_iq",
        "raw_cc",
        "raw_bg",
        "raw_wv",
        "qa_state",
        "filter_name",
        "exposure_time",
        "object",
        "disperser",
        "focal_plane_mask",
        "ra",
        "dec",
        "detector_binning",
        "central_wavelength",
    }
)


@dataclass(frozen=True)
class Limits:
    """How many rows a query may give: open ones (nothing restricts them) and closed ones."""

    open: int = 500
    closed: int = 2000

    def of(self, selection: Selection) -> int:
        """Give the limit that holds for a selection."""
        return self.open if selection.is_open else self.closed


@dataclass(frozen=True)
class User:
    """An account: rights to everything (``programs`` None) or to the programs named.

    ``kind``: 'archive' with a user name, or 'orcid' or 'noirlab', which ``name`` is then the identifier of.
    """

    name: str
    password: str
    programs: frozenset[str] | None = None
    kind: str = "archive"


@dataclass(frozen=True)
class Holding:
    """One version of one file: its /jsonsummary record, where it lies, and what the record does not say."""

    row: Row
    file: Path
    proprietary_coordinates: bool = False
    associated: bool = True
    standards: tuple[Mapping[str, Any], ...] = ()
    coadds: int = 1

    @property
    def name(self) -> str:
        """The name without ``.bz2``."""
        return str(self.row["name"])

    @property
    def stored_name(self) -> str:
        """The stored file's name with its path, as tars and POSTed lists have it."""
        path = str(self.row["path"] or "")
        return f"{path}/{self.row['filename']}" if path else str(self.row["filename"])

    @property
    def moment(self) -> datetime | None:
        """When the exposure began (UTC), None for data that were not observed."""
        value = self.row["ut_datetime"]
        return datetime.fromisoformat(value) if value else None

    def released(self, now: datetime) -> bool:
        """Whether the proprietary period is over: never without a date; engineering data have none."""
        release = self.row["release"]
        return bool(self.row["engineering"]) or (
            release is not None and str(release) <= now.date().isoformat()
        )

    def allowed(self, user: User | None, now: datetime) -> bool:
        """Whether a user (None: anonymous) may have the file."""
        if self.released(now) or user is None:
            return self.released(now)
        return user.programs is None or self.row["program_id"] in user.programs

    def shown_to(self, user: User | None, now: datetime) -> dict[str, Any]:
        """Give the record as the user sees it: seven values are null where the header is proprietary."""
        hidden = self.proprietary_coordinates and not self.allowed(user, now)
        return {key: None if hidden and key in HIDDEN_KEYS else value for key, value in self.row.items()}


def load_holdings(*folders: Path) -> list[Holding]:
    """Read ``holdings.json`` of folders, or those of their sub-folders (one a program).

    A file that several programs share, such as a mask, is held once.

    Raises:
        FileNotFoundError: a folder has no ``holdings.json``.
    """
    found: dict[tuple[str, str], Holding] = {}
    for folder in folders:
        lists = sorted([*folder.glob("holdings.json"), *folder.glob("*/holdings.json")])
        if not lists:
            raise FileNotFoundError(f"no holdings.json in {folder}")
        for path in lists:
            for entry in json.loads(path.read_text(encoding="utf-8")):
                holding = _read_holding(entry, path.parent)
                found.setdefault((holding.stored_name, str(holding.row["file_md5"])), holding)
    return list(found.values())


def _read_holding(entry: Mapping[str, Any], folder: Path) -> Holding:
    row = {key: value for key, value in entry.items() if key != "_extra"}
    extra = entry.get("_extra", {})
    return Holding(
        row=row,
        file=folder / (row["path"] or "") / row["filename"],
        proprietary_coordinates=extra.get("proprietary_coordinates", False),
        associated=extra.get("associated", True),
        standards=tuple(extra.get("standards", ())),
        coadds=extra.get("coadds", 1),
    )


def select(holdings: Iterable[Holding], selection: Selection, now: datetime) -> list[Holding]:
    """Give the holdings that a selection matches, in the order they were ingested, without any limit.

    Raises:
        MalformedValue: a date or a whole number in the selection cannot be read.
    """
    test = keeps(selection.criteria, now)
    return [
        holding
        for holding in holdings
        if test(
            holding.row,
            holding.stored_name,
            holding.proprietary_coordinates and not holding.released(now),
            holding.coadds,
        )
    ]


def order(holdings: Sequence[Holding], columns: Iterable[str]) -> list[Holding]:
    """Sort by ``COLUMN_asc`` or ``COLUMN_desc`` words, first word first; unknown columns are ignored."""
    result = list(holdings)
    for word in reversed(list(columns)):
        name = word.removesuffix("_desc").removesuffix("_asc")
        if name in ORDERS:
            result.sort(key=_sort_key(name), reverse=word.endswith("_desc"))
    return result


def _sort_key(name: str) -> Callable[[Holding], tuple[bool, Any]]:
    # Rows without a value come last when ascending and first when descending, as in PostgreSQL.
    def key(holding: Holding) -> tuple[bool, Any]:
        value = holding.row[name]
        return value is None, 0 if value is None else value

    return key


def by_time(holdings: Sequence[Holding], *, descending: bool) -> list[Holding]:
    """Sort by time of observation; what has none comes last either way."""
    dated = [holding for holding in holdings if holding.moment]
    dated.sort(key=lambda holding: str(holding.moment), reverse=descending)
    return dated + [holding for holding in holdings if not holding.moment]


def kept_headers(stored: Path) -> Path:
    """Where the headers of a stored file are kept, one after the other."""
    return stored.parent / "headers" / f"{stored.name.removesuffix('.bz2')}.hdr"
