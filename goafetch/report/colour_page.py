"""A target in colours: its picture, diagrams of magnitudes and colours, and the catalogue of all filters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from goafetch import __version__
from goafetch.errors import UsageError
from goafetch.report.catalogue_files import LIMIT, as_csv, as_ecsv, as_fits, as_votable
from goafetch.report.draw import (
    COLOURS,
    INK,
    add_legend,
    as_data,
    as_svg,
    as_thumbnail,
    centre_and_spread,
    drawn_plainly,
    new_axes,
    new_figure,
)
from goafetch.report.figures import Figure
from goafetch.report.pictures import NO_DATA, draw_on_sky
from goafetch.report.render import render
from goafetch.report.run_summary import RunSummary
from goafetch.report.same_sky import lay_onto, lay_stack
from goafetch.report.stack_file import as_number, block_means_without_nan, shrink
from goafetch.report.star_colours import FEW, MANY, Agreement, Colours, FilterStack, measure_colours
from goafetch.text import file_name
from goafetch.workspace import write_atomically
from reducer import fitsio
from reducer.errors import BadFile
from reducer.headers.descriptors import describe
from reducer.types import F32, F64

if TYPE_CHECKING:
    from astropy.table import Table

#: Forms of the catalogue by the ends of their names.
FORMS: Mapping[str, Callable[[Table], str | bytes]] = {
    "ecsv": as_ecsv,
    "fits": as_fits,
    "csv": as_csv,
    "vot": as_votable,
}
#: Pixels of the longer side of the picture; its asinh's softness, and what of the sky's noise is dark grey.
MOST, SOFTNESS, GREY = 1000, 8.0, 5.0
#: The least blur, pixels of the picture; those whose means tell the sky; per cent of these that are darker
#: than black.
LEAST_BLUR, SKY, DARKEST = 0.6, 8, 2
#: Error of a colour, mag, up to which a star is drawn; per cent of stars, the surest, that tell white.
DRAWN, SUREST = 0.25, 30
#: FWHM of the widest over the sharpest from which wings of stars look coloured.
UNLIKE = 1.1
#: Marks for limits that a diagram holds at most, and magnitudes between bars of typical errors.
MOST_LIMITS, EVERY = 300, 1.0


@dataclass(frozen=True)
class ColourEntry:
    """What a report's index shows of a target in colours: its page and its picture, small; '' and no bytes
    where there is none, with why in ``reason``."""

    target: str
    filters: str
    page: str = ""
    picture: bytes = b""
    reason: str = ""

    def thumbnail(self) -> str:
        """The picture as an address that holds it."""
        return as_data(self.picture)


def write_colours(paths: Sequence[Path], into: Path, grid: bool = False) -> list[Path]:
    """Write the page about stacks of several filters, its picture, and the catalogue in all forms.

    With ``grid`` also the other stacks on the pixels of the first, TARGET_J_on_H.fits. Raises UsageError for
    stacks that do not go together, BadFile for what is no product.
    """
    colours = measure_colours(paths)
    target = file_name(colours.grid.stack.text("OBJECT") or paths[0].stem)
    stem = f"{target}_{'-'.join(band.key for band in colours.bands)}"
    files, _ = _write(colours, into, stem, FORMS)
    return files + (_write_on_grid(colours, into, target) if grid else [])


def _write_on_grid(colours: Colours, into: Path, target: str) -> list[Path]:
    grid, made = colours.grid, []
    for band in colours.bands:
        if band is not grid:
            path = into / f"{target}_{band.key}_on_{grid.key}.fits"
            laid = lay_stack(grid.stack, band.stack, band.registration)
            made.append(fitsio.write_frame(path, band.stack.header, [laid]))
    return made


def _write(colours: Colours, into: Path, stem: str, forms: Iterable[str]) -> tuple[list[Path], bytes]:
    """Write the page, its picture, and the catalogue in some forms; the files in this order, and the
    picture."""
    picture = draw_colours(colours)
    files: dict[str, str | bytes] = {f"{stem}.png": picture}
    files |= {f"{stem}.{form}": FORMS[form](colours.table) for form in forms}
    page = make_colour_page(colours, picture, [*files])
    into.mkdir(parents=True, exist_ok=True)
    contents: dict[str, str | bytes] = {f"{stem}.html": page, **files}
    for name, content in contents.items():
        write_atomically(into / name, content)
    return [into / name for name in contents], picture


# --- for a run's report ----------------------------------------------------------------------------


def choose_stacks(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """By target the stacks that tell its colours, the longest wavelength first: of each filter that with the
    longest exposure, and the three longest of more filters. Nothing of a target seen in one."""
    found: dict[str, dict[str, tuple[float, float, Path]]] = {}
    for path in paths:
        try:
            primary, chips = fitsio.read_headers(path)
        except (BadFile, FileNotFoundError):
            continue  # the report names it where its page would stand
        told = describe(primary, chips, path.name)
        if told.filter is None or told.passband is None:
            continue
        entry = (as_number(primary.get("TEXPTIME")) or 0.0, told.passband.wavelength, path)
        filters = found.setdefault(told.object or "", {})
        filters[told.filter] = max(entry, filters.get(told.filter, entry))
    chosen = {}
    for target, filters in found.items():
        longest = sorted(filters.values(), reverse=True)[:MANY]
        if len(longest) >= FEW:
            chosen[target] = [path for *_, path in sorted(longest, key=lambda entry: -entry[1])]
    return chosen


@drawn_plainly
def show_colours(target: str, paths: Sequence[Path], place: Path) -> ColourEntry:
    """Write the page of a target into a report's folder, and return what its index shows."""
    filters = ", ".join(path.stem for path in paths)
    try:
        colours = measure_colours(paths)
        stem = file_name(f"colours {target}")
        files, picture = _write(colours, place, stem, ("fits",))  # ECSV takes longer than all the rest
    except (UsageError, BadFile, FileNotFoundError) as error:
        return ColourEntry(target, filters, reason=str(error))
    named = ", ".join(band.name for band in colours.bands)
    return ColourEntry(target, named, files[0].name, as_thumbnail(picture))


