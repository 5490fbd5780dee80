"""The archive's only socket: what it sends to whom, what it tries again, and what it never does."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from quick_archive import QUICK
from told import Told

from goafetch import network
from goafetch.archive import cone as circle
from goafetch.archive.client import ArchiveClient
from goafetch.archive.connection import USER_AGENT, RetryPolicy, retry_after
from goafetch.errors import BadAnswer, Blocked, Elsewhere, Gone, OtherLength, Refused, Unreachable, UsageError
from goafetch.events import Retry, Wait, Warned, words
from goafetch.practice.server import User, serve

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
    return ArchiveClient(url, token, policy=QUICK).rows("jsonsummary", ("canonical",))


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
    client = ArchiveClient("http://archive.example.org", TOKEN, told.append)
    assert not client.has_token
    assert isinstance(told[0], Warned) and TOKEN not in str(told)


def test_the_token_never_stands_in_words(scripted) -> None:
    server = scripted((500, {}, b""))
    client = ArchiveClient(server.url, TOKEN, policy=QUICK)
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
    with pytest.raises(Elsewhere):
        ask(server.url, TOKEN)
    assert other.seen == []


@pytest.mark.parametrize("place", ["http://[", "//[::1", "", "file:///etc/passwd"])
def test_redirects_to_no_address_are_refused(scripted, place: str) -> None:
    """The library that we send with would parse the place by itself and end in an error of its own."""
    server = scripted((302, {"Location": place}, b""))
    with pytest.raises(Elsewhere, match="elsewhere"):
        ArchiveClient(server.url, policy=QUICK).rows("jsonsummary", ("canonical",))


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


@pytest.mark.parametrize("other", [b"12345", b"12345678901"])
def test_a_file_of_another_length_is_not_accepted(scripted, tmp_path: Path, other: bytes) -> None:
    fits = {"Content-Type": "application/fits"}
    server = scripted((200, fits, other), (200, fits, b"1234567890"))
    target = tmp_path / "stored"
    ArchiveClient(server.url, policy=QUICK).download("X.fits.bz2", target, 10)
    assert target.read_bytes() == b"1234567890" and len(server.seen) == 2


def test_a_file_that_keeps_another_length_is_said_to(scripted, tmp_path: Path) -> None:
    server = scripted((200, {"Content-Type": "application/fits"}, b"12345"))
    with pytest.raises(OtherLength, match="5 bytes announced, 10 expected"):
        ArchiveClient(server.url, policy=QUICK).download("X.fits.bz2", tmp_path / "stored", 10)
    assert len(server.seen) == 2


def later(status: int, until: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"Retry-After": until, **headers}, b"slow down"


@pytest.mark.parametrize("status", [429, 503])
def test_the_archive_is_left_alone_for_as_long_as_it_wants(scripted, status: int) -> None:
    server, told = scripted(later(status, "1"), OK), Told()
    begun = time.monotonic()
    client = ArchiveClient(server.url, None, told)
    assert client.rows("jsonsummary", ("canonical",)) == []
    assert time.monotonic() - begun >= 1.0 and len(server.seen) == 2
    waits = [event.seconds for event in told.of(Wait)]
    assert waits[0] == 1 and waits[-1] == 0
    assert told[0] is told.of(Warned)[0]
    assert f"asks us to wait 1 s before /jsonsummary/canonical (status {status})" in words(told[0])
    assert not told.of(Retry)


def test_a_moment_to_come_again_is_read_by_the_archives_own_clock() -> None:
    date, until = "Wed, 01 Jan 2020 00:00:00 GMT", "Wed, 01 Jan 2020 00:00:40 GMT"
    assert retry_after({"Retry-After": until, "Date": date}) == 40.0
    assert retry_after({"Retry-After": until}) == 0.0
    assert retry_after({"Retry-After": "12"}) == 12.0
    assert [retry_after({"Retry-After": bad}) for bad in ("", "soon", "-1", "1e9", "²")] == [None] * 5


def test_who_wants_to_be_left_alone_for_hours_is_not_waited_for(scripted) -> None:
    server = scripted(later(503, "10800"))
    with pytest.raises(Unreachable, match=r"left alone for 3\.0 h \(status 503\)"):
        ask(server.url)
    assert len(server.seen) == 1


def test_who_says_at_once_again_and_again_is_given_up(scripted) -> None:
    server = scripted(later(429, "0"))
    patience = RetryPolicy(pause=0.05, longest=1.0)
    with pytest.raises(Unreachable, match="left alone"):
        ArchiveClient(server.url, policy=patience).rows("jsonsummary", ())
    assert 3 <= len(server.seen) <= 6


def test_whoever_else_asks_waits_too(scripted) -> None:
    server = scripted(later(429, "1"), OK)
    client = ArchiveClient(server.url, None, policy=QUICK)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(client.rows, "jsonsummary", ())
        while not client._throttle._until:
            time.sleep(0.01)
        others = [threads.submit(client.rows, "jsonsummary", ()) for _ in range(2)]
        time.sleep(0.3)
        assert len(server.seen) == 1
        assert [each.result(timeout=10) for each in (first, *others)] == [[]] * 3


PAGE = b"<html><head><TITLE>\n Guest &amp; visitor WiFi:\n please sign in</TITLE></head></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.mark.parametrize("status", [200, 511])
def test_a_network_that_wants_a_login_is_named_by_its_page(scripted, tmp_path: Path, status: int) -> None:
    asks = (
        lambda client: client.rows("jsonsummary", ("canonical",)),
        lambda client: client.page("fullheader", "S20170505S0095.fits"),
        lambda client: client.download("X.fits.bz2", tmp_path / "stored", 10),
        lambda client: client.whoami(),
    )
    for each in asks:
        server = scripted((status, HTML, PAGE))
        with pytest.raises(Elsewhere, match="'Guest & visitor WiFi: please sign in'") as caught:
            each(ArchiveClient(server.url, TOKEN))
        assert len(server.seen) == 1 and caught.value.exit_code == 4 and "browser" in str(caught.value)


def test_a_server_that_does_not_encrypt_is_said_to_not(scripted) -> None:
    server = scripted(OK)
    begun = time.monotonic()
    with pytest.raises(Elsewhere, match="does not speak https"):
        ArchiveClient(server.url.replace("http:", "https:")).rows("jsonsummary", ())
    assert time.monotonic() - begun < 5


REMOTE = "https://archive.example.org"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names no proxies and no certificates."""
    for name in (*network.BUNDLES, *(n for n in os.environ if n.lower().endswith("_proxy"))):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", network.BUNDLES)
