"""What stacks were like over nights and programs: zeropoint, FWHM, Strehl and sky, as a table and a page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calstore.associate import night_of
from goafetch import __version__
from goafetch.errors import WorkspaceError
from goafetch.report.draw import COLOURS, INK, as_svg, drawn_plainly, new_axes, new_figure
from goafetch.report.figures import Figure
from goafetch.report.render import render
from goafetch.report.run_summary import FILE, Product, RunSummary, read_summary
from goafetch.report.stack_file import as_number
from reducer import fitsio
from reducer.headers.descriptors import describe
from reducer.types import F64, Table

#: What is drawn: the row's field, what its axis says, and the field of its error where it has one.
PANELS = (
    ("zeropoint", "zeropoint (mag)", "zeropoint_error"),
    ("fwhm", "FWHM (mas)", ""),
    ("strehl", "Strehl ratio", ""),
    ("sky", "sky (e-/s per pixel)", ""),
)
MARKS = "osD^vP"
#: What the axis of time shows beyond the first and the last night.
MARGIN = dt.timedelta(hours=20)


@dataclass(frozen=True)
class NightOfStack:
    """The exposures of one night in one stack.

    ``fwhm`` (mas), ``strehl`` and ``sky`` (e-/s per pixel) are medians over the exposures; ``zeropoint``
    (Vega mag of 1 e-/s) is the stack's. None: not measured.
    """

    night: dt.date
    filter: str
    program: str
    workspace: str
    object: str
    stack: str
    exposures: int
    seconds: float
    zeropoint: float | None
    zeropoint_error: float | None
    fwhm: float | None
    strehl: float | None
    sky: float | None


def list_nights(folders: Sequence[Path]) -> tuple[list[NightOfStack], list[Path]]:
    """Every night of every stack in workspaces, or in those up to two folders below, in order of time.

    Also the workspaces that were left out: those within another one, which have the same exposures reduced
    otherwise (`goafetch run --as`), unless they are among ``folders``. Raises WorkspaceError where no run has
    finished, BadFile where a product cannot be read.
    """
    found = {place.resolve(): place for folder in folders for place in _workspaces(folder)}
    named = {folder.resolve() for folder in folders}
    within = {real for real in found if not found.keys().isdisjoint(real.parents)} - named
    rows = [row for real, place in found.items() if real not in within for row in _of_workspace(place)]
    if not rows:
        raise WorkspaceError(
            f"the runs in {', '.join(map(str, folders))} have made no stack", "stacks: *_image.fits"
        )
    rows.sort(key=lambda row: (row.night, row.filter, row.program, row.workspace, row.stack))
    return rows, [found[real] for real in sorted(within)]


def _workspaces(folder: Path) -> list[Path]:
    found = sorted(path for above in ("", "*/", "*/*/") for path in folder.glob(f"{above}{FILE}"))
    if not found:
        raise WorkspaceError(
            f"no run has finished in {folder}: no {FILE} there or up to two folders below",
            "folders that `goafetch run` worked in, or one that holds them",
        )
    return [path.parents[1] for path in found]


def _of_workspace(folder: Path) -> Iterator[NightOfStack]:
    summary = read_summary(folder)
    for product in summary.products:
        if (
            product.kind in ("stack", "standard")
            and (exposures := _exposures(folder / product.path)) is not None
        ):
            yield from _of_stack(folder, summary, product, exposures)


def _exposures(path: Path) -> Table | None:
    """A stack's table of exposures, None for what is no stack, or is gone."""
    return fitsio.read_table(path, "EXPOSURES") if path.exists() else None


