"""The same exposure in several files: one is used, the others are named; no two inputs make one product."""

from __future__ import annotations

import bz2
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from caged import Here, run_here
from tiny_program import LAMPS_ON, ON_TARGET, name_of, write_program
from told import Told
from typer.testing import CliRunner

from goafetch.api.disco import disco
from goafetch.api.reduce import Task, reduce_files
from goafetch.archive.unpack import unpack
from goafetch.cli import app
from goafetch.errors import UsageError
from goafetch.events import Refusal, Warned, words
from goafetch.pipeline.raw_files import take_folder
from goafetch.pipeline.summary import RunReport
from goafetch.workspace import Workspace
from reducer.fitsio import read_table
from reducer.headers.descriptors import describe
from reducer.products import exposure_name, needless

FIRST, SECOND = name_of(ON_TARGET[0]), name_of(ON_TARGET[1])
COPIES = (f"{SECOND[:-5]} (1).fits", f"copy of {SECOND}", f"{SECOND[:-5]}_v2.fits", "comet.fits")


@pytest.fixture(autouse=True)
def _logs_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write their log where they are started."""
    monkeypatch.chdir(tmp_path)


def facts(path: str, label: str = "GS-1-1-001", ut: str = "05:00:00", chips: int = 4) -> Any:
    header = fits.Header()
    header.update({"DATALAB": label, "DATE-OBS": "2017-05-05", "UT": ut, "OBSTYPE": "OBJECT"})
    return Path(path), describe(header, [fits.Header({"XTENSION": "IMAGE"}) for _ in range(chips)], path)


@pytest.mark.parametrize("copy", COPIES)
def test_a_raw_files_own_name_goes_before_a_copys(copy: str) -> None:
    for files in ([facts(copy), facts(SECOND)], [facts(SECOND), facts(copy)]):
        reason, lost = needless(files)[Path(copy)]
        assert (reason["reason"], reason["other"]) == ("copy", SECOND)
        assert "GS-1-1-001" in reason["label"] and not lost


def test_a_copy_with_all_arrays_goes_before_a_file_that_lacks_one() -> None:
    assert list(needless([facts(SECOND, chips=3), facts(COPIES[0])])) == [Path(SECOND)]


def test_exposures_of_other_labels_or_times_are_no_copies() -> None:
    assert not needless([facts(FIRST), facts(SECOND, label="GS-1-1-002"), facts("a.fits", ut="05:01:00")])


def test_another_exposure_whose_products_would_take_a_name_is_lost_until_it_is_renamed() -> None:
    reason, lost = needless([facts(SECOND), facts(COPIES[2], label="GS-1-1-002")])[Path(COPIES[2])]
    assert lost and reason == {"reason": "same_name", "other": SECOND}


@pytest.mark.parametrize(
    ("name", "exposure"),
    [
        ("S20170505S0095.fits", "S20170505S0095"),
        ("S20170505S0095_skyCorrected.fits", "S20170505S0095"),
        ("S20170505S0095_v2.fits", "S20170505S0095"),
        ("my_frame_2.fits", "my_frame_2"),
        ("my_frame_2_flatCorrected.fits", "my_frame_2"),
    ],
)
def test_products_bear_the_name_of_their_exposure(name: str, exposure: str) -> None:
    assert exposure_name(Path(name)) == exposure


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night with copies of an exposure, of a flat, and a packed one beside its plain file."""
    folder = tmp_path_factory.mktemp("raw")
    write_program(folder)
    for copy in COPIES:
        shutil.copy(folder / SECOND, folder / copy)
    shutil.copy(folder / name_of(LAMPS_ON[0]), folder / f"copy of {name_of(LAMPS_ON[0])}")
    (folder / "again").mkdir()
    shutil.copy(folder / FIRST, folder / "again" / FIRST)
    (folder / f"{FIRST}.bz2").write_bytes(bz2.compress((folder / FIRST).read_bytes()))
    return folder


