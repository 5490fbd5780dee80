"""The page in a real browser: zoom, pan, stretch, overlays, read-out, themes, keyboard, print, silence."""

import json
import re

import numpy as np
import pytest
from astropy.wcs import WCS
from chromium import browser, find_chromium
from small_workspace import SIZE, STAR, stack_pixels, story, wcs_header, write_stack, write_workspace

from goafetch.report.page import make_report
from goafetch.report.run_summary import write_summary

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium here: the page is not tried")

NO_DATA_RED = 59


@pytest.fixture(scope="module")
def chromium():
    with browser(find_chromium()) as tab:
        yield tab


@pytest.fixture
def tab(chromium, page):
    """The page, freshly opened, with the tile of the whole stack decoded and drawn."""
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(page)
    chromium.wait_for("document.querySelector('.stack.live') && true")
    while brightness(chromium) == NO_DATA_RED:
        continue
    yield chromium
    assert chromium.complaints == []
    assert [url for url in chromium.requests if not url.startswith(("file:", "data:", "about:"))] == []


def box(tab):
    return tab.evaluate("(({x, y, width, height}) => [x, y, width, height])"
                        "(document.getElementById('viewer').getBoundingClientRect())")  # fmt: skip


def spot(tab, x, y):
    """Where a stack pixel (zero-based) of the fitted view is in the window."""
    left, top, width, height = box(tab)
    zoom = min(width / SIZE, height / SIZE)
    return (
        left + width / 2 + (x + 0.5 - SIZE / 2) * zoom,
        top + height / 2 - (y + 0.5 - SIZE / 2) * zoom,
    )


def readout(tab):
    return tab.evaluate("document.getElementById('readout').textContent")


def wait_for_pixel(tab, x, y):
    """Wait until a stack pixel (zero-based) is read out in full; returns the words."""
    start = f"x {x + 1}  y {y + 1} "
    text = "document.getElementById('readout').textContent"
    tab.wait_for(f"{text}.startsWith('{start}') && !{text}.endsWith('…')")
    return readout(tab)


def point_at(tab, x, y):
    """Move the mouse to a stack pixel of the fitted view; returns what is read out there."""
    tab.mouse("Moved", *spot(tab, x, y))
    return wait_for_pixel(tab, x, y)


def electrons(text):
    found = re.search(r"([-\d.e]+) electron", text)
    return float(found[1]) if found else np.nan


def brightness(tab):
    """Mean red of the canvas."""
    return tab.evaluate("""(async () => {
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        const c = document.getElementById('viewer'), size = [0, 0, c.width, c.height];
        const copy = Object.assign(document.createElement('canvas'), { width: c.width, height: c.height });
        const pen = copy.getContext('2d', { willReadFrequently: true });
        pen.drawImage(c, 0, 0);
        const d = pen.getImageData(...size).data;
        let sum = 0; for (let i = 0; i < d.length; i += 4) sum += d[i];
        return sum / (d.length / 4); })()""")


@pytest.mark.parametrize("place", [STAR, (50, 60), (520, 500), (600, 20)])
def test_the_cursor_reads_the_pixel_below_it(tab, place):
    data = stack_pixels()[0]
    text = point_at(tab, *place)
    value = data[place[1], place[0]]
    assert electrons(text) == pytest.approx(value, rel=0.004, abs=2.5)  # a quarter of the noise
    ra, dec = WCS(wcs_header()).pixel_to_world_values(*place)
    hours = [float(part) for part in re.search(r"RA ([\d:.]+)", text)[1].split(":")]
    degrees = [float(part) for part in re.search(r"Dec −([\d:.]+)", text)[1].split(":")]
    assert np.dot(hours, [15, 1 / 4, 1 / 240]) == pytest.approx(float(ra), abs=2e-7 * 15)
    assert -np.dot(degrees, [1, 1 / 60, 1 / 3600]) == pytest.approx(float(dec), abs=3e-7)


def test_gaps_and_flags_are_read_out(tab):
    assert "no data" in point_at(tab, 320, 100)
    assert point_at(tab, 100, 100).endswith("bad")


