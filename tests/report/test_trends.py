"""`goafetch trends`: each night of each stack, by what its products say."""

import csv
import io

import numpy as np
import pytest
from shell import Shell
from small_workspace import primary_header, story, wcs_header

from goafetch.report.run_summary import write_summary
from reducer.fitsio import write_frame
from reducer.frame import Chip
from reducer.stack.quality import EXPOSURE

STACK = "playground/S20170505S0095_image.fits"
#: UTC, FWHM in mas and sky in electrons of two coadds of 30 s each: two of one night around UT midnight.
EXPOSURES = [
    ("2017-05-04T23:50:00.0", 80, 3000),
    ("2017-05-05T00:10:00.0", 90, 3300),
    ("2017-05-06T01:00:00.0", 120, np.nan),
]


def write_run(folder, **cards):
    table = np.zeros(len(EXPOSURES), EXPOSURE)
    for row, (ut, fwhm, sky) in zip(table, EXPOSURES, strict=True):
        row["ut"], row["fwhm"], row["sky"], row["seconds"], row["strehl"] = ut, fwhm / 1000, sky, 60, np.nan
    plane = np.ones((8, 8), np.float32)
    chip = Chip(plane, plane, np.zeros((8, 8), np.uint16), wcs_header())
    header = primary_header(EXPTIME=30.0, COADDS=2, **cards)
    write_frame(folder / STACK, header, [chip], tables={"EXPOSURES": table})
    write_summary(folder, story(STACK))


def test_nights_and_their_medians(tmp_path):
    write_run(tmp_path / "programs/one", PHOTZP=26.1, PHOTZPER=0.03)
    write_run(tmp_path / "programs/two")
    page = tmp_path / "trends.html"
    typed = Shell()(f"trends '{tmp_path}' --csv --page '{page}'")
    rows = list(csv.DictReader(io.StringIO(typed.out)))
    assert [(row["night"], row["zeropoint"], row["exposures"]) for row in rows] == [
        ("2017-05-05", "26.1", "2"),
        ("2017-05-05", "", "2"),
        ("2017-05-06", "26.1", "1"),
        ("2017-05-06", "", "1"),
    ]
    assert [float(row["fwhm"]) for row in rows[::2]] == pytest.approx([85, 120])
    assert float(rows[0]["sky"]) == pytest.approx(3150 / 30) and rows[2]["sky"] == "" == rows[0]["strehl"]
    text = page.read_text()
    assert "2017-05-06" in text and "src=" not in text


def test_a_pipe_gets_a_heading(tmp_path):
    """Through a pipe nobody knew which of the numbers was the zeropoint."""
    write_run(tmp_path, PHOTZP=26.1, PHOTZPER=0.03)
    heading, first, second = (line.split("\t") for line in Shell()(f"trends '{tmp_path}'").lines)
    assert heading == ["night", "filter", "object", "zeropoint", "FWHM", "Strehl", "sky"]
    assert dict(zip(heading, first, strict=True))["zeropoint"] == "26.100 +- 0.030"
    assert dict(zip(heading, second, strict=True))["FWHM"] == "120"


def test_runs_with_as_are_left_out_unless_they_are_named(tmp_path):
    """The same exposures were shown twice, as two nights that nothing told apart."""
    night = tmp_path / "GS-2017A-Q-29"
    write_run(night, PHOTZP=26.1)
    write_run(night / "strict", PHOTZP=26.2)
    for typed in (f"'{tmp_path}'", f"'{night}'", f"'{tmp_path}' '{night}'"):
        told = Shell()(f"trends {typed} --csv")
        rows = list(csv.DictReader(io.StringIO(told.out)))
        assert [row["zeropoint"] for row in rows] == ["26.1", "26.1"]
        assert str(night / "strict") in told.err
    alone = Shell()(f"trends '{night / 'strict'}' --csv")
    assert "26.2" in alone.out and not alone.err
    heading, *rows = (line.split("\t") for line in Shell()(f"trends '{night}' '{night / 'strict'}'").lines)
    assert heading[-1] == "workspace"
    assert [(row[3], row[-1]) for row in rows[:2]] == [
        ("26.100", str(night)),
        ("26.200", str(night / "strict")),
    ]


def test_a_folder_without_runs_is_an_error_that_says_what_was_looked_for(tmp_path):
    typed = Shell()(f"trends '{tmp_path}'")
    assert typed.code == 1
    assert (
        f"no run has finished in {tmp_path}: no playground/run.json there or up to two folders" in typed.err
    )
