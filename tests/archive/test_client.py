"""The archive's only socket: what it sends to whom, what it tries again, and what it never does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from quick_archive import QUICK

from goafetch.archive.client import ArchiveClient, Patience
from goafetch.archive.errors import BadAnswer, Blocked, Gone, Refused, Unreachable
from goafetch.archive.moving.connection import USER_AGENT
from goafetch.errors import UsageError
from goafetch.practice.server import serve

TOKEN = "dG9rZW4tdG9rZW4="


class Scripted:
    """A server that gives prepared answers, one a request, the last one for ever."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        script = list(answers)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.seen.append((self.path, dict(self.headers)))
                status, headers, body = script.pop(0) if len(script) > 1 else script[0]
                self.send_response(status)
                for name, value in {
                    "Content-Length": str(len(body)),
                    "Connection": "close",
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def scripted() -> Iterator[type[Scripted]]:
    made: list[Scripted] = []

    def make(*answers: tuple[int, dict[str, str], bytes]) -> Scripted:
        made.append(Scripted(*answers))
        return made[-1]

    yield make  # type: ignore[misc]
    for server in made:
        server.server.shutdown()
        server.server.server_close()


OK = (200, {"Content-Type": "application/json"}, b"[]")


def ask(url: str, token: str | None = None) -> list[object]:
    return ArchiveClient(url, token, patience=QUICK).rows("jsonsummary", ("canonical",))


def test_the_user_agent_is_our_own_and_versioned(scripted) -> None:
    server = scripted(OK)
    ask(server.url)
    assert server.seen[0][1]["User-Agent"] == USER_AGENT
    assert USER_AGENT.startswith("goafetch/0.")
    assert "Cookie" not in server.seen[0][1]


def test_the_token_travels_as_the_cookie_to_this_machine(scripted) -> None:
    server = scripted(OK)
    ask(server.url, f'"{TOKEN}"')
    assert server.seen[0][1]["Cookie"] == f"gemini_archive_session={TOKEN}"


def test_the_token_is_not_sent_in_the_clear() -> None:
    told = []
    client = ArchiveClient(
        "http://archive.example.org", TOKEN, lambda event, **facts: told.append((event, facts))
    )
    assert not client.has_token
    assert told[0][0] == "warning" and TOKEN not in str(told)


def test_the_token_never_stands_in_words(scripted) -> None:
    server = scripted((500, {}, b""))
    client = ArchiveClient(server.url, TOKEN, patience=QUICK)
    with pytest.raises(Unreachable) as caught:
        client.rows("jsonsummary", ("canonical",))
    assert TOKEN not in str(caught.value) + repr(client) + repr(caught.value)


@pytest.mark.parametrize("bad", ["two words", "a\r\nX-Evil: 1", "tokeñ-tokeñ"])
def test_a_token_that_could_split_a_header_is_refused(bad: str) -> None:
    with pytest.raises(UsageError) as caught:
        ArchiveClient("https://archive.example.org", bad)
    assert bad not in str(caught.value)


def test_redirects_to_another_host_are_not_followed(scripted) -> None:
    other = scripted(OK)
    server = scripted((302, {"Location": f"{other.url}/jsonsummary/canonical"}, b""))
    with pytest.raises(Refused):
        ask(server.url, TOKEN)
    assert other.seen == []


@pytest.mark.parametrize("place", ["http://[", "//[::1", "", "file:///etc/passwd"])
def test_redirects_to_no_address_are_refused(scripted, place: str) -> None:
    """The library that we send with would parse the place by itself and end in an error of its own."""
    server = scripted((302, {"Location": place}, b""))
    with pytest.raises(Refused, match="elsewhere"):
        ArchiveClient(server.url, patience=QUICK).rows("jsonsummary", ("canonical",))


def test_redirects_on_the_same_host_are_followed(scripted) -> None:
    server = scripted((302, {"Location": "/jsonsummary/canonical/present"}, b""), OK)
    assert ask(server.url) == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_failures_of_the_server_are_tried_again(scripted, status: int) -> None:
    server = scripted((status, {}, b"<html>"), (status, {}, b"[]"), OK)
    assert ask(server.url) == []
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "body",
    [b"[] tar bytes", b"[{]", b"", b"\xff\xfe", b"<html>not json</html>", b"[" * 100_000],
    ids=lambda b: str(b[:6]),
)
def test_answers_that_are_not_whole_json_are_tried_again(scripted, body: bytes) -> None:
    server = scripted((200, {}, body), OK)
    assert ask(server.url) == []


def test_an_answer_cut_short_is_tried_again(scripted) -> None:
    server = scripted((200, {"Content-Length": "500"}, b"[]"), OK)
    assert ask(server.url) == []


@pytest.mark.parametrize(("status", "error"), [(403, Refused), (404, Gone), (405, Refused), (406, Refused)])
def test_refusals_are_final(scripted, status: int, error: type[Exception]) -> None:
    server = scripted((status, {}, b"no"))
    with pytest.raises(error):
        ask(server.url)
    assert len(server.seen) == 1


def test_an_object_instead_of_a_list_is_an_error(scripted) -> None:
    with pytest.raises(BadAnswer):
        ask(scripted((200, {}, b"{}")).url)


def test_the_robot_page_is_recognised_and_never_retried(tiny_folder: Path) -> None:
    with serve(tiny_folder, faults=["robot-page"]) as archive:
        with pytest.raises(Blocked) as caught:
            ask(archive.url)
        assert len(archive.requests) == 1
        assert "goafetch login" in str(caught.value)
        assert caught.value.exit_code == 4


