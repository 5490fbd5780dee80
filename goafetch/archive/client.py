"""The archive's only socket: polite, patient with faults, not fooled by what only looks like success."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import requests
import urllib3

from goafetch.archive.errors import BadAnswer, Blocked, Gone, Refused, Unreachable
from goafetch.archive.moving.connection import open_session
from goafetch.archive.query import encode
from goafetch.config import ARCHIVE
from goafetch.errors import UsageError
from goafetch.events import Notify, silent

COOKIE = "gemini_archive_session"
LARGEST_PAGE = 256 * 10**6
BLOCK = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try again.

    ``attempts`` in all, with pauses of ``pause`` seconds doubled each time. Seconds to ``connect``, and as
    many again until the connection is encrypted; between two bytes of an ``answer`` (the archive writes
    long lists slowly) and of a ``file``; within as many the head of either must be whole. A file that comes
    slower than ``slowest`` bytes per second over ``window`` seconds counts as stalled, an answer that does
    so over ``answer`` seconds.
    """

    attempts: int = 5
    pause: float = 0.5
    connect: float = 10.0
    answer: float = 180.0
    file: float = 60.0
    window: float = 30.0
    slowest: float = 1000.0


class _Passing(Exception):
    """A fault that may be gone at the next attempt."""


class ArchiveClient:
    """Asks the archive; safe to use from several threads.

    ``base_url``: the archive's address. ``token``: session token, sent as a cookie to the archive itself
    alone, and only over https or to this machine. ``notify`` is told of every attempt that failed.
    """

    def __init__(
        self,
        base_url: str = ARCHIVE,
        token: str | None = None,
        notify: Notify = silent,
        *,
        patience: Patience = Patience(),
        connections: int = 8,
    ) -> None:
        self.base_url = _checked_address(base_url)
        self.patience = patience
        self.notify = notify
        self._cookie = _checked_token(token)
        local = _is_local(self.base_url)
        if self._cookie and not (local or self.base_url.startswith("https:")):
            notify("warning", text=f"the session token is not sent to {self.base_url}: it is not encrypted")
            self._cookie = None
        self._session = open_session(connections, direct=local)
        #: Most rows that came in one answer, to open and to closed queries: no shorter one is cut.
        self.rows_given = {False: 0, True: 0}

    @property
    def has_token(self) -> bool:
        """Whether requests carry a session token (which the archive may still not accept)."""
        return self._cookie is not None

    def rows(self, feature: str, words: tuple[str, ...]) -> list[Any]:
        """The JSON list at ``feature``/``words``; answers that are not whole JSON are asked for again."""
        return self._try(f"{feature}/{encode(words)}", lambda response: _read_list(self._text(response)))

    def page(self, feature: str, *words: str) -> str:
        """The text at ``feature``/``words``, headers of a file for instance."""
        return self._try("/".join([feature, *map(_quote_path, words)]), self._text)

    def download(
        self, remote: str, target: Path, size: int | None, told: Callable[[int], None] = lambda count: None
    ) -> None:
        """Write the stored file ``remote`` ([path/]name) to ``target``, which is begun anew at each attempt.

        ``size``: its length in bytes, None if unknown; an answer of another length is a fault. ``told``
        receives the number of bytes that have arrived. The content itself is for the caller to verify.
        Raises Refused (403: not allowed), Gone (404), Blocked, Unreachable.
        """

        def receive(response: requests.Response) -> None:
            if response.headers.get("Content-Type", "").startswith("text/"):
                raise _Passing(f"text instead of a file ({response.headers['Content-Type']})")
            with target.open("wb") as stream:
                self._receive(response, stream.write, size, told)

        self._try(f"file/{_quote_path(remote)}", receive, wait=self.patience.file)

    def whoami(self) -> str | None:
        """The user that the archive connects with the token; None if it knows none."""
        page = self.page("whoami")
        match = re.search(r"Username:\s*([^<\s]+)", page) or re.search(
            r"ORCID\D{0,40}([\d-]{15,18}[\dX])", page
        )
        return match[1] if match and "Not logged in" not in page else None

    def hang_up(self) -> None:
        """Ask no more, and wait for no answer: those who do in other threads get Unreachable at once."""
        self._session.hang_up()

    def _try(self, path: str, read: Callable[[requests.Response], T], wait: float | None = None) -> T:
        """Ask, read, and ask again after faults that may pass; never after a refusal."""
        reason = ""
        for attempt in range(self.patience.attempts):
            if attempt and not self._session.over.is_set():
                self.notify("retry", path=path, reason=reason, attempt=attempt + 1)
                self._session.over.wait(self.patience.pause * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))  # noqa: S311
            if self._session.over.is_set():
                raise Unreachable("the archive is asked no more", remedy="the same command goes on from here")
            try:
                with self._ask(path, wait or self.patience.answer) as response:
                    return read(response)
            except _Passing as error:
                reason = str(error)
        raise Unreachable(
            f"the archive at {self.base_url} did not answer /{path[:200]} properly in "
            f"{self.patience.attempts} attempts; the last: {reason}",
            remedy="try again later; what has been fetched is kept",
        )

    @contextmanager
    def _ask(self, path: str, wait: float) -> Iterator[requests.Response]:
        """One request. Faults that may pass become ``_Passing``, refusals the errors that say so."""
        try:
            with self._follow(f"{self.base_url}/{path}", wait) as response:
                _check_status(response, self._arriving(response, self.patience.window))
                yield response
        except requests.exceptions.SSLError as error:
            raise Refused(
                f"no trusted connection to {self.base_url}: {_reason(error)}",
                "a certificate that this machine trusts",
                "check the address and the clock; if your network looks into https, name its certificate in "
                "REQUESTS_CA_BUNDLE. The check cannot be switched off",
            ) from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(
                error, requests.RequestException | ConnectionError
            ):
                raise  # the disk, not the network
            raise _Passing(_reason(error)) from error

    def _follow(self, url: str, wait: float) -> requests.Response:
        """Redirects stay on the archive's own host, or the token and the data would go astray."""
        headers = {"Cookie": f"{COOKIE}={self._cookie}"} if self._cookie else {}
        for _ in range(3):
            response = self._session.get(
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=(self.patience.connect, wait),
            )
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            response.close()
            place = response.headers.get("Location", "")
            if not (url := _on_same_host(url, place)):
                break
        raise Refused(
            f"{self.base_url} sends us elsewhere, to {place[:200]!r}",
            "an archive that answers itself",
            "check the address given with --archive",
        )

    def _receive(
        self,
        response: requests.Response,
        write: Callable[[bytes], object],
        size: int | None,
        told: Callable[[int], None],
    ) -> None:
        """Pass the body on as it comes; too short, too long and too slow are faults."""
        announced = response.headers.get("Content-Length", "")
        if size is not None and announced.isdigit() and int(announced) != size:
            raise _Passing(f"{announced} bytes announced, {size} expected")
        expected = int(announced) if size is None and announced.isdigit() else size
        limit = LARGEST_PAGE if expected is None else expected
        count = 0
        for block in self._arriving(response, self.patience.window):
            count += len(block)
            if count > limit:
                raise _Passing(f"more than the {limit} bytes expected")
            write(block)
            told(count)
        if expected is not None and count != expected:
            raise _Passing(f"ended after {count} of {expected} bytes")

    def _text(self, response: requests.Response) -> str:
        """The whole body as text."""
        parts, count = [], 0
        for block in self._arriving(response, self.patience.answer):
            count += len(block)
            if count > LARGEST_PAGE:
                raise BadAnswer(
                    f"an answer of more than {LARGEST_PAGE // 10**6} MB", "a list of at most 2000 rows"
                )
            parts.append(block)
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) != count:
            raise _Passing(f"ended after {count} of {announced} bytes")
        try:
            return b"".join(parts).decode()
        except UnicodeDecodeError as error:
            raise _Passing("an answer that is not text") from error

    def _arriving(self, response: requests.Response, window: float) -> Iterator[bytes]:
        """The body as it comes; drops of it that never end are a fault too."""
        count, since = 0, time.monotonic()
        while block := response.raw.read1(BLOCK):
            yield block
            count += len(block)
            if time.monotonic() - since > window:
                if count < self.patience.slowest * window:
                    raise _Passing(f"stalled: {count} bytes in {window:.0f} s")
                count, since = 0, time.monotonic()


