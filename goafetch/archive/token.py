"""The archive's session token: kept in a file that only its owner can read, given to no other archive."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from goafetch import folders
from goafetch.errors import UsageError, WorkspaceError


def token_file() -> Path | None:
    """Where tokens are kept: a JSON object of token by archive; None without a home."""
    folder = folders.configuration()
    return folder / "token.json" if folder else None


def find_token(archive: str, given: str | None = None) -> str | None:
    """The token for an archive: the one ``given`` by settings, else the one stored for that archive."""
    return given or _read(token_file()).get(_key(archive))


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
    _write(path, {**_read(path), _key(archive): stripped})
    return path


def forget_token(archive: str) -> bool:
    """Remove the stored token of an archive; tells whether there was one."""
    path = token_file()
    known = _read(path)
    if path is None or known.pop(_key(archive), None) is None:
        return False
    if known:
        _write(path, known)
    else:
        path.unlink()
    return True


def _key(archive: str) -> str:
    parts = urlsplit(archive)
    return f"{parts.scheme}://{parts.netloc}"


def _read(path: Path | None) -> dict[str, str]:
    """Stored tokens. A file that others can read is refused: the token must be thought known to them."""
    if path is None or not folders.is_file(path):
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


def _write(path: Path, tokens: dict[str, str]) -> None:
    """Never readable by others, not even while it is written."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(json.dumps(tokens, indent=1))
    temporary.replace(path)
