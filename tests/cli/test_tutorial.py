"""The published tutorial, command by command and line by line, against the practice night."""

from __future__ import annotations

import bz2
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from goafetch.report.stack_file import read_provenance
from reducer.recipes import STEPS

CHAPTER = Path(__file__).parents[2] / "docs" / "python_chapter.py"
MASK = "bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"
LAMP_ON = "AZEL_TARGET CAL DOMEFLAT FLAT GEMINI GSAOI IMAGE LAMPON NON_SIDEREAL RAW SOUTH UNPREPARED"
SCIENCE = "GEMINI GSAOI IMAGE RAW SIDEREAL SOUTH UNPREPARED"

#: What the tutorial has typed, in its order, each with `goafetch` before it.
COMMANDS = {
    "typewalk": "typewalk -d ../playdata",
    "init": "caldb init",
    "flats": "dataselect --tags FLAT --expr \"filter_name=='Kshort'\" ../playdata/*.fits "
    "-o flats_Kshort.list",
    "partner": "dataselect --expr 'observation_class==\"partnerCal\"' ../playdata/*.fits",
    "standards": "dataselect --expr 'object==\"9132\"' ../playdata/*.fits -o std_9132.list",
    "science": "dataselect --expr '(observation_class==\"science\" and exposure_time==60.)' "
    "../playdata/*.fits -o science.list",
    "mask": "caldb add ../playdata/bpm*.fits",
    "make flat": "reduce @flats_Kshort.list --workers 1",
    "add flat": "caldb add ./calibrations/processed_flat/S20170505S0030_flat.fits",
    "list": "caldb list",
    "make standards": "reduce @std_9132.list --workers 1",
    "check": "reduce @science.list -r checkWCS --workers 1",
    "make science": "reduce @science.list -p skyCorrect:offset_sky=False prepare:bad_wcs=fix --workers 1",
    "select": "dataselect *_skyCorrected.fits --expr='observation_class==\"science\"'",
}


