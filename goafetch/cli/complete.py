"""What a shell offers where a value is typed. Modules that know the names are read when a shell asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, get_args, get_origin

Complete = Callable[[str], list[str]]


def _offer(names: Callable[[], Iterable[str]], divided: str = "") -> Complete:
    """A completion by names; of values ``divided`` by a character, of the last one."""

    def complete(incomplete: str) -> list[str]:
        before, sign, begun = incomplete.rpartition(divided) if divided else ("", "", incomplete)
        found = sorted(name for name in set(names()) if name.startswith(begun))
        return [f"{before}{sign}{name}" for name in found]

    return complete


def _filters() -> Iterable[str]:
    from reducer.instruments import KNOWN

    return [name for instrument in KNOWN.values() for name in instrument.filters]


def _imagers() -> Iterable[str]:
    from reducer.instruments import KNOWN

    return KNOWN


def _instruments() -> Iterable[str]:
    from goafetch.archive.query import INSTRUMENTS

    return (*INSTRUMENTS, "any")


def _classes() -> Iterable[str]:
    from goafetch.archive.query import CLASSES

    return CLASSES


def _types() -> Iterable[str]:
    from goafetch.archive.query import TYPES

    return TYPES


def _qa() -> Iterable[str]:
    from goafetch.archive.query import QA_STATES

    return QA_STATES


def _formats() -> Iterable[str]:
    from goafetch.console.output import FORMATS

    return FORMATS


def _tags() -> Iterable[str]:
    from reducer.headers.descriptors import TAGS

    return TAGS


def _descriptors() -> Iterable[str]:
    from reducer.headers.descriptors import MEANINGS

    return MEANINGS


def _recipes() -> Iterable[str]:
    from reducer.recipes import RECIPES

    return RECIPES


def _steps() -> Iterable[str]:
    from reducer.recipes import STEPS

    return STEPS


def _kinds() -> Iterable[str]:
    from reducer.instruments import KNOWN

    return [kind for instrument in KNOWN.values() for kind in instrument.calibrations]


def _faults() -> Iterable[str]:
    from goafetch.practice.goa.faults import NAMES

    return NAMES


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


filters, imagers, instruments = _offer(_filters), _offer(_imagers), _offer(_instruments)
classes, types, qa, formats = _offer(_classes), _offer(_types), _offer(_qa), _offer(_formats)
tags, descriptors = _offer(_tags, ","), _offer(_descriptors, ",")
recipes, steps, parameters = _offer(_recipes), _offer(_steps), _offer(_parameters)
kinds, faults = _offer(_kinds), _offer(_faults)
catalogs = _offer(lambda: ("auto", "gaia", "2mass", "none"))
phot_catalogs = _offer(lambda: ("auto", "2mass", "none"))
