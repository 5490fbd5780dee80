"""The practice archive's files, limits, sessions and log: what a client relies on, and what trips it."""

from __future__ import annotations

import bz2
import hashlib
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from tiny_archive import PROGRAMS, build_tiny_archive

from goafetch.practice.server import Limits, PracticeArchive, User, load_holdings, serve

COOKIE = "gemini_archive_session"
NIGHT = "20170504-20170505"


@pytest.fixture(scope="module")
def archive(tiny_folder: Path) -> Iterator[PracticeArchive]:
    with serve(tiny_folder, token="a token", now=datetime(2026, 11, 22)) as running:
        yield running


def rows(archive: PracticeArchive, words: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{archive.url}/jsonsummary/{words}", timeout=10)
    found: list[dict[str, Any]] = answer.json()
    return found


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def test_the_tutorial_is_found_as_the_published_one(archive: PracticeArchive) -> None:
    assert len(rows(archive, f"GS-2017A-Q-29/{NIGHT}/GSAOI")) == 16
    assert len(rows(archive, f"GSAOI/{NIGHT}")) == 50, "flats and standards belong to shared programs"
    assert [row["name"] for row in rows(archive, "GSAOI/BPM")] == [
        "bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"
    ]
    assert len(rows(archive, "GSAOI/night=20170505")) == 46
    assert len(rows(archive, "GSAOI/20170505")) == 16, "the afternoon's flats have another UTC date"
    assert len(rows(archive, "GS-2017A-Q-29/daycal")) == 16, "an unknown word is dropped"


@pytest.mark.parametrize("name", ["S20170505S0095.fits", "S20170601S0001.fits"])
def test_a_file_has_the_md5_on_record_stored_and_unpacked(archive: PracticeArchive, name: str) -> None:
    [row] = rows(archive, name)
    packed = requests.get(f"{archive.url}/file/{name}.bz2", timeout=10)
    plain = requests.get(f"{archive.url}/file/{name}", timeout=10)
    assert md5(plain.content) == md5(bz2.decompress(packed.content)) == row["data_md5"]
    assert plain.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    if row["compressed"]:
        assert md5(packed.content) == row["file_md5"]
        assert int(packed.headers["Content-Length"]) == row["file_size"]
        assert int(plain.headers["Content-Length"]) == row["data_size"]
    else:
        assert row["file_md5"] == row["data_md5"] and row["filename"] == name


def test_a_range_is_ignored(archive: PracticeArchive) -> None:
    answer = requests.get(
        f"{archive.url}/file/S20170505S0095.fits.bz2", headers={"Range": "bytes=100-199"}, timeout=10
    )
    assert answer.status_code == 200
    assert len(answer.content) == int(answer.headers["Content-Length"])


def test_a_name_in_two_paths_needs_its_path(archive: PracticeArchive) -> None:
    for path, status in (("", 400), ("third/", 400), ("first/", 200), ("second/", 200)):
        answer = requests.get(f"{archive.url}/file/{path}twice_named.fits", timeout=10)
        assert answer.status_code == status
        assert bool(answer.content) is (status == 200)


def test_only_the_present_version_is_served_but_old_ones_are_listed(archive: PracticeArchive) -> None:
    answer = requests.get(f"{archive.url}/jsonfilelist/S20170601S0002", timeout=10)
    assert [(row["present"], row["canonical"]) for row in answer.json()] == [(False, False), (True, True)]
    [row] = rows(archive, "S20170601S0002")
    content = requests.get(f"{archive.url}/file/S20170601S0002.fits.bz2", timeout=10).content
    assert md5(content) == row["file_md5"]


def test_a_stored_file_shorter_than_recorded_ends_early(tmp_path: Path) -> None:
    build_tiny_archive(tmp_path)
    stored = tmp_path / "S20170505S0095.fits.bz2"
    stored.write_bytes(stored.read_bytes()[:-100])
    with (
        serve(tmp_path) as running,
        pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)),
    ):
        requests.get(f"{running.url}/file/{stored.name}", timeout=10)