@pytest.fixture(scope="module")
def playdata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The practice night, unpacked."""
    from goafetch.practice.archive import prepare

    folder = tmp_path_factory.mktemp("tutorial") / "playdata"
    folder.mkdir()
    for program in prepare():
        for packed in program.glob("*.fits.bz2"):
            (folder / packed.name.removesuffix(".bz2")).write_bytes(bz2.decompress(packed.read_bytes()))
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home without any configuration."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("XDG_CONFIG_HOME", str(folder))
        yield


@pytest.fixture(scope="module")
def done(playdata: Path, home: None) -> Iterator[dict]:
    """Every command of the tutorial, typed once in its order in the playground; what each answered."""
    from shell import Shell

    playground = playdata.parent / "playground"
    playground.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(playground)
        goafetch = Shell()
        answers = {}
        for name, command in COMMANDS.items():
            answers[name] = goafetch(command)
            assert answers[name].code == 0, f"{command}: {answers[name].err}"
        answers["showd"] = goafetch("showd -d object", stdin=answers["partner"].out)
        chosen = " ".join(answers["select"].lines)
        answers["stack"] = goafetch(f"disco {chosen} -o my_Kshort_stack.fits")
        assert answers["stack"].code == 0, answers["stack"].err
        yield answers


@pytest.fixture(scope="module")
def playground(done: dict, playdata: Path) -> Path:
    return playdata.parent / "playground"


def names_in(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def test_tags_to_the_letter(done: dict) -> None:
    tags = {Path(name).name: words for name, words in (line.split("\t") for line in done["typewalk"].lines)}
    assert len(tags) == 51
    assert tags["S20170505S0030.fits"] == LAMP_ON
    assert tags["S20170505S0060.fits"] == LAMP_ON.replace("LAMPON", "LAMPOFF")
    assert tags["S20170504S0114.fits"] == tags["S20170505S0110.fits"] == SCIENCE


def test_lists_of_thirty_flats_four_standards_and_sixteen_science_files(playground: Path) -> None:
    counts = {path.name: len(names_in(path)) for path in playground.glob("*.list")}
    assert counts == {"flats_Kshort.list": 30, "std_9132.list": 4, "science.list": 16}


def test_the_standard_has_one_name(done: dict) -> None:
    assert [line.split("\t")[1] for line in done["showd"].lines] == ["9132"] * 4


def test_the_master_flat_has_two_places_and_the_store_knows_it(playground: Path, done: dict) -> None:
    first = playground / "S20170505S0030_flat.fits"
    second = playground / "calibrations/processed_flat/S20170505S0030_flat.fits"
    assert first.read_bytes() == second.read_bytes()
    rows = [line.split("\t") for line in done["list"].lines]
    assert sorted(row[0] for row in rows) == ["S20170505S0030_flat.fits", MASK]


def test_three_files_have_a_bad_wcs(done: dict) -> None:
    said = (done["check"].err + done["check"].out).splitlines()
    bad = [line.split()[2].removesuffix(".fits") for line in said if "is inconsistent: header" in line]
    assert bad == ["S20170505S0105", "S20170505S0108", "S20170505S0109"]
    assert done["check"].lines == [], "nothing is written"


def test_nine_sky_subtracted_and_seven_flat_corrected(playground: Path) -> None:
    def numbers(suffix: str) -> list[int]:
        return sorted(int(path.name[10:14]) for path in playground.glob(f"S20170505S*{suffix}.fits"))

    assert numbers("_skyCorrected") == list(range(95, 104))
    assert numbers("_flatCorrected") == list(range(104, 111))
    assert len(list(playground.glob("S20170504S*_skyCorrected.fits"))) == 4


def test_masked_pixels_of_exposures_hold_no_garbage(playground: Path) -> None:
    for path in sorted(playground.glob("S20170505S*Corrected.fits")):
        with fits.open(path) as file:
            for version in (1, 2, 3, 4):
                data, mask = file["SCI", version].data, file["DQ", version].data
                empty, good = (mask & 81) != 0, (mask & 125) == 0
                assert np.isfinite(data).all()
                assert data[good].min() <= data[empty].min()
                assert data[empty].max() <= data[good].max()


def test_every_input_has_its_own_md5_and_every_step_its_times_and_parameters(
    playground: Path, playdata: Path
) -> None:
    def md5(path: Path) -> str:
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()

    places = [playground, playdata, playground / "calibrations/processed_flat"]
    for name in ("S20170505S0030_flat", "S20170505S0095_skyCorrected", "my_Kshort_stack"):
        story = read_provenance(playground / f"{name}.fits")
        for row in story["inputs and calibrations"]:
            path = next(place / row["filename"] for place in places if (place / row["filename"]).exists())
            assert row["md5"] == md5(path), f"{name}: {row}"
        steps = {row["primitive"]: row for row in story["steps"]}
        assert len(steps) == len(story["steps"])
        assert all("" < row["timestamp_start"] <= row["timestamp_stop"] for row in story["steps"])
        for step, row in steps.items():
            assert json.loads(row["args"]).keys() >= STEPS[step].parameters.keys(), row
        with fits.open(playground / f"{name}.fits") as file:
            history = list(file[0].header.get("HISTORY", ()))
            assert len(history) == len(set(history))
    inputs = [row for row in story["inputs and calibrations"] if row["provenance_added_by"] == "input"]
    raw = {row["filename"] for row in story["inputs and calibrations"]} - {row["filename"] for row in inputs}
    assert len(inputs) == 9
    assert {"S20170505S0095.fits", "S20170505S0110.fits", "S20170505S0030_flat.fits", MASK} <= raw
    asked = json.loads(steps["skyCorrect"]["args"])
    assert (asked["offset_sky"], asked["scale_sky"], asked["level"]) == (False, "auto", "follow")
    assert json.loads(steps["addDQ"]["args"])["latency"] is True
    assert steps["prepare"]["timestamp_start"] <= steps["stackFrames"]["timestamp_start"]


def test_without_stacking_aligned_frames_are_left(playground: Path, done: dict) -> None:
    from shell import Shell

    names = " ".join(f"S20170505S{number:04}_skyCorrected.fits" for number in (95, 96, 97))
    answer = Shell()(f"reduce {names} -r alignAndStack -p stackFrames:skip_primitive=True --workers 1")
    assert answer.code == 0, answer.err
    assert answer.lines == [f"S20170505S{number:04}_align.fits" for number in (95, 96, 97)]
    with fits.open(playground / answer.lines[0]) as first, fits.open(playground / answer.lines[1]) as second:
        assert WCS(first["SCI"].header).wcs.compare(WCS(second["SCI"].header).wcs)
        seen = (first["DQ"].data == 0) & (second["DQ"].data == 0) & (first["SCI"].data > 2000)
        assert np.corrcoef(first["SCI"].data[seen], second["SCI"].data[seen])[0, 1] > 0.98
    for line in answer.lines:
        (playground / line).unlink()


def test_the_stack_has_data_variance_mask_and_unit(playground: Path) -> None:
    with fits.open(playground / "my_Kshort_stack.fits") as file:
        names = [unit.name for unit in file]
        assert [names.count(name) for name in ("SCI", "VAR", "DQ", "EXPTIME")] == [1, 1, 1, 1]
        units = [file[name].header["BUNIT"] for name in ("SCI", "VAR", "DQ", "EXPTIME")]
        assert units == ["electron", "electron**2", "bit", "s"]
        gaps = file["EXPTIME"].data == 0
        assert np.array_equal(gaps, (file["DQ"].data & 16) != 0)
        for name in ("SCI", "VAR"):
            assert np.array_equal(np.isnan(file[name].data), gaps)
        header = file["SCI"].header
        assert not {"FRMNAME", "DETSIZE", "DETSEC", "CCDSEC", "ARRAYID", "RDCHAN"} & set(header)
        assert "NEXTEND" not in file[0].header
        assert header["GAIN"] == 1.0
        assert 60_000 < header["NONLINEA"] < header["SATLEVEL"] < 150_000
        assert 5.0 < header["RDNOISE"] < 15.0, "of nine exposures' mean, about 27 electrons each"
    assert not list(playground.glob("*_image.fits")), "the stack bears the name that was asked for"


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # astrodata closes no file
def test_astrodata_opens_every_product(astrodata: ModuleType, playground: Path) -> None:
    for path in sorted(playground.glob("*.fits")):
        product = astrodata.open(path)
        assert len(product) == (1 if path.name.startswith("my_") else 4)
        with fits.open(path) as file:
            for version, extension in enumerate(product, 1):
                assert extension.data.shape == file["SCI", version].shape
                assert np.array_equal(extension.variance, file["VAR", version].data, equal_nan=True)
                assert ("OBJCAT" in extension.nddata.meta["other"]) == (len(product) == 1)
                assert (extension.mask == file["DQ", version].data).all()


def test_everything_is_told_once_in_one_log(playground: Path) -> None:
    lines = (playground / "reduce.log").read_text().splitlines()
    rebuilt = [line for line in lines if "WCS of S20170505S0105.fits rebuilt" in line]
    assert len(rebuilt) == 1
    assert len({line for line in lines if "made S20170505S0030_flat" in line}) == 1


def test_the_published_facts_agree(playground: Path) -> None:
    from goafetch.api.tutorial import check
    from goafetch.workspace import Workspace

    stack = playground / "S20170505S0095_image.fits"
    stack.hardlink_to(playground / "my_Kshort_stack.fits")
    try:
        facts = check(Workspace(playground.parent))
    finally:
        stack.unlink()
    assert {fact.what for fact in facts if fact.agrees is not True} == {"size of the stack"}
    assert [fact.agrees for fact in facts if fact.what == "size of the stack"] == [None]
    assert len(facts) == 14


def test_the_python_chapter_runs_as_a_plain_script_with_two_workers(playdata: Path, tmp_path: Path) -> None:
    chosen = [f"S20170505S{n:04}.fits" for n in (30, 31, 60, 61, 95, 96, 104, 105)]
    (tmp_path / "playdata").mkdir()
    for name in [*chosen, "S20170504S0114.fits", "S20170504S0115.fits", MASK]:
        (tmp_path / "playdata" / name).symlink_to(playdata / name)
    folder = tmp_path / "playground"
    folder.mkdir()
    repository = str(CHAPTER.parents[1])
    environment = os.environ | {"PYTHONPATH": repository, "GOAFETCH_WORKERS": "2", "HOME": str(tmp_path)}
    script = subprocess.run(
        [sys.executable, str(CHAPTER)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert script.returncode == 0, script.stderr
    assert (folder / "my_Kshort_stack.fits").is_file()
    log = (folder / "gsaoi_data_reduction.log").read_text()
    assert log.count("WCS of S20170505S0105.fits rebuilt") == 1
    assert not (folder / "reduce.log").exists()


@pytest.mark.prove
def test_the_whole_tutorial_in_one_command(playdata: Path, home: None, tmp_path: Path) -> None:
    from shell import Shell

    answer = Shell()(f"tutorial {playdata} --into {tmp_path / 'ws'} --json")
    assert answer.code == 0, answer.err
    assert answer.json["agree"]
