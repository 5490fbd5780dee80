"""The expression language: what the tutorial writes, a plain model of it, and what it must refuse."""

from __future__ import annotations

import datetime as dt
import operator
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from reducer.fitsio import read_headers
from reducer.headers.descriptors import Descriptors, describe
from reducer.select import NAMES, BadExpression, expr_parser, select_data

SCIENCE = {
    "INSTRUME": "GSAOI",
    "OBSERVAT": "Gemini-South",
    "OBJECT": "NGC5128",
    "OBSCLASS": "science",
    "FILTER1": "Kshort_G1105",
    "FILTER2": "Clear",
    "EXPTIME": 60.0,
    "COADDS": 1,
    "AOFOLD": "IN",
    "DATE-OBS": "2017-05-05",
    "UT": "01:20:30.4",
    "AIRMASS": 1.25,
    "OBSTYPE": "OBJECT",
    "LNRS": 2,
}


def frame(**changes: Any) -> Descriptors:
    header = fits.Header()
    header.update(SCIENCE | changes)
    chips = []
    for array in ("H2RG-032-074", "H2RG-032-064"):
        chip = fits.Header()
        chip["ARRAYID"] = array
        chips.append(chip)
    return describe(header, chips, "S20170505S0095.fits")


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("filter_name=='Kshort'", True),
        ('(filter_name=="Kshort")', True),
        ('observation_class=="science"', True),
        ('(observation_class=="science" and exposure_time==60.)', True),
        ('object=="9132"', False),
        ("object == 'NGC5128' and not observation_class=='partnerCal'", True),
        ('observation_class=="partnerCal" or object=="NGC5128"', True),
        ("True", True),
        ("not True or False", False),
        ("exposure_time==60.5", True),
        ("exposure_time==61", False),
        ("exposure_time!=60.5", True),
        ("exposure_time!=60", False),
        ('"GSAOI" in ad.tags', True),
        ('"FLAT" in ad.tags or "raw" in tags', True),
        ('"FLAT" not in ad.tags and ad.exposure_time==60', True),
        ('not "GSAOI" in ad.tags', False),
        ("30 < exposure_time <= 60", True),
        ("60 > exposure_time", False),
        ('filter_name=="Kshort_G1105"', True),
        ('filter_name=="Kshort&Clear"', True),
        ('filter_name=="Kshort_G1105&Clear"', True),
        ('filter_name!="J"', True),
        ("is_ao", True),
        ("is_ao==False", False),
        ("not is_coadds_summed and coadds == 1", True),
        ('ut_date=="2017-05-05"', True),
        ('ut_time>="01:20:30" and ut_time<"1:21:0"', True),
        ('ut_time=="01:20:30"', True),
        ('ut_datetime>"2017-05-05 01:00:00"', True),
        ('ut_datetime<"2017-05-05T01:00:00"', False),
        ('ut_datetime>="2017-05-05"', True),
        ("airmass<1.3", True),
        ("ra==None", True),
        ("ra>10", False),
        ("gain>2", True),
        ("gain>2.2", False),
        ('filename=="S20170505S0095.fits"', True),
        ('read_speed_setting=="Bright Objects"', True),
        ("exposure_time=='60'", True),
        ("not(not(exposure_time>50))", True),
    ],
)
def test_expressions_as_people_write_them(expression: str, holds: bool) -> None:
    assert expr_parser(expression).holds(frame()) is holds


def test_a_number_finds_an_object_whose_name_is_that_number() -> None:
    assert expr_parser("object==9132").holds(frame(OBJECT="9132"))


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("exposure_time==60.5", False),
        ("exposure_time==60", True),
        ('filter_name=="Kshort"', False),
        ('filter_name=="Kshort_G1105&Clear"', True),
        ('ut_time=="01:20:30"', False),
        ('ut_time=="01:20:30.4"', True),
    ],
)
def test_strict_comparisons_are_exact(expression: str, holds: bool) -> None:
    assert expr_parser(expression, strict=True).holds(frame()) is holds


