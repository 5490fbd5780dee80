"""Choose files by tags and by an expression over descriptors: parsed into a tree, never executed."""

from __future__ import annotations

import datetime as dt
import difflib
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from reducer.errors import BadParameter
from reducer.fitsio import read_headers
from reducer.headers.descriptors import MEANINGS, Descriptors, describe
from reducer.instruments import KNOWN
from reducer.keywords import parse_date, parse_time, without_id

#: What an expression may name.
NAMES = tuple(sorted({"filename", *MEANINGS} - {"tags"}))
LONGEST, DEEPEST = 10_000, 50
#: Exposure times that differ by less than this fraction are equal (==), unless the comparison is strict.
SAME_EXPOSURE = 0.01

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
CONSTANTS = {"True": True, "False": False, "None": None}

P = TypeVar("P", str, Path)


class BadExpression(BadParameter):
    """An expression that cannot be meant; ``found`` shows it with a mark under the spot."""


# --- the tree ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compare:
    """A descriptor beside a value: ``exposure_time >= 30``."""

    name: str
    operator: str
    value: Any
    strict: bool = False

    def holds(self, facts: Descriptors) -> bool:
        """Whether it is true of a frame; a list of values (one per array) must agree in all of them."""
        found = getattr(facts, self.name)
        if isinstance(found, list):
            return bool(found) and all(self._one(item, facts) for item in found)
        return self._one(found, facts)

    def _one(self, found: Any, facts: Descriptors) -> bool:
        if self.operator in ("==", "!="):
            return self._equal(found, facts) == (self.operator == "==")
        wanted = _alike(self.value, found)
        try:
            return found is not None and bool(OPERATORS[self.operator](found, wanted))
        except TypeError:
            return False

    def _equal(self, found: Any, facts: Descriptors) -> bool:
        if self.strict or found is None or self.value is None:
            return bool(found == self.value)
        if self.name == "filter_name":
            return self.value in filter_spellings(facts)
        wanted = _alike(self.value, found)
        if isinstance(found, float) and isinstance(wanted, int | float):
            # As DRAGONS has it: what is asked to differ may differ by as little as it likes.
            near = self.name == "exposure_time" and self.operator == "=="
            tolerance = SAME_EXPOSURE if near else 1e-9
            return abs(found - wanted) <= tolerance * max(abs(found), abs(wanted))
        if isinstance(found, dt.datetime | dt.time) and not getattr(wanted, "microsecond", 0):
            found = found.replace(microsecond=0)
        return bool(found == wanted)


@dataclass(frozen=True, slots=True)
class Predicate:
    """What is no comparison: True, False, a descriptor that is one of them, a tag, or what joins others."""

    holds: Callable[[Descriptors], bool]


Node = Compare | Predicate


def _truth(value: bool | str) -> Predicate:
    """True or False, or a descriptor that is one or the other: ``is_ao``."""
    return Predicate(lambda facts: bool(getattr(facts, value)) if isinstance(value, str) else value)


def _tagged(tag: str) -> Predicate:
    """That a frame has a tag: ``"FLAT" in ad.tags``."""
    return Predicate(lambda facts: tag.upper() in facts.tags)


def _opposite(part: Node) -> Predicate:
    return Predicate(lambda facts: not part.holds(facts))


def _join(every: bool, parts: Sequence[Node]) -> Node:
    """Parts joined by 'and' (all must hold) or 'or' (one must)."""
    if len(parts) == 1:
        return parts[0]
    return Predicate(lambda facts: (all if every else any)(part.holds(facts) for part in parts))


def filter_spellings(facts: Descriptors) -> set[str]:
    """All ways to write a frame's filter: with component IDs or without, with Clear or without."""
    full = facts.filter_name or ""
    short = "&".join(without_id(part) for part in full.split("&"))
    without_clear = "&".join(part for part in full.split("&") if "Clear" not in part)
    return {full, short, without_clear, facts.filter or ""}


def _alike(value: Any, found: Any) -> Any:
    """The value in the type of what was found: object==9132 means "9132", exposure_time>"30" means 30."""
    if isinstance(found, str) and isinstance(value, Number):
        return value.text
    if isinstance(found, int | float) and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


