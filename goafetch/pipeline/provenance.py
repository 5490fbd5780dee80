"""Where a product came from, as its header and tables tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from goafetch.errors import UsageError

Rows = list[dict[str, Any]]
#: Tables of a product and what they are called when shown.
TABLES = {"PROVENANCE": "inputs and calibrations", "HISTORY": "steps", "VERSIONS": "versions"}


def read_provenance(product: Path) -> dict[str, Rows]:
    """What a product is, its inputs with md5, its steps with parameters, and versions, each as rows.

    Raises UsageError for a file that does not tell where it came from, BadFile for one that is not FITS.
    """
    from reducer.fitsio import read_headers, read_table

    if not product.is_file():
        raise UsageError(f"there is no file {product}", "a product of goafetch")
    primary, _ = read_headers(product)
    story = {"product": _facts(product, primary)}
    for name, title in TABLES.items():
        table = read_table(product, name)
        if table is not None:
            story[title] = [dict(zip(table.dtype.names or (), row, strict=True)) for row in table.tolist()]
    if len(story) == 1:
        raise UsageError(
            f"{product.name} does not tell where it came from",
            "a product of goafetch, such as playground/*_image.fits",
        )
    return story


def _facts(product: Path, primary: Any) -> Rows:
    known = {"object": "OBJECT", "made": "GEM-TLM", "first input": "ORIGNAME", "key": "GOAFKEY"}
    rows = [{"fact": "file", "value": product.name}]
    rows += [{"fact": fact, "value": str(primary[key])} for fact, key in known.items() if key in primary]
    history = primary.get("HISTORY", ())
    return rows + [{"fact": "history", "value": str(line)} for line in history]