def test_the_wheel_zooms_on_the_pixel_below_the_mouse(tab):
    at = [round(value) for value in spot(tab, *STAR)]  # a wheel's place is a whole CSS pixel
    tab.mouse("Moved", *at)
    text = "document.getElementById('readout').textContent"
    tab.wait_for(f"{text}.startsWith('x ') && !{text}.endsWith('…')")
    before = readout(tab)
    dark = brightness(tab)
    for _ in range(5):
        tab.mouse("Wheel", *at, deltaX=0, deltaY=-200)
    assert abs(brightness(tab) - dark) > 3
    tab.mouse("Moved", at[0] + 1, at[1])
    tab.mouse("Moved", *at)
    tab.wait_for(f"{text} === {json.dumps(before)}")


def test_north_and_east_point_where_the_header_says(tab):
    """The arms of the compass below the picture, where they cover no data."""
    drawn = """(([x, y]) => {
        const c = document.getElementById('compass');
        const d = c.getContext('2d').getImageData(x - 1, y - 1, 3, 3).data;
        return Math.max(...d.filter((_, i) => i % 4 === 3)); })"""
    brightness(tab)
    middle = tab.evaluate("Math.round(document.getElementById('compass').clientHeight / 2)")
    assert tab.evaluate(f"{drawn}([{middle}, {middle - 15}])") > 150
    assert tab.evaluate(f"{drawn}([{middle + 15}, {middle}])") > 150  # CD1_1 is positive here: east is right
    assert tab.evaluate(f"{drawn}([{middle - 15}, {middle}])") == 0
    tab.complaints.clear()  # the browser has advice about reading a canvas


def click(tab, x, y):
    tab.mouse("Pressed", x, y, button="left", buttons=1)
    tab.mouse("Released", x, y, button="left")


def test_a_click_on_a_source_shows_its_row(tab):
    at = spot(tab, *STAR)
    tab.mouse("Moved", *at)
    click(tab, *at)
    tab.wait_for("document.getElementById('readout').textContent.startsWith('Source at')")
    assert f"x {STAR[0] + 1}  y {STAR[1] + 1} " in readout(tab)
    tab.mouse("Moved", at[0] + 60, at[1])
    tab.wait_for("document.getElementById('readout').textContent.startsWith('x ')")


def test_the_wheel_does_not_hold_a_page_that_is_scrolled(tab):
    """A scroll that began beside the picture goes on over it; seen whole, the picture lets the page down."""
    viewer = "document.getElementById('viewer')"
    tell = viewer + ".dispatchEvent(new WheelEvent('wheel', {{deltaY: {}, cancelable: true}}))"
    beside = "document.body.dispatchEvent(new WheelEvent('wheel', {deltaY: 100, bubbles: true}))"
    assert tab.evaluate(tell.format(100)) is True  # left to the page
    assert tab.evaluate(f"{beside}, {tell.format(-100)}") is True
    tab.evaluate("new Promise((done) => setTimeout(done, 350))")
    assert tab.evaluate(tell.format(-100)) is False  # the picture zooms
    assert tab.evaluate(tell.format(100)) is False


