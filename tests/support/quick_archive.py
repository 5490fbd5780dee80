"""Short patience, threads for processes, and what every test of a fetch asks: is any file wrong?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path

from goafetch.archive.connection import RetryPolicy

QUICK = RetryPolicy(pause=0.01, window=0.4, connect=5, answer=10, file=5)


class Threads(ThreadPoolExecutor):
    """Unpacks in this process: starting processes would take longer than the tests."""

    workers, abandoned = 2, False

    def on_abandon(self, _: object) -> None:
        """Nobody abandons them."""


def wrong_files(folder: Path, truth: dict[str, str]) -> list[str]:
    """Files under a final name whose content is not the archive's; there must never be one."""
    if not folder.exists():
        return []
    files = [path for path in folder.iterdir() if path.is_file()]
    return [path.name for path in files if md5(path.read_bytes()).hexdigest() != truth.get(path.name)]
