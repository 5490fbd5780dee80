"""A catalogue for other tools: its columns with units, meanings and UCDs, and the formats that follow."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from goafetch.report.pictures import find_sky
from goafetch.report.stack_file import StackFile, column
from goafetch.report.verdicts import pixel_scale
from goafetch.workspace import write_atomically
from reducer.fitsio.writing import COLUMNS
from reducer.headers.descriptors import describe
from reducer.sources import RADII
from reducer.types import F64, Header

if TYPE_CHECKING:
    from astropy.table import Table

#: What columns are, in the words of the Virtual Observatory (UCD1+ 1.5); ``{band}`` is em.IR.J, H or K.
UCDS = {
    "NUMBER": "meta.id;meta.main", "ARRAY": "meta.id;instr.det", "X_IMAGE": "pos.cartesian.x;instr.det",
    "Y_IMAGE": "pos.cartesian.y;instr.det", "ERRX_IMAGE": "stat.error;pos.cartesian.x;instr.det",
    "ERRY_IMAGE": "stat.error;pos.cartesian.y;instr.det", "RA": "pos.eq.ra;meta.main",
    "DEC": "pos.eq.dec;meta.main", "ERR_POS": "stat.error;pos.eq", "ERR_RA": "stat.error;pos.eq.ra",
    "ERR_DEC": "stat.error;pos.eq.dec", "FLUX_APER": "phot.count;{band}",
    "FLUXERR_APER": "stat.error;phot.count;{band}", "FLUX_TOTAL": "phot.count;{band}",
    "FLUXERR_TOTAL": "stat.error;phot.count;{band}", "FLUX_PSF": "phot.count;{band}",
    "FLUXERR_PSF": "stat.error;phot.count;{band}", "APERCOR": "phot.mag;arith.diff",
    "PEAK": "phot.count;stat.max", "BACKGROUND": "instr.skyLevel", "SKY": "instr.skyLevel",
    "FWHM_IMAGE": "instr.det.psf", "ELLIPTICITY": "src.ellipticity", "THETA_IMAGE": "pos.posAng;instr.det",
    "FLAGS": "meta.code.qual", "MAG_APER": "phot.mag;{band}", "MAGERR_APER": "stat.error;phot.mag;{band}",
    "MAG_TOTAL": "phot.mag;{band}", "MAGERR_TOTAL": "stat.error;phot.mag;{band}",
    "MAG_LIMIT": "phot.mag;stat.max;{band}", "MAG_PSF": "phot.mag;{band}",
    "MAGERR_PSF": "stat.error;phot.mag;{band}", "MAGERR_ZP": "stat.error;phot.mag;arith.zp",
    "APCORERR": "stat.error;phot.mag;arith.diff", "CHI": "stat.fit.residual", "SHARP": "src.morph.param",
    "CROWDING": "phot.mag;arith.diff", "GROUP": "meta.id.assoc", "NGROUP": "meta.number",
    "COVERAGE": "stat.fit.goodness", "REASON": "meta.note",
}  # fmt: skip
#: The longest wavelength of the J and H bands, micrometres.
BANDS = ((1.5, "em.IR.J"), (2.0, "em.IR.H"), (6.0, "em.IR.K"))
#: Decimals of a value by its column, else by its unit, where the digits of a double are not wanted: 1e-8 deg
#: are 0.04 mas.
DECIMALS = {"THETA_IMAGE": 2, "deg": 8, "arcsec": 6, "pix": 4, "mag": 4, "electron": 3, "": 4}
#: What a VOTable calls the frames of stacks.
SYSTEMS = {"ICRS": {"system": "ICRS"}, "FK5": {"system": "eq_FK5", "equinox": "J2000"}}
#: Of how many times its error light is a limit; the least and the widest circle about a source, in pixels.
LIMIT, NARROW, WIDE = 3.0, 3.0, 60.0


def write_catalogue(stack: StackFile, folder: Path, *, every_form: bool = False) -> list[Path]:
    """Write NAME.ecsv and NAME_catalogue.fits; in every form NAME.csv, NAME.vot (VOTable) and NAME.reg (ds9).

    Nothing for a stack without a catalogue.
    """
    if column(stack.tables.get("OBJCAT"), "X_IMAGE") is None:
        return []
    table, stem = tabulate(stack), stack.path.stem
    contents: dict[str, str | bytes] = {
        f"{stem}.ecsv": as_ecsv(table),
        f"{stem}_catalogue.fits": as_fits(table),
    }
    if every_form:
        contents[f"{stem}.csv"], contents[f"{stem}.vot"] = as_csv(table), as_votable(table)
        contents[f"{stem}.reg"] = as_regions(stack)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def tabulate(stack: StackFile) -> Table:
    """OBJCAT with places on the sky, limits where a source has no light in total, and why values are missing.

    Its RADESYS is the frame of the places.
    """
    from astropy.table import Table

    table = Table(stack.tables["OBJCAT"])
    if "RA" not in table.colnames and (world := stack.world()) is not None:
        table["RA"], table["DEC"] = find_sky(world, *(np.asarray(table[f"{axis}_IMAGE"]) for axis in "XY"))
    zeropoint, seconds = stack.value("PHOTZP"), stack.value("EXPTIME")
    if "MAG_TOTAL" in table.colnames and zeropoint is not None and seconds:
        dark = ~np.isfinite(table["MAG_TOTAL"])
        light = np.where(dark, LIMIT * table["FLUXERR_TOTAL"], np.nan)
        table["MAG_LIMIT"] = zeropoint - 2.5 * np.log10(light / seconds)
    table["REASON"] = _reasons(table)
    limit = f"{LIMIT:g}-sigma limit where MAG_TOTAL has no value"
    radii = ", ".join(f"{radius:g}" for radius in RADII)
    apertures = {
        name: (unit, f"{meaning}; radii {radii} pixels")
        for name, (unit, meaning) in COLUMNS["OBJCAT"].items()
        if name.endswith("_APER")
    }
    meanings = {
        **COLUMNS["OBJCAT"],
        **apertures,
        "MAG_LIMIT": ("mag", limit),
        "REASON": ("", "why values of the source are missing"),
    }
    table.meta |= {"PRODUCT": stack.path.name, "RADESYS": stack.frame}
    if text := stack.text("PHOTMISS"):
        table.meta["PHOTMISS"] = text
    return described(table, meanings, band_of(stack.header))


def _reasons(table: Table) -> list[str]:
    """Why values are missing, by row; a magnitude is where its light is not above zero."""
    said = [list[str]() for _ in range(len(table))]
    for name in table.colnames:
        values = np.asarray(table[name])
        if values.dtype.kind != "f" or name.startswith("MAG"):
            continue
        why = {f"{name} not measured": ~np.isfinite(values)}
        if name.replace("FLUX_", "MAG_") in table.colnames and name.startswith("FLUX_"):
            why[f"{name} not above 0"] = values <= 0
        for reason, missing in why.items():
            for row in np.unique(np.nonzero(missing)[0]):
                said[row].append(reason)
    return ["; ".join(reasons) for reasons in said]


def described(table: Table, meanings: Mapping[str, tuple[str, str]], band: str) -> Table:
    """A table whose columns have units, meanings and UCDs, and no NaN but a missing value.

    ``meanings``: unit, '' for none, and meaning by column; ``band``: the UCD of the filter's.
    """
    from astropy.table import MaskedColumn

    for name in table.colnames:
        unit, meaning = meanings.get(name, ("", ""))
        values = np.asarray(table[name])
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            table[name] = MaskedColumn(values, mask=~np.isfinite(values))
        table[name].unit, table[name].description = unit or None, meaning
        if name in UCDS:
            table[name].info.meta = {"ucd": UCDS[name].format(band=band).rstrip(";")}
    return table


def band_of(header: Header) -> str:
    """The UCD of a product's filter: em.IR.J, em.IR.H, em.IR.K; em.IR for an unknown one."""
    known = describe(header, [], "").passband
    if known is None:
        return "em.IR"
    return next((band for longest, band in BANDS if known.wavelength < longest), "em.IR")