def _of_stack(folder: Path, summary: RunSummary, product: Product, table: Table) -> Iterator[NightOfStack]:
    frame = fitsio.open_frame(folder / product.path)
    begun = [dt.datetime.fromisoformat(str(text)) for text in table["ut"]]
    nights = np.array([night_of(when) for when in begun])
    zeropoint, unsure = (_number(frame.chips[0], frame.header, key) for key in ("PHOTZP", "PHOTZPER"))
    coadds = as_number(frame.header.get("COADDS")) or 1.0
    for night in sorted(set(nights)):
        part = table[nights == night]
        yield NightOfStack(
            night,
            describe(frame.header, frame.chips).filter or "",
            summary.program,
            str(folder),
            str(frame.header.get("OBJECT", "")),
            product.path,
            len(part),
            float(part["seconds"].sum()),
            zeropoint,
            unsure,
            _median(part["fwhm"] * 1000),
            _median(part["strehl"]),
            _median(part["sky"] * coadds / part["seconds"]),  # pixels hold what one coadd has
        )


def _number(science: Any, primary: Any, key: str) -> float | None:
    value = as_number(science.get(key))
    return as_number(primary.get(key)) if value is None else value


def _median(values: F64) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


@drawn_plainly
def draw_trends(rows: Sequence[NightOfStack]) -> Figure:
    """Every quantity against the date: a colour for each filter, a mark for each program."""
    from matplotlib import dates

    filters, programs = (sorted({getattr(row, name) for row in rows}) for name in ("filter", "program"))
    figure = new_figure(7.6, 8.4, right=0.4, top=0.3 + 0.2 * -(-(len(filters) + len(programs)) // 4))
    figure.subplots_adjust(hspace=0.1)
    begin, end = _midnight(rows[0].night), _midnight(rows[-1].night)
    for place, (name, title, error) in enumerate(PANELS):
        axes = new_axes(figure, 100 * len(PANELS) + 11 + place)
        for row in rows:
            if (value := getattr(row, name)) is not None:
                bar = getattr(row, error) if error else None
                colour = COLOURS[filters.index(row.filter) % len(COLOURS)]
                mark = MARKS[programs.index(row.program) % len(MARKS)]
                axes.errorbar(
                    _midnight(row.night), value, bar, fmt=mark, color=colour, markersize=5, linewidth=1
                )
        axes.set_xlim(begin - MARGIN, end + MARGIN)
        axes.set_ylabel(title)
        axes.yaxis.set_label_coords(-0.085, 0.5)
        axes.margins(y=0.15)
        axes.grid(color=INK, alpha=0.15, linewidth=0.5)
        axes.tick_params(labelbottom=place == len(PANELS) - 1)
        axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=2, maxticks=7))
        axes.xaxis.set_major_formatter(dates.DateFormatter("%Y-%m-%d"))
        if place == 0:
            _add_keys(axes, filters, programs)
    axes.set_xlabel("night, by the UT date of its end")
    measured = ", ".join(
        title for name, title, _ in PANELS if any(getattr(r, name) is not None for r in rows)
    )
    span = f"{rows[0].night} to {rows[-1].night}"
    alt = f"{measured or 'Nothing measured'} of {len(rows)} stacks and nights, {span}."
    caption = "Medians over the exposures of a night; the zeropoint is the stack's, with its error."
    return Figure(as_svg(figure, alt, "trends"), caption)


def _midnight(night: dt.date) -> dt.datetime:
    return dt.datetime(night.year, night.month, night.day)


def _add_keys(axes: Any, filters: Sequence[str], programs: Sequence[str]) -> None:
    """What colours and marks mean, above the figure."""
    from matplotlib.lines import Line2D

    keys = [
        Line2D([], [], color=COLOURS[n % len(COLOURS)], marker="s", linestyle="", label=name)
        for n, name in enumerate(filters)
    ]
    keys += [
        Line2D(
            [], [], color=INK, marker=MARKS[n % len(MARKS)], linestyle="", markerfacecolor="none", label=name
        )
        for n, name in enumerate(programs)
    ]
    axes.legend(handles=keys, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, labelcolor=INK,
                fontsize=8.5, handletextpad=0.2, columnspacing=1.0)  # fmt: skip


def make_trends_page(rows: Sequence[NightOfStack]) -> str:
    """The page: the figure, and the table below it."""
    return render(
        "trends.html",
        rows=rows,
        figure=draw_trends(rows),
        programs=sorted({row.program for row in rows}),
        summary=RunSummary("", version=__version__),
    )
