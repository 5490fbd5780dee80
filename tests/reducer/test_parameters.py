"""Parameters are read as the user writes them; what is not known is refused with what is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_exposure import primary_header, write_raw

from reducer.errors import BadInput, BadParameter
from reducer.fitsio import open_frame
from reducer.frame import Context, FrameRef
from reducer.provenance import plan_product, product_name
from reducer.recipes import parse
from reducer.run import run_recipe


@pytest.mark.parametrize("name", ["skyCorrect:offset_sky", "sky_correct:offset_sky", "SKYCORRECT:OffsetSky"])
@pytest.mark.parametrize("value", [False, "False", "false", "no"])
def test_a_parameter_has_many_spellings(name: str, value: Any) -> None:
    assert parse([(name, value)]) == {"skyCorrect": {"offset_sky": False}}


def test_a_parameter_without_a_step_is_set_wherever_it_is_known() -> None:
    assert parse([("offset_sky", "auto")]) == {"skyCorrect": {"offset_sky": "auto"}}
    assert set(parse([("lsigma", "4")])) == {"makeFlat", "stackDarks", "stackFrames"}


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("skyCorect:offset_sky", 1, "separateSky"),
        ("skyCorrect:ofset", 1, "scale_sky"),
        ("skyCorrect:level", "last", "follow or first"),
        ("prepare:bad_wcs", "repair", "fix or exit or new or ignore"),
        ("stackFrames:lsigma", "many", "a number"),
        ("nonsense", 1, "offset_sky"),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_known(name: str, value: Any, known: str) -> None:
    with pytest.raises(BadParameter) as caught:
        parse([(name, value)])
    assert known in str(caught.value)


def raw(path: Path) -> FrameRef:
    images = {array: np.zeros((64, 64), np.float32) for array in (1, 2, 3, 4)}
    return open_frame(write_raw(path, primary_header(), images))


def copyStep(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Write each frame to the scratch folder."""
    made = []
    for frame in frames:
        target = plan_product(replace(context, folder=context.scratch), frame, "_copied", [frame])
        chips = (context.disk.read_chip(frame, index) for index in range(4))
        context.disk.write_frame(target.path, target.header, chips, tables=target.tables)
        made.append(context.disk.open_frame(target.path))
    return made


def failingStep(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Always fails."""
    raise BadInput("nothing fits", "something that fits")


def test_a_recipe_is_a_tuple_of_steps_that_leaves_no_scratch(tmp_path: Path) -> None:
    made = run_recipe((copyStep,), [raw(tmp_path / "S1.fits")], Context(tmp_path, key="abc"))
    assert [frame.path for frame in made] == [tmp_path / "S1_copied.fits"]
    assert made[0].header["GOAFKEY"] == "abc"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["S1.fits", "S1_copied.fits"]


def test_recipes_side_by_side_do_not_share_scratch_though_they_have_one_key(tmp_path: Path) -> None:
    one, other = (Context(tmp_path, key="abc") for _ in range(2))
    frames = [raw(tmp_path / "S1.fits")]

    def beside(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
        run_recipe((copyStep,), frames, other)
        assert frames[0].path.exists()
        return list(frames)

    made = run_recipe((copyStep, beside), frames, one)
    assert made[0].path.exists() and one.scratch != other.scratch
    assert replace(one, memory=1).scratch == one.scratch


def test_an_error_names_its_step(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        run_recipe((copyStep, failingStep), [raw(tmp_path / "S1.fits")], Context(tmp_path))
    assert "in the step failingStep" in caught.value.__notes__
    assert [path.name for path in tmp_path.iterdir()] == ["S1.fits"]


def test_an_empty_list_and_an_unknown_parameter_stop_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="empty"):
        run_recipe((copyStep,), [], Context(tmp_path))
    with pytest.raises(BadParameter):
        run_recipe((copyStep,), [raw(tmp_path / "S1.fits")], Context(tmp_path, {"addDQ": {"nothing": 1}}))


def test_products_are_named_after_their_first_input() -> None:
    assert product_name(Path("a/S20170505S0095_flatCorrected.fits"), "_skyCorrected") == (
        "S20170505S0095_skyCorrected.fits"
    )


def test_a_mistyped_step_or_parameter_is_told_what_was_meant() -> None:
    for name, meant in (("skyCorect:offset_sky", "skyCorrect"), ("skyCorrect:ofset_sky", "offset_sky")):
        with pytest.raises(BadParameter) as caught:
            parse([(name, "True")])
        assert caught.value.remedy == f"did you mean {meant}?"
