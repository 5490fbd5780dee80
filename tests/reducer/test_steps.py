"""Steps declare what they are: what they take is read, what they make named, what they cannot do refused."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from drawn_standard import draw_standard
from paper import GLOWING, PAPER, STACK_SCALE

from reducer import instruments
from reducer.errors import BadInput, BadParameter
from reducer.frame import Context, FrameRef
from reducer.recipes import RECIPES, STEPS, parse, recipes_of, reduce
from reducer.run import run_recipe
from reducer.stack.exposures import StarImage
from reducer.step import read_value, step, steps_of
from reducer.steps import stacking
from reducer.steps.correct import addDQ
from reducer.steps.stacking import resampleToCommonFrame, stackFrames


def unread(function: Callable[..., Any]) -> set[str]:
    """The keyword-only arguments of a function that its body does not read."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    used = {node.id for line in tree.body for node in ast.walk(line) if isinstance(node, ast.Name)}
    return {argument.arg for argument in tree.args.kwonlyargs} - used


@pytest.mark.parametrize("name", STEPS)
def test_every_parameter_that_a_step_declares_is_read(name: str) -> None:
    """`makeFlat:lsigma`, `determineAstrometricSolution:order` and others were set and had no effect."""
    assert not unread(STEPS[name].function)
    for parameter in STEPS[name].parameters.values():
        assert parameter.meaning and read_value(parameter.kind, parameter.default) == pytest.approx(
            parameter.default, nan_ok=True
        )


def test_a_parameter_that_nothing_reads_is_found() -> None:
    def idle(
        frames: Sequence[FrameRef], context: Context, *, used: int = 1, idle: int = 2
    ) -> Sequence[FrameRef]:
        """Reads one of its parameters: not idle."""
        return frames[:used]

    assert unread(idle) == {"idle"}


def test_names_of_steps_and_suffixes_are_unique() -> None:
    suffixes = [each.suffix for each in STEPS.values() if each.suffix]
    assert len(suffixes) == len(set(suffixes))
    assert all(name == each.name and each.function.__doc__ for name, each in STEPS.items())
    assert {each.function.__module__.rpartition(".")[0] for each in STEPS.values()} == {"reducer.steps"}
    every = [*RECIPES.values(), *recipes_of(GLOWING).values()]
    assert set().union(*map(steps_of, every)) == set(STEPS), "darkCorrect only of instruments that need darks"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("prepare:skip_primitive=True", "prepare cannot be left out"),
        ("makeFlat:skip_primitive=True", "makeFlat cannot be left out"),
        ("stackFrames:operation=lmedian", "wtmean or mean or median"),
        ("stackFrames:reject_method=varclip", "none or sigclip or minmax"),
        ("associateSky:max_skies=some", "a whole number or None"),
        ("skyCorrect:scale_sky=perhaps", "True or False or auto"),
    ],
)
def test_what_a_step_cannot_do_is_refused_in_a_sentence(given: str, told: str) -> None:
    with pytest.raises(BadParameter) as refused:
        parse([tuple(given.split("="))])
    assert told in str(refused.value)


def test_what_a_step_can_do_is_taken() -> None:
    words = ["skyCorrect:skip_primitive", "addVAR:write_outputs", "skyCorrect:write_outputs"]
    assert parse([(word, "yes") for word in words]) == {
        "skyCorrect": {"skip_primitive": True, "write_outputs": True},
        "addVAR": {"write_outputs": True},
    }


def test_a_step_of_the_users_own_has_parameters_too(tmp_path: Path) -> None:
    @step()
    def keepFirst(
        frames: Sequence[FrameRef], context: Context, *, number: Annotated[int, "how many to keep"] = 1
    ) -> Sequence[FrameRef]:
        """Keep some frames."""
        return frames[:number]

    frames, context, _, _ = draw_standard(tmp_path, 9.0, 5)
    for given, kept in (({}, 1), ({"keepFirst": {"number": "3"}}, 3)):
        made = run_recipe((keepFirst,), frames, Context(tmp_path, given, files=context.files))
        assert len(made) == kept


def test_a_part_of_a_pass_is_no_step_of_a_recipe(tmp_path: Path) -> None:
    frames, context, _, _ = draw_standard(tmp_path, 9.0, 5)
    with pytest.raises(BadInput, match="addDQ is a part of correctDetector"):
        run_recipe((addDQ,), frames, context)


def test_an_instrument_has_defaults_of_its_own_which_the_user_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "PAPER": PAPER})
    frames = [FrameRef(tmp_path / "P1.fits", {"INSTRUME": "PAPER"}, ())]
    usual = {"pixel_scale": STACK_SCALE, "pa": 0.0, "reference": None}
    assert resampleToCommonFrame.chosen(frames, Context(tmp_path)) == usual
    given = Context(tmp_path, {"resampleToCommonFrame": {"pixel_scale": 0.3}})
    assert resampleToCommonFrame.chosen(frames, given)["pixel_scale"] == 0.3
    assert resampleToCommonFrame.defaults()["pixel_scale"] is None
    assert resampleToCommonFrame.is_usual("pixel_scale", STACK_SCALE, PAPER)


@dataclass(frozen=True)
class Weighed:
    """An exposure as far as its weight goes; that of an array that it lacks is 0."""

    weights: np.ndarray
    width: float = 4.0


class Stop(Exception):
    """Ends a step where a test has seen enough."""


@pytest.mark.parametrize(("operation", "alike"), [("wtmean", False), ("mean", True), ("median", True)])
def test_a_plain_mean_weighs_all_exposures_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, alike: bool
) -> None:
    """`operation=mean` was the weighted mean, and a median's variance that of the weighted mean."""
    frames, context, _, _ = draw_standard(tmp_path, 9.0, 5)
    images = [StarImage(4.0, 0.0, 0.2)] * len(frames)
    exposures = tuple(Weighed(np.array([0.0, n, 2.0 * n])) for n in (1, 2, 3))
    seen: list[Weighed] = []

    def look(given: Sequence[Weighed], *others: Any, counted: bool) -> None:
        seen.extend(given)
        raise Stop

    monkeypatch.setattr(stacking, "measure_images", lambda *given: images)
    monkeypatch.setattr(stacking, "leave_out_spoilt", lambda *given: (frames, images))
    monkeypatch.setattr(stacking, "prepare_exposures", lambda *given: exposures)
    monkeypatch.setattr(stacking, "combine_exposures", look)
    with pytest.raises(Stop):
        stackFrames(frames, context, operation=operation)
    expected = [[0.0, 1.0, 1.0]] * 3 if alike else [list(each.weights) for each in exposures]
    assert [list(each.weights) for each in seen] == expected


def test_frames_without_skies_are_refused_by_skyCorrect(tmp_path: Path) -> None:
    frames, context, _, _ = draw_standard(tmp_path, 9.0, 5)
    with pytest.raises(BadInput, match="no sky exposures"):
        reduce[4](frames, context)
