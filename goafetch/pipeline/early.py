"""Master flats made while the science is still on its way from the archive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from goafetch.archive.download import Selection
from goafetch.archive.job import SEARCHED
from goafetch.events import Event, Made, Notify
from goafetch.pipeline.stages import MADE, Work, make_flat
from goafetch.plan.decide import plan_flats
from goafetch.plan.model import Group
from reducer.errors import ReducerError
from reducer.headers.descriptors import Descriptors

Survey = Callable[[list[Path]], list[tuple[Path, Descriptors]]]


class EarlyFlats:
    """Waits for the last calibration and makes the master flats then; use it as a context manager.

    Archives send calibrations first, so that the workers have work long before all science is here.
    """

    def __init__(self, work: Work, survey: Survey) -> None:
        self.work, self.survey = work, survey
        self._calibrations: list[Path] = []
        self._missing: set[str] = set()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def expect(self, selection: Selection) -> None:
        """Note which calibrations are coming."""
        folder = self.work.workspace.playdata
        names = [name for name, role in selection.roles.items() if role != SEARCHED]
        self._calibrations = [folder / name for name in names]
        self._missing = {path.name for path in self._calibrations if not path.exists()}

    def arrived(self, path: Path) -> None:
        """Note that a file is here; begin when it was the last calibration."""
        with self._lock:
            if path.name in self._missing:
                self._missing.remove(path.name)
                if not self._missing:
                    self._running = self._thread.submit(self._make)

    def __enter__(self) -> EarlyFlats:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=kind is None)
        if kind is None and self._running is not None:
            self._running.result()

    def _make(self) -> None:
        for group in plan_flats(self.survey(self._calibrations)):
            self._make_one(group)

    def _make_one(self, group: Group) -> None:
        try:
            outcome = make_flat(group, self.work, _quietly(group, self.work.notify))
        except ReducerError:
            return  # it is tried again, and told, when it is its turn in the plan
        if outcome.status == MADE:
            self.work.early[self.work.workspace.playground / group.product] = outcome


def _quietly(group: Group, notify: Notify) -> Notify:
    """Events with their group; that the flat is made is told when its turn in the plan comes."""

    def tell(event: Event, /) -> None:
        if not isinstance(event, Made):
            notify(replace(event, group=event.group or group.name))

    return tell
