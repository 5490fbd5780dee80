"""PSF photometry on paper: catalogue, residual image, PSF, completeness, hand-off files, and a page."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from goafetch import __version__
from goafetch.report.catalogue_files import as_ecsv, as_fits, band_of, described
from goafetch.report.draw import COLOURS, INK, add_legend, as_svg, drawn_plainly, new_axes, new_figure
from goafetch.report.figures import Figure
from goafetch.report.pictures import stretched
from goafetch.report.render import render
from goafetch.report.run_summary import RunSummary
from goafetch.workspace import write_atomically
from reducer import fitsio
from reducer.frame import Chip, FrameRef
from reducer.photometry.psf_artificial import MAG
from reducer.photometry.psf_catalogue import Photometry
from reducer.photometry.psf_fit import Image
from reducer.sources import IS_SATURATED
from reducer.types import F32, F64, Header

if TYPE_CHECKING:
    from astropy.table import Table

#: Units of the catalogue's columns, as ECSV spells them, and what they are.
COLUMNS = {
    "NUMBER": ("", "number, brightest first"),
    "ARRAY": ("", "array of the exposure (1 for a stack)"),
    "X_IMAGE": ("pix", "column, the first pixel's middle is 1"),
    "Y_IMAGE": ("pix", "row"),
    "ERRX_IMAGE": ("pix", "1-sigma error of the column"),
    "ERRY_IMAGE": ("pix", "1-sigma error of the row"),
    "RA": ("deg", "right ascension by the image's WCS"),
    "DEC": ("deg", "declination"),
    "ERR_RA": ("arcsec", "1-sigma error along right ascension, within the image"),
    "ERR_DEC": ("arcsec", "1-sigma error along declination, within the image"),
    "MAG_PSF": ("mag", "total Vega magnitude"),
    "MAGERR_PSF": ("mag", "1-sigma error: noise, PSF and crowding"),
    "MAGERR_ZP": ("mag", "error of the zeropoint, common to all stars"),
    "APCORERR": ("mag", "error of the aperture correction, common to stars near each other"),
    "FLUX_PSF": ("electron", "total light"),
    "FLUXERR_PSF": ("electron", "1-sigma error as of MAGERR_PSF"),
    "SKY": ("electron", "background of a pixel"),
    "CHI": ("", "rms residual over noise within the fit"),
    "SHARP": ("", "part by which it is wider than the PSF"),
    "CROWDING": ("mag", "what neighbours would add if they were not subtracted"),
    "GROUP": ("", "stars that touch one another share a number"),
    "NGROUP": ("", "stars in the group"),
    "COVERAGE": ("", "part of its core on good pixels"),
    "FLAGS": (
        "",
        "sum: 1 saturated, 2 edge, 4 bad pixels, 8 blended, 32 too sharp, 64 extended, 128 poor fit",
    ),
}
#: Images of the PSF along each axis of the field on its montage; a star's picture, pixels in radius.
ACROSS, STAMP = 5, 12
#: DOLPHOT counts from the corner of the first pixel, FITS from half a pixel before.
CORNER = 0.5
#: The magnitude of a star of 1 electron a second where there is no zeropoint.
NOMINAL = 25.0


@dataclass(frozen=True)
class MeasuredArray:
    """An ``array`` (1 for a stack) with its header, pixels and photometry; its zeropoint and the error of
    that, None where there is none; seconds of exposure."""

    array: int
    header: Header
    image: Image
    photometry: Photometry
    zeropoint: float | None
    unsure: float | None
    seconds: float

    @property
    def unit(self) -> str:
        """What ``in_magnitudes`` gives."""
        return "mag" if self.zeropoint is not None else f"mag for a zeropoint of {NOMINAL:.0f}"

    def in_magnitudes(self, flux: Any) -> Any:
        """Magnitudes of electrons in total."""
        zeropoint = NOMINAL if self.zeropoint is None else self.zeropoint
        with np.errstate(invalid="ignore", divide="ignore"):
            return zeropoint - 2.5 * np.log10(np.maximum(flux, 1e-30) / self.seconds)


def write_photometry(frame: FrameRef, measured: Sequence[MeasuredArray], folder: Path) -> list[Path]:
    """Write all files about a product into a folder, and return them, the catalogue first."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = frame.path.stem
    catalogue, complete = as_table(measured, frame), tabulate_completeness(measured)
    contents: dict[str, str | bytes] = {
        f"{stem}_psf.ecsv": as_ecsv(catalogue),
        f"{stem}_psf.fits": as_fits(catalogue),
        f"{stem}_completeness.ecsv": as_ecsv(complete),
        f"{stem}_psf.html": make_page(frame, measured),
    }
    for one in measured:
        contents |= hand_off(one, stem if len(measured) == 1 else f"{stem}_{one.array}")
    for name, content in contents.items():
        write_atomically(folder / name, content)
    pictures = [
        fitsio.write_frame(folder / f"{stem}_residual.fits", frame.header, _residuals(measured),
                           images={"BACKGROUND": tuple(one.photometry.background for one in measured)}),
        fitsio.write_frame(folder / f"{stem}_psfimage.fits", frame.header, [], images=_psf_images(measured)),
    ]  # fmt: skip
    return [*(folder / name for name in contents), *pictures]


