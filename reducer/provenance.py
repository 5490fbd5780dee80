"""Where a product came from: the one place that writes its name, its keywords and its provenance tables."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from reducer.frame import Context, FrameRef, Header, Table
from reducer.headers.same import exposure_name


@dataclass(frozen=True)
class Target:
    """A product about to be written: its path, primary header and tables. Small, so that tasks carry it."""

    path: Path
    header: Header
    tables: Mapping[str, Table]


def product_name(path: Path, suffix: str) -> str:
    """'S20170505S0095_flatCorrected.fits' and '_skyCorrected' make 'S20170505S0095_skyCorrected.fits'."""
    return f"{exposure_name(path)}{suffix}.fits"


def plan_product(
    context: Context,
    frame: FrameRef,
    suffix: str,
    inputs: Sequence[FrameRef],
    *,
    stamps: Sequence[str] = (),
    keywords: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> Target:
    """Name a product after its first input and write down what it is made from.

    ``stamps``: keywords that get the time, as DRAGONS marks what was done. ``keywords``: facts of the
    product for its primary header.
    """
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    path = (folder or context.folder) / product_name(frame.path, suffix)
    header = frame.header.copy()
    for stamp in ("GEM-TLM", "PREPARE", *stamps):
        header[stamp] = now
    header["ORIGNAME"] = as_ascii(product_name(frame.path, ""))
    header["GOAFVERS"] = _version("goafetch")
    if context.key:
        header["GOAFKEY"] = context.key
    for key, fact in (keywords or {}).items():
        header[key] = as_ascii(fact) if isinstance(fact, str) else fact
    for said in frame.repairs:
        header.add_history(said)
    return Target(path, header, _tables(context, inputs, now))


def _tables(context: Context, inputs: Sequence[FrameRef], now: str) -> dict[str, Table]:
    """PROVENANCE and HISTORY with the columns DRAGONS gives them, and the versions that did the work."""
    calibrations = [path for path in (context.flat, context.bpm) if path is not None]
    files = [(now, frame.path.name, frame.md5, "input") for frame in inputs]
    files += [(now, path.name, file_md5(path), "calibration") for path in calibrations]
    if context.recipe_file:
        files.append((now, context.recipe_file.name, file_md5(context.recipe_file), "recipe"))
    steps = [(now, now, step.name, json.dumps(dict(step.parameters), default=str)) for step in context.steps]
    versions = [(name, _version(name)) for name in ("goafetch", "numpy", "scipy", "astropy", "numba", "sep")]
    return {
        "PROVENANCE": _text_table(files, ("timestamp", "filename", "md5", "provenance_added_by")),
        "HISTORY": _text_table(steps, ("timestamp_start", "timestamp_stop", "primitive", "args")),
        "VERSIONS": _text_table(versions, ("package", "version")),
    }


def _text_table(rows: Sequence[tuple[str, ...]], columns: Sequence[str]) -> Table:
    width = [max([1, *(len(row[place]) for row in rows)]) for place in range(len(columns))]
    kinds = [(name, f"U{size}") for name, size in zip(columns, width, strict=True)]
    return np.array(rows, dtype=kinds)


def as_ascii(text: str) -> str:
    """A text as FITS can hold it: other letters and control characters as Python escapes them."""
    return text if text.isascii() and text.isprintable() else text.encode("unicode_escape").decode("ascii")


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


_hashes: dict[tuple[Path, int, int], str] = {}


def file_md5(path: Path) -> str:
    """The md5 of a file, remembered as long as its size and time stay."""
    state = path.stat()
    key = (path, state.st_size, state.st_mtime_ns)
    if key not in _hashes:
        with path.open("rb") as file:
            _hashes[key] = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return _hashes[key]