def test_limits_cut_open_queries_with_a_flag_and_closed_ones_without(tiny_folder: Path) -> None:
    calibrations = "download/associated_calibrations"
    with serve(tiny_folder, limits=Limits(open=5, closed=10)) as running:
        found = rows(running, "GSAOI")
        assert len(found) == 5
        assert [row.get("results_truncated") for row in found] == [None] * 4 + [True]
        found = rows(running, "GS-2017A-Q-29")
        assert len(found) == 10
        assert not any("results_truncated" in row for row in found)
        files = requests.get(f"{running.url}/jsonfilelist/GSAOI", timeout=10).json()
        assert len(files) == 5 and "results_truncated" not in files[-1]
        states = requests.get(f"{running.url}/jsonqastate/GS-2017A-Q-29", timeout=10).json()
        assert len(states) == 16
        answer = requests.get(f"{running.url}/{calibrations}/object=NGC5128", timeout=10)
        assert answer.text.startswith("Your selection criteria does not restrict the number of results")
        answer = requests.get(f"{running.url}/{calibrations}/GS-2017A-Q-29", timeout=10)
        assert answer.status_code == 502


def test_an_open_query_that_fits_is_flagged_all_the_same(archive: PracticeArchive) -> None:
    assert rows(archive, "BPM")[-1]["results_truncated"] is True
    assert rows(archive, "FLAT") == []


def test_rows_come_in_the_order_asked_for(archive: PracticeArchive) -> None:
    names = [row["name"] for row in rows(archive, "GS-2017A-Q-29")]
    assert names == sorted(names)
    found = rows(archive, "GSAOI/science?orderby=ra_desc&orderby=nonsense_asc&orderby=ut_datetime_desc")
    times = [row["ut_datetime"] for row in found]
    assert times == sorted(times, reverse=True)


def test_a_token_opens_what_is_proprietary_and_a_wrong_one_is_anonymous(archive: PracticeArchive) -> None:
    for cookie, status, target in (
        ("a token", 200, "Secret target"),
        ("nonsense", 403, None),
        (None, 403, None),
    ):
        cookies = {COOKIE: f'"{cookie}"'} if cookie else {}
        answer = requests.get(f"{archive.url}/file/S20260410S0004.fits.bz2", cookies=cookies, timeout=10)
        assert answer.status_code == status
        answer = requests.get(f"{archive.url}/jsonsummary/GS-2026A-Q-77", cookies=cookies, timeout=10)
        assert answer.status_code == 200 and answer.json()[3]["object"] == target
        header = requests.get(f"{archive.url}/fullheader/S20260410S0004.fits", cookies=cookies, timeout=10)
        assert header.status_code == status
    assert rows(archive, "GS-2026A-Q-77/object=Secret*")[-1]["name"] == "S20260410S0003.fits"


def test_a_program_s_user_may_have_that_program_only(tiny_folder: Path) -> None:
    user = User("pi", "secret", frozenset({"GS-2026A-Q-78"}))
    with serve(tiny_folder, users=[user], now=datetime(2026, 11, 22)) as running:
        session = requests.Session()
        session.cookies.set(COOKIE, running.token)
        statuses = [
            session.get(f"{running.url}/file/{name}.fits.bz2", timeout=10).status_code
            for name in ("S20260411S0001", "S20260410S0004", "S20260410S0001")
        ]
    assert statuses == [200, 403, 200]


def test_logging_in_gives_a_token_that_dies_at_logout(tiny_folder: Path) -> None:
    with serve(tiny_folder) as running:
        session, url = requests.Session(), f"{running.url}/login/"
        wrong = session.post(url, {"username": "observer", "password": "x"}, timeout=10)
        assert wrong.status_code == 200 and "Log-in did not succeed" in wrong.text
        assert not session.cookies
        assert "Not logged in" in session.get(f"{running.url}/whoami", timeout=10).text
        form = {"username": "observer", "password": "practice"}
        right = session.post(url, form, timeout=10)
        assert "Welcome, you are logged in to the Gemini Archive." in right.text
        assert session.cookies[COOKIE].strip('"') == running.token and len(running.token) == 344
        assert "Username: observer" in session.get(f"{running.url}/whoami", timeout=10).text
        moved = session.post(
            f"{running.url}/login/", {**form, "redirect": "/x"}, allow_redirects=False, timeout=10
        )
        assert moved.status_code == 302 and moved.headers["Location"] == "/x"
        assert (
            session.post(f"{running.url}/login?username=observer&password=practice", timeout=10).status_code
            == 502
        )
        requests.get(f"{running.url}/logout", cookies={COOKIE: running.token}, timeout=10)
        assert "Not logged in" in session.get(f"{running.url}/whoami", timeout=10).text


def test_a_header_is_shown_card_by_card(archive: PracticeArchive) -> None:
    text = requests.get(f"{archive.url}/fullheader/S20170505S0095.fits", timeout=10).text
    assert text.startswith("Filename: S20170505S0095.fits")
    assert [line for line in text.splitlines() if line.startswith("---")] == [
        "--- PHU ---",
        *(f"--- HDU {number} ---" for number in range(4)),
    ]
    assert "ARRAYID = 'H2RG-032-061'" in text


