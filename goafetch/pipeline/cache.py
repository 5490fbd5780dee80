"""Products as the cache: keys of all that they were made from, which are current, what was told meanwhile."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from calstore.associate import Calibration
from calstore.store import CalStore
from goafetch.config import Settings
from goafetch.engine.pool import WorkspacePool
from goafetch.events import Event, as_document, from_document
from goafetch.plan.decide import promise
from goafetch.plan.plan import MASTERS, Group
from goafetch.workspace import Verified, Workspace, link_or_copy, md5_of, read_json, write_atomically
from reducer.products import OFF_TARGET, ON_TARGET, exposure_name


class Cache:
    """What is known of a workspace's files and products by their content.

    A product carries the key of all that it was made from; for each key the facts that it stands for are
    kept, so that a change can be told, and what was told while its products were made. Files whose md5 is
    not known are read by the workers of ``pool``. May be used from several threads.
    """

    def __init__(self, workspace: Workspace, pool: WorkspacePool) -> None:
        base = workspace.base or workspace
        self.verified, self._base = Verified(workspace.verified, base.verified), Verified(base.verified)
        self._path, self._pool, self._workspace = workspace.ledger, pool, workspace
        self._entries: dict[str, dict[str, object]] = read_json(base.ledger) | read_json(self._path)
        self._under_way: dict[Path, Future[str]] = {}
        self._lock = threading.Lock()

    def enter(
        self,
        recipe: str,
        inputs: Mapping[str, str],
        calibrations: Mapping[str, str],
        parameters: Mapping[str, Mapping[str, Any]],
    ) -> str:
        """Note all that products depend on; returns their key, a short hash of it.

        ``inputs`` and ``calibrations`` map names to an md5 or to the key of a product; ``parameters``: the
        user's, of the recipe's steps.
        """
        facts: dict[str, object] = {
            "recipe": recipe,
            "inputs": dict(inputs),
            "calibrations": dict(calibrations),
            "parameters": {step: dict(chosen) for step, chosen in parameters.items() if chosen},
            "code": code_version(),
        }
        text = json.dumps(facts, sort_keys=True, default=str)
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        with self._lock:
            self._entries.setdefault(key, facts)
        return key

    def facts(self, key: str | None) -> Facts | None:
        """What a key stands for, None where that is not known."""
        return self._entries.get(key or "")

    def told(self, key: str) -> tuple[Event, ...]:
        """What was told while the products of a key were made."""
        documents = self._entries.get(key, {}).get("told", ())
        assert isinstance(documents, Sequence)
        return tuple(map(from_document, documents))

    def keep(self, key: str, told: Iterable[Event]) -> None:
        """Note what was told while the products of a key were made."""
        with self._lock:
            self._entries[key]["told"] = [as_document(event) for event in told]

    def is_current(self, product: Path, key: str) -> bool:
        """Whether a product is whole and carries the key, or can be had so from the base."""
        return self._carries(product, key) or self._take_over(product, key)

    def _carries(self, product: Path, key: str) -> bool:
        """Whether a product is whole and carries the key: as remembered, else by its header and checksums."""
        if not product.exists():
            return False
        known = self.verified.proof(product)
        if known is not None:
            return known == key
        from reducer.errors import BadFile
        from reducer.fitsio import is_whole, key_of

        try:
            if key_of(product) != key or not is_whole(product):
                return False
        except BadFile:
            return False  # cut short or overwritten: it is made again
        self.verified.remember(product, key)
        return True

    def _take_over(self, product: Path, key: str) -> bool:
        """Give the base's product a second name here, where it has been made of the same."""
        base = self._workspace.base
        there = base.root / product.relative_to(self._workspace.root) if base else product
        if there == product or self._base.proof(there) != key:
            return False
        temporary = product.with_name(f".{product.name}.new")
        temporary.unlink(missing_ok=True)
        link_or_copy(there, temporary)
        temporary.replace(product)
        self.verified.remember(product, key)
        return True

    def remember(self, made: Iterable[Path], key: str) -> None:
        """Note the key of products that were just written."""
        for product in made:
            self.verified.remember(product, key)

    def read_ahead(self, files: Iterable[Path]) -> bool:
        """Have idle workers read the files whose md5 is not known yet; returns whether there are any."""
        new = [path for path in files if self.verified.proof(path) is None]
        self._under_way |= {path: self._pool.when_idle(md5_of, path) for path in new}
        return bool(new)

    def md5s(self, files: Sequence[Path]) -> dict[str, str]:
        """The md5 of each file by name; those that are not known yet are read by all workers together."""
        unknown = [path for path in files if self.verified.proof(path) is None]
        ahead = {path: self._under_way.pop(path) for path in unknown if path in self._under_way}
        begun = {path: future for path, future in ahead.items() if not future.cancel()}
        todo = [path for path in unknown if path not in begun]
        for path, md5 in zip(todo, self._pool.map(md5_of, todo), strict=True):
            self.verified.remember(path, md5)
        for path, future in begun.items():
            self.verified.remember(path, future.result())
        return {path.name: self.verified.md5(path) for path in files}

    def save(self) -> None:
        """Write what is known."""
        self.verified.save()
        with self._lock:
            write_atomically(self._path, json.dumps(self._entries, indent=0, default=str))


