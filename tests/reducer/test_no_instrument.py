"""No file of the reduction but an instrument's own folder holds a fact of one instrument."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from reducer.instruments import KNOWN

ROOT = Path(__file__).resolve().parents[2] / "reducer"
FILES = sorted(path for path in ROOT.rglob("*.py") if "instruments" not in path.parts)
#: Numbers that are something else there.
ELSE = {"align/resample.py": {2048}}
#: What may count arrays.
COUNTED = ast.Set | ast.Tuple | ast.List | ast.Call


@cache
def numbers() -> frozenset[float]:
    """What is measured of known instruments, but for round numbers that are many things."""
    found: set[float] = set()
    for one in KNOWN.values():
        field, site = one.field, one.site
        shapes = {side for array in one.arrays for side in (*array.shape, 2 * array.shape[0])}
        found |= {field.half_width, field.area, field.reference_scale, one.pupil[0], *shapes}
        found |= {abs(site.longitude), abs(site.latitude)}
    return frozenset(found)


def facts_in(source: str, but: set[int]) -> list[str]:
    """The facts of an instrument that code states: its name, its numbers, arrays counted as theirs are."""
    counts = {str([array.number for array in one.arrays])[1:-1] for one in KNOWN.values()}
    arrays = {text.format(each) for each in counts for text in ("[{}]", "({})", "{{{}}}")}
    arrays |= {f"range(1, {len(one.arrays) + 1})" for one in KNOWN.values()}
    tree = ast.parse(source)
    words = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Constant) and id(node) not in words else None
        is_name = isinstance(value, str) and any(name in value for name in KNOWN)
        is_number = isinstance(value, int | float) and value in numbers() - but
        if is_name or is_number or (isinstance(node, COUNTED) and ast.unparse(node) in arrays):
            found.append(ast.unparse(node))
    return found


def test_no_file_states_a_fact_of_an_instrument() -> None:
    names = {path.relative_to(ROOT).as_posix(): path for path in FILES}
    found = {name: facts_in(path.read_text(), ELSE.get(name, set())) for name, path in names.items()}
    assert len(found) > 50
    assert {name: facts for name, facts in found.items() if facts} == {}


@pytest.mark.parametrize(
    "line",
    [
        "SCALE = 0.0197",
        "SIDE = 2048",
        "is_known = name == 'GSAOI'",
        "WEST = -70.73669",
        "ARRAYS = {1, 2, 3, 4}",
        "arrays = range(1, 5)",
    ],
)
def test_a_fact_that_is_stated_is_found(line: str) -> None:
    assert len(facts_in(line, set())) == 1
    assert facts_in(f'"""{line}"""', set()) == []
