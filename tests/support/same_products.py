"""Whether two workspaces hold the same products, but for when they were made and how long it took."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from astropy.io import fits

#: Keywords that depend on the time of making, or on others that do.
TIMES = {"CHECKSUM", "DATASUM", "DATE", "GEM-TLM"}
WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?")
ROOT = re.compile(r'/[^"]*/(?=playground/)')
MADE = re.compile(r"_[a-zA-Z]+\.fits$")
LEFTOVER = re.compile(r"\..*(\.part|\.new|\.tmp)|\.scratch-.*|\.incoming")


def differences(left: Path, right: Path) -> list[str]:
    """What two workspaces do not have in common, in words; [] if nothing."""
    here, there = products(left), products(right)
    found = [
        f"only in one: {name}" for name in sorted((set(here) ^ set(there)) | (pages(left) ^ pages(right)))
    ]
    found += [f"only in one store: {name}" for name in sorted(entries(left) ^ entries(right))]
    for name in sorted(set(here) & set(there)):
        found += [f"{name}: {what}" for what in _differ(here[name], there[name])]
    return found


def products(root: Path) -> dict[str, Path]:
    """Every FITS file of a workspace by its place there."""
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*.fits")}


def pages(root: Path) -> set[str]:
    """Every page of the report."""
    return {path.relative_to(root).as_posix() for path in root.glob("report/*.html")}


def entries(root: Path) -> set[str]:
    """Every calibration that a workspace's own store knows."""
    store = root / "playground/calibrations/calstore.json"
    known = json.loads(store.read_text())["calibrations"].values() if store.exists() else ()
    return {record["path"] for record in known}


def leftovers(root: Path) -> list[Path]:
    """What a process that was killed left half-made."""
    return [path for path in root.rglob(".*") if LEFTOVER.fullmatch(path.name)]


def _differ(left: Path, right: Path) -> list[str]:
    found = []
    with fits.open(left, checksum=True) as a, fits.open(right, checksum=True) as b:
        if len(a) != len(b):
            return [f"{len(a)} units and {len(b)}"]
        for one, other in zip(a, b, strict=True):
            if _cards(one.header) != _cards(other.header):
                found.append(f"header of {one.name} {one.ver}")
            if not _same_data(one, other):
                found.append(f"data of {one.name} {one.ver}")
    return found


def _cards(header: fits.Header) -> list[tuple[str, str]]:
    cards = [(card.keyword, str(card.value)) for card in header.cards if card.keyword not in TIMES]
    return [(key, value) for key, value in cards if not WHEN.fullmatch(value) or key == "DATE-OBS"]


def _same_data(one: fits.ImageHDU, other: fits.ImageHDU) -> bool:
    if one.data is None or other.data is None:
        return one.data is other.data
    if not isinstance(one, fits.BinTableHDU):
        return np.array_equal(one.data, other.data, equal_nan=one.data.dtype.kind == "f")
    return one.columns.names == other.columns.names and all(
        _same_column(name, one.data, other.data) for name in one.columns.names
    )


def _same_column(name: str, one: fits.FITS_rec, other: fits.FITS_rec) -> bool:
    if name.startswith("timestamp"):
        return len(one) == len(other)
    a, b = one[name], other[name]
    if name == "md5":  # a product has the time of its own making in it
        a, b = (t[name][[not MADE.search(str(file)) for file in t["filename"]]] for t in (one, other))
    if a.dtype.kind == "U":  # may name files of the workspace, which stands elsewhere
        a, b = (np.array([ROOT.sub("", str(text)) for text in column]) for column in (a, b))
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
