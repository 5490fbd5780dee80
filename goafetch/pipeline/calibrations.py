"""The calibration store of a run: what it already holds, and what this run adds to it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from calstore.associate import PROCESSED_FLAT, Calibration
from calstore.store import CalStore
from goafetch.config import Settings
from goafetch.pipeline.stages import MADE, REUSED, Outcome
from goafetch.plan.decide import promise
from goafetch.plan.model import Plan
from goafetch.workspace import Workspace


def store_of(workspace: Workspace, settings: Settings) -> CalStore:
    """The store that settings name, else the workspace's own."""
    return CalStore(settings.store or workspace.calibrations / "calstore.json")


def stored_calibrations(store: CalStore) -> list[Calibration]:
    """What the store holds and the disk still has."""
    if not store.exists:
        return []
    return [known for known in store.all() if Path(known.path).is_file()]


def add_to_store(store: CalStore, plan: Plan, outcomes: Iterable[Outcome], workspace: Workspace) -> None:
    """Enter the master flats that were made, and those that a killed run had made and not entered."""
    status = {path.name: outcome.status for outcome in outcomes for path in outcome.products}
    here = [group for group in plan.flats if status.get(group.product) in (MADE, REUSED)]
    flats = [promise(group, workspace.calibrations / PROCESSED_FLAT) for group in here]
    store.init()
    known = {Path(calibration.path).resolve() for calibration in store.all()} if flats else set()
    made = [flat for flat in flats if status[Path(flat.path).name] == MADE]
    missed = [flat for flat in flats if flat not in made and Path(flat.path).resolve() not in known]
    if made or missed:
        store.add(*made, *missed)
