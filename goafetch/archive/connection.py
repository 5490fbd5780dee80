"""The connection to the archive: deadlines, retries, and what an answer that is none means."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests

from goafetch import __version__, network
from goafetch.errors import Blocked, Elsewhere, Gone, Refused, Unreachable
from goafetch.events import Notify, Wait, Warned


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait, and how often to try again.

    ``attempts`` in all, with pauses of ``pause`` seconds doubled each time. Seconds to ``connect``, and as
    many again until the connection is encrypted; between two bytes of an ``answer`` (the archive writes
    long lists slowly) and of a ``file``; within as many the head of either must be whole. A file that comes
    slower than ``slowest`` bytes per second over ``window`` seconds counts as stalled, an answer that does
    so over ``answer`` seconds. Where the archive says when to come again it is obeyed, for ``longest``
    seconds in all for one answer.
    """

    attempts: int = 5
    pause: float = 0.5
    connect: float = 10.0
    answer: float = 180.0
    file: float = 60.0
    window: float = 30.0
    slowest: float = 1000.0
    longest: float = 600.0


class TransientError(Exception):
    """A fault that may be gone at the next attempt."""


class RetryLater(Exception):
    """The archive asks to be left alone for so many ``seconds``."""

    def __init__(self, status: int, seconds: float) -> None:
        super().__init__(f"status {status}")
        self.seconds = seconds


def parse_http_date(text: str | None) -> datetime | None:
    """The moment that an HTTP header names (UTC), None where it is none."""
    try:
        found = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return found.astimezone(UTC) if found and found.tzinfo else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After asks for (RFC 9110, 10.2.3), None if it does not.

    A moment is compared with the clock of the one who names it.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    moment, now = parse_http_date(text), parse_http_date(headers.get("Date")) or datetime.now(UTC)
    return max(0.0, (moment - now).total_seconds()) if moment else None


class Throttle:
    """Keeps all who ask from asking before they may; ``over`` ends every wait."""

    def __init__(self, policy: RetryPolicy, over: threading.Event, notify: Notify) -> None:
        self._policy, self._over, self._notify = policy, over, notify
        self._until = 0.0
        self._lock = threading.Lock()

    def obey(self, asked: RetryLater, path: str, waits: int, since: float) -> None:
        """Note how long the archive wants to be left alone, and count it down once, whoever is told.

        ``waits``: how often that was told before for this answer, the first time at ``since`` (seconds of the
        monotonic clock). Raises Unreachable where it is longer than we are ready to wait.
        """
        seconds = max(asked.seconds, self._policy.pause * 2**waits)
        until = time.monotonic() + seconds
        if until - since > self._policy.longest:
            raise Unreachable(
                f"the archive wants to be left alone for {_length(seconds)} ({asked})",
                f"an answer within {_length(self._policy.longest)}",
                f"run the same command again in {_length(seconds)}; what has been fetched is kept",
            )
        with self._lock:
            known, self._until = self._until, max(self._until, until)
        if until > known + 1.0:
            text = f"the archive asks us to wait {_length(seconds)} before /{path[:200]} ({asked})"
            self._notify(Warned(text))
            self._count_down(until, seconds)
        self.wait()

    def wait(self) -> None:
        """Wait until one may ask."""
        while (left := self._until - time.monotonic()) > 0 and not self._over.is_set():
            self._over.wait(left)

    def _count_down(self, until: float, total: float) -> None:
        while (left := until - time.monotonic()) > 0 and not self._over.is_set():
            self._notify(Wait(math.ceil(left), math.ceil(total)))
            self._over.wait(min(1.0, left))
        self._notify(Wait(0, math.ceil(total)))


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


#: What OpenSSL says where the other side does not encrypt.
PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")


def check_status(response: requests.Response, blocks: Iterator[bytes]) -> None:
    """Raise what an answer other than 200 means: faults that may pass, refusals, strangers."""
    status = response.status_code
    if status == 200:
        return
    if status in (429, 503) and (seconds := retry_after(response.headers)) is not None:
        raise RetryLater(status, seconds)
    if status != 511 and (status >= 500 or status in (408, 429)):
        raise TransientError(f"status {status}")
    text = _beginning(blocks).decode("utf-8", "replace")
    if status == 511:  # a network that wants a login (RFC 6585)
        raise captive_portal(response.url, text)
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


def captive_portal(url: str, page: str) -> Elsewhere:
    """The error for a web page in the place of an answer, which names the page."""
    return Elsewhere(
        f"a web page came instead of the archive's answer from {urlsplit(url).netloc}: "
        f"{network.title_of(page)!r}",
        "the archive itself",
        "the network may want a login: open any page in a browser, sign in, and run this again",
    )


