"""`goafetch login`, `logout`, `whoami`: the archive's session token."""

from __future__ import annotations

import sys

from goafetch import console
from goafetch.cli.run import Archive, Json, Quiet, Verbose
from goafetch.errors import UsageError


@console.handled
def login(archive: Archive = None, json: Json = False, verbose: Verbose = False, quiet: Quiet = False) -> int:
    """Store the archive's session token: asked for, or read from standard input, never an argument.

    Log in at the archive with a browser (ORCID will do), copy the token shown on its login page.
    """
    from goafetch.archive.client import ArchiveClient, store_token
    from goafetch.config import load_settings

    url = load_settings(archive=archive).archive
    token = _ask(url)
    user = ArchiveClient(url, token).whoami()
    if user is None:
        raise UsageError(
            "the archive does not know this token", "the token of a session that is logged in", f"{url}/login"
        )
    path = store_token(url, token)
    _tell(
        {"archive": url, "user": user, "file": str(path)}, f"logged in as {user}; token kept in {path}", json
    )
    return 0


@console.handled
def logout(
    archive: Archive = None, json: Json = False, verbose: Verbose = False, quiet: Quiet = False
) -> int:
    """Remove the stored token from this machine (the session itself ends at the archive's /logout)."""
    from goafetch.archive.client import forget_token
    from goafetch.config import load_settings

    url = load_settings(archive=archive).archive
    removed = forget_token(url)
    _tell({"archive": url, "removed": removed}, "token removed" if removed else "there was no token", json)
    return 0


@console.handled
def whoami(
    archive: Archive = None, json: Json = False, verbose: Verbose = False, quiet: Quiet = False
) -> int:
    """Tell as whom the archive knows you; exit code 1 if a token is there but not accepted."""
    from goafetch.archive.job import connect
    from goafetch.config import load_settings

    with console.Terminal(verbose=verbose, quiet=quiet) as terminal:
        client = connect(load_settings(archive=archive), terminal)
        user = client.whoami()
    if user is None and client.has_token:
        words, code = "not logged in: the archive does not accept the token (expired?); goafetch login", 1
    else:
        words, code = (f"logged in as {user}" if user else "not logged in: no token; goafetch login"), 0
    _tell({"archive": client.base_url, "user": user, "has_token": client.has_token}, words, json)
    return code


def _ask(url: str) -> str:
    if not sys.stdin.isatty():
        given = sys.stdin.readline().lstrip("\ufeff").strip()
        if not given:
            raise UsageError("standard input holds no token", "the session token in its first line")
        return given
    import getpass

    return getpass.getpass(f"session token (shown at {url}/login): ")


def _tell(document: dict[str, object], words: str, json: bool) -> None:
    if json:
        console.emit_json(document)
    else:
        console.print_result(words)
