"""Keys of products: what a product was made from and how; an equal key means nothing is to be redone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

#: Packages whose version may change a pixel.
LIBRARIES = ("numpy", "scipy", "numba", "sep")


Facts = Mapping[str, Any]


def facts_of(
    recipe: str,
    inputs: Mapping[str, str],
    calibrations: Mapping[str, str],
    parameters: Mapping[str, Mapping[str, Any]],
) -> Facts:
    """All that a product depends on.

    ``inputs`` and ``calibrations`` map names to an md5 or to the key of a product; ``parameters``: the
    user's, of the recipe's steps.
    """
    return {
        "recipe": recipe,
        "inputs": dict(inputs),
        "calibrations": dict(calibrations),
        "parameters": {step: dict(chosen) for step, chosen in parameters.items() if chosen},
        "code": code_version(),
    }


def product_key(facts: Facts) -> str:
    """A short hash of all that a product depends on."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


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
