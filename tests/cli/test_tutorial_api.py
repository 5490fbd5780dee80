"""The names of the tutorial's Python chapter: what each takes, gives and refuses."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from goafetch.api import Reduce, cal_service, dataselect, disco, disco_pars, logutils
from goafetch.api.dataselect import expand, read_list, write_list
from goafetch.api.reduce import on_target_products, parse_user_calibrations
from goafetch.errors import NothingFound, UsageError
from goafetch.events import Decided, Noted, Warned
from goafetch.pipeline.find_recipe import find_recipe
from goafetch.text import parse_parameters
from reducer import recipes
from reducer.headers.descriptors import Descriptors
from reducer.recipes import RECIPES

if TYPE_CHECKING:
    from shell import Shell

MASK = "../playdata/bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"


@pytest.mark.parametrize(
    "given",
    [
        [("skyCorrect:offset_sky", False), ("prepare:bad_wcs", "new")],
        {"skyCorrect:offset_sky": False, "prepare:bad_wcs": "new"},
        ["skyCorrect:offset_sky=False", 'prepare:bad_wcs="new"'],
        ["sky_correct:offset_sky=false", "prepare:bad_wcs=new"],
    ],
)
def test_parameters_as_every_version_of_the_tutorial_writes_them(given: object) -> None:
    parsed = recipes.parse(parse_parameters(given))
    assert parsed == {"skyCorrect": {"offset_sky": False}, "prepare": {"bad_wcs": "new"}}


def test_a_parameter_without_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="sets nothing"):
        parse_parameters(["skyCorrect"])


@pytest.mark.parametrize(
    "given",
    [
        {"processed_flat": "a.fits"},
        {("science.fits", "processed_flat"): "a.fits"},
        ["processed_flat:a.fits"],
    ],
)
def test_calibrations_of_the_users_own(given: object) -> None:
    assert parse_user_calibrations(given) == {"processed_flat": Path("a.fits")}
    with pytest.raises(UsageError, match="no kind"):
        parse_user_calibrations(["processed_arc:a.fits"])


def test_only_exposures_on_target_go_into_the_stack() -> None:
    products = [Path("a_skyCorrected.fits"), Path("b_flatCorrected.fits")]
    assert on_target_products(products) == products[:1]
    assert on_target_products(products[1:]) == products[1:]


def test_match_info_reaches_the_steps() -> None:
    info = namedtuple("MatchInfo", ["offset_radius", "match_radius", "min_matches", "degree"])
    objects, reference = info(4.0, 0.3, None, 2), info(9.0, 0.4, 7, 1)
    pairs = disco.stack_parameters(objects, reference, disco_pars.PIXEL_SCALE, {})
    assert recipes.parse(pairs) == {
        "adjustWCSToReference": {"first_pass": 4.0, "final": 0.3, "order": 2},
        "determineAstrometricSolution": {"first_pass": 9.0, "final": 0.4, "min_matches": 7, "order": 1},
        "resampleToCommonFrame": {"pixel_scale": 0.02},
    }


def test_parameters_are_set_as_in_a_dictionary_and_appended_as_pairs() -> None:
    reduction = Reduce()
    reduction.uparms["skyCorrect:offset_sky"] = False
    reduction.uparms.append(("prepare:bad_wcs", "new"))
    reduction.uparms.extend([("stackFrames:nlow", 1)])
    reduction.uparms += {"stackFrames:nhigh": 2}
    parsed = recipes.parse(parse_parameters(reduction.uparms))
    assert parsed["skyCorrect"] == {"offset_sky": False}
    assert parsed["prepare"] == {"bad_wcs": "new"}
    assert parsed["stackFrames"] == {"nlow": 1, "nhigh": 2}
    reduction.uparms = [("addDQ:time", 60)]
    reduction.uparms["addDQ:latency"] = False
    assert recipes.parse(parse_parameters(reduction.uparms)) == {"addDQ": {"time": 60.0, "latency": False}}


def test_a_data_package_with_folders_in_playdata_is_planned_and_not_touched(
    night: Path, tmp_path: Path, goafetch: Shell
) -> None:
    package = tmp_path / "gsaoiim_tutorial"
    (package / "playdata").mkdir(parents=True)
    (package / "playground").mkdir()
    (package / "playdata/example1").symlink_to(night)
    answer = goafetch(f"plan {package}")
    assert answer.code == 0, answer.err
    assert "S20170505S0095_image.fits" in answer.out + answer.err
    assert sorted(path.name for path in (package / "playdata").iterdir()) == ["example1"]


def test_nothing_to_reduce_and_modes_that_do_not_exist_are_refused(playground: Path) -> None:
    with pytest.raises(NothingFound, match="no files"):
        Reduce().runr()
    reduction = Reduce()
    reduction.files.append("../playdata/S20170505S0095.fits")
    reduction.mode = "qa"
    with pytest.raises(UsageError, match="mode='qa'"):
        reduction.runr()


# --- recipes -----------------------------------------------------------------------------------------


def _tagged(**cards):
    return Descriptors({"INSTRUME": "GSAOI", "OBSCLASS": "dayCal", **cards}, ())


def test_recipes_by_name_and_by_tags() -> None:
    assert find_recipe("makeProcessedFlat") is RECIPES["makeProcessedFlat"]
    assert find_recipe("", _tagged(OBJECT="Domeflat", OBSTYPE="FLAT")) is RECIPES["makeProcessedFlat"]
    assert find_recipe("", _tagged()) is RECIPES["reduce_nostack"]
    with pytest.raises(UsageError, match="no recipe 'makeSoup'"):
        find_recipe("makeSoup")


def test_a_recipe_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("from reducer.steps.prepare import prepare\nonlyPrepare = (prepare,)\n")
    monkeypatch.chdir(tmp_path)
    for name in ("mine.py:onlyPrepare", "mine.onlyPrepare", f"{tmp_path}/mine.py:onlyPrepare"):
        (step,) = find_recipe(name)
        assert step.__name__ == "prepare"
    with pytest.raises(UsageError, match="onlyPrepare"):
        find_recipe("mine.py:another")


def test_a_recipe_function_of_dragons_is_refused_with_its_translation(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "def mine(p):\n    p.prepare()\n    p.addDQ()\n    p.ADUToElectrons()\n    p.flatCorrect()\n"
        "    p.separateSky()\n    p.skyCorrect()\n    p.makeCoffee()\n"
    )
    with pytest.raises(UsageError) as refused:
        find_recipe(f"{tmp_path}/theirs.py:mine")
    assert "mine = (prepare, correctDetector, separateSky, skyCorrect,)" in refused.value.remedy
    assert "without makeCoffee" in refused.value.remedy


def test_a_recipe_file_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n")
    with pytest.raises(UsageError, match="cannot be imported"):
        find_recipe(f"{tmp_path}/broken.py:mine")


# --- lists, store, log -------------------------------------------------------------------------------


def test_lists_are_written_and_read_with_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a b.fits", "[c].fits"]
    for name in names:
        Path(name).touch()
    write_list(Path("x.list"), names, ["a comment"])
    assert read_list(Path("x.list")) == names
    assert expand(["@x.list", "*.fits", "a b.fits"]) == [Path("a b.fits"), Path("[c].fits")]


def test_files_are_selected_as_the_chapter_does(playground: Path) -> None:
    files = sorted(str(path) for path in Path("../playdata").glob("*.fits"))
    flats = dataselect.select_data(files, ["FLAT"], [], dataselect.expr_parser('filter_name=="Kshort"'))
    assert len(flats) == 30
    assert len(dataselect.select_data(files, [], [], dataselect.expr_parser('object=="9132"'))) == 4


def test_the_service_keeps_the_store_of_the_project(playground: Path) -> None:
    for make in (cal_service.CalibrationService, cal_service.set_local_database):
        caldb = make()
        caldb.config()
        caldb.init()
        caldb.add_cal(MASK)
        assert [file.name for file in caldb.list_files()] == [Path(MASK).name]
        caldb.remove_cal(MASK)
        assert list(caldb.list_files()) == []
    assert (playground / "calibrations/calstore.json").is_file()


def test_without_a_store_the_files_of_its_folder_serve(playground: Path) -> None:
    from calstore.associate import Match, NoMatch
    from calstore.store import CalStore
    from goafetch.plan.translate import need_of
    from reducer.select import describe_file

    need = need_of(describe_file(Path("../playdata/S20170505S0095.fits")), "processed_bpm")
    answer = cal_service.answers(CalStore(Path("../playdata/calstore.json")))(need)
    assert isinstance(answer, Match) and answer.calibration.name == Path(MASK).name
    assert isinstance(cal_service.answers(CalStore(Path("nowhere/calstore.json")))(need), NoMatch)


def test_a_store_elsewhere_serves_all_reductions_once_it_is_set(playground: Path) -> None:
    try:
        cal_service.set_calservice("elsewhere")
        assert cal_service.active_store().path == playground / "elsewhere/calstore.json"
    finally:
        cal_service.set_calservice()


def test_the_log_is_one_and_says_each_thing_once(
    playground: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        logutils.config(file_name="my.log", mode="standard")
    with logutils.telling() as tell:
        tell(Decided("this flat", "it is near"))
    with logutils.telling() as tell:
        tell(Warned("clouds"))
    lines = Path("my.log").read_text().splitlines()
    assert [line[20:] for line in lines] == ["INFO    this flat: it is near", "WARNING clouds"]
    assert capsys.readouterr().err.count("it is near") == 1


@pytest.mark.parametrize(("mode", "shown"), [("quiet", ["clouds"]), ("null", [])])
def test_how_much_is_shown(
    playground: Path, capsys: pytest.CaptureFixture[str], mode: str, shown: list
) -> None:
    logutils.config(file_name="my.log", mode=mode)
    with logutils.telling() as tell:
        tell(Noted("sunset"))
        tell(Warned("clouds"))
    told = capsys.readouterr().err
    assert [word for word in ("sunset", "clouds") if word in told] == shown
    assert "sunset" in Path("my.log").read_text()
    with pytest.raises(UsageError, match="no log mode"):
        logutils.config(mode="loud")


@pytest.mark.parametrize(
    "command",
    [
        "reduce nosuch.fits",
        "reduce {} -p nosuch=1",
        "reduce {} -r nosuch",
        "disco nosuch.fits",
        "disco {} -p nosuch=1",
    ],
)
def test_what_is_refused_before_any_work_leaves_nothing(
    command: str, goafetch: Shell, playground: Path
) -> None:
    """Every one of them left an empty reduce.log."""
    assert goafetch(command.format("../playdata/S20170505S0095.fits")).code == 2
    assert list(playground.iterdir()) == []
