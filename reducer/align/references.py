"""Read tables of stars, whatever their columns are called, and move the stars to the night's epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reducer.errors import BadFile
from reducer.frame import F64

#: Names under which columns are known, in lower case, the first that is there counts.
NAMES = {
    "ra": ("ra", "ra_icrs", "raj2000", "_raj2000", "ra_deg", "alpha_j2000", "right_ascension"),
    "dec": (
        "dec",
        "de",
        "de_icrs",
        "dej2000",
        "_dej2000",
        "dec_deg",
        "delta_j2000",
        "decj2000",
        "declination",
    ),
    "pm_ra": ("pmra", "pm_ra", "pmra_cosdec"),
    "pm_dec": ("pmdec", "pmde", "pm_dec"),
    "epoch": ("ref_epoch", "epoch", "obsepoch"),
    "magnitude": ("gmag", "phot_g_mean_mag", "mag", "magnitude", "kmag", "ks", "ksmag", "k", "hmag", "jmag"),
    "error": ("ra_error", "e_ra_icrs", "error_mas", "pos_error"),
}
#: The epoch and the error in arcsec of a table that does not say them; Gaia DR3's epoch, 5 mas.
UNSAID_EPOCH, UNSAID_ERROR = 2016.0, 0.005


@dataclass(frozen=True)
class References:
    """Reference stars at ``epoch`` (year): right ascension and declination in degrees, error in arcsec.

    ``magnitude``: in any band, to know the bright ones; 0 where the table has none.
    """

    name: str
    ra: F64
    dec: F64
    error: F64
    magnitude: F64
    epoch: float


def read_references(path: Path, epoch: float) -> References:
    """The stars of a FITS, ECSV, CSV or VOTable file, moved to ``epoch`` by their proper motions.

    Right ascension and declination in degrees (or with a unit), proper motions in mas a year, errors in mas.
    BadFile if it cannot be read, or has no columns of positions under any usual name.
    """
    table = read_table(path)
    ra, dec = take_position(table)
    if ra is None or dec is None:
        raise BadFile(
            f"{path.name} has the columns {', '.join(table.colnames)}",
            "positions in degrees, in columns such as ra and dec",
            "rename the columns",
        )
    motion = [take_column(table, NAMES[key]) for key in ("pm_ra", "pm_dec")]
    since = take_column(table, NAMES["epoch"])
    years = epoch - (np.full(len(ra), UNSAID_EPOCH) if since is None else since)
    for k, values in enumerate(motion):
        moved = (
            np.nan_to_num(values) * np.nan_to_num(years) / 3.6e6 if values is not None else np.zeros(len(ra))
        )
        ra, dec = (ra + moved / np.cos(np.radians(dec)), dec) if k == 0 else (ra, dec + moved)
    error = take_column(table, NAMES["error"])
    error = np.full(len(ra), UNSAID_ERROR) if error is None else np.nan_to_num(error, nan=5.0) / 1e3
    good = np.isfinite(ra) & np.isfinite(dec)
    magnitude = take_column(table, NAMES["magnitude"])
    magnitude = np.zeros(len(ra)) if magnitude is None else np.nan_to_num(magnitude, nan=99.0)
    name = str(table.meta.get("CATALOG") or table.meta.get("catalog") or path.name)
    return References(name, ra[good], dec[good], np.maximum(error[good], 1e-4), magnitude[good], epoch)


def read_table(path: Path) -> Any:
    """An astropy table from a FITS, ECSV, CSV or VOTable file, told apart by the name's end.

    A text file with another ending is read as whatever columns it seems to have. BadFile if it is none.
    """
    from astropy.table import Table

    formats = {".fits": "fits", ".fit": "fits", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv",
               ".vot": "votable", ".xml": "votable", ".votable": "votable"}  # fmt: skip
    needed = "a table in FITS, ECSV, CSV or VOTable format"
    if not path.is_file():
        raise BadFile(f"there is no file {path}", needed)
    kind = formats.get(path.suffix.lower())
    try:
        return Table.read(path, format=kind) if kind else Table.read(path, format="ascii")
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise BadFile(f"{path}: {error}", needed) from error


def take_position(table: Any) -> tuple[F64 | None, F64 | None]:
    """Right ascension and declination in degrees, None for one that the table does not have.

    Text such as 13:25:26.1 is read as hours in right ascension.
    """
    found: list[F64 | None] = []
    for key in ("ra", "dec"):
        column = _named(table, NAMES[key])
        if column is not None and column.dtype.kind in "UO":
            found.append(_from_text(column, key == "ra"))
        else:
            found.append(take_column(table, NAMES[key]))
    return found[0], found[1]


def take_column(table: Any, names: Sequence[str]) -> F64 | None:
    """A column as plain numbers, in degrees where it is in radians; None if there is none so named."""
    values = _named(table, names)
    if values is None:
        return None
    unit = str(getattr(values, "unit", "") or "")
    plain: F64 = np.ma.filled(np.ma.asarray(values, float), np.nan)
    return np.asarray(np.degrees(plain) if unit == "rad" else plain, float)


def take_words(table: Any, names: Sequence[str]) -> list[str] | None:
    """A column as text, None if there is none so named."""
    values = _named(table, names)
    return None if values is None else [str(value).strip() for value in values]


def _named(table: Any, names: Sequence[str]) -> Any:
    columns = {name.lower(): name for name in table.colnames}
    found = next((columns[name] for name in names if name in columns), None)
    return None if found is None else table[found]


def _from_text(values: Any, in_hours: bool) -> F64:
    from astropy.coordinates import Angle

    texts = [str(value).strip() for value in values]
    degrees = [
        float(t) if _is_number(t) else Angle(t, "hourangle" if in_hours else "deg").degree for t in texts
    ]
    return np.asarray(degrees, float)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("+-").isdigit()
