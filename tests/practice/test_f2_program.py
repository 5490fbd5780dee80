"""The practice archive's night of Flamingos-2: answered for as the archive does, fetched, reduced whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from caged import Here
from f2_truth import agrees_with_truth
from quick_archive import QUICK

from goafetch.archive.client import ArchiveClient
from goafetch.archive.query import Criteria
from goafetch.archive.search import search_archive
from goafetch.config import Settings
from goafetch.pipeline.run import Request, run_job
from goafetch.practice.flamingos2 import PROGRAM, Night, build_program, real_cards
from goafetch.practice.server import PracticeArchive, serve
from reducer.fitsio import read_headers

NIGHT = Night(side=256, stars=25, dithers=5, step=7.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("f2") / "f2"
    build_program(made, night=NIGHT)
    return made


@pytest.fixture(scope="module")
def archive(folder: Path) -> Iterator[PracticeArchive]:
    with serve([folder]) as served:
        yield served


def names(*numbers: int) -> set[str]:
    return {f"S20170505S{n:04d}.fits" for n in numbers}


def test_its_records_have_the_keys_of_every_instruments(folder: Path, tiny_folder: Path) -> None:
    mine, theirs = (json.loads((each / "holdings.json").read_text())[0] for each in (folder, tiny_folder))
    assert list(mine) == list(theirs) and set(mine["_extra"]) >= set(theirs["_extra"])


def test_its_headers_are_those_of_the_telescope_card_by_card(tmp_path: Path) -> None:
    primary, (chip,) = read_headers(NIGHT.write(tmp_path, 101, 100.0, 60.0))
    keys = [key for key, _, _ in real_cards()["primary"]]
    assert [key for key in primary if key in keys] == keys
    assert [key for key, _, _ in real_cards()["extension"] if key not in chip and key != "CD3_3"] == [
        "AXISLAB3"
    ]


def test_the_archive_associates_flats_whatever_their_lamp_and_darks(archive: PracticeArchive) -> None:
    client = ArchiveClient(archive.url, policy=QUICK)
    science = search_archive(client, Criteria(program=PROGRAM, instrument="F2")).records
    assert len(science) == NIGHT.dithers

    def offered(kind: str) -> set[str]:
        rows = client.rows("jsoncalmgr", (kind, PROGRAM, "F2", "RAW", "OBJECT"))
        cals = (cal["name"] for row in rows for info in row["cal_info"] for cal in info["cals"] or [])
        return {name.removesuffix(".bz2") for name in cals}

    assert len(offered("flat")) == 10 and len(offered("flat") & names(*range(11, 19))) >= 2
    assert offered("dark") == names(*range(21, 31))
    assert not offered("lampoff_flat") and not offered("processed_bpm")


def test_its_program_is_fetched_with_flats_and_darks_and_stacked(
    archive: PracticeArchive, tmp_path: Path
) -> None:
    request = Request(PROGRAM, instrument="F2", into=tmp_path / "work", catalog="none", phot_catalog="none")
    report = run_job(request, Settings(archive=archive.url), pool=Here())
    assert report.exit_code == 0
    fetched = {path.name for path in (tmp_path / "work/playdata").iterdir()}
    assert fetched == names(*range(1, 9), *range(11, 19), *range(21, 31), *range(101, 106))
    agrees_with_truth(NIGHT, tmp_path / "work/playground", report.stacks, stars=6)
