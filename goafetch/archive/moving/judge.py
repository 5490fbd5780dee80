"""Tells from an answer or an error who it comes from, and whether asking again may help."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

from goafetch import network
from goafetch.archive.errors import Blocked, Elsewhere, Gone, Refused
from goafetch.archive.moving.patience import Later, Passing, seconds_until

#: What OpenSSL says where the other side does not encrypt.
PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")


def check_status(response: requests.Response, blocks: Iterator[bytes]) -> None:
    """Raise what an answer other than 200 means: faults that may pass, refusals, strangers."""
    status = response.status_code
    if status == 200:
        return
    if status in (429, 503) and (seconds := seconds_until(response.headers)) is not None:
        raise Later(status, seconds)
    if status != 511 and (status >= 500 or status in (408, 429)):
        raise Passing(f"status {status}")
    text = _beginning(blocks).decode("utf-8", "replace")
    if status == 511:  # a network that wants a login (RFC 6585)
        raise portal(response.url, text)
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


def portal(url: str, page: str) -> Elsewhere:
    """The error for a web page in the place of an answer, which names the page."""
    return Elsewhere(
        f"a web page came instead of the archive's answer from {urlsplit(url).netloc}: "
        f"{network.title_of(page)!r}",
        "the archive itself",
        "the network may want a login: open any page in a browser, sign in, and run this again",
    )


def untrusted(url: str, error: Exception) -> Elsewhere:
    """No connection that is encrypted and trusted can be had."""
    reason = reason_of(error)
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


def lost_at_proxy(url: str, proxy: str, reason: str) -> Elsewhere:
    """The proxy on the way is to blame."""
    variable, shown = network.variable_of(url), network.without_password(proxy)
    return Elsewhere(
        f"the proxy {shown}, named by {variable}, does not lead to the archive: {reason}",
        "a proxy that answers, or none",
        f"correct {variable} or unset it, or except {urlsplit(url).hostname} with NO_PROXY",
    )


def is_of_proxy(error: Exception, proxy: str) -> bool:
    """Whether the proxy is to blame, and not the archive behind it, which may come back."""
    if "Tunnel connection failed: 5" in reason_of(error):
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


def reason_of(error: Exception) -> str:
    """The innermost cause in a few words: the outer ones repeat addresses."""
    while isinstance(inner := error.__cause__ or _context(error), Exception):
        error = inner
    return (str(error) or type(error).__name__)[:200]


def _context(error: Exception) -> BaseException | None:
    """What was being handled when it was raised, unless it was raised to stand for that."""
    return None if error.__suppress_context__ else error.__context__