class Number(float):
    """A number that remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> Number:
        made = super().__new__(cls, text)
        made.text = text
        return made


# --- from text to tree -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    """A word of an expression: its kind (name, number, string, operator, bracket, end), text and place."""

    kind: str
    text: str
    at: int


TOKENS = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])|(?:ad\.)?(?P<name>[A-Za-z_]\w*)"
    r"|(?P<string>\"[^\"]*\"|'[^']*')|(?P<operator>==|!=|<=|>=|<|>)|(?P<bracket>[()]))"
)


def expr_parser(expression: str, strict: bool = False) -> Node:
    """Parse an expression such as ``filter_name=="Kshort" and exposure_time>=30``.

    ``and``, ``or``, ``not``, parentheses, comparisons with strings, numbers, dates and times,
    ``"FLAT" in ad.tags``. Unless ``strict``, exposure times within 1 % are equal and a filter may be written
    with or without component IDs. Raises BadExpression, which shows the spot.
    """
    if len(expression) > LONGEST:
        raise BadExpression(f"an expression of {len(expression)} characters", f"at most {LONGEST}")
    return _Parser(expression, strict).parse()


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while text[at:].strip():
        match = TOKENS.match(text, at)
        if match is None:
            raise _stumble(text, len(text) - len(text[at:].lstrip()))
        kind = str(match.lastgroup)
        yield Token(kind, match.group(kind), match.start(kind))
        at = match.end()
    yield Token("end", "", len(text))


def _stumble(text: str, at: int) -> BadExpression:
    character = text[at]
    if character in "\"'":
        return _bad(text, at, 1, "a quote that is not closed", f"end the text with {character}")
    if character == "=":
        return _bad(text, at, 1, "'=' where a comparison is meant", "write == for 'is equal to'")
    if character == "!":
        return _bad(text, at, 1, "'!' alone", "write != for 'differs from', or not")
    if character in "&|":
        return _bad(text, at, 1, f"'{character}' joins nothing here", "write and, or")
    return _bad(text, at, 1, f"{character!r} has no meaning here", "names, comparisons, and, or, not, ( )")


def _bad(text: str, at: int, length: int, found: str, remedy: str) -> BadExpression:
    start = max(0, at - 60)
    shown = re.sub(r"\s", " ", text[start : at + 60])
    return BadExpression(f"{found}\n  {shown}\n  {' ' * (at - start)}{'^' * max(1, length)}", remedy=remedy)


class _Parser:
    """Recursive descent: choice -> all -> opposite -> comparison -> operand."""

    def __init__(self, text: str, strict: bool) -> None:
        self.text, self.strict = text, strict
        self.tokens = list(_tokens(text))
        self.place = 0
        self.depth = 0

    @property
    def now(self) -> Token:
        return self.tokens[self.place]

    def parse(self) -> Node:
        node = self.joined("or")
        if self.now.kind != "end":
            raise self.bad(self.now, "nothing can follow here", "join two conditions with and, or or")
        return node

    def joined(self, word: str) -> Node:
        parts = [self.joined("and") if word == "or" else self.opposite()]
        while self.take("name", word):
            parts.append(self.joined("and") if word == "or" else self.opposite())
        return _join(word == "and", parts)

    def opposite(self) -> Node:
        if not self.take("name", "not"):
            return self.condition()
        return _opposite(self.nested(self.opposite))

    def condition(self) -> Node:
        if self.take("bracket", "("):
            inside = self.nested(lambda: self.joined("or"))
            if not self.take("bracket", ")"):
                raise self.bad(self.now, "a parenthesis that is not closed", "add the missing )")
            return inside
        operands, signs = [self.operand()], []
        if self.now.kind == "name" and self.now.text in ("in", "not"):
            return self.membership(operands[0])
        while self.now.kind == "operator":
            signs.append(self.step().text)
            operands.append(self.operand())
        if not signs:
            return self.truth(operands[0])
        pairs = zip(operands, signs, operands[1:], strict=False)
        return _join(True, [self.comparison(left, sign, right) for left, sign, right in pairs])

    def membership(self, tag: Token) -> Node:
        opposite = self.take("name", "not")
        if not self.take("name", "in"):
            raise self.bad(self.now, "'in' is missing here", "write not in")
        if tag.kind != "string" or not self.take("name", "tags"):
            raise self.bad(tag, "only a tag can be in something", 'as in "FLAT" in ad.tags')
        found = _tagged(tag.text[1:-1])
        return _opposite(found) if opposite else found

    def nested(self, inside: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.bad(self.now, f"more than {DEEPEST} levels of nesting", "a simpler expression")
        node = inside()
        self.depth -= 1
        return node

    def operand(self) -> Token:
        token = self.now
        if token.kind not in ("name", "number", "string") or token.text in ("and", "or", "not", "in"):
            what = f"'{token.text}'" if token.text else "the end"
            raise self.bad(
                token, f"{what} where a descriptor or a value should stand", "complete the condition"
            )
        self.step()
        if token.kind == "name" and self.now.text == "(":
            raise self.bad(token, f"'{token.text}(...)' is a call", f"write {token.text} without parentheses")
        return token

    def truth(self, token: Token) -> Node:
        if token.kind == "name":
            constant = CONSTANTS.get(token.text)
            return _truth(constant if isinstance(constant, bool) else self.known(token))
        raise self.bad(token, "a value alone says nothing", f"compare it: NAME=={token.text}")

    def comparison(self, left: Token, sign: str, right: Token) -> Node:
        if self.is_name(left) and self.is_name(right):
            remedy = f'put text in quotes: {left.text}{sign}"{right.text}"'
            raise self.bad(right, "two names are compared, one value is needed", remedy)
        if not self.is_name(left) and not self.is_name(right):
            raise self.bad(left, "two values are compared, one name is needed", "name a descriptor")
        if self.is_name(right):
            left, sign, right = right, MIRRORED[sign], left
        name = self.known(left)
        return Compare(name, sign, self.value(name, right), self.strict)

    @staticmethod
    def is_name(token: Token) -> bool:
        return token.kind == "name" and token.text not in CONSTANTS

    def known(self, token: Token) -> str:
        if token.text in NAMES:
            return token.text
        close = difflib.get_close_matches(token.text, NAMES, 1)
        remedy = f"did you mean {close[0]}?" if close else "`goafetch showd` lists the descriptors"
        raise self.bad(token, f"unknown descriptor '{token.text}'", remedy)

    def value(self, name: str, token: Token) -> Any:
        if token.kind == "number":
            return Number(token.text)
        text = token.text[1:-1]
        if token.kind == "name":
            return CONSTANTS[token.text]
        if name in MOMENTS:
            read, form = MOMENTS[name]
            moment = read(text)
            if moment is None:
                raise self.bad(token, f"{name} is compared with '{text}'", f"write it as {form}")
            return moment
        return text

    def take(self, kind: str, text: str) -> bool:
        if (self.now.kind, self.now.text) != (kind, text):
            return False
        self.step()
        return True

    def step(self) -> Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def bad(self, token: Token, found: str, remedy: str) -> BadExpression:
        return _bad(self.text, token.at, len(token.text), found, remedy)


def _parse_moment(text: str) -> dt.datetime | None:
    """'2017-05-05 01:02:03' (or with T), or a date alone, which means its midnight."""
    date = parse_date(text)
    rest = text.strip()[10:].lstrip("T ")
    time = parse_time(rest) if rest else dt.time()
    return None if date is None or time is None else dt.datetime.combine(date, time)


def _parse_day(text: str) -> dt.date | None:
    return parse_date(text) if len(text.strip()) == 10 else None


#: Descriptors that are compared with a date or a time: how its text is read, and how to write it.
MOMENTS: dict[str, tuple[Callable[[str], Any], str]] = {
    "ut_datetime": (_parse_moment, '"2017-05-05 01:02:03"'),
    "ut_date": (_parse_day, '"2017-05-05"'),
    "ut_time": (parse_time, '"01:02:03"'),
    "local_time": (parse_time, '"21:02:03"'),
}


# --- selection ---------------------------------------------------------------------------------------


def matches(facts: Descriptors, tags: Collection[str], xtags: Collection[str], expression: Node) -> bool:
    """Whether a frame has all of ``tags``, none of ``xtags``, and makes the expression true."""
    return facts.tags.issuperset(tags) and facts.tags.isdisjoint(xtags) and expression.holds(facts)


def select_data(
    inputs: Iterable[P],
    tags: Sequence[str] = (),
    xtags: Sequence[str] = (),
    expression: Node | str = "True",
    adpkg: str | None = None,
) -> list[P]:
    """The files among ``inputs`` that have all of ``tags``, none of ``xtags`` and make ``expression`` true.

    As DRAGONS' gempy.adlibrary.dataselect.select_data; ``adpkg`` named a package of instruments there and
    may only be None or 'gemini_instruments' here.
    """
    if adpkg not in (None, "gemini_instruments"):
        known = f"known here: {', '.join(KNOWN)}"
        raise BadParameter(f"adpkg is {adpkg!r}", "None or 'gemini_instruments'", known)
    tree = expr_parser(expression) if isinstance(expression, str) else expression
    upper, xupper = _upper(tags), _upper(xtags)
    return [path for path in inputs if matches(describe_file(Path(path)), upper, xupper, tree)]


def describe_file(path: Path) -> Descriptors:
    """A file's descriptors, from its headers alone; BadFile if it is not FITS."""
    return describe(*read_headers(path), filename=path.name)


def _upper(tags: Iterable[str]) -> list[str]:
    return [tag.strip().upper() for tag in tags if tag.strip()]