def test_associated_calibrations_are_offered_as_a_page(archive: PracticeArchive) -> None:
    text = requests.get(f"{archive.url}/associated_cals/GS-2017A-Q-29/science", timeout=10).text
    assert text.count('type="checkbox"') == 34
    assert 'value="S20170504S0117.fits.bz2"' in text


def test_the_log_tells_which_files_went_out_whole(tiny_folder: Path) -> None:
    with serve(tiny_folder) as running:
        requests.get(f"{running.url}/file/S20170505S0095.fits.bz2", headers={"User-Agent": "us"}, timeout=10)
        requests.get(f"{running.url}/download/GS-2017A-Q-29/science", cookies={COOKIE: "x"}, timeout=10)
        first, second = running.requests
    assert (first.method, first.path) == ("GET", "/file/S20170505S0095.fits.bz2")
    assert (first.status, first.is_complete, first.user_agent, first.has_cookie) == (200, True, "us", False)
    assert first.files == ["S20170505S0095.fits.bz2"]
    assert second.has_cookie and len(second.files) == 16


def test_the_archive_stops_and_frees_its_port(tiny_folder: Path) -> None:
    running = serve(tiny_folder)
    port = int(running.url.rpartition(":")[2])
    running.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_several_folders_make_one_archive(tmp_path: Path) -> None:
    for name in ("tutorial", "odd"):
        build_tiny_archive(tmp_path / name, (name,))
    expected = len(PROGRAMS["tutorial"]()) + len(PROGRAMS["odd"]())
    assert len(load_holdings(tmp_path)) == expected
    with serve([tmp_path / "tutorial", tmp_path / "odd"]) as running:
        assert len(running.holdings) == expected
    build_tiny_archive(tmp_path / "again", ("tutorial",))
    with serve([tmp_path / "tutorial", tmp_path / "again"]) as running:
        assert len(running.holdings) == len(PROGRAMS["tutorial"]()), "what programs share is held once"
    with pytest.raises(FileNotFoundError):
        serve(tmp_path / "nowhere")


def test_astroquery_can_be_pointed_at_the_practice_archive(archive: PracticeArchive) -> None:
    from astroquery.gemini.core import ObservationsClass
    from astroquery.gemini.urlhelper import URLHelper

    observations = ObservationsClass()
    observations.url_helper = URLHelper(archive.url)
    table = observations.query_criteria(
        program_id="GS-2017A-Q-29",
        utc_date=(datetime(2017, 5, 4), datetime(2017, 5, 5)),
        observation_class="science",
        instrument="GSAOI",
    )
    assert (len(table), len(table.columns)) == (16, 63)
    assert table["exposure_time"][0] == "60.0"


@pytest.mark.parametrize(
    ("kind", "label"), [("archive", "Username"), ("orcid", "ORCID iD"), ("noirlab", "NOIRlab ID")]
)
def test_the_page_of_the_user_names_each_kind_of_account(tiny_folder: Path, kind: str, label: str) -> None:
    user = User("0000-0002-1825-0097", "", kind=kind)
    with serve(tiny_folder, users=[user], token="token") as running:
        page = requests.get(f"{running.url}/whoami", cookies={COOKIE: "token"}, timeout=10).text
        assert f"{label}: 0000-0002-1825-0097<" in page
        assert ("Username: <" in page) is (kind != "archive")
        assert "Not logged in" in requests.get(f"{running.url}/whoami", timeout=10).text


def test_a_file_without_a_date_of_release_is_not_released(tmp_path: Path) -> None:
    build_tiny_archive(tmp_path)
    with serve(tmp_path) as running:
        running.holdings[0].row["release"] = None
        name = running.holdings[0].stored_name
        assert requests.get(f"{running.url}/file/{name}", timeout=10).status_code == 403


def test_the_states_list_heeds_neither_qa_nor_engineering_words(archive: PracticeArchive) -> None:
    path = f"{archive.url}/jsonqastate/GS-2017A-Q-30/NotFail/notengineering"
    found = requests.get(path, timeout=10).json()
    assert {"S20170601S0003.fits.bz2", "S20170601S0006.fits.bz2"} <= {row["filename"] for row in found}
    assert len(rows(archive, "GS-2017A-Q-30/NotFail/notengineering")) == len(found) - 2
