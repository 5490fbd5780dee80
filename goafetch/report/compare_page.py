"""Two stacks of one field side by side: blinking, their difference, numbers, stars, and what differed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from goafetch import __version__
from goafetch.errors import UsageError
from goafetch.report.draw import (
    COLOURS,
    add_legend,
    as_data,
    as_png,
    as_svg,
    centre_and_spread,
    drawn_plainly,
    new_axes,
    new_figure,
)
from goafetch.report.figures import Figure
from goafetch.report.pictures import grey, stretched
from goafetch.report.render import render
from goafetch.report.run_summary import RunSummary, read_summary
from goafetch.report.same_sky import FEWEST, LOUD, Pair, check_common_sky, lay_onto, match_stars
from goafetch.report.stack_file import TABLES, StackFile, read_provenance, read_stack, shrink
from goafetch.report.verdicts import Quality, measure
from goafetch.workspace import write_atomically
from reducer.products import STACK
from reducer.types import F32

#: Pixels of the longer side of the pictures.
MOST = 1000


def compare_stacks(first: Path, second: Path, into: Path) -> Path:
    """Write the page about two stacks as HTML and return it.

    Raises UsageError where they are one file or show no sky in common, BadFile for what is no product.
    """
    if first.samefile(second):
        raise UsageError(f"{first} and {second} are the same file", "two stacks")
    stacks = read_stack(first), read_stack(second)
    check_common_sky(*stacks)
    onto_first = lay_onto(*stacks, stacks[1].half, 2)
    pair = match_stars(*stacks)
    qualities = measure(stacks[0]), measure(stacks[1])
    names = _names(first, second)
    text = render(
        "compare.html",
        names=names,
        title=stacks[0].text("OBJECT") or first.stem,
        pictures=[as_data(picture) for picture in _draw(stacks, onto_first, pair.ratio)],
        numbers=[*_numbers(qualities), *_of_stars(pair)],
        figures=_plots(pair) if len(pair.rates) else [],
        differences=list_differences(first, second),
        summary=RunSummary("", version=__version__),
    )
    write_atomically(into, text)
    return into


def pair_stacks(first: Path, second: Path) -> list[tuple[Path, Path]]:
    """The stacks to compare: two files, or those of the same target and filter of workspaces.

    Raises UsageError where there are none.
    """
    one, other = _stacks_of(first), _stacks_of(second)
    if len(one) == len(other) == 1:
        return [*zip(one.values(), other.values(), strict=True)]
    if first.is_file() or second.is_file():
        pairs = [(a, b) for a in one.values() for b in other.values() if a.name == b.name]
    else:
        pairs = [(path, other[name]) for name, path in one.items() if name in other]
    if not pairs:
        lists = [", ".join(map(str, stacks.values())) for stacks in (one, other)]
        raise UsageError(
            f"no stack of the same target and filter: {first} has {lists[0]}; {second} has {lists[1]}",
            "two stacks of one field",
        )
    return pairs


def _stacks_of(place: Path) -> dict[str, Path]:
    """The stacks of a workspace by their names, or a file alone."""
    if not place.is_dir():
        if not place.is_file():
            raise UsageError(f"there is no {place}", "a stack, or a workspace that `goafetch run` made")
        return {"": place}
    products = (product for product in read_summary(place).products if product.kind in ("stack", "standard"))
    found = {product.stack or product.group: place / product.path for product in products}
    found = {name: path for name, path in found.items() if path.name.endswith(f"{STACK}.fits")}
    if not found:
        raise UsageError(f"{place} has no stack", "a workspace whose run made one")
    return found


def _names(first: Path, second: Path) -> tuple[str, str]:
    """What tells two files apart: the last parts of their paths, as many as it takes."""
    a, b = first.absolute().parts, second.absolute().parts
    differ = next(n for n in range(1, min(len(a), len(b)) + 1) if a[-n] != b[-n])
    return str(Path(*a[-differ:])), str(Path(*b[-differ:]))


# --- pictures --------------------------------------------------------------------------------------


@drawn_plainly
def _draw(stacks: Sequence[StackFile], second: F32, ratio: float) -> list[bytes]:
    """PNGs of the first stack, of the second on its pixels with one stretch, and of their difference, the
    second's light taken ``ratio`` times its exposure time's share."""
    seconds = [stack.value("EXPTIME") or 1.0 for stack in stacks]
    first = stacks[0].half
    second = second * np.float32(ratio * seconds[0] / seconds[1])
    # Levels of different sky are no difference of the stacks' light.
    second = second + np.float32(np.nanmedian(first - second))
    small, other = shrink(first, MOST)[0], shrink(second, MOST)[0]
    both = stretched(np.concatenate([small, other]))
    difference = small - other
    middle, spread = centre_and_spread(difference)
    shown = np.clip((difference - middle) / (5.0 * spread or 1.0), -1.0, 1.0)
    return [
        *(_as_picture(part, grey(), (0.0, 1.0)) for part in (both[: len(small)], both[len(small) :])),
        _as_picture(shown, grey("RdBu_r"), (-1.0, 1.0)),
    ]


def _as_picture(image: F32, colours: Any, ends: tuple[float, float]) -> bytes:
    height, width = image.shape
    figure = new_figure(7.0, 7.0 * height / width)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
    axes = new_axes(figure)
    axes.imshow(image, origin="lower", cmap=colours, vmin=ends[0], vmax=ends[1], interpolation="nearest")
    axes.set_axis_off()
    return as_png(figure, dpi=round(width / 7.0))


@drawn_plainly
def _plots(pair: Pair) -> list[Figure]:
    """Light of the same stars, the one stack's against the other's, and how their places differ."""
    with np.errstate(invalid="ignore", divide="ignore"):
        light = -2.5 * np.log10(pair.rates)
        error = 1.0857 * np.hypot(*(pair.errors / pair.rates).T)
    known = np.isfinite(light).all(axis=1) & np.isfinite(error)
    light, error, difference = light[known], error[known], light[known, 0] - light[known, 1]
    figure = new_figure(5.0, 3.6)
    axes = new_axes(figure)
    if len(light):
        axes.errorbar(light[:, 0], difference, error, fmt=".", color=COLOURS[0], lw=0.5, ms=3, alpha=0.6,
                      label=f"{len(light)} stars")  # fmt: skip
        middle = -2.5 * math.log10(pair.ratio)
        axes.axhline(middle, color=COLOURS[1], lw=1, label=f"median {middle:+.4f} mag")
        reach = max(4 * float(np.median(error)), 0.05)
        axes.set_ylim(middle - 3 * reach, middle + 3 * reach)
        add_legend(axes)
    axes.set(xlabel="-2.5 log10 (electrons per second in A)", ylabel="A - B (mag)")
    photometry = Figure(
        as_svg(figure, "Differences of magnitudes of the same stars against their brightness.", "light"),
        "Total light of the stars that both catalogues hold, with the errors of both.",
    )
    figure = new_figure(5.0, 3.6)
    axes = new_axes(figure)
    loud = pair.away[pair.loud]
    axes.plot(*loud.T, ".", color=COLOURS[0], ms=3, alpha=0.6)
    axes.axhline(0, color=COLOURS[1], lw=0.6)
    axes.axvline(0, color=COLOURS[1], lw=0.6)
    if len(loud):
        reach = max(8.0 * float(np.median(np.hypot(*(loud - np.median(loud, axis=0)).T))), 1.0)
        (x, y), label = np.median(loud, axis=0), "B - A, {} (mas)"
        axes.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), aspect="equal")
        axes.set(xlabel=label.format("east"), ylabel=label.format("north"))
    places = Figure(
        as_svg(figure, "Differences of the places of the same stars, east against north.", "places"),
        f"Places of the {len(loud)} stars with a signal to noise above {LOUD:.0f} in both.",
    )
    return [photometry, places]


# --- numbers and what differed ---------------------------------------------------------------------

Row = tuple[str, str, str, str]


def _numbers(qualities: tuple[Quality, Quality]) -> list[Row]:
    """What the two stacks measure, and by what the second differs."""
    asked: list[tuple[str, str, Callable[[Quality], float | None]]] = [
        ("exposures", "{:.0f}", lambda q: q.exposures),
        ("exposure time (s)", "{:.0f}", lambda q: q.seconds),
        ("FWHM (arcsec)", "{:.4f}", lambda q: q.fwhm),
        ("depth, 5 sigma (e-)", "{:.1f}", lambda q: q.depth),
        ("depth, 5 sigma (mag)", "{:.3f}", lambda q: q.limit(q.depth) if q.depth else None),
        ("noise of a pixel (e-)", "{:.2f}", lambda q: q.noise),
        ("zeropoint (mag)", "{:.4f}", lambda q: q.zeropoint),
        ("its error (mag)", "{:.4f}", lambda q: q.zeropoint_error),
        ("uncertainty of the sky (e-)", "{:.2f}", lambda q: q.sky),
        ("alignment, rms (mas)", "{:.2f}", lambda q: q.residual),
        ("sources", "{:.0f}", lambda q: q.sources),
        ("part of the picture with data", "{:.4f}", lambda q: q.covered),
    ]
    rows = []
    for name, form, get in asked:
        one, other = (get(quality) for quality in qualities)
        if one is None and other is None:
            continue
        a, b = ("none" if value is None else form.format(value) for value in (one, other))
        change = "" if one is None or other is None else form.replace(":", ":+").format(other - one)
        rows.append((name, a, b, change))
    return rows


def _of_stars(pair: Pair) -> list[Row]:
    """What the stars that both show tell."""
    loud = pair.loud
    if loud.sum() < FEWEST:
        return [("stars in both catalogues", "", "", str(len(pair.rates)))]
    change = -2.5 * math.log10(pair.ratio)
    east, north = np.median(pair.away[loud], axis=0)
    scatter = 1.4826 * np.median(np.abs(pair.away[loud] - (east, north)), axis=0)
    return [
        ("stars in both catalogues", "", "", str(len(pair.rates))),
        ("light of the same stars (mag)", "", "", f"{-change:+.4f}"),
        ("their places, east and north (mas)", "", "", f"{east + 0.0:+.2f}, {north + 0.0:+.2f}"),
        ("scatter of these (mas)", "", "", f"{scatter[0]:.2f}, {scatter[1]:.2f}"),
    ]


def list_differences(first: Path, second: Path) -> dict[str, list[Row]]:
    """What two products were made of otherwise: raw files and calibrations by their md5, parameters of steps,
    versions; by heading, with what stands in the one and in the other."""
    stories = _story(first), _story(second)
    found: dict[str, list[Row]] = {}
    if not all(stories):
        told = ["told" if story else "not told" for story in stories]
        return {"Not compared": [("where it came from", told[0], told[1], "")]}
    for title, read in (("Inputs", _inputs), ("Parameters", _parameters), ("Versions", _versions)):
        one, other = map(read, stories)
        for name in dict.fromkeys([*one, *other]):
            if one.get(name) != other.get(name):
                found.setdefault(title, []).append((name, one.get(name, "none"), other.get(name, "none"), ""))
    return found


Story = Mapping[str, Sequence[Mapping[str, Any]]]


def _story(path: Path) -> Story:
    """What a product tells of itself; nothing for a stack that other programs made."""
    try:
        return read_provenance(path)
    except UsageError:
        return {}


def _inputs(story: Story) -> dict[str, str]:
    """Files and md5s; of what is a product of the run itself the name tells, for its md5 holds the date."""
    rows = story.get(TABLES["PROVENANCE"], ())
    return {
        row["filename"]: "used" if row["provenance_added_by"] == "input" else f"md5 {row['md5'][:12]}"
        for row in rows
    }


def _parameters(story: Story) -> dict[str, str]:
    """The value of each parameter of each step; of files the names."""
    return {
        f"{row['primitive']}:{name}": Path(value).name if "/" in str(value) else str(value)
        for row in story.get(TABLES["HISTORY"], ())
        for name, value in {"": "done", **json.loads(row["args"] or "{}")}.items()
    }


def _versions(story: Story) -> dict[str, str]:
    return {row["package"]: row["version"] for row in story.get(TABLES["VERSIONS"], ())}
