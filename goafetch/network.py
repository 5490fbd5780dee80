"""The way to the network as the environment names it: proxies and certificates, alike for all we ask."""

from __future__ import annotations

import html
import importlib.util
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from goafetch.errors import UsageError

#: Kinds of proxies, with their usual ports.
PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
#: Seconds without a byte after which a server does not answer.
PATIENCE = 20.0
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def proxy_for(url: str) -> str | None:
    """The address of the proxy on the way to ``url``, None where there is none.

    As requests chooses it: HTTPS_PROXY and HTTP_PROXY, else ALL_PROXY, with or without a scheme, but for the
    hosts of NO_PROXY. Raises UsageError for one that cannot be used.
    """
    from requests.utils import get_environ_proxies, select_proxy

    named = select_proxy(url, get_environ_proxies(url, no_proxy=None))
    if not named:
        return None
    found = named if "://" in named else f"http://{named}"
    _check(found, url)
    return found


def variable_of(url: str) -> str:
    """What names the proxy on the way to ``url``."""
    names = (f"{urlsplit(url).scheme}_proxy", "all_proxy")
    spelt = (each for name in names for each in (name, name.upper()))
    return next((name for name in spelt if os.environ.get(name)), "the settings of this machine")


def without_password(proxy: str) -> str:
    """A proxy's address as it may be shown."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def check_certificates() -> None:
    """Raise UsageError where the environment names a file of certificates that is not there."""
    name = next((name for name in BUNDLES if os.environ.get(name)), None)
    if name is not None and not Path(os.environ[name]).exists():
        raise UsageError(
            f"{name} names {os.environ[name]}, which does not exist",
            "the file with the certificates that your network wants trusted",
            f"correct {name}, or unset it",
        )


def fetch_text(url: str) -> str:
    """What an address answers to a single request. Raises OSError, and UsageError for a proxy of no use."""
    import requests

    check_certificates()
    proxy_for(url)
    response = requests.get(url, timeout=PATIENCE)
    response.raise_for_status()
    return response.text


def title_of(page: str) -> str:
    """The title of a web page, else its first words, as they may be shown."""
    title = re.search(r"<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    words = " ".join(html.unescape(title[1] if title else re.sub(r"<[^>]*>", " ", page)).split())
    return "".join(character for character in words if character.isprintable())[:120]


def _check(proxy: str, url: str) -> None:
    variable, shown = variable_of(url), without_password(proxy)
    scheme = urlsplit(proxy).scheme
    try:
        usable = scheme in PORTS and bool(urlsplit(proxy).hostname) and urlsplit(proxy).port != 0
    except ValueError:
        usable = False
    remedy = f"correct {variable} or unset it, or except {urlsplit(url).hostname} with NO_PROXY"
    if not usable:
        raise UsageError(
            f"{variable} names {shown}, which is no proxy that can be used",
            f"an address such as http://proxy.example.org:3128 ({', '.join(PORTS)})",
            remedy,
        )
    if scheme.startswith("socks") and importlib.util.find_spec("socks") is None:
        raise UsageError(
            f"{variable} names the SOCKS proxy {shown}, and PySocks is not installed",
            "the package PySocks",
            f"pip install 'requests[socks]'; or {remedy}",
        )
