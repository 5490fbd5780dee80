"""Repeats every recorded request of the real archive's software, and tries every word of its description.

They are read where they are kept beside the project, or in the folder that GOAFETCH_REFERENCE names.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from goafetch.archive.query import Criteria, build_query
from goafetch.archive.records import mismatch, read_record
from goafetch.practice.goa.dates import MalformedValue
from goafetch.practice.goa.words import parse
from goafetch.practice.server import PracticeArchive, User, serve

HERE = Path(__file__).parents[2].parent / "shared/reference"
REFERENCE = Path(os.environ.get("GOAFETCH_REFERENCE", HERE))
MISSING = f"no recorded answers in {REFERENCE}; GOAFETCH_REFERENCE names another folder"
pytestmark = [pytest.mark.prove, pytest.mark.skipif(not (REFERENCE / "goa_answers").is_dir(), reason=MISSING)]

#: Differences that stay: by file, what is compared not, and why.
STAY = {
    "98_methods HEAD json": {"status", "reason"},  # a later run of the same software answers 200
    "44_download_cals": {"members"},  # old data do not list the mask
    # Its record was cut after five lines.
    "98_methods POST /jsonsummary/GS-2017A-Q-29-32-001": {"Cache-Control", "Expired"},
}
COMPARED = ("status", "reason", "Content-Type", "has length", "is chunked", "Cache-Control", "Expired")


@dataclass
class Recorded:
    """One request and the answer to it, as far as it was kept."""

    name: str
    method: str
    path: str
    body: str | None
    headers: dict[str, str]
    status: int
    reason: str
    answered: dict[str, str]
    text: str


def recorded() -> list[Recorded]:
    found = []
    for file in sorted((REFERENCE / "goa_answers").glob("*.txt")):
        text = file.read_text(errors="replace")
        for title, request, answer in exchanges(file.stem, text):
            head, _, body = answer.partition("\n\n")
            status, *lines = head.splitlines()
            number, _, reason = status.split(" ", 1)[1].partition(" ")
            headers = dict(line.split(": ", 1) for line in lines if ": " in line)
            found.append(Recorded(title, *request, int(number), reason.strip(), headers, body))
    return found


Request = tuple[str, str, str | None, dict[str, str]]


def exchanges(stem: str, text: str) -> Iterator[tuple[str, Request, str]]:
    """Title, request (method, path, body, headers) and answer of each exchange in a file."""
    if stem == "98_methods":
        known = {
            "POST /jsonsummary/GS-2017A-Q-29-32-001": ("POST", "/jsonsummary/GS-2017A-Q-29-32-001"),
            "PUT download": ("PUT", "/download/GS-2017A-Q-29"),
            "POST download selection": ("POST", "/download/GS-2017A-Q-29"),
            "HEAD download": ("HEAD", "/download/GS-2017A-Q-29"),
            "HEAD json": ("HEAD", "/jsonsummary/GS-2017A-Q-29"),
            "POST /jsoncalmgr no caltype": ("POST", "/jsoncalmgr"),
            "POST /file": ("POST", "/file/S20170505S0095.fits.bz2"),
        }
        for part in text.split("### "):
            title, _, answer = part.partition("\n")
            method, path = known[title.strip()]
            yield f"{stem} {title.strip()}", (method, path, None, {}), answer
    elif text.startswith("$ "):
        command, _, rest = text.partition("\n")
        start = rest.find("HTTP/1.1")
        if start >= 0 and stem != "130_tar_fault_midway":
            yield stem, request_of(command), rest[start:]


def request_of(command: str) -> Request:
    path = re.search(r"http://127\.0\.0\.1:8090(\S*)", command)
    assert path is not None, command
    method, body, headers = "GET", None, {}
    if given := re.search(r" -d (.*?) ?http://", command):
        method, body = "POST", given[1]
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if fields := re.findall(r"-F files=(\S+)", command):
        method, body = "POST", "&".join(f"files={field}" for field in fields)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if "-I" in command.split():
        method = "HEAD"
    if "-X POST" in command:
        method, body = "POST", body or ""
    if given := re.search(r"-H (Range|Content-Type): (\S+)", command):
        headers[given[1]] = given[2]
    if " -b jar" in command:
        headers["Cookie"] = "gemini_archive_session=token"
    return method, path[1], body, headers


@pytest.fixture(scope="module")
def archive(tiny_folder: Path) -> Iterator[PracticeArchive]:
    with serve(tiny_folder, users=[User("pi78", "", frozenset({"GS-2026A-Q-78"}))], token="token") as running:
        yield running


def outside(status: int, reason: str, headers: dict[str, str]) -> dict[str, object]:
    return {
        "status": status,
        "reason": reason,
        "Content-Type": headers.get("Content-Type"),
        "has length": "Content-Length" in headers,
        "is chunked": headers.get("Transfer-Encoding") == "chunked",
        "Cache-Control": headers.get("Cache-Control"),
        "Expired": headers.get("Expired"),
    }


def test_every_recorded_request_is_answered_as_by_the_real_one(archive: PracticeArchive) -> None:
    differences: dict[str, list[str]] = {}
    exchanged = recorded()
    for each in exchanged:
        connection = http.client.HTTPConnection(archive.url.removeprefix("http://"), timeout=20)
        connection.request(each.method, each.path, each.body, each.headers)
        response = connection.getresponse()
        content = response.read()
        ours = outside(response.status, response.reason, dict(response.headers))
        theirs = outside(each.status, each.reason, each.answered)
        wrong = [
            f"{key}: {ours[key]!r}, there {theirs[key]!r}" for key in COMPARED if ours[key] != theirs[key]
        ]
        wrong += inside(each, content)
        connection.close()
        stays = STAY.get(each.name, set())
        if wrong := [text for text in wrong if text.split(":")[0] not in stays]:
            differences[each.name] = wrong
    print(f"{len(exchanged)} recorded exchanges, {len(differences)} differ: {differences}")
    assert len(exchanged) >= 40 and not differences


def inside(each: Recorded, content: bytes) -> Iterator[str]:
    """What differs in the body: keys and types of JSON, members of a tar, first words of a text."""
    theirs = each.text.strip()
    if theirs.startswith("[") and each.method != "HEAD":
        try:
            expected = json.loads(theirs)
        except ValueError:
            return  # kept in part
        got = json.loads(content)
        if bool(got) is not bool(expected):
            yield f"rows: {len(got)}, there {len(expected)}"
        elif expected and list(expected[0]) != list(got[0]):
            yield f"keys: {list(got[0])}"
        elif expected and (kinds := [k for k in expected[0] if not alike(expected[0][k], got[0][k])]):
            yield f"types: of {kinds}"
    elif listed := re.findall(r"^-rw\S+ .* (\S+)$", theirs, re.MULTILINE):
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            members = tar.getnames()
        if members[: len(listed)] != listed:  # some lists were kept in part
            yield f"members: {members[:3]}... {len(members)}, there {listed[:3]}... {len(listed)}"
    elif (
        each.answered.get("Content-Type") == "text/plain"
        and not theirs.startswith("body bytes")
        and not content.decode().strip().startswith(theirs[:60])
    ):
        yield f"text: {content[:60]!r}"


def alike(there: object, here: object) -> bool:
    return None in (there, here) or type(there) is type(here)


#: Words with a place to fill, as examples.
FILLED = {
    "S20170505S0095[.fits][.bz2]": ("S20170505S0095", "S20170505S0095.fits", "S20170505S0095.fits.bz2"),
    "KEY=VALUE": (),
    "D1-D2": ("20170504-20170505",),
    "D1--D2": ("2017-05-04--2017-05-05", "2017-05-04T18:00:00--2017-05-05T18:00:00"),
    "YYYYMMDD": ("20170505",),
    "YYYY-MM-DD": ("2017-05-05",),
    "filepre=": ("filepre=S2017",),
    "obsid=": ("obsid=GS-2017A-Q-29-32",),
    "datalabel=": ("datalabel=GS-2017A-Q-29-32-001",),
    "progid=X": ("progid=GS-2017A-Q-29",),
    "object=NAME": ("object=NGC5128",),
}
#: Named in the table to say that they are dropped, or that they are no words by themselves.
DROPPED = {"daycal", "inst=", "gs-..", "progid=gs-..", "Haro", "Haro*", ".bz2", ".fits", "*", "GMOS"}
VALUES = {
    "date": "20170505",
    "daterange": "20170504-20170505",
    "night": "20170505",
    "ra": "201.3",
    "dec": "-43",
}


def words_described() -> dict[str, set[str]]:
    """Words of the table of the description, by whether they are understood or dropped."""
    text = (REFERENCE / "GOA_API.md").read_text()
    table = text[text.index("### 1.1") : text.index("Details: `filter=Kshort`")]
    words: set[str] = set()
    for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE):
        for quoted in re.findall(r"`([^`]*)`", row):
            words.update(quoted.split())
    keys = re.search(r"KEY in `([^`]*)`", table)
    assert keys is not None
    words -= set(keys[1].split())
    keyed = {f"{key}={VALUES.get(key, '1')}" for key in keys[1].split() if key not in {"object", "cols"}}
    filled = {example for word in words for example in FILLED.get(word, (word,))} | keyed
    plain = {word.rstrip(",") for word in filled if ".." not in word and word not in DROPPED}
    return {
        "understood": plain - {"KEY", "word"},
        "dropped": {"daycal", "inst=GSAOI", "gs-2017a-q-29", "foo"},
    }


def test_every_word_is_understood_or_dropped_as_described() -> None:
    now = datetime(2026, 11, 22)
    described = words_described()
    failures = [word for word in described["understood"] if not understood(word, now)]
    failures += [word for word in described["dropped"] if parse([word], now).unknown != (word,)]
    print(f"{len(described['understood'])} words understood, {len(described['dropped'])} dropped: {failures}")
    assert len(described["understood"]) > 100 and not failures


def understood(word: str, now: datetime) -> bool:
    try:
        return not parse([word], now).unknown
    except MalformedValue:
        return False


def test_every_real_row_is_read_and_kept() -> None:
    files = sorted((REFERENCE / "archive_rows").glob("*.json"))
    assert len(files) >= 5
    for file in files:
        found = json.loads(file.read_text())
        for row in found if isinstance(found, list) else [found]:
            record = read_record(row)
            assert mismatch(record, build_query(Criteria(program=record.data_label, qa="AnyQA"))) is None
            assert (record.present, record.canonical) == (None, None)
            assert record.types and record.exposure_time and record.ut_datetime
