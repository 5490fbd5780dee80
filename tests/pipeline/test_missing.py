"""What cannot be had is named with its reason, and the exit code and the last line say that it is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from caged import run_here
from quick_archive import QUICK, Threads, wrong_files
from tiny_program import LAMPS_OFF, LAMPS_ON, ON_SKY, name_of, write_program
from told import Told

from goafetch.archive.client import ArchiveClient
from goafetch.archive.download import Options
from goafetch.archive.query import Criteria
from goafetch.config import Settings
from goafetch.errors import UsageError, Withheld
from goafetch.events import Event, Refusal
from goafetch.pipeline.raw_files import RawFiles, fetch_raw_files
from goafetch.pipeline.run import run
from goafetch.pipeline.stages import Outcome
from goafetch.pipeline.summary import RunReport, count_lost
from goafetch.plan.plan import Group, Plan, Setup, Stack
from goafetch.practice.archive import prepare
from goafetch.practice.goa.faults import Fault
from goafetch.practice.server import PracticeArchive, serve
from goafetch.report.run_summary import RunSummary
from goafetch.workspace import Workspace

PROGRAM = "GS-2017A-Q-29"
#: The mask, and as many flats as make one.
NEEDED = {f"S20170505S{number:04d}.fits" for number in (30, 31, 32, 60, 61, 62)}
NEEDED.add("bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits")


@pytest.fixture
def archive(tiny_folder: Path) -> Iterator[PracticeArchive]:
    with serve([tiny_folder]) as practice:
        yield practice


@pytest.fixture
def archive_of_troubles(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PracticeArchive]:
    """One whose look-up of calibrations always fails, asked without long pauses."""
    monkeypatch.setitem(ArchiveClient.__init__.__kwdefaults__, "patience", QUICK)
    with serve([tiny_folder], faults=["association-error"]) as practice:
        yield practice


def fetch(archive: PracticeArchive, workspace: Workspace, told: list[str]) -> RawFiles:
    def tell(event: Event) -> None:
        if isinstance(event, Refusal):
            told.append(event.name)

    with Threads() as pool:
        settings = Settings(archive=archive.url)
        return fetch_raw_files(Criteria(program=PROGRAM), workspace, settings, tell, Options(pool=pool))


def test_a_rehearsal_names_what_is_withheld_and_what_to_do(tiny_folder: Path, tmp_path: Path) -> None:
    with serve([tiny_folder], faults=[Fault("withheld", None, 3)]) as archive:
        report = run(PROGRAM, archive=archive.url, into=tmp_path / "ws", dry_run=True)
    withheld = [e for e in report.summary.exclusions if "proprietary" in e.reason]
    assert len(withheld) >= 3 and all("goafetch login" in exclusion.reason for exclusion in withheld)
    assert report.conclusion().endswith(report.missing) and withheld[0].name in report.conclusion()
    assert report.exit_code == 1  # as the run will end: nothing that is here can change it
    assert list(tmp_path.iterdir()) == []


def test_flats_that_a_look_up_lost_are_missing(archive_of_troubles: PracticeArchive, tmp_path: Path) -> None:
    """The run made its stack without them, ended with 0 and said it in one warning among others."""
    holdings = archive_of_troubles.holdings
    holdings[:] = [holding for holding in holdings if holding.row["object"] != "Domeflat OFF"]
    report = run(PROGRAM, archive=archive_of_troubles.url, into=tmp_path / "ws", dry_run=True)
    assert report.exit_code == 1
    [lost] = [left for left in report.summary.exclusions if left.name == "lamp-off flats"]
    assert "look-up failed for S20170505S0095.fits" in lost.reason
    assert f"missing lamp-off flats: {lost.reason}" in report.conclusion()
    assert {"name": lost.name, "reason": lost.reason} in report.as_document()["exclusions"]


def test_a_program_of_which_no_science_is_given_out_ends_with_4_and_leaves_nothing(
    tiny_folder: Path, tmp_path: Path
) -> None:
    told: list[Event] = []
    with (
        serve([tiny_folder]) as archive,
        pytest.raises(Withheld, match="withheld") as caught,
    ):
        run(
            "GS-2026A-Q-78",
            archive=archive.url,
            into=tmp_path / "a/b",
            notify=told.append,
        )
    assert caught.value.exit_code == 4 and "goafetch login" in caught.value.remedy
    assert any(isinstance(event, Refusal) for event in told) and list(tmp_path.iterdir()) == []


def test_a_file_judged_fail_since_the_last_run_is_set_aside_and_one_that_is_gone_is_missing(
    archive: PracticeArchive, tmp_path: Path
) -> None:
    workspace, told = Workspace(tmp_path / "ws").make(), []
    assert fetch(archive, workspace, told).left_out == ()
    rows = {str(holding.row["name"]).removesuffix(".bz2"): holding.row for holding in archive.holdings}
    science = sorted(name for name, row in rows.items() if row["observation_class"] == "science")
    failed, gone = [name for name in science if (workspace.playdata / name).exists()][:2]
    rows[failed]["qa_state"], rows[gone]["present"] = "Fail", False
    left_out = {left.path.name: left for left in fetch(archive, workspace, told).left_out}
    assert not left_out[failed].failed and "judged Fail" in left_out[failed].reason
    assert left_out[gone].failed and "no longer" in left_out[gone].reason
    assert told == [gone]


def test_files_of_a_folder_that_cannot_be_had_are_missing(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "S20170505S0001.fits.bz2").write_bytes(b"BZh9 cut")
    (raw / "S20170505S0002.fits").symlink_to("nowhere")
    report = run_here(str(raw), into=tmp_path / "ws")
    assert report.exit_code == 1
    assert {e.name for e in report.summary.exclusions} == {"S20170505S0001.fits", "S20170505S0002.fits"}
    assert all(name in report.conclusion() for name in ("S20170505S0001", "S20170505S0002"))


def test_a_rehearsal_foretells_what_a_run_refuses_and_fails_by_what_it_cannot_read(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_program(raw)
    for number in (*LAMPS_ON, *LAMPS_OFF):
        (raw / name_of(number)).unlink()
    foretold = run(raw, into=tmp_path / "ws", dry_run=True)
    assert foretold.exit_code == 0 and "no processed_flat" in foretold.missing
    (raw / name_of(ON_SKY[0])).write_bytes(b"SIMPLE  =                    T")
    report = run(raw, into=tmp_path / "ws", dry_run=True)
    assert report.exit_code == 1 and name_of(ON_SKY[0]) in report.missing
    assert not (tmp_path / "ws").exists()


def test_with_all_troubles_at_once_what_is_allowed_arrives_and_all_else_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Short answers, look-ups that fail, 'later', files replaced meanwhile, a third withheld."""
    monkeypatch.setitem(ArchiveClient.__init__.__kwdefaults__, "patience", QUICK)
    troubles = ["limits", "association-error", "retry-after", "re-ingest", Fault("withheld", None, 0.33)]
    with serve(prepare(), faults=troubles) as archive:
        few = [h for h in archive.holdings if h.row["observation_class"] == "science" or h.name in NEEDED]
        archive.holdings[:] = few
        ask = {"archive": archive.url, "into": tmp_path / "ws", "catalog": "none", "phot_catalog": "none"}
        report = run_here(PROGRAM, date="20170504-20170505", **ask)
        struck = {
            name: archive.faults.count(name) for name in ("association-error", "retry-after", "re-ingest")
        }
        rows = {h.name: h.row for h in archive.holdings if h.row["present"]}
        known = {name: row["data_md5"] for name, row in rows.items()}
    assert all(struck.values()), struck
    withheld = {name for name, row in rows.items() if row["release"] > "2020"}
    assert len(withheld) == 5 and wrong_files(report.workspace.playdata, known) == []
    assert {path.name for path in report.workspace.playdata.iterdir()} == known.keys() - withheld
    assert report.exit_code == 1 and len(report.stacks) == 1
    assert {e.name for e in report.summary.exclusions} == {*withheld, "standards"}
    page, log = report.report.read_text(), report.workspace.log.read_text()
    document = json.dumps(report.as_document(), default=str)
    for name in (*withheld, "standards"):
        assert all(name in text for text in (report.conclusion(), page, log, document))
    for kind in ("domeflat", "lampoff_domeflat"):  # found in another way, which is said
        assert all(f"look-up of {kind} failed" in text for text in (page, log, document))


