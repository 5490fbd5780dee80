"""Public functions over arrays say which shapes they take, and in which units, to those in a notebook."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2] / "reducer"
ARRAY = re.compile(r"\b(F32|F64|U16|Bool|NDArray)\b")
#: '(n,)', '(ny, nx)', '(rows + 1,)', '(...,)'.
SHAPE = re.compile(r"\((\.\.\.,|[\w ]+([-+*/] ?\w+ ?)*,( ?[\w .+*/-]+,?)*)\)")
UNIT = re.compile(
    r"electron|count|ADU|pixel|arcsec|degree|radian|second|mag\b|bits|mask|block|cell|array|unit|"
    r"flux|part|weight|sigma|index|response|factor|FWHM|level|row|column|positions|numbers|light",
    re.IGNORECASE,
)


def test_functions_over_arrays_state_shapes_and_units() -> None:
    silent = [name for name, doc in over_arrays(ROOT) if not (SHAPE.search(doc) and UNIT.search(doc))]
    assert not silent


def test_a_function_that_says_nothing_of_its_arrays_is_seen(tmp_path: Path) -> None:
    (tmp_path / "quiet.py").write_text('def quiet(a: F32) -> F32:\n    """Double it."""\n    return 2 * a\n')
    ((name, doc),) = over_arrays(tmp_path)
    assert name == "quiet.py:quiet" and not SHAPE.search(doc)
    assert all(map(SHAPE.search, ("(n,)", "(ny, nx)", "(rows + 1,)", "(...,)", "(frames, ny / 4, nx / 4)")))
    assert not any(map(SHAPE.search, ("(Moffat 1969)", "(see below)", "f(x)")))


def over_arrays(folder: Path) -> list[tuple[str, str]]:
    """Public functions with arrays among their arguments, kernels included, and their docstrings."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                taken = [each.annotation for each in (*node.args.args, *node.args.kwonlyargs)]
                is_kernel = bool(taken) and not any(taken)
                if is_kernel or any(each and takes_array(each) for each in taken):
                    found.append((f"{path.relative_to(folder)}:{node.name}", ast.get_docstring(node) or ""))
    return found


def takes_array(annotation: ast.expr) -> bool:
    """Whether an argument is an array, or several: what is called with one is none."""
    text = ast.unparse(annotation)
    return bool(ARRAY.search(text)) and "Callable" not in text
