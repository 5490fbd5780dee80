"""No file needs itself by way of others, its annotations included: each can be read after what it uses."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest


def test_no_imports_go_in_a_circle() -> None:
    check("goafetch", "calstore", "reducer")


def test_a_circle_of_annotations_and_of_functions_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "turning"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "annotated.py").write_text(
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from turning import called\n"
    )
    (package / "called.py").write_text("def late():\n    import turning.annotated\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CycleError, match=r"turning\.(annotated|called)"):
        check("turning")


def check(*packages: str) -> None:
    """Sort the files so that each comes after those it imports; CycleError names a circle."""
    graph = grimp.build_graph(*packages, cache_dir=None)
    TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    ).prepare()