def _residuals(measured: Sequence[MeasuredArray]) -> Iterator[Chip]:
    for one in measured:
        yield Chip(one.photometry.residual, one.image.variance, one.image.mask, one.header)


def _psf_images(measured: Sequence[MeasuredArray]) -> dict[str, F32]:
    """The PSF in the middle of each array, summing to 1 where it is known, and a montage over the field."""
    images = {}
    for one in measured:
        number = f"{one.array}" if len(measured) > 1 else ""
        middle = one.photometry.psf.at(*one.photometry.psf.centre)
        images[f"PSF{number}"] = (middle / middle.sum()).astype(np.float32)
        images[f"PSFGRID{number}"] = _montage(one.photometry, STAMP).astype(np.float32)
    return images


def _montage(photometry: Photometry, reach: int) -> F64:
    """Images of the PSF over the field, side by side as they lie."""
    psf = photometry.psf
    height, width = photometry.residual.shape
    places = (np.arange(ACROSS) + 0.5) / ACROSS
    return np.block([[psf.at(x * width, y * height, reach) for x in places] for y in places])


# --- tables ----------------------------------------------------------------------------------------


def as_table(measured: Sequence[MeasuredArray], frame: FrameRef) -> Table:
    """The catalogue of all arrays with positions on the sky and magnitudes, its columns with units."""
    from astropy.table import Table, vstack

    tables = [_with_sky(one) for one in measured]
    table = vstack(tables, metadata_conflicts="silent") if len(tables) > 1 else tables[0]
    meta = {"PRODUCT": frame.path.name, **tables[0].meta}
    table = Table(table[[key for key in COLUMNS if key in table.colnames]], meta=meta)
    described(table, COLUMNS, band_of(frame.header))
    first = measured[0]
    complete = first.photometry.complete
    if first.zeropoint is not None:
        table.meta |= {"PHOTZP": first.zeropoint, "PHOTZPER": first.unsure}
    else:
        table.meta["PHOTMISS"] = str(
            first.header.get("PHOTMISS", "the image has no zeropoint: no magnitudes")
        )
    for key, light in (("COMPL50", complete.half), ("COMPL90", complete.most)):
        if np.isfinite(light):
            table.meta[key] = round(float(light * first.photometry.light), 1)
    table.meta["PSFERR"] = round(first.photometry.psf_error, 5)
    return table


