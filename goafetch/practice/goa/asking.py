"""What a request asks, what an answer says, and what the archive needs to get from one to the other."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from goafetch.practice.goa.accounts import Accounts
from goafetch.practice.goa.faults import Faults
from goafetch.practice.goa.holdings import Holding, Limits, User
from goafetch.practice.goa.tarstream import Piece
from goafetch.practice.goa.words import Selection, parse

PLAIN, HTML, JSON = "text/plain", "text/html", "application/json"
REASONS = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    403: "Access Forbidden for This Resource",
    404: "Not Found",
    405: "The Method Used to Access This Resource Is Not Allowed",
    406: "The Returned Content Is Not Acceptable for the Client",
    429: "Too Many Requests",
    500: "The Server has Found an Error Condition",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
}


@dataclass(frozen=True)
class Ask:
    """A request: its method, the words after the feature, query, form, sender."""

    method: str
    feature: str
    words: tuple[str, ...]
    query: Mapping[str, list[str]]
    form: Mapping[str, list[str]]
    body: bytes
    user: User | None
    token: str
    host: str
    path: str


@dataclass(frozen=True)
class Answer:
    """A response: the body in pieces, its length if announced, and the headers beside the usual ones."""

    status: int
    content_type: str
    body: Iterable[Piece] = ()
    length: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    # Errors that the archive's framework makes carry no cache headers; its own answers do.
    uncached: bool = True


@dataclass(frozen=True)
class Archive:
    """Everything that answers depend on."""

    holdings: list[Holding]
    accounts: Accounts
    limits: Limits
    faults: Faults
    clock: Callable[[], datetime]
    # Where new versions of files are kept while it runs.
    attic: Path

    def selection(self, words: Iterable[str]) -> Selection:
        """Read the words of a URL."""
        return parse(words, self.clock())

    def visible(self, ask: Ask, holding: Holding) -> bool:
        """Whether the sender of a request may have a file."""
        return holding.allowed(ask.user, self.clock())


def text(content: str, content_type: str = PLAIN, status: int = 200, **headers: str) -> Answer:
    """Answer with a text."""
    return Answer(status, content_type, [Piece(content.encode())] if content else [], headers=headers)


def as_json(value: Any, content_type: str = JSON, indent: int | None = 4) -> Answer:
    """Answer with JSON, indented as the archive does."""
    return text(json.dumps(value, indent=indent), content_type)


def refusal(status: int, content: str, content_type: str = HTML) -> Answer:
    """Answer with an error of the archive's framework."""
    return Answer(status, content_type, [Piece(content.encode())], uncached=False)


def error_page(status: int, message: str) -> Answer:
    """Answer 403 or 404 with the archive's error page."""
    title = {403: "Access Forbidden", 404: "Not Found"}[status]
    return refusal(
        status,
        '<!DOCTYPE html>\n<html lang="en"><head>'
        f"<title>Gemini Archive - {status} {title}</title></head>\n"
        f"<body>\n<h1>{title}</h1>\n{message}\n</body>\n</html>",
    )


def gateway_page(status: int) -> Answer:
    """Answer 429, 502 or 503 as the front end does when nothing sensible comes from behind it."""
    title = f"{status} {REASONS[status]}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
    ).encode()
    return Answer(status, HTML, [Piece(page)], length=len(page), uncached=False)


def later_page(status: int, wait: float, now: datetime) -> Answer:
    """Answer 429 or 503 as a front end that wants to be left alone: for seconds, or until a moment."""
    seconds = max(1, math.ceil(wait))
    until = str(seconds) if status == 429 else _http_date(now, seconds)
    page = gateway_page(status)
    return replace(page, headers={"Retry-After": until})


def _http_date(now: datetime, seconds: int) -> str:
    return format_datetime((now + timedelta(seconds=seconds)).astimezone(UTC), usegmt=True)


def portal_page() -> Answer:
    """Answer as a network that wants a login in a browser first does to everything."""
    page = (
        b"<!DOCTYPE html>\n<html><head><title>Observatory guest network: please sign in</title></head>\n"
        b'<body><form action="/accept">...</form></body></html>\n'
    )
    return Answer(200, HTML, [Piece(page)], length=len(page), uncached=False)


def redirect(target: str) -> Answer:
    """Answer 302."""
    page = (
        "<title>Redirecting...</title>\n<h1>Redirecting...</h1>\n"
        f'<p>You should be redirected automatically to target URL: <a href="{target}">{target}</a>.'
    )
    return Answer(302, HTML, [Piece(page.encode())], headers={"Location": target}, uncached=False)


def pieces(blocks: Iterator[bytes], name: str) -> Iterator[Piece]:
    """Turn the blocks of one file into the pieces of an answer."""
    for block in blocks:
        yield Piece(block)
    yield Piece(b"", ends=name)
