"""Replays requests whose answers by the archive's own software are known, and compares their outside.

Each line of ANSWERS states what was observed (August 2026, FitsStorage in archive mode): status and reason,
Content-Type, whether a length is announced, whether cache headers are sent. What differs on purpose is listed
in docs/practice-archive.md.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from goafetch.practice.server import PracticeArchive, serve

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FORBIDDEN = "Access Forbidden for This Resource"
NOT_ALLOWED = "The Method Used to Access This Resource Is Not Allowed"
TAR = "application/tar"
NOT_ACCEPTABLE = "The Returned Content Is Not Acceptable for the Client"
PROGRAM = "GS-2017A-Q-29"

# request, status, reason, content type, has a length, has cache headers
ANSWERS = [
    ("GET /jsonsummary/canonical/S20170505S0095.fits", 200, "OK", "application/json", False, True),
    ("GET /jsonsummary/canonical/GS-2017A-Q-9999", 200, "OK", "application/json", False, True),
    ("GET /jsonsummary/canonical/date=2017notadate/GSAOI", 502, "Bad Gateway", "text/html", True, False),
    ("GET /jsonfilelist/S20170505S0095", 200, "OK", "application/json", False, True),
    ("GET /jsonqastate/GS-2017A-Q-29/science", 200, "OK", "application/json", False, True),
    ("POST /jsonsummary/GS-2017A-Q-29-32-001", 200, "OK", "application/json", False, True),
    ("HEAD /jsonsummary/GS-2017A-Q-29", 200, "OK", "application/json", False, True),
    ("GET /jsonsummary/GS-2026A-Q-77", 200, "OK", "application/json", False, True),
    ("GET /jsoncalmgr/domeflat/S20170505S0095.fits", 200, "OK", "text/plain", False, True),
    ("GET /jsoncalmgr/arc/S20170505S0095.fits", 200, "OK", "text/plain", False, True),
    ("GET /jsoncalmgr/domeflat/S19990101S0001.fits", 406, NOT_ACCEPTABLE, "text/plain", False, False),
    ("GET /jsoncalmgr/GSAOI", 406, NOT_ACCEPTABLE, "text/plain", False, False),
    ("POST /jsoncalmgr", 405, NOT_ALLOWED, "text/plain", False, False),
    ("GET /associated_calibrations/GS-2017A-Q-29", 404, "Not Found", "text/html", False, False),
    ("GET /searchform/science/GSAOI/GS-2017A-Q-29", 302, "Found", "text/html", False, False),
    ("GET /file/S20170505S0095.fits", 200, "OK", "application/fits", True, True),
    ("GET /file/S20170505S0095.fits.bz2", 200, "OK", "application/fits", True, True),
    ("HEAD /file/S20170505S0095.fits.bz2", 200, "OK", "application/fits", True, True),
    ("POST /file/S20170505S0095.fits.bz2", 200, "OK", "application/fits", True, True),
    ("GET /file/S20170505S0095", 404, "Not Found", "text/plain", False, True),
    ("GET /file/S19990101S0001.fits", 404, "Not Found", "text/plain", False, True),
    ("GET /file/S20170601S0001.fits", 200, "OK", "application/fits", False, True),
    ("GET /file/S20170601S0001.fits.bz2", 200, "OK", "application/fits", False, True),
    ("GET /file/S20260411S0001.fits", 403, FORBIDDEN, "text/html", False, False),
    ("GET /file/", 200, "OK", "text/plain", False, True),
    (
        "GET /download/GS-2017A-Q-29/science/20170505-20170506/GSAOI",
        200,
        "OK",
        "application/tar",
        False,
        True,
    ),
    ("GET /download/GS-2026A-Q-77", 200, "OK", TAR, False, True),
    ("GET /download/GS-2026A-Q-78", 200, "OK", TAR, False, True),
    ("GET /download/GS-2017A-Q-9999", 200, "OK", "text/plain", False, True),
    (
        "GET /download/associated_calibrations/GS-2017A-Q-29/science",
        200,
        "OK",
        "application/tar",
        False,
        True,
    ),
    ("GET /download/daterange=foo-bar", 502, "Bad Gateway", "text/html", True, False),
    ("HEAD /download/GS-2017A-Q-29", 200, "OK", TAR, False, True),
    ("PUT /download/GS-2017A-Q-29", 405, NOT_ALLOWED, "text/html", False, False),
    ("POST /download/GS-2017A-Q-29", 405, NOT_ALLOWED, "text/html", False, False),
    ("POST /download/", 200, "OK", "text/plain", False, True),
    ("GET /nonesuch", 404, "Not Found", "text/html", False, False),
    ("GET /fullheader/S20260410S0004.fits", 403, FORBIDDEN, "text/html", False, False),
    ("GET /fullheader/S19990101S0001.fits", 404, "Not Found", "text/html", False, False),
]
SUMMARY_KEYS = re.findall(
    r"\w+",
    """
    name filename path compressed file_size data_size file_md5 data_md5 lastmod mdready entrytime present
    canonical size md5 pending_ingest program_id engineering science_verification processing
    calibration_program observation_id data_label telescope instrument ut_datetime local_time
    observation_type observation_class object ra dec azimuth elevation cass_rotator_pa airmass filter_name
    exposure_time disperser camera central_wavelength wavelength_band focal_plane_mask detector_binning
    detector_gain_setting detector_roi_setting detector_readspeed_setting detector_welldepth_setting
    detector_readmode_setting spectroscopy mode adaptive_optics laser_guide_star wavefront_sensor gcal_lamp
    raw_iq raw_cc raw_wv raw_bg requested_iq requested_cc requested_wv requested_bg qa_state release
    reduction types phot_standard
    """,
)
TYPES = {
    **dict.fromkeys(("compressed", "mdready", "present", "canonical", "pending_ingest", "engineering"), bool),
    **dict.fromkeys(("spectroscopy", "adaptive_optics", "laser_guide_star", "calibration_program"), bool),
    **dict.fromkeys(("file_size", "data_size", "size", "raw_iq", "raw_cc", "raw_wv", "requested_iq"), int),
    **dict.fromkeys(("ra", "dec", "azimuth", "elevation", "cass_rotator_pa", "airmass"), float),
    "exposure_time": float,
}
PATTERNS = {
    "lastmod": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00:00",
    "ut_datetime": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?",
    "local_time": r"\d\d:\d\d:\d\d(\.\d+)?",
    "release": r"\d{4}-\d\d-\d\d",
    "types": r"\{'.*'\}",
    "file_md5": r"[0-9a-f]{32}",
}


@pytest.fixture(scope="module")
def archive(tiny_folder: Path) -> Iterator[PracticeArchive]:
    with serve(tiny_folder) as running:
        yield running


def ask(
    archive: PracticeArchive, request: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    method, path = request.split(" ", 1)
    connection = http.client.HTTPConnection(archive.url.removeprefix("http://"), timeout=10)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def open_tar(content: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(content))


def members(content: bytes) -> list[str]:
    return open_tar(content).getnames()


@pytest.mark.parametrize(("request_line", "status", "reason", "kind", "has_length", "has_cache"), ANSWERS)
def test_the_outside_of_an_answer_is_the_archives(
    archive: PracticeArchive,
    request_line: str,
    status: int,
    reason: str,
    kind: str,
    has_length: bool,
    has_cache: bool,
) -> None:
    response, _ = ask(archive, request_line)
    assert (response.status, response.reason) == (status, reason)
    assert response.headers["Content-Type"] == kind
    assert ("Content-Length" in response.headers) is has_length
    is_chunked = not has_length and not request_line.startswith("HEAD")
    assert (response.headers.get("Transfer-Encoding") == "chunked") is is_chunked
    assert (response.headers.get("Expired") == "-1") is has_cache
    assert (response.headers.get("Cache-Control") == "no-cache") is has_cache


def test_a_record_has_the_archives_keys_types_and_forms(archive: PracticeArchive) -> None:
    _, content = ask(archive, "GET /jsonsummary/canonical/S20170505S0095.fits")
    assert content.startswith(b'[\n    {\n        "name": "S20170505S0095.fits",')
    [row] = json.loads(content)
    assert list(row) == SUMMARY_KEYS
    for key, kind in TYPES.items():
        assert type(row[key]) is kind, key
    for key, pattern in PATTERNS.items():
        assert re.fullmatch(pattern, row[key]), key


def test_the_other_lists_have_the_archives_keys(archive: PracticeArchive) -> None:
    def rows(feature: str) -> list[dict[str, Any]]:
        loaded: list[dict[str, Any]] = json.loads(ask(archive, f"GET /{feature}/{PROGRAM}/science")[1])
        return loaded

    assert list(rows("jsonfilelist")[0]) == SUMMARY_KEYS[:16]
    assert list(rows("jsonfilenames")[0]) == ["name"]
    states = rows("jsonqastate")
    assert list(states[0]) == ["data_label", "filename", "data_md5", "entrytime", "qa_state"]
    assert len(states) == len(rows("jsonfilelist")) == 16


def test_a_proprietary_header_hides_seven_values(archive: PracticeArchive) -> None:
    rows = json.loads(ask(archive, "GET /jsonsummary/GS-2026A-Q-77")[1])
    hidden = {key for key, value in rows[3].items() if value is None} - {
        key for key, value in rows[0].items() if value is None
    }
    assert hidden == {"ra", "dec", "azimuth", "elevation", "airmass", "object", "cass_rotator_pa"}
    assert [row["object"] for row in rows[:3]] == ["Secret target"] * 3


def test_a_tar_has_the_files_then_the_sums_then_the_readme(archive: PracticeArchive) -> None:
    response, content = ask(archive, f"GET /download/{PROGRAM}/science/20170505-20170506/GSAOI")
    name = "gemini_data.GS-2017A-Q-29_GSAOI_20170505-20170506.tar"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    expected = [f"S20170505S{number:04d}.fits.bz2" for number in range(95, 111)]
    assert members(content) == [*expected, "md5sums.txt", "README.txt"]
    assert len(content) % 10240 == 0
    tar = open_tar(content)
    infos = tar.getmembers()
    assert (infos[0].uname, infos[-1].uname) == ("root", "gemini")
    assert "mtime" in infos[0].pax_headers
    readme = tar.extractfile("README.txt")
    assert readme is not None
    text = readme.read().decode()
    assert "criteria was: /daterange=20170505-20170506/GSAOI/science/present/GS-2017A-Q-29\n" in text
    assert "archive user: Not Logged In\n" in text


def test_withheld_files_are_named_in_the_readme_only(archive: PracticeArchive) -> None:
    _, content = ask(archive, "GET /download/GS-2026A-Q-77")
    assert members(content) == [
        "S20260410S0001.fits.bz2",
        "S20260410S0002.fits.bz2",
        "md5sums.txt",
        "README.txt",
    ]
    assert content.rstrip(b"\0").endswith(
        b"because they are proprietary data that you do not have access to:\n"
        b"S20260410S0003.fits.bz2\nS20260410S0004.fits.bz2\n"
    )
    _, content = ask(archive, "GET /download/GS-2026A-Q-78")
    assert members(content) == ["md5sums.txt", "README.txt"]
    assert open_tar(content).getmember("md5sums.txt").size == 0


def test_a_posted_list_names_files_as_stored(archive: PracticeArchive) -> None:
    body = "files=S20170505S0095.fits.bz2&files=S20170505S0096.fits.bz2&files=S20260411S0001.fits.bz2"
    response, content = ask(archive, "POST /download/", body, FORM)
    assert response.headers["Content-Disposition"] == 'attachment; filename="gemini_data.tar"'
    assert members(content)[:2] == ["S20170505S0095.fits.bz2", "S20170505S0096.fits.bz2"]
    assert (
        b"was: /['S20170505S0095.fits.bz2', 'S20170505S0096.fits.bz2', 'S20260411S0001.fits.bz2']/present"
        in content
    )
    response, content = ask(archive, "POST /download", "files=S20170505S0095.fits", FORM)
    assert response.headers["Content-Type"] == "text/plain"
    assert content.startswith(b"No files to download.")


def test_a_multipart_form_is_understood_too(archive: PracticeArchive) -> None:
    mark = "xxBOUNDARYxx"
    part = f'--{mark}\r\nContent-Disposition: form-data; name="files"\r\n\r\nS20170505S0095.fits.bz2\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    _, content = ask(archive, "POST /download/", f"{part}--{mark}--\r\n", headers)
    assert members(content)[0] == "S20170505S0095.fits.bz2"


def test_associated_calibrations_come_by_type_and_nearest_first(archive: PracticeArchive) -> None:
    response, content = ask(archive, f"GET /download/associated_calibrations/{PROGRAM}/science/GSAOI")
    assert response.headers["Content-Disposition"].endswith('"gemini_calibs.GS-2017A-Q-29_GSAOI.tar"')
    lamp_on, lamp_off = (
        [f"S20170505S{number:04d}.fits.bz2" for number in range(last, last - 15, -1)] for last in (44, 74)
    )
    standards = [f"S20170504S{number:04d}.fits.bz2" for number in range(117, 113, -1)]
    assert members(content) == [*lamp_on, *lamp_off, *standards, "md5sums.txt", "README.txt"]
    assert b"only contains the calibration files" in content


def test_the_calibration_manager_names_calibrations_with_stored_md5(archive: PracticeArchive) -> None:
    [entry] = json.loads(ask(archive, "GET /jsoncalmgr/domeflat/S20170505S0095.fits")[1])
    assert list(entry) == ["label", "filename", "md5", "cal_info"]
    [info] = entry["cal_info"]
    assert list(info) == ["error", "type", "cals"]
    assert [cal["name"] for cal in info["cals"]] == [f"S20170505S{n:04d}.fits" for n in range(44, 29, -1)]
    first = info["cals"][0]
    assert list(first) == ["label", "name", "md5", "url"]
    assert first["url"] == "https://127.0.0.1/file/S20170505S0044.fits.bz2"
    stored = {holding.name: holding.row for holding in archive.holdings}
    assert first["md5"] == stored["S20170505S0044.fits"]["file_md5"]
    assert entry["md5"] == stored["S20170505S0095.fits"]["data_md5"]
    [entry] = json.loads(ask(archive, "GET /jsoncalmgr/S20170505S0095.fits")[1])
    assert len(entry["cal_info"]) == 31


def test_a_described_frame_gets_its_standards(archive: PracticeArchive) -> None:
    descriptors = {
        "instrument": "GSAOI",
        "data_label": "GS-2017A-Q-29-32-001",
        "ut_datetime": "2017-05-06T03:40:00",
        "filter_name": "Kshort_G1105&Clear",
        "read_mode": "FOWLER",
    }
    body = json.dumps({"tags": ["GSAOI"], "descriptors": descriptors})
    response, content = ask(archive, "POST /jsoncalmgr/photometric_standard", body)
    [entry] = json.loads(content)
    assert (response.status, entry["filename"], entry["md5"]) == (200, None, None)
    names = [cal["name"] for cal in entry["cal_info"][0]["cals"]]
    assert names == [f"S20170504S{number:04d}.fits" for number in range(117, 113, -1)]
    for bad in ("{bad", '{"tags":[],"descriptors":{}}'):
        assert ask(archive, "POST /jsoncalmgr/domeflat", bad)[0].status == 502


def test_the_search_page_is_redirected_to_its_normal_form(archive: PracticeArchive) -> None:
    response, _ = ask(archive, "GET /searchform/science/GSAOI/GS-2017A-Q-29")
    assert response.headers["Location"] == "/searchform/GSAOI/science/GS-2017A-Q-29"
    assert ask(archive, f"GET {response.headers['Location']}")[0].status == 200


def test_a_file_missing_on_disk_ends_the_tar_early_but_cleanly(tmp_path: Path) -> None:
    from tiny_archive import build_tiny_archive

    build_tiny_archive(tmp_path)
    (tmp_path / "S20170505S0100.fits.bz2").unlink()
    with serve(tmp_path) as running:
        response, content = ask(running, f"GET /download/{PROGRAM}/science")
        assert response.status == 200
        assert members(content) == [f"S20170505S{number:04d}.fits.bz2" for number in range(95, 100)]
        response, content = ask(running, "GET /file/S20170505S0100.fits")
        assert response.status == 404 and b"could not be found in the system" in content
