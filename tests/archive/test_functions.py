"""The two functions that a notebook uses, over a real socket."""

from __future__ import annotations

from pathlib import Path

import goafetch
from goafetch.practice.server import serve


def test_search_and_fetch_are_the_commands_as_functions(tiny_folder: Path, tmp_path: Path) -> None:
    with serve(tiny_folder) as archive:
        found = goafetch.search("GS-2017A-Q-29", date="20170504-20170505", archive=archive.url)
        assert len(found.records) == 16
        result = goafetch.fetch("GS-2017A-Q-29", date="20170504-20170505", into=tmp_path, archive=archive.url)
    assert result.report.exit_code == 0
    assert len(list((tmp_path / "playdata").glob("*.fits"))) == 51
    assert (tmp_path / "goafetch.lock").exists()
