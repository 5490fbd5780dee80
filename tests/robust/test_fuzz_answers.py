"""Answers of the archive changed at random go through the client: refused in words, or what was asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from caged import memory_limit, time_limit
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from shell import Shell

from goafetch.archive.client import ArchiveClient
from goafetch.archive.connection import RetryPolicy
from goafetch.archive.query import Criteria
from goafetch.archive.search import search_archive
from goafetch.archive.unpack import unpack
from goafetch.errors import GoafetchError

AT_ONCE = RetryPolicy(attempts=2, pause=0.0, connect=2.0, answer=2.0, file=2.0, window=1.0)
ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1e308,
        float("nan"),
        2**70,
        "",
        "x" * 5000,
        "../../x.fits",
        "a\nb",
        "\x00",
        [],
        {},
        [[]],
    ),
    *(
        "<script>alert(1)</script>",
        "2017-13-45",
        "9999-12-31T99:99:99",
        "{'a', ",
        "__import__('os')",
        "1e999",
        "Ü",
    ),
)


class Changed:
    """A server whose every answer is the one set last, with a status, headers and a body."""

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"[]")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = outer.answer
                self.wfile.write(f"HTTP/1.1 {status} So\r\n".encode())
                for name, value in headers.items():
                    self.wfile.write(f"{name}: {value}\r\n".encode("utf-8", "replace"))
                self.wfile.write(b"\r\n" + body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Changed]:
    made = Changed()
    yield made
    made.server.shutdown()
    made.server.server_close()


@st.composite
def answers(draw: st.DrawFn, rows: list[dict[str, Any]]) -> tuple[int, dict[str, str], bytes]:
    """An answer with changed values, keys, structure, bytes, length, status or headers."""
    few = [dict(row) for row in rows[:3]]
    for _ in range(draw(st.integers(0, 4))):
        row = few[draw(st.integers(0, len(few) - 1))]
        key = draw(st.sampled_from(sorted(rows[0])))
        value = draw(st.one_of(st.sampled_from(ODD), st.text(max_size=30), st.integers(), st.floats()))
        if draw(st.booleans()):
            row[key] = value
        else:
            row.pop(key, None)
    whole: Any = draw(st.sampled_from((few, few, few, few, few[0], "few", 1, None, [few], [1, "a"])))
    body = bytearray(json.dumps(whole).encode())
    for _ in range(draw(st.integers(0, 2))):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    body = body[: draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))]
    headers = {"Content-Type": draw(st.sampled_from(("application/json", "text/html", "", "a/b; c=\x01")))}
    odd_lengths = (str(len(body)), str(len(body)), str(len(body)), "", "-1", "abc", "0", "99999999999", None)
    length = draw(st.sampled_from(odd_lengths))
    if length is not None:
        headers["Content-Length"] = length
    if draw(st.integers(0, 9)) == 0:
        places = (
            "http://evil.example/",
            "//evil.example",
            "file:///etc/passwd",
            "",
            "/elsewhere",
            "http://[",
            "\x01",
        )
        headers["Location"] = draw(st.sampled_from(places))
    status = draw(
        st.sampled_from((200,) * 12 + (100, 204, 206, 301, 302, 307, 400, 401, 403, 404, 418, 429, 500, 999))
    )
    return status, headers, bytes(body)


def ask(url: str, asked: Criteria) -> None:
    """Search; what comes back must answer the query, errors must be ours."""
    try:
        found = search_archive(ArchiveClient(url, policy=AT_ONCE), asked)
    except GoafetchError:
        return
    for record in found.records:
        assert record.program_id == asked.program
        assert "/" not in record.name
        assert record.name.isprintable()


def prove(server: Changed, rows: list[dict[str, Any]], examples: int, start: int) -> None:
    @seed(start)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(answers(rows))
    def changed(answer: tuple[int, dict[str, str], bytes]) -> None:
        server.answer = answer
        with time_limit():
            ask(server.url, Criteria(program="GS-2017A-Q-29"))

    with memory_limit():
        changed()


@pytest.fixture(scope="session")
def rows(tiny_folder: Path) -> list[dict[str, Any]]:
    known = json.loads((tiny_folder / "holdings.json").read_text())
    return [row for row in known if row["program_id"] == "GS-2017A-Q-29"]


def test_a_hundred_changed_answers(server: Changed, rows: list[dict[str, Any]]) -> None:
    prove(server, rows, 100, 0)


@pytest.mark.prove
@pytest.mark.parametrize("start", range(1, 11))
def test_ten_thousand_changed_answers(server: Changed, rows: list[dict[str, Any]], start: int) -> None:
    prove(server, rows, 1000, start)


@pytest.mark.prove
def test_two_hundred_changed_answers_on_the_command_line(
    server: Changed, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "goafetch.archive.job.ArchiveClient", lambda *args: ArchiveClient(*args, policy=AT_ONCE)
    )

    @seed(3)
    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(answers(rows))
    def changed(answer: tuple[int, dict[str, str], bytes]) -> None:
        server.answer = answer
        with time_limit():
            ended = Shell()(f"search GS-2017A-Q-29 --archive {server.url}")
        assert ended.code in (0, 1, 3, 4), ended.err
        assert "not foreseen" not in ended.err
        assert "Traceback" not in ended.err
        assert ended.code == 0 or "error: " in ended.err

    changed()


def test_nothing_to_unpack_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(GoafetchError):
        unpack([tmp_path / "none.tar"], tmp_path)
