"""`goafetch dataselect` as the tutorial types it: 30 flats, 4 standards, 16 science frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from raw_exposure import SIDE, expose, primary_header, write_raw


def test_the_lists_of_the_tutorial(goafetch, playground: Path) -> None:
    files = "../playdata/*.fits"
    assert goafetch(f"dataselect --tags FLAT {files} -o flats_Kshort.list").code == 0
    assert goafetch(f"dataselect --expr 'object==\"9132\"' {files} -o std_9132.list").code == 0
    science = '(observation_class=="science" and exposure_time==60.)'
    assert goafetch(f"dataselect --expr '{science}' {files} -o science.list").code == 0
    counts = {path.name: _names(path) for path in playground.glob("*.list")}
    assert {name: len(names) for name, names in counts.items()} == {
        "flats_Kshort.list": 30,
        "std_9132.list": 4,
        "science.list": 16,
    }
    assert counts["science.list"][0] == "../playdata/S20170505S0095.fits"
    assert (playground / "flats_Kshort.list").read_text().splitlines()[:3] == [
        "# Includes tags: ['FLAT']",
        "# Excludes tags: None",
        "# Descriptor expression: None",
    ]


def _names(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def test_names_are_printed_one_a_line_and_nothing_else(goafetch, playground: Path) -> None:
    done = goafetch("dataselect --tags FLAT --xtags LAMPOFF ../playdata/*.fits")
    assert (done.code, len(done.lines), done.err) == (0, 15, "")
    assert done.lines[0] == "../playdata/S20170505S0030.fits"


def test_tags_may_be_many_and_a_list_may_be_the_input(goafetch, playground: Path) -> None:
    goafetch("dataselect --tags FLAT ../playdata/*.fits -o flats.list")
    for tags in ("--tags flat,lampon", "--tags FLAT --tags LAMPON"):
        assert len(goafetch(f"dataselect {tags} @flats.list").lines) == 15


@pytest.mark.parametrize(
    "command", ["dataselect ../playdata/*.fits --tags", "typewalk -d ../playdata --tags"]
)
def test_a_tag_that_does_not_exist_is_told_with_the_nearest(goafetch, playground: Path, command: str) -> None:
    assert "there is no tag LAMPOF: did you mean LAMPOFF?" in goafetch(f"{command} FLAT,LAMPOF").err
    assert "there is no tag" not in goafetch(f"{command} ACQUISITION").err


def test_filters_with_and_without_ids_and_strictly(goafetch, playground: Path) -> None:
    for name in ("Kshort", "Kshort_G1105"):
        assert len(goafetch(f"dataselect --expr \"filter_name=='{name}'\" ../playdata/*.fits").lines) == 50
    strict = goafetch("dataselect --strict --expr \"filter_name=='Kshort'\" ../playdata/*.fits")
    assert (strict.code, strict.lines) == (3, [])
    assert "0 of 51 files fit" in strict.err


def test_json_is_one_document(goafetch, playground: Path) -> None:
    done = goafetch("dataselect --tags BPM ../playdata/*.fits --json")
    assert [Path(name).name for name in done.json["files"]] == ["bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"]
    assert done.json["refused"] == []


def test_a_wrong_expression_is_a_usage_error_with_a_mark(goafetch, playground: Path) -> None:
    done = goafetch("dataselect --expr 'filtername==\"Kshort\"' ../playdata/*.fits")
    assert (done.code, done.out) == (2, "")
    assert "^^^^^^^^^^" in done.err and "did you mean filter_name?" in done.err


def test_a_file_that_is_not_fits_is_told_and_the_rest_is_done(goafetch, playground: Path) -> None:
    Path("broken.fits").write_text("not FITS")
    done = goafetch("dataselect broken.fits ../playdata/S20170505S0095.fits")
    assert (done.code, done.lines) == (1, ["../playdata/S20170505S0095.fits"])
    assert "broken.fits" in done.err


@pytest.mark.parametrize("name", ["missing.fits", "no*.fits", "@missing.list"])
def test_names_of_nothing_are_told(goafetch, playground: Path, name: str) -> None:
    done = goafetch(f"dataselect {name}")
    assert done.code == 2
    assert name.lstrip("@") in done.err


def test_an_empty_list_is_called_empty(goafetch, playground: Path) -> None:
    Path("empty.list").write_text("# nothing yet\n")
    done = goafetch("reduce @empty.list")
    assert done.code == 3
    assert "the list empty.list is empty" in done.err


def test_a_reduction_that_leaves_a_file_out_ends_with_1(goafetch, playground: Path) -> None:
    Path("broken.fits").write_text("not FITS")
    images = {array: np.zeros((64, 64), np.float32) for array in (1, 2, 3, 4)}
    write_raw(Path("S1.fits"), primary_header(), images)
    assert goafetch("reduce S1.fits -r checkWCS --workers 1").code == 0
    done = goafetch("reduce broken.fits S1.fits -r checkWCS --workers 1")
    assert done.code == 1
    assert "left out broken.fits" in done.err


def test_reduce_takes_a_suffix_and_a_log_file(goafetch, playground: Path) -> None:
    sky = np.full((SIDE, SIDE), 3000.0)
    images = {array: expose(sky, array, np.random.default_rng(array)) for array in (1, 2, 3, 4)}
    write_raw(Path("S2.fits"), primary_header(), images)
    Path("own.py").write_text(
        "from reducer.recipes import correctDetector, prepare\nown = (prepare, correctDetector)"
    )
    settings = "-r own.py:own -p flatCorrect:do_flat=False --workers 1"
    done = goafetch(f"reduce S2.fits {settings} --suffix _mine --logfile my.log")
    assert (done.code, done.lines) == (0, ["S2_mine.fits"]), done.err
    assert Path("S2_mine.fits").exists() and "flatCorrect" in Path("my.log").read_text()
    assert goafetch(f"reduce S2.fits {settings} --suffix a/b").code == 2