def as_ecsv(table: Table) -> str:
    """A table as ECSV, which astropy reads back with the same types, units and UCDs."""
    page = io.StringIO()
    table.write(page, format="ascii.ecsv")
    return page.getvalue()


def as_fits(table: Table) -> bytes:
    """A table as a FITS file; UCDs and meanings stand where TOPCAT looks for them (TUCDn, TCOMMn).

    There alone: astropy would write them as YAML in 130 comments, too.
    """
    plain = _without_electrons(table)
    texts = {key: value for key, value in plain.meta.items() if isinstance(value, str)}
    plain.meta |= {key: ascii(value)[1:-1] for key, value in texts.items()}  # headers hold printable ASCII
    for number, name in enumerate(plain.colnames, 1):
        plain.meta[f"TUCD{number}"] = (table[name].info.meta or {}).get("ucd", "")
        plain.meta[f"TCOMM{number}"] = plain[name].description or ""
        plain[name].description, plain[name].info.meta = None, None
    page = io.BytesIO()
    plain.write(page, format="fits")
    return page.getvalue()


def _without_electrons(table: Table) -> Table:
    """A copy that names electrons in the meanings: FITS and VOTable have no such unit."""
    plain = table.copy()
    for name in plain.colnames:
        if plain[name].unit == "electron":
            plain[name].unit, plain[name].description = None, f"{plain[name].description}, electrons"
    return plain


