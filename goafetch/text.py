"""Text: lists of names as people's editors write them, names of groups, and records as HTML for notebooks."""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from goafetch.errors import UsageError

if TYPE_CHECKING:
    from markupsafe import Markup

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; UsageError for another encoding."""
    text = _decoded(path.read_bytes(), str(path))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{path} is not text in UTF-8", "UTF-8", "save it in that encoding") from error
    return text


def read_names(content: bytes, where: str) -> list[str]:
    """The names in a list: one a line, ``#`` begins a comment; bytes that are no UTF-8 are kept."""
    lines = _decoded(content, where).splitlines()
    return [name for line in lines if (name := line.partition("#")[0].strip())]


def write_names(names: Iterable[object], comments: Iterable[str]) -> bytes:
    """A list that ``read_names`` reads, with comments at its head."""
    lines = [*(f"# {comment}" for comment in comments), *map(str, names)]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def file_name(group: str) -> str:
    """A group's name as part of a file name: 'NGC5128_Kshort_60s'."""
    short = re.sub(r"(?<=\d) s\b", "s", group)
    return re.sub(r"[^\w.+-]+", "_", short).strip("_")


def _decoded(content: bytes, where: str) -> str:
    """Text whose bytes that are no UTF-8 are kept as Python keeps those of file names (PEP 383)."""
    if content.startswith(_UTF16):
        raise UsageError(f"{where} is in UTF-16", "text in UTF-8", "save it in that encoding")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def parse_parameters(given: Any) -> list[tuple[str, Any]]:
    """('step:name', value) pairs from such pairs (3.x), a dictionary (4.x) or 'step:name=value' texts."""
    if isinstance(given, Mapping):
        return list(given.items())
    return [split_at("=", each) if isinstance(each, str) else (each[0], each[1]) for each in given]


def split_at(sign: str, text: str) -> tuple[str, str]:
    """What a text such as 'step:name=value' sets, and to what; UsageError where it sets nothing."""
    name, found, value = text.partition(sign)
    if not found or not name.strip():
        example = "skyCorrect:offset_sky=False" if sign == "=" else "processed_flat:FILE"
        raise UsageError(f"{text!r} sets nothing", f"as in {example}")
    return name.strip(), value.strip().strip("\"'")


#: Rows that a notebook shows of a long table.
MOST_ROWS = 200


def table_html(rows: Sequence[Mapping[str, Any]], caption: str) -> str:
    """Records as an HTML table with a caption, paths as links; of many the first, and how many follow."""
    names = list(rows[0]) if rows else []
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row[name])}</td>" for name in names) + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = f"<p>and {len(rows) - MOST_ROWS} more</p>" if len(rows) > MOST_ROWS else ""
    return f"<table><caption>{html.escape(caption)}</caption><tr>{head}</tr>{body}</table>{more}"


def _cell(value: Any) -> str:
    """A value as HTML: a path is a link, from a notebook's folder where it lies below."""
    text = html.escape(str(value))
    if not isinstance(value, Path):
        return text
    path, here = value.absolute(), Path.cwd()
    place = quote(path.relative_to(here).as_posix()) if path.is_relative_to(here) else path.as_uri()
    return f'<a href="{place}">{html.escape(value.name)}</a>'


#: An option of a command in a sentence.
OPTION = re.compile(r"--[a-z]+(-[a-z]+)*( FILE)?")


def mark_options(text: str) -> Markup:
    """Text as HTML in which options of commands, with the file they take, are never broken."""
    from markupsafe import Markup, escape

    return Markup(OPTION.sub(r'<code class="option">\g<0></code>', str(escape(text))))  # noqa: S704 - escaped