def test_certificates_that_are_not_there_are_named(bare: pytest.MonkeyPatch, name: str) -> None:
    bare.setenv(name, "/no/such-corporate-ca.pem")
    with pytest.raises(UsageError, match=f"{name} names /no/such-corporate-ca.pem, which does not exist"):
        ArchiveClient(REMOTE)
    ArchiveClient("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HTTPS_PROXY", "ftp://proxy.example.org", "HTTPS_PROXY names ftp://proxy.example.org"),
        ("https_proxy", "http://user:secret@proxy:notaport", "https_proxy names http://proxy:notaport"),
        ("ALL_PROXY", "quic://proxy:1", "ALL_PROXY names quic://proxy:1"),
    ],
)
def test_proxies_that_cannot_be_are_refused(bare, name: str, value: str, says: str) -> None:
    bare.setenv(name, value)
    with pytest.raises(UsageError, match=says) as caught:
        ArchiveClient(REMOTE)
    assert "secret" not in str(caught.value)
    bare.setenv("NO_PROXY", "example.org")
    ArchiveClient(REMOTE)


def test_a_socks_proxy_without_its_library_says_what_to_install(bare) -> None:
    bare.setenv("ALL_PROXY", "socks5h://127.0.0.1:1080")
    bare.setattr(network.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="ALL_PROXY names the SOCKS proxy") as caught:
        ArchiveClient(REMOTE)
    assert "requests[socks]" in str(caught.value)


