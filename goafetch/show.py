"""Records as HTML for notebooks: what the `_repr_html_` of the program's objects are made of."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

#: Rows that a notebook shows of a long table.
MOST_ROWS = 200


def table_html(rows: Sequence[Mapping[str, Any]], caption: str) -> str:
    """Records as an HTML table with a caption; of a long one the first rows, and how many follow."""
    names = list(rows[0]) if rows else []
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(row[name]))}</td>" for name in names) + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = f"<p>and {len(rows) - MOST_ROWS} more</p>" if len(rows) > MOST_ROWS else ""
    return f"<table><caption>{html.escape(caption)}</caption><tr>{head}</tr>{body}</table>{more}"
