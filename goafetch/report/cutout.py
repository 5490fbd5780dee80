"""A part of a stack around a position: FITS with all its planes, and a finding chart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from goafetch.archive.cone import Cone, read_cone
from goafetch.errors import UsageError
from goafetch.report.draw import as_png, drawn_plainly, new_axes, new_figure
from goafetch.report.figures import round_number
from goafetch.report.pictures import NO_DATA_ON_WHITE, find_sky, grey, label_sky, stretched, write_angle
from goafetch.report.stack_file import WORLD, read_stack, read_tables, shrink
from goafetch.workspace import write_atomically
from reducer import dq, fitsio
from reducer.errors import BadInput
from reducer.frame import Chip, FrameRef
from reducer.headers.descriptors import describe
from reducer.types import F64, Header, Table

#: Planes that a chip has; all others of a stack are further images.
SCIENCE = ("SCI", "VAR", "DQ")
#: Where the chart's marks are, as parts of its side: the scale bar, the compass, how long its arrows are.
BAR, COMPASS, ARROW = (0.05, 0.06), (0.9, 0.1), 0.11
#: The colours of marks: those on the target, and the rest, which stand out on sky and on stars.
TARGET, MARK = "#d55e00", "#0072b2"


@dataclass(frozen=True)
class Cutout:
    """A part of a stack: its pixels, further images of the same size and tables by name, and headers.

    ``x``, ``y``: the position asked for, in one-based pixels of the part; ``whole``: whether all of what was
    asked for lies on the stack.
    """

    cone: Cone
    primary: Header
    chip: Chip
    images: Mapping[str, Any]
    tables: Mapping[str, Table]
    x: float
    y: float
    whole: bool


def write_cutout(stack: Path, position: str, size: str, into: Path = Path()) -> tuple[Cutout, list[Path]]:
    """Write the square of ``size`` around ``position`` of a stack as FITS, and as a finding chart (PNG).

    ``position``: degrees or sexagesimal, ICRS, or a name that SIMBAD knows; ``size``: a side, arcsec or with
    a unit. Raises UsageError where the square lies outside of the stack, BadInput for what is no stack.
    """
    cut = cut_out(fitsio.open_frame(stack), read_cone(position, size))
    into.mkdir(parents=True, exist_ok=True)
    side = f"{cut.cone.radius * 3600:.4g}"
    path = into / f"{stack.stem}_{_name(cut.cone)}_{side}.fits"
    fitsio.write_frame(path, cut.primary, [cut.chip], images=cut.images, tables=cut.tables)
    write_atomically(path.with_suffix(".png"), draw_chart(cut, stack.name))
    return cut, [path, path.with_suffix(".png")]


def cut_out(frame: FrameRef, cone: Cone) -> Cutout:
    """The square around the middle of ``cone``, its "radius" the whole side, from a stack with a WCS."""
    from astropy import units
    from astropy.coordinates import SkyCoord
    from astropy.nddata import Cutout2D, NoOverlapError
    from astropy.wcs import WCS

    header = frame.chips[0]
    if len(frame.chips) != 1 or not str(header.get("CTYPE1", "")).startswith("RA---TAN"):
        raise BadInput(f"{frame.path.name} is no stack with coordinates", "a stack, such as *_image.fits")
    world, shape = WCS(header), (int(header["NAXIS2"]), int(header["NAXIS1"]))
    middle = world.world_to_pixel(SkyCoord(cone.ra, cone.dec, unit="deg"))
    if not np.isfinite(middle).all():  # a tangential projection shows half of the sky
        raise _outside(frame, cone, shape)
    nothing = np.broadcast_to(np.float32(0), shape)  # the pixels themselves stay on the disk
    try:
        box = Cutout2D(nothing, middle, cone.radius * units.deg, world)
    except NoOverlapError as error:
        raise _outside(frame, cone, shape) from error
    rows, columns = box.slices_original
    # Plane by plane, for a chip read as one has zeros in place of the NaN where the stack has no data.
    planes = {name: fitsio.read_image(frame.path, name, rows) for name in SCIENCE}
    if missing := [name for name, plane in planes.items() if plane is None]:
        raise BadInput(f"{frame.path.name} has no {', '.join(missing)}", "a stack with SCI, VAR and DQ")
    data, variance, mask = (plane[:, columns].copy() for plane in planes.values() if plane is not None)
    chip = Chip(data, variance, mask, header)
    if (chip.mask & dq.NO_DATA).all():
        raise _outside(frame, cone, shape)
    return _assemble(frame, cone, chip, box)


def _assemble(frame: FrameRef, cone: Cone, chip: Chip, box: Any) -> Cutout:
    """The part with its headers, further planes and tables, whose coordinates are those of the part."""
    rows, columns = box.slices_original
    primary, science = frame.header.copy(), chip.header.copy()
    for key, part in (("CRPIX1", columns), ("CRPIX2", rows)):
        science[key] -= part.start
    primary["CUTFROM"] = frame.path.name
    primary["CUTSEC"] = f"[{columns.start + 1}:{columns.stop},{rows.start + 1}:{rows.stop}]"
    names = [
        str(e.get("EXTNAME", "")) for e in fitsio.read_headers(frame.path)[1] if e.get("XTENSION") == "IMAGE"
    ]
    planes = {name: fitsio.read_image(frame.path, name, rows) for name in names if name not in SCIENCE}
    images = {name: plane[:, columns].copy() for name, plane in planes.items() if plane is not None}
    tables = {name: _within(table, rows, columns) for name, table in read_tables(frame.path).items()}
    x, y = box.input_position_cutout
    pixels = Chip(chip.data, chip.variance, chip.mask, science)
    return Cutout(
        cone, primary, pixels, images, tables, x + 1, y + 1, tuple(box.shape) == tuple(box.shape_input)
    )


def _within(table: Table, rows: slice, columns: slice) -> Table:
    """The rows of a table that lie in the part, counted from its corner; one without places as it is."""
    if not {"X_IMAGE", "Y_IMAGE"} <= set(table.dtype.names or ()):
        return table
    x, y = table["X_IMAGE"] - columns.start, table["Y_IMAGE"] - rows.start
    width, height = columns.stop - columns.start, rows.stop - rows.start
    inside = (x >= 0.5) & (x < width + 0.5) & (y >= 0.5) & (y < height + 0.5)
    part: Table = table[inside].copy()
    part["X_IMAGE"], part["Y_IMAGE"] = x[inside], y[inside]
    return part


def _outside(frame: FrameRef, cone: Cone, shape: tuple[int, int]) -> UsageError:
    """Nothing of the stack is there: where it lies."""
    height, width = shape
    world = _world(frame.chips[0])
    ra, dec = find_sky(
        world, *np.array([[0.5, width + 0.5, width + 0.5, 0.5], [0.5, 0.5, height + 0.5, height + 0.5]])
    )
    ends = [f"{write_angle(v * 240 % 86400, 1, signed=False)}" for v in (ra.min(), ra.max())]
    heights = [write_angle(v * 3600, 0, signed=True).replace("−", "-") for v in (dec.min(), dec.max())]
    place, away = _nearest(frame, cone)
    return UsageError(
        f'{frame.path.name} has no data within {cone.radius * 3600:g}" around {cone.ra:.6f} {cone.dec:+.6f}',
        f"a position on the stack: RA {ends[0]} to {ends[1]}, Dec {heights[0]} to {heights[1]}",
        f"the nearest data lie at '{place.ra:.6f} {place.dec:+.6f}', {_angle(away * 3600)} away",
    )


def _nearest(frame: FrameRef, cone: Cone) -> tuple[Cone, float]:
    """Where the stack has data nearest to a position, and how far away that is, degrees."""
    mask = read_stack(frame.path).thin.mask[::4, ::4]
    y, x = np.nonzero((mask & dq.NO_DATA) == 0)
    ra, dec = find_sky(_world(frame.chips[0]), *(np.asarray(8.0 * axis + 1, float) for axis in (x, y)))
    places = [Cone(a % 360, d, cone.radius) for a, d in zip(ra, dec, strict=True)]
    away, nearest = min((place.separation(cone.ra, cone.dec), n) for n, place in enumerate(places))
    return places[nearest], away


def _angle(arcsec: float) -> str:
    """An angle in the unit that suits it."""
    unit, size = ("deg", 3600) if arcsec > 3600 else ("arcmin", 60) if arcsec > 120 else ("arcsec", 1)
    return f"{arcsec / size:.3g} {unit}"


def _world(header: Header) -> dict[str, float]:
    return {key: float(header.get(key, 0.0)) for key in WORLD}


def _name(cone: Cone) -> str:
    """A position as the IAU names it: J132526.0-430158, for a file."""
    ra, dec = round(cone.ra * 2400) / 10 % 86400, round(cone.dec * 3600)
    written = write_angle(ra, 1, signed=False) + write_angle(dec, 0, signed=True)
    return "J" + written.replace(":", "").replace("−", "-")


@drawn_plainly
def draw_chart(cut: Cutout, name: str) -> bytes:
    """A finding chart: a PNG with axes in RA and Dec, marks beside the target, a scale bar and a compass."""
    image, blocks = shrink(
        np.where((cut.chip.mask & dq.NO_DATA) == 0, cut.chip.data, np.float32(np.nan)), 1100
    )
    height, width = (side / blocks for side in cut.chip.data.shape)
    figure = new_figure(6.6, 5.43 * height / width + 0.9, right=0.45, top=0.42)
    axes = new_axes(figure)
    axes.imshow(
        stretched(image),
        origin="lower",
        cmap=grey("gray_r", NO_DATA_ON_WHITE),
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    axes.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5))
    world, system = _world(cut.chip.header), str(cut.chip.header.get("RADESYS", ""))
    label_sky(axes, world, cut.chip.data.shape, 1 / blocks, system)
    facts = describe(cut.primary, ())
    axes.set_title("  ·  ".join(filter(None, (facts.object, facts.filter, name))), fontsize=9)
    side = min(height, width)
    x, y = (place / blocks - 0.5 for place in (cut.x, cut.y))
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):  # beside the target, not over it
        ends = (0.03 * side, 0.08 * side)
        axes.plot([x + dx * r for r in ends], [y + dy * r for r in ends], color=TARGET, linewidth=1.6)
    matrix = np.array([[world["CD1_1"], world["CD1_2"]], [world["CD2_1"], world["CD2_2"]]]) * 3600
    _add_bar(axes, float(np.sqrt(abs(np.linalg.det(matrix)))) * blocks)
    _add_compass(axes, np.linalg.inv(matrix))
    return as_png(figure, dpi=150)


def _add_bar(axes: Any, scale: float) -> None:
    """A bar of a round length, near a fifth of the chart; ``scale``: arcsec per pixel of the picture."""
    left, low = BAR
    whole = np.ptp(axes.get_xlim()) * scale
    length = round_number(whole / 4)
    axes.plot([left, left + length / whole], [low, low], transform=axes.transAxes, color=MARK, linewidth=3)
    axes.text(
        left, low + 0.015, f'{length:g}"', transform=axes.transAxes, color=MARK, fontsize=10, weight="bold"
    )


def _add_compass(axes: Any, pixels: F64) -> None:
    """Arrows to north and east; ``pixels``: those along x and y per arcsec to the east and to the north."""
    begin = np.array(COMPASS)
    for step in pixels.T:
        end = step / np.hypot(*step) * ARROW
        # Of arrows that point out of the chart's corner the compass is moved away.
        begin = np.clip(begin, 0.05 - np.minimum(end * 1.3, 0), 0.95 - np.maximum(end * 1.3, 0))
    for letter, step in (("E", pixels[:, 0]), ("N", pixels[:, 1])):
        end = step / np.hypot(*step) * ARROW
        style = {"arrowstyle": "-|>", "color": MARK, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", begin + end, begin, "axes fraction", "axes fraction", arrowprops=style)
        axes.text(*(begin + end * 1.25), letter, transform=axes.transAxes, color=MARK, fontsize=10,
                  weight="bold", ha="center", va="center")  # fmt: skip
