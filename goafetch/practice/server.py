"""Serves the practice archive over HTTP on this machine: sockets, headers, and the log of requests."""

from __future__ import annotations

import itertools
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.utils import format_datetime
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from goafetch.practice.goa import deliveries, logins, searches
from goafetch.practice.goa.accounts import COOKIE, Accounts
from goafetch.practice.goa.asking import (
    JSON,
    REASONS,
    Answer,
    Archive,
    Ask,
    error_page,
    gateway_page,
    later_page,
    portal_page,
    redirect,
)
from goafetch.practice.goa.dates import MalformedValue
from goafetch.practice.goa.faults import AHEAD, ConnectionBroken, Fault, Faults, as_fault, withhold
from goafetch.practice.goa.holdings import Holding, Limits, User, load_holdings
from goafetch.practice.goa.tarstream import Piece
from goafetch.practice.goa.words import split_path

__all__ = ["Fault", "Limits", "PracticeArchive", "Request", "User", "load_holdings", "serve"]

OBSERVER = User("observer", "practice")
#: Rows that the fault `limits` leaves of an answer.
FEW = Limits(open=10, closed=20)
FEATURES: dict[str, Callable[[Archive, Ask], Answer]] = {
    "jsonsummary": searches.summary,
    "jsonfilelist": searches.file_list,
    "jsonfilenames": searches.file_names,
    "jsonqastate": searches.qa_states,
    "xmlfilelist": searches.xml_file_list,
    "jsoncalmgr": searches.calibration_manager,
    "associated_cals": searches.associated_page,
    "searchform": searches.search_page,
    "file": deliveries.one_file,
    "download": deliveries.download,
    "fullheader": deliveries.full_header,
    "preview": deliveries.preview,
    "login": logins.log_in,
    "logout": logins.log_out,
    "whoami": logins.who_am_i,
}
_STRAY_TAR_BYTES = b"S20170505S0095.fits.bz2".ljust(512, b"\0") + b"\0" * 1536


@dataclass
class Request:
    """One line of the log: what was asked, what was answered, and which files went out whole."""

    method: str
    path: str
    has_cookie: bool
    user_agent: str
    status: int = 0
    sent: int = 0
    is_complete: bool = False
    files: list[str] = field(default_factory=list)