def as_votable(table: Table) -> bytes:
    """A table as a VOTable 1.4 with UCDs and the frame of its places."""
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import CooSys

    votable, page = from_table(_without_electrons(table)), io.BytesIO()
    votable.version = "1.4"
    [resource] = votable.resources
    [content] = resource.tables
    content.description = table.meta.get("PHOTMISS")
    resource.coordinate_systems.append(CooSys(ID="sky", **SYSTEMS[table.meta["RADESYS"]]))
    for field in content.fields:
        if field.name in ("RA", "DEC"):
            field.ref = "sky"
    votable.to_xml(page)
    return page.getvalue()


def as_csv(table: Table) -> str:
    """A table as CSV: a column for each aperture, digits as far as they mean something, '' for no value."""
    names, columns = list[str](), list[list[str]]()
    for name in table.colnames:
        values = np.ma.asarray(table[name])
        parts = values.T if values.ndim > 1 else [values]
        decimals = _decimals(table, name) if values.dtype.kind == "f" else None
        for number, part in enumerate(parts, 1):
            names.append(f"{name}_{number}" if len(parts) > 1 else name)
            columns.append([_digits(value, decimals) for value in part])
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*columns, strict=True))
    return page.getvalue()


def _decimals(table: Table, name: str) -> int:
    return DECIMALS.get(name, DECIMALS.get(str(table[name].unit or ""), 4))


def _digits(value: object, decimals: int | None) -> str:
    if value is np.ma.masked:
        return ""
    return str(value) if decimals is None else f"{value:.{decimals}f}"


def as_regions(stack: StackFile) -> str:
    """A ds9 region file: a circle of three FWHM across about each source, with its number.

    On the sky in the stack's frame; in its pixels where it has no projection.
    """
    from astropy import units
    from astropy.coordinates import SkyCoord
    from regions import CirclePixelRegion, CircleSkyRegion, PixCoord, RegionMeta, Regions

    table, scale = tabulate(stack), pixel_scale(stack)
    x, y = (np.asarray(table[f"{axis}_IMAGE"], float) for axis in "XY")
    radius = _radii(column(stack.tables["OBJCAT"], "FWHM_IMAGE"), len(table))
    number = table["NUMBER"] if "NUMBER" in table.colnames else np.arange(1, len(table) + 1)
    labels = [RegionMeta(text=str(each)) for each in number]
    if "RA" in table.colnames and scale is not None:
        right, up = (np.asarray(table[name]) for name in ("RA", "DEC"))
        places = SkyCoord(right, up, unit="deg", frame=stack.frame.lower())
        rows = zip(places, radius * scale * units.arcsec, labels, strict=True)
        circles = [CircleSkyRegion(*row) for row in rows]
    else:
        pixels = zip(map(PixCoord, x - 1, y - 1), radius, labels, strict=True)
        circles = [CirclePixelRegion(*row) for row in pixels]
    return str(Regions(circles).serialize(format="ds9", precision=8))


def _radii(widths: F64 | None, count: int) -> F64:
    """Pixels from a source's middle to its circle, by FWHM where it is known."""
    if widths is None:
        return np.full(count, 2 * NARROW)
    return np.clip(np.nan_to_num(1.5 * widths, nan=2 * NARROW), NARROW, WIDE)
