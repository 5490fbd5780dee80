"""Keys of products: what a product was made from and how; an equal key means nothing is to be redone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata, resources
from typing import Any

#: Packages whose version may change a pixel.
LIBRARIES = ("numpy", "scipy", "numba", "sep")


def product_key(
    recipe: str,
    inputs: Mapping[str, str],
    calibrations: Mapping[str, str],
    parameters: Mapping[str, Mapping[str, Any]],
) -> str:
    """A short hash of all that a product depends on.

    ``inputs`` and ``calibrations`` map names to an md5 or to the key of a product; ``parameters`` holds
    only those of the steps that the recipe runs.
    """
    facts = {
        "recipe": recipe,
        "inputs": dict(inputs),
        "calibrations": dict(calibrations),
        "parameters": {step: dict(values) for step, values in parameters.items() if values},
        "code": code_version(),
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def of_steps(
    parameters: Mapping[str, Mapping[str, Any]], steps: Iterable[str]
) -> dict[str, Mapping[str, Any]]:
    """The parameters that concern some steps."""
    names = set(steps)
    return {step: values for step, values in parameters.items() if step in names}


@cache
def code_version() -> str:
    """A hash of the reducer's sources and data, and the versions of the libraries that touch pixels."""
    digest = hashlib.sha256()
    for path in sorted(_sources(resources.files("reducer")), key=lambda p: p[0]):
        digest.update(path[0].encode())
        digest.update(path[1])
    for library in LIBRARIES:
        digest.update(f"{library} {metadata.version(library)}".encode())
    return digest.hexdigest()[:16]


def _sources(folder: Any, prefix: str = "") -> Iterable[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _sources(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith((".py", ".json")):
            yield prefix + entry.name, entry.read_bytes()
