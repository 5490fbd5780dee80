"""Results are for people on a terminal and for programs everywhere else."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from screen import open_screen

from goafetch.console import emit_json, print_result, say, show_table
from goafetch.errors import UsageError

ROWS = [
    {"name": "S20170505S0095.fits", "filter": "H2(1-0)_G1121", "seconds": 60.0, "ra": 201.3580001},
    {"name": "odd\tname\nof [red]two[/red] lines\x1b[31m", "filter": None, "seconds": float("nan"), "ra": 1},
]


def test_off_a_terminal_a_record_is_a_line_of_tabs(capsys):
    show_table(ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "S20170505S0095.fits\tH2(1-0)_G1121\t60\t201.358"
    assert lines[1].split("\t") == ["odd name of [red]two[/red] lines [31m", "", "", "1"]
    assert len(lines) == 2


def test_a_long_record_is_neither_wrapped_nor_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    show_table([{"name": "x" * 500}])
    assert capsys.readouterr().out == "x" * 500 + "\n"


def test_json_is_one_document_of_whole_records(capsys):
    show_table(ROWS, ["name"], format="json")
    document = json.loads(capsys.readouterr().out)
    assert document[0] == ROWS[0]
    assert document[1]["seconds"] is None


def test_csv_survives_what_is_in_it(capsys):
    show_table([{"a": 'say "x", y', "b": 2}], format="csv")
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [["a", "b"], ['say "x", y', "2"]]


def test_names_are_the_first_column(capsys):
    show_table(ROWS[:1], ["filter", "name"], format="names")
    assert capsys.readouterr().out == "H2(1-0)_G1121\n"


@pytest.mark.parametrize("format", ["table", "json", "csv", "names"])
def test_nothing_is_something_to_show(capsys, format):
    show_table([], ["name"], format=format)
    assert capsys.readouterr().out in ("", "[]\n", "name\n")


def test_an_unknown_format_names_the_known_ones():
    with pytest.raises(UsageError, match="table, json, csv, names"):
        show_table(ROWS, format="xml")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_gets_a_table_that_fits(monkeypatch, width):
    screen = open_screen(monkeypatch, "stdout", width)
    show_table(ROWS, title="Two frames")
    lines = screen.lines()
    assert "Two frames" in lines[0]
    assert max(map(len, lines)) <= width
    assert "\x1b[31m" not in screen.getvalue()


def test_a_terminal_too_narrow_for_a_table_gets_values(monkeypatch):
    screen = open_screen(monkeypatch, "stdout", 40)
    show_table([{"name": "S20170505S0095.fits", "filter": "Kshort", "path": "playdata/S20170505S0095.fits"}])
    assert "  name  S20170505S0095.fits" in screen.lines()
    assert "  path  playdata/S20170505S0095.fits" in screen.lines()


def test_no_color_means_no_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    screen = open_screen(monkeypatch, "stderr")
    say("careful", style="red")
    assert screen.getvalue() == "careful\n"


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    screen = open_screen(monkeypatch, "stdout", term="dumb")
    show_table(ROWS[:1], ["name", "seconds"])
    assert screen.getvalue() == "S20170505S0095.fits\t60\n"


def test_json_knows_paths_arrays_times_and_records(capsys):
    @dataclass
    class Made:
        path: Path
        counts: np.ndarray
        rms: float

    emit_json({"made": Made(Path("a/b"), np.array([1, 2]), np.float32("nan")), "set": {2, 1}})
    assert json.loads(capsys.readouterr().out) == {
        "made": {"path": "a/b", "counts": [1, 2], "rms": None},
        "set": [1, 2],
    }


def test_words_that_an_encoding_lacks_do_not_end_the_program(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_result("5 µm → done")
    assert raw.getvalue() == b"5 \\xb5m \\u2192 done\n"


def test_messages_go_to_standard_error(capsys):
    say("working [bold]")
    assert capsys.readouterr() == ("", "working [bold]\n")
