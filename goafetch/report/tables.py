"""The report's tables: what a stack is, what each of its exposures was like, and what its mask says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from goafetch.report.products import Stack, column
from goafetch.report.quality import pixel_scale
from reducer import dq


@dataclass(frozen=True)
class Listing:
    """A table as text: the names of its columns, and its rows."""

    heads: list[str]
    rows: list[list[str]]


#: Column of EXPOSURES, what it is called, and how a value is written; shown where the product has it.
COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("filename", "file", str),
    ("ut", "UT", lambda value: str(value)[:19].replace("T", " ")),
    ("seconds", "seconds", "{:g}".format),
    ("fwhm", "FWHM (mas)", lambda value: f"{value * 1000:.0f}"),
    ("ellipticity", "ellipticity", "{:.2f}".format),
    ("strehl", "Strehl", "{:.1%}".format),
    ("sky", "sky (electrons)", "{:.0f}".format),
    ("transparency", "transparency", "{:.3f}".format),
    ("weight", "weight", "{:.3f}".format),
    ("shift_east", "east (arcsec)", "{:+.3f}".format),
    ("shift_north", "north (arcsec)", "{:+.3f}".format),
    ("matches", "stars", str),
    ("rms", "residual (mas)", lambda value: f"{value * 1000:.2f}"),
    ("model", "model", str),
    ("outlier", "out of line", str),
)


def list_exposures(stack: Stack) -> Listing:
    """What each exposure of the stack was like."""
    table = stack.tables.get("EXPOSURES")
    shown = [(title, write, column(table, name)) for name, title, write in COLUMNS]
    known = [(title, write, values) for title, write, values in shown if values is not None]
    rows = [
        [write(values[row]) for _, write, values in known]
        for row in range(0 if table is None else len(table))
    ]
    return Listing([title for title, _, _ in known], rows)


def list_bits(stack: Stack) -> Listing:
    """The part of the picture that each bit of the mask flags, of every other pixel along x and y."""
    mask = stack.thin.mask
    parts = {
        f"{bit}: {name}": float(np.count_nonzero(mask & bit)) / mask.size for bit, name in dq.NAMES.items()
    }
    return Listing(
        ["bit", "part of the picture"], [[name, f"{part:.3%}"] for name, part in parts.items() if part]
    )


def tell_made(stack: Stack) -> list[str]:
    """What the stack is, in a few words each: exposures and dates, size, sources."""
    height, width = stack.shape
    told = [f"{width} × {height} pixels" + _of_scale(pixel_scale(stack))]
    if times := _times(stack):
        told.insert(0, times + _dates(stack))
    catalogue = stack.tables.get("OBJCAT")
    return [*told, f"{len(catalogue)} sources"] if catalogue is not None else told


def _times(stack: Stack) -> str:
    """Exposures, coadds and seconds where they make up the total; else their number and the total."""
    count, seconds, total = (stack.value(key) for key in ("NCOMBINE", "EXPTIME", "TEXPTIME"))
    if not count or not seconds:
        return ""
    coadds = stack.value("COADDS") or 1
    each = f"{count:g} × {coadds:g} coadds of {seconds:g} s" if coadds > 1 else f"{count:g} × {seconds:g} s"
    if total is None:
        return each
    if abs(count * coadds * seconds - total) > 0.01 * total:
        return f"{count:g} exposures, {total:g} s in all"
    return f"{each} = {total:g} s" if coadds > 1 else each


def _of_scale(scale: float | None) -> str:
    return f" of {scale * 1000:.2f} mas" if scale else ""


def _dates(stack: Stack) -> str:
    """The first and the last UT date of the exposures."""
    times = column(stack.tables.get("EXPOSURES"), "ut")
    if times is None or not len(times):
        return ""
    dates = sorted({str(time)[:10] for time in times})
    return f", {dates[0]}" if len(dates) == 1 else f", {dates[0]} to {dates[-1]}"
