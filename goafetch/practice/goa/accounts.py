"""Who may log in to the practice archive, and which session tokens are alive."""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Iterable

from goafetch.practice.goa.holdings import User

COOKIE = "gemini_archive_session"


class Accounts:
    """Users and their sessions: one token a user, the same over logins, dead for all at logout."""

    def __init__(self, users: Iterable[User]) -> None:
        self._users = {user.name: user for user in users}
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def open_session(self, name: str, token: str = "") -> str:
        """Give the token of a user's session, opened (with the token given, if any) when there is none."""
        with self._lock:
            alive = next((known for known, user in self._tokens.items() if user == name), "")
            token = alive or token or base64.b64encode(secrets.token_bytes(256)).decode()
            self._tokens[token] = name
            return token

    def log_in(self, name: str, password: str) -> str | None:
        """Give the session token, or None when name and password do not belong together."""
        user = self._users.get(name)
        if user is None or not secrets.compare_digest(user.password.encode(), password.encode()):
            return None
        return self.open_session(name)

    def log_out(self, token: str) -> None:
        """End the session for every client that holds its token."""
        with self._lock:
            self._tokens.pop(token, None)

    def user(self, token: str) -> User | None:
        """Say whose session it is; an unknown token is anonymous, not an error."""
        with self._lock:
            return self._users.get(self._tokens.get(token, ""))