def test_dragging_moves_the_picture(tab):
    tab.evaluate("document.getElementById('view-full').click()")
    left, top, width, height = box(tab)
    middle = (left + width / 2 + 0.5, top + height / 2 - 0.5)
    tab.mouse("Moved", *middle)
    wait_for_pixel(tab, SIZE // 2, SIZE // 2)
    tab.mouse("Pressed", *middle, button="left", buttons=1)
    tab.mouse("Moved", middle[0] + 100, middle[1] + 50, button="left", buttons=1)
    tab.mouse("Released", middle[0] + 100, middle[1] + 50, button="left")
    tab.mouse("Moved", *middle)
    wait_for_pixel(tab, SIZE // 2 - 100, SIZE // 2 + 50)


def test_stretch_colours_and_overlays_change_the_picture(tab):
    seen = {"first": brightness(tab)}
    for control, value in (("stretch", "linear"), ("stretch", "log"), ("map", "inferno")):
        tab.evaluate(f"(() => {{ const c = document.getElementById('view-{control}'); c.value = '{value}';"
                     "c.dispatchEvent(new Event('input')); })()")  # fmt: skip
        seen[value] = brightness(tab)
    for control in ("flags", "sources", "invert"):
        tab.evaluate(f"document.getElementById('view-{control}').click()")
        seen[control] = brightness(tab)
    assert len(set(seen.values())) == len(seen)


def test_the_keyboard_alone_is_enough(tab):
    tab.evaluate("document.getElementById('viewer').focus()")
    tab.key("ArrowRight", modifiers=8)
    tab.wait_for(
        f"document.getElementById('readout').textContent.startsWith('x {SIZE // 2 + 2}  y {SIZE // 2 + 1}')"
    )
    before = brightness(tab)
    tab.key("+")
    tab.key("+")
    assert brightness(tab) != before
    tab.key("0")
    assert brightness(tab) == pytest.approx(before, abs=0.5)


def test_dark_and_light_follow_the_system_and_the_button(chromium, page):
    chromium.open(page, prefers_color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert chromium.evaluate(paper) == "rgb(18, 22, 28)"
    chromium.evaluate("document.getElementById('theme').click()")
    assert chromium.evaluate(paper) == "rgb(253, 253, 251)"


@pytest.mark.parametrize("width", [320, 390])
def test_nothing_sticks_out_on_a_phone(chromium, page, width):
    chromium.open(page, width=width, height=800)
    chromium.wait_for("document.querySelector('.stack.live') && true")
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width


def test_the_printed_page_shows_the_stack_and_the_verdict(tab):
    tab.send("Emulation.setEmulatedMedia", media="print")
    shown = "getComputedStyle(document.querySelector('{}')).display"
    assert tab.evaluate(shown.format(".poster")) == "block"
    assert tab.evaluate(shown.format("#viewer")) == "none"
    assert tab.print().startswith(b"%PDF")
    tab.resize(760, 1000)
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 760  # no table is cut at the paper's edge
    tab.send("Emulation.setEmulatedMedia", media="")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The index of a run with two targets."""
    root = write_workspace(tmp_path_factory.mktemp("two"))
    stacks = ("playground/S20170505S0095_image.fits", "playground/S20170506S0001_image.fits")
    write_stack(root / stacks[1])
    write_summary(root, story(*stacks))
    return make_report(root)


def test_an_index_leads_to_each_stack_and_back(chromium, index):
    chromium.complaints.clear()
    for width in (1200, 320):
        chromium.open(index, width=width)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 100 && i.alt)")
    lights = chromium.evaluate("[...document.querySelectorAll('.lights .light')].map((e) => e.textContent)")
    assert len(lights) == 20 and all(
        text[0] in "●▲■○" and ", " in text for text in lights
    )  # not colour alone
    addresses = "[...document.querySelectorAll('{} a')].map((a) => a.getAttribute('href'))"
    pages = set(chromium.evaluate(addresses.format(".index")))
    assert pages == {"S20170505S0095_image.html", "S20170506S0001_image.html"}
    for page in pages:
        chromium.open(index.parent / page)
        chromium.wait_for("document.querySelector('.stack.live') && true")
        assert set(chromium.evaluate(addresses.format('nav[aria-label="Other stacks"]'))) == pages - {page}
    assert chromium.complaints == []


def test_the_verdict_stands_under_the_title(tab):
    counts = tab.evaluate("document.querySelector('.summary').textContent")
    cards = tab.evaluate("document.querySelectorAll('.verdicts li').length")
    assert sum(map(int, re.findall(r"\d+", counts))) == cards


def test_the_black_and_white_levels_change_the_picture(tab):
    before = brightness(tab)
    tab.evaluate("(() => { const c = document.getElementById('view-white'); c.value = c.max;"
                 "c.dispatchEvent(new Event('input')); })()")  # fmt: skip
    assert brightness(tab) < before - 2


def test_tables_wider_than_a_phone_scroll_by_themselves_and_print_in_full(chromium, page):
    chromium.open(page, width=320, height=800)
    chromium.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 320
    chromium.open(page)
    chromium.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert chromium.evaluate("[...document.querySelectorAll('details')].every((one) => one.open)")


def test_words_have_contrast_in_both_themes(chromium, page):
    for theme in ("light", "dark"):
        chromium.open(page, prefers_color_scheme=theme)
        assert chromium.evaluate(CONTRAST) >= 4.5  # WCAG 2.2, AA


#: The least contrast of any text of the page against what is behind it, by WCAG's formula.
CONTRAST = """(() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const words = 'h1,h2,h3,p,li,td,th,dt,dd,a,figcaption,label,button,summary,.value,.light';
  return Math.min(...[...document.querySelectorAll(words)].map((e) => {
    const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
})()"""