def _check_status(response: requests.Response, blocks: Iterator[bytes]) -> None:
    status = response.status_code
    if status == 200:
        return
    if status >= 500 or status in (408, 429):
        raise _Passing(f"status {status}")
    text = _beginning(blocks).decode("utf-8", "replace")
    if status == 403 and "Login Required" in text:
        raise Blocked
    place = urlsplit(response.url).path
    if status == 404:
        raise Gone(f"the archive does not have {place} (404)")
    if status == 403:
        raise Refused(
            f"the archive does not give out {place} (403)", "rights to proprietary data", "goafetch login"
        )
    raise Refused(f"the archive refuses {place} (status {status}): {' '.join(text.split())[:200]}")


def _beginning(blocks: Iterator[bytes], size: int = 4096) -> bytes:
    """As much of a body as tells a refusal from another."""
    found = b""
    while len(found) < size and (block := next(blocks, b"")):
        found += block
    return found[:size]


def _on_same_host(url: str, place: str) -> str:
    """The address that an answer redirects to; nothing where it is another host's, or none at all."""
    try:
        found = urljoin(url, place)
        return found if urlsplit(found)[:2] == urlsplit(url)[:2] else ""
    except ValueError:
        return ""


def _read_list(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Passing(f"an answer that is not whole JSON ({error})") from error
    if not isinstance(found, list):
        raise BadAnswer(f"the archive answered a {type(found).__name__}", "a list of rows")
    return found


def _checked_address(url: str) -> str:
    parts = urlsplit(url.strip())
    try:
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            f"{url!r} is not the address of an archive",
            "http:// or https:// and a host",
            f"for example {ARCHIVE}",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _checked_token(token: str | None) -> str | None:
    stripped = (token or "").strip().strip('"')
    if not stripped:
        return None
    if not re.fullmatch(r"[\w.+/=%~-]{8,4096}", stripped, re.ASCII):
        raise UsageError(
            "the session token has characters that no token has",
            "the token as the archive's login page shows it",
            "give it again to `goafetch login`",
        )
    return stripped


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def _quote_path(path: str) -> str:
    return quote(path, safe="/")


def _reason(error: Exception) -> str:
    """The innermost cause in a few words: the outer ones repeat addresses."""
    while isinstance(inner := error.__cause__ or _context(error), Exception):
        error = inner
    return (str(error) or type(error).__name__)[:200]


def _context(error: Exception) -> BaseException | None:
    """What was being handled when it was raised, unless it was raised to stand for that."""
    return None if error.__suppress_context__ else error.__context__
