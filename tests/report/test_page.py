"""The page says what the run's story and the products say, whatever characters they hold."""

import dataclasses
import re

import pytest
from matplotlib import rc_context, rcParams
from small_workspace import story, write_stack, write_workspace

from goafetch.engine.pool import Pool
from goafetch.report.page import begin_parts, make_report
from goafetch.report.run_summary import Product, write_summary
from goafetch.text import mark_options


@pytest.fixture(scope="module")
def text(page):
    return page.read_text(encoding="utf-8")


def test_the_page_is_one_file_that_asks_for_nothing(text):
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*\"", text.replace("xlink:", ""))
    assert "default-src 'none'" in text


def test_the_story_is_told_with_its_reasons(text):
    for words in (
        "GS-2017A-Q-29",
        "sky from 7 off-target exposures",
        "1500 sources an array",
        "51 files, 1020 MB",
    ):
        assert words in text


def test_markup_in_headers_is_text(text):
    assert "filter &lt;Unknown&gt; &amp; the wheel had not stopped" in text
    assert "<Unknown>" not in text


def test_every_picture_has_words_and_ids_are_unique(text):
    page = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert all(
        re.search(r'(aria-label|alt)="[^"]{20,}"', tag)
        for tag in re.findall(r"<(?:svg|img|canvas)[^>]*>", page)
    )
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:aria-labelledby|aria-describedby)="([^"]+)"', page):
        assert target in ids


def test_the_stack_has_a_picture_beside_the_page(page):
    content = (page.parent / "stack_S20170505S0095_image.png").read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 50_000


def test_remade_it_is_the_same_whatever_a_notebook_has_set(workspace, page, text):
    own = {
        "text.usetex": True,
        "font.size": 30.0,
        "axes.grid": True,
        "lines.linewidth": 9.0,
        "savefig.dpi": 7,
    }
    with rc_context(own):
        make_report(workspace)
        assert {name: rcParams[name] for name in own} == own
    assert page.read_text(encoding="utf-8") == text


def test_drawn_by_workers_and_ahead_it_is_the_same(workspace, page, text):
    with Pool(2) as pool:
        (stack,) = (workspace / "playground").glob("*_image.fits")
        begun = {stack: begin_parts(stack, workspace / "report", pool.submit)}
        make_report(workspace, pool.submit, begun)
    assert page.read_text(encoding="utf-8") == text


def test_several_stacks_get_an_index_and_a_page_each(tmp_path):
    folder = write_workspace(tmp_path)
    for name in ("S20170505S0120_image", "S20170505S0130_image"):
        write_stack(folder / f"playground/{name}.fits")
    told = story("playground/S20170505S0120_image.fits", "playground/S20170505S0130_image.fits")
    gone = Product("playground/S20170505S0140_image.fits", "standard", "9132 Kshort 30 s")
    write_summary(folder, dataclasses.replace(told, products=(*told.products, gone)))
    index = make_report(folder).read_text(encoding="utf-8")
    for name in ("S20170505S0120_image", "S20170505S0130_image"):
        assert f'href="{name}.html"' in index
        assert (folder / f"report/{name}.html").exists()
    assert "S20170505S0140_image.fits" in index and "could not be read" in index


def test_a_run_without_a_stack_has_a_page_that_says_why(tmp_path):
    told = dataclasses.replace(story(), products=())
    write_summary(tmp_path, told)
    page = make_report(tmp_path).read_text(encoding="utf-8")
    assert "No stack was made" in page
    assert "S20170505S0200.fits" in page


def test_options_in_a_sentence_stay_whole_and_text_stays_text():
    marked = mark_options("<b> give --phot-catalog FILE, or wait")
    assert marked == '&lt;b&gt; give <code class="option">--phot-catalog FILE</code>, or wait'
