"""Products, frames, plans, searches and runs show themselves in a notebook."""

import dataclasses
import sys
import types
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from paper import PAPER

from goafetch import watch
from goafetch.archive.query import Criteria, build_query
from goafetch.archive.search import SearchResult
from goafetch.console.terminal import Cell, Terminal
from goafetch.events import CalibrationChoice, Decided, Made, Progressed, Refusal, StageBegun, StageEnded
from goafetch.plan.plan import Group, LeftOut, Plan, Setup
from goafetch.report.pictures import _plot_mosaic, view
from goafetch.report.stack_file import Mosaic
from goafetch.text import MOST_ROWS, table_html
from reducer import instruments
from reducer.errors import BadFile
from reducer.fitsio import open_frame


@pytest.mark.parametrize(
    ("product", "words"),
    [
        ("playground/S20170505S0095_image.fits", "stack"),
        ("playground/calibrations/processed_flat/S20170505S0030_flat.fits", "arrays"),
    ],
)
def test_a_product_is_a_picture_with_words(workspace, tmp_path, product, words):
    picture = view(workspace / product)
    assert words in picture.caption and picture.caption in picture._repr_html_()
    pixels = imread(picture.save(tmp_path / "picture.png"))
    assert min(pixels.shape[:2]) > 300
    assert pixels[..., 0].std() > 0.1


@pytest.mark.parametrize(
    ("instrument", "rows"),
    [("GSAOI", [["array 3", "array 4"], ["array 2", "array 1"]]), ("PAPER", [["array 1"]])],
)
def test_arrays_are_drawn_where_they_lie_on_the_focal_plane(monkeypatch, instrument, rows):
    monkeypatch.setattr(instruments, "KNOWN", instruments.KNOWN | {"PAPER": PAPER})
    data = {
        number: np.full((6, 8), float(number), np.float32) for number in range(1, sum(map(len, rows)) + 1)
    }
    figure = _plot_mosaic(Mosaic(Path("a.fits"), {"INSTRUME": instrument}, data, 0.0), "electrons", (1, 99))
    drawn = []
    for axes in figure.axes[:-1]:
        place = axes.get_position()
        drawn.append((round(-place.y0, 3), round(place.x0, 3), axes.get_title()))
    assert [title for _, _, title in sorted(drawn)] == [title for row in rows for title in row]


def test_what_is_no_product_is_refused(tmp_path):
    (tmp_path / "x.fits").write_bytes(b"SIMPLE")
    with pytest.raises(BadFile):
        view(tmp_path / "x.fits")


def test_a_table_escapes_what_it_shows_and_says_how_much_it_leaves_out():
    text = table_html([{"name": "<b>", "n": 1}], "A & B")
    assert "&lt;b&gt;" in text and "A &amp; B" in text and "<b>" not in text
    long = table_html([{"n": number} for number in range(MOST_ROWS + 7)], "")
    assert long.count("<tr>") == MOST_ROWS + 1 and "and 7 more" in long


def test_a_frame_shows_what_it_is(workspace):
    frame = open_frame(workspace / "playground/S20170505S0095_image.fits")
    text = dataclasses.replace(frame, repairs=("BUNIT <put> in its place",))._repr_html_()
    assert "S20170505S0095_image.fits" in text and "<td>NGC5128</td>" in text
    assert "BUNIT &lt;put&gt; in its place" in text


def test_a_plan_shows_its_groups_and_what_it_leaves_out():
    setup = Setup("GSAOI", "Kshort", 60.0, 1, "FOWLER", ())
    group = Group("science", "NGC5128", setup, datetime(2017, 5, 5), (Path("S1.fits"),), Path("S2_flat.fits"),
                  reasons=(CalibrationChoice("flat", "S2_flat.fits", "the nearest"),))  # fmt: skip
    text = Plan(visits=(group,), left_out=(LeftOut(Path("S9.fits"), "no lamp-off"),))._repr_html_()
    for word in ("NGC5128 Kshort 60 s", "S2_flat.fits", "the nearest", "S9.fits", "no lamp-off"):
        assert word in text


def test_what_a_cell_shows_as_text_is_a_line(workspace):
    """A picture was a megabyte of bytes, a plan every one of its fields."""
    picture = view(workspace / "playground/S20170505S0095_image.fits")
    assert repr(picture) == f"<Picture of {picture.caption}>"
    setup = Setup("GSAOI", "Kshort", 60.0, 1, "FOWLER", ())
    group = Group("science", "NGC5128", setup, datetime(2017, 5, 5), (Path("S1.fits"),))
    plan = Plan(visits=(group, group), left_out=(LeftOut(Path("S9.fits"), "no lamp-off"),))
    assert repr(plan) == "<Plan: 2 visits, 1 left out>" and repr(Plan()) == "<Plan: nothing>"
    found = repr(SearchResult([], build_query(Criteria(program="GS-2017A-Q-29"))))
    assert found.startswith("<SearchResult: 0 files: GS-2017A-Q-29")


def test_paths_in_a_table_are_links_that_a_browser_can_follow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = table_html([{"file": Path("a b/S1_image.fits")}, {"file": Path("/else/x.fits")}], "")
    assert '<a href="a%20b/S1_image.fits">S1_image.fits</a>' in text
    assert f'<a href="{Path("/else/x.fits").as_uri()}">x.fits</a>' in text


def test_a_search_says_what_was_asked():
    text = SearchResult([], build_query(Criteria(program="GS-2017A-Q-29")))._repr_html_()
    assert "0 files" in text and "GS-2017A-Q-29" in text


def tell_a_run(notify):
    notify(StageBegun("stack <b>", 4))
    notify(Progressed("stack <b>", 1, 4))
    notify(Decided("offset_sky=False", "the target fills the field"))
    notify(Refusal("S9.fits", "it is broken"))
    notify(Made("S1_flat.fits"))


def test_a_cell_has_a_line_for_what_was_decided_and_a_bar_for_what_runs(monkeypatch):
    shown = []
    fake = types.SimpleNamespace(
        HTML=str,
        display=lambda page, display_id: shown.append(page) or types.SimpleNamespace(update=shown.append),
    )
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(display=fake))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    cell = Cell()
    tell_a_run(cell)
    text = cell.as_html()
    assert '<progress value="1" max="4"></progress> stack &lt;b&gt; 1/4' in text
    assert (
        "→ offset_sky=False: the target fills the field" in text
        and "✗ left out S9.fits: it is broken" in text
    )
    assert "S1_flat.fits" not in text
    cell(StageEnded("stack <b>"))
    assert "<progress" not in cell.as_html() and "✓ stack &lt;b&gt;" in cell.as_html()
    assert shown[-1] == cell.as_html()


def test_outside_a_notebook_a_run_is_watched_in_lines(capsys):
    watching = watch()
    assert isinstance(watching, Terminal)
    tell_a_run(watching)
    assert "offset_sky=False: the target fills the field" in capsys.readouterr().err


@pytest.mark.prove
def test_a_notebook_shows_a_run(workspace):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    product = str(workspace / "playground/S20170505S0095_image.fits")
    cells = [
        "from goafetch import view, watch\nfrom goafetch.events import Decided, StageBegun, StageEnded\n"
        "tell = watch()\nassert type(tell).__name__ == 'Cell'",
        "tell(StageBegun('stack', 2))\ntell(Decided('yes'))\ntell(StageEnded('stack'))",
        f"view({product!r})",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    nbclient.NotebookClient(book, timeout=120).execute()
    assert "✓ stack" in book.cells[1].outputs[0]["data"]["text/html"]
    assert "data:image/png" in book.cells[2].outputs[0]["data"]["text/html"]
