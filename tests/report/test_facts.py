"""Facts stay facts: nothing reads a sentence back, and other words change no page's facts."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from small_workspace import GROUP, story, write_workspace

import goafetch
from goafetch import events
from goafetch.events import TYPES, Event, Separation, SkyChoice, as_document, event_of
from goafetch.report.export import list_steps
from goafetch.report.page import make_report
from goafetch.report.run_summary import Product, read_summary, write_summary
from goafetch.words import FACTS

ROOMS = ("pipeline", "report", "console")
#: It reads no facts: the drawings' own SVG.
OF_MARKUP = {"draw.py"}
#: Fields that hold sentences, and what would read them.
TOLD = {"what", "text", "reason", "words"}
READING = {"startswith", "endswith", "split", "partition", "rpartition", "removeprefix", "removesuffix"}


def readers(source: str) -> list[int]:
    """The lines at which a module looks into what was told."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(name.name == "re" for name in node.names):
            found.append(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READING:
            found += [node.lineno] if getattr(node.func.value, "attr", "") in TOLD else []
        if isinstance(node, ast.Compare) and any(isinstance(each, ast.In | ast.NotIn) for each in node.ops):
            found += [node.lineno for each in node.comparators if getattr(each, "attr", "") in TOLD]
    return found


def test_no_module_reads_a_sentence_back() -> None:
    root = Path(goafetch.__file__).parent
    files = [path for room in ROOMS for path in (root / room).rglob("*.py") if path.name not in OF_MARKUP]
    assert len(files) > 20
    assert {path.name: lines for path in files if (lines := readers(path.read_text(encoding="utf-8")))} == {}


@pytest.mark.parametrize(
    "source", ["import re", "event.what.startswith('x')", "'x' in d.reason", "told.text.partition(': ')"]
)
def test_a_module_that_reads_one_is_found(source: str) -> None:
    assert readers(source) == [1]


def test_every_event_is_stored_and_read_as_it_was() -> None:
    for event in (Separation(4, 3, "by pointing", group=GROUP), SkyChoice(False, ("S1.fits",), "why")):
        stored = as_document(event)
        assert event_of(stored.pop("event"), stored) == event
    assert all(kind for kind in TYPES) and len(TYPES) == len(Event.__subclasses__())


def test_other_words_change_no_fact_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_workspace(tmp_path / "night")
    told = story("playground/S20170505S0095_image.fits")
    facts = (
        Separation(9, 7, "by pointing", group=GROUP),
        SkyChoice(True, ("S1.fits",), "free", group=GROUP),
        event_of("tied", {"catalog": "Gaia", "stars": 9, "rms": 2.5, "group": GROUP}),
    )
    frame = Product("playground/S20170505S0095_skyCorrected.fits", "on target", f"{GROUP}, visit 2", GROUP)
    write_summary(root, replace(told, decisions=(*told.decisions, *facts), products=(*told.products, frame)))
    before = read_summary(root), list_steps(read_summary(root), root)
    assert before[1][-1].files.files and "offset_sky=True" in before[1][0].dragons
    monkeypatch.setattr(events, "_WORDS", dict.fromkeys(events._WORDS, lambda _: "said otherwise"))
    monkeypatch.setitem(FACTS, "tied", ("decision", "said otherwise"))
    assert (read_summary(root), list_steps(read_summary(root), root)) == before
    assert make_report(root).read_text(encoding="utf-8").count("said otherwise") == 7