@pytest.fixture(scope="module")
def done(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    return run_here(raw, into=tmp_path_factory.mktemp("space") / "ws", catalog="none")


def test_a_run_uses_each_exposure_once_and_names_the_copies(done: RunReport) -> None:
    assert done.exit_code == 0
    (stack,) = done.stacks
    assert fits.getheader(stack)["NCOMBINE"] == len(ON_TARGET)
    assert fits.getheader(stack)["TEXPTIME"] == 60.0 * len(ON_TARGET)
    (flat,) = done.workspace.playground.glob("*_flat.fits")
    names = [str(row["filename"]) for row in read_table(flat, "PROVENANCE") if "input" in row.tolist()[3]]
    assert len(names) == 6
    excluded = {one.name: one.reason for one in done.summary.exclusions}
    for copy in (*COPIES, f"copy of {name_of(LAMPS_ON[0])}"):
        assert excluded[copy].startswith("copy of ")
        assert copy in done.workspace.log.read_text()
    assert any(f"again/{FIRST} is passed over" in warned.text for warned in done.summary.warnings)
    assert any(f"{FIRST}.bz2" in words(decision) for decision in done.summary.decisions)


def test_reduce_and_disco_use_each_exposure_once(
    raw: Path, done: RunReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = Told()
    lamps = [*sorted(raw.glob("S20170505S000[1-6].fits")), raw / f"copy of {name_of(LAMPS_ON[0])}"]
    (flat,) = reduce_files(Task(lamps, folder=tmp_path, workers=1), told)
    assert [event.name for event in told.of(Refusal)] == [lamps[-1].name]
    assert len(read_table(flat, "PROVENANCE")) == 6
    frames = sorted(done.workspace.playground.glob("*_skyCorrected.fits"))
    twice = tmp_path / "copy of it.fits"
    shutil.copy(frames[1], twice)
    assert fits.getheader(disco([*frames, twice]))["NCOMBINE"] == len(frames)


def test_a_packed_file_serves_where_its_plain_one_is_cut_short(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(raw, folder, ignore=shutil.ignore_patterns("again", "copy*", "* (1)*", "*_v2*", "comet*"))
    (folder / FIRST).write_bytes((folder / FIRST).read_bytes()[:20000])
    told = Told()
    files, lost = take_folder(folder, Workspace(tmp_path / "ws").make(), told, Here())
    assert {path.name for path in files} == {path.name for path in folder.glob("*.fits")} and not lost
    (first,) = (path for path in files if path.name == FIRST)
    assert first.read_bytes() == (raw / FIRST).read_bytes()
    (text,) = (event.text for event in told.of(Warned))
    assert "damaged" in text and FIRST in text


def test_unpack_keeps_one_file_of_an_exposure_and_names_the_others(raw: Path, tmp_path: Path) -> None:
    given = [raw / SECOND, *(raw / copy for copy in COPIES)]
    for _ in range(2):
        report = unpack(given, tmp_path / "playdata", workers=1)
        assert sorted(path.name for path in (tmp_path / "playdata").glob("*.fits")) == [SECOND]
        assert {name for name, _ in report.copies} == set(COPIES)
        assert all(SECOND in reason for _, reason in report.copies) and report.exit_code == 0


def test_disco_exits_1_where_a_file_is_left_out_and_its_json_names_it(
    done: RunReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frames = sorted(done.workspace.playground.glob("*_skyCorrected.fits"))
    twice = tmp_path / "copy of it.fits"
    shutil.copy(frames[1], twice)
    done_by_hand = CliRunner().invoke(app, ["disco", *map(str, [*frames, twice]), "--json"])
    assert done_by_hand.exit_code == 1
    (left_out,) = json.loads(done_by_hand.stdout)["left_out"]
    assert left_out["name"] == twice.name and frames[1].name in left_out["reason"]


def test_disco_refuses_mixed_filters_by_name(
    done: RunReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frames = sorted(done.workspace.playground.glob("*_skyCorrected.fits"))
    odd = tmp_path / frames[1].name
    shutil.copy(frames[1], odd)
    fits.setval(odd, "FILTER1", value="J_G1102")
    with pytest.raises(UsageError, match=rf"J: {odd.name}; Kshort: {frames[0].name}"):
        disco([frames[0], odd])