@pytest.mark.parametrize("into", ["ws", "a/b/ws"])
def test_a_run_that_is_refused_leaves_no_folder(into: str, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(Exception, match=r"no \.fits"):
        run(str(tmp_path / "raw"), into=tmp_path / into)
    with pytest.raises(UsageError):
        run(str(tmp_path / "nosuch"), into=tmp_path / into)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def of(filter_name: str, first: int, count: int) -> Stack:
    setup = Setup("GSAOI", filter_name, 60.0, 1, "FOWLER", ())
    frames = tuple(Path(f"S20170505S{number:04d}.fits") for number in range(first, first + count))
    return Stack("science", "T", setup, (Group("science", "T", setup, datetime(2017, 5, 5), frames),))


def test_a_run_that_lost_a_band_says_so_at_its_end_and_when_repeated(tmp_path: Path) -> None:
    """It ended with '32 products made', its repeat with 'nothing to do: every product is current'."""
    stacks = (of("H", 1, 9), of("Kshort", 21, 5))
    plan = Plan(visits=tuple(group for stack in stacks for group in stack.groups), stacks=stacks)
    trailed = [Refusal(f"S20170505S00{n}_skyCorrected.fits", "trailed") for n in (22, 23, 24)]
    image = Path("S20170505S0021_image.fits")
    outcomes = (
        Outcome("T H 60 s", "science", "refused", reason="no flat"),
        Outcome("T Kshort 60 s", "science", "reused", tuple(map(Path, ("a_skyCorrected.fits", "b.fits")))),
        Outcome("T H 60 s", "science", "refused", reason="no frames"),
        Outcome("T Kshort 60 s", "science", "reused", (image,), told=tuple(trailed)),
    )
    assert count_lost(plan, outcomes) == {"T H": (9, 9), "T Kshort": (3, 5)}
    summary = RunSummary("P", lost=count_lost(plan, outcomes))
    report = RunReport(Workspace(tmp_path), plan, outcomes, summary, tmp_path / "index.html", 1)
    lost = "9 of 9 exposures of T H, 3 of 5 exposures of T Kshort left out"
    assert report.conclusion().startswith(f"no product made anew; {lost}")
    assert report.as_document()["lost"] == {"T H": (9, 9), "T Kshort": (3, 5)}
    assert count_lost(plan, outcomes[1:2]) == {}


def test_a_rehearsal_of_a_new_program_says_what_it_will_take(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exposures by target and filter, bytes, disk and minutes; a disk that is too full is warned of."""
    told = Told()
    with serve([tiny_folder]) as archive:
        run(PROGRAM, archive=archive.url, into=tmp_path / "ws", dry_run=True, workers=2, notify=told)
        sizes = [holding.row["data_size"] for holding in archive.holdings]
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr("goafetch.pipeline.forecast.shutil.disk_usage", lambda _: usage)
        run(PROGRAM, archive=archive.url, into=tmp_path / "ws", dry_run=True, notify=(full := Told()))
    facts = {event.fact: event.fields for event in told if event.fact}
    assert facts["program_group"]["object"] == "NGC5128" and facts["program_group"]["exposures"] == 16
    assert 0 < facts["disk_needed"]["raw"] <= sum(sizes) / 1e9 < facts["disk_needed"]["needed"]
    assert facts["time_needed"]["minutes"] > 0 and "disk_short" not in facts
    assert "disk_short" in {event.fact for event in full}
    assert not (tmp_path / "ws").exists()


def test_a_rehearsal_refuses_the_memory_that_a_run_refuses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too small"):
        run(PROGRAM, into=tmp_path / "ws", memory="10M", dry_run=True)
