"""Keys change with everything that a product depends on, and with nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from goafetch.pipeline.cache import Cache, Facts, what_changed
from goafetch.pipeline.catalogues import Given
from goafetch.pipeline.resources import InThisProcess
from goafetch.pipeline.stages import USUAL, Tools, group_key, stack_key
from goafetch.workspace import Workspace
from reducer.recipes import STEPS
from reducer.step import steps_of

BASE = {"inputs": {"a.fits": "1"}, "calibrations": {"flat": "2"}, "parameters": {}}


def key(recipe: str = "reduce_nostack", **changes: object) -> str:
    return cache().enter(recipe, **(BASE | changes))  # type: ignore[arg-type]


def facts(recipe: str = "reduce_nostack", **changes: object) -> Facts:
    known = cache()
    found = known.facts(known.enter(recipe, **(BASE | changes)))  # type: ignore[arg-type]
    assert found is not None
    return found


def cache() -> Cache:
    return Cache(Workspace(Path("nowhere")), InThisProcess())


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": "alignAndStack"},
        {"inputs": {"a.fits": "other"}},
        {"inputs": {"a.fits": "1", "b.fits": "1"}},
        {"calibrations": {"flat": "other"}},
        {"parameters": {"skyCorrect": {"offset_sky": False}}},
    ],
)
def test_a_key_follows_everything_that_a_product_is_made_from(changes: dict[str, object]) -> None:
    assert key(**changes) != key()  # type: ignore[arg-type]


def test_parameters_of_other_steps_do_not_concern_a_product(tmp_path: Path) -> None:
    workspace, pool = Workspace(tmp_path), InThisProcess()
    setup = SimpleNamespace(instrument="GSAOI")
    flat, visit = (
        SimpleNamespace(kind=kind, inputs=(), bpm=None, dark=None, flat=None, setup=setup)
        for kind in ("flat", "science")
    )

    def keys(**chosen: object) -> list[str]:
        parameters = {step: {"x": value} for step, value in chosen.items()}
        tools = Tools(workspace, pool, Cache(workspace, pool), parameters)
        of_stack = stack_key(visit, (), Given({}, {}), tools)
        return [group_key(flat, {}, tools), group_key(visit, {}, tools), of_stack]

    usual = keys()
    assert [a == b for a, b in zip(usual, keys(stackFrames=1), strict=True)] == [True, True, False]
    assert [a == b for a, b in zip(usual, keys(addVAR=1), strict=True)] == [True, False, True]
    assert [a == b for a, b in zip(usual, keys(makeFlat=1), strict=True)] == [False, True, True]


def test_every_step_that_has_parameters_concerns_some_product() -> None:
    concerned = {step for recipe in USUAL.values() for step in steps_of(recipe.steps("GSAOI"))}
    others = {name for name, step in STEPS.items() if step.parameters} - concerned
    assert others == {"makeBPM", "darkCorrect"}, "the latter only of instruments that need darks"


def test_what_changed_is_said_by_name() -> None:
    now = facts(inputs={"a.fits": "3", "b.fits": "1"}, parameters={"skyCorrect": {"level": "first"}})
    told = what_changed(facts(), now)
    assert told == "b.fits is new; a.fits is another; skyCorrect:level was not set, is first"
    assert what_changed(now, facts()).startswith("b.fits is gone")
    assert what_changed(facts(), facts(calibrations={"flat": "9"})) == "another flat"