def _with_sky(one: MeasuredArray) -> Table:
    from astropy.table import Table
    from astropy.wcs import WCS, FITSFixedWarning
    from astropy.wcs.utils import proj_plane_pixel_scales

    table = Table(one.photometry.catalogue)
    table["ARRAY"] = np.full(len(table), one.array, np.int16)
    with warnings.catch_warnings(action="ignore", category=FITSFixedWarning):  # RADECSYS of exposures
        wcs = WCS(one.header)
    if wcs.has_celestial:
        table["RA"], table["DEC"] = wcs.all_pix2world(table["X_IMAGE"], table["Y_IMAGE"], 1)
        table.meta["RADESYS"] = wcs.wcs.radesys or "ICRS"
        scale = 3600.0 * float(np.mean(proj_plane_pixel_scales(wcs)))
        both = np.sqrt(0.5 * (table["ERRX_IMAGE"] ** 2 + table["ERRY_IMAGE"] ** 2)) * scale
        table["ERR_RA"], table["ERR_DEC"] = both, both
    if one.zeropoint is not None:
        flux = table["FLUX_PSF"]
        table["MAG_PSF"] = one.in_magnitudes(flux)
        table["MAGERR_PSF"] = MAG * table["FLUXERR_PSF"] / flux
        table["MAGERR_ZP"] = np.full(len(table), one.unsure or np.nan)
    return table


def tabulate_completeness(measured: Sequence[MeasuredArray]) -> Table:
    """What artificial stars tell by magnitude, of all arrays."""
    from astropy.table import Table, vstack

    tables = []
    for one in measured:
        table = Table(
            one.photometry.complete.table[["FLUX", "NUMBER", "FRACTION", "BIAS", "SCATTER", "FORMAL"]]
        )
        table["FLUX"] = table["FLUX"] * one.photometry.light
        table.add_column(np.full(len(table), one.array, np.int16), 0, "ARRAY")
        table.add_column(one.in_magnitudes(table["FLUX"]), 1, "MAG")
        tables.append(table)
    table = vstack(tables) if len(tables) > 1 else tables[0]
    units = {"FLUX": "electron", "MAG": "mag", "BIAS": "mag", "SCATTER": "mag", "FORMAL": "mag"}
    for key, unit in units.items():
        table[key].unit = unit
    table.meta["PRODUCT"] = "artificial stars"
    return table


# --- for other programs ----------------------------------------------------------------------------


def hand_off(one: MeasuredArray, stem: str) -> dict[str, str]:
    """Lists that DAOPHOT (.coo, .lst), DOLPHOT (.xyt) and StarFinder (_starfinder.txt) begin from."""
    table, chosen = one.photometry.catalogue, one.photometry.chosen
    x, y = table["X_IMAGE"], table["Y_IMAGE"]
    magnitudes = np.clip(one.in_magnitudes(table["FLUX_PSF"]), -99, 99)
    head = _daophot_head(one)
    lines = zip(table["NUMBER"], x, y, magnitudes, table["SHARP"], strict=True)
    coo = [f"{n:7d} {a:8.3f} {b:8.3f} {m:8.3f} {s:8.3f} {0:8.3f} {0:8.3f}\n" for n, a, b, m, s in lines]
    near = [int(np.argmin(np.hypot(x - 1 - star["x"], y - 1 - star["y"]))) for star in chosen]
    lst = [f"{table['NUMBER'][k]:7d} {x[k]:8.3f} {y[k]:8.3f} {magnitudes[k]:8.3f} {table['SKY'][k]:8.3f}\n"
           for k in dict.fromkeys(near)]  # fmt: skip
    xyt = [
        f"0 1 {a - CORNER:.3f} {b - CORNER:.3f} 1 {m:.3f}\n" for a, b, m in zip(x, y, magnitudes, strict=True)
    ]
    finder = [f"{a - 1:.4f} {b - 1:.4f} {f:.3f}\n" for a, b, f in zip(x, y, table["FLUX_PSF"], strict=True)]
    return {
        f"{stem}.coo": head + "".join(coo),
        f"{stem}.lst": head.replace(" 1 ", " 3 ", 1) + "".join(lst),
        f"{stem}.xyt": "".join(xyt),
        f"{stem}_starfinder.txt": "".join(finder),
    }


