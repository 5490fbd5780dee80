"""The archive's only client: polite, patient with faults, not fooled by what only looks like success."""

from __future__ import annotations

import html
import json
import os
import random
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import requests
import urllib3

from goafetch import network, system
from goafetch.archive.connection import (
    RetryLater,
    RetryPolicy,
    Throttle,
    TransientError,
    captive_portal,
    check_status,
    is_proxy_error,
    open_session,
    parse_http_date,
    proxy_error,
    root_cause,
    untrusted_connection,
)
from goafetch.archive.query import encode_path
from goafetch.config import ARCHIVE
from goafetch.errors import BadAnswer, Elsewhere, OtherLength, Unreachable, UsageError, WorkspaceError
from goafetch.events import Notify, Retry, Warned, silent
from goafetch.workspace import write_atomically

COOKIE = "gemini_archive_session"
LARGEST_PAGE = 256 * 10**6
BLOCK = 1 << 20
DEFAULT_POLICY = RetryPolicy()
#: Clocks that differ by more than this are said to.
CLOCKS_AGREE = timedelta(hours=1)

T = TypeVar("T")


class ArchiveClient:
    """Asks the archive; safe to use from several threads.

    ``base_url``: the archive's address. ``token``: session token, sent as a cookie to the archive itself
    alone, and only over https or to this machine. ``notify`` is told of every attempt that failed.
    Raises UsageError for an address, a token, a proxy or certificates that cannot be meant.
    """

    def __init__(
        self,
        base_url: str = ARCHIVE,
        token: str | None = None,
        notify: Notify = silent,
        *,
        policy: RetryPolicy = DEFAULT_POLICY,
        connections: int = 8,
    ) -> None:
        self.base_url = _checked_address(base_url)
        self.policy = policy
        self.notify = notify
        self._cookie = _checked_token(token)
        local = _is_local(self.base_url)
        if self._cookie and not (local or self.base_url.startswith("https:")):
            notify(Warned(f"the session token is not sent to {self.base_url}: it is not encrypted"))
            self._cookie = None
        self._proxy = None if local else network.proxy_for(self.base_url)
        if self.base_url.startswith("https:") and not local:
            network.check_certificates()
        self._session = open_session(connections, direct=local)
        self._throttle = Throttle(policy, self._session.over, notify)
        self._ahead: timedelta | None = None
        #: Most rows that came in one answer, to open and to closed queries: no shorter one is cut.
        self.rows_given = {False: 0, True: 0}

    @property
    def has_token(self) -> bool:
        """Whether requests carry a session token (which the archive may still not accept)."""
        return self._cookie is not None

    def rows(self, feature: str, words: tuple[str, ...]) -> list[Any]:
        """The JSON list at ``feature``/``words``; answers that are not whole JSON are asked for again."""

        def read(response: requests.Response) -> list[Any]:
            text = self._text(response)
            if _is_page(response) and not text.lstrip().startswith("["):
                raise captive_portal(self.base_url, text)
            return _read_list(text)

        return self._retry(f"{feature}/{encode_path(words)}", read)

    def page(self, feature: str, *words: str) -> str:
        """The text at ``feature``/``words``, headers of a file for instance."""
        return self._retry("/".join([feature, *map(quote, words)]), self._plain_text)

    def download(
        self,
        remote: str,
        target: Path,
        size: int | None,
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Write the stored file ``remote`` ([path/]name) to ``target``, which is begun anew at each attempt.

        ``size``: its length in bytes, None if unknown; an answer of another length is a fault. ``on_bytes``
        receives the number of bytes that have arrived. The content itself is for the caller to verify.
        Raises Refused (403: not allowed), Gone (404), OtherLength (twice), Blocked, Elsewhere, Unreachable.
        """
        others: list[str] = []

        def receive(response: requests.Response) -> None:
            self._check_kind(response)
            if response.headers.get("Content-Type", "").startswith("text/"):
                raise TransientError(f"text instead of a file ({response.headers['Content-Type']})")
            announced = response.headers.get("Content-Length", "")
            if size is not None and announced.isdigit() and int(announced) != size:
                others.append(f"{announced} bytes announced, {size} expected")
                raise OtherLength(others[0], f"{size} bytes") if others[1:] else TransientError(others[0])
            with target.open("wb") as stream:
                self._receive(response, stream.write, size, on_bytes)

        self._retry(f"file/{quote(remote)}", receive, wait=self.policy.file)

    def whoami(self) -> str | None:
        """The user that the archive connects with the token; None if it knows none.

        Accounts of ORCID and NOIRLab have no user name: their identifier stands for it.
        """
        page = self._retry("whoami", self._text)
        if "whoami" not in page:
            raise captive_portal(self.base_url, page)
        words = html.unescape(re.sub(r"<[^>]*>", "\n", page))
        if "Not logged in" in words:
            return None
        for label in ("Username", "ORCID iD", "NOIRlab ID", "Email"):
            match = re.search(
                rf"{label}:?[^\S\n]*\n*[^\S\n]*([^\s:]+)[^\S\n]*$", words, re.IGNORECASE | re.MULTILINE
            )
            if match and match[1] != "None":
                return match[1].removeprefix("https://orcid.org/")
        return None

    def today(self) -> date:
        """The date (UTC) by the archive's clock, which decides what is public; until it answers, by ours."""
        return (datetime.now(UTC) + (self._ahead or timedelta())).date()

    def now(self) -> datetime:
        """The time (UTC) by the archive's clock, for which it is asked where it has not answered anything."""
        if self._ahead is None:
            self.whoami()
        return datetime.now(UTC) + (self._ahead or timedelta())

    def pause(self, path: str, reason: str, attempt: int) -> None:
        """Tell of a fault that may pass, and wait before asking again after so many attempts."""
        if not self._session.over.is_set():
            self.notify(Retry(path, reason, attempt + 1))
            self._session.over.wait(self.policy.pause * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))  # noqa: S311

    def abort(self) -> None:
        """Ask no more, and wait for no answer: those who do in other threads get Unreachable at once."""
        self._session.abort()

    def _retry(self, path: str, read: Callable[[requests.Response], T], wait: float | None = None) -> T:
        """Ask, read, and ask again after faults that may pass; never after a refusal."""
        reason, attempt, waits, since = "", 0, 0, 0.0
        while attempt < self.policy.attempts:
            if attempt and reason:
                self.pause(path, reason, attempt)
            self._throttle.wait()
            if self._session.over.is_set():
                raise Unreachable("the archive is asked no more", remedy="the same command goes on from here")
            try:
                with self._request(path, wait or self.policy.answer) as response:
                    return read(response)
            except RetryLater as asked:
                since, reason = since or time.monotonic(), ""
                self._throttle.obey(asked, path, waits, since)
                waits += 1
            except TransientError as error:
                reason, attempt = str(error), attempt + 1
        raise Unreachable(
            f"the archive at {self.base_url} did not answer /{path[:200]} properly in "
            f"{self.policy.attempts} attempts; the last: {reason}",
            remedy="try again later; what has been fetched is kept",
        )

    @contextmanager
    def _request(self, path: str, wait: float) -> Iterator[requests.Response]:
        """One request. Faults that may pass become ``Passing``, refusals the errors that say so."""
        try:
            with self._get(f"{self.base_url}/{path}", wait) as response:
                check_status(response, self._chunks(response, self.policy.window))
                yield response
        except requests.exceptions.SSLError as error:
            raise untrusted_connection(self.base_url, error) from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(
                error, requests.RequestException | ConnectionError
            ):
                raise  # the disk, not the network
            if self._proxy and is_proxy_error(error, self._proxy):
                raise proxy_error(self.base_url, self._proxy, root_cause(error)) from error
            raise TransientError(root_cause(error)) from error

    def _get(self, url: str, wait: float) -> requests.Response:
        """Redirects stay on the archive's own host, or the token and the data would go astray."""
        headers = {"Cookie": f"{COOKIE}={self._cookie}"} if self._cookie else {}
        for _ in range(3):
            response = self._session.get(
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=(self.policy.connect, wait),
            )
            self._read_clock(response.headers.get("Date"))
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            response.close()
            place = response.headers.get("Location", "")
            if not (url := _on_same_host(url, place)):
                break
        raise Elsewhere(
            f"{self.base_url} sends us elsewhere, to {place[:200]!r}",
            "an archive that answers itself",
            "check the address given with --archive; a network may want a login in a browser first",
        )

    def _read_clock(self, stated: str | None) -> None:
        """Learn how far the archive's clock is ahead of ours, and say so once where that is much."""
        moment = parse_http_date(stated)
        if moment is None:
            return
        first, self._ahead = self._ahead is None, moment - datetime.now(UTC)
        if first and abs(self._ahead) > CLOCKS_AGREE:
            days = self._ahead / timedelta(days=1)
            differ = f"{abs(days):.1f} days {'ahead of' if days > 0 else 'behind'}"
            text = f"the archive's clock is {differ} this machine's: its date decides what is public"
            self.notify(Warned(text))

    def _receive(
        self,
        response: requests.Response,
        write: Callable[[bytes], object],
        size: int | None,
        on_bytes: Callable[[int], None],
    ) -> None:
        """Pass the body on as it comes; too short, too long and too slow are faults."""
        announced = response.headers.get("Content-Length", "")
        expected = int(announced) if size is None and announced.isdigit() else size
        limit = LARGEST_PAGE if expected is None else expected
        count = 0
        for block in self._chunks(response, self.policy.window):
            count += len(block)
            if count > limit:
                raise TransientError(f"more than the {limit} bytes expected")
            write(block)
            on_bytes(count)
        if expected is not None and count != expected:
            raise TransientError(f"ended after {count} of {expected} bytes")

    def _plain_text(self, response: requests.Response) -> str:
        """The whole body of an answer that is no page for people."""
        self._check_kind(response)
        return self._text(response)

    def _check_kind(self, response: requests.Response) -> None:
        """A page for people comes from somebody else, such as a network that wants a login."""
        if _is_page(response):
            raise captive_portal(self.base_url, self._text(response))

    def _text(self, response: requests.Response) -> str:
        """The whole body as text."""
        parts, count = [], 0
        for block in self._chunks(response, self.policy.answer):
            count += len(block)
            if count > LARGEST_PAGE:
                raise BadAnswer(
                    f"an answer of more than {LARGEST_PAGE // 10**6} MB", "a list of at most 2000 rows"
                )
            parts.append(block)
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) != count:
            raise TransientError(f"ended after {count} of {announced} bytes")
        try:
            return b"".join(parts).decode()
        except UnicodeDecodeError as error:
            raise TransientError("an answer that is not text") from error

    def _chunks(self, response: requests.Response, window: float) -> Iterator[bytes]:
        """The body as it comes; drops of it that never end are a fault too."""
        count, since = 0, time.monotonic()
        while block := response.raw.read1(BLOCK):
            yield block
            count += len(block)
            if time.monotonic() - since > window:
                if count < self.policy.slowest * window:
                    raise TransientError(f"stalled: {count} bytes in {window:.0f} s")
                count, since = 0, time.monotonic()


