"""The result as a table: astroquery.gemini's columns and values, with true types."""

from __future__ import annotations

import numpy as np
import pytest

from goafetch.archive.client import ArchiveClient
from goafetch.archive.query import Criteria
from goafetch.archive.records import COLUMNS
from goafetch.archive.search import search
from goafetch.practice.server import PracticeArchive


@pytest.fixture
def theirs(archive: PracticeArchive):
    core = pytest.importorskip("astroquery.gemini.core")
    from astroquery.gemini.urlhelper import URLHelper

    service = core.ObservationsClass()
    service.url_helper = URLHelper(archive.url)
    days = (np.datetime64("2017-05-04").item(), np.datetime64("2017-05-05").item())
    table = service.query_criteria(program_id="GS-2017A-Q-29", utc_date=days, instrument="GSAOI")
    table.sort("name")
    return table


def test_columns_and_values_agree_with_astroquery(theirs, client: ArchiveClient) -> None:
    ours = search(client, Criteria(program="GS-2017A-Q-29", date="20170504-20170505")).to_table()
    assert ours.colnames == theirs.colnames == list(COLUMNS)
    assert len(ours) == len(theirs) == 16
    for name in COLUMNS:
        for mine, other in zip(ours[name], theirs[name], strict=True):
            assert _as_text(name, mine) == _as_text(name, other), name


def test_types_are_true(client: ArchiveClient) -> None:
    table = search(client, Criteria(program="GS-2017A-Q-29")).to_table()
    kinds = {name: table[name].dtype.kind for name in COLUMNS}
    assert kinds["exposure_time"] == kinds["ra"] == "f"
    assert kinds["file_size"] == kinds["raw_iq"] == "i"
    assert kinds["compressed"] == kinds["adaptive_optics"] == "b"
    assert kinds["ut_datetime"] == kinds["release"] == "M"
    assert kinds["name"] == "U"
    assert table["disperser"].mask.all() and not table["ra"].mask.any()
    assert str(table["exposure_time"].unit) == "s"


def test_an_empty_result_is_an_empty_table(client: ArchiveClient) -> None:
    assert search(client, Criteria(program="GS-2017A-Q-29", filter="H")).to_table().colnames == list(COLUMNS)


def _as_text(name: str, value: object) -> str:
    """One spelling for both: astroquery has text only, and a set's words come in any order."""
    if np.ma.is_masked(value):
        return "--"
    text = str(value)
    if name == "types":
        return " ".join(sorted(text.strip("{}").replace("'", "").replace(",", "").split()))
    if isinstance(value, np.datetime64):
        text = text.replace("T", " ")
    if name in ("lastmod", "ut_datetime"):
        return text.removesuffix("+00:00").removesuffix(".000000")
    return text