@pytest.mark.parametrize(
    ("expression", "mark_at", "words"),
    [
        ("filter_name='Kshort'", 11, "write =="),
        ("filtername=='Kshort'", 0, "did you mean filter_name"),
        ("object=='NGC", 8, "not closed"),
        ('object=="NGC5128', 8, "not closed"),
        ("(airmass>1", 10, "missing )"),
        ("airmass>1)", 9, "nothing can follow"),
        ("airmass>", 8, "the end where"),
        ("filter_name==Kshort", 13, 'quotes: filter_name=="Kshort"'),
        ("airmass>1 && coadds==1", 10, "write and, or"),
        ("ut_time=='noon'", 9, "write it as"),
        ("ut_date=='2017-13-45'", 9, "write it as"),
        ("1==1", 0, "name a descriptor"),
        ("'science'", 0, "compare it"),
        ("airmass>1 coadds==1", 10, "join two conditions"),
        ("filter_name()=='Kshort'", 0, "without parentheses"),
        ("!is_ao", 0, "or not"),
        ("", 0, "the end where"),
    ],
)
def test_a_mistake_is_marked_and_the_remedy_named(expression: str, mark_at: int, words: str) -> None:
    with pytest.raises(BadExpression) as caught:
        expr_parser(expression)
    lines = caught.value.found.splitlines()
    assert lines[2].index("^") - 2 == mark_at
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


HOSTILE = [
    "__import__('os').system('true')",
    "().__class__",
    "ad.phu",
    "ad.filter_name()",
    "exec('1')",
    "eval('1')",
    "open('/etc/passwd')",
    "lambda: 1",
    "[x for x in ()]",
    "{}",
    "airmass.__class__",
    "object.__init__",
    "__builtins__",
    "globals()",
    "airmass; airmass>1",
    "airmass>1\nimport os",
    "import os",
    "f'{1}'",
    "1 if 1 else 2",
    "airmass if True else 1",
    "airmass == airmass",
    "getattr(airmass,'x')",
    "`ls`",
    "$(ls)",
    "airmass>1 # comment",
    "airmass := 1",
    "airmass = 1",
    "airmass += 1",
    "airmass << 1",
    "airmass ** 2",
    "airmass + 1 > 2",
    "-airmass > 1",
    "~airmass",
    "airmass % 2 == 0",
    "airmass in (1,2)",
    "airmass is None",
    "object == 'a' 'b'",
    "object == '''a'''",
    "object == b'a'",
    "object == r'a'",
    "object['x']",
    "object[0]",
    "tags",
    "holds",
    "primary",
    "chips",
    "_wheels",
    "__doc__",
    "filename.suffix",
    "\\x41",
    "airmass>1\x00",
    "0x10 < coadds",
    "1_000 > coadds",
    "coadds == 1j",
    "not",
    "and",
    "or or or",
    "()",
    "((",
    "))",
    "airmass ==",
    "== 1",
    "<",
    "\u2028",
    "名前==1",
    "airmass＝1",
    "(" * 5000 + "is_ao" + ")" * 5000,
    "not " * 5000 + "is_ao",
    "a" * 20_000,
    "1e" + "9" * 9_000,
    "'" * 9_999,
]


@pytest.mark.parametrize("expression", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_expressions_are_refused(expression: str) -> None:
    with pytest.raises(BadExpression):
        expr_parser(expression)


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_parsed_or_refused_and_nothing_else(text: str) -> None:
    try:
        tree = expr_parser(text)
    except BadExpression:
        return
    assert tree.holds(frame()) in (True, False)


FACTS = {
    "exposure_time": 60.0,
    "coadds": 3,
    "airmass": 1.25,
    "object": "NGC5128",
    "observation_class": "science",
}
SIGNS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[str, bool]:
    name = draw(st.sampled_from(sorted(FACTS)))
    sign = draw(st.sampled_from(sorted(SIGNS)))
    if isinstance(FACTS[name], str):
        value: Any = draw(st.sampled_from(["NGC5128", "science", "A", "z z"]))
    else:
        value = draw(st.sampled_from([0, 1, 3, 1.25, 60, 60.0, 99.5, -4]))
    space = draw(st.sampled_from(["", " "]))
    return f"{name}{space}{sign}{space}{value!r}", SIGNS[sign](FACTS[name], value)


def _negated(pair: tuple[str, bool]) -> tuple[str, bool]:
    return f"not ({pair[0]})", not pair[1]


def _joined(pairs: tuple[tuple[str, bool], str, tuple[str, bool]]) -> tuple[str, bool]:
    left, word, right = pairs
    value = (left[1] and right[1]) if word == "and" else (left[1] or right[1])
    return f"({left[0]}) {word} ({right[0]})", value


EXPRESSIONS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map(_negated), st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(_joined)
    ),
    max_leaves=12,
)