def of_frame(frame: Path, workspace: Workspace) -> tuple[Path, Path]:
    """What a raw frame may become: one of the two, by whether it is on target."""
    own = workspace.playground / exposure_name(frame)
    return Path(f"{own}{ON_TARGET}.fits"), Path(f"{own}{OFF_TARGET}.fits")


def keep_as_calibration(product: Path, calibrations: Path, kind: str) -> Path:
    """Give a product its second place, such as calibrations/processed_flat/, as DRAGONS does."""
    kept = calibrations / kind / product.name
    if not (kept.exists() and kept.samefile(product)):
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_name(f".{kept.name}.new")
        temporary.unlink(missing_ok=True)
        link_or_copy(product, temporary)
        temporary.replace(kept)
    return kept


def store_of(workspace: Workspace, settings: Settings) -> CalStore:
    """The store that settings name, else the workspace's own."""
    return CalStore(settings.store or workspace.calibrations / "calstore.json")


def stored_calibrations(store: CalStore, lookup: Sequence[Path] = ()) -> list[Calibration]:
    """What the store, and others that are looked up, hold and the disk still has; of a file the first."""
    stores = [store, *map(CalStore, lookup)]
    every = [known for each in stores if each.exists for known in each.all()]
    found = {known.path: known for known in reversed(every) if Path(known.path).is_file()}
    return [known for known in every if found.get(known.path) is known]


def add_to_store(store: CalStore, masters: Mapping[Group, bool], workspace: Workspace) -> None:
    """Enter the master flats and darks that were made just now (True), and those that a killed run had made
    and not entered."""
    promised = [
        (promise(group, workspace.calibrations / MASTERS[group.kind]), new) for group, new in masters.items()
    ]
    store.init()
    known = {Path(calibration.path).resolve() for calibration in store.all()} if promised else set()
    missing = [made for made, new in promised if new or Path(made.path).resolve() not in known]
    if missing:
        store.add(*missing)


# --- what a key stands for ---------------------------------------------------------------------------

#: Packages whose version may change a pixel.
LIBRARIES = ("numpy", "scipy", "numba", "sep")


Facts = Mapping[str, Any]


def what_changed(before: Facts, now: Facts) -> str:
    """In words, how what a product was made from differs from what it would be made from now."""
    told = [f"{name} is new" for name in now["inputs"] if name not in before["inputs"]]
    told += [f"{name} is gone" for name in before["inputs"] if name not in now["inputs"]]
    told += [f"{name} is another" for name, key in now["inputs"].items()
             if before["inputs"].get(name, key) != key]  # fmt: skip
    kinds = {**before["calibrations"], **now["calibrations"]}
    told += [f"another {kind}" for kind in kinds
             if before["calibrations"].get(kind) != now["calibrations"].get(kind)]  # fmt: skip
    old, new = _settings(before), _settings(now)
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            told.append(f"{name} was {old.get(name, 'not set')}, is {new.get(name, 'not set')}")
    if before["code"] != now["code"]:
        told.append("another version of the program or its libraries")
    return "; ".join(told) or "made otherwise"


def _settings(facts: Facts) -> dict[str, str]:
    steps = facts["parameters"].items()
    return {f"{step}:{name}": str(value) for step, values in steps for name, value in values.items()}


@cache
def code_version() -> str:
    """A hash of the reducer's sources and data, and the versions of the libraries that touch pixels."""
    digest = hashlib.sha256()
    folder = Path(str(resources.files("reducer")))
    sources = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.suffix in (".py", ".json")}
    for name in sorted(sources):
        digest.update(name.encode())
        digest.update(sources[name].read_bytes())
    for library in LIBRARIES:
        digest.update(f"{library} {metadata.version(library)}".encode())
    return digest.hexdigest()[:16]
