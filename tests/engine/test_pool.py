"""The local pool: order, lost workers, the watch over the parent, and the lock that workers share."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chores import die, die_first, double, fill_and_free, rename_after
from told import Told

from goafetch.engine.pool import Pool, WorkersLost
from goafetch.errors import WorkspaceError
from goafetch.events import Retry, Warned
from goafetch.system import KEPT, resident
from goafetch.workspace import Workspace, hold_workspace


def test_results_come_in_the_order_of_the_tasks_however_many() -> None:
    with Pool(2) as pool:
        assert list(pool.map(double, range(40))) == list(range(0, 80, 2))
        assert pool.submit(double, 4).result() == 8


@pytest.mark.parametrize("at_once", [True, False])
def test_a_pool_that_is_killed_amid_its_work_says_nothing_of_it(
    at_once: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Now and then loky's own thread found its queue closed, and Ctrl-C ended with a traceback."""

    class Surprised:
        def shutdown(self, **how: bool) -> None:
            logging.getLogger("concurrent.futures").critical("Exception in executor manager thread:")

    pool = Pool(1)
    monkeypatch.setattr(pool, "_executor", Surprised())
    pool.close(at_once=at_once)
    assert bool(caplog.records) is not at_once


def test_an_error_of_a_task_is_raised_where_its_result_is_wanted() -> None:
    with Pool(1) as pool, pytest.raises(TypeError):
        list(pool.map(double, [None]))


def test_no_worker_ever_hears_of_ctrl_c() -> None:
    """Not even as it starts, when it would end with a traceback of its own."""
    with Pool(2) as pool:
        assert signal.SIGINT in pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_what_waits_for_idle_workers_is_done_when_other_tasks_leave_them_idle(tmp_path: Path) -> None:
    with Pool(2) as pool:
        desk = pool.in_workspace(tmp_path / "lock")
        spare = [desk.when_idle(double, number) for number in range(3)]
        assert spare[1].cancel() and not spare[0].done()
        assert list(desk.map(double, range(12))) == list(range(0, 24, 2))
        assert [spare[0].result(10), spare[2].result(10)] == [0, 4]
        failing = desk.when_idle(double, None)
        assert not failing.done()  # no task has ended since
        desk.start_waiting()
        with pytest.raises(TypeError):
            failing.result(10)


def test_a_killed_worker_costs_a_new_pool_and_its_unfinished_tasks(tmp_path: Path) -> None:
    told = Told()
    with Pool(2, told) as pool:
        for first in (0, 4, 8):
            tasks = [(str(tmp_path), number) for number in range(first, first + 4)]
            assert list(pool.map(die_first, tasks)) == list(range(first, first + 4))
    warnings = [event.text for event in told.of(Warned)]
    assert warnings[2:] == ["a worker process was lost (SIGKILL(-9)), replaced 3 of at most 3 times"]
    assert any(event.path.startswith("die_first") for event in told.of(Retry))


def test_workers_lost_a_fourth_time_are_a_clear_error() -> None:
    with Pool(1) as pool, pytest.raises(WorkersLost, match=r"lost 4 times.*--memory"):
        pool.submit(die, None).result()


PARENT = """
import sys, time
from goafetch.engine.pool import Pool
from chores import rename_after
if __name__ == "__main__":
    pool = Pool(1)
    pool.submit(rename_after, tuple(sys.argv[1:3]) + (float(sys.argv[3]),))
    time.sleep(60)
"""


@pytest.mark.parametrize("seconds", [0.1, 0.6])
def test_workers_of_a_killed_parent_rename_nothing(tmp_path: Path, seconds: float) -> None:
    """Even between two looks at the parent no file gets its final name."""
    old, new = tmp_path / "half-made", tmp_path / "product"
    support = str(Path(__file__).parents[1] / "support")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {support!r})\n{PARENT}"]
    with subprocess.Popen([*command, str(old), str(new), str(seconds)]) as process:
        while not old.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    time.sleep(seconds + 0.7)
    assert old.exists() and not new.exists()


def test_no_run_begins_while_a_worker_of_an_earlier_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goafetch.workspace.PATIENCE", 0.3)
    workspace = Workspace(tmp_path).make()
    with Pool(1) as pool:
        pool.in_workspace(workspace.workers_lock).submit(double, 1).result()
        with pytest.raises(WorkspaceError, match="earlier run still work"), hold_workspace(workspace):
            pass
    with hold_workspace(workspace):
        pass


def test_a_cold_pool_does_the_first_task_of_each_kind_alone(tmp_path: Path) -> None:
    with Pool(2, cold=True) as pool:
        tasks = [(str(tmp_path / f"{number}.new"), str(tmp_path / str(number)), 0.1) for number in range(3)]
        list(pool.map(rename_after, tasks))
    first, second = ((tmp_path / name).stat().st_mtime for name in ("0", "1"))
    assert second - first > 0.09


@pytest.mark.skipif(not resident(), reason="the system does not tell the memory of a process")
def test_a_worker_gives_back_what_a_large_task_has_freed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path).make()
    with Pool(1) as pool:
        desk = pool.in_workspace(workspace.workers_lock)
        desk.submit(fill_and_free, 450).result()
        assert desk.submit(resident).result() < KEPT
