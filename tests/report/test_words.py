"""Facts and their words belong together: none without the other, and no number in words that is not told."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import goafetch
import reducer
from goafetch.events import TYPES, as_document, event_of, from_document, words
from goafetch.words import FACTS, REASONS

FILES = [
    path for package in (reducer, goafetch) for path in Path(package.__file__ or "").parent.rglob("*.py")
]
TREES = [ast.parse(path.read_text(encoding="utf-8")) for path in FILES]
TEMPLATES = {**{name: "".join(texts[1:]) for name, texts in FACTS.items()}, **REASONS}


def needed(template: str) -> set[str]:
    """The fields that a template names."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def names_in(*nodes: ast.AST) -> set[str]:
    """The names of facts and reasons in pieces of code."""
    every = (each for node in nodes for each in ast.walk(node) if isinstance(each, ast.Constant))
    return {each.value for each in every if each.value in TEMPLATES}


def calls_in(node: ast.AST, *names: str) -> list[ast.Call]:
    """The calls of some functions with anything told."""
    calls = (each for each in ast.walk(node) if isinstance(each, ast.Call) and each.args)
    return [call for call in calls if getattr(call.func, "attr", getattr(call.func, "id", "")) in names]


def told() -> Iterator[tuple[str, set[str]]]:
    """Each fact and reason that is told, with the fields that go with it."""
    nodes = (node for tree in TREES for node in ast.walk(tree))
    for function in (node for node in nodes if isinstance(node, ast.FunctionDef)):
        calls = calls_in(function, "notify", "tell", "because", "event_of")
        named = names_in(*(call.args[0] for call in calls))
        dicts = (node for node in ast.walk(function) if isinstance(node, ast.Dict))
        keys = {key.value for node in dicts for key in node.keys if isinstance(key, ast.Constant)}
        for call in calls:
            fields = {keyword.arg or "reason" for keyword in call.keywords}
            is_event = calls_in(call, "event_of") and len(call.args) > 1
            if is_event or any(keyword.arg is None for keyword in call.keywords):
                fields |= keys
            # Where a name is chosen between several, they stand elsewhere in the function.
            is_chosen = isinstance(call.args[0], ast.Name | ast.Starred)
            names = names_in(function) - named if is_chosen else names_in(call.args[0])
            yield from ((name, fields) for name in names)


def test_every_fact_that_is_told_has_words_and_all_words_are_told() -> None:
    assert names_in(*TREES) == {*TEMPLATES}
    assert {name for name, _ in told()} >= {*FACTS}
    first = [call.args[0] for tree in TREES for call in calls_in(tree, "notify", "tell")]
    assert {arg.value for arg in first if isinstance(arg, ast.Constant)} <= {*FACTS, *TYPES}


def test_words_name_no_number_that_is_not_told() -> None:
    unsaid = [(name, missing) for name, fields in told() if (missing := needed(TEMPLATES[name]) - fields)]
    assert unsaid == []


@pytest.mark.parametrize("name", [*FACTS])
def test_a_fact_is_stored_and_read_as_it_was_and_can_be_said(name: str) -> None:
    numbers = {field: {1: 0.5, 4: 2.25} if field.endswith("s") else 1.5 for field in needed(TEMPLATES[name])}
    event = event_of(name, {**numbers, "reason": "one_star"} if "reason" in numbers else numbers)
    assert from_document(as_document(event)) == event
    assert "?" not in words(event) and "  " not in words(event)


def test_a_fact_of_another_version_is_told_as_it_is() -> None:
    event = from_document({"event": "warning", "fact": "seen_by_nobody", "rms": 1.5})
    assert words(event) == "seen_by_nobody rms=1.5"
    assert words(event_of("aligned", {"file": "S1.fits"})).startswith("S1.fits: ?")
