"""Results on standard output, messages on standard error, and errors as the user sees them."""

from __future__ import annotations

import csv
import dataclasses
import functools
import inspect
import io
import json
import math
import os
import sys
import tempfile
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from goafetch.errors import FAILED, INTERRUPTED, Failure, UsageError, as_failure
from goafetch.system import raise_errors

if TYPE_CHECKING:
    from rich.console import Console


class OutputLost(Exception):
    """A result could not be written to standard output; ``code`` is what a shell is to get."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written to: {error.strerror}")
        self.code = READER_GONE if isinstance(error, BrokenPipeError) else 1


#: What a shell gets where the reader of a pipe has gone: 128 and the number of SIGPIPE.
READER_GONE = 141


def open_missing() -> None:
    """Open closed standard streams to nowhere: a file that is opened later must not take their place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def write_result(text: str) -> None:
    """Write to standard output; raises OutputLost."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        silence(sys.stdout)
        raise OutputLost(error) from error


def write_message(text: str) -> None:
    """Write to standard error; where nobody can read it the work goes on."""
    try:
        _write(sys.stderr, text)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Write nothing more to a stream that was lost, not even what is left in it as the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _write(stream: TextIO, text: str) -> None:
    """Names of files go out with the bytes that they have; no message dies of an accent."""
    encoding = stream.encoding or "utf-8"
    try:
        content = text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        content = text.encode(encoding, "backslashreplace")
    stream.flush()
    raw: Any = getattr(stream, "buffer", None)
    if raw is None:  # a notebook's
        stream.write(content.decode(encoding, "replace"))
    else:
        raw.write(content)
    stream.flush()


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
    heading: bool = False,
) -> None:
    """Show records on standard output.

    ``table`` is drawn on a terminal and elsewhere has one record a line, fields separated by tabs, without
    a heading, so that ``wc -l`` and ``cut -f`` mean what they say; with ``heading`` it has one there too, for
    numbers that nobody knows apart without it. ``json`` is one list of whole records, ``csv`` has a heading,
    ``names`` is the first column alone. ``columns`` (default: the keys of the first record) chooses and
    orders what is shown. Raises UsageError for an unknown format.
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
        above = [dict(zip(names, names, strict=True))] if heading else []
        lines = ("\t".join(as_text(row.get(name)) for name in names) for row in (*above, *records))
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


#: With this set in the environment, as --debug does, every error shows its traceback.
DEBUG = "GOAFETCH_DEBUG"


def fail(failure: Failure, *, json: bool = False) -> None:
    """Show a failure: a panel on a terminal, plain lines elsewhere; with ``json`` as ``{"error": {...}}``."""
    if json:
        emit_json({"error": failure})
    elif is_terminal(sys.stderr):
        _draw_panel(failure)
    else:
        for label, text in _lines(failure):
            say(f"{label}: {text}")


def handled(command: Callable[..., Any]) -> Callable[..., None]:
    """Make a command end in words and an exit code, never in a traceback.

    The command may return its exit code (None is 0). Every command has the options --json, --verbose, --quiet
    and --debug, and is given those of them that it takes. Its errors are JSON with --json or ``format`` json.
    """
    signature, common = inspect.signature(command, eval_str=True), _common_options()

    @functools.wraps(command)
    def run(*args: Any, debug: bool = False, **options: Any) -> None:
        if debug:
            os.environ[DEBUG] = "1"
        json = bool(options.get("json")) or options.get("format") == "json"
        taken = {name: value for name, value in options.items() if name in signature.parameters}
        raise_errors()
        try:
            code = command(*args, **taken) or 0
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - everything ends in words
            code = end_in_words(error, json=json)
        if code:
            raise SystemExit(code)

    own = {name: parameter for name, parameter in signature.parameters.items() if name not in common}
    parameters = own | common
    run.__signature__ = signature.replace(parameters=list(parameters.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return run


def _common_options() -> dict[str, inspect.Parameter]:
    """The options that all commands have, as typer reads them from a signature."""
    import typer

    options = {
        "json": typer.Option(False, "--json", help="One JSON document on standard output."),
        "verbose": typer.Option(False, "--verbose", "-v", help="Every file that is made or reused."),
        "quiet": typer.Option(False, "--quiet", "-q", help="Only what went wrong."),
        "debug": typer.Option(False, "--debug", help="Show the traceback of any error."),
    }
    last = inspect.Parameter.KEYWORD_ONLY
    return {n: inspect.Parameter(n, last, default=o, annotation=bool) for n, o in options.items()}


def end_in_words(error: BaseException, *, json: bool = False) -> int:
    """Show the error that ended a command; returns the exit code."""
    if isinstance(error, OutputLost):
        return report_lost(error)
    if isinstance(error, KeyboardInterrupt):
        remedy = "everything finished so far is kept; the same command goes on from there"
        failure = Failure(INTERRUPTED, "interrupted", remedy=remedy)
    else:
        if os.environ.get(DEBUG):
            say("".join(traceback.format_exception(error)))
        failure = as_failure(error) or _describe_unforeseen(error)
    try:
        fail(failure, json=json)
    except OutputLost as lost:
        report_lost(lost)
    return failure.exit_code


def report_lost(lost: OutputLost) -> int:
    """Say that results could not be written, unless their reader has seen enough (`... | head`)."""
    if lost.code != READER_GONE:
        say(f"error: {lost}")
    return lost.code


def _lines(failure: Failure) -> list[tuple[str, str]]:
    if failure.exit_code == INTERRUPTED:
        return [("interrupted", failure.remedy)]
    lines = [("error", failure.found), ("needed", failure.needed), ("what to do", failure.remedy)]
    return [(label, text) for label, text in lines if text]


def _draw_panel(failure: Failure) -> None:
    from rich.panel import Panel
    from rich.text import Text

    interrupted = failure.exit_code == INTERRUPTED
    colour = "yellow" if interrupted else "red"
    (title, first), *others = _lines(failure)
    body = Text(first, style="" if interrupted else "bold")
    for label, text in others:
        body.append(f"\n{label}: ", style="dim").append(text)
    heading = Text(title, style=colour)
    console_on(sys.stderr).print(Panel(body, title=heading, title_align="left", border_style=colour))


def _describe_unforeseen(error: BaseException) -> Failure:
    found = f"sorry, this was not foreseen: {type(error).__name__}: {error}"
    story = "".join(traceback.format_exception(error))
    details = "--debug shows the details"
    with suppress(OSError):
        handle, name = tempfile.mkstemp(".txt", "goafetch-error-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(story)
        details = f"{name} has the details for a report of the fault"
    return Failure(FAILED, found, remedy=f"everything finished so far is kept; {details}")
