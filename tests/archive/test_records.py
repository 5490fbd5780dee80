"""Rows become typed records and a table like astroquery's; what no honest row holds is refused."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest

from goafetch.archive.client import ArchiveClient
from goafetch.archive.cone import Cone
from goafetch.archive.query import Criteria, build_query
from goafetch.archive.records import COLUMNS, Record, is_sought, mismatch, read_record
from goafetch.archive.search import search_archive
from goafetch.errors import BadAnswer
from goafetch.practice.server import PracticeArchive


@pytest.fixture
def row(tiny_folder: Path) -> dict[str, object]:
    rows = json.loads((tiny_folder / "holdings.json").read_text())
    return next(dict(row) for row in rows if row["name"] == "S20170505S0095.fits")


@pytest.fixture
def record(row: dict[str, object]) -> Record:
    return read_record(row)


def test_types_are_true(record: Record) -> None:
    assert record.ut_datetime == datetime(2017, 5, 5, 3, 40)
    assert record.release == date(2017, 11, 5)
    assert record.exposure_time == 60.0 and isinstance(record.file_size, int)
    assert record.compressed is True and record.disperser is None
    assert {"GSAOI", "RAW", "SOUTH"} <= (record.types or set())
    assert record.remote == "S20170505S0095.fits.bz2" and record.night == date(2017, 5, 5)


def test_times_with_a_zone_become_utc(row: dict[str, object]) -> None:
    row["lastmod"] = "2026-11-22 10:10:41.146437-03:00"
    assert read_record(row).lastmod == datetime(2026, 11, 22, 13, 10, 41, 146437)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../S20170505S0095.fits"),
        ("name", "/etc/passwd"),
        ("name", ".hidden.fits"),
        ("name", "S20170505S0095.exe"),
        ("name", "a\nb.fits"),
        ("name", None),
        ("filename", "S20170505S0096.fits.bz2"),
        ("path", "../../somewhere"),
        ("path", "a/../../b"),
        ("file_size", -1),
        ("file_size", 10**13),
        ("file_size", "5351"),
        ("file_size", float("inf")),
        ("file_size", float("nan")),
        ("ut_datetime", "0001-01-01T00:00:00+14:00"),
        ("file_md5", "not an md5"),
        ("file_md5", None),
        ("ut_datetime", "yesterday"),
        ("exposure_time", "60.0"),
        ("present", "True"),
    ],
)
def test_impossible_rows_are_refused(row: dict[str, object], key: str, value: object) -> None:
    row[key] = value
    with pytest.raises(BadAnswer):
        read_record(row)


def test_what_nothing_depends_on_may_be_unreadable(row: dict[str, object]) -> None:
    row.update(types="__import__('os')", raw_iq="Any", airmass="low")
    found = read_record(row)
    assert found.types is None and found.raw_iq is None and found.airmass is None


def test_numbers_that_are_none_are_unknown(row: dict[str, object]) -> None:
    row.update(ra=float("nan"), airmass=float("-inf"), raw_iq=float("inf"), types="{" * 2000)
    found = read_record(row)
    assert (found.ra, found.airmass, found.raw_iq, found.types) == (None, None, None, None)


def test_what_is_hidden_is_none(row: dict[str, object]) -> None:
    row.update(dict.fromkeys(("ra", "dec", "azimuth", "elevation", "airmass", "object", "cass_rotator_pa")))
    found = read_record(row)
    assert found.object is None and found.ra is None


def test_proprietary_until_its_release(record: Record) -> None:
    assert record.proprietary(date(2017, 11, 4))
    assert not record.proprietary(date(2017, 11, 5))


def test_without_a_date_of_release_a_file_is_not_released(row: dict[str, object]) -> None:
    row["release"] = None
    assert read_record(row).proprietary()
    row["engineering"] = True
    assert not read_record(row).proprietary()


def test_a_row_of_older_software_is_kept(row: dict[str, object]) -> None:
    """It says nothing of versions, and writes tags as a list: that is not known, which is not no."""
    del row["present"], row["canonical"]
    row["types"] = "['GEMINI', 'SIDEREAL', 'GSAOI']"
    found = read_record(row)
    assert (found.present, found.canonical) == (None, None)
    assert found.types == {"GEMINI", "SIDEREAL", "GSAOI"}
    assert mismatch(found, build_query(Criteria(program="GS-2017A-Q-29"))) is None
    row["present"] = False
    assert mismatch(read_record(row), build_query(Criteria(program="GS-2017A-Q-29"))) is not None


@pytest.mark.parametrize(
    "criteria",
    [
        {"program": "GS-2017A-Q-28"},
        {"program": "GS-2017A-Q-29-31"},
        {"program": "GS-2017A-Q-29-32-002"},
        {"date": "20170504"},
        {"night": "20170504"},
        {"observation_class": "dayCal"},
        {"observation_type": "DARK"},
        {"object": "NGC5129"},
        {"filter": "H"},
        {"instrument": "NIRI"},
        {"qa": "Usable"},
        {"qa": "Fail"},
        {"near": Cone(201.0, -43.0, 0.01)},
        {"filename": "S20170505S0096.fits"},
    ],
)
def test_a_row_that_was_not_asked_for_is_noticed(record: Record, criteria: dict[str, object]) -> None:
    assert mismatch(record, build_query(Criteria(**criteria))) is not None


def test_a_row_that_was_asked_for_passes(record: Record) -> None:
    everything = Criteria(
        program="GS-2017A-Q-29",
        date="20170505",
        observation_class="science",
        observation_type="OBJECT",
        object="ngc*",
        filter="Kshort",
        qa="Win",
    )
    assert mismatch(record, build_query(everything)) is None


def test_the_archives_looser_comparison_is_sifted_not_blamed(record: Record) -> None:
    query = build_query(Criteria(object="NGC51_8"))
    assert mismatch(record, query) is None and not is_sought(record, query)


def test_a_box_is_cut_to_the_circle(record: Record) -> None:
    assert record.ra is not None and record.dec is not None
    corner = build_query(Criteria(near=Cone(record.ra - 0.009 / 0.731, record.dec - 0.009, 0.01)))
    assert mismatch(record, corner) is None and not is_sought(record, corner)


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
    ours = search_archive(client, Criteria(program="GS-2017A-Q-29", date="20170504-20170505")).to_table()
    assert ours.colnames == theirs.colnames == list(COLUMNS)
    assert len(ours) == len(theirs) == 16
    for name in COLUMNS:
        for mine, other in zip(ours[name], theirs[name], strict=True):
            assert _as_text(name, mine) == _as_text(name, other), name


def test_types_of_columns_are_true(client: ArchiveClient) -> None:
    table = search_archive(client, Criteria(program="GS-2017A-Q-29")).to_table()
    kinds = {name: table[name].dtype.kind for name in COLUMNS}
    assert kinds["exposure_time"] == kinds["ra"] == "f"
    assert kinds["file_size"] == kinds["raw_iq"] == "i"
    assert kinds["compressed"] == kinds["adaptive_optics"] == "b"
    assert kinds["ut_datetime"] == kinds["release"] == "M"
    assert kinds["name"] == "U"
    assert table["disperser"].mask.all() and not table["ra"].mask.any()
    assert str(table["exposure_time"].unit) == "s"


def test_an_empty_result_is_an_empty_table(client: ArchiveClient) -> None:
    assert search_archive(client, Criteria(program="GS-2017A-Q-29", filter="H")).to_table().colnames == list(
        COLUMNS
    )


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