def _daophot_head(one: MeasuredArray) -> str:
    """The two lines and the blank one that begin each of DAOPHOT's lists; electrons, so PH/ADU is 1."""
    height, width = one.image.data.shape
    good = ~one.image.bad
    noise = float(np.sqrt(np.median(one.image.variance[good][::97])))
    top = float(one.image.data[good].max())
    names = " NL    NX    NY  LOWBAD HIGHBAD  THRESH     AP1  PH/ADU  RNOISE    FRAD\n"
    values = f" 1 {width:5d} {height:5d} {-20 * noise:7.1f} {top:7.0f} {4 * noise:7.2f} {8:7.2f} {1:7.2f} "
    return f"{names}{values}{noise:7.2f} {one.photometry.psf.fwhm:7.2f}\n\n"


# --- the page --------------------------------------------------------------------------------------


@drawn_plainly
def make_page(frame: FrameRef, measured: Sequence[MeasuredArray]) -> str:
    """The page: what was found, how good it is, the PSF, and what is left of the image."""
    arrays = []
    for one in measured:
        name = f"a{one.array}"
        figures = [draw_residual(one, name), draw_psf(one, name), draw_completeness(one, name),
                   draw_errors(one, name)]  # fmt: skip
        arrays.append((one.array, _facts(one), [figure for figure in figures if figure is not None]))
    return render(
        "psf.html",
        name=frame.path.name,
        object=str(frame.header.get("OBJECT", "")),
        arrays=arrays,
        columns=[(key, unit, meaning) for key, (unit, meaning) in COLUMNS.items()],
        summary=RunSummary("", version=__version__),
    )


def _facts(one: MeasuredArray) -> list[tuple[str, str]]:
    """What the page says first."""
    found, complete = one.photometry, one.photometry.complete
    flags = found.catalogue["FLAGS"]
    limits = [one.in_magnitudes(light * found.light) for light in (complete.half, complete.most)]
    told = [f"{limit:.2f} {one.unit}" if np.isfinite(light) else "not reached by the artificial stars"
            for limit, light in zip(limits, (complete.half, complete.most), strict=True)]  # fmt: skip
    psf = found.psf
    zeropoint = (
        f"{one.zeropoint:.3f} ± {one.unsure or np.nan:.3f} mag" if one.zeropoint is not None else "none"
    )
    return [
        ("Stars", f"{len(flags)}, {int((flags == 0).sum())} of them without a flag"),
        ("Saturated", f"{int(((flags & IS_SATURATED) != 0).sum())}"),
        ("50 % complete", told[0]),
        ("90 % complete", told[1]),
        ("PSF", f"FWHM {psf.fwhm:.2f} pixels, from {psf.stars} stars, order {psf.order} over the field"),
        ("PSF error", f"{100 * found.psf_error:.2f} % of a star's light"),
        ("Noise correlation", f"{one.image.correlated:.3f}"),
        ("Zeropoint", zeropoint),
    ]


def draw_residual(one: MeasuredArray, name: str) -> Figure:
    """A part of the image at full resolution and what is left of it, with the same stretch."""
    residual = one.photometry.residual
    image = np.where(one.image.bad, np.float32(np.nan), one.image.data - one.photometry.background)
    part = _about_a_star(one, 240)
    side = residual[part].shape[1]
    figure = new_figure(8.4, 4.3, top=0.3)
    both = stretched(np.concatenate([image[part], residual[part]], axis=1))
    for k, title in enumerate(("image", "without its stars")):
        axes = new_axes(figure, 121 + k)
        axes.imshow(both[:, k * side : (k + 1) * side], origin="lower", cmap="gray", vmin=0, vmax=1)
        axes.set(title=title, xticks=(), yticks=())
    alt = "A part of the image, and the same when its stars are subtracted."
    caption = (
        f"{side} x {side} pixels about a bright star less the background, and what is left without stars."
    )
    return Figure(as_svg(figure, alt, f"residual{name}"), caption)