class PracticeArchive:
    """A running practice archive; stop it with ``stop()`` or by leaving its ``with`` block."""

    def __init__(self, archive: Archive, token: str, port: int) -> None:
        self.archive = archive
        self.token = token
        self.requests: list[Request] = []
        handler = type("Handler", (_Handler,), {"archive": archive, "log": self.requests})
        self._server = _Server(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="practice archive", daemon=True
        )
        self._thread.start()

    @property
    def faults(self) -> Faults:
        """The faults in force, and how often each has struck."""
        return self.archive.faults

    @property
    def holdings(self) -> list[Holding]:
        """What the archive holds; changing the list changes the answers that follow."""
        return self.archive.holdings

    def stop(self) -> None:
        """End the server; connections that are busy are left to end by themselves."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        shutil.rmtree(self.archive.attic, ignore_errors=True)

    def wait(self) -> None:
        """Wait until the server is stopped."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def __enter__(self) -> PracticeArchive:
        """Give the running archive."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


def serve(
    folder: Path | Sequence[Path],
    port: int = 0,
    faults: Iterable[str | Fault] = (),
    *,
    token: str | None = None,
    users: Iterable[User] | None = None,
    now: datetime | None = None,
    limits: Limits | None = None,
    seed: int = 0,
) -> PracticeArchive:
    """Serve the holdings of a folder (or of several) on loopback.

    Args:
        folder: holds ``holdings.json`` and the stored files (or sub-folders that do, one a program).
        port: 0 takes a free one.
        faults: names of troubles, or Faults with their measure.
        token: the session token of the first user, made up when not given.
        users: accounts; without any there is ``observer`` (password ``practice``), who may have everything.
        now: the archive's clock, fixed (UTC); None is the machine's.
        limits: rows a query may give; with the fault `limits` few unless said otherwise.
        seed: draws which files the faults touch.

    Raises:
        FileNotFoundError: the folder has no ``holdings.json``.
        ValueError: a fault's name is unknown.
        OSError: the port is taken.
    """
    wanted = tuple(map(as_fault, faults))
    named = {fault.name for fault in wanted}
    moment = now.replace(tzinfo=UTC) if now else None
    ahead = AHEAD if "clock" in named else timedelta()

    def clock() -> datetime:
        return (moment or datetime.now(UTC)) + ahead

    folders = [folder] if isinstance(folder, Path) else folder
    holdings = withhold(load_holdings(*folders), wanted, seed, clock())
    accounts_of = tuple(users or (OBSERVER,))
    accounts = Accounts(accounts_of)
    archive = Archive(
        holdings=holdings,
        accounts=accounts,
        limits=limits or (FEW if "limits" in named else Limits()),
        faults=Faults(wanted, holdings, seed),
        clock=clock,
        attic=Path(tempfile.mkdtemp(prefix="goafetch-practice-")),
    )
    return PracticeArchive(archive, accounts.open_session(accounts_of[0].name, token or ""), port)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    """Reads one request after the other from a connection and writes the answers."""

    archive: Archive
    log: list[Request]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer_any(self) -> None:
        """Answer a request of any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = _session_token(self.headers.get("Cookie", ""))
        entry = Request(self.command, self.path, bool(token), self.headers.get("User-Agent", ""))
        self.log.append(entry)
        try:
            answer = self._answer(self._ask(token, body))
            entry.status = answer.status
            self._send(answer, entry)
        except ConnectionBroken:
            self._reset()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer_any

    def version_string(self) -> str:
        """Name the server."""
        return "goafetch-practice"

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Tell the archive's time in the Date header."""
        return format_datetime(self.archive.clock(), usegmt=True)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the log of requests is a list."""

    def _ask(self, token: str, body: bytes) -> Ask:
        parts = urlsplit(self.path)
        feature, *words = split_path(parts.path) or [""]
        return Ask(
            method=self.command,
            feature=feature,
            words=tuple(words),
            query=parse_qs(parts.query),
            form=_read_form(self.headers.get("Content-Type", ""), body),
            body=body,
            user=self.archive.accounts.user(token),
            token=token,
            host=self.headers.get("Host", ""),
            path=parts.path,
        )

    def _answer(self, ask: Ask) -> Answer:
        faults = self.archive.faults
        if faults.strikes("captive-portal"):
            return portal_page()
        if ask.feature not in logins.ALWAYS_OPEN:
            if ask.user is None and faults.strikes("robot-page"):
                return logins.robot_page()
            if faults.strikes("unavailable"):
                return gateway_page(503 if faults.count("unavailable") % 2 else 502)
            if faults.strikes("retry-after"):
                status = 429 if faults.count("retry-after") % 2 else 503
                return later_page(status, faults.pause("retry-after"), self.archive.clock())
        if not ask.feature:
            return redirect("/searchform")
        feature = FEATURES.get(ask.feature)
        if feature is None:
            return error_page(404, "Could not find the requested resource")
        try:
            answer = feature(self.archive, ask)
        except MalformedValue:
            return gateway_page(502)
        return self._disturbed(answer, ask)

    def _disturbed(self, answer: Answer, ask: Ask) -> Answer:
        """Spoil the answer of a search where a fault says so."""
        if answer.status != 200 or (answer.content_type != JSON and ask.feature != "jsoncalmgr"):
            return answer
        faults, body = self.archive.faults, answer.body
        if faults.strikes("reset"):
            body = _broken(body)
        if faults.strikes("trailing-json"):
            body = itertools.chain(body, [Piece(_STRAY_TAR_BYTES)])
        return Answer(
            answer.status, answer.content_type, body, headers=answer.headers, uncached=answer.uncached
        )

    def _send(self, answer: Answer, entry: Request) -> None:
        has_chunks = self.command != "HEAD" and self.request_version != "HTTP/1.0"
        is_chunked = answer.length is None and has_chunks
        self.send_response(answer.status, REASONS[answer.status])
        self.send_header("Content-Type", answer.content_type)
        if answer.length is not None:
            self.send_header("Content-Length", str(answer.length))
        elif is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif self.command != "HEAD":
            self.close_connection = True
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        usual = {"Cache-Control": "no-cache", "Expired": "-1"} if answer.uncached else {}
        for name, value in {**usual, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(answer, entry, is_chunked=is_chunked)
        entry.is_complete = True

    def _send_body(self, answer: Answer, entry: Request, *, is_chunked: bool) -> None:
        for piece in answer.body:
            if piece.content:
                size = len(piece.content)
                chunk = b"%x\r\n%b\r\n" % (size, piece.content) if is_chunked else piece.content
                self.wfile.write(chunk)
                entry.sent += size
            if piece.ends:
                entry.files.append(piece.ends)
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")
        elif answer.length != entry.sent:
            # A stored file shorter than recorded: the announced length is never reached.
            self.close_connection = True

    def _reset(self) -> None:
        """Break the connection off so that the client sees a reset, not an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


def _broken(body: Iterable[Piece]) -> Iterator[Piece]:
    for piece in body:
        yield Piece(piece.content[: len(piece.content) // 2])
        raise ConnectionBroken


def _session_token(header: str) -> str:
    """Read the session cookie, with or without its double quotes."""
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _read_form(content_type: str, body: bytes) -> Mapping[str, list[str]]:
    """Read a form's fields, urlencoded or multipart."""
    if content_type.startswith("application/x-www-form-urlencoded"):
        return parse_qs(body.decode("utf-8", "replace"))
    if not content_type.startswith("multipart/form-data"):
        return {}
    message = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    fields: dict[str, list[str]] = {}
    for part in message.walk():
        name = part.get_param("name", header="Content-Disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields.setdefault(name, []).append(content.decode("utf-8", "replace").strip())
    return fields
