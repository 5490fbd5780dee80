"""The store keeps what it was given, knows when a file has changed, and survives what happens to it."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from calstore import DamagedStore, NoStore, NotInStore
from calstore.associate import PROCESSED_FLAT, Calibration, Match, Need, NoMatch
from calstore.store import CalStore
from reducer.instruments import KNOWN

NIGHT = dt.datetime(2017, 5, 5, 1, 2, 3, 500000)


def make(folder: Path, name: str, **traits: object) -> Calibration:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
    values: dict = {"kind": PROCESSED_FLAT, "when": NIGHT, "filter_name": "Kshort", "path": str(path)}
    return Calibration(**(values | traits))


@pytest.fixture
def store(tmp_path: Path) -> CalStore:
    made = CalStore(tmp_path / "my project" / "calibrations" / "calstore.json")
    made.init()
    return made


def need(**traits: object) -> Need:
    values: dict = {"kind": PROCESSED_FLAT, "when": NIGHT, "filter_name": "Kshort"}
    return Need(rule=KNOWN["GSAOI"].calibrations[PROCESSED_FLAT], **(values | traits))


def test_what_was_added_comes_back(store: CalStore, tmp_path: Path) -> None:
    region = ((1, 512, 1536, 513, 1537),)
    inside = make(store.path.parent, "processed_flat/a_flat.fits", region=region, coadds=3, origin="DRAGONS")
    outside = make(tmp_path, "b_flat.fits", exposure_time=15.0)
    added = store.add(inside, outside)
    assert store.all() == added
    assert [replace(c, sha256="") for c in added] == [inside, outside]
    assert all(len(calibration.sha256) == 64 for calibration in added)


def test_the_file_is_readable_and_moves_with_its_project(store: CalStore, tmp_path: Path) -> None:
    store.add(make(store.path.parent, "processed_flat/a_flat.fits"))
    content = json.loads(store.path.read_text())
    assert content["schema"] == 3
    assert content["calibrations"]["1"]["path"] == "processed_flat/a_flat.fits"
    assert sum("a_flat.fits" in line for line in store.path.read_text().splitlines()) == 1
    (tmp_path / "my project").rename(tmp_path / "moved")
    moved = CalStore(tmp_path / "moved/calibrations/calstore.json")
    assert isinstance(moved.match(need()), Match)


def test_paths_are_kept_straight(store: CalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = make(store.path.parent, "a_flat.fits")
    monkeypatch.chdir(store.path.parent.parent)
    (added,) = store.add(replace(flat, path="calibrations/../calibrations/a_flat.fits"))
    assert added.path == flat.path
    assert store.remove("./calibrations/a_flat.fits") == added


def test_adding_again_renews_the_record(store: CalStore) -> None:
    first = make(store.path.parent, "a_flat.fits", coadds=3)
    store.add(first)
    store.add(replace(first, coadds=1, filter_name="J"))
    assert [(c.filter_name, c.coadds) for c in store.all()] == [("J", 1)]


def test_removing_leaves_the_file(store: CalStore) -> None:
    kept, gone = make(store.path.parent, "a_flat.fits"), make(store.path.parent, "b_flat.fits")
    store.add(kept, gone)
    assert store.remove("b_flat.fits").path == gone.path
    assert [c.path for c in store.all()] == [kept.path]
    assert Path(gone.path).exists()
    with pytest.raises(NotInStore):
        store.remove("b_flat.fits")


def test_a_name_that_means_two_files_is_refused_with_their_paths(store: CalStore, tmp_path: Path) -> None:
    one, other = make(store.path.parent, "x/a_flat.fits"), make(tmp_path, "y/a_flat.fits")
    store.add(one, other)
    with pytest.raises(NotInStore, match="means 2 files"):
        store.remove("a_flat.fits")
    store.remove(other.path)
    assert [c.path for c in store.all()] == [one.path]


def test_a_file_that_has_changed_or_gone_is_not_used_and_that_is_said(store: CalStore) -> None:
    names = ("a_flat.fits", "b_flat.fits", "c_flat.fits")
    a, b, c = (
        make(store.path.parent, name, when=NIGHT + dt.timedelta(hours=hours))
        for hours, name in enumerate(names)
    )
    store.add(a, b, c)
    Path(a.path).write_text("something else")
    Path(b.path).unlink()
    answer = store.match(need())
    assert isinstance(answer, Match)
    assert answer.calibration.path == c.path
    reasons = {rejection.calibration.name: rejection.reason for rejection in answer.rejected}
    assert "has changed" in reasons["a_flat.fits"] and "is gone" in reasons["b_flat.fits"]
    Path(c.path).unlink()
    assert isinstance(store.match(need()), NoMatch)


def test_two_projects_do_not_see_each_other(store: CalStore, tmp_path: Path) -> None:
    other = CalStore(tmp_path / "other" / "calstore.json")
    other.init()
    store.add(make(store.path.parent, "a_flat.fits"))
    assert other.all() == []


def test_init_keeps_a_store_unless_told_to_wipe(store: CalStore) -> None:
    store.add(make(store.path.parent, "a_flat.fits"))
    assert not store.init()
    assert len(store.all()) == 1
    assert store.init(wipe=True)
    assert store.all() == []


def test_without_a_store_the_way_to_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoStore, match="caldb init"):
        CalStore(tmp_path / "calstore.json").all()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ('{"schema": 2, "calibrations": {"1": {"ki', "damaged: "),
        ("", "line 1"),
        ("[]", "holds no calibrations"),
        ('{"schema": 4, "calibrations": {}}', "schema 4"),
        ('{"schema": 3, "calibrations": {"1": {"kind": "dark"}}}', "is not a calibration"),
        ('{"schema": 3, "calibrations": {"1": "nonsense"}}', "is not a calibration"),
        ('{"schema": 2, "calibrations": {"1": "nonsense"}}', "damaged: "),
        ('{"calibrations": {"1": "nonsense"}}', "damaged: "),
        ("\udcff", "cannot be read"),
    ],
)
def test_damage_is_told_with_the_way_out_and_never_overwritten(
    store: CalStore, content: str, word: str
) -> None:
    store.path.write_bytes(content.encode("utf-8", "surrogateescape"))
    before = store.path.read_bytes()
    with pytest.raises(DamagedStore, match=word) as error:
        store.all()
    assert error.value.remedy
    if word != "is not a calibration":
        with pytest.raises(DamagedStore):
            store.add(make(store.path.parent, "a_flat.fits"))
        assert store.path.read_bytes() == before
    assert store.init(wipe=True)
    assert store.all() == []


def test_a_store_of_the_previous_schema_opens_and_is_written_in_the_new_one(store: CalStore) -> None:
    whole = tuple((number, 0, 2048, 0, 2048) for number in (1, 2, 3, 4))
    flat = make(store.path.parent, "old_flat.fits", instrument="GSAOI", region=whole)
    record = {"kind": PROCESSED_FLAT, "path": "old_flat.fits", "date": NIGHT.isoformat(), "filter": "Kshort"}
    store.path.write_text(json.dumps({"calibrations": {"7": record}}))
    assert store.all() == [flat]
    store.add(make(store.path.parent, "new_flat.fits"))
    assert [c.name for c in store.all()] == ["old_flat.fits", "new_flat.fits"]
    assert json.loads(store.path.read_text())["schema"] == 3


# --- many processes ----------------------------------------------------------------------------------

WORKER = """
import datetime as dt, random, sys
from pathlib import Path
from calstore.associate import Calibration
from calstore.store import CalStore
from reducer.instruments import KNOWN
from reducer.instruments import KNOWN

