"""Tasks for worker processes: they end, die or tell who does them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np


def double(number: int) -> int:
    """A task that is done at once."""
    return 2 * number


def die_first(task: tuple[str, int]) -> int:
    """Kill the worker the first time that one of every four tasks is tried."""
    folder, number = task
    tried = Path(folder) / f"tried-{number}"
    if number % 4 == 1 and not tried.exists():
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number


def die(_: object) -> None:
    """Kill the worker."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill(shape: tuple[int, int]) -> np.ndarray:
    """An array that takes some time to send."""
    return np.full(shape, 1.5, np.float32)


def fill_and_free(megabytes: int) -> int:
    """Fill arrays of a megabyte and free them: the C library would keep the memory for the next task."""
    arrays = [np.ones(2**20, np.uint8) for _ in range(megabytes)]
    return int(arrays[-1].sum())


def rename_after(task: tuple[str, str, float]) -> None:
    """Say that the task has begun, and give a file another name some time later."""
    old, new, seconds = task
    Path(old).touch()
    time.sleep(seconds)
    Path(old).replace(new)
