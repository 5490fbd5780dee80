"""Each trouble of the practice archive does what its name says, as often as it should, and then passes."""

from __future__ import annotations

import bz2
import hashlib
import io
import tarfile
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
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


def test_a_share_of_the_science_can_be_withheld(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=[Fault("withheld", files=1 / 3)]) as archive:
        releases = [row["release"] for row in get(archive, SEARCH).json()]
    assert (sum(release > "2026" for release in releases), len(releases)) == (5, 16)


def test_a_fault_must_have_a_known_name(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="no fault 'gremlins'"):
        serve(tiny_folder, faults=["gremlins"])


def test_few_rows_come_with_limits(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=["limits"]) as archive:
        assert len(get(archive, "jsonsummary/GSAOI").json()) == 10
        assert len(get(archive, "jsonsummary/20170504-20170505").json()) == 20
        assert len(get(archive, "jsonqastate/20170504-20170505").json()) == 50


def test_an_association_that_failed_is_not_an_empty_one(tiny_folder: Path) -> None:
    path = "jsoncalmgr/{}/S20170505S0095"
    with serve(tiny_folder, faults=[Fault("association-error", times=1)]) as archive:
        for kind, count in (("domeflat", 15), ("lampoff_domeflat", 15)):
            infos = [get(archive, path.format(kind)).json()[0]["cal_info"][0] for _ in range(2)]
            assert infos[0] == {"error": True, "type": kind, "cals": None}
            assert infos[1]["error"] is False and len(infos[1]["cals"]) == count


def test_those_who_ask_too_much_are_told_when_to_come_again(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=[Fault("retry-after", times=2, pause=7)]) as archive:
        answers = [get(archive, SEARCH) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [429, 503, 200]
        assert answers[0].headers["Retry-After"] == "7"
        date, until = (parsedate_to_datetime(answers[1].headers[n]) for n in ("Date", "Retry-After"))
        assert 6 <= (until - date).total_seconds() <= 8


def test_a_captive_portal_answers_everything_with_its_own_page(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=["captive-portal"]) as archive:
        for path in (SEARCH, f"file/{NAMES[0]}", "whoami"):
            answer = get(archive, path)
            assert answer.status_code == 200 and answer.headers["Content-Type"] == "text/html"
            assert "<title>Observatory guest network: please sign in</title>" in answer.text


def test_a_file_is_ingested_anew_after_it_was_listed(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=[Fault("re-ingest", files=None)]) as archive:
        before = get(archive, f"jsonsummary/{NAMES[0]}").json()
        content = get(archive, f"file/{NAMES[0]}").content
        [after] = get(archive, f"jsonsummary/{NAMES[0]}").json()
        assert before[0]["file_md5"] != after["file_md5"] == hashlib.md5(content).hexdigest()
        assert after["data_md5"] == hashlib.md5(bz2.decompress(content)).hexdigest()
        assert len(get(archive, f"jsonfilelist/{NAMES[0]}").json()) == 2
        assert get(archive, f"file/{NAMES[0]}").content == content
        attic = archive.archive.attic
    assert not attic.exists()


def test_the_archives_clock_may_differ_and_decides_what_is_public(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=["clock"]) as archive:
        answer = get(archive, SEARCH)
        ahead = parsedate_to_datetime(answer.headers["Date"]) - datetime.now(UTC)
        assert timedelta(days=2.9) < ahead < timedelta(days=3.1)
        late = [row["filename"] for row in answer.json() if row["release"] > f"{datetime.now(UTC):%Y-%m-%d}"]
        assert len(late) == 3
        assert all(get(archive, f"file/{name}").status_code == 200 for name in late)


def test_older_software_says_nothing_of_versions(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=["older-software"]) as archive:
        for feature in ("jsonsummary", "jsonfilelist"):
            rows = get(archive, f"{feature}/canonical/present/GS-2017A-Q-29").json()
            assert len(rows) == 16 and not any({"present", "canonical"} & row.keys() for row in rows)