def untrusted_connection(url: str, error: Exception) -> Elsewhere:
    """No connection that is encrypted and trusted can be had."""
    reason = root_cause(error)
    if any(word in reason.upper().replace(" ", "_") for word in PLAIN):
        return Elsewhere(
            f"what answers at {url} does not speak https ({reason})",
            "an archive that encrypts, or an address that begins with http://",
            "check the address given with --archive, and its port",
        )
    return Elsewhere(
        f"no trusted connection to {url}: {reason}",
        "a certificate that this machine trusts",
        "check the address and the clock; if your network looks into https, name its certificate in "
        "REQUESTS_CA_BUNDLE; it may want a login in a browser first. The check cannot be switched off",
    )


def proxy_error(url: str, proxy: str, reason: str) -> Elsewhere:
    """The proxy on the way is to blame."""
    variable, shown = network.variable_of(url), network.without_password(proxy)
    return Elsewhere(
        f"the proxy {shown}, named by {variable}, does not lead to the archive: {reason}",
        "a proxy that answers, or none",
        f"correct {variable} or unset it, or except {urlsplit(url).hostname} with NO_PROXY",
    )


def is_proxy_error(error: Exception, proxy: str) -> bool:
    """Whether the proxy is to blame, and not the archive behind it, which may come back."""
    if "Tunnel connection failed: 5" in root_cause(error):
        return False
    not_reached = (requests.exceptions.ConnectionError, requests.exceptions.ConnectTimeout)
    socks = proxy.startswith("socks") and isinstance(error, not_reached)
    return socks or isinstance(error, requests.exceptions.ProxyError)


def _beginning(blocks: Iterator[bytes], size: int = 4096) -> bytes:
    """As much of a body as tells a refusal from another."""
    found = b""
    while len(found) < size and (block := next(blocks, b"")):
        found += block
    return found[:size]


def root_cause(error: Exception) -> str:
    """The innermost cause in a few words: the outer ones repeat addresses."""

    def inner(outer: Exception) -> BaseException | None:
        return outer.__cause__ or (None if outer.__suppress_context__ else outer.__context__)

    while isinstance(cause := inner(error), Exception):
        error = cause
    return (str(error) or type(error).__name__)[:200]


#: Our own, so that the archive can tell us from robots and allow us by name.
USER_AGENT = f"goafetch/{__version__} (fetches and reduces data of Gemini)"


def open_session(connections: int, *, direct: bool) -> Session:
    """A session of punctual connections; ``direct``: without the proxies that the environment names."""
    session = Session()
    session.headers.update({"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"})
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.auth = _no_netrc
    session.trust_env = not direct  # proxies and certificates of the environment, but not towards ourselves
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(session, pool_maxsize=connections))
    return session


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Passwords of a .netrc are none of the archive's business."""
    return request


class Session(requests.Session):
    """Looks at no redirect by itself: where they lead is for the client to check.

    ``over``: set once nothing more is asked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.open: weakref.WeakSet[Any] = weakref.WeakSet()

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: no answer is a redirect."""

    def abort(self) -> None:
        """Break every connection off, whoever waits for an answer there, and open no other."""
        self.over.set()
        for connection in list(self.open):
            _shut_down(connection.sock)


def _with_deadlines(pool: Any, session: Session) -> Any:
    """The pool, of connections whose answers' heads are whole within the time each byte of them may take.

    That they are encrypted within the time to connect is the care of Python's ssl.
    """

    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            session.open.add(self)
            super().connect()
            if session.over.is_set():
                raise ConnectionAbortedError("nothing more is asked")

        def getresponse(self) -> Any:
            with _in_time(self.timeout, self.sock):
                return super().getresponse()

    class Pool(pool):  # type: ignore[misc]
        ConnectionCls = Connection

    return Pool


@contextmanager
def _in_time(seconds: float, connected: Any) -> Iterator[None]:
    """Hang up when it takes longer, though each byte may come in time; TimeoutError then."""
    late: list[bool] = []
    alarm = threading.Timer(seconds, _abort_late, (connected, late))
    alarm.start()
    try:
        yield
    except Exception:
        if not late:
            raise
    finally:
        alarm.cancel()
    if late:
        raise TimeoutError("the head of the answer came in drops") from None


def _abort_late(connected: Any, late: list[bool]) -> None:
    late.append(True)
    _shut_down(connected)


def _shut_down(connected: Any) -> None:
    if connected is not None:
        with suppress(OSError):  # it was closed meanwhile
            connected.shutdown(2)  # both ways


class _Adapter(requests.adapters.HTTPAdapter):
    """Makes such connections, through a proxy of any kind too, and enters them among the open ones."""

    def __init__(self, session: Session, **named: Any) -> None:
        self._session = session
        super().__init__(**named)

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        super().init_poolmanager(*args, **named)
        self._use_deadlines(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        known = self.proxy_manager.get(proxy)
        return known or self._use_deadlines(super().proxy_manager_for(proxy, **named))

    def _use_deadlines(self, manager: Any) -> Any:
        known = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {k: _with_deadlines(p, self._session) for k, p in known.items()}
        return manager