@pytest.mark.parametrize("scheme", ["", "http://", "socks5h://"])
def test_a_proxy_that_is_not_there_is_named_and_asked_once(bare, scheme: str) -> None:
    if scheme.startswith("socks"):
        pytest.importorskip("socks")
    bare.setenv("ALL_PROXY", f"{scheme}127.0.0.1:9")
    begun = time.monotonic()
    with pytest.raises(Elsewhere, match="named by ALL_PROXY, does not lead to the archive"):
        ArchiveClient(REMOTE).rows("jsonsummary", ())
    assert time.monotonic() - begun < 5


class Proxy:
    """Takes connections and the first bytes of each, and closes them."""

    def __init__(self, reply: bytes) -> None:
        self.heard: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, args=(reply,), daemon=True).start()

    def _serve(self, reply: bytes) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection, suppress(OSError):
                    self.heard.append(connection.recv(999))
                    connection.sendall(reply)


def test_a_proxy_that_wants_a_login_is_final_and_one_that_is_busy_is_not(bare) -> None:
    for status, count in ((407, 1), (503, 5)):
        proxy = Proxy(b"HTTP/1.1 %d no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        bare.setenv("HTTPS_PROXY", proxy.place)
        with pytest.raises((Elsewhere, Unreachable)):
            ArchiveClient(REMOTE, policy=QUICK).rows("jsonsummary", ())
        assert [line[:35] for line in proxy.heard] == [b"CONNECT archive.example.org:443 HTT"] * count
        proxy.socket.close()


def test_socks_proxies_are_spoken_to_as_such(bare) -> None:
    pytest.importorskip("socks")
    proxy = Proxy(b"")
    bare.setenv("ALL_PROXY", f"socks5h://{proxy.place}")
    with pytest.raises((Elsewhere, Unreachable)):
        ArchiveClient(REMOTE, policy=QUICK).rows("jsonsummary", ())
    assert proxy.heard[0][:1] == b"\x05"


@pytest.mark.parametrize(
    ("body", "finds"), [(b"%J 83.822 -05.391 = 05 35\n", (83.822, -5.391)), (b"#! nothing found\n", None)]
)
def test_names_of_objects_are_resolved_through_the_proxy_of_all_things(bare, body, finds) -> None:
    """It was sought without ALL_PROXY, and not found."""
    proxy = Proxy(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
    bare.setenv("ALL_PROXY", proxy.place)
    bare.setattr(circle, "SESAME", ("http://sesame.example.org/nph-sesame",))
    if finds:
        cone = circle.read_cone("M 42")
        assert (cone.ra, cone.dec) == finds
    else:
        with pytest.raises(UsageError, match="neither SIMBAD"):
            circle.read_cone("M 42")
    assert proxy.heard[0].startswith(b"GET http://sesame.example.org/nph-sesame/SNV?M%2042 HTTP")
    bare.setenv("ALL_PROXY", "127.0.0.1:9")
    with pytest.raises(Unreachable, match="no resolver could be reached that knows 'M 42'"):
        circle.read_cone("M 42")


@pytest.mark.parametrize("kind", ["archive", "orcid", "noirlab"])
def test_whoami_knows_each_kind_of_account(tiny_folder: Path, kind: str) -> None:
    user = User("0000-0002-1825-0097", "", kind=kind)
    with serve(tiny_folder, users=[user], token=TOKEN) as archive:
        assert ArchiveClient(archive.url, TOKEN).whoami() == "0000-0002-1825-0097"


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ("Username: pi78", "pi78"),
        ("Username: None", "pi@example.org"),
        ('Username: </li><li>ORCID iD: <a href="https://orcid.org/0000-0002-1825-009X">0000-0002-1825-009X</a>',
         "0000-0002-1825-009X"),
        ("Username:\n </li><li>NOIRlab ID: jdoe", "jdoe"),
    ],
)  # fmt: skip
def test_the_page_of_the_user_is_read_in_all_its_forms(scripted, item: str, name: str) -> None:
    page = (
        f'<span id="whoami">\n x &#9662;<ul class="whoami">\n<li class="whoami">{item}</li>\n'
        '<li class="whoami">Email pi@example.org <a href="/change_email">[update]</a></li>\n'
        '<li class="whoami"><a href="/logout">Log Out</a></li></ul></span>'
    )
    assert ArchiveClient(scripted((200, HTML, page.encode())).url, TOKEN).whoami() == name


