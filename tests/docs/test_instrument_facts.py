"""What is true of one instrument stands in its folder: no word or number of GSAOI's anywhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from reducer.instruments import KNOWN

ROOT = Path(__file__).parents[2]
ROOMS = ("reducer", "calstore", "goafetch")
#: Their folders, and what is of one instrument throughout: the simulator and the published tutorial.
FREE = (
    *("reducer/instruments/gsaoi/", "reducer/instruments/flamingos2/", "reducer/instruments/sites.py"),
    *("goafetch/practice/", "goafetch/api/tutorial.py"),
)
WORDS = re.compile(r"GSAOI|gsaoi|H2RG|HAWAII|ODGW|GWFS|GEMS|FILT(?:ER)?[12]\w*|LNRS|INPORT|Kshort|Kprime")
#: The numbers of its arrays.
ARRAYS = ("range(1, 5)", "{1, 2, 3, 4}", "(1, 2, 3, 4)", "[1, 2, 3, 4]")
#: Where else they stand, and why.
EXCEPTIONS = {
    ("reducer/instruments/__init__.py", "GSAOI"): "the registry names it",
    ("reducer/align/resample.py", "2048"): "nodes of an interpolation table",
    ("reducer/astrometry.py", "85.0"): "degrees of zenith distance",
    ("reducer/headers/descriptors.py", "INPORT"): "a descriptor of every instrument of Gemini",
    ("calstore/store.py", "GSAOI"): "whose the records of schema 2 are",
    ("calstore/store.py", "2048"): "what a record of schema 2 without a region held",
    ("calstore/store.py", "(1, 2, 3, 4)"): "what a record of schema 2 without a region held",
    ("goafetch/archive/query.py", "GSAOI"): "the archive's word for it",
    ("goafetch/config.py", "GSAOI"): "what is sought unless another is asked for",
    ("goafetch/archive/records.py", "LNRS"): "read of the archive's text of a header",
    ("goafetch/archive/connection.py", "4096"): "bytes",
    ("goafetch/cli/practice.py", "GSAOI"): "what there are demos of",
    ("goafetch/cli/practice.py", "gsaoi"): "what there are demos of",
    ("goafetch/cli/commands.py", "GSAOI"): "what the program calls itself",
}


@cache
def numbers() -> frozenset[float]:
    """What is measured of known instruments, but for round numbers that are many things."""
    found: set[float] = set()
    for one in KNOWN.values():
        field, site = one.field, one.site
        found |= {side for array in one.arrays for side in (*array.shape, 2 * array.shape[0])}
        found |= {field.side, field.half_width, field.area, field.reference_scale, one.pupil[0]}
        found |= {abs(site.longitude), abs(site.latitude)}
    return frozenset(found)


def facts(source: str) -> Iterator[str]:
    """The words and numbers of the instrument in a module, but for its docstrings and comments."""
    tree = ast.parse(source)
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from () if id(node) in told else WORDS.findall(node.value)
        elif isinstance(node, ast.Constant):
            yield from [str(node.value)] if type(node.value) is not bool and node.value in numbers() else []
        elif len(getattr(node, "elts", ())) == 4 or getattr(getattr(node, "func", None), "id", "") == "range":
            yield from [text] if (text := ast.unparse(node)) in ARRAYS else []


def test_facts_of_an_instrument_stand_in_its_folder() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), fact)
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if not path.relative_to(ROOT).as_posix().startswith(FREE)
        for fact in facts(path.read_text(encoding="utf-8"))
    }
    assert found - EXCEPTIONS.keys() == set(), "these belong to reducer/instruments"
    assert EXCEPTIONS.keys() - found == set(), "these stand there no more: strike the exceptions"


def test_a_leak_is_seen() -> None:
    leaks = '''
"""Of GSAOI's 2048 pixels."""
SIDE, SCALE, ARRAYS, WEST = 2048, 0.0197, {1, 2, 3, 4}, -70.73669
for array in range(1, 5):
    name = f"GWFS{array}CFG"
'''
    assert sorted(facts(leaks)) == ["0.0197", "2048", "70.73669", "GWFS", "range(1, 5)", "{1, 2, 3, 4}"]