def _about_a_star(one: MeasuredArray, side: int) -> tuple[slice, slice]:
    """Rows and columns about the brightest star without a flag."""
    table, (height, width) = one.photometry.catalogue, one.image.data.shape
    star = table[np.argmax(table["FLAGS"] == 0)]
    low = np.clip(round(star["Y_IMAGE"]) - side // 2, 0, max(height - side, 0))
    left = np.clip(round(star["X_IMAGE"]) - side // 2, 0, max(width - side, 0))
    return slice(low, low + side), slice(left, left + side)


def draw_psf(one: MeasuredArray, name: str) -> Figure:
    """The PSF over the field, and how each place's differs from the middle's."""
    montage = _montage(one.photometry, STAMP)
    middle = np.tile(one.photometry.psf.at(*one.photometry.psf.centre, STAMP), (ACROSS, ACROSS))
    figure = new_figure(8.4, 4.3, top=0.3)
    shown = (np.arcsinh(200 * montage / montage.max()), montage - middle)
    reach = float(np.percentile(np.abs(shown[1]), 99.8)) or 1.0
    limits: tuple[dict[str, Any], ...] = ({"cmap": "gray"}, {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach})
    for k, (picture, title, options) in enumerate(
        zip(shown, ("PSF", "less the middle's"), limits, strict=True)
    ):
        axes = new_axes(figure, 121 + k)
        axes.imshow(picture, origin="lower", **options)
        axes.set(title=title, xticks=(), yticks=())
    part = 100 * reach / float(montage.max())
    alt = "The PSF at 5 by 5 places of the field, and its difference from that in the middle."
    caption = f"The PSF at {ACROSS} x {ACROSS} places, asinh; less the middle's, ± {part:.1f} % of the peak."
    return Figure(as_svg(figure, alt, f"psf{name}"), caption)


def draw_completeness(one: MeasuredArray, name: str) -> Figure:
    """The part of artificial stars that was found, by magnitude."""
    table, found = one.photometry.complete.table, one.photometry
    figure = new_figure(4.2, 3.0)
    axes = new_axes(figure)
    magnitude = one.in_magnitudes(table["FLUX"] * found.light)
    axes.plot(magnitude, 100 * table["FRACTION"], "o-", color=COLOURS[0], markersize=4)
    axes.axhline(50, color=INK, alpha=0.3, linewidth=0.6)
    half = one.in_magnitudes(found.complete.half * found.light)
    if np.isfinite(found.complete.half):
        axes.axvline(half, color=COLOURS[1], linewidth=0.8)
    axes.set(xlabel=one.unit, ylabel="found (%)", ylim=(0, 104))
    caption = f"Completeness by {int(table['NUMBER'].sum())} artificial stars, spread as the real ones are."
    return Figure(
        as_svg(figure, "Part of artificial stars that is found, by magnitude.", f"found{name}"), caption
    )


def draw_errors(one: MeasuredArray, name: str) -> Figure:
    """Errors of the stars by magnitude, and the scatter and bias of artificial ones."""
    catalogue, found = one.photometry.catalogue, one.photometry
    table = found.complete.table
    figure = new_figure(4.2, 3.0)
    axes = new_axes(figure)
    good = (catalogue["FLAGS"] == 0) & (catalogue["FLUX_PSF"] > 0)
    some = np.flatnonzero(good)[:: max(1, int(good.sum()) // 1500)]
    axes.plot(one.in_magnitudes(catalogue["FLUX_PSF"][some]),
              MAG * catalogue["FLUXERR_PSF"][some] / catalogue["FLUX_PSF"][some], ".", color=COLOURS[5],
              markersize=2, label="errors in the catalogue")  # fmt: skip
    magnitude = one.in_magnitudes(table["FLUX"] * found.light)
    axes.plot(
        magnitude, table["SCATTER"], "o", color=COLOURS[1], markersize=4, label="scatter of artificial stars"
    )
    axes.plot(
        magnitude, np.abs(table["BIAS"]), "x", color=COLOURS[2], markersize=4, label="their bias, absolute"
    )
    axes.set(xlabel=one.unit, ylabel="mag", yscale="log", ylim=(1e-3, 1))
    add_legend(axes)
    caption = (
        "1-sigma errors of stars without a flag, and how artificial stars come back. Against simulated truth "
        "stars brighter than 20 mag scatter by 1.3 to 3 times MAGERR_PSF over a whole field; see APCORERR."
    )
    return Figure(as_svg(figure, "Errors of magnitudes against magnitude.", f"errors{name}"), caption)
