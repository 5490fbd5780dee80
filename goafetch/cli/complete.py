"""What a shell offers where a value is typed. Modules that know the names are read when a shell asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

Complete = Callable[[str], list[str]]


def _offer(names: Callable[[], Iterable[str]], divided: str = "") -> Complete:
    """A completion by names; of values ``divided`` by a character, of the last one."""

    def complete(incomplete: str) -> list[str]:
        before, sign, begun = incomplete.rpartition(divided) if divided else ("", "", incomplete)
        found = sorted(name for name in set(names()) if name.startswith(begun))
        return [f"{before}{sign}{name}" for name in found]

    return complete


def _of(module: str, name: str) -> Callable[[], Iterable[str]]:
    """The names that a module lists, imported when they are asked for."""
    return lambda: getattr(import_module(module), name)


def _of_imagers(fact: str) -> Callable[[], Iterable[str]]:
    """The names among a fact of all instruments that are known, such as their filters."""
    known: Callable[[], Any] = _of("reducer.instruments", "KNOWN")
    return lambda: [name for instrument in known().values() for name in getattr(instrument, fact)]


def _parameters() -> Iterable[str]:
    """``STEP:PARAM=VALUE`` with each value of a parameter that has a few, else with its default."""
    from reducer.recipes import STEPS

    return [
        f"{step.name}:{name}={value}"
        for step in STEPS.values()
        for name, parameter in step.known.items()
        for value in _values(parameter.kind) or [parameter.default]
    ]


def _values(kind: object) -> list[str]:
    """The values of a type that has a few."""
    if kind is bool:
        return ["True", "False"]
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    return [value for each in get_args(kind) for value in _values(each)]


filters, kinds = _offer(_of_imagers("filters")), _offer(_of_imagers("calibrations"))
imagers = _offer(_of("reducer.instruments", "KNOWN"))
instruments = _offer(lambda: (*_of("goafetch.archive.query", "INSTRUMENTS")(), "any"))
classes = _offer(_of("goafetch.archive.query", "CLASSES"))
types = _offer(_of("goafetch.archive.query", "TYPES"))
qa = _offer(_of("goafetch.archive.query", "QA_STATES"))
formats = _offer(_of("goafetch.console.output", "FORMATS"))
tags = _offer(_of("reducer.headers.descriptors", "TAGS"), ",")
descriptors = _offer(_of("reducer.headers.descriptors", "MEANINGS"), ",")
recipes = _offer(_of("reducer.recipes", "RECIPES"))
steps = _offer(_of("reducer.recipes", "STEPS"))
parameters = _offer(_parameters)
faults = _offer(_of("goafetch.practice.goa.faults", "NAMES"))
catalogs = _offer(lambda: ("auto", "gaia", "2mass", "none"))
phot_catalogs = _offer(lambda: ("auto", "2mass", "none"))
