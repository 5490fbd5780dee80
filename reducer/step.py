"""What a step is: a function over frames that declares its parameters, its product and its calibrations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from reducer.errors import BadInput
from reducer.frame import Context, FrameRef
from reducer.instruments.base import Instrument

#: A choice that is made from the data unless the user makes it.
Auto = bool | Literal["auto"]
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text", type(None): "None"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a step: its type, its default, its meaning in a line, and its unit, '' without one."""

    kind: Any
    default: Any
    meaning: str
    unit: str = ""


SKIP = Parameter(bool, False, "leave the step out")
WRITE = Parameter(bool, False, "write what the step passes on, under its own suffix")


@dataclass(eq=False)
class Step:
    """A step of a recipe: ``function(frames, context, *, parameters)``, which returns frames.

    The function's keyword-only arguments are its parameters, each ``Annotated[type, meaning, unit]`` with
    its default. ``suffix``: of its product, or of the frames that it passes on where they are to be written;
    '_NAME' where it declares none. ``writes``: it writes its product itself; what others pass on is written
    after them. ``needs``: kinds of calibrations. ``cannot_skip``: why the steps after it cannot do without,
    '' where they can. ``parts``: named steps that it carries out in one pass.
    """

    function: Callable[..., Any]
    suffix: str = ""
    needs: tuple[str, ...] = ()
    writes: bool = False
    cannot_skip: str = ""
    parts: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        self.name, self.within = self.function.__name__, ""
        self.suffix = self.suffix or f"_{self.name}"
        for part in self.parts:
            part.within = part.within or self.name
        update_wrapper(self, self.function)

    def __call__(self, frames: Sequence[FrameRef], context: Context, **given: Any) -> list[FrameRef]:
        """Run it with its parameters as they hold but for those given here."""
        if self.within:
            needed = f"{self.within} in the recipe"
            raise BadInput(f"{self.name} is a part of {self.within}, not a step", needed)
        return list(self.function(frames, context, **{**self.chosen(frames, context), **given}))

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """Its own parameters by name."""
        signature, hints = (
            inspect.signature(self.function),
            get_type_hints(self.function, include_extras=True),
        )
        own = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        return {
            p.name: Parameter(hints[p.name].__origin__, p.default, *hints[p.name].__metadata__) for p in own
        }

    @property
    def known(self) -> Mapping[str, Parameter]:
        """All that can be set: its own parameters, and whether it is left out or written."""
        skip = {} if self.cannot_skip else {"skip_primitive": SKIP}
        return {**self.parameters, **skip, "write_outputs": WRITE}

    def defaults(self, instrument: Instrument | None = None) -> dict[str, Any]:
        """What its parameters are unless the user sets them, for an instrument that has its own."""
        usual = instrument.defaults if instrument else {}
        return {name: usual.get((self.name, name), one.default) for name, one in self.parameters.items()}

    def is_usual(self, name: str, given: Any, instrument: Instrument | None = None) -> bool:
        """Whether a value, as JSON perhaps, is what a parameter is unless the user sets it."""
        value, usual = read_value(self.parameters[name].kind, given), self.defaults(instrument)[name]
        return bool(value == usual or (value != value and usual != usual))

    def chosen(self, frames: Sequence[FrameRef], context: Context) -> dict[str, Any]:
        """Its parameters as they hold for frames: the user's, else the instrument's, else its own."""
        given = context.parameters.get(self.name, {})
        return {
            name: given.get(name, usual)
            for name, usual in self.defaults(frames[0].instrument if frames else None).items()
        }

    def is_asked(self, word: Literal["skip_primitive", "write_outputs"], context: Context) -> bool:
        """Whether the user wants the step left out, or what it passes on written."""
        return bool(context.parameters.get(self.name, {}).get(word))


def step(
    suffix: str = "",
    needs: Sequence[str] = (),
    *,
    writes: bool = False,
    cannot_skip: str = "",
    parts: Sequence[Step] = (),
) -> Callable[[Callable[..., Any]], Step]:
    """Make a function a step (see ``Step``)."""
    return lambda function: Step(function, suffix, tuple(needs), writes, cannot_skip, tuple(parts))


def steps_of(recipe: Sequence[Callable[..., Any]]) -> dict[str, Step]:
    """The steps of a recipe by name; of one that carries out others in one pass, those.

    A plain function is a step that declares nothing but its parameters.
    """
    every = [each if isinstance(each, Step) else Step(each) for each in recipe]
    return {each.name: each for one in every for each in one.parts or (one,)}


def read_value(kind: Any, given: Any) -> Any:
    """A value of a type, from text perhaps; ValueError says what it may be."""
    word, members = str(given).strip(), get_args(kind)
    if get_origin(kind) is tuple:
        parts = given.split(",") if isinstance(given, str) else given or ()
        return tuple(str(part).strip() for part in parts if str(part).strip())
    if get_origin(kind) in (Union, UnionType):  # None first: any text is a str
        for member in sorted(members, key=lambda member: member is not type(None)):
            with suppress(ValueError):
                return read_value(member, given)
    if kind is str or (get_origin(kind) is Literal and word.lower() in members):
        return word if kind is str else word.lower()
    if kind is bool and word.lower() in _BOOLEANS:
        return _BOOLEANS[word.lower()]
    if kind is type(None) and word.lower() in ("none", ""):
        return None
    if kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    raise ValueError(may_be(kind))


def may_be(kind: Any) -> str:
    """What a value of a type may be, in words."""
    if get_origin(kind) is tuple:
        return "names, with commas between them"
    return _WORDS.get(kind) or " or ".join(
        member if isinstance(member, str) else may_be(member) for member in get_args(kind)
    )
