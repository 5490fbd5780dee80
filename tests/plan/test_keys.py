"""Keys change with everything that a product depends on, and with nothing else."""

from __future__ import annotations

import pytest

from goafetch.pipeline.find_recipe import FLATS, FRAMES, STACKS, USUAL
from goafetch.plan.keys import Facts, facts_of, product_key, what_changed
from reducer.recipes import STEPS

BASE = {"inputs": {"a.fits": "1"}, "calibrations": {"flat": "2"}, "parameters": {}}


def key(recipe: str = "reduce_nostack", **changes: object) -> str:
    return product_key(facts(recipe, **changes))


def facts(recipe: str = "reduce_nostack", **changes: object) -> Facts:
    return facts_of(recipe, **(BASE | changes))  # type: ignore[arg-type]


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


def test_parameters_of_later_steps_do_not_concern_a_product() -> None:
    chosen = {"stackFrames": {"lsigma": 4.0}, "addVAR": {"write_outputs": True}}
    assert USUAL[FLATS].concerning(chosen, "GSAOI") == {}
    assert set(USUAL[FRAMES].concerning(chosen, "GSAOI")) == {"addVAR"}
    assert set(USUAL[STACKS].concerning(chosen, "GSAOI")) == {"stackFrames"}


def test_every_step_that_has_parameters_concerns_some_product() -> None:
    chosen = {name: {"skip_primitive": True} for name in STEPS}
    concerned = {step for recipe in USUAL.values() for step in recipe.concerning(chosen, "GSAOI")}
    assert {name for name, step in STEPS.items() if step.parameters} - concerned == {"makeBPM"}


def test_what_changed_is_said_by_name() -> None:
    now = facts(inputs={"a.fits": "3", "b.fits": "1"}, parameters={"skyCorrect": {"level": "first"}})
    told = what_changed(facts(), now)
    assert told == "b.fits is new; a.fits is another; skyCorrect:level was not set, is first"
    assert what_changed(now, facts()).startswith("b.fits is gone")
    assert what_changed(facts(), facts(calibrations={"flat": "9"})) == "another flat"
