"""Errors as the user sees them: what was found, what was needed, what to do, and the exit code."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

from goafetch.console.output import console_on, emit_json, is_terminal, say
from goafetch.errors import FAILED, INTERRUPTED, Failure, describe

#: With this set in the environment an unforeseen error shows its traceback at once.
DEBUG = "GOAFETCH_DEBUG"


def fail(failure: Failure, *, json: bool = False) -> None:
    """Show a failure: a panel on a terminal, plain lines elsewhere; with ``json`` as ``{"error": {...}}``."""
    if json:
        emit_json({"error": failure})
    elif is_terminal(sys.stderr):
        _draw_panel(failure)
    else:
        for label, text in _lines(failure):
            say(f"{label}: {text}")


def handled(command: Callable[..., Any]) -> Callable[..., None]:
    """Make a command end in words and an exit code, never in a traceback.

    The command may return its exit code (None is 0). Whether its errors are JSON is read from its own
    parameters: ``json`` or ``as_json`` true, or ``format`` (or ``format_``) equal to ``json``.
    """

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        json = bool(options.get("json") or options.get("as_json"))
        json = json or "json" in (options.get("format"), options.get("format_"))
        code = run_to_exit_code(lambda: command(*args, **options), json=json)
        if code:
            raise SystemExit(code)

    return run


def run_to_exit_code(work: Callable[[], int | None], *, json: bool = False) -> int:
    """Do the work and return its exit code, having shown the error where there was one."""
    try:
        return work() or 0
    except KeyboardInterrupt:
        failure = Failure(
            INTERRUPTED,
            "interrupted",
            remedy="everything finished so far is kept; the same command goes on from there",
        )
    except BrokenPipeError:
        # The reader of our output has seen enough (`... | head`): no failure, and nothing more to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last resort: everything ends in words
        failure = describe(error) or _describe_system(error) or _describe_unforeseen(error)
    fail(failure, json=json)
    return failure.exit_code


def _lines(failure: Failure) -> list[tuple[str, str]]:
    label = "interrupted" if failure.exit_code == INTERRUPTED else "error"
    lines = [(label, failure.found), ("needed", failure.needed), ("what to do", failure.remedy)]
    if failure.exit_code == INTERRUPTED:
        return [(label, failure.remedy)]
    return [(name, text) for name, text in lines if text]


def _draw_panel(failure: Failure) -> None:
    from rich.panel import Panel
    from rich.text import Text

    interrupted = failure.exit_code == INTERRUPTED
    colour = "yellow" if interrupted else "red"
    body = Text()
    for row, (label, text) in enumerate(_lines(failure)):
        lead = "" if row == 0 else f"\n{label}: "
        body.append(lead, style="dim").append(text, style="bold" if row == 0 and not interrupted else "")
    title = Text("interrupted" if interrupted else "error", style=colour)
    console_on(sys.stderr).print(Panel(body, title=title, title_align="left", border_style=colour))


def _describe_system(error: Exception) -> Failure | None:
    """The operating system's refusals (no space, no permission) are nobody's bug."""
    if not isinstance(error, OSError) or error.errno is None:
        return None
    where = f": {error.filename}" if error.filename is not None else ""
    return Failure(
        FAILED,
        f"{error.strerror or os.strerror(error.errno)}{where}",
        remedy="everything finished so far is kept; run the same command again when this is put right",
    )


def _describe_unforeseen(error: Exception) -> Failure:
    story = "".join(traceback.format_exception(error))
    if os.environ.get(DEBUG):
        say(story)
        return Failure(FAILED, f"{type(error).__name__}: {error}")
    with tempfile.NamedTemporaryFile(
        "w", prefix="goafetch-error-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(story)
    return Failure(
        FAILED,
        f"sorry, this was not foreseen: {type(error).__name__}: {error}",
        remedy=f"everything finished so far is kept; {file.name} has the details for a report of the fault",
    )