@given(EXPRESSIONS)
@settings(max_examples=300, deadline=None)
def test_expressions_mean_what_they_mean_in_python(pair: tuple[str, bool]) -> None:
    text, value = pair
    assert expr_parser(text, strict=True).holds(frame(COADDS=3)) is value


@given(st.lists(st.sampled_from(["is_ao", "not is_ao", "coadds==1", "coadds==2", "and", "or"]), max_size=9))
@settings(max_examples=300, deadline=None)
def test_precedence_is_pythons(words: list[str]) -> None:
    text = " ".join(words)
    model = text.replace("is_ao", "True").replace("coadds", "1")
    try:
        expected = bool(eval(model)) if words else None
    except SyntaxError:
        expected = None
    if expected is None:
        with pytest.raises(BadExpression):
            expr_parser(text)
    else:
        assert expr_parser(text).holds(frame()) is expected


def write(path: Path, **changes: Any) -> Path:
    header = fits.Header()
    header.update(SCIENCE | changes)
    fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU()]).writeto(path)
    return path


def test_files_are_selected_by_tags_and_expression_and_come_back_as_they_went_in(tmp_path: Path) -> None:
    science = write(tmp_path / "science.fits")
    flat = write(tmp_path / "flat.fits", OBJECT="Domeflat", OBSCLASS="dayCal", EXPTIME=15.0)
    off = write(tmp_path / "off.fits", OBJECT="Domeflat OFF", OBSCLASS="dayCal", EXPTIME=15.0)
    files = [str(path) for path in (science, flat, off)]
    assert select_data(files, ["FLAT"]) == files[1:]
    assert select_data(files, ["FLAT"], ["LAMPOFF"]) == files[1:2]
    assert select_data(files, [], [], expr_parser("exposure_time==60")) == files[:1]
    assert select_data([science, flat], expression='object=="NGC5128"') == [science]
    assert select_data(files) == files


def test_every_name_of_the_language_can_be_asked_of_any_frame() -> None:
    for name in NAMES:
        assert expr_parser(f"{name}==None or {name}!=None").holds(frame())


def test_dates_are_compared_as_dates() -> None:
    tree = expr_parser('ut_date<"2017-05-10"')
    assert tree.holds(frame())
    assert getattr(tree, "value") == dt.date(2017, 5, 10)  # noqa: B009


@pytest.mark.prove
def test_a_thousand_files_are_looked_through_in_less_than_three_times_their_reading(tmp_path: Path) -> None:
    whole = fits.Header()
    whole.update(SCIENCE | {f"KEY{i:04}": i * 1.5 for i in range(200)})
    units = [fits.PrimaryHDU(header=whole), *(fits.ImageHDU(np.zeros((64, 64))) for _ in range(4))]
    first = tmp_path / "0000.fits"
    fits.HDUList(units).writeto(first)
    content = first.read_bytes()
    for number in range(1, 1000):
        (tmp_path / f"{number:04}.fits").write_bytes(content)
    start = time.process_time()
    for path in tmp_path.glob("*.fits"):
        read_headers(path)
    middle = time.process_time()
    found = select_data(sorted(tmp_path.glob("*.fits")), [], [], 'filter_name=="Kshort"')
    assert len(found) == 1000
    assert time.process_time() - middle < 3 * (middle - start)
