"""`goafetch typewalk`: the tags of the tutorial, to the letter."""

from __future__ import annotations

from pathlib import Path

SCIENCE = "GEMINI GSAOI IMAGE RAW SIDEREAL SOUTH UNPREPARED"
LAMP_ON = "AZEL_TARGET CAL DOMEFLAT FLAT GEMINI GSAOI IMAGE LAMPON NON_SIDEREAL RAW SOUTH UNPREPARED"
LAMP_OFF = LAMP_ON.replace("LAMPON", "LAMPOFF")


def test_the_tags_of_the_tutorial(goafetch, playground: Path) -> None:
    done = goafetch("typewalk -d ../playdata")
    found = {Path(name).name: tags for name, tags in (line.split("\t") for line in done.lines)}
    assert len(found) == 51
    assert found["S20170504S0114.fits"] == SCIENCE
    assert found["S20170505S0030.fits"] == LAMP_ON
    assert found["S20170505S0060.fits"] == LAMP_OFF
    assert found["S20170505S0110.fits"] == SCIENCE
    assert (
        found["bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"]
        == "BPM CAL GEMINI GSAOI PROCESSED RAW SOUTH UNPREPARED"
    )


def test_a_list_of_some_tags(goafetch, playground: Path) -> None:
    done = goafetch("typewalk -d ../playdata --tags SOUTH GSAOI IMAGE --xtags FLAT -o sky.list")
    assert len(done.lines) == 20
    text = Path("sky.list").read_text()
    assert "# Qualifying types: GSAOI  IMAGE  SOUTH" in text and "# Excluded types:   FLAT" in text
    assert len(goafetch("dataselect @sky.list").lines) == 20


def test_one_tag_of_several_is_enough_with_or(goafetch, playground: Path) -> None:
    done = goafetch("typewalk -d ../playdata --tags LAMPOFF,BPM --or --json")
    assert len(done.json) == 16


def test_folders_below_are_walked_unless_told_not_to(goafetch, playground: Path) -> None:
    assert goafetch("typewalk -d .. -n").code == 3
    assert len(goafetch("typewalk -d ../playdata -f 'S20170505S00[34].*'").lines) == 15
    assert goafetch("typewalk -f '['").code == 2
