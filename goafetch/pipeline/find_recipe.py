"""Which recipe is meant: by name, from a user's own file, or the one that suits frames or a run's stage."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from goafetch.errors import UsageError
from goafetch.pipeline.stages import DARKS, FLATS, FRAMES, STACKS, USUAL, StageRecipe
from reducer import products

if TYPE_CHECKING:
    from reducer.headers.descriptors import Descriptors
    from reducer.recipes import Recipe


def recipes_of_stages(names: Sequence[str]) -> Mapping[str, StageRecipe]:
    """The recipe of each stage of a run: the user's, of these names, where they make what the stage does."""
    chosen: dict[str, StageRecipe] = {}
    for name in names:
        for stage, steps in _in_stages(find_recipe(name), name).items():
            if stage in chosen:
                raise UsageError(f"{chosen[stage].name} and {name} both make the {stage}", "one of them")
            path = file_and_name(name)[0]
            chosen[stage] = StageRecipe(name, steps, tuple(files_of(path)) if path else ())
    return {**USUAL, **chosen}


def _in_stages(recipe: Recipe, name: str) -> dict[str, Recipe]:
    """The parts of a recipe by the stage of a run that they are for, told by what its steps make.

    One that goes on to a stack is cut where its frames have lost their sky.
    """
    from reducer.step import steps_of

    made = [getattr(step, "suffix", "") for step in recipe]
    for stage, suffix in ((DARKS, products.DARK), (FLATS, products.FLAT)):
        if suffix in made:
            return {stage: recipe}
    if products.STACK in made:
        cut = len(made) - made[::-1].index(products.ON_TARGET) if products.ON_TARGET in made else 0
        return {stage: part for stage, part in ((FRAMES, recipe[:cut]), (STACKS, recipe[cut:])) if part}
    frames = (products.ON_TARGET, products.OFF_TARGET)
    if not any(step.suffix in frames for step in steps_of(recipe).values()):
        kept = ", ".join((products.DARK, products.FLAT, *frames, products.STACK))
        raise UsageError(f"the recipe {name} makes nothing that a run keeps", f"a step that makes {kept}")
    return {FRAMES: recipe}


def find_recipe(name: str, facts: Descriptors | None = None) -> Recipe:
    """The recipe of a name, or of FILE.py:NAME (also file.NAME), for frames of such descriptors;
    without a name, the one that suits them. Where their instrument needs darks, they are subtracted.

    UsageError if there is none, or if the file's is no tuple of steps.
    """
    from reducer.instruments import instrument_of
    from reducer.recipes import RECIPES, default_recipe, recipes_of, suited

    known, instrument = RECIPES, None
    if facts is not None:
        instrument = instrument_of(facts.primary)
        known, name = recipes_of(instrument), name or default_recipe(instrument, facts.tags)
    if name in known:
        return known[name]
    path, own_name = file_and_name(name)
    if path is None:
        raise UsageError(f"there is no recipe '{name}'", f"{', '.join(known)}, or FILE.py:NAME of your own")
    own = _own(_load(path), own_name, path)
    return suited(own, instrument) if instrument else own


def file_and_name(name: str) -> tuple[Path | None, str]:
    """'FILE.py:NAME' or 'file.NAME' as path and name; None if there is no such file."""
    file, colon, own_name = name.rpartition(":")
    if not colon:
        file, _, own_name = name.rpartition(".")
        file = f"{file}.py" if file else ""
    return (Path(file), own_name) if file and Path(file).is_file() else (None, name)


def files_of(path: Path) -> list[Path]:
    """A recipe's file, first, and those of its own folder that it imports, by way of each other too."""
    found, todo = [], [path]
    while todo:
        file = todo.pop()
        if file not in found:
            found.append(file)
            stems = [path.parent.joinpath(*name.split(".")) for name in _imported(file)]
            places = [place for stem in stems for place in (stem.with_suffix(".py"), stem / "__init__.py")]
            todo += [place for place in places if place.is_file()]
    return found


def _imported(file: Path) -> list[str]:
    """The names of all modules that a file may import."""
    names = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file", "a file whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        said = f"{path} cannot be imported: {type(error).__name__}: {error}"
        raise UsageError(said, "a file that Python can run") from error
    return module


def _own(module: ModuleType, name: str, path: Path) -> Recipe:
    found = getattr(module, name, None)
    if isinstance(found, tuple) and found and all(callable(step) for step in found):
        return found
    if inspect.isfunction(found) and len(inspect.signature(found).parameters) == 1:
        remedy = f"write instead:\n  {translation(found)}"
        raise UsageError(f"{path}:{name} is a recipe function of DRAGONS", "a tuple of steps", remedy)
    known = [key for key, value in vars(module).items() if isinstance(value, tuple) and value]
    raise UsageError(
        f"{path} has no recipe '{name}'", f"a tuple of steps ({', '.join(known) or 'none found'})"
    )


def translation(function: Callable[..., Any]) -> str:
    """A DRAGONS recipe ``def f(p): p.prepare() ...`` as the tuple that does the same here.

    The detector's primitives are one step; what has no counterpart is left out and named in a comment.
    """
    from reducer.recipes import RECIPES
    from reducer.steps.correct import correctDetector, correctDetectorAndDark

    steps = {step.name: step.function.__module__ for recipe in RECIPES.values() for step in recipe}
    parts = [part.name for part in correctDetectorAndDark.parts]
    wanted = [correctDetector.name if name in parts else name for name in _primitives(function)]
    kept = [name for name in dict.fromkeys(wanted) if name in steps]
    left_out = [name for name in dict.fromkeys(wanted) if name not in steps]
    imports = "; ".join(f"from {steps[name]} import {name}" for name in kept)
    comment = f"  # without {', '.join(left_out)}" if left_out else ""
    return f"{imports}\n  {function.__name__} = ({', '.join(kept)},){comment}"


def _primitives(function: Callable[..., Any]) -> list[str]:
    """The names of the methods that a recipe function calls on its argument, in order."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    argument = next(iter(inspect.signature(function).parameters))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    methods = [call for call in calls if isinstance(call, ast.Attribute)]
    ours = [m for m in methods if isinstance(m.value, ast.Name) and m.value.id == argument]
    return [method.attr for method in sorted(ours, key=lambda m: (m.lineno, m.col_offset))]
