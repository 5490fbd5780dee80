"""Connections to the archive that keep to their time, and a session that tells it no more than it must."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests

from goafetch import __version__

#: Our own, so that the archive can tell us from robots and allow us by name.
USER_AGENT = f"goafetch/{__version__} (fetches and reduces Gemini GSAOI data)"


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

    def hang_up(self) -> None:
        """Break every connection off, whoever waits for an answer there, and open no other."""
        self.over.set()
        for connection in list(self.open):
            _break_off(connection.sock)


def _punctual(pool: Any, session: Session) -> Any:
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
    alarm = threading.Timer(seconds, _hang_up, (connected, late))
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


def _hang_up(connected: Any, late: list[bool]) -> None:
    late.append(True)
    _break_off(connected)


def _break_off(connected: Any) -> None:
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
        self._make_punctual(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        known = self.proxy_manager.get(proxy)
        return known or self._make_punctual(super().proxy_manager_for(proxy, **named))

    def _make_punctual(self, manager: Any) -> Any:
        pools = manager.pool_classes_by_scheme.items()
        manager.pool_classes_by_scheme = {scheme: _punctual(pool, self._session) for scheme, pool in pools}
        return manager