# --- the picture -----------------------------------------------------------------------------------


@drawn_plainly
def draw_colours(colours: Colours) -> bytes:
    """A PNG of the grid's sky in colours, with its axes."""
    grid = colours.grid
    blocks = shrink(grid.stack.half, MOST)[1]
    return draw_on_sky(grid.stack, paint(colours, blocks), 2 * blocks)


def paint(colours: Colours, blocks: int) -> NDArray[np.uint8]:
    """Red, green and blue (ny, nx, 3) of means over ``blocks`` x ``blocks`` of 2 x 2 pixels of the grid.

    Colours are kept at any brightness (Lupton et al. 2004, PASP 116, 133); a star of the median colour is
    white. Where a filter has no data the picture has NO_DATA's colour.
    """
    from astropy.visualization import make_lupton_rgb
    from matplotlib.colors import to_rgb

    layers = [layer_of(colours, band, blocks) for band in colours.bands]
    red, blue = layers[-1], layers[0]
    green = layers[1] if len(layers) > FEW else 0.5 * (red + blue)
    seen = np.isfinite(red + green + blue)
    light = (red + green + blue) / 3.0
    middle, spread = centre_and_spread(light)
    stretch = max(GREY * spread, 2.0 * middle)  # a galaxy's light is dark grey too
    shown = (np.where(seen, layer, np.float32(0.0)) for layer in (red, green, blue))
    picture: NDArray[np.uint8] = make_lupton_rgb(*shown, minimum=-spread, stretch=stretch, Q=SOFTNESS)
    picture[~seen] = np.round(255 * np.array(to_rgb(NO_DATA)))
    return picture