def test_nobody_there_is_said_so() -> None:
    with pytest.raises(Unreachable) as caught:
        ask("http://127.0.0.1:9")
    assert "127.0.0.1:9" in str(caught.value) and caught.value.exit_code == 4


@pytest.mark.parametrize(
    "bad",
    ["archive.gemini.edu", "ftp://a.b", "http://", "http://u:p@host", "http://h/?q=1", "http://h:99999999"],
)
def test_addresses_are_checked(bad: str) -> None:
    with pytest.raises(UsageError):
        ArchiveClient(bad)


def test_whoami_tells_a_valid_token_from_an_invalid_one(tiny_folder: Path) -> None:
    with serve(tiny_folder, token=TOKEN) as archive:
        assert ArchiveClient(archive.url, TOKEN).whoami() == "observer"
        assert ArchiveClient(archive.url, TOKEN[::-1].replace("=", "x")).whoami() is None
        assert ArchiveClient(archive.url).whoami() is None


def test_a_file_of_another_length_is_not_accepted(scripted, tmp_path: Path) -> None:
    fits = {"Content-Type": "application/fits"}
    server = scripted((200, fits, b"12345"), (200, fits, b"12345678901"), (200, fits, b"1234567890"))
    target = tmp_path / "stored"
    ArchiveClient(server.url, patience=QUICK).download("X.fits.bz2", target, 10)
    assert target.read_bytes() == b"1234567890" and len(server.seen) == 3


def test_a_full_disk_is_not_the_networks_fault(scripted, tmp_path: Path) -> None:
    server = scripted((200, {"Content-Type": "application/fits"}, b"1234567890"))
    with pytest.raises(FileNotFoundError):
        ArchiveClient(server.url, patience=QUICK).download("X.fits", tmp_path / "nowhere" / "stored", 10)
    assert len(server.seen) == 1


@pytest.fixture
def dripping() -> Iterator[Callable[[bytes, bytes], str]]:
    """A server that sends some bytes at once, and then one after the other for as long as it is heard."""
    listening = socket.create_server(("127.0.0.1", 0))
    served: list[threading.Thread] = []

    def serve_one(connection: socket.socket, whole: bytes, drops: bytes) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(whole)
            for _ in range(400):
                time.sleep(0.025)
                connection.sendall(drops)

    def serve_all(whole: bytes, drops: bytes) -> None:
        with suppress(OSError):
            while True:
                each = threading.Thread(
                    target=serve_one, args=(listening.accept()[0], whole, drops), daemon=True
                )
                each.start()

    def begin(whole: bytes, drops: bytes) -> str:
        served.append(threading.Thread(target=serve_all, args=(whole, drops), daemon=True))
        served[-1].start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield begin
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
DRIPS = {
    "head": (b"HTTP/1.1 200 OK\r\nX-Head: ", b"a"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: a\r\n"),
    "body": (HEAD, b" "),
    "refusal": (b"HTTP/1.1 403 No\r\n\r\n", b" "),
}


@pytest.mark.parametrize("what", DRIPS)
def test_an_answer_in_drops_is_given_up(dripping: Callable[[bytes, bytes], str], what: str) -> None:
    """Each byte comes well within its time, and all of them never."""
    patience = Patience(attempts=2, pause=0.0, connect=2.0, answer=0.3, file=0.3, window=0.3)
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"stalled|drops"):
        ArchiveClient(dripping(*DRIPS[what]), patience=patience).rows("jsonsummary", ("canonical",))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("sent", [b"", HEAD], ids=["head", "body"])
def test_who_waits_for_an_answer_is_told_when_we_hang_up(
    dripping: Callable[[bytes, bytes], str], sent: bytes
) -> None:
    client = ArchiveClient(dripping(sent, b""), patience=Patience(pause=9.0))
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.rows, "jsonsummary", ())
        time.sleep(0.3)
        begun = time.monotonic()
        client.hang_up()
        with pytest.raises(Unreachable, match="asked no more"):
            waiting.result(timeout=30)
    assert time.monotonic() - begun < 5


HELLO = b"\x16\x03\x03\x40\x00"  # of a TLS record of 16384 bytes, which then come one by one


@pytest.mark.parametrize("words", [(HELLO, b"\0"), (b"", b"")], ids=["drops", "silence"])
def test_a_greeting_that_never_ends_is_given_up(
    dripping: Callable[[bytes, bytes], str], words: tuple[bytes, bytes]
) -> None:
    """The connection stands, and is not encrypted for as long as one likes to wait."""
    patience = Patience(attempts=2, pause=0.0, connect=0.4, answer=9.0, file=9.0)
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="timed out") as caught:
        ArchiveClient(dripping(*words).replace("http:", "https:"), patience=patience).rows("jsonsummary", ())
    assert time.monotonic() - begun < 5
    assert "try again later" in caught.value.remedy


def test_a_file_in_drops_is_given_up(dripping: Callable[[bytes, bytes], str], tmp_path: Path) -> None:
    head = HEAD.replace(b"application/json", b"application/octet-stream")
    patience = Patience(attempts=2, pause=0.0, connect=2.0, answer=9.0, file=0.3, window=0.3)
    with pytest.raises(Unreachable, match="stalled"):
        ArchiveClient(dripping(head, b"x"), patience=patience).download("a.fits", tmp_path / "a", 1000)


def test_a_slow_answer_that_keeps_coming_is_waited_for(dripping: Callable[[bytes, bytes], str]) -> None:
    patience = Patience(attempts=1, connect=2.0, answer=0.3, slowest=100.0)
    head = HEAD.replace(b"1000", b"1002") + b"[]"
    assert ArchiveClient(dripping(head, b" " * 50), patience=patience).rows("jsonsummary", ("a",)) == []
