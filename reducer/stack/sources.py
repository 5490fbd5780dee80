"""The sources of a stack, found and measured strip by strip, where its rows are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from reducer import dq
from reducer.frame import Context
from reducer.instruments.base import Widths
from reducer.photometry.beside import over_near_sky
from reducer.photometry.growth import Rings, sum_rings
from reducer.photometry.hidden import add_hidden
from reducer.photometry.objects import Look, measure_objects
from reducer.sources.detection import detect_sources
from reducer.stack.parts import Parts
from reducer.types import F64, Table

#: Rows of the stack in which sources are sought at a time, and how far beyond them they may reach.
STRIP, MARGIN = 1100, 160


@dataclass(frozen=True)
class Stack:
    """The whole stack, in parts, the table of its sources (dtype ``MEASURED``), and the light that a star
    needs to be found, at places spread over it (dtype ``NEED``)."""

    parts: Parts
    sources: Table
    needed: Table


def find_sources(parts: Parts, widths: Widths, context: Context) -> Stack:
    """The whole stack with its sources, brightest first, found strip by strip."""
    height = parts.height
    cores = [(first, min(first + STRIP, height)) for first in range(0, height, STRIP)]
    reach = [(max(first - MARGIN, 0), min(last + MARGIN, height)) for first, last in cores]
    tables = context.map(_measure_strip, [(parts, widths, *rows) for rows in reach])
    kept: tuple[list[Table], list[Table]] = ([], [])
    for (first, last), (lowest, _), both in zip(cores, reach, tables, strict=True):
        for table, some in zip(both, kept, strict=True):
            table["y"] += lowest
            some.append(table[(table["y"] >= first - 0.5) & (table["y"] < last - 0.5)])
    found, needed = (np.concatenate(some) for some in kept)
    found = found[np.argsort(-found["flux"][:, 0], kind="stable")]
    return Stack(parts, found, needed)


def _measure_strip(task: tuple[Parts, Widths, int, int]) -> tuple[Table, Table]:
    """The sources of the rows of a stack from one up to another, and what light a star there needs."""
    parts, widths, first, last = task
    sources = detect_sources(*parts.some(first, last), widths)
    # Read anew: the search has changed them, and two copies would take more memory than all else.
    planes = parts.some(first, last)
    sources = over_near_sky(sources, planes[0], planes[2], widths)
    sources, needed = add_hidden(sources, *planes, widths)
    return measure_objects(sources, *planes), needed


def looking(stack: Stack, context: Context) -> Look:
    """What gives the rings about stars of a stack, in worker processes where there are any."""

    def look(stars: Table, edges: F64) -> Iterable[Rings]:
        return context.map(_sum_rings, [_cut(stack, star, edges) for star in stars])

    return look


def _cut(stack: Stack, star: Table, edges: F64) -> tuple[Parts, Table, Table, F64, slice]:
    """A star and the sources that may reach into its rings, with y from the first of the rows there."""
    reach = int(edges[-1]) + 1
    row = round(float(star["y"]))
    first = max(row - reach, 0)
    away = np.hypot(stack.sources["x"] - star["x"], stack.sources["y"] - star["y"])
    star, others = star.copy(), stack.sources[away < 2 * reach + 1]
    star["y"] -= first
    others["y"] -= first
    return stack.parts, star, others, edges, slice(first, row + reach + 1)


def _sum_rings(task: tuple[Parts, Table, Table, F64, slice]) -> Rings:
    parts, star, others, edges, rows = task
    data, variance, mask = parts.data[rows], parts.variance[rows], parts.mask[rows]
    return sum_rings(data, variance, (mask & dq.UNUSABLE) == 0, star, others, edges)