def layer_of(colours: Colours, band: FilterStack, blocks: int) -> F32:
    """A band on the grid's pixels over its darkest sky, in units in which the median star is 1 everywhere.

    It is blurred to the widest FWHM of all, and a little more: as pixels sample stars of less than two of
    them, splines would ring.
    """
    grid = colours.grid
    image = block_means_without_nan(band.stack.half, blocks) if blocks > 1 else band.stack.half
    seen = np.isfinite(image)
    dark, _ = centre_and_spread(image)
    blurred = ndimage.gaussian_filter(np.where(seen, image, np.float32(dark)), _blur(colours, band, blocks))
    image = np.where(seen, blurred, np.float32(np.nan))
    if band is not grid:
        image = lay_onto(grid.stack, band.stack, image, 2 * blocks, band.registration)
    means = block_means_without_nan(image, SKY)
    dark = float(np.percentile(means[np.isfinite(means)], DARKEST))
    return np.asarray((image - dark) / np.float32(band.seconds * _white(colours, band)))


def _blur(colours: Colours, band: FilterStack, blocks: int) -> float:
    """Standard deviation of the Gaussian, in pixels of the picture, that makes a band as wide as all."""
    widest = max(each.quality.fwhm or 0.0 for each in colours.bands)
    own, pixel = band.quality.fwhm or widest, 2 * blocks * (band.quality.scale or 1.0)
    return float(np.sqrt(LEAST_BLUR**2 + (widest**2 - own**2) / (8.0 * np.log(2.0)) / pixel**2))


def _white(colours: Colours, band: FilterStack) -> float:
    """Electrons a second in a band for one in the grid's of the median star; 1 without stars in both."""
    if band is colours.grid:
        return 1.0
    a, b = (_column(colours, f"MAG_{one.key}") for one in (band, colours.grid))
    error = np.hypot(*(_column(colours, f"MAGERR_{one.key}") for one in (band, colours.grid)))
    known = np.isfinite(error)
    if not known.any():
        return 1.0
    sure = known & (error <= np.percentile(error[known], SUREST))
    shift = float(np.median((a - b)[sure]))
    return 10 ** (-0.4 * (shift - band.nought + colours.grid.nought))


def _column(colours: Colours, name: str) -> F64:
    """A column of the catalogue, NaN where it has no value."""
    return np.ma.filled(np.ma.asarray(colours.table[name], float), np.nan)


# --- diagrams --------------------------------------------------------------------------------------


def draw_diagrams(colours: Colours) -> list[Figure]:
    """The colour-magnitude diagram, and of three filters the one of two colours."""
    diagrams = [_draw_magnitudes(colours)]
    if len(colours.bands) == MANY:
        diagrams.append(_draw_two_colours(colours))
    return [figure for figure in diagrams if figure is not None]


def _is_good(colours: Colours, *bands: FilterStack) -> NDArray[np.bool_]:
    """Rows without a flag in some bands."""
    return np.asarray(np.all([_column(colours, f"FLAGS_{band.key}") == 0 for band in bands], axis=0))


def _label(colours: Colours, *bands: FilterStack) -> str:
    unit = "instrumental mag" if {band.name for band in bands} & set(colours.instrumental) else "mag"
    return f"{' − '.join(band.name for band in bands)} ({unit})"


