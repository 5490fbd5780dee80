"""One name, one meaning: who has read it in one place knows it in the other."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Commands, and what the tutorial calls by a name, are called as what they do.
SAME_MEANING = {"config", "disco", "export", "fetch", "remove", "run", "search", "unpack", "write_atomically"}
SAME_FILES = {"__init__", "__main__", "errors", "reduce", "rules", "run"}
#: What every instrument answers, each by its own rules.
RULES = re.compile(r"reducer/instruments/\w+/rules\.py")
#: What the field has better words for: global_fit, reference_pixels, readout_offsets, noise_correlation, ...
WORDS = (
    "together|adjust|absolute|border|channels|columns|edges|again|places|story|incoming|language|"
    "early|many|obtain|Desk|hasten|look_seldom|give_back|Glow|Course|Seen"
)
NOT_OF_THE_FIELD = re.compile(rf"^(?:def|class) ({WORDS})\b", re.MULTILINE)


def sources() -> list[Path]:
    """Every file of the program but the simulator's, which shares no code with it."""
    packages = ("goafetch", "reducer", "calstore")
    found = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in found if "practice" not in path.relative_to(ROOT).parts[:2]]


def test_every_public_name_has_one_meaning() -> None:
    places = defaultdict(list)
    for path in sources():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert len(places) > 500
    twice = {
        name: files for name, files in places.items() if len(files) > 1 and not all(map(RULES.match, files))
    }
    assert set(twice) <= SAME_MEANING, {name: twice[name] for name in set(twice) - SAME_MEANING}


def test_every_file_has_a_name_of_its_own() -> None:
    stems = [path.stem for path in sources()]
    assert {stem for stem in stems if stems.count(stem) > 1} <= SAME_FILES


def test_words_that_say_nothing_to_an_astronomer_are_gone() -> None:
    found = {path.name: NOT_OF_THE_FIELD.findall(path.read_text(encoding="utf-8")) for path in sources()}
    assert not {name: words for name, words in found.items() if words}
    stems = {path.stem for path in sources()}
    assert not [stem for stem in stems if NOT_OF_THE_FIELD.fullmatch(f"def {stem}")]
