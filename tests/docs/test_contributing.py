"""What CONTRIBUTING shows of a parameter, a step and an instrument is true: its examples do what it says."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from drawn_standard import draw_standard
from examples import examples_of

from reducer import instruments
from reducer.fitsio import Disk, open_frame, read_chip
from reducer.frame import Context, FrameRef
from reducer.recipes import parse, reduce_nostack
from reducer.run import run_recipe
from reducer.steps.stacking import resampleToCommonFrame

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page's examples define, run in their order."""
    module = ModuleType("shown")
    monkeypatch.setitem(sys.modules, "shown", module)
    for example in examples_of(PAGE):
        exec(example.body, vars(module))
    return vars(module)


def test_one_line_makes_a_parameter(shown: dict[str, Any], tmp_path: Path) -> None:
    keep_bright, told = shown["keepBright"], []
    (parameter,) = keep_bright.parameters.values()
    assert (parameter.default, parameter.unit) == (100.0, "electron")
    assert parse([("keep_bright:least", "20")], [keep_bright]) == {"keepBright": {"least": 20.0}}
    frames = [
        FrameRef(tmp_path / f"S{sky}.fits", {"INSTRUME": "GSAOI", "SKYLEVEL": sky}, ())
        for sky in (9, 50, 200)
    ]
    for given, kept in (({}, 1), ({"keepBright": {"least": 20.0}}, 2)):
        context = Context(tmp_path, given, notify=lambda event, **facts: told.append(facts.get("name")))
        assert len(keep_bright(frames, context)) == kept
    assert told == ["S9.fits", "S50.fits", "S9.fits"]


def test_one_file_and_one_entry_make_a_step(shown: dict[str, Any], tmp_path: Path) -> None:
    assert shown["doubled"] == (*reduce_nostack, shown["doubleCounts"])
    frames, context, _, _ = draw_standard(tmp_path, 9.0, 5)
    path, chip = tmp_path / frames[0].path.name, context.files.read_chip(frames[0], 0)
    given = open_frame(Disk().write_frame(path, frames[0].header, [chip]))
    (made,) = run_recipe(shown["doubled"][-1:], [given], Context(tmp_path))
    assert made.path == tmp_path / f"{path.stem}_doubled.fits"
    assert np.array_equal(read_chip(made, 0).data, 2 * chip.data)
    (step,) = Disk().read_table(made.path, "HISTORY")
    assert step["primitive"] == "doubleCounts"


def test_one_object_makes_an_instrument(
    shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "SHARPER": shown["SHARPER"]})
    frame = FrameRef(tmp_path / "S1.fits", {"INSTRUME": "SHARPER"}, ())
    assert frame.instrument.coadds_are_summed
    assert resampleToCommonFrame.chosen([frame], Context(tmp_path))["pixel_scale"] == 0.015
