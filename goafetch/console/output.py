"""Results on standard output and messages on standard error, for people and for pipes."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from goafetch.console.streams import write_message, write_result
from goafetch.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

#: Columns of a terminal that the widest column of a table needs at least.
NARROWEST = 24

FORMATS = ("table", "json", "csv", "names")

Row = Mapping[str, Any]


def print_result(text: str) -> None:
    """Write a line of a result to standard output."""
    write_result(text + "\n")


def say(text: str, *, style: str = "") -> None:
    """Write a message to standard error; ``style`` (rich's words) colours it on a terminal."""
    if not is_terminal(sys.stderr):
        write_message(text + "\n")
        return
    from rich.text import Text

    console_on(sys.stderr).print(Text(text, style=style), soft_wrap=True)


def emit_json(document: object) -> None:
    """Write one JSON document to standard output; what JSON has no word for (NaN, paths) is translated."""
    plain = to_plain(document)
    text = json.dumps(plain, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # JSON has its own way to write any letter in ASCII
        text = json.dumps(plain, indent=2)
    write_result(text + "\n")


def show_table(
    rows: Iterable[Row],
    columns: Sequence[str] | None = None,
    *,
    format: str = "table",
    title: str | None = None,
) -> None:
    """Show records on standard output.

    ``table`` is drawn on a terminal and elsewhere has one record a line, fields separated by tabs, without
    a heading, so that ``wc -l`` and ``cut -f`` mean what they say. ``json`` is one list of whole records,
    ``csv`` has a heading, ``names`` is the first column alone. ``columns`` (default: the keys of the first
    record) chooses and orders what is shown. Raises UsageError for an unknown format.
    """
    records = list(rows)
    names = list(columns if columns is not None else records[0] if records else ())
    if format == "json":
        emit_json(records)
    elif format == "csv":
        write_result(_as_csv(records, names))
    elif format == "names":
        write_result("".join(as_text(row.get(names[0])) + "\n" for row in records))
    elif format != "table":
        raise UsageError(f"unknown format '{format}'", "one of " + ", ".join(FORMATS))
    elif is_terminal(sys.stdout):
        _draw(records, names, title)
    else:
        lines = ("\t".join(as_text(row.get(name)) for name in names) for row in records)
        write_result("".join(line + "\n" for line in lines))


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a person watches a stream on a terminal that can do more than print lines."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def console_on(stream: TextIO) -> Console:
    """A rich console that draws on a terminal; NO_COLOR and COLUMNS are respected."""
    from rich.console import Console

    return Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)


def as_text(value: object) -> str:
    """A value in one line without control characters; nothing for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(as_text(item) for item in value)
    return "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in str(value))


def to_plain(value: Any) -> Any:
    """Turn a value into what JSON knows: no NaN, no paths, no classes."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((to_plain(item) for item in value), key=str)
    if hasattr(value, "tolist"):  # a NumPy scalar or array, without importing NumPy
        return to_plain(value.tolist())
    return str(value)


def _as_csv(records: Iterable[Row], names: Sequence[str]) -> str:
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([as_text(row.get(name)) for name in names] for row in records)
    return page.getvalue()


def _draw(records: Sequence[Row], names: Sequence[str], title: str | None) -> None:
    """A table where only the widest column is broken over lines; lists of values where there is no room."""
    console = console_on(sys.stdout)
    cells = [[as_text(row.get(name)) for name in names] for row in records]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    widest = widths.index(max(widths)) if widths else 0
    room = console.width - sum(widths) - 3 * len(widths) + (widths[widest] if widths else 0)
    if room < min(NARROWEST, max(widths, default=0)):
        _draw_values(console, cells, names, title)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(names):
        numeric = bool(records) and all(isinstance(row.get(name), (int, float)) for row in records)
        table.add_column(
            Text(name), overflow="fold", no_wrap=place != widest, justify="right" if numeric else "left"
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _draw_values(
    console: Console, cells: Sequence[Sequence[str]], names: Sequence[str], title: str | None
) -> None:
    from rich.text import Text

    console.print(Text(title or "", style="bold"))
    label = max(map(len, names))
    for row in cells:
        console.print()
        for name, cell in zip(names, row, strict=True):
            if cell:
                console.print(Text(f"{name:>{label}}  ", style="dim").append(cell, style="not dim"))
