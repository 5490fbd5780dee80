"""What a run gives back: its plan, what became of it, and that in tables and words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goafetch.pipeline.stages import REFUSED, Outcome
from goafetch.plan.model import Plan
from goafetch.report.model import RunSummary
from goafetch.text import some
from goafetch.workspace import Workspace


@dataclass(frozen=True)
class RunReport:
    """What became of a run: plan, outcomes, the summary as saved, and the exit code that a shell gets.

    ``report`` is the HTML page, None after a rehearsal.
    """

    workspace: Workspace
    plan: Plan
    outcomes: tuple[Outcome, ...]
    summary: RunSummary
    report: Path | None
    exit_code: int

    @property
    def redone(self) -> int:
        """Number of products that this run wrote."""
        return sum(outcome.redone for outcome in self.outcomes)

    @property
    def products(self) -> tuple[Path, ...]:
        """Every product of the plan that stands now."""
        return tuple(path for outcome in self.outcomes for path in outcome.products)

    @property
    def stacks(self) -> tuple[Path, ...]:
        """The stacked images."""
        return tuple(path for path in self.products if path.stem.endswith("_image"))

    def table(self) -> list[dict[str, Any]]:
        """A row for each stage: what it made, whether anew, and where."""
        return [
            {
                "what": outcome.name,
                "kind": outcome.kind,
                "status": outcome.status,
                "products": len(outcome.products),
                "seconds": round(outcome.seconds, 1),
                "file": str(outcome.products[0]) if len(outcome.products) == 1 else "",
                "why": outcome.reason,
            }
            for outcome in self.outcomes
        ]

    def conclusion(self) -> str:
        """What was done, the report, and last what is missing."""
        missing = f"; {self.missing}" if self.missing else ""
        return f"{self.done}{f'. Report: {self.report}' if self.report else ''}{missing}"

    @property
    def done(self) -> str:
        """What was done, and what could not be."""
        refused = dict.fromkeys(outcome.name for outcome in self.outcomes if outcome.status == REFUSED)
        if self.report is None:
            return "nothing was written: this was a rehearsal"
        if refused:
            return f"{self.redone} products made; could not be done: {', '.join(refused)}"
        if not self.outcomes:
            return "nothing was made: no frames here can be reduced, and the report says why of each"
        return f"{self.redone} products made" if self.redone else "nothing to do: every product is current"

    @property
    def missing(self) -> str:
        """The files that are not in the result though they were meant to be, by reason; else nothing."""
        lost = [(left.path.name, left.reason) for left in self.plan.left_out if left.failed]
        lost += [frame for frames in self.summary.refused.values() for frame in frames.items()]
        by_reason: dict[str, list[str]] = {}
        for name, reason in dict.fromkeys(lost):
            by_reason.setdefault(reason, []).append(name)
        return "; ".join(f"missing {some(names)}: {reason}" for reason, names in by_reason.items())

    def _repr_html_(self) -> str:
        from goafetch.text import table_html

        return table_html(self.table(), self.conclusion())

    def as_document(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            **self.summary.as_document(),
            "workspace": str(self.workspace.root),
            "report": str(self.report) if self.report else None,
            "exit_code": self.exit_code,
            "redone": self.redone,
            "plan": self.plan.table(),
            "outcomes": self.table(),
        }
