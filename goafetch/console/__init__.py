"""What the user sees in the terminal: tables, progress, decisions and errors."""

from __future__ import annotations

from goafetch.console.output import emit_json, fail, handled, is_terminal, print_result, say, show_table
from goafetch.console.terminal import Terminal

__all__ = ["Terminal", "emit_json", "fail", "handled", "is_terminal", "print_result", "say", "show_table"]
