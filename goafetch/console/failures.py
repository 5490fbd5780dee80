"""Errors as the user sees them: what was found, what was needed, what to do, and the exit code."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

from goafetch.console.output import console_on, emit_json, is_terminal, say
from goafetch.console.streams import READER_GONE, OutputLost
from goafetch.errors import FAILED, INTERRUPTED, Failure, describe
from goafetch.interrupts import raise_errors

#: With this set in the environment, as --debug does, every error shows its traceback.
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
    parameters: ``json`` or ``as_json`` true, or ``format`` (or ``format_``) equal to ``json``. Every command
    gets the option ``--debug``.
    """

    @functools.wraps(command)
    def run(*args: Any, debug: bool = False, **options: Any) -> None:
        if debug:
            os.environ[DEBUG] = "1"
        json = bool(options.get("json") or options.get("as_json"))
        json = json or "json" in (options.get("format"), options.get("format_"))
        code = run_to_exit_code(lambda: command(*args, **options), json=json)
        if code:
            raise SystemExit(code)

    signature = inspect.signature(command, eval_str=True)
    parameters = [*signature.parameters.values(), _debug_parameter()]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "debug": bool}
    return run


def _debug_parameter() -> inspect.Parameter:
    """The option that all commands have, as typer reads it from a signature."""
    import typer

    option = typer.Option(False, "--debug", help="Show the traceback of any error.")
    return inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=option, annotation=bool)


def run_to_exit_code(work: Callable[[], int | None], *, json: bool = False) -> int:
    """Do the work and return its exit code, having shown the error where there was one."""
    raise_errors()
    try:
        return work() or 0
    except KeyboardInterrupt:
        failure = Failure(
            INTERRUPTED,
            "interrupted",
            remedy="everything finished so far is kept; the same command goes on from there",
        )
    except OutputLost as lost:
        return lose(lost)
    except Exception as error:  # noqa: BLE001 - the last resort: everything ends in words
        if os.environ.get(DEBUG):
            say("".join(traceback.format_exception(error)))
        failure = describe(error) or _describe_unforeseen(error)
    try:
        fail(failure, json=json)
    except OutputLost as lost:
        lose(lost)
    return failure.exit_code


def lose(lost: OutputLost) -> int:
    """Say that results could not be written, unless their reader has seen enough (`... | head`)."""
    if lost.code != READER_GONE:
        say(f"error: {lost}")
    return lost.code


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


def _describe_unforeseen(error: Exception) -> Failure:
    found = f"sorry, this was not foreseen: {type(error).__name__}: {error}"
    story = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="goafetch-error-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(story)
    except OSError:
        return Failure(FAILED, found, remedy="everything finished so far is kept; --debug shows the details")
    return Failure(
        FAILED,
        found,
        remedy=f"everything finished so far is kept; {file.name} has the details for a report of the fault",
    )
