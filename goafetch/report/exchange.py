"""The stack's catalogue for other programs: regions for ds9, and a table in ECSV and FITS."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from goafetch.report.products import Stack, column
from goafetch.workspace import write_atomically

if TYPE_CHECKING:
    from astropy.table import Table

#: Units of OBJCAT's columns, as ECSV spells them.
UNITS = {
    "X_IMAGE": "pix", "Y_IMAGE": "pix", "RA": "deg", "DEC": "deg", "ERR_POS": "arcsec",
    "FLUX_APER": "electron", "FLUXERR_APER": "electron", "PEAK": "electron", "BACKGROUND": "electron",
    "FWHM_IMAGE": "pix", "THETA_IMAGE": "deg",
}  # fmt: skip


def write_catalogues(stack: Stack, folder: Path) -> list[Path]:
    """Write NAME.reg, NAME.ecsv and NAME_catalogue.fits; nothing for a stack without a catalogue."""
    if column(stack.tables.get("OBJCAT"), "X_IMAGE") is None:
        return []
    table = with_units(stack)
    contents = {
        f"{stack.path.stem}.reg": as_regions(stack).encode(),
        f"{stack.path.stem}.ecsv": as_ecsv(table).encode(),
        f"{stack.path.stem}_catalogue.fits": as_fits(table),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def as_regions(stack: Stack) -> str:
    """A ds9 region file: a circle of three FWHM across for each source, in pixels of the stack."""
    table = stack.tables["OBJCAT"]
    x, y, width = (column(table, name) for name in ("X_IMAGE", "Y_IMAGE", "FWHM_IMAGE"))
    assert x is not None and y is not None
    radius = np.full(len(x), 6.0) if width is None else np.clip(np.nan_to_num(1.5 * width, nan=6.0), 3, 60)
    circles = [f"circle({a:.3f},{b:.3f},{r:.2f})" for a, b, r in zip(x, y, radius, strict=True)]
    return "\n".join(["# Region file format: DS9 version 4.1", "global color=green", "image", *circles, ""])


def with_units(stack: Stack) -> Table:
    """OBJCAT as an astropy table with the units of its columns."""
    from astropy.table import Table

    table = Table(stack.tables["OBJCAT"])
    for name in table.colnames:
        table[name].unit = UNITS.get(name.upper())
    table.meta["PRODUCT"] = stack.path.name
    return table


def as_ecsv(table: Table) -> str:
    """A table as ECSV, which astropy reads back with the same types and units."""
    page = io.StringIO()
    table.write(page, format="ascii.ecsv")
    return page.getvalue()


def as_fits(table: Table) -> bytes:
    """A table as a FITS file, which TOPCAT, ds9 and astropy read; FITS has no word for electrons."""
    page = io.BytesIO()
    plain = table.copy()
    for name in plain.colnames:
        if plain[name].unit == "electron":
            plain[name].unit = None
    plain.meta["PRODUCT"] = ascii(plain.meta["PRODUCT"])[1:-1]  # headers hold nothing beyond printable ASCII
    plain.write(page, format="fits")
    return page.getvalue()
