"""The stack's catalogue for other programs: regions for ds9, and a table in ECSV."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from goafetch.report.products import Stack, column
from goafetch.workspace import write_atomically

#: Units of OBJCAT's columns, as ECSV spells them.
UNITS = {
    "X_IMAGE": "pix", "Y_IMAGE": "pix", "RA": "deg", "DEC": "deg", "ERR_POS": "arcsec",
    "FLUX_APER": "electron", "FLUXERR_APER": "electron", "PEAK": "electron", "BACKGROUND": "electron",
    "FWHM_IMAGE": "pix", "THETA_IMAGE": "deg",
}  # fmt: skip


def write_exchange(stack: Stack, folder: Path) -> list[Path]:
    """Write NAME.reg and NAME.ecsv beside the report; nothing for a stack without a catalogue."""
    if column(stack.tables.get("OBJCAT"), "X_IMAGE") is None:
        return []
    contents = {".reg": as_regions(stack), ".ecsv": as_ecsv(stack)}
    paths = [folder / f"{stack.path.stem}{ending}" for ending in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_atomically(path, content)
    return paths


def as_regions(stack: Stack) -> str:
    """A ds9 region file: a circle of three FWHM across for each source, in pixels of the stack."""
    table = stack.tables["OBJCAT"]
    x, y, width = (column(table, name) for name in ("X_IMAGE", "Y_IMAGE", "FWHM_IMAGE"))
    assert x is not None and y is not None
    radius = np.full(len(x), 6.0) if width is None else np.clip(np.nan_to_num(1.5 * width, nan=6.0), 3, 60)
    circles = [f"circle({a:.3f},{b:.3f},{r:.2f})" for a, b, r in zip(x, y, radius, strict=True)]
    return "\n".join(["# Region file format: DS9 version 4.1", "global color=green", "image", *circles, ""])


def as_ecsv(stack: Stack) -> str:
    """OBJCAT with its units as ECSV, which astropy reads back with the same types."""
    from astropy.table import Table

    table = Table(stack.tables["OBJCAT"])
    for name in table.colnames:
        table[name].unit = UNITS.get(name.upper())
    table.meta["product"] = stack.path.name
    page = io.StringIO()
    table.write(page, format="ascii.ecsv")
    return page.getvalue()