def _draw_magnitudes(colours: Colours) -> Figure | None:
    """The reddest band's magnitude against the widest colour; limits as arrows."""
    blue, red = colours.bands[0], colours.bands[-1]
    key = f"{blue.key}_{red.key}"
    colour, error = _column(colours, f"COL_{key}"), _column(colours, f"COLERR_{key}")
    magnitude, good = _column(colours, f"MAG_{red.key}"), _is_good(colours, blue, red)
    drawn = np.isfinite(colour) & (error < DRAWN)
    if not drawn.any():
        return None
    figure = new_figure(5.0, 5.2)
    axes = new_axes(figure)
    for which, shade, name in ((~good, COLOURS[4], "flagged"), (good, COLOURS[0], "no flag")):
        part = drawn & which
        if part.any():
            axes.plot(colour[part], magnitude[part], ".", color=shade, ms=3, alpha=0.6, rasterized=True,
                      label=f"{part.sum()} stars, {name}")  # fmt: skip
    low, high = np.percentile(colour[drawn], (1, 99))
    left, right = low - 0.3 * (high - low) - 0.2, high + 0.3 * (high - low) + 0.2
    least = _column(colours, f"COLMIN_{key}")
    limits = np.flatnonzero(
        (least > left) & (least < right) & (_column(colours, f"MAGERR_{red.key}") < DRAWN)
    )
    limits = limits[:: max(1, -(-len(limits) // MOST_LIMITS))]
    if len(limits):
        axes.plot(least[limits], magnitude[limits], marker="$\\rightarrow$", linestyle="", color=COLOURS[1],
                  ms=6, alpha=0.5, markeredgewidth=0, label=f"not seen in {blue.name}: at least")  # fmt: skip
    _draw_typical(axes, left + 0.06 * (right - left), magnitude, error, drawn & good)
    axes.set(xlabel=_label(colours, blue, red), ylabel=_label(colours, red), xlim=(left, right))
    axes.invert_yaxis()
    add_legend(axes)
    alt = f"Magnitude in {red.name} against {blue.name} minus {red.name} of {drawn.sum()} stars."
    caption = (
        f"Colour-magnitude diagram of stars with an error of the colour below {DRAWN} mag. Bars at the left: "
        "typical errors of the colour, without the zeropoints'."
    )
    return Figure(as_svg(figure, alt, "magnitudes"), caption)


def _draw_typical(axes: object, place: float, magnitude: F64, error: F64, which: NDArray[np.bool_]) -> None:
    """Bars of the median error of a colour, a magnitude apart."""
    if not which.any():
        return
    first, last = np.floor(magnitude[which].min()), np.ceil(magnitude[which].max())
    for low in np.arange(first, last, EVERY):
        part = which & (magnitude >= low) & (magnitude < low + EVERY)
        if part.any():
            axes.errorbar(place, low + EVERY / 2, xerr=np.median(error[part]), color=INK, lw=0.8, capsize=1.5)  # type: ignore[attr-defined]


def _draw_two_colours(colours: Colours) -> Figure | None:
    """The bluer colour against the redder one."""
    blue, middle, red = colours.bands
    pairs = (middle, red), (blue, middle)
    (x, x_error), (y, y_error) = (
        [_column(colours, f"{name}_{a.key}_{b.key}") for name in ("COL", "COLERR")] for a, b in pairs
    )
    drawn = (np.hypot(x_error, y_error) < DRAWN) & _is_good(colours, *colours.bands)
    if not drawn.any():
        return None
    figure = new_figure(5.0, 5.2)
    axes = new_axes(figure)
    axes.plot(x[drawn], y[drawn], ".", color=COLOURS[0], ms=3, alpha=0.6, rasterized=True)
    error = np.median(x_error[drawn]), np.median(y_error[drawn])
    edges = [np.percentile(values[drawn], (1, 99)) for values in (x, y)]
    (left, right), (low, high) = ((a - 0.3 * (b - a) - 0.1, b + 0.3 * (b - a) + 0.1) for a, b in edges)
    corner = left + 0.12 * (right - left), high - 0.1 * (high - low)
    axes.errorbar(*corner, yerr=error[1], xerr=error[0], color=INK, lw=0.8, capsize=1.5)
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set(xlabel=_label(colours, *pairs[0]), ylabel=_label(colours, *pairs[1]))
    alt = f"{blue.name} minus {middle.name} against {middle.name} minus {red.name} of {drawn.sum()} stars."
    caption = f"Both colours of {drawn.sum()} stars without a flag; the cross: median errors."
    return Figure(as_svg(figure, alt, "colours"), caption)


# --- the page --------------------------------------------------------------------------------------

Row = tuple[str, ...]


@drawn_plainly
def make_colour_page(colours: Colours, picture: bytes, beside: Sequence[str]) -> str:
    """The page about stacks in several filters; ``beside``: files that stand beside it."""
    table = colours.table
    columns = [name for name in table.colnames if np.ma.count(np.ma.asarray(table[name]))]
    return render(
        "colour.html",
        title=colours.grid.stack.text("OBJECT") or colours.grid.stack.path.stem,
        filters=[band.name for band in colours.bands],
        instrumental=colours.instrumental,
        picture=as_data(picture),
        painted=_painted(colours),
        figures=draw_diagrams(colours),
        stars=_counts(colours),
        notes=[*_notes(colours)],
        bands=[_row(band) for band in colours.bands],
        grid=colours.grid.name,
        agreements=[_agreement(*each) for each in colours.agreements.items()],
        columns=[(name, str(table[name].unit or ""), table[name].description) for name in columns],
        beside=beside,
        summary=RunSummary("", version=__version__),
    )


def _painted(colours: Colours) -> str:
    """Which filter has which colour."""
    names = [band.name for band in colours.bands]
    if len(names) == MANY:
        return f"Red {names[2]}, green {names[1]}, blue {names[0]}"
    return f"Red {names[1]}, blue {names[0]}, green their mean"


def _counts(colours: Colours) -> list[tuple[str, str]]:
    """How many stars there are, and what their colours' zero is good to."""
    known = {band.name: np.isfinite(_column(colours, f"MAG_{band.key}")) for band in colours.bands}
    every = np.all([*known.values()], axis=0)
    rows = [("Stars", f"{len(every)}, {every.sum()} in all filters")]
    for band in colours.bands:
        limits = np.isfinite(_column(colours, f"MAGLIM_{band.key}")).sum()
        rows.append(
            (
                f"Not seen in {band.name}",
                f"{limits} with a limit, {(~known[band.name]).sum() - limits} without",
            )
        )
    for one, other in colours.pairs:
        error, more = one.quality.zeropoint_error, other.quality.zeropoint_error
        if error is not None and more is not None:
            told = f"± {np.hypot(error, more):.3f} mag, by the zeropoints"
            rows.append((f"Zero of {one.name} − {other.name}", told))
    return rows


def _notes(colours: Colours) -> Iterator[str]:
    """What a reader must know before using the colours."""
    if colours.grid.is_psf:
        yield "Magnitudes are from the PSF photometry beside each stack."
    else:
        yield "Magnitudes are total ones, each filter with its own aperture correction (OBJCAT, MAG_TOTAL)."
    yield (
        "Each aperture correction has an error common to all stars of its filter, which the log of the run "
        "names; a zeropoint from stars of the field takes it up, one from a standard does not."
    )
    yield "Colours are those of the instrument's own filters: no colour terms were applied."
    widths = {band.name: band.quality.fwhm for band in colours.bands if band.quality.fwhm}
    if widths and max(widths.values()) > UNLIKE * min(widths.values()):
        told = ", ".join(f'{width:.3f}" in {name}' for name, width in widths.items())
        wide = max(widths, key=widths.__getitem__)
        yield (
            f"FWHM differs: {told}. The picture is blurred to that of {wide}, but not to its wings: halos of "
            "bright stars are coloured. Total magnitudes of isolated stars are not touched by it, those of "
            "close pairs are."
        )
    yield (
        f"Where a filter does not show a star its limit stands: the light at its place and {LIMIT:g} times "
        "its noise. No limit: no data there, or too few stars to calibrate the aperture."
    )


def _row(band: FilterStack) -> Row:
    """A stack in the table of stacks."""
    quality = band.quality
    zeropoint = "none: instrumental"
    if quality.zeropoint is not None:
        error = "not known" if quality.zeropoint_error is None else f"{quality.zeropoint_error:.3f}"
        zeropoint = f"{quality.zeropoint:.3f} ± {error}"
    return (
        band.name,
        band.stack.path.name,
        "" if quality.exposures is None else str(quality.exposures),
        "" if quality.seconds is None else f"{quality.seconds:.0f}",
        "" if quality.fwhm is None else f"{quality.fwhm:.3f}",
        zeropoint,
        str(len(band.stars.rates)),
    )


def _agreement(name: str, found: Agreement) -> Row:
    """A band in the table of how stacks lie on each other."""
    both = [f"{a:+.2f}, {b:+.2f}" for a, b in (found.moved + 0.0,)]
    both += [
        f"{a:.2f}, {b:.2f}" if np.isfinite(a) else "not measured" for a, b in (found.scatter, found.error)
    ]
    worst, stars = found.worst
    told = f"{worst:.2f} ({stars} stars)" if stars else "not measured"
    return (name, str(found.stars), *both, told)