path, who, count, kept = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
store = CalStore(path)
choice = random.Random(who)
with kept.open("a") as journal:
    for number in range(count):
        name = f"w{who}_{number:04}_flat.fits"
        print("+?", name, file=journal, flush=True)
        store.add(Calibration(kind="dark", when=dt.datetime(2017, 5, 5), path=name, sha256="0" * 64))
        print("+", name, file=journal, flush=True)
        if choice.random() < 0.3:
            print("-?", name, file=journal, flush=True)
            store.remove(name)
            print("-", name, file=journal, flush=True)
"""


def run_workers(store: CalStore, count: int, kills: int) -> None:
    """Eight processes add and remove; some are killed; the store must hold what they were told it holds."""
    folder = store.path.parent
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    journals = [folder / f"journal{who}" for who in range(8)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(store.path), str(who), str(count), str(journal)],
            env=environment,
            cwd=folder,
        )
        for who, journal in enumerate(journals)
    ]
    choice = random.Random(1)
    for process in choice.sample(processes, kills):
        wait_for_words(journals[processes.index(process)])
        time.sleep(choice.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
    codes = [process.wait(timeout=600) for process in processes]
    assert codes.count(0) >= 8 - kills
    held = {calibration.name for calibration in CalStore(store.path).all()}
    for journal in journals:
        for name, said in last_words(journal).items():
            if said in "+-":
                assert (name in held) == (said == "+"), f"{name} was acknowledged as {said}"


def wait_for_words(journal: Path) -> None:
    """Wait until the worker has done something worth losing."""
    until = time.monotonic() + 60
    while time.monotonic() < until and not last_words(journal):
        time.sleep(0.02)


def last_words(journal: Path) -> dict[str, str]:
    """What was last said of each name: acknowledged ('+', '-') or only tried ('+?', '-?')."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return {name: said for said, name in (line.split() for line in lines)}


def test_eight_processes_with_two_killed_lose_nothing(store: CalStore) -> None:
    run_workers(store, count=8, kills=2)


@pytest.mark.prove
def test_eight_processes_with_two_hundred_calibrations_each_and_six_killed_lose_nothing(
    store: CalStore,
) -> None:
    run_workers(store, count=200, kills=6)


def fill(store: CalStore, number: int) -> None:
    filters = ("J", "H", "Kshort", "K")
    store.add(
        *(
            Calibration(
                kind=PROCESSED_FLAT,
                path=f"{store.path.parent}/f{i:06}_flat.fits",
                sha256="0" * 64,
                md5="0" * 32,
                when=NIGHT + dt.timedelta(hours=i % 30000),
                filter_name=filters[i % 4],
                exposure_time=15.0,
                read_mode="Bright Objects",
                program_id="GS-CAL20170505",
            )
            for i in range(number)
        )
    )


@pytest.mark.prove
def test_matching_among_fifty_thousand_records_takes_little_beside_reading_them(store: CalStore) -> None:
    fill(store, 50_000)
    winner = make(store.path.parent, "f000002_flat.fits", when=NIGHT + dt.timedelta(hours=2))
    store.add(winner)
    reading, matching = [], []
    for _ in range(5):
        start = time.process_time()
        json.loads(store.path.read_text())
        middle = time.process_time()
        answer = store.match(need(when=NIGHT + dt.timedelta(hours=2)))
        reading.append(middle - start)
        matching.append(time.process_time() - middle)
    assert isinstance(answer, Match) and len(answer.rejected) == 49_999
    assert min(matching) < 4 * min(reading), (matching, reading)
