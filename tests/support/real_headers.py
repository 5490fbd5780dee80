"""The telescope's own headers, text dumps kept beside the project or where GOAFETCH_REFERENCE says."""

from __future__ import annotations

import os
from pathlib import Path

from astropy.io import fits

HERE = Path(__file__).resolve().parents[2].parent / "shared/reference"
HEADERS = Path(os.environ.get("GOAFETCH_REFERENCE", HERE)) / "headers"
REAL = HEADERS / "gsaoi"


def real_headers(name: str, folder: Path = REAL) -> list[fits.Header]:
    """The headers of a real file, the primary one first."""
    found: list[fits.Header] = []
    for line in (folder / f"{name}.fits.header").read_text("latin1").splitlines():
        if line.startswith("--- "):
            found.append(fits.Header())
        elif found and line.strip() and line[:8].strip() != "END":
            found[-1].append(fits.Card.fromstring(line[:80].ljust(80)), end=True)
    return found