def test_the_archives_clock_says_what_day_it_is(tiny_folder: Path) -> None:
    told = Told()
    with serve(tiny_folder, faults=["clock"]) as archive:
        client = ArchiveClient(archive.url, None, told)
        assert client.today() == datetime.now(UTC).date()
        for _ in range(2):
            client.rows("jsonsummary", ("GS-2017A-Q-29",))
        assert timedelta(days=2) < client.today() - datetime.now(UTC).date() < timedelta(days=4)
    assert told == told.of(Warned) and len(told) == 1
    assert "3.0 days ahead of this machine's" in words(told[0])


def test_a_full_disk_is_not_the_networks_fault(scripted, tmp_path: Path) -> None:
    server = scripted((200, {"Content-Type": "application/fits"}, b"1234567890"))
    with pytest.raises(FileNotFoundError):
        ArchiveClient(server.url, policy=QUICK).download("X.fits", tmp_path / "nowhere" / "stored", 10)
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
    patience = RetryPolicy(attempts=2, pause=0.0, connect=2.0, answer=0.3, file=0.3, window=0.3)
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"stalled|drops"):
        ArchiveClient(dripping(*DRIPS[what]), policy=patience).rows("jsonsummary", ("canonical",))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("sent", [b"", HEAD], ids=["head", "body"])
def test_who_waits_for_an_answer_is_told_when_we_hang_up(
    dripping: Callable[[bytes, bytes], str], sent: bytes
) -> None:
    client = ArchiveClient(dripping(sent, b""), policy=RetryPolicy(pause=9.0))
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.rows, "jsonsummary", ())
        time.sleep(0.3)
        begun = time.monotonic()
        client.abort()
        with pytest.raises(Unreachable, match="asked no more"):
            waiting.result(timeout=30)
    assert time.monotonic() - begun < 5


HELLO = b"\x16\x03\x03\x40\x00"  # of a TLS record of 16384 bytes, which then come one by one


@pytest.mark.parametrize("words", [(HELLO, b"\0"), (b"", b"")], ids=["drops", "silence"])
def test_a_greeting_that_never_ends_is_given_up(
    dripping: Callable[[bytes, bytes], str], words: tuple[bytes, bytes]
) -> None:
    """The connection stands, and is not encrypted for as long as one likes to wait."""
    patience = RetryPolicy(attempts=2, pause=0.0, connect=0.4, answer=9.0, file=9.0)
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="timed out") as caught:
        ArchiveClient(dripping(*words).replace("http:", "https:"), policy=patience).rows("jsonsummary", ())
    assert time.monotonic() - begun < 5
    assert "try again later" in caught.value.remedy


def test_a_file_in_drops_is_given_up(dripping: Callable[[bytes, bytes], str], tmp_path: Path) -> None:
    head = HEAD.replace(b"application/json", b"application/octet-stream")
    patience = RetryPolicy(attempts=2, pause=0.0, connect=2.0, answer=9.0, file=0.3, window=0.3)
    with pytest.raises(Unreachable, match="stalled"):
        ArchiveClient(dripping(head, b"x"), policy=patience).download("a.fits", tmp_path / "a", 1000)


def test_a_slow_answer_that_keeps_coming_is_waited_for(dripping: Callable[[bytes, bytes], str]) -> None:
    patience = RetryPolicy(attempts=1, connect=2.0, answer=0.3, slowest=100.0)
    head = HEAD.replace(b"1000", b"1002") + b"[]"
    assert ArchiveClient(dripping(head, b" " * 50), policy=patience).rows("jsonsummary", ("a",)) == []