def _is_page(response: requests.Response) -> bool:
    return response.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml"))


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
        raise TransientError(f"an answer that is not whole JSON ({error})") from error
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


def token_file() -> Path | None:
    """Where tokens are kept: a JSON object of token by archive; None without a home."""
    folder = system.configuration()
    return folder / "token.json" if folder else None


def find_token(archive: str, given: str | None = None) -> str | None:
    """The token for an archive: the one ``given`` by settings, else the one stored for that archive."""
    return given or _read_tokens(token_file()).get(_host(archive))


def store_token(archive: str, token: str) -> Path:
    """Keep a token for an archive; gives the file, mode 0600."""
    stripped = token.strip().strip('"')
    if not stripped or not stripped.isprintable() or " " in stripped:
        raise UsageError(
            "that is not a session token",
            "the one word that the archive's login page shows",
            f"{archive}/login",
        )
    path = token_file()
    if path is None:
        raise UsageError("there is no home folder to keep a token in", "HOME, or GOAFETCH_TOKEN")
    _write_tokens(path, {**_read_tokens(path), _host(archive): stripped})
    return path


def forget_token(archive: str) -> bool:
    """Remove the stored token of an archive; tells whether there was one."""
    path = token_file()
    known = _read_tokens(path)
    if path is None or known.pop(_host(archive), None) is None:
        return False
    if known:
        _write_tokens(path, known)
    else:
        path.unlink()
    return True


def _host(archive: str) -> str:
    parts = urlsplit(archive)
    return f"{parts.scheme}://{parts.netloc}"


def _read_tokens(path: Path | None) -> dict[str, str]:
    """Stored tokens. A file that others can read is refused: the token must be thought known to them."""
    if path is None or not system.is_file(path):
        return {}
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise WorkspaceError(
            f"{path} can be read by others",
            "mode 0600",
            f"chmod 600 {path}, or log out at the archive and in again",
        )
    try:
        known = json.loads(path.read_text())
    except ValueError as error:
        raise WorkspaceError(
            f"{path} is damaged", "a JSON object", "remove it and use `goafetch login`"
        ) from error
    return {str(k): str(v) for k, v in known.items()} if isinstance(known, dict) else {}


def _write_tokens(path: Path, tokens: dict[str, str]) -> None:
    """Never readable by others, not even while it is written."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(path, json.dumps(tokens, indent=1), 0o600)
