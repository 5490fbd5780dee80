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

from reducer.frame import Context, FrameRef
from reducer.products import exposure_name
from reducer.types import Header, Table

Rows = list[tuple[str, ...]]
#: Columns of PROVENANCE and HISTORY.
FILES = ("timestamp", "filename", "md5", "provenance_added_by")
STEPS = ("timestamp_start", "timestamp_stop", "primitive", "args")
#: Keywords of what a step has learnt of an exposure: true of what it writes, not of what is made of that.
LEARNT = ("OBJFRAME", "SKYFRAME", "FLXSCALE", "FLXSCERR")


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
) -> Target:
    """Name a product after its first input and write down what it is made from.

    ``stamps``: keywords that get the time, as DRAGONS marks what was done. ``keywords``: facts of the
    product for its primary header.
    """
    stamp_of_now = now()
    path = context.folder / product_name(frame.path, suffix)
    header = frame.header.copy()
    for key in LEARNT:
        if key in header:
            del header[key]
    for stamp in ("GEM-TLM", "PREPARE", *stamps):
        header[stamp] = stamp_of_now
    header["ORIGNAME"] = as_ascii(product_name(frame.path, ""))
    header["GOAFVERS"] = _version("goafetch")
    if context.key:
        header["GOAFKEY"] = context.key
    for key, fact in (keywords or {}).items():
        header[key] = as_ascii(fact) if isinstance(fact, str) else fact
    # What is prepared already has said so.
    for said in frame.repairs if "PREPARE" not in frame.header else ():
        header.add_history(said)
    return Target(path, header, _tables(context, inputs, stamp_of_now))


def now() -> str:
    """The time, UTC, as headers have it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _tables(context: Context, inputs: Sequence[FrameRef], now: str) -> dict[str, Table]:
    """PROVENANCE and HISTORY with the columns DRAGONS gives them, and the versions that did the work."""
    before = [_read_story(context, frame) for frame in inputs]
    given = (context.flat, context.bpm, context.dark, context.user_bpm)
    calibrations = [path for path in given if path is not None]
    files: Rows = [(now, *facts) for facts in _inputs(context, inputs)]
    files += [(now, path.name, file_md5(path), "calibration") for path in calibrations]
    if context.recipe_file:
        files.append((now, context.recipe_file.name, file_md5(context.recipe_file), "recipe"))
    earlier = {row[1:3]: row for rows, _ in before for row in rows}
    listed = {row[1:3] for row in files}
    files += [row for facts, row in earlier.items() if facts not in listed]
    steps: Rows = [
        (step.start, step.stop or now, step.name, _as_json(step.parameters)) for step in context.steps
    ]
    run = {(step.start, step.name) for step in context.steps}
    steps = [row for row in (before[0][1] if before else ()) if (row[0], row[2]) not in run] + steps
    versions = [(name, _version(name)) for name in ("goafetch", "numpy", "scipy", "astropy", "numba", "sep")]
    return {
        "PROVENANCE": _text_table(files, FILES),
        "HISTORY": _text_table(steps, STEPS),
        "VERSIONS": _text_table(versions, ("package", "version")),
    }


def _read_story(context: Context, frame: FrameRef) -> tuple[Rows, Rows]:
    """PROVENANCE, raw frames as 'raw input', and HISTORY of an input that is a product, written or not yet; a
    raw one has none."""
    if "PREPARE" not in frame.header:
        return [], []

    def table(name: str) -> Table | None:
        return frame.source.tables.get(name) if frame.source else context.disk.read_table(frame.path, name)

    files: Rows = [
        (*row[:3], {"input": "raw input"}.get(row[3], row[3])) for row in _rows(table("PROVENANCE"), FILES)
    ]
    return files, _rows(table("HISTORY"), STEPS)


def steps_done(context: Context, frame: FrameRef) -> list[str]:
    """The names of the steps that made a product, as its HISTORY has them."""
    return [row[2] for row in _read_story(context, frame)[1]]


def _rows(table: Table | None, columns: tuple[str, ...]) -> Rows:
    """The rows of a table that has these columns."""
    if table is None or not set(columns) <= set(table.dtype.names or ()):
        return []
    return [tuple(str(row[name]) for name in columns) for row in table]


def _inputs(context: Context, frames: Sequence[FrameRef]) -> list[tuple[str, str, str]]:
    """Name, md5 and 'input' of the files behind the inputs: for a frame that is not written, its raw file."""
    raw = [_rows(frame.source.tables.get("PROVENANCE"), FILES) if frame.source else [] for frame in frames]
    unknown = [frame.path for frame, rows in zip(frames, raw, strict=True) if not rows and not _known(frame)]
    hashes = dict(zip(unknown, context.map(file_md5, unknown), strict=True))
    found = []
    for frame, rows in zip(frames, raw, strict=True):
        behind = [(row[1], row[2]) for row in rows if row[3] == "input"]
        found += behind or [(frame.path.name, _known(frame) or hashes[frame.path])]
    return [(*pair, "input") for pair in found]


def _known(frame: FrameRef) -> str:
    """The md5 of the file itself where it is known: that of a raw one."""
    return frame.md5 if "PREPARE" not in frame.header else ""


def _as_json(parameters: Mapping[str, Any]) -> str:
    """Parameters as JSON, which has no word for what is not a number."""
    plain = {name: str(value) if value != value else value for name, value in parameters.items()}
    return json.dumps(plain, default=str)


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
