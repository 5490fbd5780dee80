"""A stream that says it is a terminal, and what a person would see on it."""

from __future__ import annotations

import io
import re

import pytest


class Screen(io.StringIO):
    """Keeps what is written to it."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """It is a terminal."""
        return True

    def lines(self) -> list[str]:
        """The lines without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", self.getvalue()).splitlines()


def open_screen(monkeypatch: pytest.MonkeyPatch, stream: str, width: int = 80, term: str = "xterm") -> Screen:
    """Put a terminal of a width in place of 'stdout' or 'stderr'."""
    screen = Screen()
    monkeypatch.setattr(f"sys.{stream}", screen)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", str(width))
    return screen
