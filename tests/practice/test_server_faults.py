"""Each trouble of the practice archive does what its name says, as often as it should, and then passes."""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
from pathlib import Path

import pytest
import requests

from goafetch.practice.server import Fault, PracticeArchive, serve

SEARCH = "jsonsummary/GS-2017A-Q-29/science"
DOWNLOAD = "download/GS-2017A-Q-29/science"
BROKEN = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
NAMES = [f"S20170505S{number:04d}.fits.bz2" for number in range(95, 111)]


def get(archive: PracticeArchive, path: str, **cookies: str) -> requests.Response:
    return requests.get(f"{archive.url}/{path}", cookies=cookies, timeout=10)


def wrong_files(archive: PracticeArchive) -> list[str]:
    """Names of the science files whose delivery does not have the md5 on record, or breaks off."""
    expected = {str(holding.row["filename"]): holding.row["file_md5"] for holding in archive.holdings}
    wrong = []
    for name in NAMES:
        try:
            content = get(archive, f"file/{name}").content
        except BROKEN:
            wrong.append(name)
        else:
            if hashlib.md5(content).hexdigest() != expected[name]:
                wrong.append(name)
    return wrong


def test_unavailable_strikes_the_first_requests(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=["unavailable"]) as archive:
        assert [get(archive, SEARCH).status_code for _ in range(4)] == [503, 502, 200, 200]
    with serve(tiny_folder, faults=[Fault("unavailable", times=None)]) as archive:
        assert all(get(archive, SEARCH).status_code in {502, 503} for _ in range(5))


def test_reset_breaks_a_search_and_the_first_delivery_of_some_files(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=[Fault("reset", files=None)]) as archive:
        with pytest.raises(BROKEN):
            get(archive, SEARCH)
        assert len(get(archive, SEARCH).json()) == 16
        with pytest.raises(BROKEN):
            get(archive, DOWNLOAD)
        assert wrong_files(archive) == NAMES[1:], "the tar has had the first one"
        assert wrong_files(archive) == []


@pytest.mark.parametrize("seed", [0, 1])
def test_wrong_bytes_spoil_some_files_once_at_unchanged_length(tiny_folder: Path, seed: int) -> None:
    with serve(tiny_folder, faults=[Fault("wrong-bytes", files=5)], seed=seed) as archive:
        first = wrong_files(archive)
        assert len(first) == 5
        assert wrong_files(archive) == []
    with serve(tiny_folder, faults=[Fault("wrong-bytes", files=5)], seed=seed) as archive:
        assert wrong_files(archive) == first, "the same seed touches the same files"
    with serve(tiny_folder, faults=[Fault("wrong-bytes", times=None, files=5)], seed=seed) as archive:
        assert wrong_files(archive) == wrong_files(archive) == first


def test_a_short_tar_ends_well_formed_without_its_last_members(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=["short-tar"]) as archive:
        for expected in (NAMES[:8], [*NAMES, "md5sums.txt", "README.txt"]):
            answer = get(archive, DOWNLOAD)
            assert answer.status_code == 200
            with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
                assert tar.getnames() == expected


def test_a_slow_drip_takes_its_time_and_is_right(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=[Fault("slow-drip", files=None, pause=0.1)]) as archive:
        start = time.monotonic()
        assert get(archive, f"file/{NAMES[0]}").ok
        slow = time.monotonic() - start
        assert slow > 1.0
        start = time.monotonic()
        assert get(archive, f"file/{NAMES[0]}").ok
        assert time.monotonic() - start < slow / 2


def test_the_robot_page_stands_before_everything_but_the_login(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=["robot-page"]) as archive:
        for path in (SEARCH, f"file/{NAMES[0]}", DOWNLOAD, "whoami"):
            answer = get(archive, path)
            assert answer.status_code == 403
            assert answer.headers["Content-Type"] == "text/plain"
            assert answer.text.lstrip().startswith(
                "Login Required. Please visit https://archive.gemini.edu/login"
            )
        assert get(archive, "login").ok
        assert len(get(archive, SEARCH, gemini_archive_session=archive.token).json()) == 16


def test_trailing_bytes_follow_the_first_json_answers(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=["trailing-json"]) as archive:
        for _ in range(2):
            answer = get(archive, SEARCH)
            assert answer.status_code == 200 and answer.content.startswith(b"[\n")
            with pytest.raises(requests.exceptions.JSONDecodeError):
                answer.json()
        assert len(get(archive, SEARCH).json()) == 16


def test_withheld_files_are_refused_everywhere_until_one_logs_in(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=[Fault("withheld", files=5)]) as archive:
        rows = get(archive, SEARCH).json()
        withheld = [row["filename"] for row in rows if row["release"] > "2026"]
        assert len(withheld) == 5
        assert [name for name in NAMES if get(archive, f"file/{name}").status_code == 403] == withheld
        with tarfile.open(fileobj=io.BytesIO(get(archive, DOWNLOAD).content)) as tar:
            assert tar.getnames()[:-2] == [name for name in NAMES if name not in withheld]
            readme = tar.extractfile("README.txt")
            assert readme is not None and readme.read().decode().split()[-len(withheld) :] == withheld
        assert get(archive, f"file/{withheld[0]}", gemini_archive_session=archive.token).ok


def test_a_fault_must_have_a_known_name(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="no fault 'gremlins'"):
        serve(tiny_folder, faults=["gremlins"])
