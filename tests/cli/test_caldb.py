"""`goafetch caldb`: the store is made, filled, listed, asked and emptied as the tutorial does it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from astropy.io import fits

from calstore.associate import PROCESSED_FLAT, Match, NoMatch
from calstore.store import CalStore
from goafetch.api.cal_service import answers
from goafetch.config import load_settings
from goafetch.pipeline.cache import stored_calibrations
from goafetch.plan.translate import need_of
from reducer.select import describe_file

MASK = "bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"


def master_flat(path: Path, **cards: object) -> Path:
    """A lamp-on frame that says it is a finished flat."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("../playdata/S20170505S0030.fits", path)
    with fits.open(path, mode="update") as file:
        marks = {key: "2017-05-06T00:00:00" for key in ("GEM-TLM", "PREPARE", "PROCFLAT")}
        file[0].header.update(marks | cards)
    return path


def test_the_way_of_the_tutorial(goafetch, playground: Path) -> None:
    store = playground / "calibrations/calstore.json"
    for command in ("list", "remove a.fits"):
        without = goafetch(f"caldb {command}")
        assert without.code == 2 and "goafetch caldb init" in without.err
    assert goafetch("caldb config").out.splitlines() == [
        f"store\t{store}",
        "exists\tFalse",
        "calibrations\t0",
    ]
    assert goafetch("caldb init").code == 0
    assert store.is_file()
    assert goafetch("caldb init").code == 1
    flat = master_flat(playground / "calibrations/processed_flat/S20170505S0030_flat.fits")
    added = goafetch("caldb add ./calibrations/processed_flat/S20170505S0030_flat.fits ../playdata/bpm*.fits")
    assert added.code == 0, added.err
    rows = [line.split("\t") for line in goafetch("caldb list").lines]
    assert [row[:3] for row in rows] == [
        ["S20170505S0030_flat.fits", "processed_flat", "Kshort"],
        [MASK, "processed_bpm", ""],
    ]
    assert goafetch("caldb remove S20170505S0030_flat.fits").code == 0
    assert len(goafetch("caldb list").lines) == 1
    assert flat.exists()
    assert goafetch("caldb init -w").code == 0
    assert goafetch("caldb list").lines == []


def test_what_fits_and_why_each_other_does_not(goafetch, playground: Path) -> None:
    for name, cards in {
        "good_flat.fits": {},
        "late_flat.fits": {"DATE-OBS": "2017-08-05"},
        "other_flat.fits": {"FILTER1": "J_G1102"},
    }.items():
        master_flat(playground / name, **cards)
    assert goafetch(f"caldb add *_flat.fits ../playdata/{MASK}").code == 0
    done = goafetch("caldb match ../playdata/S20170505S0095.fits --json")
    assert done.code == 0
    verdicts = {row["name"]: (row["fits"], row["reason"]) for row in done.json["candidates"]}
    assert verdicts["good_flat.fits"][0] and verdicts[MASK][0]
    assert verdicts["late_flat.fits"] == (False, "92.5 days away, at most 30 allowed")
    assert verdicts["other_flat.fits"] == (False, "filter J, needed Kshort")
    (playground / "good_flat.fits").write_bytes(b"something else")
    done = goafetch("caldb match ../playdata/S20170504S0114.fits")
    assert "its file has changed" in done.out
    assert goafetch("caldb match ../playdata/S20170505S0095.fits --kind dark").code == 3


def test_folders_are_added_and_what_is_no_calibration_is_told(goafetch, playground: Path) -> None:
    folder = playground / "with spaces" / "deeper"
    master_flat(folder / "S20170505S0030_flat.fits")
    assert goafetch("caldb add 'with spaces' --json").json["added"] == []
    assert len(goafetch("caldb add --walk 'with spaces' --json").json["added"]) == 1
    done = goafetch("caldb add ../playdata/S20170505S0095.fits ../playdata/S20170505S0060.fits")
    assert done.code == 1
    assert "S20170505S0095.fits is not a calibration" in done.err
    assert [line.split("\t")[1] for line in done.lines] == ["lamp_off"]


def test_removing_what_is_not_there_is_told(goafetch, playground: Path) -> None:
    goafetch("caldb init")
    done = goafetch("caldb remove nothing.fits")
    assert done.code == 1 and "nothing.fits is not in" in done.err


def test_a_damaged_store_is_told_with_the_way_back(goafetch, playground: Path) -> None:
    flat = master_flat(playground / "calibrations/processed_flat/S20170505S0030_flat.fits")
    goafetch(f"caldb add {flat}")
    (playground / "calibrations/calstore.json").write_text('{"schema": 2, "calib')
    done = goafetch("caldb list")
    assert done.code == 1
    assert "is damaged" in done.err and "caldb init -w" in done.err
    assert goafetch("caldb init -w").code == 0
    assert goafetch("caldb add --walk calibrations").code == 0
    assert len(goafetch("caldb list").lines) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".geminidr/rsys.cfg", "[calibs]\nstandalone = True\ndatabase_dir = ~/my calibs\n"),
        (".dragons/dragonsrc", "[calibs]\ndatabases = ~/my calibs/cal_manager.db get store\n"),
    ],
)
def test_configurations_of_dragons_say_where_the_store_is(
    goafetch, playground: Path, file: str, text: str
) -> None:
    home = playground.parent / "home"
    (home / file).parent.mkdir()
    (home / file).write_text(text)
    assert goafetch("caldb init").code == 0
    assert (home / "my calibs" / "calstore.json").is_file()


def test_databases_are_looked_up_one_after_another(goafetch, playground: Path) -> None:
    """As dragonsrc lists them: new calibrations go to the one that has the word store."""
    home = playground.parent / "home"
    (home / ".dragons").mkdir()
    text = "[calibs]\ndatabases = ~/shared/cal_manager.db get\n    ~/mine/cal_manager.db get store\n"
    (home / ".dragons/dragonsrc").write_text(text)
    settings = load_settings(None, {}, home)
    assert settings.store == home / "mine/calstore.json"
    assert settings.lookup == (home / "shared/calstore.json",)
    flat = master_flat(playground / "S20170505S0030_flat.fits")
    goafetch(f"caldb add {flat} -d {home / 'shared'}")
    mine, shared = CalStore(settings.store), CalStore(settings.lookup[0])
    mine.init()
    wanted = need_of(
        describe_file(next((playground.parent / "playdata").glob("S20170505S0100.fits"))), PROCESSED_FLAT
    )
    assert isinstance(answers(mine)(wanted), NoMatch)
    found = answers(mine, settings.lookup)(wanted)
    assert isinstance(found, Match) and found.calibration.name == flat.name
    assert [known.name for known in stored_calibrations(mine, settings.lookup)] == [flat.name]
    assert stored_calibrations(shared, settings.lookup) == stored_calibrations(shared)
    also = load_settings(None, {"GOAFETCH_LOOKUP": f"/a.json{os.pathsep}/b.json"}, home)
    assert also.lookup == (Path("/a.json"), Path("/b.json"))


def test_a_place_may_be_given(goafetch, playground: Path) -> None:
    assert goafetch("caldb init -d elsewhere").code == 0
    assert (playground / "elsewhere" / "calstore.json").is_file()


def test_two_projects_have_two_stores(goafetch, playground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = master_flat(playground / "S20170505S0030_flat.fits")
    goafetch(f"caldb add {flat}")
    other = playground.parent / "other" / "playground"
    other.mkdir(parents=True)
    monkeypatch.chdir(other)
    goafetch("caldb init")
    assert goafetch("caldb list").lines == []
