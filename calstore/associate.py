"""Decide, without touching the disk, which calibration fits a need, and why each other one does not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from calstore.errors import CalstoreError
from calstore.record import Calibration, Need
from calstore.rules import RULES, Rule


@dataclass(frozen=True, slots=True)
class Rejection:
    """A calibration that was not taken, and the sentence of the rule it lost by."""

    calibration: Calibration
    reason: str


@dataclass(frozen=True)
class Match:
    """The calibration that fits best, why, and why each other candidate was not taken."""

    calibration: Calibration
    reason: str
    rejected: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class NoMatch:
    """No candidate fits: the need, in words, and why each was not taken."""

    kind: str
    reason: str
    rejected: tuple[Rejection, ...] = ()


def no_problem(calibration: Calibration) -> str | None:
    """Every calibration can be used."""
    return None


def best(
    need: Need, candidates: Iterable[Calibration], problem: Callable[[Calibration], str | None] = no_problem
) -> Match | NoMatch:
    """The candidate of the need's kind that fits best by the table of rules.

    Candidates of another kind are passed over in silence; equal ones are decided by name, so that the
    answer does not depend on their order. ``problem`` is asked of the winner, and says in words why it
    cannot be used after all; then the next one wins.
    """
    rule = _rule(need.kind)
    fitting, rejected = _weigh(rule, need, candidates)
    while fitting and (reason := problem(fitting[0])) is not None:
        rejected.append(Rejection(fitting.pop(0), reason))
    if not fitting:
        return NoMatch(need.kind, _nothing_fits(need, len(rejected)), tuple(rejected))
    winner, *others = fitting
    losers = [Rejection(loser, _second(rule, need, loser, winner)) for loser in others]
    return Match(winner, _praise(rule, need, winner, len(losers)), (*losers, *rejected))


def suiting(need: Need, candidates: Iterable[Calibration]) -> list[Calibration]:
    """All candidates that meet the rule's conditions, the best first: what a set of flats is made from."""
    return _weigh(_rule(need.kind), need, candidates)[0]


def _weigh(
    rule: Rule, need: Need, candidates: Iterable[Calibration]
) -> tuple[list[Calibration], list[Rejection]]:
    """Those that meet all conditions, the best first, and the others."""
    fitting: list[Calibration] = []
    rejected: list[Rejection] = []
    for candidate in candidates:
        if candidate.kind != need.kind:
            continue
        reason = _objection(rule, need, candidate)
        if reason is None:
            fitting.append(candidate)
        else:
            rejected.append(Rejection(candidate, reason))
    fitting.sort(key=lambda calibration: (rule.rank(need, calibration), calibration.path))
    return fitting, rejected


def _rule(kind: str) -> Rule:
    if kind not in RULES:
        raise CalstoreError(f"there is no rule for {kind!r}", f"one of {', '.join(RULES)}")
    return RULES[kind]


def _objection(rule: Rule, need: Need, candidate: Calibration) -> str | None:
    for condition in rule.conditions:
        reason = condition(need, candidate)
        if reason is not None:
            return reason
    return None


def _nothing_fits(need: Need, tried: int) -> str:
    asked = f"no {need.kind} for {need.name or 'this frame'} ({need.filter_name or 'any filter'})"
    return f"{asked}: {f'none of {tried} fits' if tried else 'there is none at all'}"


def _praise(rule: Rule, need: Need, winner: Calibration, losers: int) -> str:
    names = ", ".join(condition.__name__.replace("_", " ") for condition in rule.conditions)
    if rule.latest:
        which = f"the latest of {losers + 1}" if losers else "the only one"
        return f"{names}; {which}, valid from {winner.when.date()}"
    which = f"the nearest in time of {losers + 1}" if losers else "the only one"
    return f"{names}; {which}, {_apart(need, winner)} away"


def _second(rule: Rule, need: Need, loser: Calibration, winner: Calibration) -> str:
    if loser.when == winner.when:
        return f"fits, as {winner.name} does, which comes first by name"
    if rule.latest:
        return f"fits, but {winner.name} is later ({winner.when.date()} against {loser.when.date()})"
    return f"fits, but {winner.name} is nearer ({_apart(need, winner)} against {_apart(need, loser)})"


def _apart(need: Need, calibration: Calibration) -> str:
    hours = abs(need.when - calibration.when) / dt.timedelta(hours=1)
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
