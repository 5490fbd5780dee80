"""`goafetch showd`: the tutorial's tables, from names, lists and pipes."""

from __future__ import annotations

import csv
from pathlib import Path


def test_the_filter_of_every_file_as_people_say_it(goafetch, playground: Path) -> None:
    done = goafetch("showd ../playdata/S2017*.fits -d filter_name")
    assert done.code == 0
    assert len(done.lines) == 50
    assert done.lines[0] == "../playdata/S20170504S0114.fits\tKshort"
    assert {line.split("\t")[1] for line in done.lines} == {"Kshort"}


def test_names_come_through_a_pipe(goafetch, playground: Path) -> None:
    chosen = goafetch("dataselect --expr 'observation_class==\"partnerCal\"' ../playdata/*.fits")
    done = goafetch("showd -d object", stdin=chosen.out)
    assert done.lines == [f"../playdata/S20170504S0{number}.fits\t9132" for number in range(114, 118)]


def test_several_descriptors_and_csv(goafetch, playground: Path) -> None:
    goafetch("dataselect --expr 'observation_class==\"science\"' ../playdata/*.fits -o science.list")
    done = goafetch("showd @science.list -d object,exposure_time --csv")
    rows = list(csv.DictReader(done.lines))
    assert len(rows) == 16
    assert {(row["object"], float(row["exposure_time"])) for row in rows} == {("NGC5128", 60.0)}


def test_json_keeps_lists_and_times(goafetch, playground: Path) -> None:
    done = goafetch("showd ../playdata/S20170505S0095.fits -d gain,ut_datetime,tags --json")
    (row,) = done.json
    assert row["gain"] == [2.434, 2.01, 2.411, 2.644]
    assert row["ut_datetime"] == "2017-05-05 01:15:00"
    assert "SIDEREAL" in row["tags"]


def test_without_descriptors_they_are_listed_with_their_meaning(goafetch, playground: Path) -> None:
    done = goafetch("showd")
    meanings = dict(line.split("\t") for line in done.lines)
    assert meanings["exposure_time"] == "Exposure time of one coadd, seconds."
    assert len(meanings) > 60


def test_an_unknown_descriptor_is_a_usage_error_with_a_suggestion(goafetch, playground: Path) -> None:
    done = goafetch("showd ../playdata/S20170505S0095.fits -d exposuretime")
    assert done.code == 2
    assert "did you mean exposure_time?" in done.err
