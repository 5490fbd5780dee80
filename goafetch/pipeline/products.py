"""Products as the cache: which are current, and where the calibrations among them are kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path

from calstore.associate import PROCESSED_FLAT
from goafetch.plan.keys import Facts, product_key
from goafetch.workspace import Verified, Workspace, link_or_copy, read_json, write_atomically
from reducer.headers.same import exposure_name


class Ledger:
    """What each key of this workspace's products stands for, so that a change can be told in words."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts: dict[str, Facts] = read_json(path)
        self._lock = threading.Lock()

    def enter(self, facts: Facts) -> str:
        """Note what a product depends on; returns its key."""
        key = product_key(facts)
        with self._lock:
            self._facts[key] = facts
        return key

    def facts(self, key: str | None) -> Facts | None:
        """What a key stands for, None where that is not known."""
        return self._facts.get(key or "")

    def save(self) -> None:
        """Write what is known."""
        with self._lock:
            write_atomically(self.path, json.dumps(self._facts, indent=0, default=str))


def of_frame(frame: Path, workspace: Workspace) -> tuple[Path, Path]:
    """What a raw frame may become: one of the two, by whether it is on target."""
    own = workspace.playground / exposure_name(frame)
    return Path(f"{own}_skyCorrected.fits"), Path(f"{own}_flatCorrected.fits")


def is_current(product: Path, key: str, verified: Verified) -> bool:
    """Whether a product is whole and carries the key: as remembered, else by its header and checksums."""
    if not product.exists():
        return False
    if verified.proof(product) is not None:
        return verified.proof(product) == key
    from reducer.errors import BadFile
    from reducer.fitsio import is_whole, key_of

    try:
        if key_of(product) != key or not is_whole(product):
            return False
    except BadFile:
        return False  # cut short or overwritten: it is made again
    verified.remember(product, key)
    return True


def remember(made: Iterable[Path], key: str, verified: Verified) -> None:
    """Note the key of products that were just written."""
    for product in made:
        verified.remember(product, key)


def keep_as_calibration(product: Path, calibrations: Path, kind: str = PROCESSED_FLAT) -> Path:
    """Give a product its second place, such as calibrations/processed_flat/, as DRAGONS does."""
    kept = calibrations / kind / product.name
    if not (kept.exists() and kept.samefile(product)):
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_name(f".{kept.name}.new")
        temporary.unlink(missing_ok=True)
        link_or_copy(product, temporary)
        temporary.replace(kept)
    return kept
